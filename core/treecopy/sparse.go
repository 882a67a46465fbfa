// SPDX-License-Identifier: Apache-2.0

package treecopy

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// grain is the least hole worth a record. It does not depend on the file system,
// so that equal files make equal streams.
const grain = 64 << 10

// run is a part of a file that is not all zeros.
type run struct{ at, size int64 }

type runs []run

// whole: there is no hole.
func (r runs) whole(size int64) bool {
	return size == 0 || len(r) == 1 && r[0] == run{0, size}
}

// dataRuns finds the parts of a file that are not grains of zeros, without
// reading its holes. The position of the file is 0 afterwards.
func dataRuns(ctx context.Context, f *os.File, size int64) (runs, error) {
	if size < grain {
		return runs{{0, size}}, nil
	}
	var found runs
	buf := make([]byte, grain)
	for at := int64(0); at < size; at += grain {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole up to the end
		}
		if err == nil && data > at {
			at = data - data%grain
		}
		n, err := f.ReadAt(buf[:min(grain, size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if len(bytes.Trim(buf[:n], "\x00")) == 0 {
			continue
		}
		part := run{at, min(grain, size-at)}
		if last := len(found) - 1; last >= 0 && found[last].at+found[last].size == at {
			found[last].size += part.size
		} else {
			found = append(found, part)
		}
	}
	_, err := f.Seek(0, io.SeekStart)
	return found, err
}

// sparse writes a file with holes as GNU tar does, in version 1.0 of its PAX
// format: a map of the data in front of the data. archive/tar reads that and
// does not write it.
func (a *Archive) sparse(h *tar.Header, file *os.File, parts runs) error {
	name, real := h.Name, h.Size
	index := parts
	if end := len(parts) - 1; end < 0 || parts[end].at+parts[end].size < real {
		index = append(index, run{real, 0}) // GNU tar learns the size by it
	}
	table := fmt.Appendf(nil, "%d\n", len(index))
	h.Size = 0
	for _, part := range index {
		table = fmt.Appendf(table, "%d\n%d\n", part.at, part.size)
		h.Size += part.size
	}
	table = append(table, make([]byte, padding(int64(len(table))))...)
	h.Size += int64(len(table))
	h.Name = path.Dir(name) + "/GNUSparseFile.0/" + path.Base(name)
	header, err := sparseHeader(h, name, real)
	if err == nil {
		err = a.tar.Flush()
	}
	if err == nil {
		_, err = a.out.Write(append(header, table...))
	}
	if err != nil {
		return fmt.Errorf("cannot archive %q: %w", name, err)
	}
	for _, part := range parts {
		if err := copyBody(a.ctx, a.out, io.NewSectionReader(file, part.at, part.size), part.size, name, a.leave); err != nil {
			return err
		}
	}
	_, err = a.out.Write(make([]byte, padding(h.Size)))
	return err
}

func padding(size int64) int64 { return -size & (tarBlock - 1) }

const tarBlock = 512

// sparseHeader has archive/tar make the header under keys that it lets through,
// and then puts the right ones in their place: they are of the same length, and
// no checksum covers them.
func sparseHeader(h *tar.Header, name string, real int64) ([]byte, error) {
	const ours, theirs = "GNU-sparse.", "GNU.sparse."
	for key, value := range map[string]string{"major": "1", "minor": "0", "name": name, "realsize": strconv.FormatInt(real, 10)} {
		h.PAXRecords[ours+key] = value
	}
	var buf bytes.Buffer
	if err := tar.NewWriter(&buf).WriteHeader(h); err != nil {
		return nil, err
	}
	// The first block tells how long the records are, each "LENGTH KEY=VALUE\n".
	header := buf.Bytes()
	length, err := strconv.ParseInt(string(header[124:135]), 8, 64)
	if err != nil || length > int64(len(header)-tarBlock) {
		return nil, errors.New("archive/tar made a header that cannot be read")
	}
	for records := header[tarBlock:][:length]; len(records) > 0; {
		digits, record, _ := bytes.Cut(records, []byte(" "))
		n, err := strconv.Atoi(string(digits))
		if err != nil || n < 1 || n > len(records) {
			return nil, errors.New("archive/tar made a record that cannot be read")
		}
		if bytes.HasPrefix(record, []byte(ours)) {
			copy(record, theirs)
		}
		records = records[n:]
	}
	return header, nil
}
