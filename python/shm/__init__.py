"""Typed values in shared memory, crash-safe, shared with Go and C.

    import shm

    with shm.open("plant") as seg:              # a Go program made it; create=True makes it here
        print(seg["temperature"].value)         # raw: the real ctypes object
        seg["count"].add(1)                     # locked: the same lock as in Go
        with seg["count"].get_lock():
            seg["count"].value += 1

The locks are the locks of the Go package example.org/shm. If a process is killed
with -9 while it holds a lock, the next process that asks for the lock gets it. A
process that lives never loses a lock it holds. The package needs nothing but
CPython on 64-bit Linux.
"""

from .array import Array
from .atomicarray import AtomicArray
from .cells import Part
from .change import Cancel
from .counter import Counter, Gauge
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
from .histogram import Histogram, HistogramData
from .mutex import Mutex
from .mutexes import Mutexes
from .native import implementation
from .published import String, Struct
from .ring import Ring, RingReader
from .segment import Entry, Segment, inherited, open, remove
from .table import Table
from .value import Atomic, Value

__all__ = [
    "Array", "Atomic", "AtomicArray", "Cancel", "ClosedError", "Complex64", "Complex128", "Counter", "Entry", "Error",
    "FormatError", "FullError", "Gauge", "Histogram", "HistogramData", "InsecureError", "LayoutError", "LockError", "Mutex",
    "Mutexes", "Part", "ReadOnlyError", "Ring", "RingReader", "Segment", "String", "Struct", "Table", "TooLongError", "Value",
    "VersionError", "implementation", "inherited", "layout_of", "open", "remove",
]  # fmt: skip
