// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Network is what a hook said on stdout when it configured a network: what it decided itself. The zero value is: nothing.
type Network struct {
	Interface     string   `json:"interface,omitempty"` // inside
	HostInterface string   `json:"host_interface,omitempty"`
	Address       string   `json:"address,omitempty"` // with its length, as those below
	Address6      string   `json:"address6,omitempty"`
	Gateway       string   `json:"gateway,omitempty"` // without one
	Reach         []string `json:"reach,omitempty"`   // HOST:PORT->PORT or HOST:PORT->PORT/udp
}

// maxReach bounds what one instance can publish.
const maxReach = 256

// reachPattern is compiled when it is needed: most commands never do.
var reachPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(.+):([0-9]{1,5})->([0-9]{1,5})(/tcp|/udp)?$`)
})

// ParseNetwork reads the output of the action configure. Lines that are not KEY=VALUE, and keys that it does not know,
// are left out. A later line of a key wins; of reach, each counts.
func ParseNetwork(output []byte) (n Network, err error) {
	for line := range strings.Lines(string(output)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok {
			continue
		}
		bad := ""
		switch key {
		case "interface":
			n.Interface, bad = value, CheckInterface(value)
		case "host_interface":
			n.HostInterface, bad = value, CheckInterface(value)
		case "address":
			if bad = (Kind{Form: FormCIDR}).Check(value); bad == "" {
				n.Address = value
			} else if bad = (Kind{Form: FormCIDR6}).Check(value); bad == "" {
				n.Address6 = value
			} else {
				bad = fmt.Sprintf("is %q, not an address with a length, as 10.202.0.2/30", clip(value, 60))
			}
		case "gateway":
			if n.Gateway = value; !isAddress(value) {
				bad = fmt.Sprintf("is %q, not an address", clip(value, 60))
			}
		case "reach":
			if bad = checkReach(value); bad == "" && len(n.Reach) == maxReach {
				bad = fmt.Sprintf("is there more than %d times", maxReach)
			}
			n.Reach = append(n.Reach, value)
		}
		if bad != "" {
			return Network{}, fmt.Errorf("it printed a line whose %s %s", key, escape(bad))
		}
	}
	return n, nil
}

func isAddress(text string) bool {
	a, err := netip.ParseAddr(text)
	return err == nil && a.Zone() == "" && !a.Is4In6()
}

func checkReach(value string) string {
	bad := fmt.Sprintf("is %q, not HOST:PORT->PORT", clip(value, 60))
	m := reachPattern().FindStringSubmatch(value)
	if m == nil {
		return bad
	}
	host := m[1]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	for _, port := range m[2:4] {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return bad
		}
	}
	if !isAddress(host) || strings.Contains(host, ":") != strings.HasPrefix(m[1], "[") {
		return bad
	}
	return ""
}
