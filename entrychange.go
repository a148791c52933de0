package shm

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/text"
)

// UpdateContext is Parse that knows what is there, and that can be given up. It calls
// f with what Any returns, and sets the value from the text that f returns, under the
// value's own lock. If ctx is done before the lock is taken, the error wraps the
// context's and f was not called; ctx does not limit f. If f returns an error, nothing
// is changed and UpdateContext returns the error as it is. The other errors are those
// of Parse.
//
// An integer of an Atomic, or one element of several, changes by a compare-and-swap:
// f is called again if another process has changed it meanwhile. Other values without
// a lock are read and then written: a change by another process in between may be lost.
//
// For a Table, f is called before a lock is taken, and the rows that its text changes
// change one after another, each under its own lock. If another process has changed a row
// since f saw it, f is called again, under the lock of that row; what it then returns for
// rows that are stored already is left out. So no change of a row is lost. An error at a
// later row leaves those before it changed.
func (e Entry) UpdateContext(ctx context.Context, f func(old any) (text string, err error)) error {
	var own error // of f
	err := e.m.region.Guarded(func() error {
		return e.update(ctx, func(old []byte) ([]text.Patch, error) {
			var from string
			if from, own = f(text.Value(e.record.Whole(), old)); own != nil {
				return nil, own
			}
			return text.Parse(e.record.Whole(), from)
		})
	})
	if own != nil || err == nil {
		return own
	}
	return errs.Wrap(err, "value %q", e.record.Name)
}

// update applies what change makes of a copy of the value's bytes.
//
// Preconditions: the caller is inside region.Guarded.
func (e Entry) update(ctx context.Context, change func(old []byte) ([]text.Patch, error)) error {
	r, m := e.record, e.m
	if err := e.changeable(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if text.TooMany(r.Whole()) {
		return errs.Wrap(ErrTooLong, "%d bytes in too many parts", e.Size)
	}
	if !r.HasLock() {
		return e.updateUnlocked(ctx, change)
	}
	if err := m.party.Take(e.s.file); err != nil {
		return e.s.closedError(err)
	}
	if r.IsTable() {
		return e.updateRows(ctx, change)
	}
	mu := m.lockOf(r)
	if err := mu.AcquireContext(ctx); err != nil {
		return err
	}
	returned, changed := false, false
	defer func() {
		if changed {
			mu.UnlockAfter(returned)
		} else {
			mu.ReleaseAfter(returned)
		}
		runtime.KeepAlive(m)
	}()
	patches, err := change(e.loadBytes())
	if err == nil {
		mu.MustHold("UpdateContext")
	}
	returned = true
	if err != nil {
		return err
	}
	changed = e.storeHeld(patches)
	return nil
}

// updateUnlocked is update of a value without a lock.
func (e Entry) updateUnlocked(ctx context.Context, change func(old []byte) ([]text.Patch, error)) error {
	for {
		if err := ctx.Err(); err != nil { // others may change the number all the time
			return err
		}
		old := e.loadBytes()
		patches, err := change(old)
		if err != nil {
			return err
		}
		_, elem := e.record.Layout.Dims()
		if e.record.Access != format.Atomic || len(patches) != 1 || len(patches[0].Bytes) != elem.Size {
			e.store(patches)
			return nil
		}
		if e.swapNumber(patches[0], old[patches[0].Off:]) {
			return nil
		}
	}
}

// swapNumber writes an integer of 4 or 8 bytes, if it still is what old begins with.
func (e Entry) swapNumber(p text.Patch, old []byte) (swapped bool) {
	off := e.record.Elements() + int64(p.Off)
	e.order(p.Off, len(p.Bytes), race.Token.Release)
	if len(p.Bytes) == 8 {
		swapped = mem.At[atomic.Uint64](&e.m.region, off).CompareAndSwap(binary.NativeEndian.Uint64(old), binary.NativeEndian.Uint64(p.Bytes))
	} else {
		swapped = mem.At[atomic.Uint32](&e.m.region, off).CompareAndSwap(binary.NativeEndian.Uint32(old), binary.NativeEndian.Uint32(p.Bytes))
	}
	e.order(p.Off, len(p.Bytes), race.Token.Acquire)
	runtime.KeepAlive(e.m)
	return swapped
}

// Await sleeps until ok returns true for what Any returns. It calls ok again after each
// change that announces itself, as those of a Value, Struct, String, Ring and Array do,
// and those of each row of a Table. A value without a lock announces nothing, so Await
// looks at those ten times a second, and at a Table of more than 512 rows, for which the
// system's sleep has no room. About a read-only attachment, see Value.Await.
//
// If ctx is done first, the error wraps the context's. The error wraps fs.ErrInvalid
// for a Mutex, and otherwise is that of Value.Await, or that of Any.
func (e Entry) Await(ctx context.Context, ok func(value any) bool) error {
	if e.record.Layout == nil {
		return errs.Wrap(errs.Invalid("a Mutex has no value to await"), "value %q", e.record.Name)
	}
	look := func() (bool, error) {
		v := e.Any()
		if err, failed := v.(error); failed {
			return false, err
		}
		return ok(v), nil
	}
	table := e.record.IsTable()
	if !e.record.HasLock() || table && e.record.Count > maxAwaitedRows {
		return e.poll(ctx, look)
	}
	return e.m.region.Guarded(func() error {
		if !e.m.region.ReadOnly {
			if err := e.m.party.Take(e.s.file); err != nil {
				return errs.Wrap(e.s.closedError(err), "value %q", e.record.Name)
			}
		}
		if table {
			return e.awaitRows(ctx, look)
		}
		var failed error
		err := e.m.lockOf(e.record).Await(ctx, e.version(), func() (done bool) {
			done, failed = look()
			return done || failed != nil
		})
		if failed != nil {
			return failed
		}
		return err
	})
}

// maxAwaitedRows is how many rows of a Table Await sleeps for: about half of the words that
// the threads of one process sleep on together.
const maxAwaitedRows = 512

// awaitRows looks at a Table after each change of a row. A goroutine for each row awaits
// that.
//
// Preconditions: the caller is inside region.Guarded, and the mapping has an id or is
// read-only.
func (e Entry) awaitRows(ctx context.Context, look func() (bool, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	var rows sync.WaitGroup
	defer rows.Wait()
	defer cancel()
	changed, failed := make(chan struct{}, 1), make(chan error, 1)
	row := 0
	for off := range e.record.Locks {
		version := mem.At[format.LockCell](&e.m.region, off).Commit.Load
		seen := version()                                     // before the first look
		lock := e.m.lockAt(off, partName(e.record.Name, row)) // the first name of a lock stays
		row++
		rows.Go(func() {
			err := e.m.region.Guarded(func() error {
				for {
					if err := lock.Await(ctx, version, func() bool { return version() != seen }); err != nil {
						return err
					}
					seen = version()
					select {
					case changed <- struct{}{}:
					default: // it will look anyway
					}
				}
			})
			select {
			case failed <- err:
			default: // another row's error is the same
			}
		})
	}
	for {
		if done, err := look(); done || err != nil {
			return err
		}
		select {
		case <-changed:
		case err := <-failed:
			if cause := errors.Unwrap(err); cause != nil && (cause == ErrClosed || cause == ctx.Err()) {
				return errs.Wrap(cause, "awaiting %q in %s", e.record.Name, e.m.region.Path) // err names the row
			}
			return err
		}
	}
}

// poll looks at a value that announces no change.
func (e Entry) poll(ctx context.Context, look func() (bool, error)) error {
	const every = time.Second / 10
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if done, err := look(); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errs.Wrap(ctx.Err(), "awaiting %q in %s", e.record.Name, e.m.region.Path)
		}
		if _, err := e.s.attachedMapping(); err != nil {
			return errs.Wrap(err, "awaiting %q", e.record.Name)
		}
	}
}

// version returns a function whose result changes with the value, which has a lock.
func (e Entry) version() func() uint64 {
	if e.record.Access == format.Published {
		return mem.At[format.LockCell](&e.m.region, e.record.Data).Commit.Load
	}
	seed := maphash.MakeSeed()
	return func() uint64 {
		if e.Size > maxShown {
			return math.MaxUint64
		}
		return maphash.Bytes(seed, e.loadBytes())
	}
}
