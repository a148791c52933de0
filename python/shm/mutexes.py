"""Several locks of one name, such as places for workers."""

import ctypes
import time

from . import futex
from .change import check_cancel, deadline
from .locked import pickled
from .mutex import mutex_of
from .process import Process
from .record import index

# Nanoseconds between two looks at the locks, by which it finds out that a holder has died. They
# are as those of a wait for one lock. The looks take at most a fiftieth of the time.
_PAUSE, _LONG_WAIT, _PATIENT_PAUSE = 4_000_000, 100_000_000, 20_000_000
_SHARE = 50
_UNWATCHED_PAUSE = 10_000_000  # at most, if there are locks that it cannot sleep on


class Mutexes:
    """A fixed number of locks under one name. `m[i]` is the Mutex number i, and `with m[i]:` holds it.

    lock_any takes one that is free, or whose holder died. So each lock can be the
    place of a worker, or the claim to a job, that the worker's death gives back.
    """

    __slots__ = ("name", "_mapping", "_record", "_known", "__weakref__")

    def __init__(self, mapping, record):
        self.name, self._mapping, self._record = record.name, mapping, record
        self._known = {}  # number of a lock to its Mutex

    def __reduce__(self):
        return pickled(self._mapping, self.name)

    def __len__(self):
        return self._record.count

    def __getitem__(self, i):
        i = index(i, self._record.count, self.name)
        mutex = self._known.get(i)
        if mutex is None:
            mutex = self._known.setdefault(i, mutex_of(self._mapping, self._record, i))
        return mutex

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def owner(self, i):
        """Return the Process that holds lock i, or None. It may be dead: then the lock goes to the next that asks."""
        id = self[i].info().id
        return Process(self._mapping, id) if id else None

    def lock_any(self, timeout=None, cancel=None):
        """Take the lowest lock that is free or whose holder is dead; return its number.

        If all are held, it waits, at most `timeout` seconds, or until cancel, a Cancel, is
        set. Then it returns None. `m[i].abandoned()` tells whether the holder had died.
        A lock that this thread has already is not taken again.

        It sleeps until a lock is released. The death of a holder it notices some
        milliseconds later. Of more than 128 locks, and before Linux 5.16, it looks at the
        rest a hundred times a second.
        """
        check_cancel(cancel)
        end = deadline(timeout)
        i = self._try()
        if i is not None or end is not None and futex.monotonic() >= end:
            return i
        change, closing = self[0]._change, self._mapping.lease.closing
        ends = (closing,) if cancel is None else (closing, cancel)
        for e in ends:
            e._waited.append(change)  # which they wake, before it looks whether they are set
        try:
            return self._await(end, cancel, closing)
        finally:
            for e in ends:
                e._waited.remove(change)

    def _try(self):
        """Take the lowest lock that can be had now; return its number, or None."""
        for i in range(len(self)):
            mutex = self[i]
            if mutex._hold.level() >= 0:
                continue
            try:
                if mutex.acquire(blocking=False):
                    return i
            except BaseException:
                mutex.return_to(-1)
                raise
        return None

    def _await(self, end, cancel, closing):
        """Sleep until a lock can be had, or there is no time left; return its number, or None."""
        watched = list(self)[: futex.MOST_WORDS] if futex.can_wait_any() else []
        addresses = [ctypes.addressof(mutex._change_word) for mutex in watched]
        start = futex.monotonic()
        while True:
            # Announced before the look: a release that comes after it either sees that, and
            # changes the word, or the look sees the lock free.
            words = list(zip(addresses, [mutex._change.announce() for mutex in watched]))
            began = futex.monotonic()
            i = self._try()
            now = futex.monotonic()
            if i is not None:
                return i
            if end is not None and now >= end or cancel is not None and cancel.is_set():
                return None
            closing.check(self._mapping.path)
            pause = max(_PAUSE if now - start < _LONG_WAIT else _PATIENT_PAUSE, _SHARE * (now - began))
            if len(watched) < len(self):
                pause = min(pause, _UNWATCHED_PAUSE)
            until = now + pause if end is None else min(now + pause, end)
            if words:
                futex.wait_all(words, until)
            else:
                time.sleep((until - now) / 1e9)

    def __repr__(self):
        return f"<Mutexes {self.name!r} of {len(self)}>"
