"""Makes ctypes types from layouts, and layouts from ctypes types."""

import ctypes
import functools
import operator
import struct
import sys
import weakref

from . import layout as layouts
from .errors import ArgumentError, ArgumentTypeError, FormatError, ReadOnlyError


def _complex(x):
    if isinstance(x, str):  # complex parses it
        raise ArgumentTypeError("a number is required, not str")
    return complex(x)


class Complex64(ctypes.Structure):
    """A complex number of two floats, Go's complex64. ctypes has no such type.

    Reading value is one load of 8 bytes, and setting it is one store.
    """

    _fields_ = [("real", ctypes.c_float), ("imag", ctypes.c_float)]

    def __init__(self, x=0):
        super().__init__()
        self.value = x

    @property
    def value(self):
        """The number, as a complex of Python."""
        return complex(*struct.unpack("2f", struct.pack("Q", ctypes.c_uint64.from_buffer(self).value)))

    @value.setter
    def value(self, x):
        x = _complex(x)
        ctypes.c_uint64.from_buffer(self).value = struct.unpack("Q", struct.pack("2f", x.real, x.imag))[0]


class Complex128(ctypes.Structure):
    """A complex number of two doubles, Go's complex128."""

    _fields_ = [("real", ctypes.c_double), ("imag", ctypes.c_double)]

    def __init__(self, x=0):
        super().__init__()
        self.value = x

    @property
    def value(self):
        """The number, as a complex of Python."""
        return complex(self.real, self.imag)

    @value.setter
    def value(self, x):
        x = _complex(x)
        self.real, self.imag = x.real, x.imag


_NUMBERS = {
    "?": ctypes.c_bool, "c": ctypes.c_char, "b": ctypes.c_int8, "B": ctypes.c_uint8, "h": ctypes.c_int16,
    "H": ctypes.c_uint16, "i": ctypes.c_int32, "I": ctypes.c_uint32, "q": ctypes.c_int64, "Q": ctypes.c_uint64,
    "f": ctypes.c_float, "d": ctypes.c_double, "Zf": Complex64, "Zd": Complex128,
}  # fmt: skip

#: The typecodes of multiprocessing.sharedctypes, without u, whose size differs between systems.
_TYPECODES = {
    "c": ctypes.c_char, "b": ctypes.c_byte, "B": ctypes.c_ubyte, "h": ctypes.c_short, "H": ctypes.c_ushort,
    "i": ctypes.c_int, "I": ctypes.c_uint, "l": ctypes.c_long, "L": ctypes.c_ulong, "q": ctypes.c_longlong,
    "Q": ctypes.c_ulonglong, "f": ctypes.c_float, "d": ctypes.c_double,
}  # fmt: skip

_FIELD = type(Complex64.real)  # of the descriptor of a struct's field

_SHOWN = 8  # elements of an array that text_of shows

_types = {}


def type_of(layout, read_only=False):
    """Return the ctypes type of a layout. Equal layouts give the same type.

    If ctypes itself gives the fields of a struct the right offsets, it lays out the
    struct, so that memoryview and numpy see the fields. Otherwise the struct is
    packed, and its padding consists of fields whose names start with a space.
    Arrays and structs of a read_only type raise ReadOnlyError if Python code sets an
    element or a field. A memoryview of them is writable nevertheless, and a write
    through it ends the process.

    Raises FormatError if ctypes cannot have a field of some name.
    """
    if not isinstance(layout, layouts.Layout):
        raise ArgumentTypeError(f"type_of takes a Layout, such as layout_of and parse_layout return, and not {layout!r}")
    key = layout.format, read_only
    if key not in _types:
        _types[key] = _build(layout, read_only)
    return _types[key]


def _build(layout, read_only):
    if layout.code:
        return _NUMBERS[layout.code]
    if layout.dims:
        t = type_of(layout.elem, read_only)
        for n in reversed(layout.dims):
            t = array_type(t, n, read_only)
        return t
    fields = [(name, type_of(part, read_only)) for name, _, part in layout.fields]
    for name, _ in fields:
        if len(name) > 1 and name[0] == name[-1] == "_":
            raise FormatError(f"a ctypes struct cannot have a field {name!r}: rename the field in {layout.format}")
    body = {"__repr__": text_of, **({"__setattr__": _refuse} if read_only else {})}
    t = type("Struct", (ctypes.Structure,), {**body, "_fields_": fields})
    natural = all(getattr(t, name).offset == offset for name, offset, _ in layout.fields)
    if natural and ctypes.sizeof(t) == layout.size:
        return t
    padded, end = [], 0
    for (name, offset, part), field in zip(layout.fields, fields):
        if offset > end:
            padded.append((f" {end}", ctypes.c_ubyte * (offset - end)))
        padded.append(field)
        end = offset + part.size
    if layout.size > end:
        padded.append((f" {end}", ctypes.c_ubyte * (layout.size - end)))
    return type("Struct", (ctypes.Structure,), {**body, "_pack_": 1, "_layout_": "ms", "_fields_": padded})


def is_number(t):
    """Report whether a ctypes type is a number, so that its attribute value is the number.

    A struct may have a field called value, which is not meant.
    """
    return issubclass(t, (ctypes._SimpleCData, Complex64, Complex128))


def text_of(x):
    """Return a value as text: a struct as Struct(x=1.0, y=2.0), an array as its first elements."""
    if isinstance(x, ctypes.Structure) and not is_number(type(x)):
        # A name that is not printable comes from memory that others write.
        fields = [
            f"{name if name.isprintable() else ascii(name)}={text_of(getattr(x, name))}"
            for name, *_ in _fields_of(type(x))
        ]
        return f"{type(x).__name__}({', '.join(fields)})"
    if isinstance(x, ctypes.Array) and not hasattr(x, "value"):
        return f"[{', '.join([*map(text_of, x[:_SHOWN]), *['...'] * (len(x) > _SHOWN)])}]"
    return repr(getattr(x, "value", x))


def _refuse(*_):
    raise ReadOnlyError("cannot change a value of a read-only segment; open the segment without readonly")


def array_type(t, n, read_only=False):
    """Return the type of an array of n elements of type t."""
    return _read_only_array(t, n) if read_only else t * n


@functools.lru_cache(maxsize=1024)
def _read_only_array(t, n):
    base = t * n
    refusing = type(base.__name__, (base,), {"__setitem__": _refuse})
    for name in ("value", "raw"):  # of characters
        if hasattr(base, name):
            setattr(refusing, name, property(getattr(base, name).__get__, _refuse))
    return refusing


@functools.lru_cache(maxsize=1024)
def read_only_number(t):
    """Return a type like the number type t, but whose value cannot be set.

    It is for single numbers only: ctypes returns fields and elements of such a type
    as objects, not as numbers.
    """
    get = t.value.fget if isinstance(t.value, property) else t.value.__get__
    return type(t.__name__, (t,), {"value": property(get, _refuse), "__setattr__": _refuse})


def addend(t, x):
    """Return x as it is added to a number of the ctypes type t: an int, a float or a complex.

    It takes what the type takes: for an integer also other objects with __index__, and for a
    float those with __float__. Raises TypeError.
    """
    code = getattr(t, "_type_", None)
    if code is None:
        return _complex(x)
    if code in "fd":
        return x if type(x) is float else ctypes.c_double(x).value
    return operator.index(x)


def is_writable(t):
    """Report whether a type of a number, or of an array of numbers, is not one that read_only_number or array_type made read-only."""
    if issubclass(t, ctypes.Array):
        return t.__setitem__ is ctypes.Array.__setitem__
    return not isinstance(t.value, property) or issubclass(t, Complex64) and t.value is Complex64.value


def shared(t):
    """Return a type like t for an object in a segment: pickled, it leads to the same memory.

    place, below, says where that is. copy.copy and copy.deepcopy make a private object
    of type t.
    """
    if t not in _shared:
        body = {
            "_shm_type": t, "__module__": t.__module__, "__qualname__": t.__qualname__, "__doc__": t.__doc__,
            "__reduce_ex__": _reduce_shared, "__copy__": _copy_shared,
            "__deepcopy__": lambda self, _: _copy_shared(self),
        }  # fmt: skip
        if issubclass(t, ctypes._SimpleCData):
            # ctypes prints the value for its own types only.
            body["__repr__"] = lambda self: f"{t.__name__}({self.value!r})"
        made = type(t.__name__, (t,), body)
        for name in ("value", "raw"):
            # ctypes gives each type of an array of characters these attributes, and
            # array_type those that refuse.
            if isinstance(t.__dict__.get(name), property):
                setattr(made, name, t.__dict__[name])
        _shared.setdefault(t, made)
    return _shared[t]


_shared = {}


def place(x, reduced):
    """Say what pickles the object x of a shared type: reduced(t) is called for the result of its __reduce_ex__.

    t has the type of which the shared one was made.
    """
    x.__dict__["_shm_reduced"] = reduced  # not by setattr, which read-only structs refuse
    return x


def _reduce_shared(self, protocol):
    reduced = self.__dict__.get("_shm_reduced")
    return _copy_shared(self).__reduce_ex__(protocol) if reduced is None else reduced(self._shm_type)


def _copy_shared(self):
    return self._shm_type.from_buffer_copy(self)


def parts(t):
    """Return the type of the innermost elements of an array type, and its dimensions."""
    dims = []
    while issubclass(t, ctypes.Array):
        dims.append(t._length_)
        t = t._type_
    return t, tuple(dims)


def _numpy():
    """Return the module numpy if the program has imported it. Otherwise it has no types and values of numpy."""
    numpy = sys.modules.get("numpy")
    return numpy if hasattr(numpy, "ndarray") else None


_NUMPY_CODES = {
    "b1": "?", "i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q",
    "f4": "f", "f8": "d", "c8": "Zf", "c16": "Zd",
}  # fmt: skip


_DTYPES = {code: name for name, code in _NUMPY_CODES.items()}
_DTYPES["c"] = "S1"


def _numpy_layout(d):
    """Return the Layout of a dtype of numpy. Raises TypeError."""
    if d.itemsize == 0:
        raise ArgumentTypeError(f"{d!r} has 0 bytes, and a shared type has at least 1")
    if d.subdtype is not None:
        elem, shape = d.subdtype
        return layouts.array_of(_numpy_layout(elem), *shape)
    if d.names is not None:
        fields, end = [], 0
        for name, (part, offset, *_) in sorted(((n, d.fields[n]) for n in d.names), key=lambda f: f[1][1]):
            _check_name(repr(d), name)
            if offset < end:
                raise ArgumentTypeError(f"{d!r}: field {name!r} shares bytes with another field: use fields of their own")
            fields.append((name, offset, _numpy_layout(part)))
            end = offset + part.itemsize
        return layouts.struct_of(fields, d.itemsize)
    if not d.isnative:
        raise ArgumentTypeError(f"{d!r} has the other byte order: use d.newbyteorder('=')")
    if d.kind == "S":
        return layouts.array_of(layouts.parse(layouts.ORDER + "c"), d.itemsize)
    code = _NUMPY_CODES.get(f"{d.kind}{d.itemsize}")
    if code is None:
        raise ArgumentTypeError(f"{d!r} cannot be shared between processes: use numbers, S strings, and structs of them")
    return layouts.parse(layouts.ORDER + code)


def dtype_of(x):
    """Return the dtype of numpy for a type, a Layout or an object of a segment, so that numpy sees the same bytes.

    A struct gets its fields at their offsets, and its padding: np.frombuffer(seg["p"], shm.dtype_of(seg["p"])). A C
    string in a struct is an S. Raises ImportError if the program has not imported numpy.
    """
    numpy = _numpy()
    types = (type, str, memoryview) if numpy is None else (type, str, memoryview, numpy.dtype)
    if isinstance(x, layouts.Layout):
        layout = x
    elif isinstance(x, types):
        layout = layout_of(x)
    else:
        try:
            layout = layout_of(type(x))
        except ArgumentTypeError:
            raise ArgumentTypeError(
                f"dtype_of takes a type, a Layout or a ctypes object, and not {x!r}: of a value with a lock or with atomic "
                "operations give what get_obj() or load() returns, or the layout of its Entry"
            ) from None
    if numpy is None:
        raise ImportError("dtype_of needs numpy: import it first")
    return numpy.dtype(_dtype(layout))


def _dtype(layout):
    if layout.dims:
        dims, elem = layout.dims, _dtype(layout.elem)
        if layout.elem.code == "c":
            dims, elem = dims[:-1], f"S{dims[-1]}"
        return (elem, dims) if dims else elem
    if layout.code:
        return _DTYPES[layout.code]
    return {
        "names": [name for name, _, _ in layout.fields], "formats": [_dtype(part) for _, _, part in layout.fields],
        "offsets": [offset for _, offset, _ in layout.fields], "itemsize": layout.size,
    }  # fmt: skip


def _check_name(where, name):
    if not isinstance(name, str) or not layouts.valid_name(name) or "," in name or name == "-":
        raise ArgumentTypeError(
            f"{where} cannot have a field {name!r}: a field name is UTF-8 without spaces, control characters "
            "and any of : { } , and it is not -, so that a program in Go can have the field"
        )


def resolve(t):
    """Return the ctypes type of a typecode or of a type of numpy, and a ctypes type as it is. Raises TypeError."""
    numpy = _numpy()
    if numpy is not None and (isinstance(t, numpy.dtype) or isinstance(t, type) and issubclass(t, numpy.generic)):
        try:
            return type_of(_numpy_layout(numpy.dtype(t)))
        except FormatError as e:
            raise ArgumentTypeError(f"{t!r}: {e}") from None
    if isinstance(t, str):
        if t == "u":
            raise ArgumentTypeError("the size of typecode 'u' differs between systems: use 'i', as Go's rune, or a string")
        if t not in _TYPECODES:
            raise ArgumentTypeError(f"{t!r} is not a typecode: use a ctypes type or one of {' '.join(_TYPECODES)}")
        t = _TYPECODES[t]
    if not isinstance(t, type):
        raise ArgumentTypeError(f"{t!r} is not a ctypes type")
    return t


def layout_of(t):
    """Return the Layout of a typecode, a ctypes type, or a dtype or scalar type of numpy.

    Of a memoryview it returns the Layout of an item.

    Raises TypeError for a type that cannot be shared: pointers, unions, bit fields,
    wide characters, long doubles, types of the other byte order, types without a size,
    and types that are aligned to more bytes than their fields (_align_).
    """
    if isinstance(t, memoryview):
        return _layout_of_view(t)
    resolved = resolve(t)
    try:
        return _layouts[resolved]
    except (KeyError, TypeError):  # no layout yet; or it cannot have one
        pass
    try:
        layout = layouts.parse(_format(resolved))
    except FormatError as e:
        raise ArgumentTypeError(f"{resolved.__name__}: {e}") from None
    _layouts[resolved] = layout  # once a type has a layout, it cannot change any more
    return layout


_layouts = weakref.WeakKeyDictionary()  # a type to its Layout


def _layout_of_view(view):
    exporter = view.obj
    if isinstance(exporter, _CTYPES) and memoryview(exporter).format == view.format:
        return layout_of(parts(type(exporter))[0])  # ctypes does not say in a format that a field has only some bits
    try:
        return layouts.parse(view.format, view.itemsize)
    except FormatError as e:
        raise ArgumentTypeError(f"{view!r}: {e}") from None


_CTYPES = ctypes.Structure, ctypes.Union, ctypes.Array, ctypes._SimpleCData, ctypes._Pointer


def _format(t):
    if not isinstance(t, type):
        raise ArgumentTypeError(f"{t!r} is not a ctypes type")
    for code in ("Zf", "Zd"):
        if issubclass(t, _NUMBERS[code]):
            return layouts.ORDER + code
    if issubclass(t, ctypes.Array):
        if t._length_ == 0:
            raise ArgumentTypeError(f"{t.__name__} has 0 bytes, and a shared type has at least 1")
        return layouts.array_of(layouts.parse(_format(t._type_)), t._length_).format
    if issubclass(t, ctypes.Structure):
        return _struct_format(t)
    if issubclass(t, ctypes._SimpleCData):
        return layouts.ORDER + _code(t)
    raise ArgumentTypeError(f"{t.__name__} cannot be shared between processes: use numbers, arrays and structs of them")


def _code(t):
    swapped = "__ctype_be__" if sys.byteorder == "little" else "__ctype_le__"
    size = ctypes.sizeof(t)
    if size > 1 and getattr(t, swapped, None) is t:
        raise ArgumentTypeError(f"{t.__name__} has the other byte order: use the {sys.byteorder}-endian type")
    code = t._type_
    if code in "?cfd":
        return code
    for integers in ("bhilq", "BHILQ"):
        if code in integers:
            return next(c for c in integers if c not in "lL" and layouts.SCALARS[c][0] == size)
    raise ArgumentTypeError(f"{t.__name__} cannot be shared between processes: use numbers, arrays and structs of them")


def _declared(t):
    return [field for base in reversed(t.__mro__) for field in base.__dict__.get("_fields_", ())]


def _fields_of(t):
    """Return the _fields_ of a struct and of its base types, base types first, without padding.

    Padding has no name in the types of numpy's as_ctypes_type, and one with a space in
    those of type_of.
    """
    return [field for field in _declared(t) if field[0] and not field[0].startswith(" ")]


def _struct_format(t):
    if hasattr(t, "_swappedbytes_"):
        raise ArgumentTypeError(f"{t.__name__} has the other byte order: use the {sys.byteorder}-endian type")
    fields = []
    for field in _fields_of(t):
        if len(field) != 2:
            raise ArgumentTypeError(f"{t.__name__}.{field[0]} is a bit field, which cannot be shared: use a whole number")
        _check_name(t.__name__, field[0])
        fields.append((field[0], getattr(t, field[0]).offset, layouts.parse(_format(field[1]))))
    if ctypes.sizeof(t) == 0:
        raise ArgumentTypeError(f"{t.__name__} has 0 bytes, and a shared type has at least 1")
    layout = layouts.struct_of(fields, ctypes.sizeof(t))
    if ctypes.alignment(t) > layout.align:
        raise ArgumentTypeError(
            f"{t.__name__} is aligned to {ctypes.alignment(t)} bytes and its fields to {layout.align}, which a segment "
            "cannot describe: remove _align_; values start at multiples of 64 bytes"
        )
    return layout.format


@functools.lru_cache(maxsize=256)
def _is_plain(t):
    """Report whether a type is a struct whose constructor takes just its fields."""
    return issubclass(t, ctypes.Structure) and not is_number(t) and _fields_of(t) == _declared(t)


@functools.lru_cache(maxsize=256)
def plain_fields(t):
    """Return the offset, the code and the size of each field, if a struct has only numbers and no constructor, or None."""
    if not _is_plain(t) or any(getattr(t, f) is not getattr(ctypes.Structure, f) for f in ("__init__", "__new__", "__setattr__")):
        return None
    fields = [(getattr(t, name), part) for name, part in _fields_of(t)]
    if not all(type(f) is _FIELD and issubclass(part, ctypes._SimpleCData) and part._type_ in "?bBhHiIlLqQfd" for f, part in fields):
        return None
    return tuple((f.offset, part._type_, ctypes.sizeof(part)) for f, part in fields)


def instance(t, x):
    """Return x as an object of the ctypes type t, of its size.

    x is such an object already; or one with the same layout, also of numpy; or a number;
    or a tuple of the fields of a struct or of the elements of an array; or the bytes of
    a C string; or an argument of a constructor that the type defines itself. Raises
    TypeError for all else, as ctypes takes 5 for a struct whose first field is 5.
    """
    if isinstance(x, t):
        return x if ctypes.sizeof(x) == ctypes.sizeof(t) else t.from_buffer_copy(x)
    if type(x) is tuple and _is_plain(t):  # the usual case, which has to be fast
        return t(*x)
    if isinstance(x, (ctypes.Structure, ctypes.Array)) and layout_of(type(x)) == layout_of(t):
        return t.from_buffer_copy(x)
    numpy = _numpy()
    if numpy is not None and isinstance(x, (numpy.generic, numpy.ndarray)):
        if not is_number(t) and layouts.array_of(_numpy_layout(x.dtype), *x.shape) == layout_of(t):
            return t.from_buffer_copy(x.tobytes())
        x = x.item() if x.ndim == 0 else x
    if is_number(t):
        return t(x)
    if isinstance(x, (tuple, list)):
        if issubclass(t, ctypes.Array) and len(x) > t._length_:
            raise ArgumentError(f"{t.__name__} has {t._length_} elements, and {len(x)} are given")
        fields = _fields_of(t) if issubclass(t, ctypes.Structure) else ()
        if not issubclass(t, ctypes.Structure) or fields == _declared(t):
            return t(*x)
        if len(x) > len(fields):
            raise ArgumentTypeError(f"{t.__name__} has {len(fields)} fields, and {len(x)} are given")
        made = t()
        for (name, *_), part in zip(fields, x):
            setattr(made, name, part)
        return made
    if issubclass(t, ctypes.Array) and t._type_ is ctypes.c_char and isinstance(x, bytes):
        made = t()
        made.value = x
        return made
    if t.__init__ in (ctypes.Structure.__init__, ctypes.Array.__init__):
        what = "elements" if issubclass(t, ctypes.Array) else "fields"
        raise ArgumentTypeError(f"{x!r} is not a {t.__name__}: give an object of that type, or a tuple of its {what}")
    return t(x)
