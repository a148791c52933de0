"""What the values with a lock have in common, and how a value is pickled.

The modules that define values import this one. It imports nothing of the
package: segment, which finds values by name, registers its functions here.
"""

from .native import Handle, compiled

_find = _make = None


def register_finder(function):
    """Register the function that finds a value by its mapping, its name and perhaps its type and part; return it.

    The module segment uses it once, as a decorator. Pickled values name the function.
    """
    global _find
    _find = function
    return function


def register_maker(function):
    """Register the function that makes the ctypes object of a locked number or array; return it."""
    global _make
    _make = function
    return function


def made(value):
    """Return the ctypes object of a value, which the registered function makes."""
    return _make(value._mutex._mapping, value._record)


def pickled(mapping, name, type=None, part=None):
    """Return what __reduce__ of a value returns: the registered function and its arguments.

    part is the number of a row, or of an element, if the value is one.
    """
    return _find, (mapping, name, *([type] if type or part is not None else ()), *([] if part is None else [part]))


def pickled_part(mutex, type=None):
    """Do as pickled does for what a Mutex guards, which may be a part of a value."""
    return pickled(mutex._mapping, mutex._place[0], type, *mutex._place[1:])


@compiled("locked")
class Locked(Handle):
    """The base class of the values with a lock. `with v:` holds the lock."""

    __slots__ = ("__weakref__",)

    def get_lock(self):
        """Return the Mutex that all changes take."""
        return self._mutex

    def __reduce__(self):
        return pickled_part(self._mutex)

    def __enter__(self):
        return self._mutex.__enter__()

    def __exit__(self, *exception):
        return self._mutex.__exit__(*exception)
