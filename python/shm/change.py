"""A futex word that counts changes, and waiting for one."""

from . import futex
from .atomics import cas_4, fence, unavailable

AWAITED = 1

# A sleep's time-outs heal a change whose maker was killed before it could wake
# anybody, so they start short and grow. Nanoseconds.
_FIRST_LOOK, _LAST_LOOK = 4_000_000, 4_000_000_000
_READ_ONLY_LOOK = 250_000_000  # who cannot announce itself looks this often


class Change:
    """A change word in shared memory. Bit 0 says that somebody awaits the next change.

    Who waits announces itself, reads the word, then looks at what it waits for,
    then sleeps while the word is unchanged. Who changes something does so first
    and looks at the bit afterwards: either the one sees the bit, or the other
    the change.
    """

    def __init__(self, word, lease, read_only):
        self.word, self.lease, self.read_only = word, lease, read_only

    def changed(self):
        """Wake those who announced themselves. Called after the change can be seen."""
        fence()
        if self.word.value & AWAITED:
            self.wake_all()

    def wake_all(self):
        """Count a change and wake all who await one."""
        while not unavailable:
            w = self.word.value
            if cas_4(self.word, w, (w & ~AWAITED) + 2 & 0xFFFFFFFF):
                break
        # Without atomics the word stays, and who was about to sleep looks again
        # after its time-out.
        futex.wake(self.word, futex.EVERYBODY)

    def _announce(self):
        """Set bit 0; return the word to sleep on."""
        while True:
            w = self.word.value
            if self.read_only or w & AWAITED:
                return w
            if cas_4(self.word, w, w | AWAITED):
                return w | AWAITED

    def wait_for(self, look, timeout):
        """Return look() once it is true, or after `timeout` seconds, however it is then.

        look is called again after each change. None waits for ever.
        """
        end = None if timeout is None else futex.monotonic() + int(timeout * 1e9)
        pause, longest = _FIRST_LOOK, _READ_ONLY_LOOK if self.read_only else _LAST_LOOK
        while True:
            seen = self._announce()
            fence()
            result = look()
            now = futex.monotonic()
            if result or end is not None and now >= end:
                return result
            until = now + pause
            futex.wait(self.word, seen, self.lease.wake_bit, until if end is None else min(until, end))
            pause = min(2 * pause, longest) if self.word.value == seen else _FIRST_LOOK
