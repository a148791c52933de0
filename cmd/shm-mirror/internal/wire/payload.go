package wire

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Epoch is one run of an owner's agent on one segment. Commit numbers are compared within
// an epoch only.
type Epoch [16]byte

// NewEpoch returns an epoch that nobody else has.
func NewEpoch() (e Epoch) {
	_, _ = rand.Read(e[:]) // it never fails
	return e
}

// String returns the epoch in hexadecimal digits.
func (e Epoch) String() string { return hex.EncodeToString(e[:]) }

// MarshalText is String.
func (e Epoch) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText undoes MarshalText.
func (e *Epoch) UnmarshalText(b []byte) error {
	if len(b) != 2*len(e) {
		return fmt.Errorf("an epoch of %d characters", len(b))
	}
	_, err := hex.Decode(e[:], b)
	return err
}

// maxPast is how many epochs before its own an agent remembers. A server that comes back
// with an old state, or a member of a cluster that lags behind, says one of them.
const maxPast = 16

// Past is epochs that are over, the last one first.
type Past []Epoch

// With returns the epochs with others in front of them that were over later.
func (p Past) With(later ...Epoch) Past {
	var all Past
	for _, e := range append(later, p...) {
		if len(all) < maxPast && e != (Epoch{}) && !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	return all
}

// Value is one value as it was at one commit, or what was appended to a ring.
type Value struct {
	Epoch       Epoch
	Commit      uint64 // grows with each change; of a ring: number of the newest value in Bytes
	Sent        time.Time
	Part, Parts int
	Torn        bool   // it may have been copied while it changed
	Order       byte   // of the bytes in a number: < or >
	Description []byte // shm.Description as JSON
	Bytes       []byte // as Entry.Bytes returns them; of a ring: values one behind the other
}

// NativeOrder is the Order of this machine.
var NativeOrder = func() byte {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return '<'
	}
	return '>'
}()

// Limits on what a payload may have.
const (
	Version        = 1
	Overhead       = 4096 // more than a message has beside the description and the bytes
	maxDescription = 1 << 16
	fixed          = 1 + 1 + 1 + 1 + 16 + 8 + 8 + 4 + 4 + 4
)

// ErrVersion says that a payload is of another version of this package.
var ErrVersion = errors.New("payload of another version")

const torn = 1

// Append appends the payload of v to b.
func (v *Value) Append(b []byte) []byte {
	flags := byte(0)
	if v.Torn {
		flags |= torn
	}
	b = append(b, 'S', Version, flags, v.Order)
	b = append(b, v.Epoch[:]...)
	b = binary.BigEndian.AppendUint64(b, v.Commit)
	b = binary.BigEndian.AppendUint64(b, uint64(v.Sent.UnixNano()))
	b = binary.BigEndian.AppendUint32(b, uint32(v.Part))
	b = binary.BigEndian.AppendUint32(b, uint32(v.Parts))
	b = binary.BigEndian.AppendUint32(b, uint32(len(v.Description)))
	b = append(b, v.Description...)
	return append(b, v.Bytes...)
}

// Decode reads a payload. Description and Bytes are within b.
func Decode(b []byte) (v Value, err error) {
	switch {
	case len(b) < fixed || b[0] != 'S':
		return v, errors.New("no payload of a mirror")
	case b[1] != Version:
		return v, fmt.Errorf("%w: %d, this program reads %d", ErrVersion, b[1], Version)
	case b[2]&^torn != 0 || b[3] != '<' && b[3] != '>':
		return v, errors.New("payload with unknown flags")
	}
	v.Torn, v.Order = b[2]&torn != 0, b[3]
	rest := b[4+copy(v.Epoch[:], b[4:20]):]
	v.Commit = binary.BigEndian.Uint64(rest)
	v.Sent = time.Unix(0, int64(binary.BigEndian.Uint64(rest[8:])))
	part, parts, n := binary.BigEndian.Uint32(rest[16:]), binary.BigEndian.Uint32(rest[20:]), binary.BigEndian.Uint32(rest[24:])
	rest = rest[28:]
	switch {
	case part >= parts || parts > 1<<31-1:
		return v, fmt.Errorf("part %d of %d", part, parts)
	case n > maxDescription || int(n) > len(rest):
		return v, fmt.Errorf("a description of %d bytes in %d", n, len(rest))
	}
	v.Part, v.Parts = int(part), int(parts)
	v.Description, v.Bytes = rest[:n:n], rest[n:]
	return v, nil
}

// Meta says which epoch of an origin is current, and of what.
type Meta struct {
	Version  int           `json:"version"`
	Epoch    Epoch         `json:"epoch"`
	Past     Past          `json:"past,omitempty"` // epochs before this one
	Boot     string        `json:"boot,omitempty"` // of the host, if it says
	File     string        `json:"file"`           // path of the segment
	Segment  string        `json:"segment"`        // identity of the segment: another one if it is made anew; "" while there is none
	Started  time.Time     `json:"started"`
	Interval time.Duration `json:"interval"` // between two looks at the values
	Writable []string      `json:"writable,omitempty"`
}

// Beat is the heartbeat of an owner's agent.
type Beat struct {
	Epoch     Epoch     `json:"epoch"`
	Sent      time.Time `json:"sent"`
	Attached  bool      `json:"attached"` // the segment exists
	Living    int       `json:"living"`   // processes that have the segment and live
	Dead      int       `json:"dead"`     // processes that died and still hold something
	Values    int       `json:"values"`
	Published uint64    `json:"published"` // messages
	Conflated uint64    `json:"conflated"` // commits that no message was sent for, because a newer one came
	TooLarge  int       `json:"too_large"` // values that are larger than a message
	Again     uint64    `json:"again"`     // times that all was sent anew
}

// Commit says which state of a value is meant: the number of a commit, and the epoch in
// which it has that number. Its text is NUMBER@EPOCH.
type Commit struct {
	Number uint64
	Epoch  Epoch
}

// String returns NUMBER@EPOCH.
func (c Commit) String() string { return strconv.FormatUint(c.Number, 10) + "@" + c.Epoch.String() }

// MarshalText is String.
func (c Commit) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText undoes MarshalText.
func (c *Commit) UnmarshalText(b []byte) (err error) {
	number, epoch, ok := strings.Cut(string(b), "@")
	if !ok {
		return fmt.Errorf("%.80q is not NUMBER@EPOCH", b)
	}
	if c.Number, err = strconv.ParseUint(number, 10, 64); err != nil {
		return fmt.Errorf("%.80q is not NUMBER@EPOCH: %w", b, err)
	}
	return c.Epoch.UnmarshalText([]byte(epoch))
}

// Request asks an owner's agent to set a value.
type Request struct {
	Name   string        `json:"name"`
	Text   string        `json:"text"`             // as Entry.Parse takes it
	If     *Commit       `json:"if,omitempty"`     // only if the value is of this commit
	Within time.Duration `json:"within,omitempty"` // so long who asks waits; a duration, because clocks differ
}

// Reply answers a Request.
type Reply struct {
	Commit *Commit `json:"commit,omitempty"` // that the request made; nil if nobody can know it
	Error  string  `json:"error,omitempty"`
	Kind   string  `json:"kind,omitempty"` // absent, refused, layout, locked, conflict or failed
	By     string  `json:"by,omitempty"`   // who refused: program and pid, or the agent's host
}
