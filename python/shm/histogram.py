"""Histograms: how many observations fall between bounds."""

import ctypes
import struct
from bisect import bisect_left
from collections import namedtuple

from .atomics import fence
from .cells import Cells
from .ctype import addend
from .errors import ArgumentError, ArgumentTypeError, FormatError
from .locked import pickled
from .native import Handle, compiled
from .record import BUCKETS_OFFSET, PAIR

HistogramData = namedtuple("HistogramData", "bounds counts sum")
HistogramData.__doc__ = """What a histogram has counted.

counts has one number more than bounds: counts[i] observations are at most bounds[i], and
more than the bound before; the last number counts the rest, and NaN. sum is that of all
observations.
"""


def checked(bounds):
    """Return the bounds of a histogram as a ctypes array. Raises ValueError, TypeError."""
    try:
        bounds = [addend(ctypes.c_double, x) for x in bounds]
    except TypeError:
        raise ArgumentTypeError(f"the bounds of a histogram are numbers that ascend, as in [0.1, 1, 10], not {bounds!r}") from None
    if not valid(bounds):
        raise ArgumentError(f"the bounds of a histogram are finite numbers that ascend, not {bounds}")
    return (ctypes.c_double * len(bounds))(*bounds)


def valid(bounds):
    infinity = float("inf")
    return all(a < b for a, b in zip([-infinity, *bounds], [*bounds, infinity]))


def bounds_of(mapping, record):
    """Return the memory of the bounds."""
    return mapping.at(ctypes.c_double * record.count, record.data + PAIR)


@compiled("histogram")
class Histogram(Handle):
    """Counts observations in buckets, each process in a cell of its own, so that none waits for another.

    What a process has observed stays when it dies. If it is killed, or an exception of a
    signal handler comes, inside observe, one observation may be in the sum and in no
    bucket. Observations in a read-only segment raise ReadOnlyError.
    """

    __slots__ = ("name", "_bounds", "_mapping", "_cells", "_claim", "_words", "__weakref__")

    def __init__(self, mapping, record):
        self.name, self._mapping = record.name, mapping
        self._bounds = tuple(bounds_of(mapping, record))  # how many there are says where it may write
        if not valid(self._bounds):
            raise FormatError(f"{mapping.path}: the bounds of histogram {record.name!r} do not ascend: {self.bounds}")
        self._cells = Cells(mapping, record, ctypes.c_double, "Histogram")
        self._claim = self._cells.claim
        self._observe_at(self._claim, struct.pack(f"={len(self._bounds)}d", *self._bounds))
        self._words = mapping.at(ctypes.c_uint64 * (record.capacity // 8), record.elements)

    def __reduce__(self):
        return pickled(self._mapping, self.name)

    @property
    def bounds(self):
        """A list of the bounds. To change it changes nothing here."""
        return list(self._bounds)

    def observe(self, x, /):
        """Count x."""
        x = addend(ctypes.c_double, x)
        mine = self._claim.mine or self._cells.mine()
        mine.add_float(x)
        mine.count(len(self._bounds) if x != x else bisect_left(self._bounds, x))

    def load(self):
        """Return a HistogramData of all observations."""
        total = sum(self._cells.numbers(), 0.0)
        step, n = self._cells.stride // 8, len(self._bounds) + 1
        counts = [0] * n
        for i in range(self._cells.in_use() + 1):
            start = i * step + BUCKETS_OFFSET // 8
            counts = [a + b for a, b in zip(counts, self._words[start : start + n])]
        fence()
        return HistogramData(self.bounds, counts, total)

    value = property(load, doc="What was counted: load.")

    def __repr__(self):
        return f"<Histogram {self.name!r} of {sum(self.load().counts)} observations>"
