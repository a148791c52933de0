package docs_test

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"iter"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// Programs outside this repository use these names and signatures. They are stated
// here as types, so that this file does not compile after a change. Generic ones are
// stated for all their type arguments at once, so that a narrower constraint does
// not compile either.

var (
	_ func(string, *shm.Options) (*shm.Segment, error)   = shm.Open
	_ func(*shm.Options) (*shm.Segment, error)           = shm.Anonymous
	_ func(*os.File, *shm.Options) (*shm.Segment, error) = shm.OpenFile
	_ func(string) error                                 = shm.Remove
	_ func(string, *shm.Options) (*shm.Segment, error)   = shm.Inherited
	_ func(string) string                                = shm.Path
	_ func(*shm.Segment, any) error                      = shm.Bind

	_ func(*shm.Segment, *exec.Cmd)                                  = (*shm.Segment).Pass
	_ func(*shm.Segment) string                                      = (*shm.Segment).Name
	_ func(*shm.Segment) *os.File                                    = (*shm.Segment).File
	_ func(*shm.Segment) int64                                       = (*shm.Segment).Size
	_ func(*shm.Segment) iter.Seq[shm.Entry]                         = (*shm.Segment).Entries
	_ func(*shm.Segment, string) (shm.Entry, bool)                   = (*shm.Segment).Lookup
	_ func(*shm.Segment, context.Context, string) (shm.Entry, error) = (*shm.Segment).WaitFor
	_ func(*shm.Segment) error                                       = (*shm.Segment).Sync
	_ func(*shm.Segment) (bool, error)                               = (*shm.Segment).Replaced
	_ func(*shm.Segment) (bool, error)                               = (*shm.Segment).Leased
	_ func(*shm.Segment) error                                       = (*shm.Segment).Check
	_ func(*shm.Segment) iter.Seq[shm.Process]                       = (*shm.Segment).Processes
	_ func(*shm.Segment, context.Context, shm.Process) error         = (*shm.Segment).AwaitExit
	_ func(shm.Process) bool                                         = shm.Process.Alive
	_ func(*shm.Segment) error                                       = (*shm.Segment).Close
)

func apiNumeric[T shm.Numeric]() {
	var (
		_ func(*shm.Segment, string, T) (shm.RawValue[T], error)   = shm.NewRawValue[T]
		_ func(*shm.Segment, string, int) (shm.RawArray[T], error) = shm.NewRawArray[T]
		_ func(*shm.Segment, int64) (shm.RawValue[T], error)       = shm.RawValueAt[T]
		_ func(*shm.Segment, int64, int) (shm.RawArray[T], error)  = shm.RawArrayAt[T]
		_ func(shm.RawValue[T]) T                                  = shm.RawValue[T].Get
		_ func(shm.RawValue[T], T)                                 = shm.RawValue[T].Set
		_ func(shm.RawValue[T]) *T                                 = shm.RawValue[T].Ptr
		_ func(shm.RawArray[T]) int                                = shm.RawArray[T].Len
		_ func(shm.RawArray[T], int) T                             = shm.RawArray[T].Get
		_ func(shm.RawArray[T], int, T)                            = shm.RawArray[T].Set
		_ func(shm.RawArray[T]) []T                                = shm.RawArray[T].Slice
		_ func(shm.RawArray[T]) iter.Seq2[int, T]                  = shm.RawArray[T].All
	)
}

func apiWord[T shm.Word]() {
	apiNumeric[T]() // each Word is Numeric
	var (
		_ func(*shm.Segment, string, T) (shm.Value[T], error)          = shm.NewValue[T]
		_ func(*shm.Segment, string, int) (shm.Array[T], error)        = shm.NewArray[T]
		_ func(shm.RawValue[T], *shm.Mutex) shm.Value[T]               = shm.Synchronized[T]
		_ func(shm.Value[T]) T                                         = shm.Value[T].Load
		_ func(shm.Value[T], T)                                        = shm.Value[T].Store
		_ func(shm.Value[T], T) T                                      = shm.Value[T].Swap
		_ func(shm.Value[T], T, T) bool                                = shm.Value[T].CompareAndSwap
		_ func(shm.Value[T], T) T                                      = shm.Value[T].Add
		_ func(shm.Value[T], func(T) T) T                              = shm.Value[T].Update
		_ func(shm.Value[T], context.Context, func(T) bool) (T, error) = shm.Value[T].Await
		_ func(shm.Value[T], context.Context) iter.Seq2[uint64, T]     = shm.Value[T].Changes
		_ func(shm.Value[T], context.Context, T) error                 = shm.Value[T].StoreContext
		_ func(shm.Value[T]) *shm.Mutex                                = shm.Value[T].Mutex
		_ func(shm.Value[T]) shm.RawValue[T]                           = shm.Value[T].Raw
		_ func(shm.Array[T]) int                                       = shm.Array[T].Len
		_ func(shm.Array[T], int) T                                    = shm.Array[T].Load
		_ func(shm.Array[T], int, T)                                   = shm.Array[T].Store
		_ func(shm.Array[T], int, T) T                                 = shm.Array[T].Add
		_ func(shm.Array[T], func([]T))                                = shm.Array[T].WithLock
		_ func(shm.Array[T]) *shm.Mutex                                = shm.Array[T].Mutex
		_ func(shm.Array[T]) shm.RawArray[T]                           = shm.Array[T].Raw

		_ func(shm.Value[T], context.Context, func(T) (T, error)) (T, error) = shm.Value[T].UpdateContext
		_ func(shm.Array[T], context.Context, func([]T) error) error         = shm.Array[T].WithLockContext
	)
}

func apiAtomicInteger[T shm.AtomicInteger]() {
	apiWord[T]() // each AtomicInteger is a Word
	var (
		_ func(*shm.Segment, string, T) (shm.Atomic[T], error) = shm.NewAtomic[T]
		_ func(shm.Atomic[T]) T                                = shm.Atomic[T].Load
		_ func(shm.Atomic[T], T)                               = shm.Atomic[T].Store
		_ func(shm.Atomic[T], T) T                             = shm.Atomic[T].Swap
		_ func(shm.Atomic[T], T, T) bool                       = shm.Atomic[T].CompareAndSwap
		_ func(shm.Atomic[T], T) T                             = shm.Atomic[T].Add
		_ func(shm.Atomic[T], T) T                             = shm.Atomic[T].And
		_ func(shm.Atomic[T], T) T                             = shm.Atomic[T].Or

		_ func(*shm.Segment, string, int) (shm.AtomicArray[T], error) = shm.NewAtomicArray[T]
		_ func(shm.AtomicArray[T]) int                                = shm.AtomicArray[T].Len
		_ func(shm.AtomicArray[T], int) shm.Atomic[T]                 = shm.AtomicArray[T].At
	)
}

func apiCounterNumber[T shm.CounterNumber]() {
	apiWord[T]() // each CounterNumber is a Word
	var (
		_ func(*shm.Segment, string) (shm.Counter[T], error) = shm.NewCounter[T]
		_ func(shm.Counter[T], T)                            = shm.Counter[T].Add
		_ func(shm.Counter[T]) T                             = shm.Counter[T].Load
		_ func(*shm.Segment, string) (shm.Gauge[T], error)   = shm.NewGauge[T]
		_ func(shm.Gauge[T], T)                              = shm.Gauge[T].Set
		_ func(shm.Gauge[T], T)                              = shm.Gauge[T].Add
		_ func(shm.Gauge[T]) T                               = shm.Gauge[T].Load
		_ func(shm.Gauge[T]) (T, bool)                       = shm.Gauge[T].Min
		_ func(shm.Gauge[T]) iter.Seq2[shm.Process, T]       = shm.Gauge[T].All
		_ func(shm.Gauge[T]) (T, bool)                       = shm.Gauge[T].Max
	)
}

func apiAny[T any]() {
	var (
		_ func(*shm.Segment, string, T) (shm.RawStruct[T], error)       = shm.NewRawStruct[T]
		_ func(*shm.Segment, int64) (shm.RawStruct[T], error)           = shm.RawStructAt[T]
		_ func(shm.RawStruct[T]) T                                      = shm.RawStruct[T].Get
		_ func(shm.RawStruct[T], T)                                     = shm.RawStruct[T].Set
		_ func(shm.RawStruct[T]) *T                                     = shm.RawStruct[T].Ptr
		_ func(*shm.Segment, string, T) (shm.Struct[T], error)          = shm.NewStruct[T]
		_ func(*shm.Segment, string, int) (shm.Table[T], error)         = shm.NewTable[T]
		_ func(shm.Table[T]) int                                        = shm.Table[T].Len
		_ func(shm.Table[T], int) shm.Struct[T]                         = shm.Table[T].Row
		_ func(shm.Table[T]) iter.Seq2[int, T]                          = shm.Table[T].All
		_ func(shm.Struct[T]) T                                         = shm.Struct[T].Load
		_ func(shm.Struct[T], T)                                        = shm.Struct[T].Store
		_ func(shm.Struct[T], *T)                                       = shm.Struct[T].LoadTo
		_ func(shm.Struct[T], *T)                                       = shm.Struct[T].StoreFrom
		_ func(shm.Struct[T], func(*T))                                 = shm.Struct[T].Update
		_ func(shm.Struct[T], context.Context, func(T) bool) (T, error) = shm.Struct[T].Await
		_ func(shm.Struct[T], context.Context, T) error                 = shm.Struct[T].StoreContext
		_ func(shm.Struct[T], context.Context, func(*T) error) error    = shm.Struct[T].UpdateContext
		_ func(shm.Struct[T], context.Context) iter.Seq2[uint64, T]     = shm.Struct[T].Changes
		_ func(shm.Struct[T]) *shm.Mutex                                = shm.Struct[T].Mutex
		_ func() (shm.Layout, error)                                    = shm.LayoutOf[T]

		_                                                              = []shm.Versioned{shm.Struct[T]{}, shm.Table[T]{}, shm.Ring[T]{}}
		_ func(*shm.Segment, string, int) (shm.Ring[T], error)         = shm.NewRing[T]
		_ func(shm.Ring[T]) int                                        = shm.Ring[T].Len
		_ func(shm.Ring[T], T) uint64                                  = shm.Ring[T].Append
		_ func(shm.Ring[T]) (T, uint64, bool)                          = shm.Ring[T].Last
		_ func(shm.Ring[T]) *shm.RingReader[T]                         = shm.Ring[T].Reader
		_ func(shm.Ring[T], uint64) *shm.RingReader[T]                 = shm.Ring[T].From
		_ func(*shm.RingReader[T], uint64) *shm.RingReader[T]          = (*shm.RingReader[T]).From
		_ func(*shm.RingReader[T], context.Context) (T, uint64, error) = (*shm.RingReader[T]).Next
		_ func(*shm.RingReader[T]) uint64                              = (*shm.RingReader[T]).Missed
	)
}

// The type arguments that the constraints must accept. Some are named types.
type (
	apiEnum  uint8
	apiPhase complex64
)

var (
	_ = []func(){
		apiAtomicInteger[int32], apiAtomicInteger[int64], apiAtomicInteger[uint32], apiAtomicInteger[uint64],
		apiAtomicInteger[time.Duration],
	}
	_ = []func(){
		apiCounterNumber[int64], apiCounterNumber[uint64], apiCounterNumber[float64], apiCounterNumber[time.Duration],
	}
	_ func(*shm.Segment, string, []float64) (shm.Histogram, error) = shm.NewHistogram
	_ func(shm.Histogram, float64)                                 = shm.Histogram.Observe
	_ func(shm.Histogram) shm.HistogramData                        = shm.Histogram.Load
	_                                                              = []func(){
		apiWord[int8], apiWord[int16], apiWord[int32], apiWord[int64],
		apiWord[uint8], apiWord[uint16], apiWord[uint32], apiWord[uint64],
		apiWord[float32], apiWord[float64], apiWord[complex64], apiWord[apiEnum], apiWord[apiPhase],
	}
	_ = []func(){apiNumeric[complex128]}
	_ = []func(){apiAny[bool], apiAny[[16]byte], apiAny[struct{ A int64 }], apiAny[complex128]}
)

var (
	_ func(*shm.Segment, string, int) (shm.CharArray, error) = shm.NewCharArray
	_ func(*shm.Segment, int64, int) (shm.CharArray, error)  = shm.CharArrayAt
	_ func(shm.CharArray) int                                = shm.CharArray.Len
	_ func(shm.CharArray) string                             = shm.CharArray.Value
	_ func(shm.CharArray, string) error                      = shm.CharArray.SetValue
	_ func(shm.CharArray) []byte                             = shm.CharArray.Raw
	_ func(shm.CharArray, []byte) error                      = shm.CharArray.SetRaw
	_ func(shm.CharArray) []byte                             = shm.CharArray.Bytes

	_ func(func(), ...shm.Versioned) error                                 = shm.Snapshot
	_ shm.Versioned                                                        = shm.String{}
	_ func(*shm.Segment, string, int) (shm.String, error)                  = shm.NewString
	_ func(shm.String) int                                                 = shm.String.Cap
	_ func(shm.String) string                                              = shm.String.Load
	_ func(shm.String, string) error                                       = shm.String.Store
	_ func(shm.String, context.Context, func(string) bool) (string, error) = shm.String.Await
	_ func(shm.String, context.Context, string) error                      = shm.String.StoreContext
	_ func(shm.String, context.Context) iter.Seq2[uint64, string]          = shm.String.Changes
	_ func(shm.String) *shm.Mutex                                          = shm.String.Mutex

	_ func(*shm.Segment, string) (*shm.Mutex, error) = shm.NewMutex
	_ func(*shm.Mutex)                               = (*shm.Mutex).Lock
	_ func(*shm.Mutex) bool                          = (*shm.Mutex).TryLock
	_ func(*shm.Mutex)                               = (*shm.Mutex).Unlock
	_ func(*shm.Mutex, context.Context) error        = (*shm.Mutex).LockContext
	_ func(*shm.Mutex) bool                          = (*shm.Mutex).Abandoned
	_ sync.Locker                                    = (*shm.Mutex)(nil)

	_ func(*shm.Segment, string, int) (shm.Mutexes, error)  = shm.NewMutexes
	_ func(shm.Mutexes) int                                 = shm.Mutexes.Len
	_ func(shm.Mutexes, int) *shm.Mutex                     = shm.Mutexes.At
	_ func(shm.Mutexes, context.Context) (i int, err error) = shm.Mutexes.LockAny
	_ func(shm.Mutexes, int) (shm.Process, bool)            = shm.Mutexes.Owner

	_ func(string) (shm.Layout, error)  = shm.ParseLayout
	_ func(shm.Layout, shm.Layout) bool = shm.Layout.Equal
	_ func(shm.Entry) any               = shm.Entry.Any
	_ func(shm.Entry) string            = shm.Entry.Text
	_ func(shm.Entry, string) error     = shm.Entry.Parse

	_ func(shm.Entry, context.Context, func(any) (string, error)) error = shm.Entry.UpdateContext
	_ func(shm.Entry, context.Context, func(any) bool) error            = shm.Entry.Await

	_ func(*shm.Segment, shm.Description) (shm.Entry, error) = (*shm.Segment).Make
	_ func(shm.Entry) (shm.Description, error)               = shm.Entry.Description
	_ func(shm.Entry) int                                    = shm.Entry.Parts
	_ func(shm.Entry, int) ([]byte, uint64, error)           = shm.Entry.Bytes
	_ func(shm.Entry, context.Context, int, []byte) error    = shm.Entry.SetBytes
	_ func(shm.Entry, uint64) iter.Seq2[uint64, []byte]      = shm.Entry.Since

	_ func(shm.Entry) (shm.LockInfo, bool)         = shm.Entry.Lock
	_ func(shm.Entry) iter.Seq2[int, shm.LockInfo] = shm.Entry.Locks
	_ func(shm.Access) string                      = shm.Access.String

	_ error = (*shm.TypeError)(nil)
	_ error = (*shm.LayoutError)(nil)

	_ = []*error{
		&shm.ErrClosed, &shm.ErrTooLong, &shm.ErrFull, &shm.ErrFormat, &shm.ErrVersion, &shm.ErrReadOnly,
		&shm.ErrInsecure, &shm.ErrForeign, &shm.ErrReplaced,
	}
)

// Structs are stated field by field, so that fields can be added.
var _ = apiFields

func apiFields(o *shm.Options, l *shm.Layout, f *shm.Field, e *shm.Entry, t *shm.TypeError, m *shm.LayoutError, i *shm.LockInfo, p *shm.Process) {
	var (
		_ = []*fs.FileMode{&o.Mode}
		_ = []*int64{&o.MaxSize}
		_ = []*bool{&o.ReadOnly, &o.MustExist, &o.Exclusive, &o.Foreign}
		_ = []*string{&l.Format, &f.Name, &e.Name, &e.Unit, &e.Help, &e.Program, &t.Field, &t.Reason, &m.Name, &m.Program, &m.Reason, &i.Program}
		_ = []*int{&l.Size, &l.Align, &f.Offset, &e.Len, &e.Pid, &m.HaveLen, &m.WantLen, &m.Pid, &i.Pid}
		_ = []*[]shm.Field{&l.Fields}
		_ = []*shm.Layout{&f.Layout, &e.Layout, &m.Have, &m.Want}
		_ = []*shm.Access{&e.Access, &m.HaveAccess, &m.WantAccess}
		_ = []*reflect.Type{&t.Type}
		_ = []*bool{&i.Held, &i.Alive, &i.Reserved, &i.Waiting, &i.Abandoned}
		_ = []*uint32{&i.ID, &i.Takeovers, &p.ID}
		_ = []*int{&p.Pid}
		_ = []*uint64{&p.Namespace}
		_ = []*string{&p.Program}
	)
}

// The numbers of Access are part of the memory format.
const (
	_ = uint(shm.AccessRaw-1) + uint(1-shm.AccessRaw)
	_ = uint(shm.AccessAtomic-2) + uint(2-shm.AccessAtomic)
	_ = uint(shm.AccessLocked-3) + uint(3-shm.AccessLocked)
	_ = uint(shm.AccessPublished-4) + uint(4-shm.AccessPublished)
)

// TestAPIIsComplete checks that this file uses every exported name of package shm.
func TestAPIIsComplete(t *testing.T) {
	self, err := parser.ParseFile(token.NewFileSet(), "api_test.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{"Error": true} // of the error interface
	ast.Inspect(self, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			used[s.Sel.Name] = true
		}
		return true
	})
	missing := map[string]bool{}
	want := func(id *ast.Ident) {
		if id.IsExported() && !used[id.Name] {
			missing[id.Name] = true
		}
	}
	for _, f := range sourcesOf(t, ".").files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil || exportedReceiver(d.Recv.List[0].Type) {
					want(d.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						want(spec.Name)
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							want(name)
						}
					}
				}
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("exported by package shm and not used in api_test.go: %q", slices.Sorted(maps.Keys(missing)))
	}
}

func exportedReceiver(t ast.Expr) bool {
	switch t := t.(type) {
	case *ast.StarExpr:
		return exportedReceiver(t.X)
	case *ast.IndexExpr:
		return exportedReceiver(t.X)
	case *ast.Ident:
		return t.IsExported()
	}
	return false
}

// refused lists instantiations that must not compile. accepted lists some that must:
// without them the test would pass for a file that never compiles.
var (
	refused = []string{
		"RawValue[int]", "RawValue[uint]", "RawValue[uintptr]", "RawValue[bool]", "RawValue[string]", "RawValue[[]int8]",
		"RawValue[*int8]", "RawValue[any]", "RawValue[struct{}]", "RawValue[[2]int8]", "RawValue[named]",
		"RawArray[int]", "RawArray[uint]", "RawArray[uintptr]", "RawArray[bool]", "RawArray[string]",
		"Value[int]", "Value[uint]", "Value[uintptr]", "Value[complex128]", "Value[bool]", "Value[string]",
		"Array[int]", "Array[uint]", "Array[uintptr]", "Array[complex128]", "Array[bool]", "Array[string]",
		"Atomic[int]", "Atomic[uint]", "Atomic[uintptr]", "Atomic[int8]", "Atomic[int16]", "Atomic[uint8]", "Atomic[uint16]",
		"Counter[int]", "Counter[int32]", "Counter[float32]", "Gauge[uint32]", "Gauge[bool]",
		"Atomic[float32]", "Atomic[float64]", "Atomic[complex64]", "Atomic[bool]", "Atomic[string]",
		"AtomicArray[int]", "AtomicArray[uint8]", "AtomicArray[float64]",
	}
	accepted = []string{
		"RawValue[int8]", "RawValue[complex128]", "RawArray[complex128]", "Value[complex64]", "Array[float32]",
		"Atomic[uint32]", "Counter[float64]", "Gauge[int64]", "RawStruct[bool]", "Struct[complex128]",
	}
)

// compile compiles a source file in this module, and returns the errors of each
// line.
func compile(t *testing.T, source string) map[int]string {
	t.Helper()
	tool := shmtest.Tool(t, "go")
	// -e: all errors, not only the first ten.
	cmd := exec.Command(tool, "build", "-gcflags=-e", shmtest.Overlay(t, map[string]string{"overlaid/refused.go": source}), "example.org/shm/overlaid")
	output, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("all lines compile")
	}
	wrong := map[int]string{}
	for _, m := range regexp.MustCompile(`refused\.go:(\d+):\d+: (.*)`).FindAllStringSubmatch(string(output), -1) {
		line := shmtest.Must(strconv.Atoi(m[1]))(t)
		wrong[line] += m[2]
	}
	if len(wrong) == 0 {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	return wrong
}

func TestTypesThatDoNotCompile(t *testing.T) {
	const first = 6 // line of the first instantiation
	source := "package refused\n\nimport \"example.org/shm\"\n\ntype named int\n"
	for _, name := range slices.Concat(refused, accepted) {
		source += fmt.Sprintf("var _ shm.%s\n", name)
	}
	wrong := compile(t, source)
	for i, name := range refused {
		if !strings.Contains(wrong[first+i], "does not satisfy shm.") {
			t.Errorf("%s: want an error about its constraint, got %q", name, wrong[first+i])
		}
	}
	for i, name := range accepted {
		if e := wrong[first+len(refused)+i]; e != "" {
			t.Errorf("%s: %s", name, e)
		}
	}
}
