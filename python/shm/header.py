"""The first bytes of a segment. docs/FORMAT.md is the authority.

    0  magic, version, byte order, header size, table length, maximum size, crc32
   64  allocated, used, dirty, next id, boot (sealed words), names (change word)
  256  table of attached ids, 512 of 64 bytes
"""

import struct
import sys
import zlib

from .atomics import store_release
from .errors import FormatError, VersionError

MAGIC = b"\x93SHM\r\n\x1a\n"
VERSION = 1
BYTE_ORDER = 0x01020304

LINE = 64  # bytes of a cache line: records, cells and slots start on one
TABLE = 256  # offset of the table of attached ids
TABLE_LEN = 512
SIZE = TABLE + TABLE_LEN * LINE  # offset of the first record
FIRST_ALLOCATION = 64 << 10
MAX_SEGMENT = 1 << 45

# Offsets of the words that change.
ALLOCATED, USED, DIRTY, NEXT_ID, BOOT, NAMES = 64, 72, 80, 88, 96, 104

SEALED_MAX = (1 << 40) - 1
_STATIC = struct.Struct("=8sIIIIQ")  # then the crc32 of it
_U64 = (1 << 64) - 1


def seal(n):
    """Return a 40-bit number with 24 bits of check above it, in 64 bits."""
    return n | (n * 0x9E3779B97F4A7C15 + 0x5348 & _U64) >> 40 << 40


def unseal(word):
    """Return the number in a word that seal made, None for any other word."""
    n = word & SEALED_MAX
    return n if seal(n) == word else None


def round_up(n, to=LINE):
    """Round n up to a multiple."""
    return -(-n // to) * to


def load_lines(word, path):
    """Return a sealed word that counts lines, in bytes. Raises FormatError."""
    n = unseal(word.value)
    if n is None or n > MAX_SEGMENT // LINE:
        raise FormatError(f"{path}: a word of the header is broken")
    return n * LINE


def store_lines(word, n):
    """Store n bytes as lines in a sealed word, after all that was stored before."""
    store_release(word, seal(n // LINE))


def new(max_size, boot):
    """Return the first TABLE bytes of a new segment of FIRST_ALLOCATION bytes."""
    static = _STATIC.pack(MAGIC, VERSION, BYTE_ORDER, SIZE, TABLE_LEN, max_size)
    words = [FIRST_ALLOCATION // LINE, SIZE // LINE, SIZE // LINE, 1, boot]
    b = static + struct.pack("=I", zlib.crc32(static))
    b = b.ljust(LINE, b"\0") + struct.pack("=5Q", *map(seal, words))
    return b.ljust(TABLE, b"\0")


def check(b, file_size):
    """Validate a copy of a segment's first TABLE bytes; return its maximum size.

    Raises FormatError or VersionError.
    """
    if len(b) < TABLE:
        raise FormatError(f"{file_size} bytes are too few for a segment")
    magic, version, order, size, table_len, maximum = _STATIC.unpack_from(b)
    if magic != MAGIC:
        raise FormatError("not a segment: no magic number")
    if order == 0x04030201:
        raise VersionError("made on a machine of the other byte order")
    if order != BYTE_ORDER:
        raise FormatError(f"byte-order mark {order:#x}")
    if zlib.crc32(b[: _STATIC.size]) != struct.unpack_from("=I", b, _STATIC.size)[0]:
        raise FormatError("header checksum")
    if version != VERSION:
        raise VersionError(f"format version {version}, this package reads {VERSION}")
    if (size, table_len) != (SIZE, TABLE_LEN):
        raise FormatError(f"header of {size} bytes with {table_len} ids")
    if any(b[_STATIC.size + 4 : LINE]) or any(b[NAMES + 4 : TABLE]):
        raise FormatError("bytes that are reserved are not zero")
    words = [unseal(w) for w in struct.unpack_from("=5Q", b, LINE)]
    if None in words:
        raise FormatError(f"header word at {LINE + 8 * words.index(None)}")
    allocated, used, dirty = words[:3]
    if not SIZE <= maximum <= MAX_SEGMENT or maximum % LINE or maximum > sys.maxsize:
        raise FormatError(f"maximum size {maximum}")
    if allocated > maximum // LINE or not SIZE // LINE <= used <= allocated or dirty > allocated:
        raise FormatError(f"{used} lines used and {dirty} written of {allocated}, at most {maximum // LINE}")
    if allocated * LINE > file_size:
        raise FormatError(f"cut off: {file_size} bytes of {allocated * LINE} are there")
    return maximum
