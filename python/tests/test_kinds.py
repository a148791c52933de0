"""Tests values of every kind, which Go makes and Python uses, and the other way round."""

import ctypes
import sys
import unittest
import warnings

import shm

from .support import Case


class Point(ctypes.Structure):
    _fields_ = [
        ("X", ctypes.c_double), ("Y", ctypes.c_double), ("N", ctypes.c_int32), ("OK", ctypes.c_bool),
        ("tag", ctypes.c_char * 3),
    ]  # fmt: skip


class Longer(Point):
    _fields_ = [("More", ctypes.c_int64)]


class Padded(ctypes.Structure):
    _fields_ = [("A", ctypes.c_int8), ("B", ctypes.c_int32), ("M", (ctypes.c_float * 3) * 2)]


class Inner(ctypes.Structure):
    _fields_ = [("X", ctypes.c_int16), ("Y", ctypes.c_int16), ("Z", ctypes.c_double)]


class Nested(ctypes.Structure):
    _fields_ = [
        ("A", ctypes.c_int8), ("P", (Inner * 3) * 2), ("OK", ctypes.c_bool * 3), ("tag", (ctypes.c_char * 4) * 2),
        ("C", shm.Complex64),
    ]  # fmt: skip


SWAPPED = ctypes.BigEndianStructure if sys.byteorder == "little" else ctypes.LittleEndianStructure
NESTED = "(2)T{<b:A:7x(2,3)T{<h:X:<h:Y:4x<d:Z:}:P:(3)<?:OK:(2,4)<c:tag:x<Zf:C:4x}"


def nested():
    p = (Nested * 2)()
    p[0].A, p[1].OK[2], p[1].C.value = -1, True, 1 - 2j
    p[1].P[1][2].X, p[1].P[1][2].Z = 7, 0.5
    p[1].tag[1].value = b"tag"
    return p


def fields(p):
    return p.X, p.Y, p.N, p.OK, p.tag


def make(seg):
    """Make the values that the Go peer's command make makes."""
    seg.raw_value("rawInt", "q", -42)
    seg.raw_value("rawByte", "B", 200)
    seg.raw_value("rawComplex", shm.Complex64, 1 + 2j)
    seg.raw_array("rawArray", "f", [0, 1, 2, 3, 4])
    p = Padded(-1, 2)
    p.M[1][2] = 12.5
    seg.raw_value("rawStruct", Padded, p)
    seg.char_array("chars", 16).value = b"hello"
    seg.value("value", "d", 0.5)
    seg.value("short", "h", -7)
    seg.value("complex", shm.Complex64, 3 - 4j)
    seg.array("array", "i", [10, 20, 30, 40])
    seg.struct("struct", Point, (1.5, -2.5, 3, True, b"abc"))
    seg.struct("nested", Nested * 2, nested())
    seg.string("string", 32).store("grüße")
    seg.atomic("atomic", "Q", 1 << 63)
    seg.atomic("signed", "i", -5)
    seg.mutex("mutex")


class Kinds(Case):
    def check(self, seg):
        """Check the values that make made."""
        equal = self.assertEqual
        equal(seg["rawInt"].value, -42)
        equal(seg["rawByte"].value, 200)
        equal(seg["rawComplex"].value, 1 + 2j)
        equal(list(seg["rawArray"]), [0, 1, 2, 3, 4])
        s = seg["rawStruct"]
        equal((s.A, s.B, s.M[1][2]), (-1, 2, 12.5))
        equal(seg["chars"].value, b"hello")
        equal(seg["chars"].raw, b"hello" + bytes(11))
        equal(seg["value"].value, 0.5)
        equal(seg["short"].value, -7)
        equal(seg["complex"].value, 3 - 4j)
        equal(seg["array"][:], [10, 20, 30, 40])
        equal(fields(seg["struct"].value), (1.5, -2.5, 3, True, b"abc"))
        # The type is the described one, or the one that it was attached as.
        equal(bytes(seg["nested"].value), bytes(nested()))
        equal(seg["nested"].value[1].P[1][2].Z, 0.5)
        equal(seg["string"].load(), "grüße".encode())
        equal(str(seg["string"]), "grüße")
        equal(seg["atomic"].value, 1 << 63)
        equal(seg["signed"].load(), -5)
        self.assertFalse(seg["mutex"].locked())

    def change(self, seg):
        """Change each value as the Go peer's command change does."""
        seg["rawInt"].value += 1
        seg["rawByte"].value += 100
        seg["rawComplex"].value *= 2
        seg["rawArray"][2] = -0.25
        seg["rawStruct"].M[0][1] = 1.5
        seg["chars"].value = b"bye"
        seg["value"].add(1)
        self.assertTrue(seg["short"].compare_and_swap(-7, 1000))
        seg["complex"].update(lambda x: x.conjugate())
        with seg["array"] as _:
            a = seg["array"].get_obj()
            a[0], a[3] = a[3], a[0]
        with seg["struct"].edit() as p:
            p.N += 1
            p.OK = False
        with seg["nested"].edit() as p:
            p[1].P[1][2].Z += 1
            p[0].OK[0] = True
            p[0].tag[0].value = b"full"
        seg["string"].store("tschüß")
        seg["atomic"].add(1 << 63)
        seg["signed"].swap(6)

    def check_changed(self, seg):
        equal = self.assertEqual
        equal(seg["rawInt"].value, -41)
        equal(seg["rawByte"].value, 44)
        equal(seg["rawComplex"].value, 2 + 4j)
        equal(list(seg["rawArray"]), [0, 1, -0.25, 3, 4])
        equal(seg["rawStruct"].M[0][1], 1.5)
        equal(seg["chars"].raw, b"bye\0o" + bytes(11))
        equal(seg["value"].value, 1.5)
        equal(seg["short"].load(), 1000)
        equal(seg["complex"].value, 3 + 4j)
        equal(list(seg["array"]), [40, 20, 30, 10])
        equal(fields(seg["struct"].load()), (1.5, -2.5, 4, False, b"abc"))
        p = seg["nested"].load()
        equal((p[1].P[1][2].Z, list(p[0].OK), p[0].tag[0].raw), (1.5, [True, False, False], b"full"))
        equal(str(seg["string"]), "tschüß")
        equal(seg["atomic"].value, 0)
        equal(seg["signed"].load(), 6)

    def test_made_by_go(self):
        go = self.go("pythonPeer", self.name)
        self.assertEqual(go.tell("make"), "ok")
        seg = self.open(create=False)
        self.check(seg)
        self.change(seg)
        self.assertEqual(go.tell("checkChanged"), "ok")
        self.check_changed(seg)
        entry = {e.name: e for e in seg.entries()}["struct"]
        self.assertEqual((entry.format, entry.access), ("T{<d:X:<d:Y:<i:N:<?:OK:(3)<c:tag:}", "published"))
        self.assertEqual((entry.pid, entry.size), (go.pid, 24))
        self.assertEqual({e.name: e for e in seg.entries()}["nested"].format, NESTED)
        make(seg)  # attaches, and changes only what it sets itself
        self.assertEqual(seg["rawInt"].value, -41)

    def test_made_by_python(self):
        seg = self.open()
        make(seg)
        self.check(seg)
        go = self.go("pythonPeer", self.name)
        self.assertEqual(go.tell("check"), "ok")
        self.assertEqual(go.tell("change"), "ok")
        self.check_changed(seg)
        self.assertEqual(go.tell("misfits"), "ok")

    def test_raw_values_are_ctypes_objects(self):
        seg = self.open()
        make(seg)
        self.assertIsInstance(seg["rawInt"], ctypes.c_int64)
        self.assertIs(seg["rawInt"], seg["rawInt"])
        array = memoryview(seg["rawArray"])
        self.assertEqual((array.format, array.shape, array.itemsize), ("<f", (5,), 4))
        array.cast("B")[0:4] = bytes.fromhex("0000803f")
        self.assertEqual(seg["rawArray"][0], 1)
        # numpy reads the fields from this format.
        if memoryview(Padded()).format == "T{<b:A:3x<i:B:(2,3)<f:M:}":
            self.assertEqual(memoryview(seg["rawStruct"]).format, "T{<b:A:3x<i:B:(2,3)<f:M:}")

    def test_numpy_copies_nothing(self):
        try:
            import numpy
        except ImportError as e:
            self.skipTest(str(e))
        seg = self.open()
        numbers = seg.raw_array("numbers", "d", 5)
        for i, view in enumerate((numpy.frombuffer(numbers), numpy.asarray(numbers), numpy.ctypeslib.as_array(numbers))):
            self.assertEqual((view.dtype, view.shape), (numpy.float64, (5,)))
            view[i] = i + 0.5
            self.assertEqual(numbers[i], i + 0.5)
        locked = seg.array("locked", "i", 4)
        with locked.get_lock():
            numpy.asarray(locked.get_obj())[:] += 7
        self.assertEqual(locked[:], [7] * 4)
        table = seg.raw_value("table", (ctypes.c_float * 3) * 2)
        numpy.asarray(table)[1, 2] = 6
        self.assertEqual(table[1][2], 6)
        complexes = seg.raw_array("complexes", shm.Complex64, 2)
        numpy.frombuffer(complexes, numpy.complex64)[1] = 1 + 2j
        self.assertEqual(complexes[1].value, 1 + 2j)
        points = seg.raw_value("points", Nested * 2)
        with warnings.catch_warnings():
            # An older ctypes leaves padding out of its formats, and numpy warns of that.
            warnings.simplefilter("ignore", RuntimeWarning)
            view = numpy.asarray(points)
        view["P"]["Z"][1, 1, 2] = 0.25
        view["OK"][0, 1] = True
        self.assertEqual((points[1].P[1][2].Z, points[0].OK[1]), (0.25, True))
        again = numpy.frombuffer(self.open(create=False)["numbers"])
        seg.close()
        del seg, numbers, locked, table, complexes, points
        view["A"][1] = 5  # works after close, while only this view refers to the memory
        self.assertEqual(again[2], 2.5)

    def test_structs_grow(self):
        go = self.go("pythonPeer", self.name)
        self.assertEqual(go.tell("make"), "ok")
        seg = self.open(create=False)
        longer = seg.struct("struct", Longer)
        self.assertEqual(longer.load().More, 0)
        with longer.edit() as p:
            p.More = 77
        self.assertEqual(go.tell("change"), "ok")  # with the shorter type
        self.assertEqual((longer.load().N, longer.load().More), (4, 77))
        shorter = seg.struct("struct", Point)
        with shorter.edit() as p:
            p.N = 9
        self.assertEqual((seg["struct"].value.N, seg["struct"].value.More), (9, 77))
        self.assertEqual(go.tell("growAndSet 5"), "ok")
        shorter.update(lambda p: setattr(p, "N", 8))
        self.assertEqual(go.tell("grown"), "8 77 5")
        with self.assertRaisesRegex(shm.LayoutError, "struct"):
            seg.struct("struct", Padded)

    def test_wrong_types(self):
        seg = self.open()
        make(seg)
        before = seg.entries()
        for wrong in (
            lambda: seg.raw_value("rawInt", "Q"),
            lambda: seg.value("rawInt", "q"),
            lambda: seg.raw_array("rawArray", "f", 6),
            lambda: seg.array("array", "I", 4),
            lambda: seg.string("chars", 16),
            lambda: seg.mutex("value"),
        ):
            self.assertRaises(shm.LayoutError, wrong)
        for wrong in (
            lambda: seg.raw_value("x", ctypes.c_void_p),
            lambda: seg.raw_value("x", ctypes.c_wchar),
            lambda: seg.raw_value("x", ctypes.c_int32.__ctype_be__),
            lambda: seg.raw_value("x", "z"),
            lambda: seg.raw_value("x", type("Bits", (ctypes.Structure,), {"_fields_": [("a", ctypes.c_int, 3)]})),
            lambda: seg.raw_value("x", type("Other", (SWAPPED,), {"_fields_": [("a", ctypes.c_int)]})),
            lambda: seg.raw_value("x", type("Either", (ctypes.Union,), {"_fields_": [("a", ctypes.c_int)]})),
            lambda: seg.raw_value("x", type("Points", (ctypes.Structure,), {"_fields_": [("a", ctypes.c_char_p)]}) * 2),
            lambda: seg.raw_array("x", Point, 2),
            lambda: seg.value("x", ctypes.c_bool),
            lambda: seg.value("x", Point),
            lambda: seg.atomic("x", "h"),
            lambda: seg.raw_value("x", "i", "text"),
        ):
            self.assertRaises(TypeError, wrong)
        for wrong in (
            lambda: seg.raw_value("", "i"),
            lambda: seg.raw_value("a\nb", "i"),
            lambda: seg.raw_value("n" * 256, "i"),
            lambda: seg.raw_array("x", "i", -1),
            lambda: seg.array("array", "i", -1),
            lambda: seg.string("string", -1),
            lambda: seg.char_array("chars", -1),
            lambda: seg.raw_array("x", "i", []),
            lambda: seg["chars"].__setattr__("value", b"x" * 17),
            lambda: seg["string"].store(b"x" * 33),
            lambda: seg["string"].store(b"a\0b"),
            lambda: seg["array"].__setitem__(slice(0, 2), [1, 2, 3]),
        ):
            self.assertRaises(ValueError, wrong)
        self.assertRaises(TypeError, lambda: seg["array"].__setitem__(slice(0, 3), [1, 2, "3"]))
        with self.assertRaisesRegex(KeyError, f"no value 'x' in segment '{self.name}'"):
            seg["x"]
        with self.assertRaisesRegex(TypeError, "use 'i', as Go's rune, or a string"):
            seg.raw_array("x", "u", 4)
        for none in (lambda: seg.raw_array("x", "i"), lambda: seg.array("x", "i", 0), lambda: seg.string("x", 0)):
            self.assertRaises(FileNotFoundError, none)
        self.assertEqual((len(seg.raw_array("rawArray", "f", 0)), len(seg.array("array", "i"))), (5, 4))
        self.assertEqual((len(seg.char_array("chars", 0)), len(seg.string("string"))), (16, 32))
        self.assertEqual(seg.entries(), before)
        self.check(seg)

    def test_words(self):
        seg = self.open()
        make(seg)
        seg.struct("number", shm.Complex64, 1j)
        for words, x in (
            (f"<Segment '{self.name}'>", seg),
            ("<Mutex 'mutex'>", seg["mutex"]),
            ("<Value 'value' = 0.5>", seg["value"]),
            ("<Struct 'struct' = Struct(X=1.5, Y=-2.5, N=3, OK=True, tag=b'abc')>", seg["struct"]),
            ("<Struct 'struct' = Point(X=1.5, Y=-2.5, N=3, OK=True, tag=b'abc')>", seg.struct("struct", Point)),
            ("Struct(X=1.5, Y=-2.5, N=3, OK=True, tag=b'abc')", seg["struct"].load()),
            ("Struct(A=-1, B=2, M=[[0.0, 0.0, 0.0], [0.0, 0.0, 12.5]])", seg["rawStruct"]),
            ("<Struct 'many' = [0, 1, 2, 3, 4, 5, 6, 7, ...]>", seg.struct("many", ctypes.c_int * 9, tuple(range(9)))),
            ("<Struct 'number' = 1j>", seg["number"]),
        ):
            self.assertEqual(repr(x), words)
        self.assertIn("Struct(X=7, Y=0, Z=0.5)", repr(seg["nested"]))
        self.assertIn("tag=[b'', b'tag'], C=(1-2j))]>", repr(seg["nested"]))
        seg.close()
        self.assertEqual(repr(seg), f"<Segment '{self.name}', closed>")

    def test_field_called_value(self):
        t = type("Sample", (ctypes.Structure,), {"_fields_": [("value", ctypes.c_double), ("at", ctypes.c_int64)]})
        seg = self.open()
        for sample in (seg.struct("sample", t, (1.5, 2)), seg["sample"]):
            self.assertEqual((sample.load().value, sample.value.at), (1.5, 2))
            self.assertRegex(repr(sample), r"\(value=1.5, at=2\)")

    def test_numbers_wrap_as_in_ctypes(self):
        seg = self.open()
        v = seg.value("v", "b", 100)
        self.assertEqual(v.add(100), -56)
        v.value = 300
        self.assertEqual(v.value, 44)
        nan = seg.value("nan", "d", float("nan"))
        self.assertTrue(nan.compare_and_swap(float("nan"), 1.0))
        self.assertFalse(nan.compare_and_swap(1, 2) and nan.compare_and_swap(1, 2))
        zero = seg.value("zero", "d", 0.0)
        self.assertFalse(zero.compare_and_swap(-0.0, 1.0))
        with self.assertRaises(ZeroDivisionError):
            v.update(lambda x: x / 0)
        with self.assertRaises(TypeError):
            v.store("text")
        with v.get_lock():
            self.assertFalse(v.get_lock().abandoned())
        self.assertEqual(v.value, 44)


if __name__ == "__main__":
    unittest.main()
