// Package settings defines the settings that the daemons and the command set share.
package settings

import (
	"bytes"
	"fmt"
	"time"

	"example.org/shm"
)

// Settings are the settings of the daemons. They change as a whole. A newer version
// of the programs may append fields while older programs run.
type Settings struct {
	Interval time.Duration
	Greeting [32]byte `shm:"Greeting,char"`
	Loud     bool
}

// Default returns the settings that apply until a program changes them.
func Default() Settings {
	s := Settings{Interval: time.Second}
	copy(s.Greeting[:], "hello")
	return s
}

// Text returns the greeting as it is printed.
func (s Settings) Text() string {
	text, _, _ := bytes.Cut(s.Greeting[:], []byte{0})
	if s.Loud {
		text = bytes.ToUpper(text)
	}
	return string(text)
}

// Greeting returns a text as the field of Settings. It returns an error if the text is
// too long.
func Greeting(text string) (g [32]byte, err error) {
	if len(text) > len(g) {
		return g, fmt.Errorf("%d bytes, at most %d are kept", len(text), len(g))
	}
	copy(g[:], text)
	return g, nil
}

func (s Settings) String() string { return fmt.Sprintf("%q every %v", s.Text(), s.Interval) }

// Open attaches to the settings in the segment of that name. The first program that
// does so makes the settings.
func Open(name string) (shm.Struct[Settings], error) {
	seg, err := shm.Open(name, nil)
	if err != nil {
		return shm.Struct[Settings]{}, err
	}
	// The segment stays open until the process ends: Close would end each Await.
	return shm.NewStruct(seg, "settings", Default())
}
