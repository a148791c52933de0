package lease

import (
	"os"
	"slices"
	"weak"

	"example.org/shm/internal/format"
	"example.org/shm/internal/sys"
)

// A process that may only read cannot announce in a change word that it waits. It takes a
// read lock on the byte of that word and rings Header.Bell. A process that may write
// finds the lock and announces the other one. All of this only saves time: a process that
// nobody answers looks from time to time.

// Attached tells the owner of an open descriptor of the segment's file. It keeps nothing.
func (o *Owner) Attached(f *os.File) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.questions.files = slices.DeleteFunc(o.questions.files, func(w weak.Pointer[os.File]) bool { return w.Value() == nil })
	o.questions.files = append(o.questions.files, weak.Make(f))
}

// Detached tells the owner that the descriptor is about to be closed.
func (o *Owner) Detached(f *os.File) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.questions.files = slices.DeleteFunc(o.questions.files, func(w weak.Pointer[os.File]) bool { return w.Value() == f })
}

// Ask asks a process that may write to announce that this one awaits a change of the
// word which a byte stands for, until Withdraw. If that has to be repeated, the caller
// calls Ask again. It never blocks. It is for a read-only mapping.
func (o *Owner) Ask(at int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.control.file == nil {
		o.control.file = o.reader()
	}
	if o.control.file == nil {
		return
	}
	if got, err := sys.TryShared(o.control.file, at); got && err == nil {
		sys.FutexWake(&o.header.Bell.Word, 1, sys.AnyBit) // one of those who may write
	}
}

// reader returns a description for the locks of Ask, which no other process shares: one
// that it opens, or what the parent of this process has handed over. It returns nil if
// there is none. o.mu is held.
func (o *Owner) reader() *os.File {
	for _, w := range o.questions.files {
		f := w.Value()
		if f == nil {
			continue
		}
		own, err := sys.ReopenToRead(f, o.path)
		if err != nil {
			continue // That segment may have been closed.
		}
		if o.check(own) == nil {
			return own
		}
		_ = own.Close() // Nothing was written.
	}
	passed.Lock()
	defer passed.Unlock()
	if file := passed.files[o.key]; file != nil && o.check(file) == nil {
		o.control.kept = true
		return file
	}
	return nil
}

// Withdraw ends what Ask has begun.
func (o *Owner) Withdraw(at int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.control.file != nil {
		sys.Unlock(o.control.file, at)
	}
}

// looksAtOnce is how many locks Asked looks for in one call. A look costs more, the more
// locks the file has.
const looksAtOnce = 64

// Asked calls answer with each byte for which a process that may only read has asked; f
// is a descriptor of the file. If there are many, it calls it for some of them, and for
// others the next time. It never blocks. It is not for a read-only mapping, and not for
// two goroutines at once.
func (o *Owner) Asked(answer func(f *os.File, at int64)) {
	f, next := o.listens()
	if f == nil {
		return
	}
	type span struct{ from, end int64 }
	// The last span comes first.
	rest := []span{{format.AskBase, next}, {next, format.AskBase + format.AskBytes}}
	for looks := 0; len(rest) > 0 && looks < looksAtOnce; looks++ {
		s := rest[len(rest)-1]
		rest = rest[:len(rest)-1]
		if s.from >= s.end {
			continue
		}
		at, n, found, err := sys.AnyLock(f, s.from, s.end-s.from)
		if err != nil {
			return
		}
		if !found {
			continue
		}
		if n == 1 { // a longer lock asks for nothing
			answer(f, at)
		}
		rest = append(rest, span{s.from, at}, span{at + n, s.end})
	}
	next = format.AskBase
	if len(rest) > 0 {
		next = rest[len(rest)-1].from
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.questions.next = next
}

// listens returns a description of the file that holds no lock of Ask, nil if there is
// none, and where Asked is to begin.
func (o *Owner) listens() (f *os.File, next int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	next = max(o.questions.next, format.AskBase)
	if o.control.file != nil {
		return o.control.file, next
	}
	for _, w := range o.questions.files {
		if f := w.Value(); f != nil {
			return f, next
		}
	}
	return nil, next
}
