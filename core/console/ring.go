// SPDX-License-Identifier: Apache-2.0

package console

// ring is a queue of bytes that grows up to a limit and frees its memory when it
// is empty, which for most viewers is nearly always.
type ring struct {
	buf   []byte
	start int
	n     int
}

// put takes as much of p as fits below limit.
func (r *ring) put(p []byte, limit int) (taken int) {
	taken = min(len(p), limit-r.n)
	if r.n+taken > len(r.buf) {
		r.grow(min(max(2*len(r.buf), r.n+taken), limit))
	}
	end := (r.start + r.n) % max(len(r.buf), 1)
	first := copy(r.buf[end:], p[:taken])
	copy(r.buf, p[first:taken])
	r.n += taken
	return taken
}

func (r *ring) grow(size int) {
	buf := make([]byte, size)
	n := r.n
	r.take(buf)
	r.buf, r.start, r.n = buf, 0, n
}

func (r *ring) take(p []byte) (n int) {
	n = min(len(p), r.n)
	first := copy(p[:n], r.buf[r.start:])
	copy(p[first:n], r.buf)
	r.n -= n
	if r.n == 0 {
		*r = ring{}
		return n
	}
	r.start = (r.start + n) % len(r.buf)
	return n
}
