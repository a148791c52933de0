"""Layouts of types, and their PEP 3118 formats, as ctypes and the Go package write them.

It also reads formats as numpy, array and struct write them.

A format may come from memory that a hostile process can write. Therefore the
parser limits sizes, nesting and its own work.
"""

import ctypes
import sys

from .errors import ArgumentTypeError, FormatError

MAX_FORMAT = 32 << 10  # bytes
MAX_DEPTH = 32  # nested structs, and dimensions of an array
MAX_SIZE = 1 << 40  # bytes

ORDER = "<" if sys.byteorder == "little" else ">"

#: Size and alignment of each type code in bytes. A complex number has the alignment of its parts.
SCALARS = {
    "?": (1, 1), "b": (1, 1), "B": (1, 1), "c": (1, 1), "h": (2, 2), "H": (2, 2), "i": (4, 4), "I": (4, 4),
    "q": (8, 8), "Q": (8, 8), "f": (4, 4), "d": (8, 8), "Zf": (8, 4), "Zd": (16, 8),
}  # fmt: skip
_ALIASES = {"l": "i", "L": "I"}  # the standard sizes of the module struct, and those of a system whose long has 4 bytes
_NATIVE = {
    code: sizes[ctypes.sizeof(t)]
    for code, sizes, t in (
        ("l", {4: "i", 8: "q"}, ctypes.c_long), ("L", {4: "I", 8: "Q"}, ctypes.c_ulong),
        ("n", {4: "i", 8: "q"}, ctypes.c_ssize_t), ("N", {4: "I", 8: "Q"}, ctypes.c_size_t),
    )
}  # fmt: skip


class Layout:
    """The memory layout of one value.

    format is canonical and shows every padding byte: T{<b:a:3x<i:b:}. size and align
    are in bytes. A number has a code. A struct has fields, which are tuples of name,
    offset and Layout. An array has dims, the outermost first, and elem.
    """

    def __init__(self, format, size, align, code=None, fields=(), dims=(), elem=None):
        self.format, self.size, self.align = format, size, align
        self.code, self.fields, self.dims, self.elem = code, fields, dims, elem

    def __eq__(self, other):
        return isinstance(other, Layout) and self.format == other.format

    def __hash__(self):
        return hash(self.format)

    def __repr__(self):
        return f"Layout({self.format!r})"

    @property
    def is_struct(self):
        """Whether it is the layout of a struct, and not of a number or an array."""
        return self.format.startswith("T{")

    @property
    def end(self):
        """Bytes up to the end of the last field, and of the last field of that one if it is a struct.

        A longer struct may have fields after it.
        """
        if not self.is_struct:
            return self.size
        if not self.fields:
            return 0
        _, offset, last = self.fields[-1]
        return offset + last.end

    def extends(self, shorter):
        """Report whether this struct has the fields of shorter and only appends fields to them.

        The last field of shorter may be a struct that is extended in the same way.
        """
        if not self.is_struct or not shorter.is_struct:
            return self == shorter
        n = len(shorter.fields)
        if self.size < shorter.size or len(self.fields) < n:
            return False
        if n == 0:
            return True
        (name, offset, last), (old_name, old_offset, old_last) = self.fields[n - 1], shorter.fields[-1]
        return (
            self.fields[: n - 1] == shorter.fields[:-1]
            and (name, offset) == (old_name, old_offset)
            and last.extends(old_last)
        )


_known = {}


def parse(format, itemsize=None):
    """Parse a format; return its Layout. Raises FormatError, whose text names the byte.

    itemsize is that of the memoryview that has the format. Give it if there is a
    memoryview, because formats do not tell all. ctypes leaves out the bits of bit
    fields, base types, the fields of packed structs and unions, and before CPython 3.12
    all padding. numpy leaves out the padding at the end of a struct.
    """
    if not isinstance(format, str):
        raise ArgumentTypeError(f"a format is a str, and not {format!r}")
    layout = _known.get(format)
    if layout is None:
        if len(format.encode("utf-8", "surrogatepass")) > MAX_FORMAT:
            raise FormatError(f"format: longer than {MAX_FORMAT} bytes")
        p = _Parser(format)
        layout = p.whole()
        if p.foreign:
            return _foreign(format, layout, itemsize)
        if len(_known) < 10_000:
            _known[format] = layout
    if itemsize not in (None, layout.size):
        raise FormatError(
            f"format: {format} has {layout.size} bytes, and an item has {itemsize}: the format leaves something out, "
            "as ctypes does with bit fields, base types, packed structs and unions; use the type instead"
        )
    return layout


def _foreign(format, packed, itemsize):
    """Return the Layout of a format that has codes without a byte order.

    numpy writes the padding between fields, and none at the end of a struct. Other
    programs leave all padding out. packed is the layout without padding.
    """
    aligned = _Parser(format, align=True).whole()
    if itemsize is None:
        if packed != aligned:
            raise FormatError(f"format: {format} does not tell its padding: give the itemsize of the memoryview")
        if (packed.elem or packed).code == "B":
            raise FormatError(
                f"format: {format} is also what ctypes writes for unions and packed structs: "
                "give the itemsize of the memoryview"
            )
        itemsize = packed.size
    layout = packed if packed.size == itemsize else aligned
    if layout.is_struct and layout.size != itemsize and packed.fields == aligned.fields and itemsize > packed.size:
        layout = struct_of(packed.fields, itemsize)
    return parse(layout.format, itemsize)


def array_of(elem, *dims):
    """Return the Layout of an array; dims are outermost first.

    If elem is an array itself, the result is one array with the dimensions of both,
    as with ctypes.
    """
    if not dims:
        return elem
    dims += elem.dims
    elem = elem.elem or elem
    size = elem.size
    for n in dims:
        size *= n
    return Layout(f"({','.join(map(str, dims))}){elem.format}", size, elem.align, dims=dims, elem=elem)


def valid_name(name):
    """Report whether a struct can have a field of this name.

    The rule is about bytes alone. A rule with tables of Unicode, such as
    str.isprintable, differs between versions of Python, so a segment that one program
    makes would be corrupt for another.
    """
    surrogate = any("\ud800" <= c <= "\udfff" for c in name)  # not in UTF-8
    return name != "" and not surrogate and not any(c <= " " or c in "\x7f:{}" for c in name)


class _Parser:
    """A parser. If align is true, it aligns what has the mode @, as C compilers do."""

    def __init__(self, s, align=False):
        self.s, self.pos, self.align = s, 0, align
        self.mode = "@"  # of the codes that follow: ORDER; = for standard sizes; @ or ^ for those of C
        self.foreign = False  # whether it has found what ctypes and Go do not write

    def whole(self):
        layout = self.item(MAX_DEPTH)
        if self.pos < len(self.s):
            self.fail("expected the end of the format")
        return layout

    def fail(self, what):
        raise FormatError(f"format: {what} at byte {len(self.s[: self.pos].encode('utf-8', 'surrogatepass'))}")

    def accept(self, token):
        if self.s.startswith(token, self.pos):
            self.pos += len(token)
            return True
        return False

    def item(self, depth):
        """Parse a type: optional dimensions, then a number or a struct."""
        dims = []
        if self.accept("("):
            while True:
                if len(dims) == MAX_DEPTH:
                    self.fail(f"array of more than {MAX_DEPTH} dimensions")
                dims.append(self.count())
                if not self.accept(","):
                    break
            if not self.accept(")"):
                self.fail("expected ')'")
        layout = self.element(depth)
        size = layout.size
        for n in dims:
            size *= n
            if size > MAX_SIZE:
                self.fail(f"type of more than {MAX_SIZE} bytes")
        return array_of(layout, *dims)

    def element(self, depth):
        """Parse a number or a struct. depth is how many nested structs are still allowed."""
        if self.accept("T{"):
            if depth == 0:
                self.fail(f"more than {MAX_DEPTH} nested structs")
            return self.fields(depth - 1)
        implied = False  # whether the code has the mode of the code before it
        if self.accept(ORDER):
            self.mode = ORDER
        else:
            self.foreign = True
            mode = next(filter(self.accept, "@^="), None)
            implied, self.mode = mode is None, mode or self.mode
        chars = self.chars()
        if chars:
            self.foreign = True
            return array_of(Layout(ORDER + "c", 1, 1, code="c"), chars)
        written = self.s[self.pos : self.pos + (2 if self.s.startswith("Z", self.pos) else 1)]
        code = (_NATIVE if self.mode in "@^" else _ALIASES).get(written, written)
        if code not in SCALARS:
            self.fail(f"expected '(', 'T{{' or {ORDER!r}" if implied else "unknown type code")
        if implied and self.mode == ORDER and code == "B":
            self.fail("a union or a packed struct, whose fields ctypes leaves out,")
        self.pos += len(written)
        return Layout(ORDER + code, *SCALARS[code], code=code)

    def chars(self):
        """Parse the characters s or 5s; return their number, or None if the next item is not characters."""
        start, n = self.pos, 1
        if self.s[self.pos : self.pos + 1] in tuple("0123456789"):
            n = self.count()
        if self.accept("s"):
            return n
        self.pos = start
        return None

    def fields(self, depth):
        """Parse a struct after its T{."""
        fields, names, end, align = [], set(), 0, 1
        while not self.accept("}"):
            n = self.padding()
            if n is None:
                layout = self.item(depth)
                if self.align and self.mode == "@":
                    end += -end % layout.align
                    align = max(align, layout.align)
                fields.append((self.name(names), end, layout))
                n = layout.size
            end += n
            if end > MAX_SIZE:
                self.fail(f"type of more than {MAX_SIZE} bytes")
        if end == 0:
            self.fail("struct of 0 bytes")
        return struct_of(fields, end + -end % align)

    def padding(self):
        """Parse padding, x or 3x; return its bytes, or None if the next item is not padding."""
        if self.accept("x"):
            return 1
        if self.s[self.pos : self.pos + 1] not in tuple("0123456789"):
            return None
        start, n = self.pos, self.count()
        if self.s.startswith("s", self.pos):
            self.pos = start
            return None
        if not self.accept("x"):
            self.fail("expected 'x'")
        return n

    def count(self):
        """Parse a number from 1 to MAX_SIZE without leading zeros."""
        n = 0
        while self.s[self.pos : self.pos + 1] in tuple("0123456789"):
            n = n * 10 + int(self.s[self.pos])
            if n > MAX_SIZE:
                self.fail(f"number above {MAX_SIZE}")
            if n == 0:
                break
            self.pos += 1
        if n == 0:
            self.fail("expected a number of 1 or more")
        return n

    def name(self, seen):
        """Parse the name of a field between colons. seen has the names of the fields before it."""
        if not self.accept(":"):
            self.fail("expected ':' and a field name")
        end = self.s.find(":", self.pos)
        if end < 0:
            self.fail("field name without a second ':'")
        name = self.s[self.pos : end]
        if not valid_name(name):
            self.fail(f"invalid field name {name!r}")
        if name in seen:
            self.fail(f"second field {name!r}")
        seen.add(name)
        self.pos = end + 1
        return name


def struct_of(fields, size):
    """Return the Layout of a struct.

    Preconditions: fields are tuples of name, offset and Layout, in order of their
    offsets; they do not overlap, and the last one ends at size or before.
    """
    text, end, align = ["T{"], 0, 1

    def pad(to):
        if to > end:
            text.append("x" if to - end == 1 else f"{to - end}x")

    for name, offset, layout in fields:
        pad(offset)
        text.append(f"{layout.format}:{name}:")
        a = layout.align
        while offset % a:
            a //= 2
        align = max(align, a)
        end = offset + layout.size
    pad(size)
    while size % align:
        align //= 2
    return Layout("".join(text) + "}", size, align, fields=tuple(fields))
