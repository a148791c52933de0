//go:build linux

package shm_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// TestCharArrayAsCtypes repeats what was done with a c_char array of ctypes.
func TestCharArrayAsCtypes(t *testing.T) {
	var vectors []struct {
		Size      int
		Init      *string // hex; nil: without an initial value
		InitValue string  `json:"init_value"`
		Ops       []struct {
			Op, Arg    string
			Err        *string
			Value, Raw string
		}
	}
	if err := json.Unmarshal(shmtest.Must(os.ReadFile("testdata/chararray.json"))(t), &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 100 {
		t.Fatalf("only %d vectors", len(vectors))
	}
	decode := func(s string) string {
		t.Helper()
		return string(shmtest.Must(hex.DecodeString(s))(t))
	}
	s := open(t, shmtest.Name(t), nil)
	for i, v := range vectors {
		var c shm.CharArray // without bytes: to a constructor 0 means the size found
		if v.Size > 0 {
			c = shmtest.Must(shm.NewCharArray(s, valueName(i), v.Size))(t)
		}
		if c.Len() != v.Size || c.Value() != "" || string(c.Raw()) != strings.Repeat("\x00", v.Size) {
			t.Fatalf("vector %d starts as %q", i, c.Raw())
		}
		if v.Init != nil {
			if err := c.SetValue(decode(*v.Init)); err != nil {
				t.Fatalf("vector %d: %v", i, err)
			}
		}
		if got := c.Value(); got != decode(v.InitValue) {
			t.Fatalf("vector %d starts as %q, want %q", i, got, decode(v.InitValue))
		}
		for j, op := range v.Ops {
			var err error
			switch op.Op {
			case "set_value":
				err = c.SetValue(decode(op.Arg))
			case "set_raw":
				err = c.SetRaw([]byte(decode(op.Arg)))
			default:
				t.Fatalf("vector %d: operation %q", i, op.Op)
			}
			if (op.Err != nil) != errors.Is(err, shm.ErrTooLong) || op.Err == nil && err != nil {
				t.Fatalf("vector %d, operation %d: %v, in Python %v", i, j, err, op.Err)
			}
			if c.Value() != decode(op.Value) || string(c.Raw()) != decode(op.Raw) || string(c.Bytes()) != decode(op.Raw) {
				t.Fatalf("vector %d, operation %d: %q, in Python %q", i, j, c.Raw(), decode(op.Raw))
			}
		}
	}
}

func TestCharArrayBytesAndRaw(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	c := shmtest.Must(shm.NewCharArray(s, "c", 5))(t)
	again := shmtest.Must(shm.NewCharArray(s, "c", 0))(t)
	copy(c.Bytes(), "hello")
	if again.Len() != 5 || again.Value() != "hello" {
		t.Fatalf("%d bytes, %q", again.Len(), again.Value())
	}
	raw := again.Raw()
	raw[0] = 'J' // a copy
	if c.Value() != "hello" {
		t.Fatal("Raw is the memory itself")
	}
	if err := c.SetRaw(c.Bytes()[1:]); err != nil || c.Value() != "elloo" {
		t.Fatalf("%q, %v", c.Value(), err)
	}
	if n := cap(c.Bytes()); n != 5 {
		t.Fatalf("Bytes can be extended to %d", n)
	}
}
