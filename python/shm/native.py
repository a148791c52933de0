"""The compiled verbs, if the package was built with a C compiler, and what stands in for them otherwise.

`_native.c` has the verbs that programs call most. Each class has all of its verbs in
Python as well. The decorator `compiled` gives it those in C, and keeps the ones in
Python as `_slow_NAME`: the verb in C calls that method where it cannot go on, as when
another process holds the lock.

If the environment variable SHM_PURE is set, and is not 0, the module in C is not used.
"""

import importlib
import os

_INTERFACE = 5  # of _native.c


def _find():
    """Return the module in C and None, or None and the reason why it is not used."""
    if os.environ.get("SHM_PURE", "0") not in ("", "0"):
        return None, "SHM_PURE is set"
    try:
        found = importlib.import_module("._native", __package__)
    except ImportError as e:
        return None, str(e)
    if found.INTERFACE != _INTERFACE:
        return None, f"{found.__file__} belongs to another version of the package"
    return found, None


_module, missing = _find()

#: "native" if the module in C is used, and otherwise "python"; `missing` has the reason.
implementation = "python" if _module is None else "native"

#: Looks for a name in an index, see Directory._glimpse. None: that is done in Python.
look = None if _module is None else _module.look

if _module is None:
    from _thread import RLock

    class Hold:
        """The gate and the state of a lock, see mutex.Hold."""

        __slots__ = ("acquire", "release", "owned", "held", "depth", "taken", "clear_mark", "editing", "id")

        def __init__(self, *_):
            self.new_gate()
            self.held = self.clear_mark = False
            self.depth = self.taken = self.editing = self.id = 0

        def new_gate(self):
            """Have a gate that nobody has."""
            gate = RLock()  # it knows its owner; it is never acquired twice
            self.acquire, self.release, self.owned = gate.acquire, gate.release, gate._is_owned

    class Handle:
        """The base class of Mutex, and of the values with a lock."""

        __slots__ = ("_mutex", "_hold")

        def _at(self, *_):
            """Tell the verbs in C where their value is. The verbs in Python know it."""

        _text_at = _struct_at = _count_at = _observe_at = _ring_at = _at

    class Claim:
        """The cell that this process has of a value, see cells.Claim."""

        __slots__ = ("mine",)

    class Reader:
        """The base class of RingReader."""

        __slots__ = ("_ring", "_at")

else:
    Hold, Handle, Claim, Reader = _module.Hold, _module.Handle, _module.Claim, _module.Reader


class _Late:
    """An attribute in a slot, which is made by make(object) when it is first used."""

    def __init__(self, slot, make):
        self._slot, self._make = slot, make

    def __get__(self, x, owner=None):
        if x is None:
            return self
        try:
            return self._slot.__get__(x, owner)
        except AttributeError:
            made = self._make(x)
            self._slot.__set__(x, made)
            return made

    def __set__(self, x, made):
        self._slot.__set__(x, made)


def late(**makers):
    """Return a decorator of a class whose slots of these names are filled when they are first used.

    What fills one is a function of the object. Most objects never need it: a value costs
    less memory, and less time to find.
    """

    def decorate(cls):
        for name, make in makers.items():
            setattr(cls, name, _Late(vars(cls)[name], make))
        return cls

    return decorate


_VARARGS = 4  # a flag of a code object
_DUNDER = {"enter", "exit", "getitem", "setitem"}


def _told(cls, name):
    """Return the signature and the docstring of a verb in Python, as a function in C tells them, or those of a property."""
    there = f"__{name}__" if name in _DUNDER else name
    verb = vars(cls)[there]
    code = getattr(verb, "__code__", None)
    if code is None:
        return verb.__doc__ or ""
    names = list(code.co_varnames[: code.co_argcount])
    defaults = verb.__defaults__ or ()
    for i, x in enumerate(defaults, len(names) - len(defaults)):
        names[i] += f"={x!r}"
    names[0] = "$self"
    if code.co_posonlyargcount:
        names.insert(code.co_posonlyargcount, "/")
    if code.co_flags & _VARARGS:
        names.append("*" + code.co_varnames[code.co_argcount + code.co_kwonlyargcount])
    return f"{there}({', '.join(names)})\n--\n\n{verb.__doc__ or ''}"


def compiled(kind):
    """Return a decorator of a class, which gives it the verbs in C of this kind: "lock", "number" and so on."""

    def decorate(cls):
        if _module is not None:
            for name, verb in _module.verbs(cls, kind, lambda name: _told(cls, name)).items():
                there = f"__{name}__" if name in _DUNDER else name
                setattr(cls, "_slow_" + name, vars(cls)[there])
                setattr(cls, there, verb)
        return cls

    return decorate
