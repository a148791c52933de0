"""Counters and gauges: numbers that many processes change without waiting for each other."""

import ctypes
from types import GenericAlias

from .cells import Cells, Part
from .ctype import addend
from .locked import pickled
from .native import Handle, compiled


class _Celled(Handle):
    """What Counter and Gauge have in common."""

    __slots__ = ("name", "_mapping", "_cells", "_claim", "_float", "_wrap", "__weakref__")

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, mapping, record, type):
        self.name, self._mapping = record.name, mapping
        self._cells = Cells(mapping, record, type, self.__class__.__name__)
        self._claim = self._cells.claim
        self._float = type is ctypes.c_double
        self._wrap = type
        self._count_at(self._claim, type._type_)

    def __reduce__(self):
        return pickled(self._mapping, self.name)

    def _total(self, numbers):
        return sum(numbers, 0.0) if self._float else self._wrap(sum(numbers)).value

    def _add(self, mine, delta):
        if self._float:
            mine.add_float(delta)
        else:
            mine.add(delta)

    def __repr__(self):
        return f"<{self.__class__.__name__} {self.name!r} = {self.load()!r}>"


@compiled("counter")
class Counter(_Celled):
    """A number that many processes add to, each in a cell of its own, so that none waits for another.

    load returns the sum, which is exact: what a process has added stays when it dies, and
    nothing is lost or counted twice. Integers wrap around. Additions to a read-only
    segment raise ReadOnlyError.
    """

    __slots__ = ()

    def add(self, delta=1):
        """Add delta."""
        delta = addend(self._wrap, delta)
        mine = self._claim.mine or self._cells.mine()
        if self._float:
            mine.add_float(delta)
        else:
            mine.add(delta)

    def load(self):
        """Return the sum of what all processes have added."""
        return self._total(self._cells.numbers())

    value = property(load, doc="The sum: load.")


@compiled("gauge")
class Gauge(_Celled):
    """A number of which each process has a part of its own. load returns the sum of the parts of the living.

    The part of a process that dies vanishes. That of a process that lives counts also if it
    forgets the gauge and the Segment; if it closes all its Segments of the file, as long as
    something refers to a value of it. Changes of a read-only segment raise
    ReadOnlyError, and FullError if all cells belong to living processes.
    """

    __slots__ = ()

    def set(self, x, /):
        """Set this process's part."""
        x = self._wrap(x).value
        mine = self._claim.mine or self._cells.first_change(x)
        if mine is not None:
            mine.number.value = x

    def add(self, delta):
        """Add delta to this process's part."""
        x = self._wrap(delta).value
        mine = self._claim.mine or self._cells.first_change(x)
        if mine is not None:
            self._add(mine, x)

    def load(self):
        """Return the sum of the parts of all living processes."""
        return self._total([x for _, x in self._cells.parts()])

    value = property(load, doc="The sum of the parts: load.")

    def parts(self):
        """Return a Part for each living process that has set one."""
        return [Part(*self._cells.process(id), x) for id, x in self._cells.parts()]

    def min(self):
        """Return the least part, or None if there is none."""
        return min((x for _, x in self._cells.parts()), default=None)

    def max(self):
        """Return the greatest part, or None if there is none."""
        return max((x for _, x in self._cells.parts()), default=None)
