"""Tests values with rows, locks, cells and streams: AtomicArray, Mutexes, Table, Counter, Gauge, Histogram, Ring."""

import copy
import ctypes
import os
import pickle
import signal
import threading
import time
import unittest

import shm
from shm import cells
from shm.cell import CLEAN

from .support import Case, eventually


class Row(ctypes.Structure):
    _fields_ = [("n", ctypes.c_int64), ("m", ctypes.c_int32)]


class Longer(ctypes.Structure):
    _fields_ = [("n", ctypes.c_int64), ("m", ctypes.c_int32), ("more", ctypes.c_int32)]


class Shared(Case):
    def setUp(self):
        super().setUp()
        self.seg = self.open(create=True, max_size=16 << 20)

    def reap(self, pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def stopped(self, body):
        """Fork a child that calls body and then sleeps; return its pid once it sleeps."""
        r, w = os.pipe()

        def run():
            os.close(r)
            body()
            os.write(w, b".")
            time.sleep(1000)

        pid = self.child(run)
        self.addCleanup(self.kill, pid)
        os.close(w)
        self.assertEqual(os.read(r, 1), b".")
        os.close(r)
        return pid

    def kill(self, pid):
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass

    def test_pickled(self):
        """What is pickled is the same memory again."""
        seg = self.seg
        t, m, a = seg.table("t", Row, 3), seg.mutexes("m", 2), seg.atomic_array("a", "q", 4)
        t[1].store((3, 4))
        a[2] = 5
        self.assertEqual(pickle.loads(pickle.dumps(t[1])).load().n, 3)
        self.assertEqual(pickle.loads(pickle.dumps(t))[1].load().m, 4)
        self.assertEqual(pickle.loads(pickle.dumps(a.at(2))).load(), 5)
        self.assertEqual(pickle.loads(pickle.dumps(m[1])), m[1])
        self.assertNotEqual(m[0], m[1])
        c, g, h, r = seg.counter("c"), seg.gauge("g"), seg.histogram("h", [1]), seg.ring("r", "q", 2)
        c.add(2), g.set(3), h.observe(0), r.append(9)
        self.assertEqual([pickle.loads(pickle.dumps(v)).load() for v in (c, g)], [2, 3])
        self.assertEqual(pickle.loads(pickle.dumps(h)).load().counts, [1, 0])
        self.assertEqual(pickle.loads(pickle.dumps(r)).last(), (9, 1))
        self.assertEqual(seg["c"].load(), copy.copy(c).load())

    def test_refused(self):
        """A call that fails has not taken the name."""
        seg, q = self.seg, "q"
        for error, wrong in (
            (TypeError, lambda: seg.atomic_array("x", "d", 3)), (TypeError, lambda: seg.counter("x", "i")),
            (TypeError, lambda: seg.gauge("x", "f")), (TypeError, lambda: seg.ring("x", "u", 3)),
            (ValueError, lambda: seg.histogram("x", [])), (ValueError, lambda: seg.histogram("x", [2, 1])),
            (ValueError, lambda: seg.histogram("x", [1, 1])), (ValueError, lambda: seg.histogram("x", [float("nan")])),
            (ValueError, lambda: seg.histogram("x", [float("inf")])), (ValueError, lambda: seg.histogram("x", range(1025))),
            (FileNotFoundError, lambda: seg.histogram("x")), (FileNotFoundError, lambda: seg.table("x", Row)),
            (FileNotFoundError, lambda: seg.mutexes("x")), (FileNotFoundError, lambda: seg.ring("x", q)),
            (FileNotFoundError, lambda: seg.atomic_array("x", q)), (shm.FullError, lambda: seg.table("x", Row, 1 << 30)),
            (shm.FullError, lambda: seg.mutexes("x", 1 << 30)), (ValueError, lambda: seg.mutexes("x", 1 << 60)),
        ):  # fmt: skip
            with self.assertRaises(error):
                wrong()
            self.assertNotIn("x", seg)
        seg.mutexes("m", 3), seg.counter("c"), seg.ring("r", "q", 3), seg.histogram("h", [1, 2]), seg.table("t", Row, 3)
        for wrong, what in (
            (lambda: seg.mutex("m"), "a mutexes, 3 locks"), (lambda: seg.mutexes("m", 4), "3 locks"),
            (lambda: seg.gauge("c"), "a counter of <q"), (lambda: seg.counter("c", "d"), "a counter of <q"),
            (lambda: seg.ring("r", "q", 4), "a ring of <q, 3 values"), (lambda: seg.histogram("h", [1]), "2 bounds"),
            (lambda: seg.histogram("h", [1, 3]), "the bounds"), (lambda: seg.struct("t", Row), "a table of T"),
        ):  # fmt: skip
            with self.assertRaisesRegex(shm.LayoutError, what.replace("[", r"\[").replace("<", ".")):
                wrong()
        self.assertEqual(len(seg.mutexes("m")), 3)
        self.assertEqual(seg.histogram("h").bounds, [1, 2])

    def test_read_only(self):
        seg = self.seg
        seg.counter("c").add(3), seg.gauge("g").set(4), seg.histogram("h", [1]).observe(2), seg.ring("r", "q", 2).append(7)
        seg.table("t", Row, 2)[1].store((1, 2)), seg.atomic_array("a", "i", 2).store(1, 6), seg.mutexes("m", 2)
        ro = self.open(readonly=True)
        self.assertEqual((ro["c"].load(), ro["g"].load(), ro["h"].load().counts), (3, 4, [0, 1]))
        self.assertEqual((ro["r"].last(), ro["t"][1].load().m, ro["a"][1]), ((7, 1), 2, 6))
        self.assertEqual(ro["r"].reader(0).next(), (7, 1))
        for change in (
            lambda: ro["c"].add(1), lambda: ro["g"].set(1), lambda: ro["h"].observe(1), lambda: ro["r"].append(1),
            lambda: ro["t"][0].store((1, 1)), lambda: ro["a"].store(0, 1), lambda: ro["m"].lock_any(),
        ):  # fmt: skip
            self.assertRaises(shm.ReadOnlyError, change)

    def test_entries(self):
        seg = self.seg
        seg.table("t", Row, 3), seg.counter("c"), seg.histogram("h", [1, 2]), seg.ring("r", "i", 5), seg.mutexes("m", 2)
        found = {e.name: (e.kind, e.length, e.size) for e in seg.entries()}
        wanted = {"t": ("table", 3, 48), "c": ("counter", 0, 8), "h": ("histogram", 2, 24), "r": ("ring", 5, 20), "m": ("mutexes", 2, 0)}
        self.assertEqual(found, wanted)

    def test_atomic_array(self):
        a = self.seg.atomic_array("a", "i", 3)
        self.assertEqual(a.add(1, (1 << 31) - 1), (1 << 31) - 1)
        self.assertEqual(a.add(1, 1), -(1 << 31))
        a[-1] = 5
        self.assertEqual((a[:], list(a), a.at(2).swap(6), a[2]), ([0, -(1 << 31), 5],) * 2 + (5, 6))
        self.assertRaises(IndexError, lambda: a[3])

    def test_indices(self):
        """An index that is wrong raises what lists raise, and the text names the value."""
        seg = self.seg
        a, t, m = seg.atomic_array("a", "q", 3), seg.table("t", Row, 3), seg.mutexes("m", 3)
        e = seg.entry("t")
        for part in (a.__getitem__, a.at, lambda i: a.add(i, 1), lambda i: a.__setitem__(i, 1), t.__getitem__, m.__getitem__, m.owner, e.load_bytes):
            part(-3), part(True)
            for i in (3, -4, 1 << 70):
                self.assertRaisesRegex(IndexError, f"value '[atm]': there is no index {i}, as its length is 3", part, i)
            for i in ("x", 1.0, None, slice(0, 2)):
                if part != a.__getitem__ or not isinstance(i, slice):
                    self.assertRaisesRegex(shm.ArgumentTypeError, "value '[atm]': an index is an integer here, not ", part, i)
        self.assertEqual((a[:], m[-1] is m[2], t[True] is t[1]), ([1, 1, 0], True, True))

    def test_rows(self):
        t = self.seg.table("t", Row, 3)
        t[1].store((1, 2))
        grown = self.seg.table("t", Longer)
        grown[1].store((1, 2, 3))
        with t[1].edit() as row:
            row.n = 5
        now = grown[1].load()
        self.assertEqual((now.n, now.m, now.more), (5, 2, 3))
        self.assertEqual([(x.n, x.m) for x in t.load()], [(0, 0), (5, 2), (0, 0)])
        self.assertRaises(IndexError, lambda: t[3])
        with t[0].get_lock(), t[2].get_lock():  # each row has a lock of its own
            t[1].update(lambda row: None)
        self.assertTrue(self.seg["t"][1].wait_for(lambda row: row.n == 5, 1))

    def test_lock_any(self):
        m = self.seg.mutexes("m", 3)
        self.assertEqual([m.lock_any(), m.lock_any()], [0, 1])
        pid = self.stopped(lambda: m.lock_any())
        self.assertIsNone(m.lock_any(0.01))
        self.kill(pid)
        self.assertEqual(m.lock_any(20), 2)
        self.assertTrue(m[2].abandoned())
        m[1].release()
        self.assertEqual(m.lock_any(), 1)
        self.assertFalse(m[1].abandoned())
        cancel = shm.Cancel()
        threading.Timer(0.05, cancel.set).start()
        self.assertIsNone(m.lock_any(cancel=cancel))
        waiting = self.child(lambda: m.lock_any(20))  # which waits, as this process has all
        time.sleep(0.02)
        m[1].release()
        self.assertEqual(self.reap(waiting), 1)

    def test_lock_any_sleeps(self):
        """While it waits it uses hardly any of the processor, and a release wakes it at once."""
        m = self.seg.mutexes("m", 40)
        for lock in m:
            lock.acquire()
        ready, tell = os.pipe()

        def wait():
            os.write(tell, b"x")
            before = time.process_time()
            i = m.lock_any(60)
            used = time.process_time() - before
            os.write(tell, f"{i} {time.monotonic()} {used}\n".encode())

        pid = self.child(wait)
        os.read(ready, 1)
        time.sleep(0.5)
        m[33].release()
        released = time.monotonic()
        self.reap(pid)
        i, woken, used = os.read(ready, 100).split()
        os.close(ready)
        os.close(tell)
        self.assertEqual(int(i), 33)
        self.assertLess(float(used), 0.25)  # of 0.5 s; a look every half millisecond would take most of it
        self.assertLess(float(woken) - released, 5)
        for lock in m:
            if lock._hold.level() >= 0:
                lock.release()

    def test_lock_any_of_many(self):
        """A lock behind those that it can sleep on is found as well."""
        m = self.seg.mutexes("many", 200)
        for lock in m:
            lock.acquire()
        pid = self.child(lambda: m.lock_any(60))
        time.sleep(0.05)
        m[199].release()
        self.assertEqual(self.reap(pid), 199)

    def test_counter_survives(self):
        for type in ("q", "Q", "d"):
            c = self.seg.counter("count" + type, type)
            pids = [self.stopped(lambda: [c.add(2) for _ in range(10)]) for _ in range(3)]
            self.assertEqual(c.load(), 60)
            for pid in pids:
                self.kill(pid)
            self.assertEqual(c.load(), 60)
            c.add(1)
            self.assertEqual(c.load(), 61)
            # The cells of the dead are claimed again, with what is in them.
            self.assertEqual(self.reap(self.child(lambda: c.add(1))), 0)
            self.assertEqual((c.load(), c._cells.in_use()), (62, 3))
        c = self.seg["countq"]
        c.add((1 << 63) - 1)
        self.assertEqual(c.load(), -(1 << 63) + 61)
        self.assertRaises(TypeError, c.add, 1.5)

    def test_counter_without_a_cell(self):
        """Those that find no cell add to the one that all share."""
        c = self.seg.counter("c")
        c.add(1)
        c._cells._high.value = c._cells.last
        for i in range(2, c._cells.last + 1):
            c._cells.owner(i).value = self.seg._mapping.lease.id
        self.assertEqual(self.reap(self.child(lambda: c.add(5))), 0)
        self.assertEqual((c.load(), c._cells.numbers()[0]), (6, 5))

    def test_threads_count(self):
        c, d, h = self.seg.counter("c"), self.seg.counter("d", "d"), self.seg.histogram("h", [0.5])

        def work():
            for _ in range(200):
                c.add(1), d.add(0.5), h.observe(1)

        threads = [threading.Thread(target=work) for _ in range(4)]
        [t.start() for t in threads], [t.join() for t in threads]
        self.assertEqual((c.load(), d.load(), h.load()), (800, 400, ([0.5], [0, 800], 800)))
        self.assertEqual(c._cells.in_use(), 1)

    def test_gauge_of_the_living(self):
        g = self.seg.gauge("g")
        self.assertEqual((g.load(), g.parts(), g.min()), (0, [], None))
        pid = self.stopped(lambda: (g.set(9), g.add(1)))
        g.set(2)
        self.assertEqual((g.load(), g.min(), g.max()), (12, 2, 10))
        self.assertEqual([(p.pid, p.value) for p in g.parts()], [(pid, 10), (os.getpid(), 2)])
        self.kill(pid)
        eventually("the part of the dead vanishes", lambda: g.load() == 2)
        self.assertEqual(g._cells.owner(1).value, 0)
        self.assertEqual(self.reap(self.child(lambda: g.add(-1) or 0 if g.load() == 2 else 1)), 0)
        eventually("that of the child vanishes", lambda: g.load() == 2)

    def test_gauge_beyond_everything(self):
        """The number of a process that lives counts also if it forgets the segment and the gauge, unless it closed the segment."""
        program = (
            "import gc, os, sys, shm\n"
            "def set(x, close):\n"
            "    seg = shm.open(sys.argv[1])\n"
            "    seg.gauge('g').set(x)\n"
            "    if close: seg.close()\n"
            "set(3, True)\ngc.collect()\n"
            "for x in (4, 5): set(x, False)\n"  # it is one number
            "gc.collect()\n"
            "pid = os.fork()\n"  # the child has no part, and keeps none
            "if pid == 0: sys.stdin.read()\n"
            "else: print(pid, flush=True), sys.stdin.read()\n"
        )
        g, other = self.seg.gauge("g"), self.python(program)
        self.addCleanup(self.kill, int(other.line()))
        eventually("what was closed vanishes", lambda: [p.value for p in g.parts()] == [5])
        self.assertEqual([p.pid for p in g.parts()], [other.pid])
        other.kill()
        eventually("the part of the dead vanishes", lambda: g.parts() == [])

    def test_attached_while_another_thread_counts_anew(self):
        claims = self.seg._mapping.claims

        class Claim:
            @property
            def lives(self):  # while the look at the claims is here, another thread has its first counter
                claims["another"] = cells.Claim()
                return False

        claims["one"] = Claim()
        self.addCleanup(claims.clear)
        shm.open(self.name).close()
        self.assertIn("another", claims)

    def test_gauge_is_full(self):
        g = self.seg.gauge("g")
        g.set(1)
        g._cells._high.value = g._cells.last
        for i in range(2, g._cells.last + 1):
            g._cells.owner(i).value = self.seg._mapping.lease.id | CLEAN  # which counts for nothing

        def other():
            try:
                g.set(1)
            except shm.FullError:
                return 0
            return 1

        self.assertEqual((self.reap(self.child(other)), g.load()), (0, 1))

    def test_gauge_claims_a_dead_cell(self):
        """The number of the dead is not the new owner's, whatever a claim was interrupted by."""
        g = self.seg.gauge("g", "d")
        self.kill(self.stopped(lambda: g.set(5)))
        me = self.seg._mapping.lease
        me.take()
        g._cells.owner(1).value = me.id | CLEAN  # as an exception leaves it
        self.assertEqual(g.load(), 0)
        g.add(0.5)
        self.assertEqual((g.load(), g._cells.owner(1).value), (0.5, me.id))

    def test_buckets(self):
        h = self.seg.histogram("h", [-1, 0, 2.5])
        h.bounds.extend(range(3, 1000))  # a copy: otherwise it would count beyond its memory
        with self.assertRaises(AttributeError):
            h.bounds = []
        for x in (-2, -1, -0.5, 0, 1, 2.5, 3, float("inf"), float("-inf")):
            h.observe(x)
        self.assertEqual(h.load().counts, [3, 2, 2, 2])
        h.observe(float("nan"))
        self.assertEqual(h.load().counts, [3, 2, 2, 3])
        c = self.seg.histogram("c", [float(i) for i in range(1024)])
        pid = self.stopped(lambda: [c.observe(i) for i in (0, 1023, 1024)])
        self.kill(pid)
        c.observe(7)
        data = c.load()
        self.assertEqual((sum(data.counts), data.counts[1023], data.counts[1024], data.sum), (4, 1, 1, 2054))

    def test_ring(self):
        r = self.seg.ring("r", Row, 3)
        first, later = r.reader(), r.reader(2)
        self.assertEqual((r.last(), r.reader(0).next(0)), (None, None))
        self.assertEqual([r.append((i, -i)) for i in (10, 20)], [1, 2])
        self.assertEqual([(x.n, x.m, seq) for x, seq in (first.next(), first.next())], [(10, -10, 1), (20, -20, 2)])
        self.assertIsNone(first.next(0.01))
        self.assertEqual(later.next()[1], 2)
        for i in range(3, 9):
            r.append((10 * i, 0))
        self.assertEqual([first.next()[1] for _ in range(3)], [6, 7, 8])
        self.assertEqual((first.missed, later.missed, r.reader(0).next()[1]), (3, 0, 6))
        x, seq = r.last()
        self.assertEqual((x.n, seq), (80, 8))
        reader = r.reader()
        threading.Timer(0.05, r.append, [(90, 0)]).start()
        self.assertEqual(reader.next(20)[0].n, 90)
        self.assertRaises(ValueError, r.reader, -1)
        one = self.seg.ring("one", "q", 1)
        for i in range(5):
            one.append(i)
        self.assertEqual((one.last(), one.reader(0).next(), one.reader(1).next()), ((4, 5),) * 3)

    def test_copied_reader(self):
        """A copy of a reader, also a pickled one, goes on from where the reader is."""
        r = self.seg.ring("r", "q", 2)
        reader = r.reader()
        for x in range(4):
            r.append(x)
        self.assertEqual((reader.next(), reader.missed), ((2, 3), 2))
        for again in (copy.copy(reader), pickle.loads(pickle.dumps(reader))):
            self.assertEqual((again.missed, again.next(), again.next(0)), (2, (3, 4), None))
        self.assertEqual((reader.next(), reader.missed), ((3, 4), 2))

    def test_overtaken_reader(self):
        """A reader accepts no copy of a slot that may have been filled again meanwhile."""
        r = self.seg.ring("r", "q", 2)
        r.append(1), r.append(2)
        reader, copies = r.reader(1), []

        def overtaken(ring, seq, real=shm.Ring._copy):
            copies.append(seq)
            x = real(ring, seq)
            if len(copies) == 1:
                r.append(3), r.append(4)
            return x

        shm.Ring._copy, real = overtaken, shm.Ring._copy
        try:
            self.assertEqual(getattr(reader, "_slow_next", reader.next)(), (3, 3))
        finally:
            shm.Ring._copy = real
        self.assertEqual((copies, reader.missed), ([1, 3], 2))

    def test_ids_in_cells_are_not_given_out_again(self):
        """A copy of a segment, whose counter of ids is older than its cells."""
        seg = self.seg
        c, g, t, m, r = seg.counter("c"), seg.gauge("g"), seg.table("t", Row, 3), seg.mutexes("m", 3), seg.ring("r", "q", 2)
        c.add(1), g.set(1)
        directory, lease = seg._mapping.directory, seg._mapping.lease
        next = lambda: shm.header.unseal(seg._mapping.next_id.value)  # noqa: E731
        for word in (
            c._cells.owner(1), g._cells.owner(1), t[2].get_lock()._word, m[1]._word, m[2]._word, r.get_lock()._word,
        ):  # fmt: skip
            id = next() + 5
            old, word.value = word.value, id
            directory._raise_ids()
            self.assertEqual((next(), word.value), (id + 1, id))
            word.value = next() + (2 << 20)  # never given out
            directory._raise_ids()
            self.assertEqual((next(), word.value), (id + 1, 0))
            word.value = old
        self.assertEqual(lease.id, c._cells.owner(1).value)
        self.assertEqual(c.load(), 1)


if __name__ == "__main__":
    unittest.main()
