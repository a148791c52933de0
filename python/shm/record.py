"""Records: the directory's descriptions of named values. docs/FORMAT.md defines them, see header.py.

Once a record is published, its bytes before its data never change.
"""

import functools
import operator
import os
import re
import struct
import sys
import zlib

from . import layout as layouts
from .errors import ArgumentError, ArgumentTypeError, FormatError
from .header import INDEX_SLOTS, LINE, MAX_INDEX_SLOTS, MAX_SEGMENT, round_up

# The kinds of values.
SINGLE, ARRAY, CHARS, MUTEX, GROWTH, INDEX, RING, COUNTER, GAUGE, HISTOGRAM = range(1, 11)
# The accesses: how the memory of a value is synchronised.
RAW, ATOMIC, LOCKED, PUBLISHED = range(1, 5)
KINDS = {
    RAW: (SINGLE, ARRAY, CHARS, INDEX), ATOMIC: (SINGLE, ARRAY, COUNTER, GAUGE, HISTOGRAM),
    LOCKED: (SINGLE, ARRAY, MUTEX), PUBLISHED: (SINGLE, ARRAY, CHARS, GROWTH, RING),
}  # fmt: skip
#: The kinds whose data are cells of which each process has one.
CELLS = COUNTER, GAUGE, HISTOGRAM
# The hints: what a value means to people.
HINTS = ("", "duration", "time", "text", "counter", "gauge")
ACCESS_NAMES = {RAW: "raw", ATOMIC: "atomic", LOCKED: "locked", PUBLISHED: "published"}

FIXED = 112  # bytes of a record before its name, format, unit and help
MAX_NAME = 255  # bytes of a name, and of a unit
MAX_HELP = 4 << 10  # bytes of a help text
MAX_EXTENT = (1 << 32) - 1  # bytes of the type of a struct that changes as a whole, or of a row of a table
_CHECK = 12  # offset of the checksum
_ZEROS = bytes(LINE)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]").search
_HEAD = struct.Struct("=QI4xQQQBBHIHHIQB7s40s")  # the checksum is in the gap
SLOT = 8  # bytes of a slot of an index

NUMBER_OFFSET = 48  # of a locked number in its data: it is in the line of its lock
LOCKED_OFFSET = LINE  # of a locked array's elements, or of the first slot, in the data
PAIR = 128  # bytes of two lines, which processors fetch together: cells start on one
BUCKETS_OFFSET = 64  # of the buckets of a histogram in a cell
MAX_BOUNDS = 1024  # of a histogram
MAX_CELLS = 65536  # without the shared one
DEFAULT_CELLS = 64

#: The name of this process's program in records and in the table of ids.
PROGRAM = next((os.path.basename(a) for a in getattr(sys, "argv", [])[:1] if a not in ("", "-c", "-m")), "python")


def utf8_of(name, text):
    """Return a text of a value of that name as UTF-8. Raises ArgumentError if it cannot be."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ArgumentError(f"value {name!r}: the text {text!r} cannot be written as UTF-8") from None


def check_name(name, encoded):
    """Raise ArgumentError if no value can have a name, of which encoded has the bytes."""
    if not 1 <= len(encoded) <= MAX_NAME or _CONTROL(encoded):
        raise ArgumentError(
            f"{name!r} cannot be the name of a value: a name has 1 to {MAX_NAME} bytes of UTF-8 and no control characters"
        )


class Shape:
    """The description of a value. A constructor wants one, and a record is one.

    layout is the layout of one element, or None for a mutex or an index. count is the
    number of elements of an array, of rows, of locks, of bytes of a C string, of values
    that a ring keeps, of bounds of a histogram or of slots of an index, and 0 for a
    single value. A constructor whose count is -1 wants the count of the existing value.
    """

    __slots__ = ("name", "layout", "access", "kind", "count", "unit", "help", "hint", "reserve")

    def __init__(self, name, layout, access, kind, count=0, unit="", help="", hint="", room=0):
        self.name, self.layout, self.access, self.kind = name, layout, access, kind
        self.count, self.unit, self.help, self.hint = count, unit, help, hint
        self.reserve = room  # bytes of a slot that the maker of a struct or of a table asks for

    @property
    def grows(self):
        """Whether longer and shorter versions of the type may attach to the value."""
        return self.access == PUBLISHED and self.kind in (SINGLE, ARRAY)

    @property
    def has_lock(self):
        return self.access in (LOCKED, PUBLISHED)

    @property
    def is_table(self):
        return self.access == PUBLISHED and self.kind == ARRAY

    @property
    def slot_size(self):
        """Bytes of all elements; of a table, of a ring and of what has cells, the least capacity."""
        if self.kind == INDEX:
            return self.count * SLOT
        if self.layout is None:
            return 0
        if self.is_table:
            return self.layout.size
        if self.kind == RING:
            return self.stride * (self.count + 1)
        if self.kind in CELLS:
            return 2 * self.stride  # the shared one, and one more
        return max(self.count, 1) * self.layout.size

    @property
    def bytes(self):
        """Bytes of the value, without what processes need to share it."""
        if self.is_table or self.kind == RING:
            return self.count * self.layout.size
        return (self.count + 1) * self.layout.size if self.kind in CELLS else self.slot_size

    @property
    def stride(self):
        """Bytes of a slot of a ring, or of a cell."""
        if self.kind == RING:
            return round_up(self.layout.size, 8)
        return round_up(BUCKETS_OFFSET + 8 * (self.count + 1), PAIR) if self.kind == HISTOGRAM else PAIR

    @property
    def room(self):
        """Bytes of a slot in a new record. A struct gets half as much again, for fields that later programs append."""
        n = self.slot_size
        if self.kind in CELLS:
            return self.stride * (DEFAULT_CELLS + 1)
        return (self.reserve or round_up(n + n // 2)) if self.grows else n

    def row_size(self, capacity):
        """Return the bytes of a row of a table, or of a whole struct or string: a lock cell and two slots."""
        return LOCKED_OFFSET + 2 * round_up(capacity)

    def data_size(self, capacity):
        """Return the bytes of the data: the slots of this capacity, and the lock cells if there are some."""
        if self.kind == GROWTH:
            return 0
        if self.kind == RING:
            return LOCKED_OFFSET + round_up(capacity)
        if self.access == PUBLISHED:
            return max(self.count, 1) * self.row_size(capacity) if self.is_table else self.row_size(capacity)
        if self.kind == MUTEX:
            return LINE * max(self.count, 1)
        if self.kind in CELLS:
            return self.element_offset + capacity
        if self.access == LOCKED and self.kind == SINGLE:
            return LINE
        return (LOCKED_OFFSET if self.access == LOCKED else 0) + round_up(capacity)

    @property
    def element_offset(self):
        """Bytes from the start of the data to the value itself, or to its first slot or cell."""
        if self.access == LOCKED and self.kind == SINGLE:
            return NUMBER_OFFSET
        if self.kind in CELLS:
            return PAIR + (round_up(8 * self.count, PAIR) if self.kind == HISTOGRAM else 0)
        if self.kind == MUTEX:
            return 0
        return LOCKED_OFFSET if self.has_lock else 0

    def lock_offsets(self, capacity):
        """Return the offsets of the lock cells in the data."""
        if self.kind == GROWTH or not self.has_lock:
            return range(0)
        if self.is_table:
            step = self.row_size(capacity)
            return range(0, self.count * step, step)
        return range(0, LINE * max(self.count, 1) if self.kind == MUTEX else 1, LINE)

    def check(self):
        """Raise ValueError if a value of this description cannot exist."""
        name, unit, help = (utf8_of(self.name, text) for text in (self.name, self.unit, self.help))
        self.check_texts(name, len(unit), len(help))
        self.check_shape()

    def check_texts(self, name, unit, help):
        """Do as check does, for the bytes of the name, and those that unit and help have, and the hint."""
        if self.kind == INDEX:
            if name or unit or help or self.hint:
                raise ArgumentError("an index with texts")
            return
        check_name(self.name, name)
        if unit > MAX_NAME or help > MAX_HELP:
            raise ArgumentError(
                f"value {self.name!r}: a unit has at most {MAX_NAME} bytes, and a help text at most {MAX_HELP}"
            )
        if self.hint not in HINTS:
            raise ArgumentError(f"value {self.name!r}: the hint {self.hint!r} is not one of {', '.join(HINTS[1:])}")
        if self.kind == GROWTH and (unit or help or self.hint):
            raise ArgumentError(f"value {self.name!r}: a growth record with texts")

    def check_shape(self):
        """Do as check does, for all but the texts."""
        if self.kind not in KINDS.get(self.access, ()):
            raise ArgumentError(f"kind {self.kind} with access {self.access}")
        if self.kind == INDEX:
            if not INDEX_SLOTS <= self.count <= MAX_INDEX_SLOTS or self.count & self.count - 1:
                raise ArgumentError(f"an index of {self.count} slots")
            return
        if (self.layout is None) != (self.kind == MUTEX):
            has = "no format" if self.layout is None else f"the format {self.layout.format!r}"
            raise ArgumentError(f"value {self.name!r}: kind {self.kind} with {has}")
        if self.kind == HISTOGRAM and not 1 <= self.count <= MAX_BOUNDS:
            raise ArgumentError(
                f"value {self.name!r}: a histogram of {self.count} bounds; it has at least one, and at most {MAX_BOUNDS}"
            )
        if self.count and (self.count < 0 or self.count > MAX_SEGMENT or self.slot_size > MAX_SEGMENT):
            raise ArgumentError(
                f"value {self.name!r}: a length of {self.count} is too much: the value would have more than the {MAX_SEGMENT} "
                "bytes that a segment has at most"
            )
        if (self.grows or self.kind == GROWTH) and self.layout.size > MAX_EXTENT:
            raise ArgumentError(
                f"value {self.name!r}: a struct of {self.layout.size} bytes; "
                f"one that changes as a whole, or a row of a table, has at most {MAX_EXTENT}"
            )
        if self.kind != MUTEX and (self.count > 0) != (self.kind in (ARRAY, CHARS, RING, HISTOGRAM)):
            raise ArgumentError(f"value {self.name!r}: kind {self.kind} with {self.count} elements")
        if self.kind == CHARS and self.layout.code != "c":
            raise ArgumentError(f"value {self.name!r}: characters with the format {self.layout.format!r}")
        if self.reserve and not self.layout.size <= self.reserve <= MAX_SEGMENT:
            raise ArgumentError(f"value {self.name!r}: room for {self.reserve} bytes, and the type takes {self.layout.size}")
        if self.layout is not None and not self._fits():
            raise ArgumentError(
                f"value {self.name!r}: kind {self.kind} with access {self.access} and the format {self.layout.format!r}"
            )

    def _fits(self):
        """Report whether values of this access and kind can have the format.

        Arrays are of numbers, and an atomic or locked number is written by one store.
        """
        code = self.layout.format[1:]
        scalar = len(code) <= 2  # neither a struct nor an array
        if self.access == ATOMIC:
            return code in {COUNTER: "qQd", GAUGE: "qQd", HISTOGRAM: "d"}.get(self.kind, "iIqQ") and len(code) == 1
        if self.access == LOCKED:
            return scalar and code not in ("?", "c", "Zd")
        return scalar or self.access != RAW or self.kind != ARRAY

    def outgrows(self, other):
        """Report whether this struct is other's with fields appended, and fits into other's capacity."""
        return (
            self.grows
            and other.grows
            and self.kind == other.kind
            and self.count in (other.count, -1)
            and self.layout != other.layout
            and self.layout.extends(other.layout)
            and self.layout.size <= other.capacity
        )

    def matches(self, other):
        """Report whether a constructor that wants this may attach to the record other."""
        if (self.access, self.kind) != (other.access, other.kind) or self.count not in (other.count, -1):
            return False
        if self.layout == other.layout:
            return True
        return self.grows and (self.outgrows(other) or other.layout.extends(self.layout))

    def describe(self):
        """Return the description as text for error messages."""
        if self.layout is None:
            return "a mutex" if self.count == 0 else f"{self.count} mutexes" if self.count > 0 else "mutexes"
        count = f" of {self.count} elements" if self.count > 0 else ""
        return f"{ACCESS_NAMES.get(self.access)} {self.layout.format}{count}"

    def encode(self, capacity, older=0):
        """Return the bytes of a record up to its data, and the size of the record with its data.

        older is the offset of the struct's own record, if this is a growth record.
        """
        name, unit, help = self.name.encode(), self.unit.encode(), self.help.encode()
        format = self.layout.format.encode() if self.layout else b""
        element = SLOT if self.kind == INDEX else self.layout.size if self.layout else 0
        texts = name + format + unit + help
        length = round_up(FIXED + len(texts))
        size = length + self.data_size(capacity)
        meta = bytearray(length)
        _HEAD.pack_into(
            meta, 0, size, length, self.count, element, capacity, self.access, self.kind, len(name), len(format),
            len(unit), len(help), os.getpid(), older // LINE, HINTS.index(self.hint), b"", os.fsencode(PROGRAM),
        )  # fmt: skip
        meta[FIXED : FIXED + len(texts)] = texts
        struct.pack_into("=I", meta, _CHECK, _checksum(meta))
        return bytes(meta), size


class Record(Shape):
    """A validated copy of a record. offset is the offset of the record in the segment."""

    # older is, of a growth record, the offset of the struct's own record.
    __slots__ = ("offset", "data", "capacity", "size", "pid", "older", "program")

    @property
    def elements(self):
        """Offset of the value itself, or of its first slot, in the segment."""
        return self.data + self.element_offset

    @property
    def cells(self):
        """The number of cells, the shared one included."""
        return self.capacity // self.stride

    def grown(self, growth):
        """Return this record with the layout of a growth record that leads to it. Raises FormatError."""
        wanted = Shape(self.name, growth.layout, growth.access, self.kind, self.count)
        ends = self.offset + self.size <= growth.offset
        if self.name != growth.name or not ends or not wanted.outgrows(self) or growth.capacity != self.capacity:
            raise FormatError(
                f"corrupt record at byte {growth.offset}: value {growth.name!r} cannot grow to {growth.layout.format!r}"
            )
        r = Record(self.name, growth.layout, self.access, self.kind, self.count, self.unit, self.help, self.hint)
        for attribute in ("offset", "data", "size", "capacity", "pid", "program"):
            setattr(r, attribute, getattr(self, attribute))
        r.older = 0
        return r


def made(shape, offset, length, size, capacity, older=0):
    """Return the Record that decode would return for what shape.encode has returned."""
    r = Record(shape.name, shape.layout, shape.access, shape.kind, shape.count, shape.unit, shape.help, shape.hint)
    r.offset, r.data, r.size, r.capacity, r.pid, r.older = offset, offset + length, size, capacity, os.getpid(), older
    r.program = os.fsencode(PROGRAM)[:40].partition(b"\0")[0].decode(errors="replace")
    return r


def _checksum(meta):
    """Return the checksum of a record's bytes up to its data, without the checksum itself."""
    return zlib.crc32(meta[_CHECK + 4 :], zlib.crc32(meta[:_CHECK]))


def head_of(fixed, offset, end):
    """Return the numbers of a record, from a copy of its first FIXED bytes. The second is how many bytes are before its data.

    The record starts at offset, and must end at `end` or before. Raises FormatError.
    """
    if len(fixed) < FIXED or end - offset < FIXED:
        raise FormatError(f"corrupt record at byte {offset}: it is cut off")
    head = _HEAD.unpack_from(fixed)
    size, length, _, _, _, _, _, n, f, u, h, _, _, _, _, _ = head
    if size > end - offset or size % LINE or length < FIXED or length % LINE or length > size:
        raise FormatError(
            f"corrupt record at byte {offset}: {size} bytes, data from {length}, and {end - offset} bytes are left"
        )
    if length != round_up(FIXED + n + f + u + h) or f > layouts.MAX_FORMAT:
        raise FormatError(
            f"corrupt record at byte {offset}: texts of {n}, {f}, {u} and {h} bytes, but its data starts at {length}"
        )
    return head


def decode(meta, offset, end, head=None, sound=False):
    """Validate a copy of a record's bytes up to its data; return the Record. Raises FormatError.

    head is what head_of has returned for it. If it is sound, meta ends where the data starts, and has the right
    checksum.
    """
    size, length, count, elem, capacity, access, kind, n, f, u, h, pid, older, hint, zeros, program = (
        head or head_of(meta, offset, end)
    )

    def corrupt(what):
        return FormatError(f"corrupt record at byte {offset}: {what}")

    if not sound:
        if len(meta) < length:
            raise corrupt("it is cut off")
        meta = meta[:length]
        if _checksum(meta) != struct.unpack_from("=I", meta, _CHECK)[0]:
            raise corrupt("wrong checksum")
    if zeros != _ZEROS[:7] or meta[FIXED + n + f + u + h :].strip(b"\0"):
        raise corrupt("reserved bytes are not zero")
    if (older != 0) != (kind == GROWTH) or older > offset // LINE:
        raise corrupt(f"kind {kind} with an older record at line {older}")
    texts = meta[FIXED : FIXED + n + f + u + h]
    try:
        # Name and format have to be valid UTF-8. Unit and help are only shown to
        # people, so wrong bytes in them are replaced.
        unit, help = texts[n + f : n + f + u], texts[n + f + u :]
        if kind in (MUTEX, INDEX):
            layout = None
            if f or elem != (SLOT if kind == INDEX else 0):
                raise ArgumentError(f"kind {kind} with a format of {f} bytes and elements of {elem} bytes")
        else:
            layout = _layout(texts[n : n + f])
            if layout.size != elem:
                raise ArgumentError(f"format {layout.format!r} of {elem} bytes; want {layout.size}")
        r = Record(
            texts[:n].decode(), layout, access, kind, count, unit and unit.decode(errors="replace") or "",
            help and help.decode(errors="replace") or "", HINTS[hint] if hint < len(HINTS) else "",
        )  # fmt: skip
        r.check_texts(texts[:n], u, h)
        if kind in (GROWTH, INDEX) and hint:
            raise ArgumentError(f"kind {kind} with a hint")
        r.offset, r.data, r.size, r.capacity, r.pid, r.older = offset, offset + length, size, capacity, pid, older * LINE
        r.program = _program(program)
        shape = layout and layout.format, access, kind, count, capacity, size - length
        if shape in _shapes:
            return r
        r.check_shape()
    except ValueError as e:
        raise corrupt(e) from None
    need, data_size = r.slot_size, r.data_size(capacity)
    inside = kind in (GROWTH, MUTEX) or r.element_offset + need <= data_size
    if kind == RING:
        inside = capacity == need
    elif kind in CELLS:
        inside = capacity % r.stride == 0 and capacity // r.stride - 1 <= MAX_CELLS
    if not need <= capacity <= MAX_SEGMENT or length + data_size != size or not inside:
        raise corrupt(f"capacity {capacity} and {size - length} bytes of data for a value of {need} bytes")
    if len(_shapes) >= 1024:
        _shapes.clear()
    _shapes.add(shape)
    return r


_shapes = set()  # what decode found to fit together: format, access, kind, count, capacity and bytes of data


def index(i, n, name):
    """Return the number of one of the n parts of a value. As with a list, -1 is the last one. Raises IndexError."""
    if type(i) is int and 0 <= i < n:
        return i
    try:
        number = operator.index(i)
    except TypeError:
        raise ArgumentTypeError(f"value {name!r}: an index is an integer here, not {i!r}") from None
    if not -n <= number < n:
        raise IndexError(f"value {name!r}: there is no index {number}, as its length is {n}")
    return number % n


@functools.lru_cache(maxsize=256)
def _program(b):
    return b.partition(b"\0")[0].decode(errors="replace")


_layouts = {}  # a format's bytes to its layout: most segments have few formats


def _layout(format):
    """Return the layout of a record's format. Raises ValueError, also if the format is not canonical."""
    layout = _layouts.get(format)
    if layout is None:
        layout = layouts.parse(format.decode())
        if layout.format.encode() != format:
            raise ArgumentError(f"format {format!r}; want {layout.format!r}")
        if len(_layouts) >= 1024:
            _layouts.clear()
        _layouts[format] = layout
    return layout
