"""Print what the package shm says of each value of a segment, one JSON object a line.

Arguments: the directory of the package, the path of the segment, and the largest value
in bytes of which the contents are printed.
"""

import json
import os
import struct
import sys

sys.path.insert(0, sys.argv[1])
import shm  # noqa: E402


def encoded(v, format, size):
    """Return the bytes of a number, of characters, or of an object of ctypes."""
    if isinstance(v, complex):
        return struct.pack("=2" + format[-1], v.real, v.imag)
    if isinstance(v, (int, float)):  # a bool is an int
        return struct.pack("=" + format[-1], v)
    return bytes(v).ljust(size, b"\0")  # characters end before the first NUL


def contents(seg, e):
    """Return the bytes of a value, or None if it has none that can be compared."""
    v = seg[e.name]
    kind = e.kind
    if kind in ("mutex", "mutexes", "ring"):
        return None
    if kind in ("counter", "gauge"):
        return encoded(v.load(), e.format, e.size)
    if kind == "histogram":
        bounds, counts, total = v.load()
        return struct.pack(f"={len(bounds)}d{len(counts)}Qd", *bounds, *counts, total)
    if kind == "atomic":
        return v.load().to_bytes(e.size, sys.byteorder, signed=e.format[-1] in "iq")
    if kind == "atomic_array":
        n = e.size // e.length
        return b"".join(x.to_bytes(n, sys.byteorder, signed=e.format[-1] in "iq") for x in v[:])
    if kind == "struct":
        return encoded(v.load(), e.format, e.size)
    if kind == "string":
        return v.load().ljust(e.length, b"\0")
    if kind == "table":
        return b"".join(encoded(v[i].load(), e.format, e.size // e.length) for i in range(e.length))
    if kind in ("value", "array"):
        return bytes(v.get_obj())
    return bytes(v)  # raw: an object of ctypes


path, limit = sys.argv[2], int(sys.argv[3])
with shm.open(path, readonly=True, mode=os.stat(path).st_mode & 0o777) as seg:
    for e in seg.entries():
        line = e._asdict()
        try:
            if e.size <= limit:
                b = contents(seg, e)
                line["bytes"] = None if b is None else b.hex()
        except Exception as error:  # whatever it is, it is what Python says of this value
            line["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(line))
