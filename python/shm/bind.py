"""Values that a class describes."""

import ctypes
import types
import typing
from collections import namedtuple

from . import ctype, histogram as histograms
from .array import Array
from .atomicarray import AtomicArray
from .counter import Counter, Gauge
from .ctype import layout_of
from .errors import ArgumentError, ArgumentTypeError, LayoutError, NoValueError, ReadOnlyError
from .histogram import Histogram
from .mutex import Mutex
from .mutexes import Mutexes
from .published import String, Struct
from .ring import Ring
from .segment import Trial, first_of
from .table import Table
from .value import Atomic, Value

_Field = namedtuple("_Field", "type size init bounds room name unit help hint")


class Field(_Field):
    """What an annotation of a class for bind says besides the class of the value: typing.Annotated[shm.Value, shm.Field("d")].

    type is as with the methods of Segment; size is the number of elements, rows, locks, values
    or bytes; init is the first value, also of a raw array; bounds are those of a Histogram; room is that of a Struct or a Table; name is that of the value, if it is not
    the attribute's.
    """

    __slots__ = ()

    def __new__(cls, type=None, size=None, *, init=None, bounds=None, room=0, name=None, unit="", help="", hint=""):
        return super().__new__(cls, type, size, init, bounds, room, name, unit, help, hint)

    def __getnewargs_ex__(self):
        """Return the arguments of the constructor, for copies and pickles: those of a named tuple are all positional."""
        return self[:2], dict(zip(self._fields[2:], self[2:]))


# Class to method, whether it has a type and a size, and whether it has a first value.
_METHODS = {
    Value: ("value", True, False, True), Array: ("array", True, True, False), Struct: ("struct", True, False, True),
    String: ("string", False, True, False), Atomic: ("atomic", True, False, True),
    AtomicArray: ("atomic_array", True, True, False), Mutex: ("mutex", False, False, False),
    Mutexes: ("mutexes", False, True, False), Table: ("table", True, True, False), Ring: ("ring", True, True, False),
    Counter: ("counter", True, False, False), Gauge: ("gauge", True, False, False),
    Histogram: ("histogram", False, False, False),
}  # fmt: skip
_PLAIN = {int: "q", float: "d"}


def bind(segment, cls):
    """Return an object of the class, each annotated attribute of which is the value of that name. It makes what is not there.

        class Board:
            requests: shm.Counter[int]
            load: Annotated[shm.Value[float], shm.Field(help="of the last minute, 1 is a core")]
            version: Annotated[shm.String, shm.Field(size=32)]
            position: shm.Struct[Point]
            temperature: ctypes.c_double          # raw

        board = shm.bind(seg, Board)

    The class is called without arguments. In brackets is the type of the value: a ctypes type, or int for an
    integer of 8 bytes, or float; Field gives others. Annotations whose name starts with an
    underscore, and ClassVars, are left alone.

    All annotations are checked first. If one is wrong, or two have one name, ArgumentTypeError or
    ArgumentError names it, and no value was made. So do LayoutError, NoValueError and ReadOnlyError
    if one does not fit to what the segment has. Only FullError, LockError and OSError may come after some values
    were made, which a second call then finds.
    """
    if not isinstance(cls, type):
        raise ArgumentTypeError(f"bind takes a class with annotations, not {cls!r}")
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError, SyntaxError, AttributeError) as e:
        raise ArgumentTypeError(f"{cls.__name__}: its annotations cannot be evaluated: {e}") from e
    trial, plans, names = Trial(segment), [], {}
    for attribute, hint in hints.items():
        if attribute.startswith("_") or typing.get_origin(hint) is typing.ClassVar or hint is typing.ClassVar:
            continue
        where = f"{cls.__name__}.{attribute}"
        try:
            name, method, args, options = _plan(attribute, hint)
            if name in names:
                raise ArgumentError(f"{names[name]} has the name {name!r} too")
            getattr(trial, method)(name, *args, **options)
        except (ArgumentError, ArgumentTypeError, LayoutError, NoValueError, ReadOnlyError) as e:
            raise type(e)(f"{where}: {e}") from None
        names[name] = where
        plans.append((attribute, method, (name, *args), options))
    if not plans:
        raise ArgumentTypeError(f"{cls.__name__} has no annotated attributes that bind could fill")
    bound = cls()
    for attribute, method, args, options in plans:
        setattr(bound, attribute, getattr(segment, method)(*args, **options))
    return bound


def _plan(attribute, hint):
    """Return the name of a value, the method of Segment that makes it, and its arguments."""
    field = Field()
    if hasattr(hint, "__metadata__"):
        found = [x for x in hint.__metadata__ if isinstance(x, Field)]
        if len(found) > 1:
            raise ArgumentError("it has two Fields")
        field, hint = (found or [field])[0], hint.__origin__
    inner = None
    if isinstance(hint, (types.GenericAlias, typing._GenericAlias)):
        hint, (inner, *more) = typing.get_origin(hint), typing.get_args(hint)
        if more:
            raise ArgumentTypeError(f"{hint.__name__} takes one type in brackets")
    name = attribute if field.name is None else field.name
    label = {"unit": field.unit, "help": field.help, "hint": field.hint}
    for text in (name, *label.values()):
        if not isinstance(text, str):
            raise ArgumentTypeError(f"a name, a unit and a help text are str, not {text!r}")
    if hint not in _METHODS:
        return _plan_raw(name, hint, inner, field, label)
    method, typed, sized, first = _METHODS[hint]
    t = field.type if field.type is not None else _PLAIN.get(inner, inner)
    args = []
    if typed:
        if t is None and hint in (Counter, Gauge):
            t = "q"
        if t is None:
            raise ArgumentTypeError(f"a {hint.__name__} needs a type: {hint.__name__}[int], or shm.Field with a type")
        layout_of(t)
        args.append(t)
    elif field.type is not None:
        raise ArgumentError(f"a {hint.__name__} has no type")
    if field.size is not None and not sized:
        raise ArgumentError(f"a {hint.__name__} has no size")
    if sized:
        args.append(field.size or 0)
    if field.init is not None and not first:
        raise ArgumentError(f"a {hint.__name__} has no first value")
    if field.init is not None:
        args.append(first_of(t, field.init))
    if field.bounds is not None and hint is not Histogram:
        raise ArgumentError(f"a {hint.__name__} has no bounds")
    if hint is Histogram:
        args.append(None if field.bounds is None else list(histograms.checked(field.bounds)))
    if field.room and hint not in (Struct, Table):
        raise ArgumentError(f"a {hint.__name__} does not grow, so it has no room")
    return name, method, args, {**label, **({"room": field.room} if field.room else {})}


def _plan_raw(name, hint, inner, field, label):
    if not isinstance(hint, type) or not issubclass(hint, (ctypes._SimpleCData, ctypes.Structure, ctypes.Array)):
        raise ArgumentTypeError(
            f"{hint!r} is not a class of values: use shm.Value, shm.Struct and so on, or a ctypes type for a raw value"
        )
    if field.bounds is not None or field.room:
        raise ArgumentError("a raw value has neither bounds nor room")
    if hint is ctypes.Array:
        t = field.type if field.type is not None else inner
        if t is None:
            raise ArgumentTypeError("a raw array needs a type: ctypes.Array[ctypes.c_double]")
        if layout_of(t).code is None:
            raise ArgumentTypeError("a raw array has numbers; use ctypes types such as Point * 4 for others")
        return name, "raw_array", [t, _elements(field)], label
    if field.type is not None or field.size is not None:
        raise ArgumentError("the type of a raw value is the annotation")
    layout_of(hint)
    first = None if field.init is None else first_of(hint, field.init)
    elem, dims = ctype.parts(hint)
    if len(dims) == 1 and layout_of(elem).code not in (None, "?"):
        return name, "raw_array", [elem, dims[0] if first is None else list(first)], label
    return name, "raw_value", [hint, *([] if first is None else [first])], label


def _elements(field):
    """Return the length of a raw array, or its first elements if the Field has some."""
    if field.init is None:
        return field.size or 0
    try:
        values = list(field.init)
    except TypeError:
        raise ArgumentTypeError(f"the first value of a raw array is a list of its elements, and not {field.init!r}") from None
    if field.size not in (None, 0, len(values)):
        raise ArgumentError(f"a raw array of {field.size!r} elements cannot have {len(values)} elements as its first value")
    return values
