"""The change word: a futex word that counts changes, so that processes can sleep until the next one."""

import ctypes
import errno
import math
import sys
import threading
import time

from . import futex
from .atomics import cas_4, fence, unavailable
from .errors import ArgumentError, ArgumentTypeError, CancelledError, ClosedError, WaitTimeoutError

AWAITED = 1  # bit 0 of a change word: somebody awaits the next change

# Time-outs of a sleep in nanoseconds. If a process changes a value and is killed
# before it wakes the waiters, a waiter sees the change at its next time-out.
# Therefore the time-outs start short, and double up to the longest.
_FIRST_TIMEOUT, _LONGEST_TIMEOUT = 4_000_000, 4_000_000_000
# A read-only waiter cannot set AWAITED. It asks another process to do that, which may not be there.
_FIRST_UNANSWERED, _LONGEST_UNANSWERED = 1_000_000, 250_000_000
_LONGEST_READ_ONLY_CANCEL = 50_000_000  # with a Cancel, which may wake a read-only waiter just before it sleeps
_MOST_WAKES = 50  # by which close ends the waits of a read-only segment, a millisecond apart


_FOREVER = 1 << 61  # ns, which is 73 years


def deadline(timeout):
    """Return the monotonic time, in ns, when a wait of `timeout` seconds ends. None, and more than a lifetime, is None.

    Raises ArgumentTypeError for what is no number, and ArgumentError for NaN.
    """
    if timeout is None:
        return None
    try:
        seconds = timeout if type(timeout) is float else ctypes.c_double(timeout).value
    except OverflowError:  # an integer with hundreds of digits
        seconds = math.inf if timeout > 0 else -math.inf
    except TypeError:
        raise ArgumentTypeError(f"a timeout is a number of seconds, or None, and not {timeout!r}") from None
    if seconds != seconds:
        raise ArgumentError("a timeout is a number of seconds, and not NaN")
    if seconds * 1e9 >= _FOREVER:
        return None
    return futex.monotonic() + int(max(seconds, 0) * 1e9)


def check_cancel(cancel):
    """Raise ArgumentTypeError unless cancel is a Cancel or None."""
    if cancel is not None and not isinstance(cancel, Cancel):
        raise ArgumentTypeError(f"cancel is a Cancel, or None, and not {cancel!r}")


class Cancel:
    """Ends waits: give it to the wait_for methods, and call set from another thread or a signal handler.

    Those waits then return at once, and so do later ones with the same Cancel. (The
    wait of a read-only segment may take up to 50 ms longer.)
    """

    __slots__ = ("_is_set", "_waited")

    def __init__(self):
        self._is_set = False
        self._waited = []  # a Change for each wait

    def set(self):
        """End the waits."""
        self._is_set = True
        for change in list(self._waited):
            change.interrupt()

    def is_set(self):
        """Return whether set was called."""
        return self._is_set

    def __reduce__(self):
        """Refuse to be copied and pickled, as a copy would end no wait of this one."""
        raise ArgumentTypeError("a Cancel cannot be copied or pickled: it ends waits of one process, to which it is given itself")


class Closing(Cancel):
    """Ends the waits for values of a mapping when its last Segment is closed. The lease has it."""

    __slots__ = ()

    def set(self):
        """End the waits. One that cannot announce that it sleeps is woken until it has ended."""
        super().set()
        for _ in range(_MOST_WAKES):
            left = [change for change in list(self._waited) if change.read_only]
            if not left:
                return
            time.sleep(0.001)
            for change in left:
                change.interrupt()

    def check(self, path):
        """Raise ClosedError if the mapping was closed."""
        if self._is_set:
            raise ClosedError(f"{path}: the segment was closed during the wait")


async def in_thread(wait, *args):
    """Return the result of wait(*args, cancel), which sleeps in a thread of its own. It ends if the task is cancelled.

    A thread of asyncio's executor would not do, as a few waits would occupy it.
    """
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        raise RuntimeError("no event loop of asyncio runs")
    loop = asyncio.get_running_loop()
    done, cancel = loop.create_future(), Cancel()

    def settle(result, error):
        if not done.done():
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)

    def run():
        result = error = None
        try:
            result = wait(*args, cancel)
        except StopIteration as e:  # which a future does not take
            error = RuntimeError(f"a wait raised {e!r}")
        except BaseException as e:
            error = e
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            pass  # the loop has ended

    threading.Thread(target=run, name="shm-wait", daemon=True).start()
    try:
        return await done
    finally:
        cancel.set()


class Awaited:
    """The base class of the values whose changes can be awaited. It needs a Mutex as _mutex."""

    __slots__ = ()

    def _seen(self):
        """Return what ok gets."""
        return self.load()

    def wait_for(self, ok, timeout=None, cancel=None):
        """Sleep until ok(value) is true; return the value for which it was.

        It calls ok again after each change that any process makes under the lock. Raises
        WaitTimeoutError after `timeout` seconds, CancelledError if cancel, a Cancel,
        is set by then, and ClosedError if the last Segment of the file is closed meanwhile.
        """
        seen = []

        def look():
            x = self._seen()
            if not ok(x):
                return False
            seen.append(x)
            return True

        if not self._mutex.wait_for(look, timeout, cancel):
            raise given_up(f"value {self._mutex.name!r}", timeout, cancel)
        return seen[0]

    async def wait_for_async(self, ok, timeout=None):
        """Do as wait_for does, in a coroutine of asyncio. If its task is cancelled, the wait ends.

        It calls ok in a thread of its own.
        """
        return await in_thread(self.wait_for, ok, timeout)

    def changes(self, timeout=None, cancel=None):
        """Yield the value as it stands, and then each newer one. Values in between may be skipped.

        What it yields are pairs of a number and a value. Of a Struct and a String it is the
        number of the commit; of others it counts what was yielded. It ends once no change
        has come for `timeout` seconds, once cancel, a Cancel, is set, or once the last Segment of the
        file is closed, also if that happens while the caller handles a value.
        """
        check_cancel(cancel)
        change = self._mutex._change
        count, version, closing = 0, None, change.lease.closing
        while True:
            found = []

            def look():
                now, x = self._version()
                if now == version:
                    return False
                found.append((now, x))
                return True

            try:
                if closing.is_set() or cancel is not None and cancel.is_set():
                    return
                if not change.wait_for(look, timeout, cancel, closing):
                    return
            except ClosedError:
                return
            version, x = found[0]
            count += 1
            yield version if isinstance(version, int) else count, x

    def _version(self):
        """Return what changes with the value, and the value. If it is an int, it is the number of the commit."""
        slots = getattr(self, "_slots", None)
        if slots is None:
            x = self._seen()
            x = x[:] if x is self else x  # an array
            return repr(x), x
        while True:
            before = slots.count.value
            x = self._seen()
            if slots.count.value == before:
                return before, x


def given_up(what, timeout, cancel):
    """Return the exception of a wait that has ended without what it was for."""
    if cancel is not None and cancel.is_set():
        return CancelledError(f"the wait for {what} was given up")
    return WaitTimeoutError(errno.ETIMEDOUT, f"the wait for {what} has taken {timeout} s")


class Change:
    """A change word in shared memory.

    A waiter sets AWAITED, reads the word, then looks at the value, and then
    sleeps while the word is the same. A writer changes the value first and looks
    at AWAITED afterwards. So either the writer sees the bit, or the waiter sees
    the change.
    """

    def __init__(self, word, lease, read_only, byte=None, bell=None, memory=None):
        self.word, self.lease, self.read_only = word, lease, read_only
        self.memory = memory  # which has the word: a Cancel may be set later than the Mutex lives
        self.byte, self.bell = byte, bell  # by which a read-only waiter asks, or None

    def changed(self):
        """Wake the waiters, if there are any. Call it once other processes can see the change."""
        fence()
        if self.word.value & AWAITED and not self.read_only:
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

    def interrupt(self):
        """Make the waiters of this process look again. Other waiters may do so as well."""
        if self.read_only:
            futex.wake(self.word, futex.EVERYBODY, self.lease.wake_bit)
        else:
            self.changed()

    def announce(self):
        """Set AWAITED; return the word to sleep on."""
        while True:
            w = self.word.value
            if self.read_only or w & AWAITED:
                return w
            if cas_4(self.word, w, w | AWAITED):
                return w | AWAITED

    def wait_for(self, look, timeout, cancel=None, closing=None):
        """Sleep until look() is true, or until `timeout` seconds are over; return the last result of look().

        It calls look again after each change. A timeout of None means no time-out. It
        also returns if cancel, a Cancel, is set. Raises ClosedError if the mapping is closed
        meanwhile. What waits several times gives the Closing that the lease had at its start,
        so that it also notices a close between two waits.
        """
        check_cancel(cancel)
        closing = self.lease.closing if closing is None else closing
        ends = (closing,) if cancel is None else (closing, cancel)
        for end in ends:
            end._waited.append(self)  # before it looks whether they are set, in _wait_for
        try:
            return self._wait_for(look, timeout, cancel, closing)
        finally:
            for end in ends:
                end._waited.remove(self)

    def _wait_for(self, look, timeout, cancel, closing):
        end = deadline(timeout)
        asking = _Asking(self) if self.read_only and self.byte is not None else None
        pause = 0
        try:
            while True:
                seen = self.announce()
                announced = seen & AWAITED
                if asking is not None and announced:
                    asking.end()
                fence()
                result = look()
                now = futex.monotonic()
                if result or end is not None and now >= end or cancel is not None and cancel.is_set():
                    return result
                closing.check(self.lease.path)
                if asking is not None and not announced:
                    asking.ask()
                first, longest = (_FIRST_TIMEOUT, _LONGEST_TIMEOUT) if announced else (_FIRST_UNANSWERED, _LONGEST_UNANSWERED)
                if self.read_only and cancel is not None:
                    longest = min(longest, _LONGEST_READ_ONLY_CANCEL)
                pause = min(max(pause, first), longest)
                until = now + pause
                futex.wait(self.word, seen, self.lease.wake_bit, until if end is None else min(until, end))
                pause = 2 * pause if self.word.value == seen else 0
        finally:
            if asking is not None:
                asking.close()


class _Asking:
    """What a wait without the right to write does so that another process announces it."""

    def __init__(self, change):
        self.change, self.fd, self.asked = change, None, False

    def ask(self):
        lease = self.change.lease
        if self.fd is None:
            self.fd = lease.question()
        if self.fd is not None:
            self.asked = True
            lease.ask(self.fd, self.change.byte, self.change.bell)

    def end(self):
        if self.asked:
            self.change.lease.unask(self.fd, self.change.byte)
            self.asked = False

    def close(self):
        if self.fd is not None:
            self.change.lease.withdraw(self.fd)
