"""Typed values in shared memory, crash-safe, shared with Go.

    import shm

    with shm.open("plant") as seg:              # made by a Go program, or create=True
        print(seg["temperature"].value)         # raw: the real ctypes object
        seg["count"].add(1)                     # locked: the same lock as Go's
        with seg["count"].get_lock():
            seg["count"].value += 1

The locks are those of the Go package example.org/shm: a process that is killed
with -9 inside one is followed by the next, and a live one is never robbed.
Importing this module needs nothing but CPython on 64-bit Linux.
"""

from .array import Array
from .ctype import Complex64, Complex128, layout_of
from .errors import (
    ClosedError,
    Error,
    FormatError,
    FullError,
    InsecureError,
    LayoutError,
    LockError,
    ReadOnlyError,
    TooLongError,
    VersionError,
)
from .mutex import Mutex
from .published import String, Struct
from .segment import Entry, Segment, inherited, open, remove
from .value import Atomic, Value

__all__ = [
    "Array", "Atomic", "ClosedError", "Complex64", "Complex128", "Entry", "Error", "FormatError", "FullError",
    "InsecureError", "LayoutError", "LockError", "Mutex", "ReadOnlyError", "Segment", "String", "Struct",
    "TooLongError", "Value", "VersionError", "inherited", "layout_of", "open", "remove",
]  # fmt: skip
