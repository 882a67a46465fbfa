# SPDX-License-Identifier: Apache-2.0
# `make help` lists what can be asked for.

PREFIX ?= /usr
DESTDIR ?=
bindir ?= $(PREFIX)/bin
libexecdir ?= $(PREFIX)/libexec
datadir ?= $(PREFIX)/share
mandir ?= $(datadir)/man
docdir ?= $(datadir)/doc/firmwared
sysconfdir ?= /etc
bashcompdir ?= $(datadir)/bash-completion/completions
fishcompdir ?= $(datadir)/fish/vendor_completions.d
# Debian's zsh looks into vendor-completions below /usr; all others, and it
# below /usr/local, into site-functions.
zshcompdir ?= $(datadir)/zsh/$(if $(and $(filter /usr,$(PREFIX)),$(wildcard /etc/debian_version)),vendor-completions,site-functions)

SHELL = /bin/bash
GO := $(shell conf/find-go 2>/dev/null)
VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)
MD2MAN = $(GO) run github.com/cpuguy83/go-md2man/v2
# The slow one boots whole distributions and runs the break-out suite under emulation: make test-walls.
slow_bats = test/vmwalls.bats
BATS ?= $(filter-out $(slow_bats),$(wildcard test/*.bats))

config = firmwared/core/config
# What both programs are told: they work together only if it is the same.
small_ldflags = -s -w -X 'firmwared/core/sandbox.Build=$(VERSION)'
# What the program is told at build time: $(1) hook directories, $(2) profile
# directories, $(3) configuration file, $(4) the file of firmwared-supervise.
ldflags = $(small_ldflags) -X 'main.version=$(VERSION)' -X '$(config).DefaultSupervise=$(4)' -X '$(config).DefaultHookDirs=$(1)' \
	-X '$(config).DefaultProfileDirs=$(2)' -X '$(config).DefaultFile=$(3)'
checkout_ldflags = $(call ldflags,/etc/firmwared/hooks:$(CURDIR)/hooks,/etc/firmwared/profiles:$(CURDIR)/profiles,/etc/firmwared/firmwared.toml,$(CURDIR)/bin/firmwared-supervise)
installed_ldflags = $(call ldflags,$(sysconfdir)/firmwared/hooks:$(libexecdir)/firmwared/hooks,$(sysconfdir)/firmwared/profiles:$(datadir)/firmwared/profiles,$(sysconfdir)/firmwared/firmwared.toml,$(libexecdir)/firmwared/firmwared-supervise)

export CGO_ENABLED ?= 0

.PHONY: all build help go-version man install uninstall example demo deps test lint test-unit test-fuzz test-race test-bats test-vm test-escape test-walls test-chaos test-powercut bench clean FORCE

all: build

help:
	@printf '%s\n' \
		'make                        build bin/firmwared for use from this checkout' \
		'make install PREFIX=/usr    build for PREFIX and install (DESTDIR= for packages)' \
		'make uninstall              remove what make install put there' \
		'make demo                   a Debian and a busybox firmware, two instances of each (root)' \
		'make test                   install what the tests need, then lint and every test (root)' \
		'make lint test-unit test-fuzz test-race test-bats    one kind only' \
		'make test-bats BATS=test/cli.bats                    one file only' \
		'make test-vm ARGS=test/vm/hooks.bats                 one file in the QEMU machine' \
		'make test-escape            the break-out suite in all modes, and its table' \
		'make test-walls             that in the QEMU machine, and real inits under each wall; not in make test' \
		'make test-chaos KILLS=1000 SEED=                     life cycles while processes are killed at random' \
		'make test-powercut CUTS=20                           power cuts in the QEMU machine, audited' \
		'make bench                  speed and memory beside the neighbours, which apt-get installs (QUICK=1 PEERS= MEASURES= ROUNDS=)' \
		'make man                    the manual pages, in build/man' \
		'make example                conf/firmwared.toml from the table of settings'

go-version:
	@conf/find-go >/dev/null

# go's own cache knows best whether anything must be compiled again.
build: bin/firmwared
bin/firmwared: FORCE | go-version
	@case '$(subst ','\'',$(CURDIR))' in *[:\ \"\'\\]*) \
		echo 'cannot build in this directory: its name has a colon, quote, backslash or space, which lists of paths cannot hold' >&2; exit 1;; esac
	@$(GO) build -trimpath -tags urfave_cli_no_docs -ldflags "$(checkout_ldflags)" -o $@ ./cmd/firmwared
	@$(GO) build -trimpath -ldflags "$(small_ldflags)" -o bin/firmwared-supervise ./cmd/firmwared-supervise
	@conf/check-trust $(CURDIR)/hooks

# Dies at the step that FIRMWARED_FAULT names; see core/fault. Only for tests.
build/firmwared-faults: FORCE | go-version
	@mkdir -p build && $(GO) build -trimpath -tags faults -ldflags "$(small_ldflags)" -o $@-supervise ./cmd/firmwared-supervise
	@$(GO) build -trimpath -tags faults,urfave_cli_no_docs -ldflags "$(checkout_ldflags) -X '$(config).DefaultSupervise=$(CURDIR)/$@-supervise'" -o $@ ./cmd/firmwared

# The break-out attempts of test/escape, static, to be run inside of instances.
build/attempts: FORCE | go-version
	@mkdir -p build && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $@ ./test/escape/attempts

# The tests of core/apparmor that need a kernel with it: for test/vm/walls.bats.
build/apparmor.test: FORCE | go-version
	@mkdir -p build && CGO_ENABLED=0 $(GO) test -tags vm -c -o $@ ./core/apparmor

# The web server of test/fetch.bats.
build/httpd: FORCE | go-version
	@mkdir -p build && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $@ ./test/httpd

# --- manual pages and example ------------------------------------------------

man: | go-version
	@rm -rf build/man && mkdir -p build/man
	@$(GO) run -tags docs -ldflags "$(installed_ldflags)" ./cmd/firmwared man build/man
	@set -o pipefail; $(GO) run -ldflags "$(installed_ldflags)" ./conf/gen manual '$(VERSION)' | $(MD2MAN) > build/man/firmwared.toml.5
	@set -o pipefail; conf/hook-manual '$(VERSION)' hooks/CONTRACT.md | $(MD2MAN) > build/man/firmwared-hook.7

example: | go-version
	@mkdir -p build && $(GO) run ./conf/gen example > build/firmwared.toml && mv build/firmwared.toml conf/firmwared.toml

# --- install -----------------------------------------------------------------

# The installed program has other paths compiled in than the checkout's.
install: man
	$(GO) build -trimpath -tags urfave_cli_no_docs -ldflags "$(installed_ldflags)" -o build/installed/firmwared ./cmd/firmwared
	$(GO) build -trimpath -ldflags "$(small_ldflags)" -o build/installed/firmwared-supervise ./cmd/firmwared-supervise
	$(GO) run -ldflags "$(installed_ldflags)" ./conf/gen example > build/installed/firmwared.toml
	install -d '$(DESTDIR)$(bindir)' '$(DESTDIR)$(libexecdir)/firmwared/hooks' '$(DESTDIR)$(datadir)/firmwared/profiles' \
		'$(DESTDIR)$(sysconfdir)/firmwared/hooks' '$(DESTDIR)$(sysconfdir)/firmwared/profiles' \
		'$(DESTDIR)$(docdir)' '$(DESTDIR)$(mandir)/man1' '$(DESTDIR)$(mandir)/man5' '$(DESTDIR)$(mandir)/man7' \
		'$(DESTDIR)$(bashcompdir)' '$(DESTDIR)$(zshcompdir)' '$(DESTDIR)$(fishcompdir)'
	install -m 0755 build/installed/firmwared '$(DESTDIR)$(bindir)/firmwared'
	install -m 0755 build/installed/firmwared-supervise '$(DESTDIR)$(libexecdir)/firmwared'
	install -m 0755 hooks/*.hook '$(DESTDIR)$(libexecdir)/firmwared/hooks'
	install -m 0644 hooks/*.bash '$(DESTDIR)$(libexecdir)/firmwared/hooks'
	for f in profiles/*; do [ ! -f "$$f" ] || install -m 0644 "$$f" '$(DESTDIR)$(datadir)/firmwared/profiles' || exit 1; done
	install -m 0644 hooks/CONTRACT.md hooks/TUTORIAL.md $(wildcard README.md) '$(DESTDIR)$(docdir)'
	install -m 0644 build/man/*.1 '$(DESTDIR)$(mandir)/man1'
	install -m 0644 build/man/*.5 '$(DESTDIR)$(mandir)/man5'
	install -m 0644 build/man/*.7 '$(DESTDIR)$(mandir)/man7'
	install -m 0644 conf/completion/firmwared.bash '$(DESTDIR)$(bashcompdir)/firmwared'
	install -m 0644 conf/completion/_firmwared '$(DESTDIR)$(zshcompdir)/_firmwared'
	install -m 0644 conf/completion/firmwared.fish '$(DESTDIR)$(fishcompdir)/firmwared.fish'
	@f='$(DESTDIR)$(sysconfdir)/firmwared/firmwared.toml'; \
	if [ -e "$$f" ] && ! cmp -s build/installed/firmwared.toml "$$f"; then \
		echo "kept $$f, which differs; the new one is $$f.new"; f=$$f.new; fi; \
	install -m 0644 build/installed/firmwared.toml "$$f"

# Settings and hooks of the site stay, and so do firmwares and instances.
uninstall: | go-version
	@f='$(DESTDIR)$(sysconfdir)/firmwared/firmwared.toml'; rm -f "$$f.new"; \
	$(GO) run -ldflags "$(installed_ldflags)" ./conf/gen example | cmp -s - "$$f" && rm -f "$$f" || \
		[ ! -e "$$f" ] || echo "kept $$f, which was changed"
	rm -f '$(DESTDIR)$(bindir)/firmwared' '$(DESTDIR)$(bashcompdir)/firmwared' \
		'$(DESTDIR)$(zshcompdir)/_firmwared' '$(DESTDIR)$(fishcompdir)/firmwared.fish' \
		'$(DESTDIR)$(mandir)'/man1/firmwared.1 '$(DESTDIR)$(mandir)'/man5/firmwared.toml.5 '$(DESTDIR)$(mandir)'/man7/firmwared-hook.7
	rm -rf '$(DESTDIR)$(libexecdir)/firmwared' '$(DESTDIR)$(datadir)/firmwared' '$(DESTDIR)$(docdir)'
	-@cd '$(DESTDIR)$(sysconfdir)/firmwared' 2>/dev/null && rmdir hooks profiles . 2>/dev/null; \
	rmdir '$(DESTDIR)$(sysconfdir)/firmwared' 2>/dev/null; true

# --- demonstration and tests -------------------------------------------------

demo: build
	@test/demo.sh

deps:
	@test/deps

# All kinds run even if one fails; the last line tells.
test: deps
	@failed=; for kind in build lint test-unit test-fuzz test-bats; do \
		echo "== $$kind"; $(MAKE) --no-print-directory "$$kind" || failed="$$failed $$kind"; done; \
	[ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

lint: | go-version
	@GO='$(GO)' test/lint

# The full record is left in build/test for .ci/run to count.
test-unit: | go-version
	@mkdir -p build/test
	@set -o pipefail; $(GO) test -v -count=1 -timeout 5m ./... 2>&1 | tee build/test/unit.log | \
		grep -Ev '^(=== |--- PASS|    +--- PASS|PASS$$|\?|[[:space:]]+[^ ]+_test\.go:[0-9]+: )' || \
		{ grep -A15 -E '^[[:space:]]*--- FAIL|^panic:|^FAIL' build/test/unit.log | head -n 300; exit 1; }

# A smoke test of each target, not a campaign. Counted, not timed: go sometimes
# reports the end of the time itself as a failure.
test-fuzz: | go-version
	@mkdir -p build; set -e; for file in $$(grep -rl --include='*_test.go' '^func Fuzz' core cmd); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
			echo "$${file%/*} $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime "$${FUZZTIME:-3000x}" -fuzzminimizetime 10x -parallel 2 "./$${file%/*}" >build/fuzz.log 2>&1 || \
				{ cat build/fuzz.log; exit 1; }; done; done

# Needs a C compiler; the packages where goroutines meet.
test-race: | go-version
	CGO_ENABLED=1 $(GO) test -race -count=1 ./core/...

# The long version of test/chaos.bats. SEED= repeats a run, as far as its timing does.
KILLS ?= 1000
SEED ?= 0
test-chaos: build
	@CHAOS_KILLS=$(KILLS) CHAOS_SEED=$(SEED) CHAOS_LIMIT=20m BATS_TEST_TIMEOUT=1500 test/run-bats test/chaos.bats

test-bats: build build/attempts
	@test/run-bats $(BATS)

# The long version of test/powercut.bats.
test-powercut: CUTS ?= 20
test-powercut: build
	@CUTS=$(CUTS) BATS_TEST_TIMEOUT=5400 test/run-bats test/powercut.bats

# In the QEMU machine only: ARGS are those of test/vm/bats.
ARGS ?= $(wildcard test/vm/*.bats)
test-vm: build build/attempts build/apparmor.test
	@test/vm/bats $(ARGS)

test-escape:
	@test/escape/table

test-walls: build build/attempts
	@test/run-bats $(slow_bats)

# Measured beside crun, runc, bubblewrap, LXC, nspawn, podman and schroot; options are in test/bench/run.
bench: build
	@GO='$(GO)' test/bench/run

clean:
	rm -rf bin build
