"""Structs and texts that change as a whole."""

import contextlib
import ctypes
import time

from .atomics import cas_4, fence, store_release
from .cell import LockCell
from .ctype import instance, is_number, type_of, words
from .errors import LockError, TooLongError
from .header import round_up
from .value import Locked, again

_MAX_TRIES = 64  # copies a reader makes before it asks the writers to wait

# Seconds a reader waits for the lock then. A holder that has stopped, or that
# waits for this very reader, commits no more, so that the next copy is good.
_LOCK_AT_MOST = 0.01


class Slots:
    """Two places for a value, and a counter of commits whose low bit names the committed one.

    Invariant: the committed slot is never written. A writer, under the lock,
    fills the other one and publishes it by one store of the counter; who dies
    before that has changed nothing. A reader takes a copy that was made between
    two loads of the same count. The whole counter is compared: the low bit is
    the same again two commits later.
    """

    def __init__(self, mapping, record, mutex):
        self.mutex, self.capacity, self.read_only = mutex, record.capacity, mapping.read_only
        self.cell = mapping.at(LockCell, record.data)
        self.count = mapping.at(ctypes.c_uint64, record.data + LockCell.commit.offset)
        slot = ctypes.c_ubyte * record.capacity
        first = record.elements
        self.data = mapping.at(slot, first), mapping.at(slot, first + round_up(record.capacity))

    def read(self, copy):
        """Return copy(slot) of the committed slot, made while it was committed."""
        tries = 0
        while True:
            count = self.count.value
            fence()
            x = copy(self.data[count & 1])
            fence()
            if self.count.value == count:
                return x
            tries += 1
            if tries % _MAX_TRIES == 0 and self._lock_briefly():
                try:
                    return copy(self.data[self.count.value & 1])
                finally:
                    self.mutex.__exit__()

    def _lock_briefly(self):
        """Take the lock if that does not take long; return whether it was taken."""
        if not self.read_only:
            try:
                return self.mutex.acquire(timeout=_LOCK_AT_MOST)
            except LockError:
                pass
        time.sleep(0)  # it cannot lock
        return False

    def committed(self):
        """Return the committed slot. The lock is held."""
        return self.data[self.count.value & 1]

    def publish(self, address, n, carry=True):
        """Commit n bytes from an address. The lock is held.

        With carry, what a newer program may keep behind them is kept.
        """
        count = self.count.value
        old, idle = self.data[count & 1], self.data[(count + 1) & 1]
        end = min(self.cell.extent, self.capacity)
        if carry and end > n:
            ctypes.memmove(ctypes.addressof(idle) + n, ctypes.addressof(old) + n, end - n)
        ctypes.memmove(idle, address, n)
        store_release(self.count, count + 1 & 0xFFFFFFFFFFFFFFFF)
        # A holder may commit again before it unlocks: the next fill is behind this.
        fence()

    def reach(self, n):
        """Make writers carry over at least n bytes. Before the first commit of whoever needs it."""
        extent = ctypes.c_uint32.from_buffer(self.cell, LockCell.extent.offset)
        while True:
            old = extent.value
            if old >= n or cas_4(extent, old, n):
                return


class Struct(Locked):
    """A struct, or any other type of fixed size, that changes as a whole.

    load never sees some fields of one store and some of another, and does not
    wait, also while another process is stopped or has died inside. Only under
    writers that never rest it asks for the lock after 64 copies that were
    overtaken, and copies again if it has to wait for 10 ms. For several numbers
    under one invariant. A program whose type only appends fields attaches as
    well if they fit; each keeps what it does not know of the other's. It works
    on after close of the segment. Changes of a read-only segment raise
    ReadOnlyError.
    """

    __slots__ = ("_slots", "_type", "_end", "_number", "_reached")

    def __init__(self, slots, ctype, end):
        self._slots, self._mutex, self._type, self._end = slots, slots.mutex, ctype, end
        self._number = is_number(ctype)
        self._reached = False

    def __reduce__(self):
        made_here = self._type.__module__ == type_of.__module__  # from the description, as its reader will
        return again(self._mutex._mapping, self._mutex.name, *(() if made_here else (self._type,)))

    def load(self):
        """Return a copy, a ctypes object of this process's own memory; of a number its value."""
        x = self._slots.read(self._type.from_buffer_copy)
        return x.value if self._number else x

    def store(self, x):
        """Commit an object of the type, or what its constructor takes: a tuple of fields."""
        x = instance(self._type, x)
        with self._changing():
            self._slots.publish(ctypes.addressof(x), self._end)

    value = property(load, store, doc="A copy of the struct: load and store.")

    @contextlib.contextmanager
    def edit(self):
        """Hold the lock, give a copy, and commit it at the end: `with s.edit() as p: p.x += 1`.

        An exception commits nothing.
        """
        with self._changing():
            x = self._type.from_buffer_copy(self._slots.committed())
            yield x
            self._slots.publish(ctypes.addressof(x), self._end)

    def update(self, f):
        """Call f with a copy and commit what it made of it. If f raises, nothing is committed."""
        with self.edit() as x:
            f(x)

    @contextlib.contextmanager
    def _changing(self):
        mutex = self._mutex
        mutex.__enter__()
        try:
            if not self._reached:
                self._slots.reach(ctypes.sizeof(self._type))
                self._reached = True
            yield
        except BaseException:
            mutex._asked = False  # who did not finish has answered for nothing
            raise
        finally:
            mutex.__exit__()

    def __repr__(self):
        return f"<Struct {self._mutex.name!r} = {words(self.load())}>"


class String(Locked):
    """A text of up to len(s) bytes that changes as a whole.

    As in Struct, load does not wait, but for 10 ms at a time under writers that
    never rest, and never returns halves.
    """

    __slots__ = ("_slots", "_size")

    def __init__(self, slots, size):
        self._slots, self._mutex, self._size = slots, slots.mutex, size

    def __len__(self):
        return self._size

    def load(self):
        """Return the text as bytes."""
        return self._slots.read(bytes)[: self._size].partition(b"\0")[0]

    def store(self, text):
        """Commit bytes, or a str in UTF-8.

        Raises TooLongError for more than len(self) bytes and ValueError for a
        NUL, which C would end it at. Nothing is changed then.
        """
        if isinstance(text, str):
            text = text.encode()
        text = bytes(text)
        if len(text) > self._size:
            raise TooLongError(f"{len(text)} bytes into {self._mutex.name!r}, which holds {self._size}")
        if b"\0" in text:
            raise ValueError(f"a NUL at byte {text.index(0)} of the text for {self._mutex.name!r}")
        if len(text) < self._slots.capacity:
            text += b"\0"
        with self._mutex:
            self._slots.publish(text, len(text), carry=False)

    value = property(load, store, doc="The text as bytes: load and store.")

    def __str__(self):
        return self.load().decode(errors="replace")

    def __repr__(self):
        return f"<String {self._mutex.name!r} of up to {self._size} bytes>"
