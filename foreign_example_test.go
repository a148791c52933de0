package shm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"example.org/shm"
)

// sample is v.Get for memory that another program may cut off.
func sample(v shm.RawValue[float64]) (x float64, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // for this goroutine
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("the sample is gone: %v", fault)
		}
	}()
	return v.Get(), nil
}

func ExampleRawValueAt_cutOff() {
	dir := must(os.MkdirTemp("", "shm-example"))
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "samples")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		panic(err)
	}
	seg := must(shm.Open(path, &shm.Options{Foreign: true}))
	defer seg.Close()
	last := must(shm.RawValueAt[float64](seg, 1<<20-8))
	fmt.Println(sample(last))
	if err := os.Truncate(path, 0); err != nil { // as another program may
		panic(err)
	}
	_, err := sample(last)
	fmt.Println(err != nil)
	// Output:
	// 0 <nil>
	// true
}
