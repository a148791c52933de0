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

import sys as _sys

if not _sys.platform.startswith("linux"):
    raise ImportError(
        "shm serves Linux only: it has no locks of open files and no futexes for "
        + _sys.platform
        + "; the Go package serves other systems"
    )

if not getattr(_sys, "_is_gil_enabled", lambda: True)():
    # The locks between the threads of a process rely on the order in which the GIL runs them.
    raise ImportError(
        "shm does not work in a free-threaded Python while its GIL is off: set PYTHON_GIL=1, or use a Python with a GIL"
    )

from .array import Array
from .atomicarray import AtomicArray
from .bind import Field, bind
from .cells import Part
from .change import Cancel
from .counter import Counter, Gauge
from .ctype import Complex64, Complex128, dtype_of, layout_of, type_of
from .entry import Entry
from .errors import (
    ArgumentError,
    ArgumentTypeError,
    CancelledError,
    ClosedError,
    Error,
    ExistsError,
    FormatError,
    FullError,
    InsecureError,
    LayoutError,
    LockError,
    NoValueError,
    NotFoundError,
    ReadOnlyError,
    TooLongError,
    UsageError,
    VersionError,
    WaitTimeoutError,
)
from .foreign import Foreign, open_foreign
from .histogram import Histogram, HistogramData
from .layout import Layout, parse as parse_layout
from .lockinfo import LockInfo
from .mutex import Mutex
from .mutexes import Mutexes
from .native import implementation
from .opening import anonymous, inherited, open, open_fd, path, remove
from .process import Process
from .published import String, Struct
from .ring import Ring, RingReader
from .segment import Segment
from .snapshot import snapshot
from .synchronized import synchronized
from .table import Table
from .value import Atomic, Value

__version__ = "0.1.0"

__all__ = [
    "ArgumentError", "ArgumentTypeError", "Array", "Atomic", "AtomicArray", "Cancel", "CancelledError", "ClosedError",
    "Complex64", "Complex128", "Counter", "Entry", "Error", "ExistsError", "Field", "Foreign", "FormatError", "FullError",
    "Gauge", "Histogram", "HistogramData", "InsecureError", "Layout", "LayoutError", "LockError", "LockInfo", "Mutex",
    "Mutexes", "NoValueError", "NotFoundError", "Part", "Process", "ReadOnlyError", "Ring", "RingReader", "Segment", "String",
    "Struct", "Table", "TooLongError", "UsageError", "Value", "VersionError", "WaitTimeoutError", "__version__", "anonymous",
    "bind", "dtype_of", "implementation", "inherited", "layout_of", "open", "open_fd", "open_foreign", "parse_layout", "path", "remove",
    "snapshot", "synchronized", "type_of",
]  # fmt: skip
