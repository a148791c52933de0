"""Arrays of integers with atomic operations."""

import ctypes
from types import GenericAlias

from .atomics import fence
from .locked import pickled
from .record import index
from .value import Atomic


class AtomicArray:
    """A fixed number of integers of 4 or 8 bytes, each of which is an Atomic.

    No operation waits for another process. `a[i]` loads an element, `a[i] = x` stores
    it, and `a.at(i)` is its Atomic, with all operations. Nothing holds for several
    elements together. Changes of a read-only segment raise ReadOnlyError.
    """

    __slots__ = ("name", "_mapping", "_type", "_start", "_len", "_known", "__weakref__")

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, mapping, record, type):
        self.name, self._mapping, self._type = record.name, mapping, type
        self._start, self._len = record.elements, record.count
        self._known = {}  # number of an element to its Atomic

    def __reduce__(self):
        return pickled(self._mapping, self.name)

    def __len__(self):
        return self._len

    def at(self, i):
        """Return the Atomic of element i. As with a list, -1 is the last one."""
        i = index(i, self._len, self.name)
        atomic = self._known.get(i)
        if atomic is None:
            offset = self._start + i * ctypes.sizeof(self._type)
            atomic = self._known.setdefault(i, Atomic(self._mapping, self.name, self._type, offset, i))
        return atomic

    def __getitem__(self, i):
        """Return element i, or a list of the elements of a slice."""
        if isinstance(i, slice):
            elements = self._mapping.at(self._type * self._len, self._start)
            fence()
            found = elements[i]
            fence()
            return found
        return self.at(i).load()

    def __setitem__(self, i, x):
        """Set element i."""
        self.at(i).store(x)

    load, store = __getitem__, __setitem__

    def add(self, i, delta):
        """Add delta to element i and return the sum. Integers wrap around."""
        return self.at(i).add(delta)

    def __iter__(self):
        return (self.at(i).load() for i in range(self._len))

    def __repr__(self):
        return f"<AtomicArray {self.name!r} of {self._len}>"
