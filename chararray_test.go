//go:build linux

package shm

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// TestCharArrayAsCtypes replays what a ctypes c_char array did.
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
	if err := json.Unmarshal(must(os.ReadFile("testdata/chararray.json"))(t), &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 100 {
		t.Fatalf("only %d vectors", len(vectors))
	}
	decode := func(s string) string {
		t.Helper()
		return string(must(hex.DecodeString(s))(t))
	}
	s := open(t, testName(t), nil)
	for i, v := range vectors {
		var c CharArray // without bytes: to a constructor 0 means the size found
		if v.Size > 0 {
			c = must(NewCharArray(s, valueName(i), v.Size))(t)
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
			if (op.Err != nil) != errors.Is(err, ErrTooLong) || op.Err == nil && err != nil {
				t.Fatalf("vector %d, operation %d: %v, in Python %v", i, j, err, op.Err)
			}
			if c.Value() != decode(op.Value) || string(c.Raw()) != decode(op.Raw) || string(c.Bytes()) != decode(op.Raw) {
				t.Fatalf("vector %d, operation %d: %q, in Python %q", i, j, c.Raw(), decode(op.Raw))
			}
		}
	}
}

func TestCharArrayBytesAndRaw(t *testing.T) {
	s := open(t, testName(t), nil)
	c := must(NewCharArray(s, "c", 5))(t)
	again := must(NewCharArray(s, "c", 0))(t)
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
