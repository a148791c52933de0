"""Raw values under a lock of another value."""

import ctypes

from .array import Array
from .ctype import is_writable, layout_of, parts
from .errors import ArgumentTypeError
from .mutex import Mutex
from .value import Value, fetch_add_of


class _SharedLock:
    """What is pickled of a value whose lock is another one's: its memory and its lock."""

    __slots__ = ()

    def __reduce__(self):
        return synchronized, (self._obj, self._mutex)


class _Value(_SharedLock, Value):
    __slots__ = ()

    def __init__(self, obj, mutex):
        self._obj, self._mutex = obj, mutex
        self._fetch_add = fetch_add_of(obj)
        self._at(obj, 0, 1, getattr(obj, "_type_", None), ctypes.sizeof(obj), is_writable(type(obj)))


class _Array(_SharedLock, Array):
    __slots__ = ()

    def __init__(self, obj, mutex):
        self._obj, self._mutex = obj, mutex
        elem = obj._type_
        self._at(obj, 0, len(obj), getattr(elem, "_type_", None), ctypes.sizeof(elem), is_writable(type(obj)))


def synchronized(obj, lock):
    """Return a raw number as a Value, or a raw array of numbers as an Array, whose changes take that lock.

    So several values can share one lock. It works as well for memory of a Foreign, whose
    programs do not know the lock. lock is a Mutex, or a value that has one.
    """
    mutex = lock if isinstance(lock, Mutex) else getattr(lock, "get_lock", lambda: None)()
    if not isinstance(mutex, Mutex):
        raise ArgumentTypeError(f"{lock!r} is no lock: give a Mutex, or a value that has one")
    if not isinstance(obj, (ctypes._SimpleCData, ctypes.Structure, ctypes.Array)):
        raise ArgumentTypeError(f"{obj!r} is no raw value")
    elem, dims = parts(type(obj))
    code = layout_of(elem).code
    if code in (None, "?", "c", "Zd") or len(dims) > 1:
        raise ArgumentTypeError(f"a {type(obj).__name__} is not a number of up to 8 bytes, or an array of those: use a Struct")
    if ctypes.addressof(obj) % ctypes.sizeof(elem):
        raise ArgumentTypeError(f"the {elem.__name__} is not aligned to its size, so one store cannot write it")
    return _Array(obj, mutex) if dims else _Value(obj, mutex)
