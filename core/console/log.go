// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Log appends to an instance's console log. A write that the disk refuses is
// counted and forgotten, so that a full disk costs log lines and never stops
// pid 1. Bytes are stored exactly as they come.
type Log struct {
	mu   sync.Mutex
	file *os.File
	size int64
	lost int64
}

// OpenLog opens the log, making it with mode 0600 when missing, and continues
// after what is there. A symbolic link is refused.
func OpenLog(path string) (*Log, error) {
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE | unix.O_NOFOLLOW
	file, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open console log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot inspect console log %s: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		file.Close()
		return nil, fmt.Errorf("cannot use console log %s: not a regular file", path)
	}
	return &Log{file: file, size: info.Size()}, nil
}

// Write always reports success; see Lost.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		l.lost += int64(len(p))
		return len(p), nil
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	if err != nil {
		l.lost += int64(len(p) - n)
	}
	return len(p), nil
}

// Lost is the number of bytes that could not be stored.
func (l *Log) Lost() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Size is the length of the log file, counting what earlier runs left.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Close ends the log; later writes count as lost.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
