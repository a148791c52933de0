"""Several locks of one name, such as places for workers."""

import time

from .locked import pickled
from .mutex import mutex_of
from .process import Process

_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.01  # seconds between two looks at the locks, which double


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
        i = range(self._record.count)[i]
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
        """
        end = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while True:
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
            now = time.monotonic()
            if end is not None and now >= end or cancel is not None and cancel.is_set():
                return None
            time.sleep(pause if end is None else min(pause, end - now))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def __repr__(self):
        return f"<Mutexes {self.name!r} of {len(self)}>"
