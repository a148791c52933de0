"""Print what it costs to make a value, and to find one by its name: python -m shm.namebench [VALUES]

Each figure is in microseconds, the median and the least of many calls. VALUES is how many values the segment
has, 100,000 if it is not given. Most of them are written into the file together, as to make a million one by one
would take minutes. Another process finds the values, which knows none of them before.
"""

import ctypes
import json
import random
import struct
import subprocess
import sys
import time
import zlib

import shm

from . import header, layout, record

_SOME = 1000  # values that are found


def _spread(f, arguments):
    """Return the median and the least time of calls of f, in microseconds."""
    times = []
    for x in arguments:
        start = time.perf_counter()
        f(x)
        times.append(time.perf_counter() - start)
    times.sort()
    return times[len(times) // 2] * 1e6, times[0] * 1e6


def _make_many(m, n):
    """Append records of n raw values to an empty segment, with an index that has room for more. It has the allocation lock."""
    d = m.directory
    slots = 1 << (2 * (n + 2 * _SOME)).bit_length()
    meta, size = record.Shape("", None, record.RAW, record.INDEX, slots).encode(record.SLOT * slots)
    start = d.used()
    index, end = start + len(meta), start + size
    parts, words, templates = [], [0] * slots, {}
    for i in range(n):
        name = f"value {i}"
        template = templates.get(len(name))
        if template is None:
            shape = record.Shape(name, layout.parse(layout.ORDER + "q"), record.RAW, record.SINGLE)
            one, step = shape.encode(8)
            # The parts before and after the checksum, and after the name; and zeros for the value.
            rest = one[record.FIXED + len(name) :]
            template = templates[len(name)] = one[:12], one[16 : record.FIXED], rest, zlib.crc32(one[:12]), bytes(step - len(one)), step
        before, middle, rest, check, data, step = template
        name = name.encode()
        text = middle + name + rest
        parts += before, struct.pack("=I", zlib.crc32(text, check)), text, data
        tag = header.tag(name)
        slot = tag & slots - 1
        while words[slot]:
            slot = slot + 1 & slots - 1
        words[slot] = tag << 40 | end // header.LINE
        end += step
    d._grow(end)
    for offset, b in ((start, meta), (index, struct.pack(f"={slots}Q", *words)), (start + size, b"".join(parts))):
        ctypes.memmove(m.address(offset, len(b)), b, len(b))
    header.store_lines(m.dirty, end)
    header.store_lines(m.used, end)
    header.store_lines(m.index, start)
    header.store_release(m.values, header.seal(n))
    header.store_lines(m.indexed, end)


def _find(n):
    """Find values in a segment that the parent has passed; return the figures."""
    seg = shm.inherited()
    some = [f"locked {i}" for i in random.sample(range(2 * _SOME), _SOME)]
    raw = [f"value {random.randrange(n)}" for _ in range(_SOME)]
    return [
        ('seg["name"], the first time', *_spread(seg.__getitem__, some)),
        ('seg["name"] of a raw value, the first time', *_spread(seg.__getitem__, raw)),
        ('seg["name"] again', *_spread(seg.__getitem__, some)),
    ]


def names(n):
    """Print what it costs to make a value, and to find one of n by its name."""
    with shm.anonymous(max_size=max(1 << 26, n * 1024)) as seg:
        seg._mapping.lease.allocating(_make_many, seg._mapping, n)
        rows = [("make a Value", *_spread(lambda i: seg.value(f"locked {i}", "q"), range(2 * _SOME)))]
        with seg.passing() as inheritance:
            command = [sys.executable, "-m", "shm.namebench", "child", str(n)]
            rows += json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, **inheritance).stdout)
    print(f"CPython {sys.version.split()[0]}, {shm.implementation}, {n} values, \u00b5s{'':6}median   least")
    for what, median, least in rows:
        print(f"{what:42}{median:8.2f}{least:8.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        json.dump(_find(int(sys.argv[2])), sys.stdout)
    else:
        names(int(sys.argv[1]) if sys.argv[1:] else 100_000)
