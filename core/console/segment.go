// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// segment is a part of a log that was set aside. Its file may be shorter than
// its name says, after a power cut.
type segment struct{ base, end int64 }

func (s segment) name(path string) string { return fmt.Sprintf("%s.%d-%d", path, s.base, s.end) }

func parseSegment(suffix string) (s segment, ok bool) {
	base, end, found := strings.Cut(suffix, "-")
	var err error
	if s.base, err = strconv.ParseInt(base, 10, 64); !found || err != nil {
		return segment{}, false
	}
	if s.end, err = strconv.ParseInt(end, 10, 64); err != nil || s.base < 0 || s.end < s.base {
		return segment{}, false
	}
	return s, suffix == fmt.Sprintf("%d-%d", s.base, s.end)
}

// listSegments lists those of the log at path, oldest first.
func listSegments(path string) ([]segment, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var all []segment
	for _, e := range entries {
		if suffix, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+"."); ok {
			if s, ok := parseSegment(suffix); ok {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(a, b segment) int { return int(min(1, max(-1, a.base-b.base))) })
	return all, nil
}

// stamp says when the output from position at on was written, as far as the next
// stamp.
type stamp struct {
	at   int64
	time time.Time
}

const (
	stampSize = 16
	// stampEvery is how far apart stamps are: what one covers was written within
	// that time after it.
	stampEvery = 20 * time.Millisecond
)

func timesOf(path string) string { return path + ".times" }

func (s stamp) encode() []byte {
	data := binary.BigEndian.AppendUint64(nil, uint64(s.at))
	return binary.BigEndian.AppendUint64(data, uint64(s.time.UnixNano()))
}

// decodeStamp gives a zero time for what is no stamp, as the zeros that a power
// cut may leave.
func decodeStamp(data []byte) stamp {
	at, nanos := int64(binary.BigEndian.Uint64(data)), int64(binary.BigEndian.Uint64(data[8:]))
	if at < 0 || nanos <= 0 {
		return stamp{}
	}
	return stamp{at: at, time: time.Unix(0, nanos)}
}

func readStamp(file io.ReaderAt, at int64) (stamp, error) {
	var data [stampSize]byte
	if _, err := file.ReadAt(data[:], at); err != nil {
		return stamp{}, err
	}
	return decodeStamp(data[:]), nil
}

// parseStamps leaves out what is torn or goes backwards.
func parseStamps(data []byte) []stamp {
	var all []stamp
	for ; len(data) >= stampSize; data = data[stampSize:] {
		s := decodeStamp(data)
		if !s.time.IsZero() && (len(all) == 0 || s.at >= all[len(all)-1].at) {
			all = append(all, s)
		}
	}
	return all
}
