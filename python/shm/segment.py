"""Segments: shared memory with a directory of named values."""

import ctypes
import operator
import os
from collections.abc import Mapping

from . import ctype, header, layout as layouts, locked, memory, record as records
from .array import Array
from .atomicarray import AtomicArray
from .change import given_up, in_thread
from .counter import Counter, Gauge
from .ctype import instance, layout_of
from .directory import differs
from .entry import Entry, entry_of
from .errors import ArgumentError, ArgumentTypeError, ClosedError, FormatError, LayoutError, NoValueError
from .handover import passing
from .histogram import Histogram, bounds_of, checked
from .mutex import mutex_of
from .mutexes import Mutexes
from .process import await_exit, processes
from .published import Slots, String, Struct
from .record import (
    ARRAY, ATOMIC, CHARS, COUNTER, GAUGE, HISTOGRAM, LOCKED, MUTEX, PAIR, PUBLISHED, RAW, RING, SINGLE, Shape,
)  # fmt: skip
from .ring import Ring
from .table import Table
from .value import Atomic, Value


class Segment(Mapping):
    """An attachment to a segment. Its methods are safe for concurrent use.

    `seg["name"]` returns a value: the real ctypes object of a raw number, array, struct
    or C string, and otherwise a Value, Array, Struct, String, Atomic or Mutex. The
    methods raw_value and so on attach to a value as well, and make it if there is none;
    the initial value of the first caller stands. They raise LayoutError if the existing
    value is different, ReadOnlyError, FullError, and OSError if the filesystem is full.

    It is also a Mapping of the names to the values, without a way to set them: the names come oldest
    first, and two Segments are equal if they are the same object.

    After close, methods raise ClosedError. Values continue to work, and the memory is
    unmapped once nothing refers to it. close ends what waits: wait_for and await_exit of this
    Segment raise ClosedError. All Segments of this process that have one file open in the same
    mode share its memory. So the waits for its values, lock_any among them, end only when
    the last of those Segments is closed. Who waits for one lock, as in acquire or add, goes on.
    """

    def __init__(self, name, mapping):
        self.name = name
        self._mapping = mapping
        self._token = object()
        mapping.attached_by(self._token)
        mapping.segments.add(self)
        # Maps a name to its record and value, so that there is one object for each, and to the
        # word `used` of the header, if the value can grow: it has not while that is the same.
        self._values = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End this attachment. The name stays, and other attachments are not affected. A second call does nothing."""
        mapping, self._mapping = self._mapping, None
        self._values = {}
        if mapping is None:
            return
        mapping.segments.discard(self)
        mapping.closed_by(self._token)
        if mapping.segments:
            mapping.names.interrupt()  # wait_for of this Segment looks whether it is closed
        else:
            mapping.lease.end_waits()

    __eq__, __ne__, __hash__ = object.__eq__, object.__ne__, object.__hash__

    def __repr__(self):
        return f"<Segment {self.name!r}{'' if self._mapping else ', closed'}>"

    def __reduce__(self):
        return Segment, (self.name, self._attached())

    def _attached(self):
        mapping = self._mapping
        if mapping is None:
            raise ClosedError(f"segment {self.name!r} is closed: open it again")
        return mapping

    @property
    def size(self):
        """The bytes that are allocated so far."""
        m = self._attached()
        return min(header.load_lines(m.allocated, m.path), m.size)

    def sync(self):
        """Flush a segment that is a file to disk. Raises OSError."""
        memory.sync(self._attached().memory, self.size)

    # Looking up values.

    def _records(self):
        return self._attached().directory.all()

    def __iter__(self):
        """Yield the names, oldest first."""
        return iter([r.name for r in self._records()])

    def __len__(self):
        return len(self._records())

    def __contains__(self, name):
        return isinstance(name, str) and self._attached().directory.find(name) is not None

    def entries(self):
        """Return an Entry for every named value, oldest first."""
        m = self._attached()
        return [entry_of(self, m, r, _method(r)) for r in self._records()]

    def entry(self, name):
        """Return the Entry of the value of that name. Raises NoValueError."""
        m = self._attached()
        r = m.directory.find(name)
        if r is None:
            raise NoValueError(f"no value {name!r} in segment {self.name!r}")
        return entry_of(self, m, r, _method(r))

    def make(self, entry):
        """Attach to, or make, a value like that of an Entry, also of another segment; return its Entry.

        A new one has all bits 0, and the name, unit, help text, hint and room of that value; a
        histogram its bounds. So a program that does not have the type of a value makes one like
        it, and copies it by load_bytes and store_bytes. Raises what the method of its kind raises.
        """
        if not isinstance(entry, Entry):
            raise ArgumentTypeError(f"make takes an Entry, not {entry!r}")
        r = entry._record
        if r.kind == HISTOGRAM:
            bounds = list(bounds_of(entry._mapping, r))
            self.histogram(r.name, bounds, unit=r.unit, help=r.help, hint=r.hint)
        else:
            shape = Shape(r.name, r.layout, r.access, r.kind, r.count, r.unit, r.help, r.hint, r.capacity if r.grows else 0)
            self._attached().directory.place(shape)
        return self.entry(r.name)

    def check(self):
        """Read the descriptions of all values. Raises FormatError for the first that is damaged."""
        self._records()

    # Who is there.

    def processes(self):
        """Return a Process for each that has the segment attached, and for the dead that still hold a lock.

        A process is found from its first lock, counter or new value on. To find the dead, the
        call reads each lock of the segment.
        """
        return processes(self._attached())

    def await_exit(self, process, timeout=None, cancel=None):
        """Sleep until a Process of this segment is dead, or has left the segment.

        Raises WaitTimeoutError after `timeout` seconds, and CancelledError once cancel, a Cancel, is set.
        """
        await_exit(self._attached(), process, timeout, cancel, self._attached)

    def leased(self):
        """Return whether any process, this one included, holds a lease on the segment: it has taken a lock, and lives."""
        return self._attached().lease.any_held()

    def replaced(self):
        """Return whether the segment's name leads to another file by now, or to none.

        Then programs that open the name share nothing with this one. A segment without a name is never replaced.
        """
        m = self._attached()
        if "/" not in m.path or not self.name:
            return False
        try:
            return not os.path.samestat(os.lstat(m.path), os.fstat(m.fd))
        except FileNotFoundError:
            return True

    def passing(self, env=None, pass_fds=()):
        """Return a context manager for handing the segment to a child; it yields arguments of subprocess.Popen.

            with seg.passing() as inheritance:
                child = subprocess.Popen(["./worker"], **inheritance)

        The child, in any language, attaches with inherited. So it can use an anonymous segment,
        and one that it may not open itself. env and pass_fds are what the child gets besides:
        `with a.passing() as one, b.passing(**one) as both:`.
        """
        return passing(self._attached(), self.name, env, pass_fds)

    def fileno(self):
        """Return the descriptor of the segment's file, which stays the segment's. A process that gets it uses open_fd."""
        return self._attached().fd

    def wait_for(self, name, timeout=None, cancel=None):
        """Sleep until a process has made the value of that name; return the value.

        Raises WaitTimeoutError after `timeout` seconds, and CancelledError once cancel, a Cancel, is set. A name
        that is no str raises ArgumentTypeError, and one that no value can have ArgumentError.
        """
        m = self._attached()
        m.directory.find(name)  # raises for what is no str
        records.check_name(name, records.utf8_of(name, name))
        found = lambda: self._attached().directory.find(name) is not None  # noqa: E731
        if not m.names.wait_for(found, timeout, cancel):
            raise given_up(f"value {name!r} in segment {self.name!r}", timeout, cancel)
        return self[name]

    async def wait_for_async(self, name, timeout=None):
        """Do as wait_for does, in a coroutine of asyncio. If its task is cancelled, the wait ends."""
        return await in_thread(self.wait_for, name, timeout)

    def __getitem__(self, name):
        """Return the value of that name; it is the same object each time. Raises NoValueError, which is a KeyError."""
        m = self._mapping or self._attached()
        known = self._values.get(name)
        if known is not None and known[2] in (None, m.used.value):
            return known[1]
        used = m.used.value  # before the search: what is appended meanwhile is seen next time
        r = m.directory.find(name)
        if r is None:
            raise NoValueError(f"no value {name!r} in segment {self.name!r}")
        seen = used if r.grows else None
        if known is None:
            known = self._values.setdefault(name, (r, self._value_of(m, r), seen))  # so that two threads get one object
        if known[0].layout != r.layout:
            known = self._values[name] = r, self._value_of(m, r), seen
        elif known[2] != seen:
            known = self._values[name] = r, known[1], seen
        return known[1]

    def _value_of(self, m, r, t=None):
        """Return the value of a record. A struct may be of another type t that fits."""
        if r.kind == MUTEX and r.access == LOCKED:
            return mutex_of(m, r) if r.count == 0 else Mutexes(m, r)
        if r.access == PUBLISHED and r.kind in (SINGLE, ARRAY, CHARS, RING):
            if r.kind == CHARS:
                return String(Slots(m, r), r.count)
            layout = r.layout if t is None else layout_of(t)
            t = t or ctype.type_of(layout)
            if r.kind == RING:
                return Ring(m, r, t)
            return Table(m, r, t, layout.end) if r.kind == ARRAY else Struct(Slots(m, r), t, layout.end)
        number = r.layout is not None and r.layout.code
        if r.access == RAW and r.kind in (SINGLE, ARRAY, CHARS):
            t = t or ctype.type_of(r.layout, m.read_only)
            if r.kind != SINGLE:
                return _raw(m, r, ctype.array_type(t, r.count, m.read_only), r.data)
            return _raw(m, r, ctype.read_only_number(t) if m.read_only and number else t, r.data)
        if r.access == ATOMIC and r.kind in (COUNTER, GAUGE) and number and number in "qQd":
            return (Counter if r.kind == COUNTER else Gauge)(m, r, ctype.type_of(r.layout))
        if r.access == ATOMIC and r.kind == HISTOGRAM:
            return Histogram(m, r)
        if r.access == ATOMIC and r.kind in (SINGLE, ARRAY) and number and number in "iIqQ":
            t = ctype.type_of(r.layout)
            return AtomicArray(m, r, t) if r.kind == ARRAY else Atomic(m, r.name, t, r.data)
        if r.access == LOCKED and number and number != "Zd" and r.kind in (SINGLE, ARRAY):
            return (Value if r.kind == SINGLE else Array)(mutex_of(m, r), r)
        raise FormatError(
            f"{m.path}: value {r.name!r} is {r.describe()}, which this version of the package does not know"
        )

    # Making values.

    def _shape(self, name, t, access, kind, count=0, room=0, **label):
        """Return the Shape of a value to make, and the layout of the caller's own type if the value can have it, or None."""
        # A name is never given back, so all that can be wrong is checked before it is taken.
        room = operator.index(room)
        for text in (name, *label.values()):
            if not isinstance(text, str):
                raise ArgumentTypeError(f"value {name!r}: a name, a unit and a help text are str, not {text!r}")
        layout = own = layout_of(t) if kind != MUTEX else None
        typed = layout is not None and (kind == SINGLE or kind in (ARRAY, RING) and access == PUBLISHED)
        if typed and "c" in layout.format:
            there = self._attached().directory.find(name)
            layout = layout if there is not None and there.layout == layout else _for_go(name, layout, access)
        return Shape(name, layout, access, kind, count, **label, room=room), own if typed else None

    def _place(self, name, t, access, kind, count=0, init=None, room=0, **label):
        m = self._attached()
        shape, own = self._shape(name, t, access, kind, count, room, **label)
        first = None
        if init is not None:
            n = shape.layout.end if shape.grows else ctypes.sizeof(init)
            first = lambda r: self._write_first(m, r, init, n)  # noqa: E731
        try:
            r = m.directory.place(shape, first)
        except LayoutError:
            raise _differs(m, shape) from None
        # The caller's own type, so that this does not depend on what type_of can make.
        if own is not None and (own.code == "c" or own.code is None and not m.read_only):
            return self._value_of(m, r, ctype.resolve(t))
        return self[name]

    @staticmethod
    def _write_first(m, r, init, n):
        start = r.data + PAIR if r.kind == HISTOGRAM else r.elements
        ctypes.memmove(m.address(start, n), ctypes.addressof(init), n)
        if r.grows:
            m.at(ctypes.c_uint32, r.data + 28).value = ctypes.sizeof(init)

    def raw_value(self, name, type, init=None, *, unit="", help="", hint=""):
        """Attach to, or make, an unsynchronised number or struct; return the ctypes object.

        type is a ctypes type, a typecode of multiprocessing, or a dtype or scalar type of
        numpy. init is an argument of the type's constructor, or a tuple of a struct's
        fields. A character is a uint8 for Go, and an array of them is a char_array.
        """
        first = first_of(type, init)
        if isinstance(first, ctypes.Array) and first._type_ is ctypes.c_char:
            return self._place(name, ctypes.c_char, RAW, CHARS, len(first), first, unit=unit, help=help, hint=hint)
        return self._place(name, type, RAW, SINGLE, init=first, unit=unit, help=help, hint=hint)

    def raw_array(self, name, type, size_or_values=0, *, unit="", help="", hint=""):
        """Attach to, or make, an unsynchronised array of numbers; return the ctypes array.

        size_or_values is the number of elements, which start as zeros, or the elements
        themselves. 0 means the length of the existing array, as in Go, and raises
        NoValueError if there is none. An array of characters is a char_array, as
        with multiprocessing's RawArray('c', 8).
        """
        return self._array(name, type, RAW, size_or_values, unit, help, hint)

    def char_array(self, name, size=0, *, unit="", help="", hint=""):
        """Attach to, or make, an unsynchronised C string of size bytes; return the c_char array.

        A size of 0 means the size of the existing one, as with raw_array.
        """
        return self._place(name, ctypes.c_char, RAW, CHARS, _count(name, size), unit=unit, help=help, hint=hint)

    def value(self, name, type, init=None, *, unit="", help="", hint=""):
        """Attach to, or make, a number with a lock; return the Value."""
        self._number(name, type, "Value")
        return self._place(name, type, LOCKED, SINGLE, init=first_of(type, init), unit=unit, help=help, hint=hint)

    def array(self, name, type, size_or_values=0, *, unit="", help="", hint=""):
        """Attach to, or make, an array of numbers with one lock; return the Array.

        size_or_values is as with raw_array.
        """
        self._number(name, type, "Array")
        return self._array(name, type, LOCKED, size_or_values, unit, help, hint)

    def struct(self, name, type, init=None, *, room=0, unit="", help="", hint=""):
        """Attach to, or make, a struct that changes as a whole; return the Struct.

        A new one has room for fields that later programs append: half as much again, or `room` bytes.
        The type has at most 4 GiB less one byte.
        """
        Shape(name, layout_of(type), PUBLISHED, SINGLE).check_shape()  # before a first value takes as much memory
        first = first_of(type, init)
        return self._place(name, type, PUBLISHED, SINGLE, init=first, room=_room(name, room), unit=unit, help=help, hint=hint)

    def string(self, name, size=0, *, unit="", help="", hint=""):
        """Attach to, or make, a string of up to size bytes that changes as a whole; return the String.

        A size of 0 means the size of the existing one, as with raw_array.
        """
        return self._place(name, ctypes.c_char, PUBLISHED, CHARS, _count(name, size), unit=unit, help=help, hint=hint)

    def atomic(self, name, type, init=None, *, unit="", help="", hint=""):
        """Attach to, or make, an integer of 4 or 8 bytes with atomic operations; return the Atomic."""
        self._integer(name, type, "Atomic")
        return self._place(name, type, ATOMIC, SINGLE, init=first_of(type, init), unit=unit, help=help, hint=hint)

    def mutex(self, name, *, unit="", help="", hint=""):
        """Attach to, or make, a lock that belongs to no value; return the Mutex."""
        return self._place(name, None, LOCKED, MUTEX, unit=unit, help=help, hint=hint)

    def atomic_array(self, name, type, size=0, *, unit="", help="", hint=""):
        """Attach to, or make, an array of integers with atomic operations; return the AtomicArray.

        A size of 0 means the size of the existing one, as with raw_array.
        """
        self._integer(name, type, "AtomicArray")
        return self._place(name, type, ATOMIC, ARRAY, _count(name, size), unit=unit, help=help, hint=hint)

    def mutexes(self, name, size=0, *, unit="", help="", hint=""):
        """Attach to, or make, several locks that belong to no value; return the Mutexes.

        A size of 0 means the size of the existing ones, as with raw_array.
        """
        return self._place(name, None, LOCKED, MUTEX, _count(name, size), unit=unit, help=help, hint=hint)

    def table(self, name, type, size=0, *, room=0, unit="", help="", hint=""):
        """Attach to, or make, a table of rows that change each as a whole; return the Table.

        The rows start as zeros. A size of 0 means the size of the existing one, as with
        raw_array, and room is that of each row, as with struct.
        """
        room = _room(name, room)
        return self._place(name, type, PUBLISHED, ARRAY, _count(name, size), room=room, unit=unit, help=help, hint=hint)

    def ring(self, name, type, size=0, *, unit="", help="", hint=""):
        """Attach to, or make, a ring that keeps the last `size` values of a stream; return the Ring.

        A size of 0 means the size of the existing one, as with raw_array.
        """
        return self._place(name, type, PUBLISHED, RING, _count(name, size), unit=unit, help=help, hint=hint)

    def counter(self, name, type="q", *, unit="", help="", hint=""):
        """Attach to, or make, a number that many processes add to; return the Counter.

        type is that of an integer of 8 bytes, or a double.
        """
        return self._counting(name, type, COUNTER, "Counter", unit, help, hint or "counter")

    def gauge(self, name, type="q", *, unit="", help="", hint=""):
        """Attach to, or make, a number of which each living process has a part; return the Gauge.

        type is that of an integer of 8 bytes, or a double.
        """
        return self._counting(name, type, GAUGE, "Gauge", unit, help, hint or "gauge")

    def histogram(self, name, bounds=None, *, unit="", help="", hint=""):
        """Attach to, or make, a histogram with these bounds, which ascend; return the Histogram.

        Without bounds it takes those of the existing one, and raises NoValueError if there
        is none. Raises LayoutError if the existing one has other bounds.
        """
        first = None if bounds is None else checked(bounds)
        count = -1 if bounds is None else len(first) or 0
        made = self._place(name, ctypes.c_double, ATOMIC, HISTOGRAM, count, first, unit=unit, help=help, hint=hint)
        if first is not None and made is not None and made.bounds != first[:]:
            raise LayoutError(
                f"{self._attached().path}: histogram {name!r} has the bounds {made.bounds}; wanted {first[:]}: "
                "use another name, or no bounds, which means those that it has"
            )
        return made

    def _counting(self, name, type, kind, what, unit, help, hint):
        if layout_of(type).code not in ("q", "Q", "d"):
            raise ArgumentTypeError(
                f"{what} {name!r} cannot be a {ctype.resolve(type).__name__}: use an integer of 8 bytes, or a double"
            )
        return self._place(name, type, ATOMIC, kind, unit=unit, help=help, hint=hint)

    @staticmethod
    def _integer(name, type, what):
        if layout_of(type).code not in ("i", "I", "q", "Q"):
            raise ArgumentTypeError(
                f"{what} {name!r} cannot be a {ctype.resolve(type).__name__}: use an integer of 4 or 8 bytes"
            )

    def _array(self, name, type, access, size_or_values, unit, help, hint):
        code = layout_of(type).code
        if code in (None, "?"):
            raise ArgumentTypeError(
                f"array {name!r} cannot have elements of {ctype.resolve(type).__name__}, which is not a number: "
                "use struct or raw_value with an array type, as c_bool * 4"
            )
        if hasattr(size_or_values, "tolist"):
            size_or_values = size_or_values.tolist()  # numbers of numpy as numbers of Python, which ctypes takes
        try:
            count, init = _count(name, size_or_values), None
        except TypeError:
            try:
                values = list(size_or_values)
            except TypeError:
                raise ArgumentTypeError(
                    f"array {name!r}: give its length, an integer, or its values, not {size_or_values!r}"
                ) from None
            count = len(values)
            if count == 0:
                raise ArgumentError(f"array {name!r} needs at least one element: give its values or its length") from None
            t = ctype.resolve(type)
            try:
                init = (t * count)(*([instance(t, x) for x in values] if issubclass(t, ctypes.Structure) else values))
            except ArgumentTypeError:
                raise
            except TypeError as e:
                raise ArgumentTypeError(f"array {name!r}: {values!r} cannot be elements of the type {t.__name__}: {e}") from None
        return self._place(name, type, access, CHARS if code == "c" else ARRAY, count, init, unit=unit, help=help, hint=hint)

    @staticmethod
    def _number(name, type, what):
        code = layout_of(type).code
        if not code or code in ("Zd", "?", "c"):
            instead = "string" if code == "c" else "struct"
            raise ArgumentTypeError(
                f"{what} {name!r} cannot have the type {ctype.resolve(type).__name__}, "
                f"which is not a number of up to 8 bytes: use {instead}"
            )


class Trial(Segment):
    """A Segment whose methods check their arguments and what is there, and make nothing. They return no values."""

    def __init__(self, segment):
        self.name, self._mapping, self._values = segment.name, segment._attached(), {}

    def _place(self, name, t, access, kind, count=0, init=None, room=0, **label):
        m = self._attached()
        shape, _ = self._shape(name, t, access, kind, count, room, **label)
        try:
            r, _ = m.directory.expect(shape)
        except LayoutError:
            raise _differs(m, shape) from None
        return self[name] if r is not None and kind == HISTOGRAM else None  # whose bounds are compared


@locked.register_finder
def value_again(mapping, name, type=None, part=None):
    """Return a pickled value: the value of that name, or a part of it. A struct has the given type."""
    segment = Segment(mapping.path, mapping)
    if type is None:
        value = segment[name]
    else:
        value = getattr(segment, _method(mapping.directory.find(name)))(name, type)
    if part is None:
        return value
    return value.at(part) if isinstance(value, AtomicArray) else value[part]


def raw_again(mapping, name, elem=None, dims=()):
    """Return a pickled raw value. One that stands alone has the given type."""
    value = value_again(mapping, name)
    if isinstance(value, (Value, Array)):
        return value.get_obj()
    if elem is None or mapping.directory.find(name).kind != SINGLE:
        return value
    for n in reversed(dims):
        elem *= n
    return Segment(mapping.path, mapping).raw_value(name, elem)


@locked.register_maker
def _locked_object(m, r):
    t = ctype.type_of(r.layout, m.read_only)
    if r.kind == SINGLE:
        return _raw(m, r, ctype.read_only_number(t) if m.read_only else t, r.elements)
    return _raw(m, r, ctype.array_type(t, r.count, m.read_only), r.elements)


class _Place:
    """Where an object of a segment is. It keeps the memory mapped as long as the object lives."""

    __slots__ = ("mapping", "name")

    def __init__(self, mapping, name):
        self.mapping, self.name = mapping, name

    def __call__(self, t):
        """Return what pickles the object, which leads by the value's name to the same memory."""
        elem, dims = ctype.parts(t)
        # A type that type_of made from the description is not pickled, see Struct.__reduce__.
        made_here = elem.__module__ == ctype.__name__ and not ctype.is_number(elem)
        return raw_again, (self.mapping, self.name, *(() if made_here or self.mapping.read_only else (elem, dims)))


def _raw(m, r, t, offset):
    """Return the memory at an offset as an object of a type that is pickled by the value's name."""
    return ctype.place(m.inner(ctype.shared(t), offset), _Place(m, r.name))


def _for_go(name, layout, access):
    """Return a layout as it is recorded, so that a program in Go can have the type.

    Go has no type for a single character: it is a uint8 alone, and a C string of one
    byte in a struct. Raises TypeError for what has no counterpart in Go.
    """
    if "c" in (layout.code, (layout.elem or layout).code):
        if layout.code and access == RAW:
            return layouts.parse(layouts.ORDER + "B")
        alone = access == PUBLISHED and len(layout.dims) <= 1
        instead = "string" if alone else "a struct that has the array as a field"
        raise ArgumentTypeError(f"value {name!r} cannot be {layout.format}, for which Go has no type: use {instead}")
    return _with_strings(layout)


def _with_strings(layout):
    if layout.code:
        return layouts.array_of(layout, 1) if layout.code == "c" else layout
    if layout.elem:
        elem = layout.elem if layout.elem.code else _with_strings(layout.elem)
        return layouts.array_of(elem, *layout.dims)
    return layouts.struct_of([(name, offset, _with_strings(part)) for name, offset, part in layout.fields], layout.size)


_METHODS = {
    (RAW, SINGLE): "raw_value", (RAW, ARRAY): "raw_array", (RAW, CHARS): "char_array", (LOCKED, SINGLE): "value",
    (LOCKED, ARRAY): "array", (PUBLISHED, SINGLE): "struct", (PUBLISHED, CHARS): "string", (ATOMIC, SINGLE): "atomic",
    (ATOMIC, ARRAY): "atomic_array", (PUBLISHED, ARRAY): "table", (PUBLISHED, RING): "ring",
    (ATOMIC, COUNTER): "counter", (ATOMIC, GAUGE): "gauge", (ATOMIC, HISTOGRAM): "histogram",
}  # fmt: skip


def _method(shape):
    """Return the name of the method that attaches to a value."""
    if shape.kind == MUTEX:
        return "mutexes" if shape.count else "mutex"
    return _METHODS.get((shape.access, shape.kind), records.ACCESS_NAMES.get(shape.access))


def _described(shape):
    """Describe a value by the method that attaches to it, for error messages."""
    method = _method(shape)
    unit = {CHARS: "bytes", RING: "values", HISTOGRAM: "bounds", MUTEX: "locks"}.get(shape.kind, "elements")
    of = "" if shape.kind in (CHARS, MUTEX, HISTOGRAM) else f" of {shape.layout.format}"
    count = "" if shape.count == 0 else ", any length" if shape.count == -1 else f", {shape.count} {unit}"
    return f"{'an' if method[0] == 'a' else 'a'} {method}{of}{count}"


def _differs(m, shape):
    r = m.directory.find(shape.name)
    return differs(m.path, r, _described(r), _described(shape))


def _count(name, n):
    """Return the size that a constructor was given as a Shape's count. Raises TypeError if it is not an integer."""
    try:
        n = operator.index(n)
    except TypeError:
        raise ArgumentTypeError(f"value {name!r}: a length is an integer, not {n!r}") from None
    if n < 0:
        raise ArgumentError(f"value {name!r}: a length cannot be negative: {n}")
    return n or -1


def _room(name, n):
    """Return the room that a constructor was given. Raises TypeError if it is not an integer."""
    try:
        return operator.index(n)
    except TypeError:
        raise ArgumentTypeError(f"value {name!r}: room is a number of bytes, not {n!r}") from None


def first_of(type, init):
    """Return an initial value as an object of exactly the type."""
    t = ctype.resolve(type)
    layout_of(t)  # first, as its error says what is wrong with the type
    try:
        return t() if init is None else instance(t, init)
    except ArgumentTypeError:
        raise
    except TypeError as e:
        raise ArgumentTypeError(f"{init!r} cannot be the first value of a {t.__name__}: {e}") from None
