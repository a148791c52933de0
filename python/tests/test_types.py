"""Tests which types and arguments the constructors take, and that they refuse the others before they make anything."""

import copy
import ctypes
import multiprocessing
import pickle
import sys
import unittest
import warnings

import shm
from shm import ctype, layout

from .support import Case

try:
    import numpy
except ImportError:
    numpy = None

S = ctypes.Structure


def struct(name, *fields, base=S, **attributes):
    return type(name, (base,), {**attributes, "_fields_": list(fields)})


class Point(S):
    _fields_ = [("x", ctypes.c_double), ("n", ctypes.c_int32)]


class Longer(Point):
    _fields_ = [("more", ctypes.c_int64)]


class Mixed(S):
    _fields_ = [("letter", ctypes.c_char), ("tag", ctypes.c_char * 3), ("points", Point * 2)]


SWAPPED = ctypes.BigEndianStructure if sys.byteorder == "little" else ctypes.LittleEndianStructure
ALIGNED = struct("Aligned", ("x", ctypes.c_double), _align_=128)
PACKED = struct("Packed", ("b", ctypes.c_int8), ("i", ctypes.c_int32), _pack_=1, _layout_="ms")
EITHER = type("Either", (ctypes.Union,), {"_fields_": [("a", ctypes.c_int32), ("b", ctypes.c_double)]})


class Arguments(Case):
    def test_nothing_is_made(self):
        """A name is never given back, so a call that fails must not have taken it."""
        seg = self.open()
        text, point = seg.string("text", 8), seg.struct("point", Point)
        before = seg.entries()
        q = ctypes.c_int64
        for error, wrong in (
            # types
            (TypeError, lambda: seg.raw_array("x", ctypes.c_bool, 4)),
            (TypeError, lambda: seg.raw_value("x", (ctypes.c_char * 8) * 2)),
            (TypeError, lambda: seg.struct("x", ctypes.c_char)),
            (TypeError, lambda: seg.struct("x", ctypes.c_char * 8)),
            (TypeError, lambda: seg.value("x", "c")),
            (TypeError, lambda: seg.array("x", "c", 8)),
            (TypeError, lambda: seg.raw_value("x", struct("T", ("a,b", q)))),
            (TypeError, lambda: seg.raw_value("x", struct("T", ("-", q)))),
            (TypeError, lambda: seg.raw_value("x", struct("T", ("a:<q:b", q)))),
            (TypeError, lambda: seg.raw_value("x", struct("T", ("a b", q)))),
            (TypeError, lambda: seg.raw_value("x", EITHER)),
            (TypeError, lambda: seg.struct("x", struct("T", ("a", q, 3)))),
            (TypeError, lambda: seg.raw_value("x", struct("T", ("a", struct("B", ("b", q), base=SWAPPED))))),
            (TypeError, lambda: seg.raw_value("x", ctypes.POINTER(q))),
            (TypeError, lambda: seg.raw_value("x", 5)),
            # names and texts
            (TypeError, lambda: seg.value(5, "q")),
            (TypeError, lambda: seg.value(b"x", "q")),
            (TypeError, lambda: seg.mutex(None)),
            (TypeError, lambda: seg.raw_array("x", "q", 4, unit=b"m")),
            (TypeError, lambda: seg.string("x", 4, help=5)),
            (ValueError, lambda: seg.value("\ud800", "q")),
            # sizes
            (TypeError, lambda: seg.char_array("x", 8.0)),
            (TypeError, lambda: seg.string("x", b"text")),
            (TypeError, lambda: seg.raw_array("x", "q", 8.0)),
            (TypeError, lambda: seg.array("x", "q", "12")),
            (ValueError, lambda: seg.string("x", (1 << 45) + 1)),
            (ValueError, lambda: seg.ring("x", "q", 1 << 45)),
            # first values
            (TypeError, lambda: seg.value("x", "q", 1.5)),
            (TypeError, lambda: seg.atomic("x", "q", 1.5)),
            (TypeError, lambda: seg.value("x", shm.Complex64, "1")),
            (TypeError, lambda: seg.raw_value("x", shm.Complex128, "1+2j")),
            (TypeError, lambda: seg.struct("x", Point, 5)),
            (TypeError, lambda: seg.struct("x", Point, "text")),
            (TypeError, lambda: seg.raw_value("x", Point, {"x": 1})),
            (TypeError, lambda: seg.raw_value("x", Point, (1, 2, 3))),
            (TypeError, lambda: seg.raw_value("x", Point, ctypes.c_double(1))),
            (TypeError, lambda: seg.struct("x", q * 3, 5)),
            (ValueError, lambda: seg.struct("x", q * 3, (1, 2, 3, 4))),
            (ValueError, lambda: seg.raw_value("x", ctypes.c_char * 3, b"four")),
            (TypeError, lambda: seg.array("x", "q", [1, "2"])),
            # later values
            (TypeError, lambda: text.store(0)),
            (TypeError, lambda: text.store(False)),
            (TypeError, lambda: text.store([])),
            (TypeError, lambda: text.store([72, 105])),
            (TypeError, lambda: text.store(None)),
            (TypeError, lambda: point.store(0)),
            (TypeError, lambda: point.store("text")),
            (TypeError, lambda: point.store(None)),
        ):
            with self.assertRaises(error):
                print("it was taken:", wrong())
        self.assertEqual(seg.entries(), before)
        self.assertEqual((text.load(), point.load().x), (b"", 0))
        for fits in (b"ab", bytearray(b"ab"), memoryview(b"ab"), "ab"):
            text.store("other")
            text.store(fits)
            self.assertEqual(text.load(), b"ab")

    @unittest.skipIf(ctypes.sizeof(ctypes.c_void_p) < 8, "there are no such types")
    def test_largest_struct(self):
        """A struct that changes as a whole, and a row, has at most 4 GiB less one byte, and the error says so."""
        seg = self.open()
        large = struct("Large", ("bytes", ctypes.c_uint8 * (1 << 32)))
        for make in (seg.struct, lambda name, t: seg.table(name, t, 1)):
            with self.assertRaisesRegex(ValueError, "'x': a struct of 4294967296 bytes; .* at most 4294967295"):
                make("x", large)
        with self.assertRaises(shm.FullError):
            seg.ring("x", large, 1)
        self.assertEqual(list(seg.entries()), [])

    def test_aligned(self):
        if ctypes.alignment(ALIGNED) == 8:
            self.skipTest("_align_ is of CPython 3.13")
        seg = self.open()
        for t in (ALIGNED, ALIGNED * 2, struct("T", ("a", ALIGNED)), struct("Low", ("b", ctypes.c_int8), _align_=2)):
            for make in (seg.raw_value, seg.struct):
                with self.assertRaisesRegex(TypeError, r"aligned to \d+ bytes .* remove _align_"):
                    make("x", t)
        self.assertEqual(list(seg), [])
        same = struct("Same", ("x", ctypes.c_double), ("n", ctypes.c_int32), _align_=8)
        self.assertEqual(seg.raw_value("same", same, (1, 2)).n, 2)

    def test_first_values(self):
        seg = self.open()
        longer = Longer(1.5, 2, 3)
        # The longer object does not write over the memory behind the value.
        self.assertEqual(seg.raw_value("p", Point, longer).x, 1.5)
        self.assertEqual(bytes(seg["p"]), bytes(longer)[: ctypes.sizeof(Point)])
        self.assertEqual(seg.struct("s", Point, longer).load().n, 2)
        found = shm.open(self.name)["s"]
        found.store(Point(7, 8))  # not of its type, but with the same layout
        self.assertEqual((found.load().x, found.load().n), (7, 8))
        self.assertEqual([x.value for x in seg.raw_array("c", shm.Complex64, [1j, 2])], [1j, 2])
        # type_of fills gaps with fields of its own, which a tuple does not have.
        gaps = ctype.type_of(layout.parse("T{4x<b:a:3x<h:b:2x}".replace("<", layout.ORDER)))
        self.assertEqual(seg.struct("gaps", gaps, (1, 2)).load().b, 2)
        self.assertRaises(TypeError, lambda: seg["gaps"].store((1, 2, 3)))

        class Celsius(S):
            _fields_ = [("kelvin", ctypes.c_double)]

            def __init__(self, celsius=0):
                super().__init__(celsius + 273.15)

        self.assertEqual(seg.struct("t", Celsius, 10).load().kelvin, 283.15)

    def test_any_field_name(self):
        """A value is made even if type_of cannot make its type again."""
        seg = self.open()
        t = struct("T", ("_a_", ctypes.c_int32))
        self.assertEqual(seg.raw_value("one", t, (5,))._a_, 5)
        self.assertEqual(seg.raw_value("two", t * 2)[1]._a_, 0)
        self.assertEqual(seg.struct("three", t * 2).load()[1]._a_, 0)
        seg.raw_value("four", struct("T", ("\u009b1m", ctypes.c_int32), ("\U0001fae8", ctypes.c_int32)))
        found = shm.open(self.name)["four"]
        self.assertEqual(getattr(found, "\U0001fae8"), 0)
        self.assertIn("'\\x9b1m'=0", repr(found))

    def test_characters(self):
        """As with multiprocessing; Go's TestPythonCharacters attaches to the same values."""
        seg = self.open()
        c = seg.raw_array("text", "c", 8)
        c[:2] = b"hi"
        self.assertEqual((c.value, c.raw), (b"hi", b"hi\0\0\0\0\0\0"))
        self.assertIs(seg.char_array("text", 8), c)
        self.assertIs(seg.raw_value("text", ctypes.c_char * 8), c)
        self.assertEqual(seg.raw_array("hello", "c", b"hello").raw, b"hello")
        self.assertEqual(seg.raw_value("world", ctypes.c_char * 8, b"world").value, b"world")
        letter = seg.raw_value("letter", "c", b"x")
        self.assertEqual((letter.value, seg["letter"].value), (b"x", ord("x")))
        letter.value = b"y"
        self.assertEqual(self.open(readonly=True).raw_value("letter", "c").value, b"y")
        self.assertEqual(seg.raw_value("mixed", Mixed, (b"a", b"tag")).letter, b"a")
        self.assertIn("(1)" + layout.ORDER + "c:letter:", seg.entries()[-1].format)
        self.assertEqual(seg.struct("mixes", Mixed * 2).load()[1].tag, b"")

    def test_layout_errors(self):
        seg = self.open()
        seg.char_array("text", 8)
        seg.raw_array("numbers", "B", 8)
        for attach, is_, wanted in (
            (lambda: seg.string("text", 8), "a char_array, 8 bytes", "a string, 8 bytes"),
            (lambda: seg.raw_array("text", "B", 8), "a char_array, 8 bytes", "a raw_array of .B, 8 elements"),
            (lambda: seg.char_array("numbers"), "a raw_array of .B, 8 elements", "a char_array, any length"),
            (lambda: seg.mutex("text"), "a char_array, 8 bytes", "a mutex"),
            (lambda: seg.array("numbers", "B", 8), "a raw_array of .B, 8 elements", "an array of .B, 8 elements"),
            (lambda: seg.raw_value("numbers", ctypes.c_ubyte * 8), "a raw_array of .B, 8", r"a raw_value of \(8\).B"),
        ):
            with self.assertRaisesRegex(shm.LayoutError, rf"is {is_}.*, made by .*; wanted {wanted}.*: use another name"):
                attach()


class Formats(Case):
    def test_of_ctypes(self):
        """A format is read with the size that memoryview tells, or refused."""
        c = ctypes
        bits = struct("Bits", ("a", c.c_int, 3), ("b", c.c_int, 5))
        one_bit = struct("OneBit", ("a", c.c_int, 3))
        types = [
            bits, one_bit, PACKED, PACKED * 2, EITHER, EITHER * 2, ALIGNED, Longer, Longer * 2, Point, Mixed,
            struct("Sub", ("b", c.c_byte), base=struct("Base", ("a", c.c_int))),
            struct("Big", ("a", c.c_int), base=SWAPPED), struct("HasBig", ("a", c.c_int32.__ctype_be__)),
            struct("HasUnion", ("a", c.c_int32), ("u", EITHER)), struct("HasPacked", ("p", PACKED), ("a", c.c_int32)),
            struct("HasPointer", ("p", c.POINTER(c.c_int))), struct("HasBits", ("b", bits)), c.POINTER(c.c_int),
            c.c_void_p, c.c_char_p, c.c_wchar, c.c_wchar * 3, c.c_longdouble, c.py_object, c.c_char * 3, c.c_bool, c.c_long,
            struct("HasDouble", ("b", c.c_int8), ("d", c.c_longdouble)), (c.c_int32 * 3) * 2, c.CFUNCTYPE(c.c_int),
        ]  # fmt: skip
        read = 0
        for t in types:
            view = memoryview(t())
            with self.subTest(t.__name__, format=view.format, itemsize=view.itemsize):
                try:
                    self.assertEqual(layout.parse(view.format, view.itemsize).size, view.itemsize)
                except shm.FormatError:
                    pass
                try:
                    found = shm.layout_of(view)
                except TypeError:
                    self.assertRaises(TypeError, shm.layout_of, t)
                else:
                    self.assertEqual(layout.array_of(found, *view.shape), shm.layout_of(t))
                    read += 1
        self.assertGreater(read, 8)
        for t in (bits, one_bit, EITHER, struct("HasUnion", ("u", EITHER)), c.POINTER(c.c_int), c.c_wchar):
            self.assertRaises(TypeError, shm.layout_of, memoryview(t()))
        for t in (EITHER, EITHER * 2, PACKED, PACKED * 2):
            view = memoryview(t())
            if "B" in view.format:  # without the size, it could be a byte as well
                self.assertRaisesRegex(shm.FormatError, "give the itemsize", layout.parse, view.format)
            else:  # since CPython 3.12
                self.assertEqual(layout.parse(view.format).size, view.itemsize)
        with self.assertRaisesRegex(shm.FormatError, "has 8 bytes, and an item has 4: the format leaves something out"):
            layout.parse("T{<i:a:<i:b:}".replace("<", layout.ORDER), 4)

    def test_of_others(self):
        """Native sizes and alignment, as struct and array have them."""
        o = layout.ORDER
        for format, itemsize, want in (
            ("i", None, "<i"), ("@l", None, "<q"), ("=l", None, "<i"), ("<l", None, "<i"), ("n", None, "<q"),
            ("5s", None, "(5)<c"), ("s", None, "(1)<c"), ("<3s", None, "(3)<c"), ("(2)3s", None, "(2,3)<c"),
            ("B", 1, "<B"), ("T{d:x:d:y:}", None, "T{<d:x:<d:y:}"), ("T{=d:x:i:n:}", None, "T{<d:x:<i:n:}"),
            ("T{d:x:i:n:}", 12, "T{<d:x:<i:n:}"), ("T{d:x:i:n:}", 16, "T{<d:x:<i:n:4x}"),
            ("T{d:x:i:n:}", 24, "T{<d:x:<i:n:12x}"), ("T{b:a:i:b:}", 5, "T{<b:a:<i:b:}"),
            ("T{b:a:i:b:}", 8, "T{<b:a:3x<i:b:}"), ("T{b:a:xxxi:b:}", None, "T{<b:a:3x<i:b:}"),
            ("T{(2)T{d:a:b:b:}:s:}", 32, "T{(2)T{<d:a:<b:b:7x}:s:}"), ("T{B:r:B:g:B:b:}", None, "T{<B:r:<B:g:<B:b:}"),
        ):  # fmt: skip
            self.assertEqual(layout.parse(format.replace("<", o), itemsize).format, want.replace("<", o), format)
        for format, itemsize in (
            ("B", None), ("(3)B", None), ("B", 4), ("T{d:x:i:n:}", None), ("T{d:x:i:n:}", 8), ("T{b:a:i:b:}", 12),
            ("T{<i:a:B:u:}", None), ("T{<i:a:B:u:}", 16), ("w", None), ("3w", 12), ("e", None), ("g", 16), ("P", 8),
            ("O", 8), ("&<i", 8), ("X{}", 8), ("T{4x:p:i:a:}", 8), ("3i", None), ("0s", None), ("=n", None),
            ("T{" + "B:a:" * 8000 + "}", None), ("=q=q", None),
        ):  # fmt: skip
            self.assertRaises(shm.FormatError, layout.parse, format.replace("<", o), itemsize)


@unittest.skipUnless(numpy, "there is no numpy")
class Numpy(Case):
    def types(self):
        d = numpy.dtype
        inner = [("e", "i2"), ("f", "f8")]
        return [
            d([("x", "f8"), ("n", "i1")], align=True), d([("n", "i1"), ("x", "f8")], align=True),
            d([("x", "f8"), ("n", "i4")]), d("?"), d("i1"), d("u2"), d("i4"), d("i8"), d("f4"), d("c8"), d("c16"),
            d([("a", "u1"), ("b", "S5"), ("c", "f4", (2, 3)), ("d", inner)]), d([("a", "u1"), ("d", inner)], align=True),
            d({"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [4, 12], "itemsize": 24}),
            d([("a", "i8"), ("b", "i4"), ("c", "S3"), ("d", "?")], align=True), d([("s", inner, (2,))], align=True),
            d([("r", "u1"), ("g", "u1"), ("b", "u1")]), d(("f8", (3,))),
            d({"names": ["b", "a"], "formats": ["i4", "i4"], "offsets": [4, 0]}),
        ]  # fmt: skip

    def test_types(self):
        seg = self.open()
        for i, d in enumerate(self.types()):
            with self.subTest(str(d)):
                want = shm.layout_of(d)
                self.assertEqual(want.size, d.itemsize)
                for name in d.names or ():
                    self.assertIn((name, d.fields[name][1]), [(n, offset) for n, offset, _ in want.fields])
                array = numpy.zeros(1, d)
                if d.subdtype is None and d.names != ("b", "a"):  # which numpy does not export
                    self.assertEqual(shm.layout_of(memoryview(array)), want)
                try:
                    t = numpy.ctypeslib.as_ctypes_type(d)
                except NotImplementedError:
                    pass
                else:
                    if not issubclass(t, ctypes.Union):
                        self.assertEqual(shm.layout_of(t), want)
                raw = seg.raw_value(f"raw{i}", d)
                self.assertEqual(ctypes.sizeof(raw), d.itemsize)
                array.view("u1")[:] = 1
                if d.names:
                    raw = seg.raw_value(f"first{i}", d, array[0])
                    self.assertEqual(bytes(raw), array.tobytes())
                    again = numpy.frombuffer(memoryview(raw).cast("B"), d)
                    self.assertEqual(again[0], array[0])

    def test_numbers(self):
        seg = self.open()
        self.assertEqual(seg.value("v", numpy.float32, numpy.float32(0.5)).value, 0.5)
        self.assertEqual(seg.value("n", numpy.int64, numpy.int64(5)).add(1), 6)
        self.assertEqual(seg.array("a", numpy.dtype("u2"), numpy.arange(4))[:], [0, 1, 2, 3])
        self.assertEqual(len(seg.raw_array("r", numpy.float64, numpy.int64(9))), 9)
        self.assertEqual(seg.atomic("x", numpy.uint32, 7).load(), 7)
        self.assertEqual(seg.raw_value("s", numpy.dtype("S5"), numpy.bytes_(b"hello")).value, b"hello")
        self.assertEqual(seg.struct("t", numpy.dtype(("f8", (2,))), numpy.array([1.0, 2])).load()[1], 2)

    def test_refused(self):
        seg = self.open()
        other = ">" if sys.byteorder == "little" else "<"
        for d in (
            "e", "g", "G", "U3", "O", "M8[s]", "m8[s]", "V4", "S0", other + "i4", [("a", other + "i4")], [("a b", "i4")],
            [("a:<i:b", "i4")], [("a,b", "i4")], [("p", "V4"), ("a", "i4")], [("_a_", "i4")],
            {"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 2]}, [("s", "i4", (0,))],
        ):  # fmt: skip
            self.assertRaises(TypeError, seg.raw_value, "x", numpy.dtype(d))
        self.assertRaises(TypeError, seg.raw_array, "x", numpy.bool_, 4)
        self.assertRaises(TypeError, seg.value, "x", numpy.int32, numpy.float64(1.5))
        self.assertEqual(list(seg), [])


def count(q, d, array, text, point, found, points, locked, elements, letter):
    q.value += 1
    d.value += 1
    array[1] += 1
    text.value = b"child"
    point.n += 1
    found.n += 1
    points[1].n += 1
    locked.value += 1
    elements[0] += 1
    letter.value = b"z"
    assert isinstance(point, Point) and isinstance(points, Point * 2)


class Handed(Case):
    def make(self, seg):
        return [
            seg.raw_value("q", "q"), seg.raw_value("d", "d", 0.5), seg.raw_array("array", "i", 3),
            seg.char_array("text", 8), seg.raw_value("point", Point, (1, 2)), seg["point"],
            seg.raw_value("points", Point * 2), seg.value("locked", "q").get_obj(), seg.array("l", "h", 2).get_obj(),
            seg.raw_value("letter", "c", b"a"),
        ]  # fmt: skip

    def test_start_methods(self):
        """A raw value is the same memory in a Process, whatever its start method."""
        seg = self.open()
        values = self.make(seg)
        for i, method in enumerate(("fork", "spawn", "forkserver"), 1):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
                p = multiprocessing.get_context(method).Process(target=count, args=values)
                p.start()
                p.join()
            self.assertEqual(p.exitcode, 0, method)
            q, d, array, text, point, found, points, locked, elements, letter = values
            got = q.value, d.value, array[1], point.n, found.n, points[1].n, locked.value, elements[0]
            self.assertEqual(got, (i, i + 0.5, i, 2 + 2 * i, 2 + 2 * i, i, i, i), method)
            self.assertEqual((text.value, letter.value), (b"child", b"z"), method)
            text.value, letter.value = b"", b"a"

    def test_pickled(self):
        seg = self.open()
        values = self.make(seg)
        for x in values:
            again = pickle.loads(pickle.dumps(x))
            self.assertEqual(ctypes.addressof(again), ctypes.addressof(x))
            self.assertIs(type(again), type(x))
            for private in (copy.copy(x), copy.deepcopy(x)):
                self.assertEqual(bytes(private), bytes(x))
                self.assertIs(type(private), type(x)._shm_type)
                self.assertNotEqual(ctypes.addressof(private), ctypes.addressof(x))
        q = values[0]
        self.assertEqual((repr(q), repr(values[1])), ("c_long(0)", "c_double(0.5)"))
        ro = self.open(readonly=True)
        for name in ("q", "array", "point", "points", "text"):
            again = pickle.loads(pickle.dumps(ro[name]))
            self.assertEqual(ctypes.addressof(again), ctypes.addressof(ro[name]))
        self.assertRaises(shm.ReadOnlyError, setattr, pickle.loads(pickle.dumps(ro["q"])), "value", 1)
        seg.close()
        pickle.loads(pickle.dumps(q)).value = 7  # after close
        self.assertEqual(q.value, 7)
        shm.remove(self.name)
        with self.assertRaisesRegex(TypeError, "cannot pickle a segment that has no name any more"):
            pickle.dumps(q)


if __name__ == "__main__":
    unittest.main()
