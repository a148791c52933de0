"""Reading several values as of one moment."""

import time

from .atomics import fence
from .errors import ArgumentTypeError
from .published import MAX_TRIES, String, Struct
from .ring import Ring
from .table import Table

_LOCK_AT_MOST = 0.01  # seconds that it waits for the lock of a value that keeps changing


def snapshot(read, *values):
    """Call read until none of the values has changed during the call; return what it has returned.

    So what read has loaded of them was all there at one moment:

        a, b = shm.snapshot(lambda: (x.load(), y.load()), x, y)

    The values are Structs, Strings, Tables and Rings, each commit of which has a number.
    Others cannot be read together. read only loads, and may be called many times. If values
    change during each of 64 calls, snapshot takes their locks for the next one, but waits
    for each no longer than 10 ms.
    """
    numbers = []
    for v in values:
        numbers += _numbers(v)
    while True:
        for _ in range(MAX_TRIES):
            before = [count.value for count, _ in numbers]
            fence()
            x = read()
            fence()
            if before == [count.value for count, _ in numbers]:
                return x
        moved = [m for (count, m), old in zip(numbers, before) if count.value != old and not m._mapping.read_only]
        same, x = _locked(read, numbers, sorted(set(moved), key=lambda m: (m._mapping.lease.key, m._place[1:], m.name)))
        if same:
            return x
        time.sleep(0)


def _locked(read, numbers, mutexes):
    """Return whether nothing changed while read was called, with those locks, and what it has returned."""
    if mutexes:
        mutex, rest = mutexes[0], mutexes[1:]
        level = mutex._hold.level()
        held = False
        try:
            held = mutex.acquire(timeout=_LOCK_AT_MOST)
            return _locked(read, numbers, rest)
        finally:
            if held:
                mutex.return_to(level)
    before = [count.value for count, _ in numbers]
    fence()
    x = read()
    fence()
    return before == [count.value for count, _ in numbers], x


def _numbers(v):
    """Return the commit counters of a value, each with the Mutex under which it changes."""
    if isinstance(v, (Struct, String)):
        return [(v._slots.count, v._mutex)]
    if isinstance(v, Table):
        return [(row._slots.count, row._mutex) for row in v]
    if isinstance(v, Ring):
        return [(v._commit, v._mutex)]
    raise ArgumentTypeError(
        f"{v!r} has no number of its commits, so it cannot be read together with others: "
        "give Structs, Strings, Tables and Rings, and put numbers that belong together in one Struct"
    )
