// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// The dialogue over the socket. The client sends one request, a line of JSON,
// and reads replies, lines of JSON. After an attach's first reply both sides
// send frames.

const (
	opKill   = "kill"
	opSignal = "signal"
	opAttach = "attach"
	opResize = "resize"
	opWait   = "wait"
	opInfo   = "info"
)

type request struct {
	Op        string `json:"op"`
	Signal    int    `json:"signal,omitempty"`
	TimeoutMS int64  `json:"timeout_ms,omitempty"`
	Rows      uint16 `json:"rows,omitempty"`
	Cols      uint16 `json:"cols,omitempty"`
}

// reply: kill and wait are answered twice, at once and when the instance is
// gone, the second time with Exit.
type reply struct {
	Error  string  `json:"error,omitempty"`
	Status *Status `json:"status,omitempty"`
	Exit   *Exit   `json:"exit,omitempty"`
}

const lineLimit = 64 << 10

func writeLine(w io.Writer, message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

func readLine(r *bufio.Reader, message any) error {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > lineLimit {
			return errors.New("cannot read message: too long")
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	if err := json.Unmarshal(bytes.TrimSpace(line), message); err != nil {
		return fmt.Errorf("cannot understand message: %w", err)
	}
	return nil
}

// Kinds of frames.
const (
	frameData    = 'd' // either way: console bytes
	frameSize    = 'w' // to the supervisor: rows, cols
	frameSkipped = 'o' // to the viewer: bytes left out here
	frameExit    = 'x' // to the viewer: Exit as JSON, the last frame
)

const (
	frameHeader = 5
	frameLimit  = 64 << 10
)

// appendFrame: kind, length as four bytes big endian, payload.
func appendFrame(b []byte, kind byte, payload []byte) []byte {
	b = append(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// readFrame returns a payload that is valid until the next call with buf.
func readFrame(r io.Reader, buf *[]byte) (kind byte, payload []byte, err error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(header[1:])
	if n > frameLimit {
		return 0, nil, fmt.Errorf("cannot read frame: %d bytes", n)
	}
	if cap(*buf) < int(n) {
		*buf = make([]byte, n)
	}
	payload = (*buf)[:n]
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	return header[0], payload, nil
}

func sizePayload(rows, cols uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, rows), cols)
}

func parseSize(payload []byte) (rows, cols uint16, ok bool) {
	if len(payload) != 4 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload[2:]), true
}
