// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What the figures of many instances are called.
const (
	whatMemory = "supervisors' memory an instance, %d running"
	whatList   = "list of %d"
	whatFirst  = "start, none running"
	whatNext   = "start, %d running"
	whatAdd    = "firmware add"
)

// measureList: with 50 and 500 running instances: supervisors' memory, the time
// of list, and of one more start. Neighbours are measured with the fewer.
func (b *bench) measureList() error {
	few := b.scaled(50, 10)
	counts := []int{few}
	if !b.quick {
		counts = append(counts, 500)
	}
	if err := b.manyOurs(counts); err != nil {
		return err
	}
	for _, p := range b.peers {
		if p.start == nil {
			b.missing("list", p.name, "", p.cannot["list"])
		} else if b.ctx.Err() == nil {
			b.manyPeer(p, few)
		}
	}
	return nil
}

func (b *bench) manyOurs(counts []int) (err error) {
	defer func() {
		if _, last := b.run(b.fw("many", "drop", "--all", "--force")...); last != nil {
			err = errors.Join(err, last)
		}
	}()
	if _, err := b.run(b.fw("many", "firmware", "add", b.source("directory"), "--name", "directory")...); err != nil {
		return err
	}
	probe, err := b.prepare("many", "directory")
	if err != nil {
		return err
	}
	if err := b.starts(probe, whatFirst); err != nil {
		return err
	}
	running := 0
	for _, count := range counts {
		if b.ctx.Err() != nil {
			return nil
		}
		if err := b.startMore(count - running); err != nil {
			return err
		}
		running = count
		b.memory("firmwared", supervisors(), count)
		if err := b.starts(probe, fmt.Sprintf(whatNext, count)); err != nil {
			return err
		}
		b.compare("list", b.scaled(b.options.rounds/2+1, 5), []contender{
			{"firmwared", fmt.Sprintf(whatList, count), "", func() sample { return b.timed(b.fw("many", "list")) }}})
	}
	return nil
}

// startMore prepares and starts so many instances, some at once.
func (b *bench) startMore(count int) error {
	for ; count > 0 && b.ctx.Err() == nil; count -= 50 {
		ids, err := b.run(b.fw("many", "prepare", "directory", "--count", strconv.Itoa(min(count, 50)))...)
		if err != nil {
			return err
		}
		argv := append(b.fw("many", "start"), strings.Fields(ids)...)
		if _, err := b.run(append(argv, "--", "/bin/sleep", sleep)...); err != nil {
			return err
		}
	}
	return b.ctx.Err()
}

// starts times the start of one instance several times, killing it in between.
func (b *bench) starts(name, what string) error {
	var failed error
	b.compare("list", b.scaled(10, 3), []contender{{"firmwared", what, "", func() sample {
		before := children()
		s := b.timed(b.fw("many", "start", name, "--", "/bin/sleep", sleep))
		if _, err := b.run(b.fw("many", "kill", name)...); err != nil {
			failed = err
		}
		b.calm(before) // the supervisor's CPU time is not the start's
		return s
	}}})
	return failed
}

// memory records what supervising processes have, shared by the instances.
func (b *bench) memory(who string, list []process, count int) {
	what := fmt.Sprintf(whatMemory, count)
	if len(list) > 0 {
		say("%s: %s", who, census(list))
	}
	b.single("list", who, what, "KiB", pss(list)/float64(count))
}

func (b *bench) manyPeer(p *peer, count int) {
	var ids []string
	defer func() {
		for _, id := range ids {
			if err := p.stop(b, id); err != nil {
				say("%v", err)
			}
		}
	}()
	before := payloads()
	for range count {
		id := b.id()
		if err := p.start(b, id); err != nil {
			b.missing("list", p.name, "", err.Error())
			return
		}
		ids = append(ids, id)
	}
	for limit := time.Now().Add(tickLimit); payloads()-before < count; time.Sleep(20 * time.Millisecond) {
		if reap(); time.Now().After(limit) {
			b.missing("list", p.name, "", fmt.Sprintf("only %d of %d run", payloads()-before, count))
			return
		}
	}
	b.memory(p.name, supervisors(), count)
	if p.list == nil {
		b.missing("list", p.name, fmt.Sprintf(whatList, count), p.cannot["list of"])
		return
	}
	b.compare("list", b.scaled(b.options.rounds/2+1, 5), []contender{
		{p.name, fmt.Sprintf(whatList, count), "", func() sample { return b.timed(p.list(b)) }}})
}

// measureAdd: registering a large image, which is in memory, beside its sha256 by openssl.
func (b *bench) measureAdd() error {
	mib := b.scaled(1024, 128)
	image := b.path("large.ext4")
	if err := b.image(image, mib); err != nil {
		return err
	}
	defer os.Remove(image)
	rate := func(s sample) sample {
		s.value = float64(mib) * (1 << 20) / 1e9 / (s.value / 1e3)
		return s
	}
	b.compare("add", b.scaled(7, 2), []contender{
		{"openssl", "dgst -sha256", "GB/s", func() sample {
			warm(image)
			return rate(b.timed([]string{"openssl", "dgst", "-sha256", image}))
		}},
		{"firmwared", whatAdd, "GB/s", func() sample {
			warm(image)
			s := b.timed(b.fw("large", "firmware", "add", image, "--name", "large"))
			if _, err := b.run(b.fw("large", "firmware", "remove", "large")...); err != nil && s.err == nil {
				s.err = err
			}
			return rate(s)
		}},
	})
	b.ratios("add", "openssl", "dgst -sha256")
	return nil
}

// warm reads a file, so that its pages are in memory.
func warm(file string) {
	f, err := os.Open(file)
	if err != nil {
		return // the measured command says why
	}
	defer f.Close()
	buffer := make([]byte, 1<<20)
	for {
		if _, err := f.Read(buffer); err != nil {
			return
		}
	}
}

// measureCache: how much memory is used by one and by 20 instances that each
// have read the whole of a large file in one image.
func (b *bench) measureCache() error {
	mib, count := b.scaled(236, 128), b.scaled(20, 5) // the file in it has 200, or 108
	image := b.path("cache.ext4")
	if err := b.image(image, mib); err != nil {
		return err
	}
	defer os.Remove(image)
	if err := evict(image); err != nil {
		return err
	}
	defer func() { _, _ = b.run(b.fw("large", "drop", "--all", "--force")...) }() // what stays is told at the end
	before := cached()
	if _, err := b.run(b.fw("large", "firmware", "add", image, "--name", "cache")...); err != nil {
		return err
	}
	var grown []float64
	for i := range count {
		if b.ctx.Err() != nil {
			return nil
		}
		name, err := b.prepare("large", "cache")
		if err != nil {
			return err
		}
		script := "cat /data >/dev/null; echo >/read; exec sleep " + sleep
		if _, err := b.run(b.fw("large", "start", name, "--", "/bin/sh", "-c", script)...); err != nil {
			return err
		}
		workspace, err := b.run(b.fw("large", "get", name, "workspace")...)
		if err != nil {
			return err
		}
		if err := appears(filepath.Join(workspace, "rw/read")); err != nil {
			return err
		}
		if i == 0 || i == count-1 {
			grown = append(grown, float64(cached()-before)/1024)
		}
	}
	one := fmt.Sprintf("page cache, one instance read %d MiB", mib*85/100)
	b.single("cache", "firmwared", one, "MiB", grown[0])
	b.single("cache", "firmwared", fmt.Sprintf("page cache, %d instances read it", count), "MiB", grown[len(grown)-1])
	b.ratios("cache", "firmwared", one)
	return nil
}

func appears(file string) error {
	for limit := time.Now().Add(commandLimit); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Lstat(file); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s does not appear", file)
}

// evict writes a file out and drops its pages.
func evict(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
}

// cached is the machine's page cache, in KiB.
func cached() (kib int64) {
	for _, key := range []string{"Cached:", "Buffers:"} {
		word, _, _ := strings.Cut(lineValue("/proc/meminfo", key), " ")
		value, _ := strconv.ParseInt(word, 10, 64)
		kib += value
	}
	return kib
}
