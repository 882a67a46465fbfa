// SPDX-License-Identifier: Apache-2.0

package core

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"firmwared/core/dirlock"
	"firmwared/core/registry"
)

// netsDir is the one place where all state directories of this machine agree on
// who has which network: a link named after the first address leads to the run-time
// directory of its instance. A link that leads nowhere is free. What survives a
// reboot is the record: a network that is in one belongs to that instance, unless
// another state directory took it before the instance was started again.
const netsDir = "/run/firmwared/nets"

// netBits is the size of an instance's network: both ends, and the two addresses
// that every IPv4 network loses.
const netBits = 30

func netLink(n netip.Prefix) string { return filepath.Join(netsDir, n.Addr().String()) }

// allocateNet gives an instance a network that no other has, nor the host, and
// writes it into its record. Asked again it gives the same one, if that is still
// free and in the pool. The caller holds the instance exclusively, and its run-time
// directory exists.
func (m *Manager) allocateNet(inst *registry.Instance) (netip.Prefix, error) {
	fail := func(err error) (netip.Prefix, error) {
		return netip.Prefix{}, fmt.Errorf("cannot give it a network: %w", err)
	}
	unlock, err := dirlock.Lock(netsDir)
	if err != nil {
		return fail(err)
	}
	defer unlock()
	if err := m.makeLeases(); err != nil {
		return fail(err)
	}
	pool := netip.MustParsePrefix(m.cfg.NetPool) // checked when it was read
	host, err := hostNetworks(pool)
	if err != nil {
		return fail(err)
	}
	own, err := netip.ParsePrefix(inst.Network)
	if err == nil && own.Bits() == netBits && pool.Contains(own.Addr()) && overlapping(host, own) == "" && claim(netLink(own), m.at.runtime(inst.ID)) {
		return own, nil
	}
	m.releaseNet(inst)
	all, _ := m.store.Instances.All()
	recorded := map[string]bool{}
	for _, other := range all {
		recorded[other.Network] = other.ID != inst.ID
	}
	var inHost []string
	for n := netip.PrefixFrom(pool.Addr(), netBits); pool.Contains(n.Addr()); n = nextNet(n) {
		if recorded[n.String()] {
			continue
		}
		if who := overlapping(host, n); who != "" {
			inHost = append(inHost, who)
			continue
		}
		if claim(netLink(n), m.at.runtime(inst.ID)) {
			inst.Network = n.String()
			return n, m.store.Instances.Save(inst)
		}
	}
	slices.Sort(inHost)
	others := ""
	if inHost = slices.Compact(inHost); len(inHost) > 0 {
		others = " and this machine's own " + strings.Join(inHost[:min(len(inHost), 3)], ", ")
	}
	return fail(fmt.Errorf("all %d networks of net_pool %s are taken, by instances%s: drop some, or set another net_pool",
		1<<(netBits-pool.Bits()), pool, others))
}

func nextNet(n netip.Prefix) netip.Prefix {
	b := n.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+1<<(32-netBits))
	return netip.PrefixFrom(netip.AddrFrom4(b), netBits)
}

// releaseNet gives back an instance's network; it comes before its run-time
// directory goes. The record is the caller's business.
func (m *Manager) releaseNet(inst *registry.Instance) {
	n, err := netip.ParsePrefix(inst.Network)
	if err != nil {
		return
	}
	if target, err := os.Readlink(netLink(n)); err == nil && target == m.at.runtime(inst.ID) {
		_ = os.Remove(netLink(n))
	}
}

// hostNetwork is one that the command's network namespace has already.
type hostNetwork struct {
	netip.Prefix
	name string
}

// ours tells names that only instances' interfaces and bridges have: the links say
// what they use.
func ours(name string) bool {
	rest, ok := strings.CutPrefix(name, "fw")
	return ok && (objectID.MatchString(rest) || strings.HasPrefix(rest, "b-"))
}

// hostNetworks lists what the interfaces have, and the routes to parts of the pool.
// A wider route, as the default one, goes on for the rest.
func hostNetworks(pool netip.Prefix) (all []hostNetwork, err error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range interfaces {
		if ours(i.Name) {
			continue // each one's addresses would be looked for among all that there are
		}
		addresses, _ := i.Addrs()
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
				all = append(all, hostNetwork{p.Masked(), i.Name + " " + p.String()})
			}
		}
	}
	table, err := os.Open("/proc/thread-self/net/route")
	if errors.Is(err, os.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	defer table.Close()
	for lines := bufio.NewScanner(table); lines.Scan(); {
		if p, name, ok := parseRoute(lines.Text()); ok && p.Bits() > pool.Bits() && !ours(name) {
			all = append(all, hostNetwork{p, "route to " + p.String()})
		}
	}
	return all, nil
}

// parseRoute reads a line of /proc/net/route: interface, destination, gateway,
// flags, references, use, metric, mask, and more; numbers as in memory.
func parseRoute(line string) (p netip.Prefix, name string, ok bool) {
	words := strings.Fields(line)
	if len(words) < 8 {
		return p, "", false
	}
	to, err1 := hex.DecodeString(words[1])
	mask, err2 := hex.DecodeString(words[7])
	if err1 != nil || err2 != nil || len(to) != 4 || len(mask) != 4 {
		return p, "", false
	}
	address := binary.NativeEndian.AppendUint32(nil, binary.BigEndian.Uint32(to))
	return netip.PrefixFrom(netip.AddrFrom4([4]byte(address)), bits.OnesCount32(binary.BigEndian.Uint32(mask))), words[0], true
}

// overlapping names a network that overlaps n, or is "".
func overlapping(all []hostNetwork, n netip.Prefix) string {
	for _, h := range all {
		if h.Overlaps(n) {
			return h.name
		}
	}
	return ""
}
