//go:build 386 || amd64 || arm || arm64 || loong64 || mips64le || ppc64le || riscv64

// These examples print or parse the format of a layout, which begins with the order of
// bytes: "<" on a little-endian processor, ">" on the others.

package shm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"example.org/shm"
)

func ExampleSegment_WaitFor() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	go func() { // another process, say
		must(shm.NewAtomic[uint32](seg, "ready", 1))
	}()
	e := must(seg.WaitFor(context.Background(), "ready"))
	fmt.Println(e.Name, e.Layout.Format, e.Access)

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := seg.WaitFor(ctx, "never")
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output:
	// ready <I atomic
	// true
}

func ExampleSegment_Entries() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	must(shm.NewRawArray[float32](seg, "samples", 8))
	must(shm.NewMutex(seg, "lock"))
	must(shm.NewString(seg, "version", 32))
	for e := range seg.Entries() {
		fmt.Printf("%s: %s %q, %d\n", e.Name, e.Access, e.Layout.Format, e.Len)
	}
	// Output:
	// samples: raw "<f", 8
	// lock: locked "", 0
	// version: published "<c", 32
}

func ExampleEntry() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	type point struct {
		X, Y float64
		Name [8]byte `shm:"name,char"`
	}
	must(shm.NewStruct(seg, "p", point{X: 1, Y: 2, Name: [8]byte{'a', 'b'}}))

	// A program that does not have the type learns it from the segment.
	e, ok := seg.Lookup("p")
	fmt.Println(ok, e.Layout.Format)
	fmt.Println(e.Text())
	fmt.Println(e.Any().(map[string]any)["Y"])
	if err := e.Parse("{Y: 2.5}"); err != nil {
		fmt.Println(err)
	}
	fmt.Println(e.Text())
	// Output:
	// true T{<d:X:<d:Y:(8)<c:name:}
	// {X: 1, Y: 2, name: "ab"}
	// 2
	// {X: 1, Y: 2.5, name: "ab"}
}

func ExampleLayoutOf() {
	type reading struct {
		OK    bool
		Value float32
		Unit  [4]byte `shm:"unit,char"`
	}
	l := must(shm.LayoutOf[reading]())
	fmt.Println(l.Format)
	fmt.Println(l.Size, l.Align)
	for _, f := range l.Fields {
		fmt.Println(f.Offset, f.Name, f.Layout.Size)
	}
	// Output:
	// T{<?:OK:3x<f:Value:(4)<c:unit:}
	// 12 4
	// 0 OK 1
	// 4 Value 4
	// 8 unit 4
}

func ExampleParseLayout() {
	l := must(shm.ParseLayout("T{<i:x:<i:y:}")) // memoryview(obj).format of a ctypes.Structure
	type point struct {
		X int32 `shm:"x"`
		Y int32 `shm:"y"`
	}
	fmt.Println(l.Size, l.Equal(must(shm.LayoutOf[point]())))
	_, err := shm.ParseLayout("T{<i:x:")
	fmt.Println(errors.Is(err, shm.ErrFormat))
	// Output:
	// 8 true
	// true
}

func ExampleLayoutError() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	type older struct {
		Hits  uint32
		Level int32
	}
	type newer struct {
		Hits  uint32
		Level float32
	}
	must(shm.NewRawStruct(seg, "stats", older{}))
	_, err := shm.NewRawStruct(seg, "stats", newer{})
	e, ok := errors.AsType[*shm.LayoutError](err)
	fmt.Println(ok, e.Have.Format, e.Want.Format, e.Pid == os.Getpid())
	_, diff, _ := strings.Cut(err.Error(), "\n")
	fmt.Println(diff)
	// Output:
	// true T{<I:Hits:<i:Level:} T{<I:Hits:<f:Level:} true
	//   field "Level": have int32 at 4, want float32 at 4
}
