"""Values as text, as Go writes and reads them, and as Python's own values.

Numbers, true and false; "a\\x1b" for characters; [1, 2] for arrays; {x: 1, y: 2} for
structs. A text is parsed into patches, which are pairs of an offset and bytes, so that
a text may name just the parts that change.
"""

import contextlib
import math
import re
import struct
from decimal import Context, Decimal

from .errors import ArgumentError, ArgumentTypeError, TooLongError

MAX_SHOWN = 16 << 20  # bytes of a value that is shown or parsed
MAX_TEXT = 64 << 20  # characters of a text
MAX_PARTS = 250_000  # fields, strings and lists of a value that becomes one of Python

_FORMATS = {"?": "?", "Zf": "2f", "Zd": "2d", **{c: c for c in "bBhHiIqQfd"}}
_USUAL_NAN = {4: 0x7FC00000, 8: 0x7FF8000000000001}  # those that Go makes


def parts(layout):
    """Return the dimensions of a layout, without that of characters, its innermost element, and the bytes of characters."""
    dims, elem = layout.dims, layout.elem or layout
    if elem.code == "c":
        return (dims[:-1], elem, dims[-1] if dims else 1)
    return dims, elem, 0


def too_many(layout):
    """Report whether a value consists of too many parts to be a value of Python."""
    return _parts(layout) > MAX_PARTS


def _parts(layout):
    dims, elem, chars = parts(layout)
    n = 1 if chars else 0 if elem.code else 1 + sum(1 + _parts(part) for _, _, part in elem.fields)
    for i in range(len(dims) - 1, -1, -1):
        n = min(n * dims[i] + (i > 0), MAX_PARTS + 1)
    return n


def value(layout, b):
    """Return a number, a bool, bytes up to the first NUL, a list, or a dict of the fields of a struct."""
    dims, elem, chars = parts(layout)
    return _value(dims, elem, chars, memoryview(b))


def _value(dims, elem, chars, b):
    if dims:
        if len(dims) == 1 and elem.code and not chars and elem.code not in ("Zf", "Zd"):
            return list(struct.unpack(f"={dims[0]}{elem.code}", b))
        step = len(b) // dims[0]
        return [_value(dims[1:], elem, chars, b[i * step : (i + 1) * step]) for i in range(dims[0])]
    if chars:
        return bytes(b).partition(b"\0")[0]
    if elem.code:
        numbers = struct.unpack("=" + _FORMATS[elem.code], b)
        return complex(*numbers) if len(numbers) == 2 else numbers[0]
    return {name: value(part, b[offset : offset + part.size]) for name, offset, part in elem.fields}


class _Long(Exception):
    """The text is too long."""


def text(layout, b, limit=MAX_TEXT):
    """Return the text of a value, or None if it is longer than the limit."""
    out = _Writer(limit)
    try:
        out.value(layout, memoryview(b))
    except _Long:
        return None
    return "".join(out.pieces)


class _Writer:
    def __init__(self, limit):
        self.pieces, self.left = [], limit

    def put(self, piece):
        self.left -= len(piece)
        if self.left < 0:
            raise _Long
        self.pieces.append(piece)

    def value(self, layout, b):
        self.parts(*parts(layout), b)

    def parts(self, dims, elem, chars, b):
        if dims:
            step = len(b) // dims[0]
            for i in range(dims[0]):
                self.put(", " if i else "[")
                self.parts(dims[1:], elem, chars, b[i * step : (i + 1) * step])
            self.put("]")
        elif chars:
            self.put(quoted(bytes(b).partition(b"\0")[0]))
        elif elem.code:
            self.put(_number(elem.code, b))
        else:
            self.put("{")
            for i, (name, offset, part) in enumerate(elem.fields):
                self.put(f"{', ' if i else ''}{_name(name)}: ")
                self.value(part, b[offset : offset + part.size])
            self.put("}")


_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\", '"': '\\"'}


def quoted(b):
    """Return bytes as a string literal of Go: what is not printable, or not UTF-8, is escaped."""
    out = []
    for c in b.decode(errors="surrogateescape"):
        n = ord(c)
        if c in _ESCAPES:
            out.append(_ESCAPES[c])
        elif 0xDC80 <= n <= 0xDCFF:
            out.append(f"\\x{n - 0xDC00:02x}")
        elif c.isprintable():
            out.append(c)
        elif n < 0x20 or n == 0x7F:
            out.append(f"\\x{n:02x}")
        else:
            out.append(f"\\u{n:04x}" if n < 0x10000 else f"\\U{n:08x}")
    return '"' + "".join(out) + '"'


def _name(name):
    return quoted(name.encode()) if name[0] == '"' or not name.isprintable() else name


def _number(code, b):
    if code == "?":
        return "true" if b[0] else "false"
    if code in ("Zf", "Zd"):
        half = len(b) // 2
        re, im = _float(b[:half]), _float(b[half:])
        if "(" in re + im:
            return f"complex({re}, {im})"
        return f"({re}{'' if im[0] in '+-' else '+'}{im}i)"
    if code in ("f", "d"):
        return _float(b)
    return str(struct.unpack("=" + code, b)[0])


def _float(b):
    x = struct.unpack("=f" if len(b) == 4 else "=d", b)[0]
    if x != x:
        bits = struct.unpack("=I" if len(b) == 4 else "=Q", b)[0]
        return "NaN" if bits == _USUAL_NAN[len(b)] else f"NaN({bits:#x})"
    if math.isinf(x):
        return "+Inf" if x > 0 else "-Inf"
    sign, digits, exponent = Decimal(_shortest(x) if len(b) == 4 else repr(x)).as_tuple()
    digits = "".join(map(str, digits)).rstrip("0") or "0"
    size = abs(x)
    point = 0 if size == 0 else int(math.floor(Decimal(_shortest(x) if len(b) == 4 else repr(x)).adjusted())) + 1
    sign = "-" if sign else ""
    if size != 0 and (size < 1e-6 or size >= 1e21):
        e = point - 1
        fraction = "." + digits[1:] if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{'-' if e < 0 else '+'}{abs(e):02d}"
    if size == 0:
        return sign + "0"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if len(digits) <= point:
        return sign + digits + "0" * (point - len(digits))
    return f"{sign}{digits[:point]}.{digits[point:]}"


def _shortest(x):
    """Return the shortest digits that a float of 4 bytes is read from."""
    power = abs(math.frexp(x)[0]) == 0.5
    for precision in range(9):
        nearest = f"{x:.{precision}e}"
        if _is_float(nearest, x):
            return nearest
        if power:
            # Floats above a power of two are twice as far apart as those below it. So the digits
            # above may mean it, though the nearest ones, which are below, mean the float before.
            above = Context(prec=precision + 1).next_plus(Decimal(nearest).copy_abs()).copy_sign(Decimal(nearest))
            if _is_float(above, x):
                return str(above)
    return repr(x)


def _is_float(digits, x):
    try:
        return struct.unpack("=f", struct.pack("=f", float(digits)))[0] == x
    except OverflowError:
        return False


def parse(layout, text):
    """Return the patches that a text makes in a value. Raises ArgumentError, TooLongError.

    It understands what the function text writes, and JSON. Characters that are the whole
    value need no quotes. Integers may have a prefix, as in 0x1f. An array needs all its
    elements, or those that are to change, by index: [3: 7]. A struct needs only the fields
    that are to change, by name.
    """
    if not isinstance(text, str):
        raise ArgumentTypeError(f"a value is set from a str, not from {type(text).__name__}: {text!r}")
    p = _Reader(text)
    dims, elem, chars = parts(layout)
    p.space()
    if chars and not dims and not text.startswith(('"', "`"), p.at):
        p.put(0, chars, p.encoded(text, ""))
        return p.patches
    p.parts(0, dims, elem, chars, "")
    p.space()
    if p.at < len(p.s):
        raise ArgumentError(f"{p.s[p.at:]!r} after the value")
    return p.patches


_SPACE, _WORD_ENDS = " \t\r\n", ",]} \t\r\n"
_INDEX = re.compile(r"([0-9]+)[ \t\r\n]*:")
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf(inity)?|nan", re.IGNORECASE)
_HEX_FLOAT = re.compile(r"[+-]?0[xX][0-9a-fA-F]*\.?[0-9a-fA-F]*[pP][+-]?[0-9]+")
_NAN = re.compile(r"NaN\((0x[0-9a-f]+)\)")
_COMPLEX = re.compile(r"(?P<re>[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|nan))?(?P<im>[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|nan)?)i", re.IGNORECASE)
_BOOLS = {**dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True), **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False)}
_UNESCAPES = {"/": 47, "a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34}
_LOW = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_NUMBERED = {"x": 2, "u": 4, "U": 8}


class _Reader:
    def __init__(self, s):
        self.s, self.at, self.patches = s, 0, []

    def space(self):
        while self.at < len(self.s) and self.s[self.at] in _SPACE:
            self.at += 1

    def accept(self, token):
        self.space()
        if self.s.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def expect(self, token, path):
        if not self.accept(token):
            self.fail(path, f"expected {token}, found {self.s[self.at:self.at + 40]!r}")

    def fail(self, path, what):
        raise ArgumentError(f"{path}: {what}" if path else what)

    def encoded(self, text, path):
        """Return a text as UTF-8. What stands for a byte that is not UTF-8 becomes that byte."""
        try:
            return text.encode(errors="surrogateescape")
        except UnicodeEncodeError as e:
            self.fail(path, f"the text has a lone surrogate, {text[e.start]!a}, which cannot be written as UTF-8")

    def write(self, offset, b):
        if self.patches and self.patches[-1][0] + len(self.patches[-1][1]) == offset:
            self.patches[-1] = self.patches[-1][0], self.patches[-1][1] + b
        else:
            self.patches.append((offset, b))

    def put(self, offset, size, b, path=""):
        if len(b) > size:
            raise TooLongError(f"{path + ': ' if path else ''}{len(b)} bytes, and there is room for {size}")
        if b"\0" in b:
            self.fail(path, f"the text has a NUL at byte {b.index(0)}, which would end the string there")
        self.write(offset, b if len(b) == size else b + b"\0")

    def parts(self, offset, dims, elem, chars, path):
        if dims:
            self.array(offset, dims, elem, chars, path)
        elif chars:
            self.put(offset, chars, self.literal(path), path)
        elif elem.code:
            self.write(offset, self.number(elem.code, path))
        else:
            self.fields(offset, elem, path)

    def array(self, offset, dims, elem, chars, path):
        self.expect("[", path)
        step = (chars or elem.size) * math.prod(dims[1:])
        i = self.index()
        if i is None:
            for i in range(dims[0]):
                if i and not self.accept(","):
                    self.fail(path, f"the array has {dims[0]} elements, found {i} before {self.s[self.at:self.at + 40]!r}")
                self.parts(offset + i * step, dims[1:], elem, chars, f"{path}[{i}]")
            self.expect("]", path)
            return
        seen = set()
        while True:
            if i >= dims[0]:
                self.fail(path, f"the array has {dims[0]} elements, and none with index {i}")
            if i in seen:
                self.fail(path, f"element {i} occurs twice")
            seen.add(i)
            self.parts(offset + i * step, dims[1:], elem, chars, f"{path}[{i}]")
            if self.accept("]"):
                return
            self.expect(",", path)
            i = self.index()
            if i is None:
                self.fail(path, "expected an index and a colon, as the other elements have")

    def index(self):
        """Read an index and the colon after it; return the index, or None if there is none."""
        self.space()
        found = _INDEX.match(self.s, self.at)
        if found is None:
            return None
        self.at = found.end()
        return int(found.group(1)) if len(found.group(1)) < 20 else 1 << 64

    def fields(self, offset, elem, path):
        self.expect("{", path)
        known, seen = {name: (at, part) for name, at, part in elem.fields}, set()
        while not self.accept("}"):
            if seen:
                self.expect(",", path)
            name = self.field(known, path)
            if name in seen:
                self.fail(path, f"field {name!r} occurs twice")
            seen.add(name)
            at, part = known[name]
            self.parts(offset + at, *parts(part), f"{path}.{name}" if path else name)

    def field(self, known, path):
        self.space()
        end = self.s.find(":", self.at)
        if end < 0:
            self.fail(path, f"expected a field name and a colon, found {self.s[self.at:self.at + 40]!r}")
        name = self.s[self.at : end].rstrip(_SPACE)
        self.at = end + 1
        names = [name]
        if name.startswith('"'):
            inner = _Reader(name)
            with contextlib.suppress(ArgumentError):
                plain = inner.literal(path).decode(errors="surrogateescape")
                if inner.at == len(name):
                    names.insert(0, plain)  # a field may have quotes in its name
        for name in names:
            if name in known:
                return name
        self.fail(path, f"the struct has no field {names[0]!r}")

    def word(self):
        self.space()
        start, depth = self.at, 0
        while self.at < len(self.s):
            c = self.s[self.at]
            depth += (c == "(") - (c == ")")
            if depth <= 0 and c in _WORD_ENDS:
                break
            self.at += 1
        return self.s[start : self.at]

    def number(self, code, path):
        word = self.word()
        try:
            return _packed(code, word)
        except (OverflowError, struct.error):
            self.fail(path, f"{word} does not fit in a number of the type {code!r}")
        except (ValueError, KeyError):
            self.fail(path, f"cannot read {word!r} as a number of the type {code!r}")

    def literal(self, path):
        """Read a string literal; return its bytes."""
        self.space()
        s, start = self.s, self.at
        if s.startswith("`", start):
            end = s.find("`", start + 1)
            if end < 0:
                self.fail(path, f"expected a string in quotes, found {s[start:start + 40]!r}")
            self.at = end + 1
            return self.encoded(s[start + 1 : end].replace("\r", ""), path)
        out, i = bytearray(), start + 1
        try:
            if s[start] != '"':
                raise IndexError
            while s[i] != '"':
                if s[i] == "\n":
                    raise IndexError
                if s[i] != "\\":
                    out += self.encoded(s[i], path)
                    i += 1
                    continue
                c = s[i + 1]
                if c in _UNESCAPES:
                    out.append(_UNESCAPES[c])
                    i += 2
                elif c in _NUMBERED:
                    digits = s[i + 2 : i + 2 + _NUMBERED[c]]
                    if len(digits) != _NUMBERED[c] or not (digits.isascii() and digits.isalnum()):
                        raise IndexError
                    n = int(digits, 16)
                    low = _LOW.match(s, i + 6) if c == "u" and n >> 10 == 0xD800 >> 10 else None
                    if low is not None:  # two surrogates are one character, as in JSON
                        n = 0x10000 + ((n & 0x3FF) << 10) + (int(low.group(1), 16) & 0x3FF)
                        i += len(low.group(0))
                    out += bytes([n]) if c == "x" else chr(n).encode()
                    i += 2 + len(digits)
                else:
                    digits = s[i + 1 : i + 4]
                    if len(digits) != 3 or digits.strip("01234567"):
                        raise IndexError
                    out.append(int(digits, 8))
                    i += 4
        except (IndexError, ValueError, OverflowError):
            self.fail(path, f"expected a string in quotes, found {s[start:start + 40]!r}")
        self.at = i + 1
        return bytes(out)


def _packed(code, word):
    if code == "?":
        return bytes([_BOOLS[word]])
    if code in "fd":
        return _packed_float(word, 4 if code == "f" else 8)
    if code in ("Zf", "Zd"):
        half = 4 if code == "Zf" else 8
        if word.startswith("complex(") and word.endswith(")"):
            real, imaginary = word[8:-1].split(",")
            return _packed_float(real.strip(_SPACE), half) + _packed_float(imaginary.strip(_SPACE), half)
        return _packed_complex(word, half)
    digits = word.lstrip("+-")
    base = 0 if len(digits) > 2 and digits[0] == "0" and digits[1] in "xXbBoO" else 10
    if base == 10 and not (digits.isascii() and digits.isdigit()):
        raise ValueError
    if len(word) - len(digits) > (code in "bhilq"):  # as in Go and C, an unsigned number has no sign
        raise ValueError
    return struct.pack("=" + code, int(word, base))


def _packed_float(word, size):
    nan = _NAN.fullmatch(word)
    if nan:
        b = struct.pack("=I" if size == 4 else "=Q", int(nan.group(1), 16))
        if _float(b) != word:
            raise ValueError
        return b
    if word.lower() in ("nan", "+nan", "-nan"):
        return struct.pack("=I" if size == 4 else "=Q", _USUAL_NAN[size])
    if _HEX_FLOAT.fullmatch(word):
        x = float.fromhex(word)
    elif _FLOAT.fullmatch(word):
        x = float(word)
    else:
        raise ValueError
    if math.isinf(x) and "inf" not in word.lower():
        raise OverflowError
    return struct.pack("=f" if size == 4 else "=d", x)


def _packed_complex(word, half):
    if word.startswith("(") and word.endswith(")"):
        word = word[1:-1]
    found = _COMPLEX.fullmatch(word)
    if found is None:
        return _packed_float(word, half) + bytes(half)
    real, imaginary = found.group("re"), found.group("im")
    if real and not imaginary:
        real, imaginary = None, real
    if imaginary in ("", "+", "-"):
        imaginary += "1"
    return _packed_float(real or "0", half) + _packed_float(imaginary, half)
