"""Segments: shared memory with a directory of named values."""

import ctypes
import errno
import operator
import os
from collections import namedtuple

from . import ctype, file, header, layout as layouts, lease, locked, memory, record as records
from .array import Array
from .atomicarray import AtomicArray
from .change import in_thread
from .counter import Counter, Gauge
from .ctype import instance, layout_of
from .errors import ClosedError, FormatError, LayoutError
from .histogram import Histogram, bounds_of, checked
from .mapping import attach
from .mutex import mutex_of
from .mutexes import Mutexes
from .published import Slots, String, Struct
from .record import (
    ARRAY, ATOMIC, CHARS, COUNTER, GAUGE, HISTOGRAM, LOCKED, MUTEX, PAIR, PUBLISHED, RAW, RING, SINGLE, Shape,
)  # fmt: skip
from .ring import Ring
from .table import Table
from .value import Atomic, Value

DEFAULT_MAX_SIZE = 4 << 30

Entry = namedtuple("Entry", "name format length access unit help pid program offset size hint kind")
Entry.__doc__ = """The directory's description of a named value.

format is the format of one element, and "" for a mutex. length is the number of
elements of an array, of rows, of locks, of bytes of a C string, of values that a ring
keeps or of bounds of a histogram, and 0 for a single value. access is
raw, atomic, locked or published. pid and program belong to the process that made the
value. offset and size are in bytes, and offset counts from the start of the segment.
hint says what the value means to people: "duration" (nanoseconds), "time" (nanoseconds
since 1970-01-01 UTC), "text" (UTF-8), "counter" (a number that only grows), "gauge" (one
that goes up and down), or "". kind is the name of the method that attaches to the value,
such as "array" or "counter".
"""


def open(name, *, create=False, exclusive=False, readonly=False, mode=0o600, max_size=0):
    """Attach to the segment of that name; return it.

    A name without a slash is a POSIX shared-memory object, which lives until it is
    removed or the system reboots. A name with a slash is the path of a file.

    With create, open makes the segment if there is none. With exclusive, it makes the
    segment, and raises FileExistsError if there is one. mode has the permission bits of
    a new segment, whatever the umask; an existing one must not be writable by more
    users than mode grants. max_size is the number of bytes of address space that a new
    segment may grow to; 0 means 4 GiB. With readonly, it maps the segment without write
    permission.

    Raises FileNotFoundError if there is no such segment; FormatError or VersionError if
    the file is not a segment that this version reads; InsecureError if the file is not
    a regular file, has several hard links, belongs to another user while mode is for
    this user only, or is writable by more users than mode grants; OSError from the
    system.
    """
    file.check_name(name)
    if mode & ~0o777:
        raise ValueError(f"mode {mode:#o} has other bits than the permissions 0o777")
    if exclusive:
        create = True
    if create and readonly:
        raise ValueError("readonly cannot be combined with create or exclusive: a read-only attachment makes nothing")
    if not 0 <= max_size <= header.MAX_SEGMENT:
        raise ValueError(f"max_size {max_size} is not between 0 and {header.MAX_SEGMENT}")
    max_size = max(header.FIRST_ALLOCATION, header.round_up(max_size or DEFAULT_MAX_SIZE, memory.PAGE))
    path = file.path_of(name)
    # Another process may create and remove the name in turn, so that neither attaching
    # nor creating succeeds. It gives up after a number of rounds.
    for _ in range(100):
        if not exclusive:
            try:
                return Segment(name, attach(file.open_existing(path, readonly, mode), path, readonly))
            except FileNotFoundError:
                if not create:
                    raise
        try:
            with file.naming(path):
                fd = file.create(path, mode, max_size)
            return Segment(name, attach(fd, path, readonly))
        except FileExistsError:
            if exclusive:
                raise
    raise OSError(errno.EAGAIN, "the name was created and removed 100 times during open", path)


def remove(name):
    """Remove the name. Attached processes keep the memory. Raises FileNotFoundError."""
    file.check_name(name)
    os.unlink(file.path_of(name))


def inherited(name="", *, readonly=False):
    """Attach to a segment that a Go parent process passed with Pass.

    The name of an anonymous segment is "". Raises FileNotFoundError if the parent passed
    no such segment, and otherwise the same exceptions as open.
    """
    place = os.environ.get("SHM_SEGMENT_" + name.encode().hex(), "")
    missing = FileNotFoundError(errno.ENOENT, "the parent process passed no segment of this name", name)
    try:
        fd, device, inode, *socket = map(int, place.split(":"))
        st = os.fstat(fd)
    except (ValueError, OverflowError, OSError):
        raise missing from None
    if fd < 3 or (st.st_dev, st.st_ino) != (device, inode) or len(socket) > 1:
        raise missing
    file.identify(fd, name)
    os.set_inheritable(fd, False)
    for number in socket:  # a description for the lease waits in it
        if number >= 3 and number not in _received:
            _received.add(number)
            lease.receive(number, (device, inode))
    path = file.path_of(name) if name else "anonymous segment"
    return Segment(name, attach(os.dup(fd), path, readonly))


_received = set()  # numbers of the sockets that were read and closed


class Segment:
    """An attachment to a segment. Its methods are safe for concurrent use.

    `seg["name"]` returns a value: the real ctypes object of a raw number, array, struct
    or C string, and otherwise a Value, Array, Struct, String, Atomic or Mutex. The
    methods raw_value and so on attach to a value as well, and make it if there is none;
    the initial value of the first caller stands. They raise LayoutError if the existing
    value is different, ReadOnlyError, FullError, and OSError if the filesystem is full.

    After close, methods raise ClosedError. Values continue to work, and the memory is
    unmapped once nothing refers to it.
    """

    def __init__(self, name, mapping):
        self.name = name
        self._mapping = mapping
        # Maps a name to its record and value, so that there is one object for each.
        self._values = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End this attachment. The name stays, and other attachments are not affected. A second call does nothing."""
        self._mapping = None
        self._values = {}

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
        return self._attached().directory.find(name) is not None

    def entries(self):
        """Return an Entry for every named value, oldest first."""
        return [
            Entry(
                r.name, r.layout.format if r.layout else "", r.count, records.ACCESS_NAMES[r.access],
                r.unit, r.help, r.pid, r.program, r.elements, r.bytes, r.hint, _method(r),
            )
            for r in self._records()
        ]  # fmt: skip

    def wait_for(self, name, timeout=None, cancel=None):
        """Sleep until a process has made the value of that name; return the value.

        Raises TimeoutError after `timeout` seconds, or once cancel, a Cancel, is set.
        """
        m = self._attached()
        if not m.names.wait_for(lambda: name in self, timeout, cancel):
            until = "before the wait was cancelled" if cancel is not None and cancel.is_set() else f"within {timeout} s"
            raise TimeoutError(f"no process made value {name!r} in segment {self.name!r} {until}")
        return self[name]

    async def wait_for_async(self, name, timeout=None):
        """Do as wait_for does, in a coroutine of asyncio. If its task is cancelled, the wait ends."""
        return await in_thread(self.wait_for, name, timeout)

    def __getitem__(self, name):
        """Return the value of that name; it is the same object each time. Raises KeyError."""
        m = self._attached()
        r = m.directory.find(name)
        if r is None:
            raise KeyError(f"no value {name!r} in segment {self.name!r}")
        known = self._values.get(name)
        if known is None or known[0].layout != r.layout:
            made = r, self._value_of(m, r)
            if known is None:
                known = self._values.setdefault(name, made)  # so that two threads get one object
            else:
                known = self._values[name] = made
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
            return AtomicArray(m, r, t) if r.kind == ARRAY else Atomic(m, r.name, m.at(t, r.data))
        if r.access == LOCKED and number and number != "Zd":
            t = ctype.type_of(r.layout, m.read_only)
            if r.kind == SINGLE:
                obj = _raw(m, r, ctype.read_only_number(t) if m.read_only else t, r.elements)
                return Value(obj, mutex_of(m, r))
            if r.kind == ARRAY:
                return Array(_raw(m, r, ctype.array_type(t, r.count, m.read_only), r.elements), mutex_of(m, r))
        raise FormatError(
            f"{m.path}: value {r.name!r} is {r.describe()}, which this version of the package does not know"
        )

    # Making values.

    def _place(self, name, t, access, kind, count=0, init=None, **label):
        # A name is never given back, so all that can be wrong is checked before it is taken.
        m = self._attached()
        for text in (name, *label.values()):
            if not isinstance(text, str):
                raise TypeError(f"value {name!r}: a name, a unit and a help text are str, not {text!r}")
        layout = layout_of(t) if t is not None else None
        typed = layout is not None and (kind == SINGLE or kind in (ARRAY, RING) and access == PUBLISHED)
        if typed:
            there = m.directory.find(name)
            layout = layout if there is not None and there.layout == layout else _for_go(name, layout, access)
        shape = Shape(name, layout, access, kind, count, **label)
        first = None
        if init is not None:
            n = shape.layout.end if shape.grows else ctypes.sizeof(init)
            first = lambda r: self._write_first(m, r, init, n)  # noqa: E731
        try:
            r = m.directory.place(shape, first)
        except LayoutError:
            r = m.directory.find(name)
            raise LayoutError(
                f"{m.path}: value {name!r} is {_described(r)}, made by {r.program!r} (pid {r.pid}); "
                f"wanted {_described(shape)}: use another name, or remove the segment once its programs have ended"
            ) from None
        # The caller's own type, so that this does not depend on what type_of can make.
        code = layout_of(t).code if typed else "none"
        if code == "c" or code is None and not m.read_only:
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
        first = _first(type, init)
        if isinstance(first, ctypes.Array) and first._type_ is ctypes.c_char:
            return self._place(name, ctypes.c_char, RAW, CHARS, len(first), first, unit=unit, help=help, hint=hint)
        return self._place(name, type, RAW, SINGLE, init=first, unit=unit, help=help, hint=hint)

    def raw_array(self, name, type, size_or_values=0, *, unit="", help="", hint=""):
        """Attach to, or make, an unsynchronised array of numbers; return the ctypes array.

        size_or_values is the number of elements, which start as zeros, or the elements
        themselves. 0 means the length of the existing array, as in Go, and raises
        FileNotFoundError if there is none. An array of characters is a char_array, as
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
        return self._place(name, type, LOCKED, SINGLE, init=_first(type, init), unit=unit, help=help, hint=hint)

    def array(self, name, type, size_or_values=0, *, unit="", help="", hint=""):
        """Attach to, or make, an array of numbers with one lock; return the Array.

        size_or_values is as with raw_array.
        """
        self._number(name, type, "Array")
        return self._array(name, type, LOCKED, size_or_values, unit, help, hint)

    def struct(self, name, type, init=None, *, unit="", help="", hint=""):
        """Attach to, or make, a struct that changes as a whole; return the Struct."""
        return self._place(name, type, PUBLISHED, SINGLE, init=_first(type, init), unit=unit, help=help, hint=hint)

    def string(self, name, size=0, *, unit="", help="", hint=""):
        """Attach to, or make, a string of up to size bytes that changes as a whole; return the String.

        A size of 0 means the size of the existing one, as with raw_array.
        """
        return self._place(name, ctypes.c_char, PUBLISHED, CHARS, _count(name, size), unit=unit, help=help, hint=hint)

    def atomic(self, name, type, init=None, *, unit="", help="", hint=""):
        """Attach to, or make, an integer of 4 or 8 bytes with atomic operations; return the Atomic."""
        self._integer(name, type, "Atomic")
        return self._place(name, type, ATOMIC, SINGLE, init=_first(type, init), unit=unit, help=help, hint=hint)

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

    def table(self, name, type, size=0, *, unit="", help="", hint=""):
        """Attach to, or make, a table of rows that change each as a whole; return the Table.

        The rows start as zeros. A size of 0 means the size of the existing one, as with
        raw_array.
        """
        return self._place(name, type, PUBLISHED, ARRAY, _count(name, size), unit=unit, help=help, hint=hint)

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

        Without bounds it takes those of the existing one, and raises FileNotFoundError if
        there is none. Raises LayoutError if the existing one has other bounds.
        """
        first = None if bounds is None else checked(bounds)
        count = -1 if bounds is None else len(first) or 0
        made = self._place(name, ctypes.c_double, ATOMIC, HISTOGRAM, count, first, unit=unit, help=help, hint=hint)
        if first is not None and made.bounds != first[:]:
            raise LayoutError(
                f"{self._attached().path}: histogram {name!r} has the bounds {made.bounds}; wanted {first[:]}: "
                "use another name, or no bounds, which means those that it has"
            )
        return made

    def _counting(self, name, type, kind, what, unit, help, hint):
        if layout_of(type).code not in ("q", "Q", "d"):
            raise TypeError(
                f"{what} {name!r} cannot be a {ctype.resolve(type).__name__}: use an integer of 8 bytes, or a double"
            )
        return self._place(name, type, ATOMIC, kind, unit=unit, help=help, hint=hint)

    @staticmethod
    def _integer(name, type, what):
        if layout_of(type).code not in ("i", "I", "q", "Q"):
            raise TypeError(
                f"{what} {name!r} cannot be a {ctype.resolve(type).__name__}: use an integer of 4 or 8 bytes"
            )

    def _array(self, name, type, access, size_or_values, unit, help, hint):
        code = layout_of(type).code
        if code in (None, "?"):
            raise TypeError(
                f"array {name!r} cannot have elements of {ctype.resolve(type).__name__}, which is not a number: "
                "use struct or raw_value with an array type, as c_bool * 4"
            )
        if hasattr(size_or_values, "tolist"):
            size_or_values = size_or_values.tolist()  # numbers of numpy as numbers of Python, which ctypes takes
        try:
            count, init = _count(name, size_or_values), None
        except TypeError:
            values = list(size_or_values)
            count = len(values)
            if count == 0:
                raise ValueError(f"array {name!r} needs at least one element: give its values or its length") from None
            t = ctype.resolve(type)
            init = (t * count)(*([instance(t, x) for x in values] if issubclass(t, ctypes.Structure) else values))
        return self._place(name, type, access, CHARS if code == "c" else ARRAY, count, init, unit=unit, help=help, hint=hint)

    @staticmethod
    def _number(name, type, what):
        code = layout_of(type).code
        if not code or code in ("Zd", "?", "c"):
            instead = "string" if code == "c" else "struct"
            raise TypeError(
                f"{what} {name!r} cannot have the type {ctype.resolve(type).__name__}, "
                f"which is not a number of up to 8 bytes: use {instead}"
            )


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


def _raw(m, r, t, offset):
    """Return the memory at an offset as an object of a type that is pickled by the value's name."""

    def reduced(t):
        elem, dims = ctype.parts(t)
        # A type that type_of made from the description is not pickled, see Struct.__reduce__.
        made_here = elem.__module__ == ctype.__name__ and not ctype.is_number(elem)
        return raw_again, (m, r.name, *(() if made_here or m.read_only else (elem, dims)))

    return ctype.place(m.at(ctype.shared(t), offset), reduced)


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
        raise TypeError(f"value {name!r} cannot be {layout.format}, for which Go has no type: use {instead}")
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


def _count(name, n):
    """Return the size that a constructor was given as a Shape's count. Raises TypeError if it is not an integer."""
    n = operator.index(n)
    if n < 0:
        raise ValueError(f"value {name!r}: a length cannot be negative: {n}")
    return n or -1


def _first(type, init):
    """Return an initial value as an object of exactly the type."""
    t = ctype.resolve(type)
    layout_of(t)  # first, as its error says what is wrong with the type
    return t() if init is None else instance(t, init)
