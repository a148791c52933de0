//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"time"
)

// work does jobs until ctx is done.
func (b *board) work(ctx context.Context, pause time.Duration) error {
	for ctx.Err() == nil {
		seen := b.Changed.Load()
		if b.doOne(ctx, pause) {
			b.Changed.Add(1)
			continue
		}
		if err := b.sleep(ctx, seen); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// doOne does the first job that is ready and that nobody else does. It reports whether
// there was one.
func (b *board) doOne(ctx context.Context, pause time.Duration) bool {
	for i := range b.Jobs.Len() {
		row, claim := b.Jobs.Row(i), b.Claims.At(i)
		// TryLock succeeds too if the worker that had the claim is dead.
		if row.Load().State != ready || !claim.TryLock() {
			continue
		}
		claim.Abandoned() // the row was changed as a whole, so there is nothing to repair
		var mine job
		row.Update(func(j *job) {
			if j.State == ready { // else another worker did it just now
				j.Attempts++
				j.Worker = int32(os.Getpid())
				mine = *j
			}
		})
		if mine.State == ready {
			result := do(ctx, mine, pause)
			row.Update(func(j *job) {
				if ctx.Err() == nil {
					j.State = done
					copy(j.Result[:], result)
				}
			})
		}
		claim.Unlock()
		return mine.State == ready
	}
	return false
}

// do is the work itself.
func do(ctx context.Context, j job, pause time.Duration) string {
	sum := sha256.Sum256([]byte(cString(j.Text[:])))
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
	return hex.EncodeToString(sum[:])[:16]
}

// cString returns the bytes before the first NUL.
func cString(b []byte) string {
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}
