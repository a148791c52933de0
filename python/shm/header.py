"""The header: the first bytes of a segment.

    0  magic, version, byte order, header size, table length, maximum size, crc32
   64  allocated, used, dirty, next id, boot (sealed words), names (change word)
  256  table of ids: 512 entries of 64 bytes

docs/FORMAT.md defines the format. This module, record.py and cell.py implement it
for Python, the package internal/format implements it for Go, and c/shm.h for C.
Whoever changes a byte of it has to change all of them together.
"""

import struct
import sys
import zlib

from .atomics import store_release
from .errors import FormatError, VersionError

MAGIC = b"\x93SHM\r\n\x1a\n"
VERSION = 1
BYTE_ORDER = 0x01020304

LINE = 64  # bytes of a cache line: records, lock cells and slots start on one
TABLE = 256  # offset of the table of ids
TABLE_LEN = 512  # its entries
SIZE = TABLE + TABLE_LEN * LINE  # offset of the first record
FIRST_ALLOCATION = 64 << 10  # bytes of a new segment's file
MAX_SEGMENT = 1 << 45  # bytes that a segment can grow to at most

# Offsets of the words that change.
ALLOCATED, USED, DIRTY, NEXT_ID, BOOT, NAMES = 64, 72, 80, 88, 96, 104

SEALED_MAX = (1 << 40) - 1
_STATIC = struct.Struct("=8sIIIIQ")  # the crc32 of these bytes follows
_U64 = (1 << 64) - 1


def seal(n):
    """Return the sealed word of n: 64 bits, of which the low 40 are n and the high 24 check it."""
    return n | (n * 0x9E3779B97F4A7C15 + 0x5348 & _U64) >> 40 << 40


def unseal(word):
    """Return the number in a sealed word, or None if the word is not one that seal made."""
    n = word & SEALED_MAX
    return n if seal(n) == word else None


def round_up(n, to=LINE):
    """Return n rounded up to a multiple of `to`."""
    return -(-n // to) * to


def load_lines(word, path):
    """Load a sealed word that counts lines; return the count in bytes. Raises FormatError."""
    n = unseal(word.value)
    if n is None or n > MAX_SEGMENT // LINE:
        raise FormatError(f"{path}: a sealed word of the header is corrupt: {word.value:#018x}")
    return n * LINE


def store_lines(word, n):
    """Store n bytes as a count of lines in a sealed word. All earlier stores become visible before it."""
    store_release(word, seal(n // LINE))


def new(max_size, boot):
    """Return the first TABLE bytes of a new segment, whose file has FIRST_ALLOCATION bytes."""
    static = _STATIC.pack(MAGIC, VERSION, BYTE_ORDER, SIZE, TABLE_LEN, max_size)
    words = [FIRST_ALLOCATION // LINE, SIZE // LINE, SIZE // LINE, 1, boot]
    b = static + struct.pack("=I", zlib.crc32(static))
    b = b.ljust(LINE, b"\0") + struct.pack("=5Q", *map(seal, words))
    return b.ljust(TABLE, b"\0")


def check(b, file_size):
    """Validate a copy of a segment's first TABLE bytes; return the segment's maximum size.

    Raises FormatError or VersionError.
    """
    if len(b) < TABLE:
        raise FormatError(f"not a segment: the file has {file_size} bytes, and a header has {TABLE}")
    magic, version, order, size, table_len, maximum = _STATIC.unpack_from(b)
    if magic != MAGIC:
        raise FormatError(f"not a segment: it starts with {magic!r}, and a segment with {MAGIC!r}")
    if order == 0x04030201:
        raise VersionError("a segment of a machine of the other byte order: make a new one here")
    if order != BYTE_ORDER:
        raise FormatError(f"corrupt header: byte-order mark {order:#x}, want {BYTE_ORDER:#x}")
    if zlib.crc32(b[: _STATIC.size]) != struct.unpack_from("=I", b, _STATIC.size)[0]:
        raise FormatError("corrupt header: wrong checksum")
    if version != VERSION:
        raise VersionError(f"a segment of format version {version}: this package reads version {VERSION}")
    if (size, table_len) != (SIZE, TABLE_LEN):
        raise FormatError(f"corrupt header: {size} bytes and {table_len} ids, want {SIZE} and {TABLE_LEN}")
    if any(b[_STATIC.size + 4 : LINE]) or any(b[NAMES + 4 : TABLE]):
        raise FormatError("corrupt header: reserved bytes are not zero")
    words = [unseal(w) for w in struct.unpack_from("=5Q", b, LINE)]
    if None in words:
        raise FormatError(f"corrupt header: the sealed word at byte {LINE + 8 * words.index(None)}")
    allocated, used, dirty = words[:3]
    if not SIZE <= maximum <= MAX_SEGMENT or maximum % LINE or maximum > sys.maxsize:
        raise FormatError(f"corrupt header: maximum size {maximum}")
    if allocated > maximum // LINE or not SIZE // LINE <= used <= allocated or dirty > allocated:
        raise FormatError(
            f"corrupt header: of {allocated} allocated lines, {used} are used and {dirty} dirty; "
            f"{maximum // LINE} lines are the most"
        )
    if allocated * LINE > file_size:
        raise FormatError(f"the file was cut off: it has {file_size} of {allocated * LINE} bytes")
    return maximum
