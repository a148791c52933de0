package segments

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/value"
)

// DumpSchema is the version of a dump.
const DumpSchema = 1

// Dump is a segment as JSON.
type Dump struct {
	Schema  int         `json:"schema"`
	Segment string      `json:"segment"`
	Taken   time.Time   `json:"taken"`
	Values  []DumpValue `json:"values"`
}

// DumpValue is a value in a dump. Its Value is null for a Mutex, and for what cannot be
// shown; Error then says why.
type DumpValue struct {
	Name   string          `json:"name"`
	Type   string          `json:"type"`
	Layout string          `json:"layout,omitempty"` // PEP 3118, of one element
	Len    int             `json:"len,omitempty"`
	Unit   string          `json:"unit,omitempty"`
	Hint   string          `json:"hint,omitempty"`
	Help   string          `json:"help,omitempty"`
	Value  json.RawMessage `json:"value"`
	Error  string          `json:"error,omitempty"`
}

// DumpOf reads all values of a segment. Beside an error about damage it returns what
// could be read. A value that is too large to be shown is no error: the dump has an error
// instead of it.
func DumpOf(s *shm.Segment) (*Dump, error) {
	var damage error
	d := &Dump{Schema: DumpSchema, Segment: s.Name(), Taken: time.Now().UTC().Truncate(time.Millisecond), Values: []DumpValue{}}
	for e := range s.Entries() {
		v := DumpValue{Name: e.Name, Type: e.Type(), Layout: e.Layout.Format, Len: e.Len, Unit: e.Unit, Hint: e.Hint, Help: e.Help}
		x := e.Any()
		if err, failed := x.(error); failed {
			v.Error, x = err.Error(), nil
			if damage == nil && !errors.Is(err, shm.ErrTooLong) {
				damage = err
			}
		}
		v.Value = value.Exact(x, e.Layout, e.Hint)
		d.Values = append(d.Values, v)
	}
	if err := s.Check(); err != nil {
		damage = err
	}
	return d, damage
}

// ReadDump reads a dump. The error wraps shm.ErrVersion for one of another schema.
func ReadDump(r io.Reader) (*Dump, error) {
	var d Dump
	text := json.NewDecoder(r)
	if err := text.Decode(&d); err != nil {
		return nil, fmt.Errorf("%w: not a dump: %w", fs.ErrInvalid, err)
	}
	switch _, err := text.Token(); {
	case d.Schema != DumpSchema:
		return nil, fmt.Errorf("%w: a dump of schema %d; this program reads schema %d", shm.ErrVersion, d.Schema, DumpSchema)
	case d.Values == nil:
		return nil, fmt.Errorf("%w: not a dump: it has no values", fs.ErrInvalid)
	case err != io.EOF:
		return nil, fmt.Errorf("%w: not a dump: something follows it", fs.ErrInvalid)
	}
	return &d, nil
}

// Read returns the dump of a segment, or the one that a file has. A name that is no path
// is a segment if there is one of this name, and else a file in the working directory.
func Read(name string) (*Dump, error) {
	s, err := Look(name)
	if err == nil {
		defer s.Close()
		return DumpOf(s)
	}
	path := name
	if !IsPath(name) {
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		path = "." + string(filepath.Separator) + name
	}
	f, fileErr := openRead(path)
	if fileErr != nil {
		return nil, err
	}
	defer f.Close()
	var first [1]byte
	if _, fileErr := f.ReadAt(first[:], 0); fileErr != nil || first[0] != '{' {
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return nil, &os.PathError{Op: "read", Path: path, Err: fmt.Errorf("%w: neither a segment nor a dump", fs.ErrInvalid)}
	}
	d, err := ReadDump(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", form.Name(path), err)
	}
	return d, nil
}
