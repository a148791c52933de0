"""The header: the first bytes of a segment.

    0  magic, version, byte order, header size, table length, maximum size, identity, crc32
   64  allocated, used, indexed, dirty, next id, home, index, values (sealed words), names (change word)
  256  table of ids: 512 entries of 64 bytes

docs/FORMAT.md defines the format. This module, record.py and cell.py implement it
for Python, the package internal/format implements it for Go, and c/shm.h for C.
Whoever changes a byte of it has to change all of them together.
"""

import functools
import struct
import sys
import zlib
from collections import namedtuple

from .atomics import store_release
from .errors import FormatError, VersionError

MAGIC = b"\x93SHM\r\n\x1a\n"
VERSION = 2
BYTE_ORDER = 0x01020304

LINE = 64  # bytes of a cache line: records, lock cells and slots start on one
TABLE = 256  # offset of the table of ids
TABLE_LEN = 512  # its entries
SIZE = TABLE + TABLE_LEN * LINE  # offset of the first record
FIRST_ALLOCATION = 64 << 10  # bytes of a new segment's file
MAX_SEGMENT = 1 << 45  # bytes that a segment can grow to at most

# Offsets of the words that change.
ALLOCATED, USED, INDEXED, DIRTY, NEXT_ID, HOME, INDEX, VALUES, NAMES = range(64, 136, 8)
PLACE = 136  # where the locks are, sealed
BELL = 132  # on which processes sleep that answer those who may only read
INDEX_SLOTS = 512  # of a new segment, whose index is the first record
MAX_INDEX_SLOTS = 1 << 24

_MAX_LINES = MAX_SEGMENT // LINE
SEALED_MAX = (1 << 40) - 1
_STATIC = struct.Struct("=8sIIIIQQ")  # the crc32 of these bytes follows
_U64 = (1 << 64) - 1


@functools.lru_cache(maxsize=4096)
def seal(n):
    """Return the sealed word of n: 64 bits, of which the low 40 are n and the high 24 check it."""
    return n | (n * 0x9E3779B97F4A7C15 + 0x5348 & _U64) >> 40 << 40


@functools.lru_cache(maxsize=4096)
def unseal(word):
    """Return the number in a sealed word, or None if the word is not one that seal made."""
    n = word & SEALED_MAX
    return n if seal(n) == word else None


def round_up(n, to=LINE):
    """Return n rounded up to a multiple of `to`."""
    return -(-n // to) * to


def load_lines(word, path):
    """Load a sealed word that counts lines; return the count in bytes. Raises FormatError."""
    w = word.value
    n = unseal(w)
    if n is None or n > _MAX_LINES:
        raise FormatError(f"{path}: a sealed word of the header is corrupt: {w:#018x}")
    return n * LINE


def store_lines(word, n):
    """Store n bytes as a count of lines in a sealed word. All earlier stores become visible before it."""
    store_release(word, seal(n // LINE))


def tag(name):
    """Return the 24 bits of a name's encoding that the slots of an index have."""
    return (zlib.crc32(name) * 0x9E3779B1 & 0xFFFFFFFF) >> 8


def home(boot_id, inode, identity):
    """Return 40 bits, not 0, for a boot of the system and a file. boot_id is b"" for a file in memory."""
    h = 0xCBF29CE484222325  # FNV-1a
    for byte in boot_id + struct.pack("=QQ", inode, identity):
        h = (h ^ byte) * 0x100000001B3 & _U64
    return h & SEALED_MAX | 1


def new(max_size, home, identity, used):
    """Return the first TABLE bytes of a new segment, whose file has FIRST_ALLOCATION bytes.

    Its only record is an index, which ends at `used`.
    """
    static = _STATIC.pack(MAGIC, VERSION, BYTE_ORDER, SIZE, TABLE_LEN, max_size, identity)
    used //= LINE
    words = [FIRST_ALLOCATION // LINE, used, used, used, 1, home, SIZE // LINE, 0]
    b = static + struct.pack("=I", zlib.crc32(static))
    b = b.ljust(LINE, b"\0") + struct.pack("=8Q", *map(seal, words))
    return b.ljust(TABLE, b"\0")


Start = namedtuple("Start", "max_size identity home unfit")
Start.__doc__ = """What a valid header says at first. unfit says how its sizes do not fit each other, or is None."""


def check(b, file_size):
    """Validate a copy of a segment's first TABLE bytes; return the Start.

    Sizes that do not fit each other may be what a power failure left, or two moments
    while other processes add values. Raises FormatError or VersionError.
    """
    if len(b) < TABLE:
        raise FormatError(f"not a segment: the file has {file_size} bytes, and a header has {TABLE}")
    magic, version, order, size, table_len, maximum, identity = _STATIC.unpack_from(b)
    if magic != MAGIC:
        raise FormatError(f"not a segment: it starts with {magic!r}, and a segment with {MAGIC!r}")
    if order == 0x04030201:
        raise VersionError("a segment of a machine of the other byte order: make a new one here")
    if order != BYTE_ORDER:
        raise FormatError(f"corrupt header: byte-order mark {order:#x}, want {BYTE_ORDER:#x}")
    if version != VERSION:
        raise VersionError(
            f"a segment of format version {version}, and this package reads version {VERSION}: update the older program"
        )
    if zlib.crc32(b[: _STATIC.size]) != struct.unpack_from("=I", b, _STATIC.size)[0]:
        raise FormatError("corrupt header: wrong checksum")
    if (size, table_len) != (SIZE, TABLE_LEN):
        raise FormatError(f"corrupt header: {size} bytes and {table_len} ids, want {SIZE} and {TABLE_LEN}")
    if any(b[_STATIC.size + 4 : LINE]) or any(b[BELL:PLACE]) or any(b[PLACE + 8 : TABLE]):
        raise FormatError("corrupt header: reserved bytes are not zero")
    words = [unseal(w) for w in struct.unpack_from("=8Q", b, LINE)]
    place = unseal(*struct.unpack_from("=Q", b, PLACE))
    if place is None:
        raise FormatError(f"corrupt header: the sealed word at byte {PLACE}")
    if None in words:
        raise FormatError(f"corrupt header: the sealed word at byte {LINE + 8 * words.index(None)}")
    allocated, used, indexed, dirty, _, home, index, _ = words
    if not FIRST_ALLOCATION <= maximum <= MAX_SEGMENT or maximum % LINE or maximum > sys.maxsize:
        raise FormatError(f"corrupt header: maximum size {maximum}")
    sizes = (
        f"of {allocated} allocated lines, {used} are used, {indexed} indexed and {dirty} dirty, the index is at "
        f"{index}, {maximum // LINE} lines are the most, and the file has {file_size} bytes"
    )
    if max(allocated, used, indexed, dirty, index) > maximum // LINE or file_size < FIRST_ALLOCATION:
        raise FormatError(f"cut off, or corrupt: {sizes}")
    if place:
        raise VersionError(
            f"its locks are in a file of their own, number {place}, where this package does not look: another system made it, or a "
            "program in Go that was built with the tag shmportable; build the programs that share it for Linux without that tag"
        )
    unfit = None
    if not SIZE // LINE <= index < used <= allocated or not SIZE // LINE <= indexed <= used or dirty > allocated:
        unfit = f"corrupt header: {sizes}"
    elif allocated * LINE > file_size:
        unfit = f"the file was cut off: it has {file_size} of {allocated * LINE} bytes"
    return Start(maximum, identity, home, unfit)
