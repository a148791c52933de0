"""Arrays of numbers with one lock."""

import ctypes
from types import GenericAlias

from .atomics import WEAK, fence
from .change import Awaited
from .ctype import addend
from .errors import ArgumentError
from .locked import Locked, made
from .native import compiled, implementation, late


@compiled("array")
class Array(Awaited, Locked):
    """A fixed number of numbers with one lock.

    Reading an element or a slice does not wait, and never returns a half-written
    element. Setting one takes the lock. The array is changed in place: to change
    several elements together, use `with a.get_lock():`. If a process dies while it
    does so, the lock's `abandoned` tells the next holder. get_obj returns the
    ctypes array, for memoryview and numpy. The array works on after close of the
    segment. Changes of a read-only segment raise ReadOnlyError.
    """

    __slots__ = ("_obj", "_record")

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, mutex, record):
        self._mutex, self._record = mutex, record
        m, layout = mutex._mapping, record.layout
        self._at(m.memory, record.elements, record.count, layout.code, layout.size, not m.read_only)
        if implementation == "python":  # otherwise most arrays never need it
            self._obj = made(self)

    def get_obj(self):
        """Return the ctypes array, without its lock."""
        return self._obj

    def _element(self, x):
        """Convert x as ctypes does, which wraps or refuses it; return what the ctypes array takes."""
        x = self._obj._type_(x)
        return x if isinstance(x, ctypes.Structure) else x.value

    def __len__(self):
        return len(self._obj)

    def __getitem__(self, i, /):
        """Return element i, or a list of the elements of a slice."""
        x = self._obj[i]
        if WEAK:
            fence()
        if issubclass(self._obj._type_, ctypes.Structure):  # a complex number
            return [y.value for y in x] if isinstance(i, slice) else x.value
        return x

    def __setitem__(self, i, x, /):
        """Set an element, or all elements of a slice. If one of them does not fit, nothing is changed."""
        obj, mutex = self._obj, self._mutex
        if not isinstance(i, slice):
            mutex.put(obj.__setitem__, i, self._element(x))
            return
        indices = range(*i.indices(len(obj)))
        # All elements are converted before the first is written, so that an
        # element that does not fit leaves the slice unchanged.
        new = self._elements(list(x))
        if len(new) != len(indices):
            raise ArgumentError(
                f"cannot set {len(indices)} elements of Array {mutex.name!r} to {len(new)} values: "
                "a slice keeps its length"
            )
        mutex.change(self._set, indices, new)

    def _elements(self, xs):
        """Do as _element does for each; return a list."""
        t = self._obj._type_
        if issubclass(t, ctypes.Structure):
            return [self._element(x) for x in xs]
        return (t * len(xs))(*xs)[:]

    def _set(self, indices, new):
        if indices.step == 1 and new:
            self._obj[indices.start : indices.stop] = new  # a store for each element, as below
            return
        for j, y in zip(indices, new):
            self._obj[j] = y

    def __iter__(self):
        """Yield the elements, each as it is when it is reached."""
        return map(self.__getitem__, range(len(self._obj)))

    load, store = __getitem__, __setitem__

    def add(self, i, delta, /):
        """Add delta to element i and return the sum. Integers wrap around."""
        return self._mutex.change(self._add, i, addend(self._obj._type_, delta))

    def _add(self, i, delta):
        self._obj[i] = self._element(self[i] + delta)
        return self[i]

    def _seen(self):
        return self

    def __repr__(self):
        return f"<Array {self._mutex.name!r} of {len(self)}>"


if implementation == "native":
    late(_obj=made)(Array)
