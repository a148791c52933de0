"""Numbers under one lock."""

import ctypes

from .atomics import WEAK, fence
from .value import Locked


class Array(Locked):
    """A fixed number of numbers under one lock.

    Reading an element or a slice does not wait, and an element is never half a
    number. Setting one takes the lock. The array is changed in place: who
    changes several elements does it in `with a.get_lock():`, and the lock's
    `abandoned` tells whether somebody died halfway. get_obj gives the ctypes
    array, for memoryview and numpy. It works on after close of the segment.
    Changes of a read-only segment raise ReadOnlyError.
    """

    __slots__ = ("_obj",)

    def __init__(self, obj, mutex):
        self._obj, self._mutex = obj, mutex

    def get_obj(self):
        """Return the ctypes array without its lock."""
        return self._obj

    def _element(self, x):
        """Return x as what the ctypes array takes, wrapped or refused as ctypes does."""
        x = self._obj._type_(x)
        return x if isinstance(x, ctypes.Structure) else x.value

    def __len__(self):
        return len(self._obj)

    def __getitem__(self, i):
        x = self._obj[i]
        if WEAK:
            fence()
        if issubclass(self._obj._type_, ctypes.Structure):  # a complex number
            return [y.value for y in x] if isinstance(i, slice) else x.value
        return x

    def __setitem__(self, i, x):
        """Set an element, or as many as a slice has. Nothing is changed if one of them does not fit."""
        obj, mutex = self._obj, self._mutex
        if isinstance(i, slice):
            indices = range(*i.indices(len(obj)))
            # Converted before the first is written: a bad one must not leave half.
            new = [self._element(y) for y in x]
            if len(new) != len(indices):
                raise ValueError(f"{len(new)} elements into a slice of {len(indices)}")
        else:
            indices, new = (i,), (self._element(x),)
        mutex.__enter__()
        try:
            for j, y in zip(indices, new):
                obj[j] = y
        finally:
            mutex.__exit__()

    load, store = __getitem__, __setitem__

    def add(self, i, delta):
        """Add to element i and return the sum. Integers wrap around."""
        mutex = self._mutex
        mutex.__enter__()
        try:
            self._obj[i] = self._element(self[i] + delta)
            return self[i]
        finally:
            mutex.__exit__()

    def wait_for(self, ok, timeout=None):
        """Sleep until ok(self) is true, or `timeout` seconds are over; return whether it is."""
        return bool(self._mutex.wait_for(lambda: ok(self), timeout))

    def __repr__(self):
        return f"<Array {self._mutex.name!r} of {len(self)}>"
