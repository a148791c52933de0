"""Numbers with a lock, and integers with atomic operations."""

import ctypes
import functools
import operator
import sys
from types import GenericAlias

from .atomics import SEQ_CST, WEAK, compare_exchange_4, compare_exchange_8, fence, function
from .change import Awaited
from .ctype import addend
from .errors import ReadOnlyError
from .locked import Locked, made, pickled
from .native import Handle, compiled, implementation, late


# CPython 3.9 calls signal handlers between any two instructions, also in the middle of
# an addition. There the usual integers are added to by one function in C, so that
# handlers can add as well.
_FETCH_ADD = {
    t: function(f"fetch_add_{ctypes.sizeof(t)}", t)
    for t in (ctypes.c_int32, ctypes.c_uint32, ctypes.c_int64, ctypes.c_uint64)
    if sys.version_info < (3, 10)
}


def fetch_add_of(obj):
    """Return a function in C that adds to a ctypes integer, or None if Python adds."""
    f = _FETCH_ADD.get(getattr(obj, "_shm_type", None))
    return f and functools.partial(f, ctypes.byref(obj))


@compiled("number")
class Value(Awaited, Locked):
    """A number with a lock. Changes exclude each other between processes and between threads.

    load never waits, and never returns a half-written number, even if another
    process is stopped or died while it held the lock: a change is one store.
    `with v.get_lock(): v.value += 1` is one change. `v.value += 1` alone is a load
    and a store, between which other processes can change the number: use add. The
    value works on after close of the segment. Changes of a read-only segment raise
    ReadOnlyError.
    """

    __slots__ = ("_obj", "_fetch_add", "_record")

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, mutex, record):
        self._mutex, self._record = mutex, record
        m, layout = mutex._mapping, record.layout
        self._at(m.memory, record.elements, 1, layout.code, layout.size, not m.read_only)
        if implementation == "python":  # otherwise most values never need them
            self._obj = obj = made(self)
            self._fetch_add = fetch_add_of(obj)

    def get_obj(self):
        """Return the ctypes object, without its lock. Other processes see each change of it at once."""
        return self._obj

    def load(self):
        """Return the number. It does not wait."""
        x = self._obj.value
        if WEAK:
            fence()
        return x

    def store(self, x, /):
        """Set the number as ctypes does: an integer wraps around, and another type raises TypeError."""
        mutex = self._mutex
        hold = mutex._hold
        owned = hold.owned()
        if owned and hold.held and not hold.editing:
            self._obj.value = x
            return
        level = hold.depth if owned else -1
        try:
            mutex.__enter__()
            if hold.editing:
                raise mutex.overlap()
            self._obj.value = x
            mutex.__exit__()
        except BaseException:
            mutex.return_to(level)
            raise

    value = property(load, store, doc="The number: load and store.")

    def swap(self, x, /):
        """Set the number and return the old one."""
        return self._mutex.change(self._swap, x)

    def _swap(self, x):
        old = self._obj.value
        self._obj.value = x
        return old

    def compare_and_swap(self, old, new, /):
        """Set the number to new if it equals old; return whether it did. It compares bits, so a NaN equals itself."""
        t = type(self._obj)
        return self._mutex.change(self._compare_and_swap, bytes(t(old)), t(new).value)

    def _compare_and_swap(self, old, new):
        same = bytes(self._obj) == old
        if same:
            self._obj.value = new
        return same

    def add(self, delta, /):
        """Add delta and return the sum. Integers wrap around."""
        mutex, obj, fetch_add = self._mutex, self._obj, self._fetch_add
        delta = addend(type(obj), delta)
        hold = mutex._hold
        level = hold.depth if hold.owned() else -1
        try:
            mutex.__enter__()
            if hold.editing:
                raise mutex.overlap()
            if fetch_add is None:
                hold.editing = 1 + hold.depth
                obj.value += delta
                sum = obj.value
                hold.editing = 0
            else:
                t = type(obj)
                sum = t(fetch_add(t(delta), SEQ_CST) + delta).value
            mutex.__exit__()
            return sum
        except BaseException:
            mutex.return_to(level)
            raise

    def update(self, f, /):
        """Set the number x to f(x) and return it. If f raises, the number stays as it was.

        Changes of the number by f raise UsageError, since the number that f returns
        would replace them.
        """
        return self._mutex.change(self._update, f)

    def _update(self, f):
        try:
            x = f(self._obj.value)
            self._mutex.still_changing()
            self._obj.value = x
            return self._obj.value
        except BaseException:
            self._mutex._hold.clear_mark = False  # f did not return normally, so the abandoned mark stays
            raise

    def __repr__(self):
        return f"<Value {self._mutex.name!r} = {self.load()!r}>"



@compiled("atomic")
class Atomic(Handle):
    """An integer of 4 or 8 bytes with atomic operations between processes.

    No operation waits for another process, so a process that dies cannot block it:
    it serves for counters and flags. Integers wrap around. Changes of a read-only
    segment raise ReadOnlyError. Without the verbs in C changes raise LockError if the
    system has no atomic operations for Python.
    """

    __slots__ = ("name", "_mapping", "_offset", "_obj", "_type", "_ref", "_read_only", "_functions", "_place", "__weakref__")

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, mapping, name, type, offset, part=None):
        self._mapping, self._offset, self._read_only = mapping, offset, mapping.read_only
        self.name, self._place = name if part is None else f"{name}[{part}]", (name, part)
        # As a result type it gives an int, and as an argument it takes the low bits of any int.
        self._type = type
        self._at(mapping.memory, offset, 1, type._type_, ctypes.sizeof(type), not mapping.read_only)
        if implementation == "python":
            self._obj = obj = mapping.inner(type, offset)
            self._ref, self._functions = ctypes.byref(obj), {}

    def __reduce__(self):
        name, part = self._place
        return pickled(self._mapping, name, None, part)

    def _refusal(self):
        return ReadOnlyError(
            f"cannot change Atomic {self.name!r}: {self._mapping.path} is mapped read-only; "
            "open the segment without readonly"
        )

    def _call(self, operation, x):
        if self._read_only:
            raise self._refusal()
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

    def store(self, x, /):
        """Set the integer."""
        self._call("exchange", x)

    value = property(load, store, doc="The integer: load and store.")

    def swap(self, x, /):
        """Set the integer and return the old one."""
        return self._call("exchange", x)

    def compare_and_swap(self, old, new, /):
        """Set the integer to new if it equals old; return whether it did."""
        if self._read_only:
            raise self._refusal()
        f = compare_exchange_8 if ctypes.sizeof(self._type) == 8 else compare_exchange_4
        return f(self._ref, ctypes.byref(self._type(old)), self._type(new), SEQ_CST, SEQ_CST)

    def add(self, delta, /):
        """Add delta and return the sum."""
        delta = operator.index(delta)  # before the number changes
        return self._type(self._call("fetch_add", delta) + delta).value

    def and_(self, mask, /):
        """Clear the bits that mask does not have; return the old integer."""
        return self._call("fetch_and", mask)

    def or_(self, mask, /):
        """Set the bits that mask has; return the old integer."""
        return self._call("fetch_or", mask)

    def __repr__(self):
        return f"<Atomic {self.name!r} = {self.load()!r}>"


if implementation == "native":
    late(_obj=made, _fetch_add=lambda value: fetch_add_of(value._obj))(Value)
    late(
        _obj=lambda atomic: atomic._mapping.inner(atomic._type, atomic._offset),
        _ref=lambda atomic: ctypes.byref(atomic._obj),
        _functions=lambda atomic: {},
    )(Atomic)
