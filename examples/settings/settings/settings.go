// Package settings is what the daemons and the command that sets them agree on.
package settings

import (
	"bytes"
	"fmt"
	"time"

	"example.org/shm"
)

// Settings change as a whole. A newer version may append fields while older
// programs run.
type Settings struct {
	Interval time.Duration
	Greeting [32]byte `shm:"Greeting,char"`
	Loud     bool
}

// Default is what stands until somebody sets something else.
func Default() Settings {
	s := Settings{Interval: time.Second}
	copy(s.Greeting[:], "hello")
	return s
}

// Text returns the greeting.
func (s Settings) Text() string {
	text, _, _ := bytes.Cut(s.Greeting[:], []byte{0})
	if s.Loud {
		text = bytes.ToUpper(text)
	}
	return string(text)
}

// Greeting returns a text as Settings has it, if it is not too long.
func Greeting(text string) (g [32]byte, err error) {
	if len(text) > len(g) {
		return g, fmt.Errorf("%d bytes, at most %d are kept", len(text), len(g))
	}
	copy(g[:], text)
	return g, nil
}

func (s Settings) String() string { return fmt.Sprintf("%q every %v", s.Text(), s.Interval) }

// Open attaches to the settings in the segment of that name; whoever comes first
// makes them.
func Open(name string) (shm.Struct[Settings], error) {
	seg, err := shm.Open(name, nil)
	if err != nil {
		return shm.Struct[Settings]{}, err
	}
	defer seg.Close() // what is returned works on
	return shm.NewStruct(seg, "settings", Default())
}
