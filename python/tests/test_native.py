"""Tests the verbs in C: they do what those in Python do, and nothing holds or tears when a process is killed inside.

Where the module was not compiled, the tests of what both have run over the verbs in Python.
"""

import ctypes
import fractions
import gc
import itertools
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest
import weakref

import shm
from shm.cell import KERNEL_WAITERS, OWNER_MASK

from .support import Case, eventually

NATIVE = shm.implementation == "native"
STORM = float(os.environ.get("SHM_TEST_STORM", "3"))  # seconds


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int64), ("y", ctypes.c_int64)]


class Mixed(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [
        ("ok", ctypes.c_bool), ("b", ctypes.c_int8), ("h", ctypes.c_uint16), ("i", ctypes.c_int32), ("q", ctypes.c_uint64),
        ("f", ctypes.c_float), ("d", ctypes.c_double),
    ]  # fmt: skip


class Doubled(ctypes.Structure):
    """Its constructor takes something else than its fields."""

    _fields_ = [("x", ctypes.c_int64)]

    def __init__(self, x=0):
        super().__init__(2 * x)


class Index:
    def __index__(self):
        return 7


class Float:
    def __float__(self):
        return 2.5


class Raises:
    def __index__(self):
        raise KeyError("no number")

    __float__ = __index__


ODD = (
    0, 1, -1, 127, 128, 255, 256, -32769, 2**31, 2**32 - 1, -(2**31) - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**64), 10**400, True,
    False, 0.0, -0.0, 1.5, -2.75, 1e-300, 1e300, math.inf, -math.inf, math.nan, None, "1", b"1", 1j, fractions.Fraction(1, 3),
    Index(), Float(), Raises(), [], ctypes.c_int(3),
)  # fmt: skip


def outcome(call, *args):
    """Return what a call returned, or its exception, so that two of them can be compared."""
    try:
        return repr(call(*args))
    except Exception as e:
        return type(e), str(e)


class Verbs(Case):
    def setUp(self):
        super().setUp()
        self.seg = self.open(create=True, max_size=1 << 22)

    def same(self, value, memory, verb, *args):
        """Check that a verb returns, raises and stores what its counterpart in Python does, from the same start."""
        slow = getattr(value, {"__getitem__": "_slow_getitem", "__setitem__": "_slow_setitem"}.get(verb, "_slow_" + verb))
        before = bytes(memory)
        wanted = outcome(slow, *args)
        stored = bytes(memory)
        ctypes.memmove(ctypes.addressof(memory), before, len(before))
        self.assertEqual(outcome(getattr(value, verb), *args), wanted, (value, verb, args))
        self.assertEqual(bytes(memory), stored, (value, verb, args))
        self.assertEqual(value.get_lock()._word.value, 0, (value, verb, args))

    @unittest.skipUnless(NATIVE, "the verbs in C are not there")
    def test_numbers_as_in_python(self):
        for code in "bBhHiIqQfd":
            v = self.seg.value("v" + code, code, 3)
            for x in ODD:
                for verb in ("store", "add", "swap"):
                    v.store(3)
                    self.same(v, v.get_obj(), verb, x)
                for y in (x, 3, 4):
                    self.same(v, v.get_obj(), "compare_and_swap", x, y)
                self.same(v, v.get_obj(), "load")
        with self.assertRaises(AttributeError):
            del v.value

    @unittest.skipUnless(NATIVE, "the verbs in C are not there")
    def test_atomics_and_counters_as_in_python(self):
        seg = self.seg

        def same(value, number, verb, *args):
            """Do as self.same does, for a value without a lock, whose number is the ctypes object."""
            before, wanted = bytes(number), outcome(getattr(value, "_slow_" + verb), *args)
            stored = bytes(number)
            ctypes.memmove(ctypes.addressof(number), before, len(before))
            self.assertEqual(outcome(getattr(value, verb), *args), wanted, (value, verb, args))
            self.assertEqual(bytes(number), stored, (value, verb, args))

        for code in "iIqQ":
            for a in (seg.atomic("at" + code, code), seg.atomic_array("aa" + code, code, 3).at(1)):
                for x in ODD:
                    for verb in ("store", "swap", "add", "and_", "or_"):
                        a.store(-2)
                        same(a, a._obj, verb, x)
                    for y in (x, -2, 4):
                        a.store(-2)
                        same(a, a._obj, "compare_and_swap", y, x)
                        same(a, a._obj, "compare_and_swap", -2, y)
                    same(a, a._obj, "load")
                a.value = 5
                self.assertEqual((a.value, a.load()), (5, 5))
                self.assertRaises(TypeError, a.compare_and_swap, 1)
        for code in "qQd":
            c, g = seg.counter("c" + code, code), seg.gauge("g" + code, code)
            c.add()
            g.set(1)
            for x in ODD:
                c._claim.mine.number.value = g._claim.mine.number.value = 1  # of two NaNs either may be the sum
                same(c, c._claim.mine.bits, "add", x)
                same(g, g._claim.mine.bits, "add", x)
                same(g, g._claim.mine.bits, "set", x)
            for wrong in ((1, 2), ("x",)):
                self.assertRaises(TypeError, c.add, *wrong)
            c._claim.mine.number.value = 4
            c.add(delta=2)
            c.add()
            self.assertEqual(c.load(), 7)
        ro = shm.open_fd(os.dup(seg.fileno()), readonly=True)
        for change in (
            lambda: ro["atq"].store(1), lambda: ro["atq"].add(1), lambda: ro["atq"].compare_and_swap(5, 6), lambda: ro["aaq"].at(1).or_(1),
            lambda: ro["cq"].add(1), lambda: ro["gq"].set(1), lambda: ro["gq"].add(1),
        ):  # fmt: skip
            self.assertRaises(shm.ReadOnlyError, change)

    @unittest.skipUnless(NATIVE, "the verbs in C are not there")
    def test_histograms_as_in_python(self):
        for bounds in ([0.5], [-1.0, 0.0, 1.5], [float(x) for x in range(200)]):
            pair = [self.seg.histogram(f"h{len(bounds)}{n}", bounds) for n in "ab"]
            for x in (*ODD, *bounds, *(x + 0.5 for x in bounds)):
                outcomes = outcome(pair[0].observe, x), outcome(pair[1]._slow_observe, x)
                self.assertEqual(outcomes[0], outcomes[1], x)
                c, slow = pair[0].load(), pair[1].load()
                self.assertEqual(c.counts, slow.counts, x)
                self.assertEqual(repr(c.sum), repr(slow.sum), x)
            self.assertGreater(sum(c.counts), 10)
        ro = shm.open_fd(os.dup(self.seg.fileno()), readonly=True)
        self.assertRaises(shm.ReadOnlyError, ro["h1a"].observe, 1)

    @unittest.skipUnless(NATIVE, "the verbs in C are not there")
    def test_rings_as_in_python(self):
        """Rings that are appended to by both paths have the same values."""
        seg = self.seg
        for code in "bBhHiIqQfd":
            pairs = [seg.ring(f"{n}{code}", code, 3) for n in "ab"]
            for x in ODD:
                outcomes = [outcome(r.append if r is pairs[0] else r._slow_append, x) for r in pairs]
                self.assertEqual(outcomes[0], outcomes[1], (code, x))
                self.assertEqual(*[repr(r._kept_bytes()) for r in pairs])
        r = seg.ring("points", Point, 3)
        for i in range(9):
            self.assertEqual(r.append(Point(i, -i) if i % 2 else (i, -i)), i + 1)
            x, seq = r.last()
            self.assertEqual((x.x, x.y, seq), (i, -i, i + 1))
        self.assertEqual([bytes(Point(i, -i)) for i in (6, 7, 8)], r._kept_bytes())
        for commit in (2**63, 2**64 - 1):  # what another process writes there leads to no other memory
            r._commit.value = commit
            r.append(Point(1, 2))
        d = seg.ring("doubled", Doubled, 2)
        d.append(4)
        d.append(Doubled(5))
        self.assertEqual(d.last()[0].x, 10)
        with r.get_lock():
            r.append(Point(3, 4))
        self.assertRaises(RuntimeError, r.get_lock().change, r.append, Point(5, 6))
        self.assertEqual(r.get_lock()._word.value, 0)

    def test_objects_as_numbers(self):
        """Other objects that are numbers are taken as such, by both paths; what is none changes nothing."""
        seg = self.seg
        integers = [seg.value("i", "q"), seg.atomic("at", "q"), seg.atomic("small", "i"), seg.counter("c"), seg.gauge("g")]
        floats = [seg.value("d", "d"), seg.value("f", "f"), seg.counter("cd", "d"), seg.gauge("gd", "d")]
        arrays = [seg.array("a", "q", 10), seg.array("ad", "d", 10), seg.atomic_array("aa", "q", 10)]
        h, n = seg.histogram("h", [Index(), 50.0]), Index().__index__()
        self.assertEqual(h.bounds, [n, 50.0])
        for v in integers:
            v.add(Index())
            self.assertEqual(v.load(), n, v)
            for x in (Float(), 1.5, "1", b"1", None, [], Raises(), 1j):
                self.assertRaises((TypeError, KeyError), v.add, x)
                self.assertEqual(v.load(), n, (v, x))
        for v in floats:
            v.add(Index())
            v.add(Float())
            total = n + float(Float())
            self.assertEqual(v.load(), total, v)
            for x in ("1", b"1", None, [], Raises(), 1j):
                self.assertRaises((TypeError, KeyError), v.add, x)
                self.assertEqual(v.load(), total, (v, x))
        for a in arrays:
            self.assertEqual((a.add(Index(), Index()), a[Index()], a[n]), (n, n, n))
            for i, x in ((0, "1"), (0, None), (Float(), 1), ("0", 1), (10, 1), (0, Raises())):
                self.assertRaises((TypeError, KeyError, IndexError), a.add, i, x)
            self.assertEqual(sum(a[:]), n)
        for x in ("1", b"1", None, 1j):
            self.assertRaises(TypeError, h.observe, x)
            self.assertRaises(TypeError, seg.histogram, "none", [x])
        h.observe(Float())
        self.assertEqual((sum(h.load().counts), h.load().sum), (1, float(Float())))

    @unittest.skipUnless(NATIVE, "the verbs in C are not there")
    def test_arrays_as_in_python(self):
        for code in "bBhHiIqQfd":
            a = self.seg.array("a" + code, code, range(10))
            for i in (0, 9, -1, -10, 10, -11, 2**70, -(2**70), True, 1.0, None, "0", Index()):
                self.same(a, a.get_obj(), "__getitem__", i)
                for x in ODD[::3]:
                    self.same(a, a.get_obj(), "__setitem__", i, x)
                    self.same(a, a.get_obj(), "add", i, x)
            bounds = (None, 0, 2, 7, 10, 11, -1, -3, -20, 2**70)
            for start, stop, step in itertools.product(bounds, bounds, (None, 1, 2, -1, -3, 100)):
                s = slice(start, stop, step)
                self.same(a, a.get_obj(), "__getitem__", s)
                n = len(range(*s.indices(10)))
                self.same(a, a.get_obj(), "__setitem__", s, list(range(50, 50 + n)))
            for x in ([1], range(3), (1, 2, 3), [1, 2, None], [1, 2, Index()], iter([1, 2, 3]).__class__, 5, [1.5, 2.5, True], "abc"):
                self.same(a, a.get_obj(), "__setitem__", slice(2, 5), x)
            self.same(a, a.get_obj(), "__getitem__", slice(0, 5, 0))
        a[2:5] = iter([7, 8, 9])
        self.assertEqual(a[2:5], [7, 8, 9])

    @unittest.skipUnless(NATIVE, "the verbs in C are not there")
    def test_strings_as_in_python(self):
        s = self.seg.string("s", 600)
        small = self.seg.string("small", 8)
        for text in (
            b"", b"a", "grüße", b"x" * 8, b"x" * 9, "ü" * 4, "ü" * 5, b"a\0", "\0", "\ud800", bytearray(b"abc"), memoryview(b"ab"),
            5, None, b"y" * 600, b"y" * 601,
        ):  # fmt: skip
            for t in (s, small):
                t.store(b"before")
                wanted = outcome(t._slow_store, text), outcome(t._slow_load)
                t.store(b"before")
                self.assertEqual((outcome(t.store, text), outcome(t.load)), wanted, text)
                self.assertEqual(t.value, t.load())

    def test_structs(self):
        s = self.seg.struct("mixed", Mixed)
        for x in (
            (True, -1, 65535, -(2**31), 2**64 - 1, 1.5, -2.5), (), (False, 300), (True, 1, 2, 3, 4, 5, 6), (1,), (True, 1.5), (True,) * 8,
            (True, 1, 2, 3, 4, "x"), [True, 5], Mixed(True, 7), 5, None, (True, Index()),
        ):  # fmt: skip
            s.store((True, 1, 2, 3, 4, 5.0, 6.0))
            before = bytes(s.load())
            try:
                if not isinstance(x, (tuple, list, Mixed)):
                    raise TypeError
                wanted = bytes(x if isinstance(x, Mixed) else Mixed(*x))
            except (TypeError, ValueError):
                self.assertRaises((TypeError, ValueError), s.store, x)
                self.assertEqual(bytes(s.load()), before)
            else:
                s.store(x)
                self.assertEqual(bytes(s.value), wanted, x)
        d = self.seg.struct("doubled", Doubled)
        d.store(4)
        self.assertEqual(d.load().x, 8)
        d.store(Doubled(5))
        with d.edit() as x:
            x.x += 1
        self.assertEqual(d.value.x, 11)
        with self.assertRaises(ZeroDivisionError):
            with d.edit() as x:
                x.x = 1 // 0
        self.assertEqual((d.value.x, d.get_lock()._cell.abandoned), (11, 0))
        with self.assertRaises(RuntimeError):
            with d.edit() as x:
                d.get_lock().release()
        self.assertEqual((d.value.x, d.get_lock()._word.value), (11, 0))
        d.store(Doubled(6))

    def test_longer_struct_is_carried_over(self):
        class Longer(ctypes.Structure):
            _fields_ = [("x", ctypes.c_int64), ("y", ctypes.c_int64), ("z", ctypes.c_int64)]

        short = self.seg.struct("p", Point, (1, 2))
        long = shm.open(self.name).struct("p", Longer)
        long.store((3, 4, 5))
        for change in (lambda: short.store((6, 7)), lambda: short.store(Point(6, 7)), lambda: self.edit(short)):
            change()
            self.assertEqual([(x.x, x.y, x.z) for x in (long.load(),)], [(6, 7, 5)])

    def edit(self, s):
        with s.edit() as p:
            p.x, p.y = 6, 7

    def test_hostile_words(self):
        """What another process writes into a cell leads to an exception, or to any bytes of the slots, and nowhere else."""
        seg = self.seg
        p, s, v = seg.struct("p", Point), seg.string("s", 16), seg.value("v", "q")
        v.add(1)
        for commit in (1, 2**63, 2**64 - 1):
            for x in (p, s):
                x._slots.cell.commit, x._slots.cell.extent = commit, 2**32 - 1
            p.store((commit & 0xFF, 2))
            s.store(b"text")
            self.edit(p)
            self.assertEqual(((p.load().x, p.load().y), s.load()), ((6, 7), b"text"))
            self.assertEqual(p._slots.cell.commit, (commit + 2) % 2**64)
        lock = v.get_lock()
        for verb in (lock.release, lock.__exit__):
            lock.acquire()
            lock._word.value = 5
            self.assertRaisesRegex(RuntimeError, "held by id 5", verb)
            lock._word.value = 0
            v.add(1)
            self.assertEqual((lock._word.value, lock._hold.level()), (0, -1))
        self.assertRaisesRegex(RuntimeError, "does not hold", lock.release)

    def test_waiters_are_woken(self):
        """A release clears a reservation for nobody, and keeps one for a waiter that has starved."""
        v = self.seg.value("v", "q")
        lock = v.get_lock()
        v.add(1)
        for starve, after in ((0, 0), (1, 0), (2, KERNEL_WAITERS)):
            lock.acquire()
            lock._cell.starve = starve
            lock._word.value |= KERNEL_WAITERS
            lock.release()
            self.assertEqual((lock._word.value, lock._cell.starve), (after, 0), starve)
            lock._word.value = 0

    def test_read_only(self):
        seg = self.seg
        seg.value("v", "q", 1), seg.array("a", "i", 4), seg.string("s", 8), seg.struct("p", Point)
        r = shm.open(self.name, readonly=True)
        v, a, s, p = r["v"], r["a"], r["s"], r["p"]
        self.assertEqual((v.value, a[:], s.load(), p.load().x), (1, [0] * 4, b"", 0))
        for change in (
            lambda: v.store(1), lambda: setattr(v, "value", 1), lambda: v.add(1), lambda: v.swap(1), lambda: v.compare_and_swap(1, 1),
            lambda: a.store(0, 1), lambda: a.add(0, 1), lambda: a.store(slice(0, 2), [1, 2]), lambda: s.store(b"x"),
            lambda: p.store((1, 2)), lambda: self.edit(p), v.get_lock().acquire, v.get_lock().__enter__,
        ):  # fmt: skip
            self.assertRaises(shm.ReadOnlyError, change)

    def test_read_only_memory_under_a_lock(self):
        """A raw value of a read-only segment, under a lock that can be had, is not written either."""
        self.seg.raw_value("x", "q", 3), self.seg.raw_array("y", "i", 4)
        lock, r = self.seg.mutex("m"), shm.open(self.name, readonly=True)
        x, y = shm.synchronized(r["x"], lock), shm.synchronized(r["y"], lock)
        lock.acquire()
        lock.release()
        for change in (lambda: x.store(1), lambda: x.add(1), lambda: x.swap(1), lambda: x.compare_and_swap(3, 1), lambda: y.store(0, 1), lambda: y.add(0, 1), lambda: y.store(slice(0, 2), [1, 2])):
            self.assertRaises(shm.ReadOnlyError, change)
        self.assertEqual((x.value, y[:], lock._word.value), (3, [0] * 4, 0))

    def test_threads(self):
        """The gate lets one thread in at a time, in the order of nobody, and no waiter sleeps for ever."""
        v, lock, n = self.seg.value("v", "q"), self.seg["v"].get_lock(), 3000

        def add():
            for i in range(n):
                if i % 2:
                    v.add(1)
                else:
                    with lock:
                        v.value += 1

        old = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        self.addCleanup(sys.setswitchinterval, old)
        threads = [threading.Thread(target=add) for _ in range(4)]
        [t.start() for t in threads], [t.join(120) for t in threads]
        self.assertEqual((v.value, lock._word.value & OWNER_MASK, lock._hold.level()), (4 * n, 0, -1))

    def test_gate(self):
        lock = self.seg.mutex("m")
        self.assertTrue(lock.acquire(False))
        self.assertTrue(lock.acquire(True, 5))
        lock.release()
        got = []
        t = threading.Thread(target=lambda: got.extend([lock.acquire(False), lock.acquire(timeout=0.02)]))
        t.start()
        t.join(20)
        self.assertEqual(got, [False, False])
        waiter = threading.Thread(target=lambda: got.append(lock.acquire(timeout=60) and lock.release()))
        waiter.start()
        time.sleep(0.05)
        lock.release()
        waiter.join(20)
        self.assertEqual(got, [False, False, None])
        for wrong, error in (((False, 1), ValueError), ((True, -2), ValueError), ((True, 1e30), OverflowError), (("x", "y"), TypeError)):
            self.assertRaises(error, lock.acquire, *wrong)
        self.assertEqual((lock._word.value, lock._hold.level()), (0, -1))

    def test_interrupted_wait_for_the_gate(self):
        """A signal's handler runs while the main thread waits for another thread, and its exception ends the wait."""
        lock, entered, leave = self.seg.mutex("m"), threading.Event(), threading.Event()

        def hold():
            with lock:
                entered.set()
                leave.wait(60)

        t = threading.Thread(target=hold)
        t.start()
        entered.wait(20)

        def handler(*_):
            raise KeyboardInterrupt

        old = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with self.assertRaises(KeyboardInterrupt):
            lock.acquire()
        leave.set()
        t.join(20)
        self.assertTrue(lock.acquire(timeout=20))
        lock.release()
        self.assertEqual((lock._word.value, lock._hold.level()), (0, -1))

    def test_child_while_a_thread_holds(self):
        """A child has gates of its own: it waits for the word as any process does."""
        v = self.seg.value("v", "q")
        lock, entered, leave = v.get_lock(), threading.Event(), threading.Event()

        def hold():
            with lock:
                entered.set()
                leave.wait(60)

        waiting = [threading.Thread(target=lambda: v.add(1)) for _ in range(3)]
        t = threading.Thread(target=hold)
        t.start()
        entered.wait(20)
        [w.start() for w in waiting]
        eventually("threads wait for the gate", lambda: not hasattr(lock._hold, "waiters") or lock._hold.waiters == 3)
        tried = self.seg.raw_value("tried", "i")

        def body():
            got = lock.acquire(False)
            tried.value = 1
            return 0 if not got and v.add(1) else 1

        pid = self.child(body)
        eventually("the child has asked for the lock", lambda: tried.value)
        leave.set()
        self.assertEqual(self.reap(pid), 0)
        [w.join(20) for w in (t, *waiting)]
        self.assertEqual((v.value, lock._hold.level()), (4, -1))

    def test_nothing_leaks(self):
        """Values go when nothing refers to them, and their memory with the last."""
        seg = shm.open(self.name)
        seg.value("v", "q"), seg.array("a", "i", 4), seg.string("s", 8), seg.struct("p", Point), seg.mutex("m")
        refs = [weakref.ref(seg[n]) for n in "vaspm"] + [weakref.ref(seg["v"].get_lock())]
        edit = seg["p"].edit()
        with edit as p:
            p.x = 1
        del p, edit, seg
        self.seg = None
        self.doCleanups()
        gc.collect()
        self.assertEqual([r() for r in refs], [None] * len(refs))
        with open("/proc/self/maps", encoding="utf-8") as maps:
            self.assertNotIn(self.name, maps.read())

    def test_implementation(self):
        def says(program="", **environment):
            return subprocess.run(
                [sys.executable, "-c", program + "import shm; print(shm.implementation, shm.native.missing)"],
                env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE, text=True,
            ).stdout.strip()  # fmt: skip

        self.assertEqual(says(SHM_PURE="1"), "python SHM_PURE is set")
        if not NATIVE:
            return
        self.assertEqual(says(SHM_PURE="0"), "native None")
        other = "import sys, types; m = types.ModuleType('x'); m.INTERFACE, m.__file__ = 0, 'x.so'; sys.modules['shm._native'] = m\n"
        self.assertIn("another version", says(other))
        for name in ("_interpreters", "_xxsubinterpreters"):
            program = f"import {name} as i, shm\nassert shm.implementation == 'native'\nx = i.create()\nr = i.run_string(x, 'import shm; assert shm.implementation == \"python\", shm.native.missing')\nassert r is None, r\ni.destroy(x)"
            ran = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if "_ctypes does not support loading in subinterpreters" in ran.stdout:
                break  # so the package cannot be there either
            if "ModuleNotFoundError" not in ran.stdout or ran.returncode == 0:
                self.assertEqual(ran.returncode, 0, ran.stdout)
                break

    def test_kill_storm(self):
        """Processes are killed in the middle of the verbs: no lock is stuck, and nothing is lost or torn.

        Each has done at most one change that it could not count any more.
        """
        seg, procs, kills = self.seg, 3, 0
        v, d, p, s = seg.value("v", "q"), seg.value("d", "d"), seg.struct("p", Point), seg.string("s", 64)
        a, counts = seg.array("a", "i", 4), seg.raw_array("counts", "q", procs)

        def work(i):
            text = [bytes([97 + i]) * n for n in range(1, 64)]
            for k in itertools.count():
                v.add(1)
                counts[i] += 1
                d.add(1)
                p.store((k, -k))
                with p.edit() as x:
                    x.x += 1
                    x.y -= 1
                s.store(text[k % 63])
                a[0:4] = (k, k, k, k)
                x, t = p.load(), s.load()
                if x.x != -x.y or len(set(t)) != 1:
                    return 1

        def check():
            x, t = p.load(), s.load()
            self.assertEqual(x.x, -x.y)
            self.assertLess(len(set(t)), 2, t)

        pids = [self.child(lambda i=i: work(i)) for i in range(procs)]
        try:
            end = time.monotonic() + STORM / 2
            while time.monotonic() < end or kills < 3 * procs:
                time.sleep(random.random() * 0.02)
                i = kills % procs
                before = counts[i]
                eventually("a process works", lambda: counts[i] > before)
                os.kill(pids[i], signal.SIGKILL)
                self.assertEqual(self.reap(pids[i]), -signal.SIGKILL)
                kills += 1
                for x in (v, d, p, s, a):  # whatever it held can be had
                    self.assertTrue(x.get_lock().acquire(timeout=20))
                    x.get_lock().release()
                check()
                pids[i] = self.child(lambda i=i: work(i))
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        counted, total = sum(counts), kills + procs
        print(f"{sys.version.split()[0]} {shm.implementation}: {kills} kills, {counted} additions", file=sys.stderr)
        self.assertLessEqual(counted, v.value)
        self.assertLessEqual(v.value, counted + total)
        self.assertLessEqual(abs(v.value - d.value), total)
        check()
        for x in (v, d, p, s, a):
            self.assertTrue(x.get_lock().acquire(timeout=20))
            x.get_lock().release()


if __name__ == "__main__":
    unittest.main()
