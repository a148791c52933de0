package wait

import (
	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/sys"
)

// A change word counts changes. Bit format.Awaited says that a process awaits
// the next one, so a change that nobody awaits costs one load.
//
// A process that waits sets the bit, reads the word, then looks at what it waits
// for, and then sleeps while the word is unchanged. A process that changes
// something does so first and looks at the bit afterwards. These atomics have a
// total order: either the first process sees the change, or the second one sees
// the bit.

// A process that may only read asks one that may write to set the bit. That one sets it
// and wakes the sleepers: those that looked before it was set look again. A sleeper on a
// word with the bit is told like any other.

// Announce sets the bit and returns the word to sleep on.
func Announce(c *format.ChangeWord) uint32 {
	for {
		w := c.Word.Load()
		if w&format.Awaited != 0 || c.Word.CompareAndSwap(w, w|format.Awaited) {
			killpoint.At(killpoint.ChangeAwaited)
			return w | format.Awaited
		}
	}
}

// AnnounceOthers sets the bit for processes that cannot, and makes them look again. It
// wakes them also if the bit was set: they may have looked before.
func AnnounceOthers(c *format.ChangeWord) {
	wakeSleepers(c, Announce(c))
}

// Changed wakes all who announced themselves. If nobody did, it costs one load.
// It must be called after the change is visible.
func Changed(c *format.ChangeWord) {
	if c.Word.Load()&format.Awaited != 0 {
		WakeAll(c)
	}
}

// WakeAll counts a change and wakes all sleepers, announced or not.
func WakeAll(c *format.ChangeWord) {
	for {
		w := c.Word.Load()
		if c.Word.CompareAndSwap(w, (w&^format.Awaited)+2) {
			killpoint.At(killpoint.ChangeCounted)
			wakeSleepers(c, w)
			signalBubbled(&c.Word)
			return
		}
	}
}

// wakeSleepers wakes all who sleep on the word since it was w. Those who may only read
// may have seen it before somebody set the bit.
func wakeSleepers(c *format.ChangeWord, w uint32) {
	sys.FutexWakeChanged(&c.Word, w|format.Awaited, w&^format.Awaited)
}
