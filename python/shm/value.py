"""Numbers under a lock, and integers without one."""

import ctypes
from _thread import get_ident

from .atomics import SEQ_CST, WEAK, compare_exchange_4, compare_exchange_8, fence, function
from .errors import ReadOnlyError


def again(*place):
    """Return what pickles a value as its mapping, its name and perhaps its type."""
    from .segment import value_again  # which imports this module

    return value_again, place


class Locked:
    """What every value with a lock has; `with v:` holds the lock."""

    __slots__ = ("_mutex", "__weakref__")

    def get_lock(self):
        """Return the Mutex that all changes take."""
        return self._mutex

    def __reduce__(self):
        return again(self._mutex._mapping, self._mutex.name)

    def __enter__(self):
        return self._mutex.__enter__()

    def __exit__(self, *exception):
        return self._mutex.__exit__(*exception)

    def wait_for(self, ok, timeout=None):
        """Sleep until ok(value) is true, or `timeout` seconds are over; return whether it is.

        It looks again after each change that any process makes under the lock.
        """
        return bool(self._mutex.wait_for(lambda: ok(self.load()), timeout))


class Value(Locked):
    """A number whose changes exclude each other between processes and threads.

    load never waits and never sees half a number, also while another process is
    stopped or has died inside: a change is one store. `with v.get_lock():
    v.value += 1` is one change; `v.value += 1` alone is two lock holds at most,
    so use add. It works on after close of the segment. Changes of a read-only
    segment raise ReadOnlyError.
    """

    __slots__ = ("_obj",)

    def __init__(self, obj, mutex):
        self._obj, self._mutex = obj, mutex

    def get_obj(self):
        """Return the ctypes object without its lock; others see each change of it at once."""
        return self._obj

    def load(self):
        """Return the number. It does not wait."""
        x = self._obj.value
        if WEAK:
            fence()
        return x

    def store(self, x):
        """Set the number, as ctypes does: an integer wraps, another type is a TypeError."""
        mutex = self._mutex
        if mutex._owner == get_ident():
            self._obj.value = x
            return
        mutex.__enter__()
        try:
            self._obj.value = x
        finally:
            mutex.__exit__()

    value = property(load, store, doc="The number: load and store.")

    def swap(self, x):
        """Set the number and return what was there."""
        mutex = self._mutex
        mutex.__enter__()
        try:
            old = self._obj.value
            self._obj.value = x
            return old
        finally:
            mutex.__exit__()

    def compare_and_swap(self, old, new):
        """Set the number if it is old, bit by bit, so that a NaN can be swapped; return whether it was."""
        t = type(self._obj)
        old, new = bytes(t(old)), t(new).value
        mutex = self._mutex
        mutex.__enter__()
        try:
            same = bytes(self._obj) == old
            if same:
                self._obj.value = new
            return same
        finally:
            mutex.__exit__()

    def add(self, delta):
        """Add and return the sum. Integers wrap around."""
        mutex, obj = self._mutex, self._obj
        mutex.__enter__()
        try:
            obj.value += delta
            return obj.value
        finally:
            mutex.__exit__()

    def update(self, f):
        """Set the number to f of it and return it. If f raises, the number stays as it was."""
        mutex, obj = self._mutex, self._obj
        mutex.__enter__()
        try:
            obj.value = f(obj.value)
            return obj.value
        except BaseException:
            mutex._asked = False  # who did not finish has answered for nothing
            raise
        finally:
            mutex.__exit__()

    def __repr__(self):
        return f"<Value {self._mutex.name!r} = {self.load()!r}>"


class Atomic:
    """An integer of 4 or 8 bytes with atomic operations between processes.

    It never waits for anybody, so a process that dies cannot leave it locked:
    for counters and flags. Integers wrap around. Changes of a read-only segment
    raise ReadOnlyError, and LockError where the system lacks atomics.
    """

    __slots__ = ("name", "_mapping", "_obj", "_type", "_ref", "_read_only", "_functions", "__weakref__")

    def __init__(self, mapping, name, obj):
        self.name, self._mapping, self._obj, self._read_only = name, mapping, obj, mapping.read_only
        # Which returns itself as an int, and turns any int into its bits.
        self._type = type(obj)
        self._ref = ctypes.byref(obj)
        self._functions = {}

    def __reduce__(self):
        return again(self._mapping, self.name)

    def _call(self, operation, x):
        if self._read_only:
            raise ReadOnlyError(f"change of {self.name!r}: the segment is mapped for reading")
        f = self._functions.get(operation)
        if f is None:
            f = self._functions[operation] = function(f"{operation}_{ctypes.sizeof(self._type)}", self._type)
        return f(self._ref, self._type(x), SEQ_CST)

    def load(self):
        """Return the integer."""
        fence()
        x = self._obj.value
        fence()
        return x

    def store(self, x):
        """Set the integer."""
        self._call("exchange", x)

    value = property(load, store, doc="The integer: load and store.")

    def swap(self, x):
        """Set the integer and return what was there."""
        return self._call("exchange", x)

    def compare_and_swap(self, old, new):
        """Set the integer if it is old; return whether it was."""
        if self._read_only:
            raise ReadOnlyError(f"change of {self.name!r}: the segment is mapped for reading")
        f = compare_exchange_8 if ctypes.sizeof(self._type) == 8 else compare_exchange_4
        return f(self._ref, ctypes.byref(self._type(old)), self._type(new), SEQ_CST, SEQ_CST)

    def add(self, delta):
        """Add and return the sum."""
        return self._type(self._call("fetch_add", delta) + delta).value

    def and_(self, mask):
        """Clear the bits that are not in mask; return what was there."""
        return self._call("fetch_and", mask)

    def or_(self, mask):
        """Set the bits that are in mask; return what was there."""
        return self._call("fetch_or", mask)

    def __repr__(self):
        return f"<Atomic {self.name!r} = {self.load()!r}>"
