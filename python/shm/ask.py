"""Asking: how a process that may only read is told of changes. docs/FORMAT.md describes it.

It cannot set the bit of a change word that says that somebody waits. So it takes a
read lock on a byte of the file that stands for the word, and rings a bell, which is a
futex word of the header. A process that attached for writing sleeps on the bell, in a
thread of this module, and sets the bit in its stead. All of that only saves time.

The thread runs from the first lock or value that this process takes or makes on. It
does not run during a fork, so a fork is that of a process with one thread less. A
subinterpreter has none, because CPython ends only one that has no other threads.
"""

import ctypes
import importlib
import os
import threading
import time
import weakref
from _thread import allocate_lock, start_new_thread

from . import futex
from .atomics import cas_4, unavailable

BASE = 5 << 60  # the byte that stands for the header's change word of names
BYTES = 1 << 61
_LINE = 64
_LINES = 1 << 21  # a lock cell is at most this many lines behind the start of its record

_AT_ONCE = 32  # answers that a process gives at once; then one in each _EVERY
_EVERY = 0.001  # seconds
_LONGEST_SLEEP = 60_000_000_000  # ns
_MOST_WORDS = 127  # that the system lets a thread sleep on, without the thread's own


def byte_of(record, cell):
    """Return the byte that stands for the change word of a lock cell in a record, or None. Both are offsets."""
    lines = (cell - record) // _LINE
    return BASE + record // _LINE * 2 * _LINES + 2 * lines if 0 <= lines < _LINES else None


def cell_of(byte):
    """Return the record and the lock cell for which byte_of returns the byte, or None."""
    n = byte - BASE
    if not 0 <= n < BYTES or n % 2:
        return None
    record = n // (2 * _LINES) * _LINE
    return record, record + n % (2 * _LINES) // 2 * _LINE


def announce_others(word):
    """Say in a change word that somebody waits, and make all that sleep on it look again."""
    while True:
        w = word.value
        if w & 1 or cas_4(word, w, w | 1):
            break
    futex.wake(word, futex.EVERYBODY)


def _in_subinterpreter():
    """Report whether this is not the interpreter that the process began with."""
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        return interpreters.get_current() != interpreters.get_main()
    return False


class _Listener:
    """The thread that sleeps on the bells of all mappings that answer."""

    def __init__(self):
        self.own = ctypes.c_uint32(0)  # the thread sleeps on it as well
        self.answering = {}  # id of a mapping to a weak reference to it, the address of its bell, and its function
        self.ended = None  # a lock that the thread releases when it ends, or None
        self.thread = 0  # its number in the system

    def add(self, mapping, bell, answer):
        key = id(mapping)
        ref = weakref.ref(mapping, lambda _: self._forget(key))
        self.answering[key] = ref, ctypes.addressof(bell), answer
        if self.ended is None:
            self.start()
        else:
            self._call()

    def _forget(self, key):
        self.answering.pop(key, None)
        self._call()

    def _call(self):
        """Make the thread look at what there is to do."""
        self.own.value = self.own.value + 1 & 0xFFFFFFFF
        futex.wake(self.own, 1)

    def start(self):
        if _in_subinterpreter():
            return
        self.ended = ended = allocate_lock()
        ended.acquire()
        try:
            start_new_thread(self._run, (ended,))
        except RuntimeError:
            # The interpreter ends, or the system has no more threads for this user. Those
            # who ask then look by themselves. The next mapping tries again.
            self.ended = None

    def stop(self):
        """End the thread, for the time of a fork; return whether there was one."""
        ended, self.ended = self.ended, None
        if ended is None:
            return False
        self._call()
        if ended.acquire(timeout=1):
            # The thread exists in the system a little longer than in Python.
            end = time.monotonic() + 0.5  # it usually takes microseconds, but longer if the machine is busy
            while os.path.exists(f"/proc/self/task/{self.thread}") and time.monotonic() < end:
                time.sleep(0.00005)
        return True

    def _run(self, ended):
        try:
            self.thread = threading.get_native_id()
            paid = 0.0
            while self.ended is ended and self.answering:
                seen = self.own.value
                answering = list(self.answering.values())[:_MOST_WORDS]
                if self.ended is not ended:
                    return
                bells = [address for _, address, _ in answering]
                futex.wait_any(self.own, seen, bells, futex.monotonic() + _LONGEST_SLEEP)
                if self.ended is not ended:
                    return
                now = time.monotonic()
                paid = max(paid, now) + _EVERY
                if paid - now > _AT_ONCE * _EVERY:
                    time.sleep(paid - now - _AT_ONCE * _EVERY)
                for ref, _, answer in answering:
                    mapping = ref()
                    if mapping is not None:
                        answer(mapping)
                    del mapping
        finally:
            if self.ended is ended:
                self.ended = None
            ended.release()


_listener = _Listener()


def listen(mapping, bell, answer):
    """Call answer(mapping) after each ring of the mapping's bell. The mapping is referred to weakly."""
    if futex.can_wait_any() and not unavailable:
        _listener.add(mapping, bell, answer)


def before_fork():
    _before.append(_listener.stop())


def in_parent():
    if _before.pop() and _listener.answering:
        _listener.start()


def in_child():
    global _listener
    _before.clear()
    _listener = _Listener()


_before = []  # whether the thread ran before the fork
