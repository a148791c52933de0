"""Tests the verbs in C: they do what those in Python do, and nothing holds or tears when a process is killed inside.

Where the module was not compiled, the tests of what both have run over the verbs in Python.
"""

import ctypes
import fractions
import gc
import inspect
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


class Needy(ctypes.Structure):
    """Its constructor needs an argument."""

    _fields_ = [("x", ctypes.c_int64)]

    def __init__(self, x):
        super().__init__(x)


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
        for wrong, error in (((False, 1), ValueError), ((True, -2), ValueError), ((True, math.nan), ValueError), (("x", "y"), TypeError)):
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

    @unittest.skipUnless(NATIVE, "the verbs in C are not there")
    def test_updates_as_in_python(self):
        for code in "bBhHiIqQfd":
            v = self.seg.value("v" + code, code, 3)
            for x in ODD:
                v.store(3)
                self.same(v, v.get_obj(), "update", lambda old: x)  # noqa: B023
            self.same(v, v.get_obj(), "update", None)
        p = self.seg.struct("p", Point, (1, 2))
        for f in (lambda p: setattr(p, "x", p.x + 1), lambda p: None, lambda p: p.y.no, lambda: None, 5):
            p.store((1, 2))
            wanted = outcome(p._slow_update, f), bytes(p.load())
            p.store((1, 2))
            self.assertEqual((outcome(p.update, f), bytes(p.load())), wanted)
        self.assertEqual(p.get_lock()._word.value, 0)
        self.assertRaises(TypeError, p.update)

    def test_update_keeps_the_abandoned_mark(self):
        """A function that raises changes nothing, and neither sets nor clears the mark."""
        seg = self.seg
        v, p = seg.value("v", "q", 3), seg.struct("p", Point, (1, 2))
        entries = [lambda f=f, n=n: seg.entry(n).update(lambda x: f(x)) for n in "vp" for f in (lambda x: x.none, lambda x: "no value", lambda x: 5)]
        for change in (lambda: v.update(lambda x: x.none), lambda: v.update(lambda x: "no number"), lambda: p.update(lambda x: x.none), *entries):
            for mark in (0, 1):
                for x in (v, p):
                    x.get_lock()._cell.abandoned = mark
                with v, p:
                    self.assertEqual((v.get_lock().abandoned(), p.get_lock().abandoned()), (bool(mark),) * 2)
                    for x in (v, p):
                        x.get_lock()._hold.clear_mark = False  # of this with statement
                self.assertRaises((AttributeError, TypeError, ValueError), change)
                self.assertEqual([x.get_lock()._cell.abandoned for x in (v, p)], [mark, mark])
                self.assertEqual((v.value, p.load().x, v.get_lock()._word.value, p.get_lock()._word.value), (3, 1, 0, 0))

    def test_lock_released_inside_a_change(self):
        """A function or a block that releases the lock of its change gets an exception, and changes nothing."""
        seg = self.seg
        v, p = seg.value("v", "q", 3), seg.struct("p", Point, (1, 2))
        entry = seg.entry("v")

        def again(lock):
            lock.release()
            lock.acquire()

        def by_with(leave):
            with p.edit() as x:
                x.x = 9
                leave(p.get_lock())

        def touch(x, leave):
            x.x = 9
            leave(p.get_lock())

        for leave in (lambda lock: lock.release(), again):
            for change in (
                lambda: v.update(lambda x: leave(v.get_lock()) or 9),
                lambda: entry.update(lambda x: leave(v.get_lock()) or "9"),
                lambda: p.update(lambda x: touch(x, leave)),
                lambda: by_with(leave),
            ):
                self.assertRaisesRegex(shm.UsageError, "released meanwhile", change)
                self.assertEqual((v.value, p.load().x), (3, 1))
                for x in (v, p):  # the lock is free, and takes changes of all threads
                    self.assertEqual((x.get_lock()._word.value & OWNER_MASK, x.get_lock()._hold.level(), x.get_lock()._hold.editing), (0, -1, 0))
                with v, p:  # and so inside a with statement, which keeps it
                    self.assertRaisesRegex(shm.UsageError, "released meanwhile", change)
                    self.assertEqual((v.value, p.load().x, v.get_lock()._hold.level(), p.get_lock()._hold.level()), (3, 1, 0, 0))
                v.store(3)
                p.store((1, 2))
        with p.edit() as x:  # one that acquires it once more keeps it
            x.x = 4
            p.get_lock().acquire()
        self.assertEqual((p.load().x, p.get_lock()._hold.level()), (4, 0))
        p.get_lock().release()
        edit = p.edit()
        self.assertRaises(shm.UsageError, edit.__exit__, None, None, None)
        with edit as x:
            self.assertRaises(shm.UsageError, edit.__enter__)
            x.x = 5
        self.assertRaises(shm.UsageError, edit.__exit__, None, None, None)
        self.assertEqual((p.load().x, p.get_lock()._word.value), (5, 0))

    def test_attributes(self):
        """Who reads all attributes of a value, as debuggers do, finds those of its kind, and no verb of another one."""
        seg = self.seg
        ring = seg.ring("r", "q", 4)
        ring.append(1)
        values = [
            seg.value("v", "q", 3), seg.array("a", "q", 3), seg.struct("p", Point), seg.string("s", 8), seg.mutex("m"), seg.mutexes("ms", 2),
            seg.atomic("at", "q"), seg.atomic_array("aa", "q", 2), seg.counter("c"), seg.gauge("g"), seg.histogram("h", [1.0]), seg.table("t", Point, 2),
            ring, ring.reader(0),
        ]  # fmt: skip
        for x in [*values, values[0].get_lock(), seg, seg.entry("v")]:
            found = dict(inspect.getmembers(x))
            self.assertIn("__class__", found)
            for name in ("string_value", "struct_value", "number_load", "string_load", "ring_append", "histogram_observe", "reader_next"):
                self.assertNotIn(name, found, x)
            if x not in values:
                continue
            bare = type(x).__new__(type(x))  # what no constructor has filled raises, whatever is called
            for name in sorted(n for n in found if not n.startswith("_") and callable(getattr(type(x), n, None))):
                if name not in ("edit", "wait_for_async", "changes"):  # those start with the first use of their result
                    with self.subTest(what=type(x).__name__, name=name):
                        self.assertRaises((AttributeError, TypeError), getattr(bare, name))
        if NATIVE:
            for kind, name in ((shm.Value, "add"), (shm.String, "store"), (shm.Struct, "store"), (shm.Ring, "append"), (shm.Counter, "add")):
                for x in values:
                    if not isinstance(x, kind):
                        self.assertRaises(TypeError, getattr(kind, name), x, 1)

    def test_readers_as_in_python(self):
        """next returns what its counterpart in Python does, and so do the number of the next value and of those missed."""
        seg = self.seg

        def both(one, other, *args, **names):
            slow = getattr(other, "_slow_next", other.next)
            got, wanted = outcome(lambda: one.next(*args, **names)), outcome(lambda: slow(*args, **names))
            self.assertEqual((got, one._at), (wanted, other._at))
            return got

        for code in "bBhHiIqQfd":
            r = seg.ring("r" + code, code, 3)
            readers = [r.reader(0), r.reader(0)]
            for i, x in enumerate(x for x in ODD if isinstance(x, int if code not in "fd" else float)):
                r.append(x)
                self.assertEqual(both(*readers), repr((r.last()[0], i + 1)))
            for i in range(7):
                r.append(i)
            for args, names in (((), {}), ((0,), {}), ((), {"timeout": 0}), ((0.0, None), {}), ((), {"cancel": shm.Cancel(), "timeout": 0}), ((1, 2, 3), {}), ((), {"no": 1})):
                both(*readers, *args, **names)
            self.assertEqual(readers[0].missed, 4)
            self.assertEqual((r.reader(True)._at, r.reader(Index())._at), ((1, 0), (7, 0)))  # before CPython 3.10 an index may be a bool
            self.assertEqual(both(*readers, 0), "None")
        for t, xs in (
            (Point, [Point(i, -i) for i in range(5)]), (Doubled, [Doubled(i) for i in range(5)]), (ctypes.c_double * 3, [(1.0, i, 2.0) for i in range(5)]),
            (shm.Complex64, [1j, 2]), (shm.Complex128, [1j, 2]), (ctypes.c_bool, [True, False]),
        ):  # fmt: skip
            r = seg.ring(f"of {t.__name__}", t, 4)
            first, second = r.reader(0), r.reader(0)
            for x in xs:
                r.append(x)
            for _ in xs[-4:]:
                one, other = first.next(0), getattr(second, "_slow_next", second.next)(0)
                self.assertEqual((type(one[0]), one[1]), (type(other[0]), other[1]))
                if isinstance(one[0], (ctypes.Structure, ctypes.Array)):
                    self.assertIs(type(one[0]), t)
                    self.assertEqual(bytes(one[0]), bytes(other[0]))
                else:
                    self.assertEqual(*(x[0] for x in (one, other)))
            self.assertEqual((first._at, next(iter(r.reader(1)))[1]), (second._at, r._commit.value - min(len(xs), 4) + 1))
        ahead = seg.ring("empty", "q", 4)
        for seq in (2**64 - 1, 2**64 - 3, 2**63):  # nobody has appended these, but the distance to 0 wraps around
            self.assertEqual(both(ahead.reader(seq), ahead.reader(seq), 0), "None")
        seen, r = [], seg.ring("iterated", "q", 4)
        r.append(7)
        for x, seq in r.reader(0):
            seen.append((x, seq))
            if seq == 3:
                break
            r.append(x + 1)
        self.assertEqual(seen, [(7, 1), (8, 2), (9, 3)])
        reader = r.reader(0)
        for commit in (2**63, 2**64 - 1):  # what another process writes there leads to no other memory
            r._commit.value = commit
            self.assertEqual(reader.next(0)[1], commit - 3)
            self.assertEqual([reader.next(0)[1] for _ in range(3)], [commit - 2, commit - 1, commit])
            reader._at = commit - 3, 0
        for start in (-1, 2**64, 1.5, "1", None.__class__):
            self.assertRaises((TypeError, ValueError), r.reader, start)

    def test_constructor_of_a_type(self):
        """Copies of a value are made without its type's constructor, which may want arguments."""
        seg = self.seg
        ring, struct, table = seg.ring("r", Needy, 2), seg.struct("p", Needy, Needy(2)), seg.table("t", Needy, 1)
        ring.append(Needy(3))
        table[0].store(Needy(4))
        got = [ring.last()[0], ring.reader(0).next()[0], struct.load(), table[0].load()]
        self.assertEqual([(x.x, type(x)) for x in got], [(x, Needy) for x in (3, 3, 2, 4)])

    def test_nothing_leaks(self):
        """Values go when nothing refers to them, and their memory with the last."""
        seg = shm.open(self.name)
        seg.value("v", "q"), seg.array("a", "i", 4), seg.string("s", 8), seg.struct("p", Point), seg.mutex("m")
        refs = [weakref.ref(seg[n]) for n in "vaspm"] + [weakref.ref(seg["v"].get_lock())]
        edit = seg["p"].edit()
        with edit as p:
            p.x = 1
        seg["v"].update(lambda x: x + 1)
        seg["p"].update(lambda p: None)
        ring = seg.ring("r", Point, 2)
        ring.append(Point(1, 2))
        reader = ring.reader(0)
        reader.next(), reader.next(0)
        refs += [weakref.ref(ring)]
        del p, edit, seg, ring, reader
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
