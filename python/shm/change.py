"""The change word: a futex word that counts changes, so that processes can sleep until the next one."""

from . import futex
from .atomics import cas_4, fence, unavailable

AWAITED = 1  # bit 0 of a change word: somebody awaits the next change

# Time-outs of a sleep in nanoseconds. If a process changes a value and is killed
# before it wakes the waiters, a waiter sees the change at its next time-out.
# Therefore the time-outs start short, and double up to the longest.
_FIRST_TIMEOUT, _LONGEST_TIMEOUT = 4_000_000, 4_000_000_000
_LONGEST_READ_ONLY_TIMEOUT = 250_000_000  # a read-only waiter cannot set AWAITED, so nobody wakes it


class Change:
    """A change word in shared memory.

    A waiter sets AWAITED, reads the word, then looks at the value, and then
    sleeps while the word is the same. A writer changes the value first and looks
    at AWAITED afterwards. So either the writer sees the bit, or the waiter sees
    the change.
    """

    def __init__(self, word, lease, read_only):
        self.word, self.lease, self.read_only = word, lease, read_only

    def changed(self):
        """Wake the waiters, if there are any. Call it once other processes can see the change."""
        fence()
        if self.word.value & AWAITED:
            self.wake_all()

    def wake_all(self):
        """Count a change, and wake all waiters."""
        while not unavailable:
            w = self.word.value
            if cas_4(self.word, w, (w & ~AWAITED) + 2 & 0xFFFFFFFF):
                break
        # Without atomic operations the word stays the same. A waiter that was about
        # to sleep then sees the change at its time-out.
        futex.wake(self.word, futex.EVERYBODY)

    def _announce(self):
        """Set AWAITED; return the word to sleep on."""
        while True:
            w = self.word.value
            if self.read_only or w & AWAITED:
                return w
            if cas_4(self.word, w, w | AWAITED):
                return w | AWAITED

    def wait_for(self, look, timeout):
        """Sleep until look() is true, or until `timeout` seconds are over; return the last result of look().

        It calls look again after each change. A timeout of None means no time-out.
        """
        end = None if timeout is None else futex.monotonic() + int(timeout * 1e9)
        pause, longest = _FIRST_TIMEOUT, _LONGEST_READ_ONLY_TIMEOUT if self.read_only else _LONGEST_TIMEOUT
        while True:
            seen = self._announce()
            fence()
            result = look()
            now = futex.monotonic()
            if result or end is not None and now >= end:
                return result
            until = now + pause
            futex.wait(self.word, seen, self.lease.wake_bit, until if end is None else min(until, end))
            pause = min(2 * pause, longest) if self.word.value == seen else _FIRST_TIMEOUT
