// SPDX-License-Identifier: Apache-2.0

package core

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseRoute(t *testing.T) {
	for line, want := range map[string]string{
		// As the kernel writes it on a little-endian machine, the only kind that this is built for.
		"eth0\t0000CA0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0":                          "10.202.0.0/16 eth0",
		"eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0":                          "0.0.0.0/0 eth0",
		"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT": "",
		"eth0\t0000CA\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0":                            "",
		"": "",
	} {
		p, name, ok := parseRoute(line)
		if got := p.String() + " " + name; ok != (want != "") || ok && got != want {
			t.Errorf("%q gave %q, %v", line, got, ok)
		}
	}
}

func FuzzParseRoute(f *testing.F) {
	f.Add("eth0\t0000CA0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0")
	f.Fuzz(func(t *testing.T, line string) {
		if p, _, ok := parseRoute(line); ok && !p.IsValid() {
			t.Errorf("%q gave %v", line, p)
		}
	})
}

func TestCheckNetAddress(t *testing.T) {
	for _, good := range []string{"192.168.1.1/24", "10.0.0.1/32", "10.0.0.0/31", "10.255.0.1/8"} {
		if err := checkNetAddress(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "192.168.1.1", "192.168.1.0/24", "fd00::1/64", "127.0.0.1/8", "224.0.0.1/24", "10.0.0.1/0", "10.0.0.1/33"} {
		if checkNetAddress(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestNetHookOf(t *testing.T) {
	for value, want := range map[string]string{"": "", "none": "", "host": "", "veth": "net", "wire": "wire", "net": "net"} {
		props := map[string][]string{}
		if value != "" {
			props["net"] = []string{value}
		}
		if got := netHookOf(props); got != want {
			t.Errorf("net=%s is hook %q", value, got)
		}
	}
}

// TestNetworksAreApart: the networks of a pool do not overlap, and all are in it; so are the IPv6 ones.
func TestNetworksAreApart(t *testing.T) {
	m := &Manager{at: newLayout("/state", "/state/run")}
	pool := netip.MustParsePrefix("10.202.0.0/24")
	seen := map[string]bool{}
	count := 0
	for n := netip.PrefixFrom(pool.Addr(), netBits); pool.Contains(n.Addr()); n = nextNet(n) {
		count++
		if n != n.Masked() {
			t.Errorf("%s is no network", n)
		}
		for _, a := range []netip.Addr{n.Addr().Next(), n.Addr().Next().Next()} {
			six := m.uniqueLocal(a)
			if !n.Contains(a) || seen[a.String()] || seen[six] || !strings.HasPrefix(six, "fd") || !strings.HasSuffix(six, "/126") {
				t.Errorf("%s, %s", a, six)
			}
			seen[a.String()], seen[six] = true, true
		}
	}
	if count != 64 {
		t.Errorf("%d networks in %s", count, pool)
	}
}
