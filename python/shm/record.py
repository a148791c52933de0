"""Records: what the directory says about a named value.

Everything up to a record's data never changes once it is published.
"""

import os
import struct
import sys
import zlib

from . import layout as layouts
from .errors import FormatError
from .header import LINE, MAX_SEGMENT, round_up

# What a name stands for.
SINGLE, ARRAY, CHARS, MUTEX, GROWTH = range(1, 6)
# How its memory is synchronised.
RAW, ATOMIC, LOCKED, PUBLISHED = range(1, 5)
ACCESS_NAMES = {RAW: "raw", ATOMIC: "atomic", LOCKED: "locked", PUBLISHED: "published"}

FIXED = 112  # bytes; then name, format, unit and help
MAX_NAME = 255  # bytes, of a unit as well
MAX_HELP = 4 << 10
_CHECK = 12
_HEAD = struct.Struct("=QI4xQQQBBHIHHI56s")  # the checksum is in the gap

NUMBER_OFFSET = 48  # of a locked number, in the line of its lock
LOCKED_OFFSET = LINE  # of a locked array's elements, or of the first slot

#: What this process is called in records and in the table of ids.
PROGRAM = next((os.path.basename(a) for a in getattr(sys, "argv", [])[:1] if a not in ("", "-c", "-m")), "python")


class Shape:
    """What a constructor asks for and a record answers.

    layout is one element's, None for a mutex; count is the elements of an
    array or the bytes of a C string, 0 for a single value, -1 for as many as
    are found.
    """

    def __init__(self, name, layout, access, kind, count=0, unit="", help=""):
        self.name, self.layout, self.access, self.kind = name, layout, access, kind
        self.count, self.unit, self.help = count, unit, help

    @property
    def grows(self):
        """Whether longer and shorter types may share the value."""
        return self.access == PUBLISHED and self.kind == SINGLE

    @property
    def has_lock(self):
        return self.access in (LOCKED, PUBLISHED)

    @property
    def slot_size(self):
        """Bytes of the elements."""
        return 0 if self.layout is None else max(self.count, 1) * self.layout.size

    @property
    def room(self):
        """Bytes of a slot in a new record: structs have some to spare for fields to come."""
        n = self.slot_size
        return round_up(n + n // 2) if self.grows else n

    def data_size(self, capacity):
        """Bytes that slots of this capacity take with their lock."""
        if self.kind == GROWTH:
            return 0
        if self.access == PUBLISHED:
            return LOCKED_OFFSET + 2 * round_up(capacity)
        if self.kind == MUTEX or self.access == LOCKED and self.kind == SINGLE:
            return LINE
        return (LOCKED_OFFSET if self.access == LOCKED else 0) + round_up(capacity)

    @property
    def element_offset(self):
        """Bytes from the start of the data to the value itself, or its first slot."""
        if self.access == LOCKED and self.kind == SINGLE:
            return NUMBER_OFFSET
        return LOCKED_OFFSET if self.has_lock else 0

    def check(self):
        """Raise ValueError if it cannot be made."""
        for text in (self.name, self.unit, self.help):
            text.encode()
        if not self.name or len(self.name.encode()) > MAX_NAME or any(c < " " or c == "\x7f" for c in self.name):
            raise ValueError(f"{self.name!r} cannot be a value's name")
        if len(self.unit.encode()) > MAX_NAME or len(self.help.encode()) > MAX_HELP:
            raise ValueError(f"value {self.name!r}: unit or help is too long")
        if self.count < 0 or self.slot_size > MAX_SEGMENT:
            raise ValueError(f"value {self.name!r}: {self.count} elements")

    def outgrows(self, other):
        """Whether it is what is there with fields appended that fit."""
        return (
            self.grows
            and other.grows
            and self.layout != other.layout
            and self.layout.extends(other.layout)
            and self.layout.size <= other.capacity
        )

    def matches(self, other):
        """Whether it may attach to a record."""
        if (self.access, self.kind) != (other.access, other.kind) or self.count not in (other.count, -1):
            return False
        if self.layout == other.layout:
            return True
        return self.grows and (self.outgrows(other) or other.layout.extends(self.layout))

    def describe(self):
        """Word it for messages."""
        if self.layout is None:
            return "a mutex"
        count = f" of {self.count} elements" if self.count > 0 else ""
        return f"{ACCESS_NAMES.get(self.access)} {self.layout.format}{count}"

    def encode(self, capacity):
        """Return the record's bytes up to its data, and the size of the whole."""
        name, unit, help = self.name.encode(), self.unit.encode(), self.help.encode()
        format = self.layout.format.encode() if self.layout else b""
        texts = name + format + unit + help
        length = round_up(FIXED + len(texts))
        size = length + self.data_size(capacity)
        meta = bytearray(length)
        _HEAD.pack_into(
            meta, 0, size, length, self.count, self.layout.size if self.layout else 0, capacity, self.access, self.kind,
            len(name), len(format), len(unit), len(help), os.getpid(), os.fsencode(PROGRAM),
        )  # fmt: skip
        meta[FIXED : FIXED + len(texts)] = texts
        struct.pack_into("=I", meta, _CHECK, _checksum(meta))
        return bytes(meta), size


class Record(Shape):
    """A validated copy of a record's bytes; offset is where it starts in the segment."""

    offset = data = capacity = size = pid = 0
    program = ""

    @property
    def elements(self):
        """Offset of the value itself in the segment, or of its first slot."""
        return self.data + self.element_offset


def _checksum(meta):
    """The checksum of a record's bytes up to its data, but for the checksum itself."""
    return zlib.crc32(meta[_CHECK + 4 :], zlib.crc32(meta[:_CHECK]))


def length_of(fixed, offset, end):
    """Return the bytes up to the data, from a copy of a record's first FIXED bytes.

    The record starts at offset and has to end by `end`. Raises FormatError.
    """
    if len(fixed) < FIXED or end - offset < FIXED:
        raise FormatError(f"record at {offset}: cut off")
    size, length, *_, n, f, u, h, _, _ = _HEAD.unpack_from(fixed)
    if size > end - offset or size % LINE or length < FIXED or length % LINE or length > size:
        raise FormatError(f"record at {offset}: {size} bytes, data from {length}")
    if length != round_up(FIXED + n + f + u + h) or f > layouts.MAX_FORMAT:
        raise FormatError(f"record at {offset}: texts of {n}, {f}, {u} and {h} bytes before {length}")
    return length


def decode(meta, offset, end):
    """Validate a copy of a record's bytes up to its data. Raises FormatError."""
    length = length_of(meta, offset, end)

    def broken(what):
        return FormatError(f"record at {offset}: {what}")

    if len(meta) < length:
        raise broken("cut off")
    meta = meta[:length]
    if _checksum(meta) != struct.unpack_from("=I", meta, _CHECK)[0]:
        raise broken("checksum")
    size, _, count, elem, capacity, access, kind, n, f, u, h, pid, program = _HEAD.unpack_from(meta)
    if kind not in range(SINGLE, GROWTH + 1) or access not in ACCESS_NAMES:
        raise broken(f"kind {kind} with access {access}")
    texts = meta[FIXED : FIXED + n + f + u + h]
    try:
        # Unit and help are only shown; a name or a format has to be exact.
        name, format = texts[:n].decode(), texts[n : n + f].decode()
        unit, help = texts[n + f : n + f + u].decode(errors="replace"), texts[n + f + u :].decode(errors="replace")
        layout = layouts.parse(format) if kind != MUTEX else None
        if layout and (layout.format != format or layout.size != elem):
            raise ValueError(f"format {format!r} of {elem} bytes")
        r = Record(name, layout, access, kind, count, unit, help)
        r.check()
    except ValueError as e:
        raise broken(e) from None
    r.offset, r.data, r.size, r.capacity, r.pid = offset, offset + length, size, capacity, pid
    r.program = program.rstrip(b"\0").decode(errors="replace")
    need = r.slot_size
    inside = kind in (GROWTH, MUTEX) or r.element_offset + need <= r.data_size(capacity)
    if not need <= capacity <= MAX_SEGMENT or length + r.data_size(capacity) != size or not inside:
        raise broken(f"capacity {capacity} of {size - length} bytes for {need}")
    return r
