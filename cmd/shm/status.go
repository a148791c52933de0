package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/watch"
)

// The exit statuses are a contract: scripts rely on them, and README.md lists them.
const (
	statusFine        = 0
	statusFailed      = 1   // everything else; the values differ, for diff and set -if
	statusUsage       = 2   // invalid flags or arguments
	statusAbsent      = 3   // no such segment, value, field or element
	statusLayout      = 4   // the value or the segment has another layout or version
	statusLocked      = 5   // the time is up, or a process is attached
	statusDamaged     = 6   // the memory is not a segment, or is damaged
	statusInterrupted = 130 // Ctrl-C
)

// kinds names the statuses in JSON.
var kinds = map[int]string{
	statusFailed: "failed", statusUsage: "usage", statusAbsent: "absent", statusLayout: "layout",
	statusLocked: "locked", statusDamaged: "damaged", statusInterrupted: "interrupted",
}

// usageError is an error in the flags or the arguments.
type usageError struct{ error }

// statusError is an error with an exit status of its own. If it is silent, the command
// has already printed what there is to say.
type statusError struct {
	error
	status int
	silent bool
}

func (e statusError) Unwrap() error { return e.error }

// statusOf returns the exit status of an error.
func statusOf(ctx context.Context, err error) int {
	var layout *shm.LayoutError
	if own, ok := errors.AsType[statusError](err); ok {
		return own.status
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return statusUsage
	}
	switch {
	case err == nil:
		return statusFine
	case errors.Is(err, context.Canceled) && ctx.Err() != nil, errors.Is(err, watch.ErrInterrupted):
		return statusInterrupted
	case errors.Is(err, context.DeadlineExceeded):
		return statusLocked
	case errors.As(err, &layout), errors.Is(err, shm.ErrVersion), errors.Is(err, shm.ErrForeign):
		return statusLayout
	case errors.Is(err, shm.ErrFormat):
		return statusDamaged
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, shm.ErrReplaced):
		return statusAbsent
	}
	return statusFailed
}

// interruptible calls f, and returns without its result if ctx is done first. It is for
// reading what may never come, such as standard input.
func interruptible[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// exit prints an error as one line, or as JSON, and returns the exit status.
func exit(ctx context.Context, err error, asJSON bool) int {
	status := statusOf(ctx, err)
	if status == statusFine || status == statusInterrupted { // the user pressed Ctrl-C
		return status
	}
	if own, ok := errors.AsType[statusError](err); ok && own.silent {
		return status
	}
	message := form.Line(strings.TrimPrefix(err.Error(), "shm: "))
	if !asJSON {
		fmt.Fprintln(os.Stderr, "shm:", message)
		return status
	}
	b, err := json.Marshal(errorData{form.Schema, errorOf{message, kinds[status], status}})
	if err == nil {
		fmt.Fprintf(os.Stderr, "%s\n", b)
	}
	return status
}

// errorData is an error in JSON.
type errorData struct {
	Schema int     `json:"schema"`
	Error  errorOf `json:"error"`
}

type errorOf struct {
	Message string `json:"message"`
	Kind    string `json:"kind"`
	Status  int    `json:"status"` // the exit status
}

// wantsJSON reports whether the arguments ask for JSON. It is for errors in the
// arguments as well, so it does not use what was parsed.
func wantsJSON(args []string) bool {
	for i, arg := range args {
		name, value, equal := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if arg == "--" {
			return false
		}
		if !strings.HasPrefix(arg, "-") || strings.TrimPrefix(name, "-") != "o" {
			continue
		}
		if !equal && i+1 < len(args) {
			value = args[i+1]
		}
		return value == form.JSON || value == form.JSONL
	}
	return false
}
