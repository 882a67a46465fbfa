// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseNetwork(t *testing.T) {
	got, err := ParseNetwork([]byte("hello\ncolour=red\ninterface=lan0\nhost_interface=fw0\naddress=192.168.1.1/24\naddress=fd00::1/64\n" +
		"gateway=192.168.1.254\nreach=127.0.0.1:8080->80\nreach=[::1]:53->5353/udp"))
	want := Network{"lan0", "fw0", "192.168.1.1/24", "fd00::1/64", "192.168.1.254", []string{"127.0.0.1:8080->80", "[::1]:53->5353/udp"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := ParseNetwork(nil); err != nil || !reflect.DeepEqual(got, Network{}) {
		t.Errorf("nothing gave %+v, %v", got, err)
	}
	for _, line := range []string{
		"interface=", "interface=a b", "interface=..", "interface=sixteen-letters-", "host_interface=a/b", "interface=a\x1b",
		"address=10.0.0.1", "address=10.0.0.1/33", "address=::ffff:1.2.3.4/128", "address=x/24", "gateway=10.0.0.1/24", "gateway=fe80::1%eth0",
		"reach=80->80", "reach=localhost:80->80", "reach=127.0.0.1:0->80", "reach=127.0.0.1:80->65536", "reach=::1:80->80", "reach=[127.0.0.1]:80->80",
		"reach=127.0.0.1:80->80/sctp", strings.Repeat("reach=127.0.0.1:80->80\n", maxReach+1),
	} {
		if got, err := ParseNetwork([]byte("interface=ok\n" + line)); err == nil {
			t.Errorf("%.40q gave %+v", line, got)
		} else if strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%q in an error", err)
		}
	}
}

func FuzzParseNetwork(f *testing.F) {
	f.Add([]byte("interface=eth0\naddress=10.0.0.1/24\nreach=127.0.0.1:80->80/tcp"))
	f.Fuzz(func(t *testing.T, output []byte) {
		n, err := ParseNetwork(output)
		if err != nil {
			return
		}
		for _, c := range []struct{ form, value string }{
			{string(FormCIDR), n.Address}, {string(FormCIDR6), n.Address6}, {string(FormInterface), n.Interface}, {string(FormInterface), n.HostInterface},
		} {
			if bad := (Kind{Form: Form(c.form)}).Check(c.value); c.value != "" && bad != "" {
				t.Errorf("%q %s", c.value, bad)
			}
		}
	})
}
