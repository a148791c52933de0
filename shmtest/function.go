package shmtest

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"example.org/shm"
	"example.org/shm/internal/sys/child"
)

// function names a function so that another process of the same program finds it: by
// how far it is from another function of the program. The name makes sure.
type function struct {
	offset int64
	name   string
}

// reference is the address of a function that both processes have.
func reference() uintptr { return reflect.ValueOf(Main).Pointer() }

// functionOf returns how another process finds f, or an error if f captures variables.
func functionOf(f func(*shm.Segment)) (function, error) {
	if f == nil {
		return function{}, errors.New("the function is nil")
	}
	pc := reflect.ValueOf(f).Pointer()
	name := runtime.FuncForPC(pc).Name()
	// SAFETY: a func is a pointer to what it consists of, the address of its code and
	// what it captures. Only the pointer is looked at.
	static, err := child.InExecutable(*(*uintptr)(unsafe.Pointer(&f)))
	if err != nil {
		return function{}, err
	}
	if !static {
		return function{}, fmt.Errorf("%s captures variables, which the other process does not have: take values from the segment, "+
			"and use panic instead of t", name)
	}
	return function{int64(pc) - int64(reference()), name}, nil
}

func (f function) String() string { return fmt.Sprintf("%d %s", f.offset, f.name) }

// parseFunction is the reverse of String.
func parseFunction(text string) (f function, err error) {
	offset, name, _ := strings.Cut(text, " ")
	f.name = name
	f.offset, err = strconv.ParseInt(offset, 10, 64)
	return f, err
}

// find returns the function in this process.
func (f function) find() (func(*shm.Segment), error) {
	pc := uintptr(int64(reference()) + f.offset)
	found := runtime.FuncForPC(pc)
	if found == nil || found.Entry() != pc || found.Name() != f.name {
		return nil, fmt.Errorf("this is not the program that has the function %s", f.name)
	}
	// SAFETY: a func that captures nothing is a pointer to the address of its code. This
	// address is where a function of this name begins, in a process of the same program
	// as the one that took it from a func of this type. The func keeps code alive.
	code := &pc
	return *(*func(*shm.Segment))(unsafe.Pointer(&code)), nil
}
