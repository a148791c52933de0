"""Tests what works on segments as a whole, and on several kinds of values."""

import collections.abc
import copy
import ctypes
import importlib
import json
import math
import os
import pathlib
import pickle
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from multiprocessing import get_context
from typing import Annotated, ClassVar
from unittest import mock

import shm
from shm import ask, text as texts

from .support import PEER, Case, eventually, set_environment
from .test_kinds import make


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("n", ctypes.c_int32), ("tag", ctypes.c_char * 5)]


def add_one(seg, v):
    v.add(1)
    seg.raw_value("child", "i", 7)


class Anonymous(Case):
    def test_alone(self):
        with shm.anonymous(max_size=1 << 20) as seg:
            v = seg.value("n", "q", 5)
            self.assertEqual((v.add(1), seg.name, seg.replaced()), (6, "", False))
            with self.assertRaises(OSError):
                os.ftruncate(seg.fileno(), 0)  # it is sealed
            with shm.open_fd(seg.fileno()) as again:
                self.assertEqual(again["n"].add(1), 7)
            with open(f"/proc/self/fd/{seg.fileno()}", "rb") as f:
                with self.assertRaises(PermissionError):
                    shm.open_fd(f)
                with shm.open_fd(f, readonly=True) as again:
                    self.assertEqual(again["n"].value, 7)
        with open(__file__, "rb") as f, self.assertRaises(shm.FormatError):
            shm.open_fd(f, readonly=True)
        r, w = os.pipe()
        self.addCleanup(os.close, r)
        self.addCleanup(os.close, w)
        with self.assertRaises(shm.InsecureError):
            shm.open_fd(r, readonly=True)

    def test_fork(self):
        seg = shm.anonymous(max_size=1 << 20)
        v = seg.value("n", "q")
        self.assertEqual(self.reap(self.child(lambda: v.add(1) - 1)), 0)
        self.assertEqual(v.value, 1)

    def test_start_methods(self):
        """An anonymous segment, and one with a name, can be arguments, whatever the start method is."""
        named = self.open()
        for method in ("spawn", "forkserver", "fork"):
            context = get_context(method)
            for seg in (named, shm.anonymous(max_size=1 << 20)):
                v = seg.value("n", "q")
                before = v.value
                p = context.Process(target=add_one, args=(seg, v))
                p.start()
                p.join(300)
                self.assertEqual((p.exitcode, v.value, seg["child"].value), (0, before + 1, 7), method)
        with self.assertRaisesRegex(shm.ArgumentTypeError, "no name"):
            pickle.dumps(shm.anonymous(max_size=1 << 20))


class Passing(Case):
    HEIR = (
        "import shm, sys\n"
        "seg = shm.inherited(sys.argv[1] if len(sys.argv) > 1 else '')\n"
        "seg.raw_value('fromPython', 'q')\n"
        "print(seg.value('n', 'q').add(1))\n"
    )

    def test_to_python(self):
        for seg in (self.open(), shm.anonymous(max_size=1 << 20)):
            seg.value("n", "q", 5)
            if seg.name:
                shm.remove(seg.name)
            with seg.passing() as inheritance:
                args = [sys.executable, "-c", self.HEIR, *[seg.name] * bool(seg.name)]
                out = subprocess.run(args, **inheritance, check=True, capture_output=True, timeout=60)
            self.assertEqual((out.stdout.split(), "fromPython" in seg), ([b"6"], True))
            for number in inheritance["pass_fds"]:
                with self.assertRaises(OSError):
                    os.fstat(number)  # it is closed

    def test_two(self):
        a, b, c = self.open(), shm.anonymous(max_size=1 << 20), shm.anonymous(max_size=1 << 20)
        with a.passing({"X": "1"}) as one, b.passing(**one) as both:
            self.assertEqual(len([name for name in both["env"] if name.startswith("SHM_SEGMENT_")]), 2)
            self.assertEqual((len(both["pass_fds"]), both["env"]["X"]), (4, "1"))
            with self.assertRaisesRegex(shm.ArgumentError, "another segment"):
                with c.passing(**both):
                    pass
            with b.passing(**both):
                pass

    def test_to_go(self):
        for seg in (self.open(), shm.anonymous(max_size=1 << 20)):
            if not PEER:
                self.skipTest("there is no Go peer")
            v = seg.value("n", "q", 40)
            with seg.passing() as inheritance:
                inheritance["env"]["SHM_TEST_HELPER"] = "heir"
                out = subprocess.run(
                    [PEER, *[seg.name] * bool(seg.name)], **inheritance, check=True, capture_output=True, timeout=60
                )
            self.assertEqual((out.stdout.split(), v.value, seg["fromGo"].value), ([b"41"], 41, 41))

    def test_missing(self):
        with self.assertRaises(shm.NotFoundError):
            shm.inherited("nothing")
        st = os.stat(__file__)
        for wrong in ("x", "1:2", f"99999:{st.st_dev}:{st.st_ino}", "9" * 30 + ":1:2", "-1:1:2"):
            with set_environment("SHM_SEGMENT_", wrong), self.assertRaises(FileNotFoundError):
                shm.inherited()


class AskingToBeWoken(Case):
    def test_bytes(self):
        for record, cell in ((33024, 33152), (1 << 40, (1 << 40) + 64 * 1000)):
            self.assertEqual(ask.cell_of(ask.byte_of(record, cell)), (record, cell))
        self.assertEqual(ask.cell_of(ask.BASE), (0, 0))
        self.assertIsNone(ask.byte_of(0, 64 << 21))
        for bad in (ask.BASE - 1, ask.BASE + 1, ask.BASE + ask.BYTES):
            self.assertIsNone(ask.cell_of(bad))

    READER = (
        "import sys, shm\n"
        "seg = shm.open(sys.argv[1], readonly=True)\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    words = line.split()\n"
        "    if words[0] == 'name': seg.wait_for(words[1]); print('there', flush=True)\n"
        "    elif words[0] == 'row': print(seg['table'][2].wait_for(lambda r: r.n == int(words[1])).n, flush=True)\n"
        "    else: print(seg['n'].wait_for(lambda n: n == int(words[1])), flush=True)\n"
    )

    @unittest.skipUnless(shm.futex.can_wait_any(), "the system cannot sleep on several words")
    def test_python_answers(self):
        """The bit that only a process with the right to write can set is there, though only a reader waits."""
        seg = self.open()
        v, table = seg.value("n", "q"), seg.table("table", Point, 4)
        v.add(0)
        reader = self.python(self.READER)
        self.assertEqual(reader.line(), "ready")
        for i in range(1, 4):
            reader.say(f"value {i}")
            eventually("the reader is announced", lambda: v.get_lock()._change_word.value & 1)
            v.value = i
            self.assertEqual(reader.line(), str(i))
        reader.say("row 5")
        eventually("the reader is announced", lambda: table[2].get_lock()._change_word.value & 1)
        table[2].store((0.0, 5, b""))
        self.assertEqual(reader.line(), "5")
        reader.say("name new")
        eventually("the reader is announced", lambda: seg._attached().names.word.value & 1)
        seg.value("new", "q")
        self.assertEqual(reader.line(), "there")

    @unittest.skipUnless(shm.futex.can_wait_any(), "the system cannot sleep on several words")
    def test_go_answers(self):
        go = self.agent()
        self.assertEqual(go.tell("add 0"), "added")
        seg = shm.open(self.name, readonly=True)
        v, seen = seg["n"], []
        for i in range(1, 4):
            t = threading.Thread(target=lambda: seen.append(v.wait_for(lambda n: n == i, 60)))
            t.start()
            eventually("Go announces this process", lambda: v.get_lock()._change_word.value & 1)
            self.assertEqual(go.tell("add 1"), "added")
            t.join()
        self.assertEqual(seen, [1, 2, 3])
        questions = shm.lease._questions
        eventually("nothing is asked any more", lambda: not questions)

    def test_refused_change_beside_a_waiter(self):
        """A change that a read-only segment refuses does not wake waiters, as that would write."""
        v = self.open().value("n", "q")
        v.get_lock()._change_word.value |= 1
        with shm.open(self.name, readonly=True) as ro, self.assertRaises(shm.ReadOnlyError):
            ro["n"].store(1)
        self.assertEqual((v.value, v.get_lock()._change_word.value & 1), (0, 1))

    def test_hostile_questions(self):
        """A byte that stands for no change word of a value changes nothing, whoever may only read."""
        seg = self.open()
        v, raw = seg.value("n", "q"), seg.raw_array("raw", "Q", 64)
        m = seg._attached()
        r, fake = m.directory.find("n"), m.directory.find("raw")
        meta, _ = shm.record.Shape("n", r.layout, r.access, r.kind).encode(8)
        ctypes.memmove(raw, meta, len(meta))  # the bytes of a value look like a record
        for record, cell in (
            (fake.data, fake.data + len(meta)), (r.offset, r.data + 64), (r.offset + 64, r.data), (0, r.data),
            (1 << 44, 1 << 44), (fake.offset, fake.data), (64, 128),
        ):  # fmt: skip
            byte = ask.byte_of(record, cell)
            self.assertIsNone(m.directory.asked(byte) if byte is not None else None, (record, cell))
        self.assertIsNotNone(m.directory.asked(ask.byte_of(r.offset, r.data)))
        self.assertEqual(v.value, 0)

    def test_forks_are_of_one_thread(self):
        """The thread that answers does not run during a fork. CPython 3.12 and later would warn."""
        seg = self.open()
        v = seg.value("n", "q")
        v.add(1)
        for _ in range(20):
            self.assertEqual(self.reap(self.child(lambda: v.add(1) and 0)), 0)
        self.assertEqual(v.value, 21)

    def test_ends_with_the_mapping(self):
        listener = ask._listener
        seg = shm.anonymous(max_size=1 << 20)
        seg.value("n", "q").add(1)
        key = id(seg._attached())
        self.assertEqual(key in listener.answering, shm.futex.can_wait_any())
        seg.close()
        del seg
        self.assertNotIn(key, listener.answering)


class Copies(Case):
    def test_values_of_unknown_types(self):
        """A value of each kind is made and copied in another segment by what the directory says of it."""
        seg, other = self.open(), shm.anonymous(max_size=1 << 20)
        make(seg)
        seg.histogram("h", [1.0, 2.0], unit="s", help="a text").observe(1.5)
        seg.gauge("g", "d").set(2.5)
        seg.counter("c", "q").add(7)
        seg.counter("cd", "d").add(1.5)
        seg.ring("r", "q", 3).append(5)
        table = seg.table("t", Point, 3)
        table[1].store((1, 2, b"x"))
        seg.struct("room", Point, room=200, hint="gauge")
        seg.value("labelled", "q", 3, unit="ms", help="a help text", hint="duration")
        for e in seg.entries():
            made = other.make(e)
            self.assertEqual(made, e._replace(pid=made.pid, program=made.program, offset=made.offset), e)
            self.assertEqual(made._record.capacity, e._record.capacity)
            other.make(e)  # attaches
            if e.layout is None:
                self.assertRaises(shm.ArgumentError, e.load_bytes)
                self.assertRaises(shm.ArgumentError, made.store_bytes, b"")
                continue
            for part in range(e.parts()):
                b, commit = e.load_bytes(part)
                if e.kind == "gauge" or b:
                    made.store_bytes(b, part)
                self.assertEqual(made.load_bytes(part)[0], b, e)
                for wrong in (b + b"x", b[:-1], b""):
                    if wrong != b:
                        self.assertRaises(shm.ArgumentError, made.store_bytes, wrong, part)
                self.assertTrue(commit == 0 or e.access == "published")
            self.assertEqual(made.load(), e.load())
            for wrong in (e.parts(), -1 - e.parts()):
                self.assertRaises(IndexError, e.load_bytes, wrong)
        t = other["t"]
        before = t[0]._slots.count.value
        other.entry("t").store_bytes(seg.entry("t").load_bytes(0)[0], 0)  # the same bytes are no commit
        self.assertEqual(t[0]._slots.count.value, before)
        other.entry("h").store_bytes(seg.entry("h").load_bytes()[0])
        self.assertEqual(other["h"].load(), seg["h"].load())
        other.histogram("h2", [3.0, 4.0])
        self.assertRaises(shm.ArgumentError, other.entry("h2").store_bytes, seg.entry("h").load_bytes()[0])
        self.assertRaises(shm.ArgumentTypeError, other.make, "h")
        other.value("other", "i")
        seg.value("other", "q")
        self.assertRaises(shm.LayoutError, other.make, seg.entry("other"))
        ro = shm.open_fd(os.dup(other.fileno()), readonly=True)
        self.assertRaises(shm.ReadOnlyError, ro.entry("labelled").store_bytes, bytes(8))
        seg.value("new", "q")
        self.assertRaises(shm.ReadOnlyError, ro.make, seg.entry("new"))

    def test_since(self):
        seg = self.open()
        r, e = seg.ring("r", "q", 3), None
        e = seg.entry("r")
        self.assertEqual((list(e.since(0)), e.load_bytes()), ([], (b"", 0)))
        for i in range(5):
            r.append(i)
        number = lambda i: struct.pack("=q", i)  # noqa: E731
        self.assertEqual(list(e.since(0)), [(3, number(2)), (4, number(3)), (5, number(4))])
        self.assertEqual(list(e.since(4)), [(5, number(4))])
        self.assertEqual((list(e.since(5)), list(e.since(99)), e.load_bytes()), ([], [], (number(4), 5)))
        e.store_bytes(number(9))
        self.assertEqual(r.last(), (9, 6))
        self.assertEqual(list(seg.entry("r").since(-5))[-1], (6, number(9)))
        seg.value("v", "q")
        self.assertEqual(list(seg.entry("v").since(0)), [])


class WhoIsThere(Case):
    HOLDER = (
        "import sys, shm\n"
        "seg = shm.open(sys.argv[1], create=True)\n"
        "m = seg.mutexes('places', 3)\n"
        "m[1].acquire()\n"
        "print('holds', flush=True)\n"
        "sys.stdin.readline()\n"
    )

    def test_processes(self):
        seg = self.open()
        places = seg.mutexes("places", 3)
        self.assertEqual((seg.leased(), [p.pid for p in seg.processes()]), (True, [os.getpid()]))  # it has made locks
        me = seg.processes()[0]
        holder = self.python(self.HOLDER)
        self.assertEqual(holder.line(), "holds")
        self.assertIsNone(places.owner(0))
        owner = places.owner(1)
        self.assertEqual((owner.pid, owner.alive(), seg.leased()), (holder.pid, True, True))
        self.assertEqual(seg.processes(), [me, owner])
        info = places[1].info()
        self.assertEqual((info.held, info.id, info.pid, info.alive), (True, owner.id, holder.pid, True))
        self.assertRegex(str(info), rf'^held by "\S+" \(pid {holder.pid}\)$')
        self.assertEqual(seg.entry("places").text(), f"[free, {info}, free]")
        with self.assertRaises(shm.WaitTimeoutError):
            seg.await_exit(owner, 0.02)
        cancel = shm.Cancel()
        cancel.set()
        with self.assertRaises(shm.CancelledError):
            seg.await_exit(owner, cancel=cancel)
        threading.Timer(0.1, holder.p.send_signal, [signal.SIGKILL]).start()
        seg.await_exit(owner, 60)
        self.assertFalse(owner.alive())
        self.assertEqual(seg.processes(), [me, owner])  # it still holds the lock
        self.assertIn("which is dead", str(places[1].info()))
        places[0].acquire()
        self.assertEqual((me.pid, me.alive()), (os.getpid(), True))
        self.assertEqual(places.lock_any(), 1)
        self.assertTrue(places[1].info().abandoned)
        self.assertEqual(len(seg.processes()), 1)
        with self.assertRaises(shm.ArgumentError):
            shm.anonymous(max_size=1 << 20).await_exit(me)

    def test_many(self):
        """Each process that is there is found by its lease, whatever number others have."""
        seg = self.open()
        v = seg.value("n", "q")
        children = []
        for _ in range(6):
            r, w = os.pipe()
            children.append(self.child(lambda: v.add(1) and os.write(w, b"x") and signal.pause()))
            os.read(r, 1)
            os.close(r)
            os.close(w)
        for i in (1, 4):
            os.kill(children[i], signal.SIGKILL)
            self.reap(children[i])
        self.assertEqual([p.pid for p in seg.processes()], [os.getpid()] + [pid for i, pid in enumerate(children) if i not in (1, 4)])

    def test_replaced(self):
        seg = self.open()
        self.assertFalse(seg.replaced())
        shm.remove(self.name)
        self.assertTrue(seg.replaced())
        other = self.open(create=True)
        self.assertEqual((seg.replaced(), other.replaced()), (True, False))
        seg.close()
        with self.assertRaises(shm.ClosedError):
            seg.replaced()


class AMapping(Case):
    def test_mapping(self):
        seg = self.open()
        v, w = seg.value("v", "q", 1), seg.raw_value("w", "d", 0.5)
        self.assertIsInstance(seg, collections.abc.Mapping)
        self.assertEqual((list(seg), list(seg.keys()), list(seg.values())), (["v", "w"], ["v", "w"], [v, w]))
        self.assertEqual((dict(seg.items()), seg.get("x"), seg.get("x", 5), seg.get("v")), ({"v": v, "w": w}, None, 5, v))
        self.assertTrue("v" in seg and "x" not in seg and 5 not in seg and None not in seg)
        self.assertEqual((seg == seg, seg == self.open(), {seg: 1}[seg]), (True, False, 1))
        with self.assertRaises(KeyError) as missing:
            seg["x"]
        self.assertIsInstance(missing.exception, shm.NoValueError)
        self.assertEqual(str(missing.exception), f"no value 'x' in segment {self.name!r}")
        for bad in (None, 5, b"v"):
            for use in (seg.__getitem__, seg.entry, seg.wait_for):  # the wait would never end
                with self.assertRaises(shm.ArgumentTypeError):
                    use(bad)
        for bad in ("", "n" * 256, "a\nb", "\ud800"):
            with self.assertRaises(shm.ArgumentError):
                seg.wait_for(bad)
        match_keys = {**seg}
        self.assertEqual(match_keys["v"], v)

    def test_wrong_arguments_have_advice(self):
        seg = self.open()
        for error, text, make in (
            (shm.ArgumentTypeError, "'a': give its length, an integer, or its values, not 1.5", lambda: seg.array("a", "q", 1.5)),
            (shm.ArgumentTypeError, "'a': a length is an integer, not 'x'", lambda: seg.string("a", "x")),
            (shm.ArgumentTypeError, "'a': room is a number of bytes, not 'x'", lambda: seg.struct("a", shm.Complex128, room="x")),
            (shm.ArgumentTypeError, "'a': room is a number of bytes, not 1.5", lambda: seg.table("a", shm.Complex128, 2, room=1.5)),
            (shm.ArgumentTypeError, r"bounds .* are numbers that ascend.* not \['x'\]", lambda: seg.histogram("a", ["x"])),
            (shm.ArgumentTypeError, "bounds .* are numbers that ascend.* not 5", lambda: seg.histogram("a", 5)),
            (shm.ArgumentTypeError, "'x' cannot be the first value of a c_", lambda: seg.value("a", "q", "x")),
            (shm.ArgumentError, "'a': a length of .* is too much", lambda: seg.mutexes("a", 1 << 61)),
            (shm.ArgumentError, "'a': a length of .* is too much", lambda: seg.table("a", shm.Complex128, 1 << 60)),
        ):
            with self.assertRaisesRegex(error, text):
                make()
        self.assertEqual(list(seg), [])

    def test_pathlib(self):
        path = pathlib.Path("/dev/shm") / self.name
        with shm.open(path, create=True, max_size=1 << 20) as seg:
            seg.value("n", "q", 3)
            self.assertEqual((seg.name, shm.path(self.name), shm.path(path)), (str(path), str(path), str(path)))
        self.assertEqual(self.open(create=False)["n"].value, 3)
        self.assertEqual(shm.path(pathlib.Path("x")), "./x")  # not the one in /dev/shm
        shm.remove(path)
        self.assertFalse(path.exists())


class Snapshots(Case):
    def test_together(self):
        """What is moved from one value to another is in one of them, in each snapshot."""
        seg = self.open()
        a, b, s = seg.struct("a", "q", 1000), seg.struct("b", "q"), seg.string("s", 16)
        stop = threading.Event()

        def move():
            while not stop.is_set():
                with a.get_lock(), b.get_lock():
                    n = random.randrange(10)
                    a.store(a.load() - n)
                    b.store(b.load() + n)
                s.store(str(n))
                time.sleep(0)

        t = threading.Thread(target=move)
        t.start()
        try:
            for _ in range(200):
                x, y = shm.snapshot(lambda: (a.load(), b.load()), a, b)
                # Between the two stores another number is right, and the snapshot may see it.
                self.assertTrue(990 < x + y <= 1000, (x, y))
        finally:
            stop.set()
            t.join()

    def test_is_repeated(self):
        seg = self.open()
        a, table, ring, text = seg.struct("a", "q"), seg.table("t", "q", 3), seg.ring("r", "q", 4), seg.string("s", 4)
        for v, change in (
            (a, lambda: a.store(1)), (table, lambda: table[2].store(5)), (ring, lambda: ring.append(7)), (text, lambda: text.store("x")),
        ):  # fmt: skip
            calls = []

            def read():
                calls.append(0)
                if len(calls) < 3:
                    change()
                return len(calls)

            self.assertEqual(shm.snapshot(read, v), 3)
        calls = []

        def always():
            calls.append(0)
            if len(calls) <= 64:
                a.store(len(calls))
            elif not a.get_lock()._hold.owned():
                raise AssertionError("the lock is not held")

        shm.snapshot(always, a, text)
        self.assertEqual((len(calls), a.get_lock().locked()), (65, False))
        for bad in (seg.value("v", "q"), 5):
            with self.assertRaises(shm.ArgumentTypeError):
                shm.snapshot(lambda: 0, bad)


class Synchronized(Case):
    def test_share_a_lock(self):
        seg = self.open()
        lock = seg.mutex("lock")
        x, y = shm.synchronized(seg.raw_value("x", "q", 5), lock), shm.synchronized(seg.raw_array("y", "d", 3), lock)
        with lock:
            self.assertEqual((x.add(1), y.add(1, 0.5)), (6, 0.5))
        self.assertIs(x.get_lock(), lock)
        again = pickle.loads(pickle.dumps(x))
        again.add(1)
        self.assertEqual((x.value, again.get_lock(), seg["x"].value), (7, lock, 7))
        yy = pickle.loads(pickle.dumps(y))
        yy[2] = 4.0
        self.assertEqual(y[2], 4.0)
        z = shm.synchronized(seg.raw_value("z", "i"), seg.value("v", "q"))
        self.assertIs(z.get_lock(), seg["v"].get_lock())
        for obj, wrong in ((seg["x"], 5), (5, lock), (seg.raw_value("p", Point), lock), (seg.char_array("c", 4), lock)):
            with self.assertRaises(shm.ArgumentTypeError):
                shm.synchronized(obj, wrong)

    def test_foreign(self):
        path = f"/dev/shm/{self.name}"
        with open(path, "wb") as f:
            f.write(struct.pack("=qd12x", 7, 0.5) + b"text\0\0\0\0" + bytes(4060))
        os.chmod(path, 0o600)
        lock = shm.anonymous(max_size=1 << 20).mutex("lock")
        with shm.open_foreign(self.name) as mem:
            n = mem.raw_value("q")
            v = shm.synchronized(n, lock)
            self.assertEqual((v.add(1), mem.raw_value("d", 8).value, mem.char_array(8, 28).value), (8, 0.5, b"text"))
            a = mem.raw_array("i", 4, 40)
            a[3] = 9
            p = mem.raw_value(Point, 64)
            p.n = 11
            for t, offset in (("q", 4096), ("q", 4092), ("q", -8), ("q", 4), (Point, 68), (Point, 1 << 70)):
                with self.assertRaises(shm.ArgumentError):
                    mem.raw_value(t, offset)
            for size in (0, -1, 1 << 40):
                with self.assertRaises(shm.ArgumentError):
                    mem.raw_array("q", size)
            for bad in ("x", 1.5, None):
                with self.assertRaises(TypeError):
                    mem.raw_value("q", bad)
            with shm.open_foreign(self.name, readonly=True) as ro:
                self.assertEqual((ro.raw_value("q").value, ro.raw_array("i", 4, 40)[3], ro.raw_value(Point, 64).n), (8, 9, 11))
                for change in (
                    lambda: setattr(ro.raw_value("q"), "value", 1), lambda: ro.raw_array("i", 4).__setitem__(0, 1),
                    lambda: setattr(ro.raw_value(Point), "n", 1),
                ):  # fmt: skip
                    with self.assertRaises(shm.ReadOnlyError):
                        change()
            os.truncate(path, 4)
            with self.assertRaisesRegex(shm.ArgumentError, "not inside"):
                mem.raw_value("q")
            os.truncate(path, 4096)
            with mock.patch("sys.unraisablehook") as unraisable:
                self.assertRaises(TypeError, shm.Foreign)
            unraisable.assert_not_called()
            for copied in (copy.copy, copy.deepcopy, pickle.dumps):  # which would close the descriptor twice
                self.assertRaisesRegex(shm.ArgumentTypeError, "open_foreign again", copied, mem)
        self.assertEqual(n.value, 8)  # it works on after close
        with self.assertRaises(shm.ClosedError):
            mem.raw_value("q")
        with self.assertRaises(shm.NotFoundError):
            shm.open_foreign(self.name + "-none")


class Board:
    requests: shm.Counter[int]
    load: Annotated[shm.Value[float], shm.Field(init=0.5, unit="cores", help="of the last minute, 1 is a core")]
    small: Annotated[shm.Value, shm.Field("h", name="other name")]
    version: Annotated[shm.String, shm.Field(size=32)]
    position: shm.Struct[Point]
    rows: Annotated[shm.Table[Point], shm.Field(size=3, room=128)]
    states: Annotated[shm.AtomicArray[int], shm.Field(size=4)]
    last: Annotated[shm.Ring[float], shm.Field(size=8)]
    latency: Annotated[shm.Histogram, shm.Field(bounds=[0.1, 1])]
    places: Annotated[shm.Mutexes, shm.Field(size=2)]
    lock: shm.Mutex
    temperature: ctypes.c_double
    samples: Annotated[ctypes.Array, shm.Field("i", 10)]
    grid: ctypes.c_int16 * 4
    raw: Point
    _private: int
    constant: ClassVar[int] = 5


class Bind(Case):
    def test_copied_field(self):
        field = shm.Field("q", 5, init=1, unit="K", help="h")
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(field, protocol))
            self.assertEqual((type(again), again, copy.copy(field)), (shm.Field, field, field))

    def test_bind(self):
        seg = self.open()
        board = shm.bind(seg, Board)
        self.assertIsInstance(board, Board)
        self.assertEqual(len(seg), 15)
        self.assertEqual(
            [e.kind for e in seg.entries()],
            ["counter", "value", "value", "string", "struct", "table", "atomic_array", "ring", "histogram", "mutexes", "mutex",
             "raw_value", "raw_array", "raw_array", "raw_value"],
        )  # fmt: skip
        e = seg.entry("load")
        self.assertEqual((e.unit, e.help, e.load(), board.load.value), ("cores", "of the last minute, 1 is a core", 0.5, 0.5))
        self.assertIs(board.small, seg["other name"])
        self.assertEqual((board.latency.bounds, len(board.rows), len(board.grid)), ([0.1, 1.0], 3, 4))
        self.assertEqual(seg._attached().directory.find("rows").capacity, 128)
        again = shm.bind(self.open(create=False), Board)  # attaches
        board.position.store((1.5, 2, b"x"))
        self.assertEqual(again.position.load().x, 1.5)

    def test_refused(self):
        """All annotations are checked before the first value is made."""
        seg = self.open()
        for wrong in (
            Annotated[shm.Value, shm.Field("u")], shm.Value, shm.Array[str], int, Annotated[shm.Mutex, shm.Field(size=3)],
            Annotated[shm.Counter, shm.Field(init=5)], Annotated[shm.Value[int], shm.Field(bounds=[1])], shm.Segment,
            Annotated[shm.Histogram, shm.Field(bounds=[2, 1])], Annotated[shm.Value[int], shm.Field(room=8)],
            Annotated[shm.Value[int], shm.Field(unit=5)], Annotated[shm.Value[int], shm.Field(name="first")],
            Annotated[shm.Value[int], shm.Field(), shm.Field()], Annotated[ctypes.c_double, shm.Field("d")], shm.Struct[object],
            Annotated[shm.Struct[Point], shm.Field(init=5)], ctypes.c_void_p, ctypes.Array, shm.String, shm.Mutexes, shm.Histogram,
            *(Annotated[shm.String, shm.Field(size=n)] for n in ("x", -1, 1 << 60)), Annotated[shm.Array, shm.Field("i", 1 << 50)],
            *(Annotated[shm.Array, shm.Field(t, 3)] for t in (ctypes.c_bool, Point)),
            *(Annotated[shm.Value, shm.Field(t)] for t in (Point, shm.Complex128, "c")),
            *(Annotated[t, shm.Field("h")] for t in (shm.Atomic, shm.Counter, shm.Gauge)),
            *(Annotated[shm.Struct[Point], shm.Field(room=n)] for n in (-5, "x", 1)), Annotated[shm.Table[Point], shm.Field(size=2, room=1)],
            *(Annotated[t, shm.Field("c", 3)] for t in (shm.Ring, shm.Table)), Annotated[shm.Struct, shm.Field("c")],
            *(Annotated[shm.Value[int], shm.Field(**{k: x})] for k, x in (("unit", "x" * 300), ("hint", "zz"), ("help", "\ud800"), ("init", "x"))),
            *(Annotated[shm.Value[int], shm.Field(name=n)] for n in ("a\n", "", "\ud800")), Annotated[ctypes.c_int, shm.Field(init="x")],
            Annotated[shm.Struct[Point], shm.Field(init=(1, 2, b"", 4))], Annotated[shm.Histogram, shm.Field(bounds=range(2000))],
            Annotated[ctypes.Array[ctypes.c_int], shm.Field(size=3, init=(1, 2))], Annotated[ctypes.Array[ctypes.c_int], shm.Field(init=5)],
            Annotated[ctypes.Array[ctypes.c_int], shm.Field(init=["x"])], Annotated[ctypes.c_int * 2, shm.Field(init=(1, 2, 3))],
        ):  # fmt: skip
            cls = type("Wrong", (), {"__annotations__": {"first": shm.Value[int], "second": wrong}})
            with self.assertRaisesRegex(shm.Error, "^Wrong.second: ", msg=wrong):
                shm.bind(seg, cls)
            self.assertEqual(list(seg), [], wrong)
        with self.assertRaisesRegex(shm.ArgumentTypeError, "^Wrong: its annotations"):
            shm.bind(seg, type("Wrong", (), {"__annotations__": {"first": "nonsense"}}))
        for wrong in (5, Board(), type("Empty", (), {})):
            with self.assertRaises(shm.ArgumentTypeError):
                shm.bind(seg, wrong)
        self.assertEqual(list(seg), [])

    def test_what_does_not_fit(self):
        """What the segment has already is looked at before the first value is made, too."""
        seg = self.open()
        seg.value("there", "q")
        seg.histogram("bounds", [1, 2])
        for wrong in (
            Annotated[shm.Value[float], shm.Field(name="there")], Annotated[shm.Histogram, shm.Field(bounds=[1, 3], name="bounds")],
            Annotated[shm.Array[int], shm.Field(size=3, name="there")],
        ):  # fmt: skip
            with self.assertRaisesRegex(shm.LayoutError, "^Wrong.second: .*wanted", msg=wrong):
                shm.bind(seg, type("Wrong", (), {"__annotations__": {"first": shm.Value[int], "second": wrong}}))
        with shm.open(self.name, readonly=True) as reading, self.assertRaisesRegex(shm.ReadOnlyError, "^Wrong.second: "):
            shm.bind(reading, type("Wrong", (), {"__annotations__": {"there": shm.Value[int], "second": shm.Value[int]}}))
        self.assertEqual(list(seg), ["there", "bounds"])

    def test_first_values_of_raw_arrays(self):
        class Firsts:
            whole: Annotated[ctypes.c_int * 3, shm.Field(init=(1, 2, 3))]
            short: Annotated[ctypes.c_int * 3, shm.Field(init=(1, 2))]
            sized: Annotated[ctypes.Array[ctypes.c_int], shm.Field(size=3, init=(4, 5, 6))]
            listed: Annotated[ctypes.Array[ctypes.c_double], shm.Field(init=[0.5, 1])]
            grid: Annotated[ctypes.c_int * 2 * 2, shm.Field(init=((1, 2), (3, 4)))]
            number: Annotated[ctypes.c_int, shm.Field(init=7)]
            text: Annotated[ctypes.c_char * 4, shm.Field(init=b"abc")]

        b = shm.bind(self.open(), Firsts)
        self.assertEqual([b.whole[:], b.short[:], b.sized[:], b.listed[:]], [[1, 2, 3], [1, 2, 0], [4, 5, 6], [0.5, 1]])
        self.assertEqual(([x[:] for x in b.grid], b.number.value, b.text.value), ([[1, 2], [3, 4]], 7, b"abc"))


class Numpy(Case):
    def setUp(self):
        super().setUp()
        try:
            self.np = importlib.import_module("numpy")
        except ImportError:
            self.skipTest("numpy is not installed")

    def test_both_directions(self):
        """A dtype, aligned or not, becomes a type, and the type a dtype with the same bytes."""
        np, seg = self.np, self.open()
        fields = [("a", "u1"), ("b", "f8"), ("c", "S5"), ("d", "i4", (2, 3)), ("e", [("x", "i2"), ("y", "c8")])]
        for i, align in enumerate((True, False)):
            d = np.dtype(fields, align=align)
            self.assertEqual(shm.layout_of(d).size, d.itemsize)
            back = shm.dtype_of(shm.layout_of(d))
            self.assertEqual((back.itemsize, [back.fields[n][1] for n in back.names]), (d.itemsize, [d.fields[n][1] for n in d.names]))
            self.assertEqual(shm.layout_of(back), shm.layout_of(d))
            raw = seg.raw_value(f"raw{i}", d)
            view = np.frombuffer(raw, shm.dtype_of(raw))
            view["b"], view["c"], view["e"]["x"] = 2.5, b"abc", -3
            self.assertEqual((raw.b, raw.c, raw.e.x), (2.5, b"abc", -3))
            v = seg.struct(f"struct{i}", d)
            x = np.zeros((), d)
            x["b"], x["d"][1, 2] = 0.5, 7
            v.store(x)
            self.assertEqual((v.load().b, v.load().d[1][2]), (0.5, 7))
        self.assertEqual(shm.dtype_of(seg.raw_array("n", "h", 4)), np.dtype(("i2", (4,))))
        self.assertEqual(shm.dtype_of(shm.Complex64), np.dtype("c8"))


class NumpyTypes(Case):
    def test_advice(self):
        """Of a value that numpy cannot read in place, dtype_of says what to give instead."""
        seg = self.open()
        for v in (
            seg.struct("s", Point), seg.array("a", "i", 3), seg.table("t", Point, 2), seg.ring("r", "q", 3), seg.value("v", "q"),
            seg.string("text", 4), seg.mutex("m"), 5, None,
        ):  # fmt: skip
            with self.assertRaisesRegex(shm.ArgumentTypeError, r"load\(\)"):
                shm.dtype_of(v)


class Changes(Case):
    def test_closed_while_a_value_is_handled(self):
        """The loop ends also if the segment is closed between two waits."""
        for kind in ("value", "struct", "string", "array", "ring"):
            seg = shm.anonymous()
            if kind == "ring":
                v = seg.ring("v", "q", 3)
                for x in (1, 2):
                    v.append(x)
                values = v.reader(1)
            else:
                v = seg.string("v", 8) if kind == "string" else getattr(seg, kind)("v", "q", *([3] if kind == "array" else []))
                values = v.changes()
            seen = []

            def loop():
                try:
                    for pair in values:
                        seen.append(pair)
                        if len(seen) == 1:
                            seg.close()
                    seen.append("end")
                except shm.ClosedError:
                    seen.append("closed")

            t = threading.Thread(target=loop, daemon=True)
            t.start()
            t.join(60)
            self.assertFalse(t.is_alive(), kind)
            # A ring's reader yields what is there before it says so.
            self.assertEqual(seen[1:], [(2, 2), "closed"] if kind == "ring" else ["end"], kind)
            # What begins after the close is not affected.
            if kind == "ring":
                self.assertIsNone(v.reader().next(timeout=0.01))
            else:
                self.assertEqual(len(list(v.changes(timeout=0.01))), 1)

    def test_changes(self):
        seg = self.open()
        v, s, a, t = seg.value("v", "q"), seg.struct("s", "d"), seg.array("a", "i", 2), seg.string("t", 8)
        self.assertEqual(list(v.changes(timeout=0.01)), [(1, 0)])
        seen = []
        for n, x in v.changes(timeout=0.05):
            seen.append((n, x))
            if x < 3:
                v.add(1)
        self.assertEqual(seen, [(1, 0), (2, 1), (3, 2), (4, 3)])
        s.store(0.5)
        self.assertEqual(list(s.changes(timeout=0.01)), [(1, 0.5)])
        self.assertEqual(list(a.changes(timeout=0.01)), [(1, [0, 0])])
        self.assertEqual(list(t.changes(timeout=0.01)), [(0, b"")])
        cancel = shm.Cancel()
        threading.Timer(0.05, cancel.set).start()
        self.assertEqual(len(list(s.changes(cancel=cancel))), 1)


class Texts(Case):
    """Values as text. Go's tests of the same are in internal/text."""

    def all(self, seg):
        seg.value("q", "q", -5)
        seg.value("d", "d", 1e21)
        seg.value("f", "f", 0.1)
        seg.raw_value("bool", ctypes.c_bool, True)
        seg.raw_value("c64", shm.Complex64, 1 - 2j)
        seg.raw_value("c128", shm.Complex128, complex(0, math.inf))
        seg.array("array", "i", [1, -2, 3])
        seg.raw_array("raw", "H", [1, 2, 65535])
        seg.char_array("chars", 8).value = b'a"\x1b\xff'
        seg.struct("point", Point, (1.5, -3, b"ab"))
        seg.raw_value("grid", (ctypes.c_int16 * 2) * 2)[1][0] = 7
        seg.string("string", 16).store("grüße\n")
        seg.atomic("atomic", "Q", (1 << 64) - 1)
        seg.atomic_array("atomics", "i", 3)[1] = -1
        seg.table("table", Point, 2)[1].store((0.25, 4, b"abcde"))
        for x in (5, 6):
            seg.ring("ring", "i", 4).append(x)
        seg.ring("empty", "d", 4)
        seg.counter("counter").add(3)
        seg.gauge("gauge", "d").set(0.5)
        seg.histogram("histogram", [0.5, 1]).observe(0.75)
        seg.mutex("mutex")
        seg.mutexes("mutexes", 2)

    def test_as_go_writes_them(self):
        seg = self.open()
        self.all(seg)
        go = self.go("pythonPeer", self.name)
        for e in seg.entries():
            self.assertEqual(e.text(), go.tell("text " + e.name), e.name)

    def test_floats_as_go_writes_them(self):
        seg = self.open()
        go = self.go("pythonPeer", self.name)
        d, f = seg.value("d", "d").get_obj(), seg.value("f", "f").get_obj()
        chosen = [0.0, -0.0, 1e-6, 1e-7, 1e20, 1e21, 123456789.125, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan]
        chosen += [2.0**-24]  # a power of two: the floats above it are farther away than those below it
        bits = [power << 32 for power in (0x0F800000, 0x6B000000, 0x8F800000)]  # such floats of 4 bytes
        bits += [struct.unpack("=Q", struct.pack("=d", x))[0] for x in chosen] + [random.getrandbits(64) for _ in range(150)]
        for n in bits:
            ctypes.c_uint64.from_buffer(d).value = n
            ctypes.c_uint32.from_buffer(f).value = n >> 32
            for name in "df":
                shown = seg.entry(name).text()
                self.assertEqual(shown, go.tell("text " + name), hex(n))
                before = bytes(seg[name].get_obj())
                seg.entry(name).parse(shown)
                self.assertEqual(bytes(seg[name].get_obj()), before, shown)

    def test_parsed_again(self):
        seg = self.open()
        self.all(seg)
        for e in seg.entries():
            before, x = e.text(), e.load()
            if e.kind in ("ring", "counter", "gauge", "histogram", "mutex", "mutexes"):
                with self.assertRaises(shm.ArgumentError):
                    e.parse(before)
                continue
            e.parse(before)
            self.assertEqual((e.text(), repr(e.load())), (before, repr(x)))
        with shm.open(self.name, readonly=True) as ro:
            self.assertEqual(ro.entry("point").text(), seg.entry("point").text())
            with self.assertRaises(shm.ReadOnlyError):
                ro.entry("point").parse("{n: 1}")

    def test_parts(self):
        seg = self.open()
        self.all(seg)
        for name, text, want in (
            ("array", "[1: 7]", [1, 7, 3]), ("point", '{ n : 8 , "tag": "x" }', {"x": 1.5, "n": 8, "tag": b"x"}),
            ("point", "{}", {"x": 1.5, "n": 8, "tag": b"x"}), ("table", "[0: {x: 1e3}]", None), ("grid", "[0: [1: -1]]", [[0, -1], [7, 0]]),
            ("string", "plain text", b"plain text"), ("string", '"\\u00e9\\x41\\t\\101"', "é".encode() + b"A\tA"), ("string", "`a\\`", b"a\\"),
            ("string", json.dumps("\U0001f600/").replace("/", "\\/"), "\U0001f600/".encode()), ("string", '"\\uD83D\\uDE00x"', "\U0001f600x".encode()),
            ("point", json.dumps({"tag": "\U0001f600"}), {"x": 1.5, "n": 8, "tag": "\U0001f600".encode()}), ("point", '{tag: "x"}', None),
            ("q", " 0x1f ", 31), ("q", "+0b11", 3), ("q", "0x_f_f", 255), ("q", "007", 7), ("bool", "False", False), ("d", "-inf", -math.inf),
            ("c64", "3i", 3j), ("c64", "complex(3, -4)", 3 - 4j), ("c128", "(1e2-0.5i)", 100 - 0.5j), ("c128", "-i", -1j),
            ("atomics", "[5, 6, 7]", [5, 6, 7]), ("raw", "[0: 1, 2: 3]", [1, 2, 3]), ("f", "0x1p-2", 0.25),
        ):  # fmt: skip
            seg.entry(name).parse(text)
            if want is not None:
                self.assertEqual(seg.entry(name).load(), want, (name, text))
        self.assertEqual([row.x for row in seg["table"].load()], [1000.0, 0.25])

    def test_refused(self):
        seg = self.open()
        self.all(seg)
        for name, text, says in (
            ("q", "9223372036854775808", "does not fit"), ("q", "", "read"), ("q", "1.0", "read"), ("q", "1 2", "after the value"),
            ("q", "1_0", "read"), ("q", "--1", "read"), *(("atomic", x, "read") for x in ("+5", "-0", "-1", "0x1__0")), ("d", "1e400", "does not fit"), ("f", "1e39", "does not fit"),
            ("d", "1_0", "read"), ("f", "NaN(0x7f800000)", "read"), ("bool", "2", "read"), ("c64", "complex(1)", "read"),
            ("array", "[1, 2]", "3 elements"), ("array", "[1, 2, x]", r"\[2\]"), ("array", "[3: 1]", "index 3"),
            ("array", "[1: 1, 1: 2]", "twice"), ("array", "[1: 1, 2]", "index and a colon"), ("array", "1", r"expected \["),
            ("array", "[99999999999999999999: 1]", "none with index"), ("point", "{x: 1, x: 1}", "twice"), ("point", "{y: 1}", "'y'"),
            ("point", "{x: 1, n: 1.5}", "n: "), ("point", "{x: 1", "expected ,"), ("point", '{tag: abc}', "quotes"),
            ("point", '{n: 5, tag: "toolong"}', "tag: 7 bytes"), ("string", "a\0", "NUL"),
            *(("string", f'"{x}"', "quotes") for x in (r"\ud83d", r"\ude00\ud83d", r"\ud83d\u0041", r"\ud83d\ude0", r"\ud83d\Ude00")),
            ("string", "\ud800", "lone surrogate"), ("string", "`\ud800`", "lone surrogate"), ("point", "{tag: `\ud800`}", "tag: .*lone surrogate"),
            ("string", '"open', "quotes"),
            ("string", "x" * 17, "17 bytes"), ("table", '[{x: 1}, {n: q}]', r"\[1\].n"),
        ):  # fmt: skip
            before = seg.entry(name).text()
            with self.assertRaisesRegex(ValueError, says, msg=(name, text)) as refused:
                seg.entry(name).parse(text)
            self.assertIsInstance(refused.exception, shm.Error)
            self.assertEqual(seg.entry(name).text(), before)

    def test_update_and_wait(self):
        seg = self.open()
        self.all(seg)
        seg.entry("array").update(lambda old: f"[0: {old[2] + 1}]")
        seg.entry("atomic").update(lambda old: str(old - 5))
        seg.entry("point").update(lambda old: f"{{n: {old['n'] * 2}}}")
        seg.entry("table").update(lambda old: f"[1: {{x: {old[1]['x'] + 1}}}]")
        self.assertEqual((seg["array"][0], seg["atomic"].value, seg["point"].load().n, seg["table"][1].load().x), (4, (1 << 64) - 6, -6, 1.25))
        with self.assertRaises(ZeroDivisionError):
            seg.entry("point").update(lambda old: 1 / 0)
        self.assertFalse(seg["point"].get_lock().locked())
        for name, change in (("q", lambda: seg["q"].add(10)), ("raw", lambda: seg["raw"].__setitem__(0, 9)), ("table", lambda: seg["table"][0].store((9.0, 0, b"")))):
            before = seg.entry(name).load()
            threading.Timer(0.02, change).start()
            self.assertNotEqual(seg.entry(name).wait_for(lambda x: x != before, 20), before)
        with self.assertRaises(shm.WaitTimeoutError):
            seg.entry("raw").wait_for(lambda x: False, 0.01)
        with self.assertRaises(shm.ArgumentError):
            seg.entry("mutex").wait_for(lambda x: True)

    def test_update_of_rows(self):
        seg = self.open()
        self.all(seg)
        row, e, calls = seg["table"][1], seg.entry("table"), []

        def beside(change, f):
            """Update the table, and change a row by itself after f has seen it for the first time."""
            calls.clear()

            def update(old):
                if not calls:
                    change()
                calls.append(1)
                return f(old)

            e.update(update)

        row.store((1.0, 0, b""))
        beside(lambda: row.store((101.0, 7, b"")), lambda old: f"[1: {{x: {old[1]['x'] + 5}}}]")
        self.assertEqual((row.load().x, row.load().n, len(calls)), (106.0, 7, 2))
        with self.assertRaises(ZeroDivisionError):
            beside(lambda: row.store((0.0, 7, b"")), lambda old: f"[1: {{x: {1 / old[1]['x']}}}]")
        self.assertEqual((row.load().x, row.get_lock().locked()), (0.0, False))
        seg["table"][0].store((1.0, 0, b""))
        beside(lambda: row.store((5.0, 7, b"")), lambda old: f"[0: {{x: {old[0]['x'] + 1}}}, 1: {{x: {old[1]['x'] + 1}}}]")
        self.assertEqual([r.x for r in seg["table"].load()], [2.0, 6.0])
        beside(lambda: row.store((9.0, 7, b"")), lambda old: "[0: {x: 8}]" if old[1]["x"] == 9 else "[1: {x: 8}]")
        self.assertEqual([r.x for r in seg["table"].load()], [8.0, 9.0])
        with self.assertRaises(shm.UsageError):
            beside(lambda: row.store((1.0, 7, b"")), lambda old: (row.get_lock().locked() and row.get_lock().release()) or "[1: {x: 3}]")
        self.assertEqual(row.load().x, 1.0)

    def test_limits(self):
        layout = shm.parse_layout(f"(1000,1000)T{{<b:{'n' * 1000}:}}".replace("<", shm.layout.ORDER))
        self.assertIsNone(texts.text(layout, bytes(layout.size), 5000))
        self.assertTrue(texts.too_many(layout))
        self.assertFalse(texts.too_many(shm.parse_layout("(16000000)<b".replace("<", shm.layout.ORDER))))
        seg = self.open(create=True)
        big = seg.raw_array("big", "b", 17 << 20)
        e = seg.entry("big")
        self.assertEqual(e.text(), f"<a raw_array of {17 << 20} bytes, too large to show>")
        for call in (e.load, lambda: e.parse("[0: 1]")):
            with self.assertRaises(shm.TooLongError):
                call()
        self.assertEqual(big[0], 0)


class Errors(Case):
    def test_hierarchy(self):
        for name in shm.__all__:
            e = getattr(shm, name)
            if isinstance(e, type) and issubclass(e, BaseException):
                self.assertTrue(issubclass(e, shm.Error), name)
                if e not in (shm.Error, shm.CancelledError):
                    self.assertTrue(issubclass(e, (OSError, ValueError, TypeError, KeyError, RuntimeError)), name)

    def test_nothing_is_half_made(self):
        """Wrong arguments raise one of the package's exceptions, and take no name."""
        seg = self.open()
        wrong = (
            lambda: seg.value(None, "q"), lambda: seg.value(b"n", "q"), lambda: seg.value("", "q"), lambda: seg.value("a\n", "q"),
            lambda: seg.value("n" * 256, "q"), lambda: seg.value("\ud800", "q"), lambda: seg.value("n", "u"),
            lambda: seg.value("n", ctypes.c_void_p), lambda: seg.value("n", object), lambda: seg.value("n", None),
            lambda: seg.value("n", "q", unit=5), lambda: seg.value("n", "q", hint="nothing"), lambda: seg.array("n", "q", -1),
            lambda: seg.array("n", "q", []), lambda: seg.string("n", -1), lambda: seg.histogram("n", [2, 1]),
            lambda: seg.histogram("n", [math.nan]), lambda: seg.struct("n", Point, 5), lambda: seg.struct("n", Point, room=3),
            lambda: seg.ring("n", Point, 0), lambda: seg.counter("n", "i"), lambda: seg.atomic("n", "d"),
        )  # fmt: skip
        for i, call in enumerate(wrong):
            with self.assertRaises(shm.Error, msg=i):
                call()
        for i, call in enumerate((
            lambda: seg.value("n", "q", "text"), lambda: seg.array("n", "q", 1.5), lambda: seg.string("n", "4"),
            lambda: seg.struct("n", Point, room=1.5), lambda: seg.atomic("n", "q", 0.5), lambda: seg.array("n", "q", ["a"]),
        )):  # fmt: skip
            with self.assertRaises(TypeError, msg=i):
                call()
        self.assertEqual(list(seg), [])
        v, a, s, t = seg.value("v", "q", 5), seg.atomic("a", "q", 5), seg.array("s", "q", [1, 2]), seg.atomic_array("t", "q", 2)
        for call in (
            lambda: v.add("1"), lambda: v.add(1.5), lambda: v.store("1"), lambda: v.swap(None), lambda: v.compare_and_swap(5, "6"),
            lambda: v.update(lambda x: "1"), lambda: a.add("1"), lambda: a.add(0.5), lambda: a.store(None), lambda: a.swap("x"),
            lambda: a.compare_and_swap("5", 6), lambda: s.__setitem__(0, "1"), lambda: s.__setitem__("0", 1), lambda: s.add(0, "x"),
            lambda: s.__setitem__(slice(0, 2), [7, "x"]), lambda: t.__setitem__(0, "x"), lambda: t.add("x", 1), lambda: t.add(0, 1.5),
        ):  # fmt: skip
            with self.assertRaises(TypeError):
                call()
        self.assertEqual((v.value, a.value, s[:], t[:], v.get_lock().locked(), s.get_lock().locked()), (5, 5, [1, 2], [0, 0], False, False))
        with v.get_lock() as _:
            self.assertFalse(v.get_lock().abandoned())

    def test_segments(self):
        with self.assertRaisesRegex(shm.NotFoundError, "create=True"):
            shm.open(self.name)
        self.open()
        with self.assertRaises(shm.ExistsError):
            shm.open(self.name, exclusive=True)
        for wrong in ({"max_size": -1}, {"max_size": 1 << 60}, {"mode": 0o1777}, {"create": True, "readonly": True}):
            with self.assertRaises(shm.ArgumentError):
                shm.open(self.name, **wrong)
        for wrong in ({"max_size": 1.5}, {"mode": "0600"}):
            with self.assertRaises(TypeError):
                shm.open(self.name, **wrong)
        with self.assertRaises(shm.NotFoundError):
            shm.remove(self.name + "-none")
        with tempfile.TemporaryDirectory() as directory:
            pipe = os.path.join(directory, "pipe")
            os.mkfifo(pipe)
            for other in (directory, pipe):
                with self.assertRaises(shm.InsecureError):
                    shm.remove(other)
            self.assertTrue(os.path.exists(pipe))
        for flags in (os.O_WRONLY, os.O_PATH):
            fd = os.open(shm.path(self.name), flags)
            for readonly in (False, True):
                with self.assertRaisesRegex(PermissionError, rf"not for reading.*'descriptor {fd}'"):
                    shm.open_fd(fd, readonly=readonly)
            os.close(fd)

    def test_closed(self):
        seg = self.open()
        v, e = seg.value("v", "q"), seg.entry("v")
        seg.close()
        for call in (
            lambda: seg["v"], lambda: seg.value("w", "q"), lambda: list(seg), lambda: len(seg), lambda: seg.entries(), lambda: seg.entry("v"),
            lambda: seg.processes(), lambda: seg.leased(), lambda: seg.sync(), lambda: seg.size, lambda: seg.check(), lambda: seg.fileno(),
            lambda: seg.wait_for("v", 0), lambda: seg.passing().__enter__(), lambda: pickle.dumps(seg),
        ):  # fmt: skip
            with self.assertRaises(shm.ClosedError):
                call()
        self.assertEqual((v.add(1), e.text()), (1, "1"))

    def test_pickle_of_another_machine(self):
        seg = self.open()
        seg.value("v", "q")
        pickled = pickle.dumps(seg["v"])
        self.assertEqual(pickle.loads(pickled).value, 0)
        function, (path, device, inode, read_only, identity) = seg._attached().__reduce__()
        for other in ((path, device, inode + 1, read_only, identity), (path, device, inode, read_only, identity ^ 1)):
            with self.assertRaisesRegex(shm.NotFoundError, "another machine"):
                function(*other)


if __name__ == "__main__":
    unittest.main()
