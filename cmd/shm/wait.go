package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"syscall"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/cmd/shm/internal/value"
	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
	"github.com/urfave/cli/v3"
)

// waitCommand returns the command that waits for a value.
func waitCommand() *cli.Command {
	return &cli.Command{
		Name:      "wait",
		Usage:     "wait until a value is as it should be",
		ArgsUsage: "SEG NAME [EXPR]",
		Description: `Wait sleeps until the value exists and EXPR is true of it, and prints the value. In EXPR the
value has its own name, if that is an identifier, and the name "value". Fields are
config.Debug, elements samples[3]. The operators are those of https://expr-lang.org:
== != < <= > >= && || ! + - * / % in matches contains startsWith, and so on.

Wait sleeps in the kernel until a program announces a change, if it may write the segment:
to announce that it waits, it marks a word of the value and takes a lease. A value without a
lock (Atomic and raw ones) announces nothing, so wait looks at it ten times a second. If
this user may only read the segment, wait asks a program that may write it to announce that;
if there is none, it looks four times a second.

If EXPR is not true after -timeout the exit status is 5. If the segment does not exist, or is
removed or made anew meanwhile, it is 3. A Mutex has no value for EXPR.

Examples:
   shm wait board requests 'requests >= 1000'
   shm wait -timeout 30s board config 'config.Debug == true'
   shm wait board ready                # until the value exists`,
		Flags: []cli.Flag{timeoutFlag(0, "wait"), formFlag(form.Plain)},
		Action: func(ctx context.Context, c *cli.Command) error {
			args, err := arguments(c, 2, 3)
			if err != nil {
				return err
			}
			if len(args) == 3 {
				if _, err := parser.Parse(args[2]); err != nil {
					return usageError{fmt.Errorf("the expression %q: %w", args[2], err)}
				}
			}
			s, err := segments.Change(args[0])
			if errors.Is(err, fs.ErrPermission) || errors.Is(err, shm.ErrInsecure) || errors.Is(err, syscall.EROFS) {
				s, err = segments.Look(args[0])
			}
			if err != nil {
				return err
			}
			defer s.Close()
			limit, cancel := limited(ctx, c.Duration("timeout"))
			defer cancel()
			limit, ended := whileNamed(limit, s, args[0])
			defer ended()
			if _, there := s.Lookup(args[1]); !there && len(args) == 2 && strings.ContainsAny(args[1], "<>=!&|") {
				return usageError{fmt.Errorf("%s is an expression: give the name of the value before it, as in shm wait SEG NAME '%[1]s'", form.Name(args[1]))}
			}
			if err := noPart(s, args[1]); err != nil {
				return err
			}
			e, err := s.WaitFor(limit, args[1])
			if err != nil {
				return gaveUp(goneOr(limit, err), c.Duration("timeout"), "no program has made the value %s in %s", form.Name(args[1]), form.Name(s.Name()))
			}
			if len(args) == 3 {
				v, _, err := value.Part{Entry: e}.Load()
				if err != nil {
					return err
				}
				if v == nil {
					return usageError{fmt.Errorf("%s is a lock, which has no value: wait without EXPR until it exists, and shm locks -follow says who takes it", form.Name(args[1]))}
				}
				condition, err := conditionOf(args[1], args[2], v)
				if err != nil {
					return err
				}
				if last, err := await(limit, e, condition); err != nil {
					is, _ := cut(value.Human(last, e.Layout, e.Hint, e.Unit))
					return gaveUp(goneOr(limit, err), c.Duration("timeout"), "%s is %s, for which %s is not true", form.Name(e.Name), is, form.Text(args[2]))
				}
			}
			row, err := partRow(value.Part{Entry: e})
			if err != nil {
				return err
			}
			r := &form.Report{Kind: "values", Columns: form.Columns("name", "value")}
			r.Add(row)
			return printerFor(c).Report(r)
		},
	}
}

// noPart returns an error if a text names no value, but a part of one that exists.
func noPart(s *shm.Segment, text string) error {
	p, err := value.Find(s, text)
	if err != nil || len(p.Path) == 0 {
		return nil
	}
	if _, _, err := p.Load(); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return usageError{fmt.Errorf("%s is a part of the value %s: wait for the value, and name the part in EXPR, as in value%s", form.Name(text), form.Name(p.Entry.Name), p.Path)}
}

// whileNamed returns a context that ends when the name of a segment leads to another file, or
// to none. What waits for a value of the segment would not be told.
func whileNamed(ctx context.Context, s *shm.Segment, name string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for pause(ctx, time.Second) == nil {
			if err := segments.Replaced(s, name); errors.Is(err, shm.ErrReplaced) {
				cancel(err)
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

// goneOr returns why whileNamed has ended a context, or err.
func goneOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, shm.ErrReplaced) {
		return cause
	}
	return err
}

// gaveUp says in place of the error of a context what was waited for in vain, and how long.
func gaveUp(err error, after time.Duration, what string, args ...any) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return statusError{error: fmt.Errorf("gave up after %v: %s", after, fmt.Sprintf(what, args...)), status: statusLocked}
}

// await waits until a condition is true of a value, or cannot be asked. It returns what the
// value was when it was last looked at.
func await(ctx context.Context, e shm.Entry, condition func(any) (bool, error)) (last any, err error) {
	var failed error
	err = e.Await(ctx, func(v any) (done bool) {
		last = v
		done, failed = condition(v)
		return done || failed != nil
	})
	if failed != nil {
		return last, failed
	}
	return last, err
}

// conditionOf compiles an expression about a value. v is the value as it is, and tells
// which fields there are.
func conditionOf(name, text string, v any) (func(any) (bool, error), error) {
	t := typeOf(reflect.ValueOf(v))
	options := append(comparisons(), expr.AsBool(), expr.Env(types.Map{name: t, "value": t}))
	program, err := expr.Compile(text, options...)
	if err != nil {
		return nil, usageError{fmt.Errorf("the expression %q: %w", text, err)}
	}
	return func(v any) (bool, error) {
		seen := comparable64(v)
		result, err := vm.Run(program, map[string]any{name: seen, "value": seen})
		if err != nil {
			return false, usageError{fmt.Errorf("the expression %q of a %T: %w", text, v, err)}
		}
		is, ok := result.(bool)
		if !ok {
			return false, usageError{fmt.Errorf("the expression %q is neither true nor false", text)}
		}
		return is, nil
	}, nil
}

// typeOf returns the type of a value for the compiler, which refuses a field that a
// struct does not have.
func typeOf(v reflect.Value) types.Type {
	switch v.Kind() {
	case reflect.Map:
		fields := types.Map{}
		for _, k := range v.MapKeys() {
			fields[k.String()] = typeOf(v.MapIndex(k).Elem())
		}
		return fields
	case reflect.Slice:
		if v.Len() > 0 && v.Index(0).Kind() == reflect.Map {
			return types.Array(typeOf(v.Index(0)))
		}
	}
	return types.TypeOf(v.Interface())
}
