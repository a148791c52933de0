"""Structs and strings that change as a whole."""

import ctypes
import time
from types import GenericAlias

from .atomics import cas_4, fence, store_release
from .cell import LockCell
from .change import Awaited
from .ctype import instance, is_number, plain_fields, text_of, type_of
from .errors import ArgumentError, ArgumentTypeError, LockError, TooLongError
from .header import round_up
from .locked import Locked, pickled_part
from .mutex import lock_offset, mutex_of
from .native import compiled

MAX_TRIES = 64  # copies that a reader makes before it asks for the lock, so that writers wait

# Seconds that the reader then waits for the lock at most. While a holder is stopped,
# or waits for this reader, it commits nothing, so the reader's next copy succeeds.
_LOCK_AT_MOST = 0.01


def locked_briefly(mutex, read_only, copy):
    """Return True and copy(), called with the lock held, or False and None if the lock cannot be had in a short time."""
    if not read_only:
        level = mutex._hold.level()
        try:
            if mutex.acquire(timeout=_LOCK_AT_MOST):
                x = copy()
                mutex.__exit__()
                return True, x
        except LockError:
            pass
        except BaseException:
            mutex.return_to(level)
            raise
    time.sleep(0)  # this process cannot take the lock; let the writer run
    return False, None


class Slots:
    """Two slots for a value, and the commit counter, whose low bit names the committed slot.

    Invariant: the committed slot is never written. A writer holds the lock, fills the
    other slot, and publishes it with one store of the counter. If it dies before that
    store, it has changed nothing. A reader copies the committed slot between two loads
    of the counter, and the copy is whole if both loads are equal. The whole counter is
    compared, as two commits later its low bit is the same again.
    """

    def __init__(self, mapping, record, part=None):
        self.mutex, self.capacity, self.read_only = mutex_of(mapping, record, part), record.capacity, mapping.read_only
        start = lock_offset(record, part)
        self.cell = mapping.at(LockCell, start)
        self.count = mapping.at(ctypes.c_uint64, start + LockCell.commit.offset)
        slot = ctypes.c_ubyte * record.capacity
        first = start + record.element_offset
        self.data = mapping.at(slot, first), mapping.at(slot, first + round_up(record.capacity))

    def read(self, copy):
        """Return copy(slot) of the committed slot. No commit came between the start and the end of the copy."""
        tries = 0
        while True:
            count = self.count.value
            fence()
            x = copy(self.data[count & 1])
            fence()
            if self.count.value == count:
                return x
            tries += 1
            if tries % MAX_TRIES == 0:
                found, x = locked_briefly(self.mutex, self.read_only, lambda: copy(self.committed()))
                if found:
                    return x

    def committed(self):
        """Return the committed slot. The caller holds the lock."""
        return self.data[self.count.value & 1]

    def publish(self, address, n):
        """Commit n bytes from an address. The caller holds the lock.

        The bytes after them are copied from the committed slot, as newer programs may have
        fields there.
        """
        count = self.count.value
        old, idle = self.data[count & 1], self.data[(count + 1) & 1]
        end = min(self.cell.extent, self.capacity)
        if end > n:
            ctypes.memmove(ctypes.addressof(idle) + n, ctypes.addressof(old) + n, end - n)
        ctypes.memmove(idle, address, n)
        store_release(self.count, count + 1 & 0xFFFFFFFFFFFFFFFF)
        # The holder may commit again before it unlocks. The fence keeps the stores of
        # that commit after this one.
        fence()

    def publish_text(self, text):
        """Commit bytes, which need not fill a slot. The caller holds the lock."""
        count = self.count.value
        self.texts[count + 1 & 1].raw = text
        store_release(self.count, count + 1 & 0xFFFFFFFFFFFFFFFF)
        fence()  # as in publish

    def extend(self, n):
        """Raise extent to n, so that all writers carry over n bytes. Call it before the first commit of n bytes."""
        extent = ctypes.c_uint32.from_buffer(self.cell, LockCell.extent.offset)
        while True:
            old = extent.value
            if old >= n or cas_4(extent, old, n):
                return


@compiled("struct")
class Struct(Awaited, Locked):
    """A struct, or any other type of fixed size, that changes as a whole.

    load never returns some fields of one store and some of another. It does not wait,
    even if another process is stopped or died while it held the lock, with one
    exception: if 64 copies in a row were overtaken by commits, it asks for the lock,
    and copies again if it does not get the lock within 10 ms. A Struct serves for
    several numbers that belong together. A program whose type appends fields can
    attach as well, if they fit; each program keeps the fields that it does not know.
    The struct works on after close of the segment. Changes of a read-only segment
    raise ReadOnlyError.
    """

    __slots__ = ("_slots", "_type", "_end", "_number", "_extended")

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, slots, ctype, end):
        self._slots, self._mutex, self._type, self._end = slots, slots.mutex, ctype, end
        self._number = is_number(ctype)
        self._extended = False
        if not self._number:
            self._struct_at(slots.data, ctype, ctypes.sizeof(ctype), end, plain_fields(ctype))

    def __reduce__(self):
        # A type that type_of made from the segment's description is not pickled: the
        # reader makes it from the same description.
        made_here = self._type.__module__ == type_of.__module__
        return pickled_part(self._mutex, None if made_here else self._type)

    def load(self):
        """Return a copy: a ctypes object in memory of this process, or the value if the type is a number."""
        x = self._slots.read(self._type.from_buffer_copy)
        return x.value if self._number else x

    def store(self, x, /):
        """Commit an object of the type, or an argument of its constructor, such as a tuple of fields."""
        self._mutex.change(self._commit, instance(self._type, x))

    value = property(load, store, doc="A copy of the struct: load and store.")

    def edit(self):
        """Take the lock, yield a copy, and commit it at the end: `with s.edit() as p: p.x += 1`.

        If the block raises, nothing is committed. Other changes of the struct by this
        thread inside the block raise UsageError, since the copy would replace them.
        """
        return _Edit(self)

    def update(self, f, /):
        """Call f with a copy, and commit the copy as f has changed it. If f raises, nothing is committed."""
        self._mutex.change(self._update, f)

    def _update(self, f):
        x = self._type.from_buffer_copy(self._slots.committed())
        try:
            f(x)
        except BaseException:
            self._mutex._hold.clear_mark = False  # f did not return normally, so the abandoned mark stays
            raise
        self._mutex.still_changing()
        self._commit(x)

    def _commit(self, x):
        """Commit an object of the type. The caller holds the lock."""
        if not self._extended:
            self._slots.extend(ctypes.sizeof(self._type))
            self._extended = True
        self._slots.publish(ctypes.addressof(x), self._end)

    def __repr__(self):
        return f"<Struct {self._mutex.name!r} = {text_of(self.load())}>"


class _Edit:
    """The with statement of Struct.edit."""

    __slots__ = ("_struct", "_copy", "_level")

    def __init__(self, struct):
        self._struct = struct
        self._level = -2  # no level of a lock

    def __enter__(self):
        struct = self._struct
        mutex = struct._mutex
        level = mutex._hold.level()
        try:
            mutex.__enter__()
            mutex.begin_edit()
            self._copy = x = struct._type.from_buffer_copy(struct._slots.committed())
            self._level = level
            self.__class__ = _Entered
            return x
        except BaseException:
            mutex.return_to(level)
            raise

    def __exit__(self, kind, value, traceback):
        struct = self._struct
        mutex = struct._mutex
        try:
            mutex.still_changing(self._level)
            if kind is None:
                struct._commit(self._copy)
            else:
                mutex._hold.clear_mark = False  # the block did not end normally, so the abandoned mark stays
            mutex._hold.editing = 0
            mutex.__exit__()
        except BaseException:
            mutex.return_to(self._level)
            raise
        finally:
            self.__class__ = _Edit


class _Entered(_Edit):
    """An _Edit between __enter__ and __exit__.

    If the exception of a handler comes between the block and the first line of __exit__, only
    the frames of that exception refer to the object. With them it releases the lock. It is
    a class of its own, as an exception that comes in __del__ is lost.
    """

    __slots__ = ()

    def __del__(self):
        mutex = self._struct._mutex
        hold = mutex._hold
        if hold.owned() and hold.editing == self._level + 2:
            mutex.return_to(self._level)


@compiled("string")
class String(Awaited, Locked):
    """A string of up to len(s) bytes that changes as a whole.

    As with Struct, load never returns a half-written string, and does not wait unless
    writers commit all the time, and then for 10 ms at a time.
    """

    __slots__ = ("_slots", "_size")

    def __init__(self, slots, size):
        self._slots, self._mutex, self._size = slots, slots.mutex, size
        slots.texts = tuple((ctypes.c_char * slots.capacity).from_buffer(slot) for slot in slots.data)
        self._text_at(slots.data, size)

    def __len__(self):
        return self._size

    def load(self):
        """Return the string as bytes."""
        return self._slots.read(bytes)[: self._size].partition(b"\0")[0]

    def store(self, text, /):
        """Commit bytes, or a str in UTF-8.

        Raises ArgumentTypeError for anything else, TooLongError for more than len(self) bytes,
        and ArgumentError for a NUL, at which the string would end. Nothing is changed then.
        """
        if isinstance(text, str):
            try:
                text = text.encode()
            except UnicodeEncodeError as e:
                raise ArgumentError(f"String {self._mutex.name!r}: {text!r} cannot be written as UTF-8: {e.reason}") from None
        elif not isinstance(text, (bytes, bytearray, memoryview)):
            # bytes(5) would be five zeros.
            raise ArgumentTypeError(f"String {self._mutex.name!r} takes bytes or str, not {type(text).__name__}")
        text = bytes(text)
        if len(text) > self._size:
            raise TooLongError(f"String {self._mutex.name!r} holds {self._size} bytes, and the text has {len(text)}")
        if b"\0" in text:
            raise ArgumentError(
                f"String {self._mutex.name!r} cannot hold a NUL, and the text has one at byte {text.index(0)}"
            )
        if len(text) < self._slots.capacity:
            text += b"\0"
        self._mutex.change(self._slots.publish_text, text)

    value = property(load, store, doc="The string as bytes: load and store.")

    def __str__(self):
        return self.load().decode(errors="replace")

    def __repr__(self):
        return f"<String {self._mutex.name!r} of up to {self._size} bytes>"
