"""Rings: the last values of a stream."""

import ctypes
import operator
from types import GenericAlias

from .atomics import fence, store_release
from .cell import LockCell
from .ctype import instance, is_number, type_of
from .errors import ArgumentError
from .locked import Locked, pickled
from .mutex import mutex_of
from .native import Reader, compiled, implementation
from .published import MAX_TRIES, locked_briefly

_U64 = (1 << 64) - 1


@compiled("ring")
class Ring(Locked):
    """The last len(r) values of a stream. The first value has the number 1, and each next one the next number.

    append takes the lock, and its one store of the counter makes the value appear, whole.
    Readers take no lock and never hinder a writer, with the exception that Struct has;
    one that is too slow misses values, and is told how many. Appending to a read-only
    segment raises ReadOnlyError.
    """

    __slots__ = ("_mapping", "_type", "_number", "_size", "_commit", "_slots", "_stride", "_count", "_read_only")

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, mapping, record, type):
        self._mapping, self._mutex, self._type = mapping, mutex_of(mapping, record), type
        self._number, self._size, self._count = is_number(type), ctypes.sizeof(type), record.count
        self._commit = mapping.at(ctypes.c_uint64, record.data + LockCell.commit.offset)
        self._slots, self._stride, self._read_only = record.elements, record.stride, mapping.read_only
        code = record.layout.code
        self._ring_at(mapping.memory, self._slots, self._count, self._stride, type, self._size, code)

    def __reduce__(self):
        made_here = self._type.__module__ == type_of.__module__  # see Struct.__reduce__
        return pickled(self._mapping, self._mutex.name, None if made_here else self._type)

    def __len__(self):
        """How many values the ring keeps, not how many it has now."""
        return self._count

    def append(self, x, /):
        """Append a value; return its number."""
        return self._mutex.change(self._append, instance(self._type, x))

    def _append(self, x):
        # There is one slot more than values that are kept, so the one that is filled is
        # not one that a reader may be told of.
        seq = self._commit.value + 1 & _U64
        ctypes.memmove(self._address(seq), ctypes.addressof(x), self._size)
        store_release(self._commit, seq)
        fence()  # the holder may append again before it unlocks
        return seq

    def _address(self, seq):
        return self._mapping.address(self._slots + (seq - 1) % (self._count + 1) * self._stride, self._size)

    def _copy(self, seq):
        # As with a Struct, no __init__ of the type is called.
        x = self._type.from_buffer_copy(ctypes.string_at(self._address(seq), self._size))
        return x.value if self._number else x

    def _kept(self, seq):
        """Report whether a value is there, and is still kept. A commit that is less than seq keeps nothing."""
        return 0 <= self._commit.value - seq < self._count

    def _last(self):
        seq = self._commit.value
        return (self._copy(seq), seq) if seq else None

    def last(self):
        """Return the newest value and its number, or None if there is no value yet."""
        tries = 0
        while True:
            seq = self._commit.value
            if seq == 0:
                return None
            fence()
            x = self._copy(seq)
            fence()
            if self._kept(seq):
                return x, seq
            tries += 1
            if tries % MAX_TRIES == 0:
                found, pair = locked_briefly(self._mutex, self._read_only, self._last)
                if found:
                    return pair

    def _kept_bytes(self):
        """Return the bytes of the values that the ring keeps, the oldest first."""
        found, seq = [], max(1, self._commit.value - self._count + 1)
        while seq <= self._commit.value:
            fence()
            b = ctypes.string_at(self._address(seq), self._size)
            fence()
            if self._kept(seq):
                found.append(b)
                seq += 1
            else:
                found, seq = found[1:], seq + 1  # it was overtaken, and so was what came before it
        return found[-self._count :]

    def _bytes_since(self, after, last):
        """Yield number and bytes of each kept value after a number and up to another."""
        seq = after + 1
        while seq <= last:
            seq = max(seq, self._commit.value - self._count + 1)
            fence()
            b = ctypes.string_at(self._address(seq), self._size)
            fence()
            if seq <= last and self._kept(seq):
                yield seq, b
                seq += 1

    def reader(self, start=None):
        """Return a RingReader that begins with the value of that number, or with the next one that is appended.

        A start of 0 means the oldest value that the ring still has.
        """
        return RingReader(self, self._commit.value + 1 if start is None else start)

    def __repr__(self):
        return f"<Ring {self._mutex.name!r} of {self._count}>"


@compiled("reader")
class RingReader(Reader):
    """Reads the values of a ring, one after the other. Each thread needs one of its own.

    `for x, seq in reader:` goes on until the last Segment of the file is closed: it yields
    what the ring still has, and then raises ClosedError. A copy, or a pickled reader, goes on from
    where this one is.
    """

    __slots__ = ("_closing",)

    def __init__(self, ring, start):
        start = operator.index(start)
        if not 0 <= start <= _U64:
            raise ArgumentError(f"values of a ring have numbers from 1 to {_U64}, not {start}")
        self._ring, self._closing = ring, ring._mutex._change.lease.closing
        self._at = start or self._oldest(ring), 0  # the number of the next value, and how many were missed

    def __reduce__(self):
        return _reader_again, (self._ring, *self._at)

    @property
    def missed(self):
        """How many values were overwritten before this reader came to them, in all."""
        return self._at[1]

    @staticmethod
    def _oldest(ring):
        return max(1, ring._commit.value - ring._count + 1)

    def next(self, timeout=None, cancel=None):
        """Return the next value and its number. If there is none yet, sleep until one is appended.

        It returns None after `timeout` seconds, or once cancel, a Cancel, is set. If there is
        none and the last Segment of the file was closed since the reader was made, it raises ClosedError.
        """
        ring = self._ring
        commit, tries = ring._commit, 0
        while True:
            (seq, missed), newest = self._at, commit.value
            if seq > newest:
                change = ring._mutex._change
                if not change.wait_for(lambda: commit.value >= seq, timeout, cancel, self._closing):
                    return None
                continue
            if newest - seq < ring._count:
                fence()
                x = ring._copy(seq)
                fence()
                if ring._kept(seq):
                    self._at = seq + 1, missed
                    return x, seq
            tries += 1
            if tries % MAX_TRIES == 0:
                found, pair = locked_briefly(ring._mutex, ring._read_only, self._take)
                if found:
                    return pair
            self._skip_to(max(seq, self._oldest(ring)))

    def _skip_to(self, seq):
        old, missed = self._at
        self._at = seq, missed + seq - old

    def _take(self):
        """Return the next value that the ring still has. The caller holds the lock."""
        self._skip_to(max(self._at[0], self._oldest(self._ring)))
        seq, missed = self._at
        x = self._ring._copy(seq)
        self._at = seq + 1, missed
        return x, seq

    def __iter__(self):
        return self

    def __next__(self):
        return self.next()


def _reader_again(ring, next, missed):
    reader = RingReader(ring, next)
    reader._at = next, missed
    return reader


if implementation == "native":
    RingReader.__next__ = RingReader.next
