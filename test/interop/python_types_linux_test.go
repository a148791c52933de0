package interop_test

import (
	"errors"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// makeCharacters makes what multiprocessing has typecodes and types for, and Go
// has no type of the same format for.
const makeCharacters = `
import ctypes, sys, shm
class Mixed(ctypes.Structure):
    _fields_ = [("letter", ctypes.c_char), ("n", ctypes.c_int32), ("tag", ctypes.c_char * 3)]
seg = shm.open(sys.argv[1])
seg.raw_array("text", "c", 8)[:2] = b"hi"
seg.raw_array("given", "c", b"given")
seg.raw_value("alone", ctypes.c_char * 8, b"alone")
seg.raw_value("letter", "c", b"x")
seg.raw_value("flag", ctypes.c_bool, True)
seg.raw_value("flags", ctypes.c_bool * 4, (True, False, True))
seg.raw_value("mixed", Mixed, (b"a", 7, b"tag"))
seg.struct("mixes", Mixed * 2)
for wrong in (
    lambda: seg.raw_array("none", ctypes.c_bool, 4), lambda: seg.struct("none", ctypes.c_char * 8),
    lambda: seg.raw_value("none", (ctypes.c_char * 8) * 2), lambda: seg.array("none", "c", 8),
):
    try:
        wrong()
        sys.exit("made")
    except TypeError:
        pass
`

// TestPythonCharacters attaches to characters and bools that Python has made, by
// the constructors that docs/sharedctypes.md names for them.
func TestPythonCharacters(t *testing.T) {
	t.Parallel()
	type mixed struct {
		Letter [1]byte `shm:"letter,char"`
		N      int32   `shm:"n"`
		Tag    [3]byte `shm:"tag,char"`
	}
	for _, python := range shmtest.Pythons(t, shmtest.PythonShm) {
		t.Run(python.Version, func(t *testing.T) {
			t.Parallel()
			name := shmtest.Name(t)
			s := shmtest.Opened(shm.Open(name, nil))(t)
			if out, err := python.Command("-c", makeCharacters, name).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for name, want := range map[string]string{"text": "hi", "given": "given", "alone": "alone"} {
				if got := shmtest.Must(shm.NewCharArray(s, name, 0))(t).Value(); got != want {
					t.Errorf("%s is %q", name, got)
				}
			}
			if got := shmtest.Must(shm.NewRawValue[uint8](s, "letter", 0))(t).Get(); got != 'x' {
				t.Errorf("letter is %q", got)
			}
			if !shmtest.Must(shm.NewRawStruct(s, "flag", false))(t).Get() {
				t.Error("flag is false")
			}
			if got := shmtest.Must(shm.NewRawStruct(s, "flags", [4]bool{}))(t).Get(); got != [4]bool{true, false, true} {
				t.Errorf("flags are %v", got)
			}
			want := mixed{[1]byte{'a'}, 7, [3]byte([]byte("tag"))}
			if got := shmtest.Must(shm.NewRawStruct(s, "mixed", mixed{}))(t).Get(); got != want {
				t.Errorf("mixed is %v", got)
			}
			if got := shmtest.Must(shm.NewStruct(s, "mixes", [2]mixed{}))(t).Load(); got != [2]mixed{} {
				t.Errorf("mixes are %v", got)
			}
			if _, ok := s.Lookup("none"); ok {
				t.Error("a call that failed has taken the name")
			}
			_, err := shm.NewRawArray[uint8](s, "text", 8)
			if e := (*shm.LayoutError)(nil); !errors.As(err, &e) {
				t.Errorf("%v, want a LayoutError", err)
			}
		})
	}
}
