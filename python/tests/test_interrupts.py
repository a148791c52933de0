"""Tests exceptions of signal handlers, and handlers that use the segment, at every step and at random moments.

CPython calls handlers in the main thread, between two instructions. Here a trace
function stands for a handler that comes at a given instruction, and a timer's
signal for one that comes at any.
"""

import ctypes
import faulthandler
import itertools
import linecache
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import unittest

import shm
from shm.cell import KERNEL_WAITERS, OWNER_MASK

from .support import Case

PACKAGE = os.path.dirname(shm.__file__)
STORM = float(os.environ.get("SHM_TEST_STORM", "3"))  # seconds
# Each step is tried only in a long storm. Otherwise other ones are tried each time, and
# fewer with all but the first Python, where storms are shorter.
STRIDE = 1 if STORM >= 10 else 4 if STORM >= 1 else 12


def steps(stride):
    """Yield numbers of steps, of which each test takes those that are a stride apart."""
    step = random.randrange(stride)
    while True:
        step += stride if step else 1
        yield step


def storm(enough):
    """Yield until the time is over and enough() is true. On a busy machine that takes longer."""
    end = time.monotonic() + STORM / 2
    while time.monotonic() < end or not enough() and time.monotonic() < end + 60:
        yield


NATIVE = shm.implementation == "native"


class Pair(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int64), ("y", ctypes.c_int64)]


class Interrupt(BaseException):
    pass


def at_step(step, handler, function):
    """Call the function, and the handler once, at an instruction of the package.

    step counts the instructions from 1. Return the function's name and the source line
    of the instruction, or None if there are fewer.
    """
    place = None
    by_line = sys.version_info >= (3, 13)  # 3.13.0 traces some instructions only

    def trace(frame, event, _):
        nonlocal step, place
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = not by_line, by_line
        if event in ("call", "line", "opcode"):
            step -= 1
            if step == 0:
                place = frame.f_code.co_name, linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0).strip()
                sys.settrace(None)
                handler()
        return trace

    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(None)
    return place


def interrupt():
    raise Interrupt


def for_a_second(call):
    """Call again and again, until an exception comes. CPython drops one in a finalizer, so not for ever.

    This is a function of its own because CPython 3.13.0 does not look for a signal inside
    the try block where a loop in it goes back.
    """
    end = time.monotonic() + 1
    while time.monotonic() < end:
        call()


class Interrupts(Case):
    def setUp(self):
        super().setUp()
        # A hang is a failure that shows where it is.
        faulthandler.dump_traceback_later(240 + 20 * STORM, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)
        self.seg = seg = self.open(create=True, max_size=1 << 30)
        self.v, self.s, self.text = seg.value("v", "q"), seg.struct("s", Pair), seg.string("text", 16)
        self.d, self.a = seg.value("d", "d"), seg.array("a", "i", 4)
        self.ring, self.row = seg.ring("ring", Pair, 4), seg.table("table", Pair, 3)[1]
        self.made = 0

    def edit(self):
        with self.s.edit() as p:
            p.x += 1
            p.y -= 1

    def step_both(self, p):
        p.x += 1
        p.y -= 1

    def make(self):
        name = f"made{self.made}"
        self.seg.value(name, "q", self.made)
        self.made += 1

    def changes(self):
        """Return changes of values by calls, during which no code of the user has the lock."""
        return {
            "add": (self.v, lambda: self.v.add(1)),
            "add to a float": (self.d, lambda: self.d.add(0.5)),
            "store": (self.v, lambda: self.v.store(5)),
            "swap": (self.v, lambda: self.v.swap(5)),
            "compare": (self.v, lambda: self.v.compare_and_swap(self.v.value, 6)),
            "update": (self.v, lambda: self.v.update(lambda x: x + 1)),
            "struct": (self.s, lambda: self.s.store((self.s.load().x, -self.s.load().x))),
            "update struct": (self.s, lambda: self.s.update(self.step_both)),
            "text": (self.text, lambda: self.text.store("text")),
            "element": (self.a, lambda: self.a.store(1, 2)),
            "slice": (self.a, lambda: self.a.store(slice(0, 3), (1, 2, 3))),
            "add to an element": (self.a, lambda: self.a.add(2, 1)),
            "append": (self.ring, lambda: self.ring.append((1, -1))),
            "row": (self.row, lambda: self.row.store((1, -1))),
        }

    def state(self, lock):
        """Return what is not as in a free lock."""
        hold = lock._hold
        return {
            what: x
            for what, x in {
                "word": lock._word.value & OWNER_MASK, "gate": hold.owned(), "held": hold.held, "depth": hold.depth,
                "taken": hold.taken, "editing": hold.editing, "free": hold.id and hold.free.value, "mine": hold.id and hold.mine.value - hold.id,
            }.items()
            if x
        }  # fmt: skip

    def sane(self):
        """Check the directory, in this process and in a new one."""
        names = list(self.seg)
        self.assertEqual(len(names), len(set(names)))
        look = (
            "import shm, sys\n"
            "seg = shm.open(sys.argv[1])\n"
            "for name in seg:\n"
            "    assert not name.startswith(('made', 'own')) or seg[name].value == int(name.lstrip('ownmade')), name\n"
            "seg.value('last', 'q').add(1)\n"
            "print(*seg)\n"
        )
        there = subprocess.run([sys.executable, "-c", look, self.name], check=True, stdout=subprocess.PIPE, text=True)
        self.assertEqual(there.stdout.split(), names + ["last"] * ("last" not in names))

    def test_exception_at_every_step_of_a_change(self):
        tried = 0
        for name, (value, change) in self.changes().items():
            for dead in (False, True):
                lock = value.get_lock()
                for step in steps(STRIDE):
                    if dead:
                        lock._cell.word, lock._cell.probed = OWNER_MASK - 5 | KERNEL_WAITERS, 0
                    try:
                        place = at_step(step, interrupt, change)
                    except Interrupt:
                        place = ""
                    if dead and lock._word.value & OWNER_MASK == OWNER_MASK - 5:
                        lock._word.value = 0  # the exception came before the takeover
                    lock._word.value &= OWNER_MASK
                    self.assertEqual(self.state(lock), {}, (name, step))
                    p = self.s.load()
                    self.assertEqual(p.x, -p.y)
                    tried += 1
                    if place is None:
                        break
        self.assertGreater(tried, 20)

    def test_exception_at_every_step_of_a_with_statement(self):
        """The lock is left held only if the exception comes before __exit__ has begun, or after __enter__."""
        lock = self.v.get_lock()
        unsafe = {"hold = self._hold", "depth = hold.depth", "if not (hold.held or depth):", "try:", "return True", "hold.depth += 1"}

        def block():
            with lock:
                pass

        for recursive in (False, True):
            step, place, left = 0, "", 0
            while place is not None:
                step += 1
                if recursive:
                    lock.acquire()
                place = []

                def note():
                    frame = sys._getframe(2)  # below trace
                    place.append((frame.f_code.co_name, linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0).strip()))
                    raise Interrupt

                try:
                    place = at_step(step, note, block)
                except Interrupt:
                    if lock._hold.level() >= recursive:
                        left += 1
                        function, line = place[0]
                        self.assertIn(function, ("__enter__", "__exit__"))
                        self.assertTrue(line in unsafe or line.startswith("def __exit__"), place)
                        lock.release()
                if recursive:
                    self.assertEqual(lock._hold.level(), 0)
                    lock.release()
                self.assertEqual(self.state(lock), {}, step)
            # The verbs in C have no instructions between which a handler could come.
            self.assertGreater(step, 0 if NATIVE else 10)

    @unittest.skipIf(NATIVE, "in C no handler comes between the block and __exit__")
    def test_an_edit_whose_exit_has_not_begun(self):
        """The exception of a handler may come as __exit__ is called. Then only its frames refer to the edit."""
        lock, v = self.s.get_lock(), self.s.load()
        for level in (-1, 0):
            if level == 0:
                lock.acquire()
            edit = self.s.edit()
            edit.__enter__().x += 1
            self.assertEqual(lock._hold.level(), level + 1)
            del edit
            self.assertEqual(lock._hold.level(), level)
            with self.s.edit():
                pass
        lock.release()
        self.assertEqual(self.state(lock), {})
        self.assertEqual(self.s.load().x, v.x)
        edit = self.s.edit()
        with edit:
            pass
        with self.s.edit() as p:
            p.y = 5
            del edit  # an edit that has ended leaves another one alone
        self.assertEqual(self.s.load().y, 5)
        edit = self.s.edit()
        edit.__enter__()
        lock.release()  # by hand
        with lock:
            del edit
            self.assertEqual(lock._hold.level(), 0)

    def first_adds(self):
        """Return counters and what tells their sum, with the addition of 1."""
        c, d, h = self.seg.counter("count"), self.seg.counter("counts", "d"), self.seg.histogram("h", [5])
        return ((c, c.load, lambda: c.add(1)), (d, d.load, lambda: d.add(1)), (h, lambda: sum(h.load().counts), lambda: h.observe(1)))

    def unclaim(self, v):
        """Have no cell, as a process has none before its first change. The cells are those of dead processes."""
        v._claim.start_anew()
        for i in range(1, v._cells.in_use() + 1):
            v._cells.owner(i).value = OWNER_MASK - 7 if i % 2 else 0
            v._cells.cell(i).probed = 0

    def test_exception_at_every_step_of_a_claim(self):
        """A first addition is made or not, and the next one is exact, whatever cell the exception left over."""
        for v, load, add in self.first_adds():
            for step in steps(STRIDE):
                self.unclaim(v)
                before, place = load(), ""
                try:
                    place = at_step(step, interrupt, add)
                except Interrupt:
                    pass
                self.assertIn(load() - before, (0, 1) if place == "" else (1,), (v, step))
                before = load()
                add()
                self.assertEqual(load() - before, 1, (v, step))
                if place is None:
                    break
        g = self.seg.gauge("g")
        for step in steps(STRIDE):
            self.unclaim(g)
            place = ""
            try:
                place = at_step(step, interrupt, lambda: g.set(5))
            except Interrupt:
                pass
            self.assertIn(g.load(), (0, 5), step)
            g.set(7)
            self.assertEqual((g.load(), len(g.parts())), (7, 1), step)
            if place is None:
                break

    def test_handler_at_every_step_of_a_claim(self):
        """A handler adds to the same counter, and nothing is lost. A gauge that is just claimed refuses it."""
        for v, load, add in self.first_adds():
            for step in steps(STRIDE):
                self.unclaim(v)
                before = load()
                place = at_step(step, add, add)
                self.assertEqual(load() - before, 1 if place is None else 2, (v, step, place))
                if place is None:
                    break
        g, refused = self.seg.gauge("g"), 0

        def handler():
            nonlocal refused
            try:
                g.add(1)
            except RuntimeError as e:
                self.assertIn("first change", str(e))
                refused += 1

        for step in steps(STRIDE):
            self.unclaim(g)
            before = refused
            place = at_step(step, handler, lambda: g.add(1))
            self.assertEqual(g.load(), 1 if place is None or refused > before else 2, (step, place))
            if place is None:
                break
        self.assertGreater(refused, 0)

    def test_exception_at_every_step_of_an_append(self):
        """A value is appended whole or not at all, and the numbers have no gap. No reader sees half of one."""
        for step in steps(STRIDE):
            before = (self.ring.last() or (None, 0))[1]
            place = ""
            try:
                place = at_step(step, interrupt, lambda: self.ring.append((step, -step)))
            except Interrupt:
                pass
            x, seq = self.ring.last() or (None, 0)
            self.assertIn(seq - before, (0, 1) if place == "" else (1,))
            self.assertEqual(self.state(self.ring.get_lock()), {}, step)
            if seq:
                self.assertEqual(x.x, -x.y)
            if place is None:
                break

    @unittest.skipIf(NATIVE, "the release is one call into C, which no exception interrupts")
    def test_two_exceptions_in_a_row(self):
        """What a second exception leaves over when it interrupts the clean-up, the thread's next change completes."""
        lock, real = self.v.get_lock(), self.v.get_lock()._hold.release
        for where in ("word", "gate"):

            def block():
                with lock:
                    pass

            calls = []

            def release_word(self, real=shm.Mutex._release_word):
                calls.append(0)
                if where == "word":
                    raise Interrupt
                real(self)

            hold = lock._hold
            shm.Mutex._release_word, saved = release_word, shm.Mutex._release_word
            if where == "gate":
                hold.release = interrupt
            lock._word.value, free = 0, None
            try:
                lock.acquire()
                lock._word.value |= KERNEL_WAITERS  # so that the release takes the slow path
                self.assertRaises(Interrupt, lock.release)
            finally:
                shm.Mutex._release_word, hold.release = saved, real
            self.assertTrue(calls)
            self.assertNotEqual(self.state(lock), {})
            self.v.add(1)
            self.assertEqual(self.state(lock), {}, where)

    def test_handler_at_every_step_of_a_change(self):
        """A handler that changes the same value does it, or raises RuntimeError. Nothing hangs, and no change is lost."""
        refused = done = 0

        def handler():
            nonlocal refused, done
            for value, change in handled:
                try:
                    change()
                    done += 1
                    counts[id(value)] += 1
                except RuntimeError as e:
                    self.assertIn("inside another change", str(e))
                    refused += 1

        v, d, s = self.v, self.d, self.s
        counted = {
            "add": (v, lambda: v.add(1)), "add to a float": (d, lambda: d.add(1)), "update": (v, lambda: v.update(lambda x: x + 1)),
            "edit": (s, self.edit), "with": (v, self.add_in_with),
        }  # fmt: skip
        handled = [(v, lambda: v.add(1)), (d, lambda: d.add(1)), (s, self.edit), (v, self.add_in_with)]
        counts = {id(x): 0 for x in (v, d, s)}
        tried = 0
        for (name, (value, change)), dead in itertools.product(counted.items(), (False, True)):
            for step in steps(STRIDE):
                tried += 1
                if dead:  # the slow path of Python, also with the verbs in C
                    value.get_lock()._cell.word, value.get_lock()._cell.probed = OWNER_MASK - 5 | KERNEL_WAITERS, 0
                place = at_step(step, handler, change)
                counts[id(value)] += 1
                self.assertEqual([v.value, d.value, s.load().x, s.load().y], [*counts.values(), -counts[id(s)]], (name, step))
                for x in (v, d, s):
                    self.assertEqual(self.state(x.get_lock()), {}, (name, step, place))
                if place is None:
                    break
        v.update(lambda x: handler() or x)  # also where a change is one step
        self.assertEqual([v.value, d.value, s.load().x], [*counts.values()])
        self.assertGreater(tried, 10)
        self.assertGreater(done, 0)
        self.assertGreater(refused, 0)

    def add_in_with(self):
        with self.v.get_lock():
            self.v.add(1)

    def test_changes_do_not_nest(self):
        s, v, a = self.s, self.v, self.a
        refused = (
            lambda: s.store((9, 9)), lambda: s.update(lambda p: None), self.edit,
        )  # fmt: skip
        with s.edit() as p:
            p.x = 3
            for change in refused:
                self.assertRaises(RuntimeError, change)
            with s.get_lock():
                pass
        self.assertEqual(s.load().x, 3)
        for change in (lambda: v.add(1), lambda: v.store(1), lambda: v.swap(1), lambda: v.compare_and_swap(0, 1)):
            with self.assertRaisesRegex(RuntimeError, "inside another change"):
                v.update(lambda x: change() or x)
            self.assertEqual((v.value, self.state(v.get_lock())), (0, {}))
        with v.get_lock():
            v.store(1)
            v.value += 1
            self.assertEqual(v.add(1), 3)
            v.update(lambda x: x + 1)
        with a.get_lock():
            a[0] = 1
            a.add(0, 1)
        self.assertEqual((v.value, a[0]), (4, 2))

    def test_exception_at_every_step_of_making_a_value(self):
        other = os.open(f"/dev/shm/{self.name}", os.O_RDWR)
        self.addCleanup(os.close, other)
        for step in steps(7 * STRIDE):  # there are some thousand
            place = ""
            try:
                place = at_step(step, interrupt, self.make)
            except Interrupt:
                pass
            self.assertFalse(allocation_locked(other), step)
            if step % 5 == 0:
                self.make()
                self.assertEqual(len(set(self.seg)), len(self.seg))
            if place is None:
                break
        self.sane()

    def test_handler_at_every_step_of_making_a_value(self):
        """A handler that makes a value overwrites nothing: it does it, or raises RuntimeError. It can always read."""
        refused = done = 0
        own = 0

        def handler():
            nonlocal refused, done, own
            len(list(self.seg))
            self.assertEqual(self.seg["v"].value, 0)
            try:
                self.seg.value(f"own{own}", "q", own)
                done += 1
            except RuntimeError as e:
                self.assertIn("cannot make a value while", str(e))
                refused += 1
            own += 1
            self.s.store((own, -own))

        for step in steps(11 * STRIDE):
            if at_step(step, handler, self.make) is None:
                break
        names = list(self.seg)
        for name in names:
            if name.startswith(("own", "made")):
                self.assertEqual(self.seg[name].value, int(name.lstrip("ownmade")))
        self.assertEqual(sum(name.startswith("own") for name in names), done)
        self.assertGreater(refused, 0)
        self.assertGreater(done, 0)
        self.sane()

    def test_storm_of_exceptions(self):
        """Exceptions at random moments, beside a process in Go that uses the same locks.

        The lock of a call is never left held. That of a with statement is left held no
        more often than that of multiprocessing, which is measured in the same run.
        """
        go = self.go("agent", self.name)
        self.assertEqual(go.line(), "ready")
        go.say("addForever")
        seg, theirs = self.seg, multiprocessing.Value("q", 0)
        shared = seg["n"]
        other = os.open(f"/dev/shm/{self.name}", os.O_RDWR)
        self.addCleanup(os.close, other)

        def with_theirs():
            with theirs.get_lock():
                theirs.value += 1

        calls = [change for _, change in self.changes().values()] + [lambda: shared.add(1), self.make, lambda: list(seg)[:1]]
        tries, left = {"calls": 0, "with": 0, "multiprocessing": 0}, {"calls": 0, "with": 0, "multiprocessing": 0}
        old = signal.signal(signal.SIGALRM, lambda *_: interrupt())
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        for i, _ in enumerate(storm(lambda: min(tries.values()) >= 20)):
            what = ("calls", "with", "multiprocessing")[i % 3]
            call = {"calls": calls[i // 3 % len(calls)], "with": (self.add_in_with, self.edit)[i // 3 % 2], "multiprocessing": with_theirs}[what]
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(5e-6, 4e-4))
                for_a_second(call)
            except Interrupt:
                tries[what] += 1
            if what == "multiprocessing":
                if theirs.get_lock()._semlock._is_mine():
                    left[what] += 1
                    theirs = multiprocessing.Value("q", 0)
                continue
            for lock in {shared.get_lock(), *(value.get_lock() for value, _ in self.changes().values())}:
                if lock._hold.owned():
                    left[what] += 1
                    lock._hold.settle()
                    lock.return_to(-1)
                self.assertTrue(self.state(lock).keys() <= {"word"}, self.state(lock))
            self.assertFalse(allocation_locked(other))
            p = self.s.load()
            self.assertEqual(p.x, -p.y)
        report = f"{sys.version.split()[0]}: exceptions {tries}, locks left held {left}"
        print(report, file=sys.stderr)
        self.assertEqual(left["calls"], 0, report)
        # Both are random, so a difference of five standard deviations is allowed.
        expected = left["multiprocessing"] * tries["with"] / max(tries["multiprocessing"], 1)
        self.assertLessEqual(left["with"], expected + 5 * math.sqrt(expected + left["with"] + 1), report)
        go.kill()
        self.assertTrue(shared.get_lock().acquire(timeout=20))
        shared.get_lock().release()
        self.sane()

    def test_storm_of_handlers(self):
        """Handlers at random moments that lock, add, make values and list, beside a process in Go."""
        go = self.go("agent", self.name)
        self.assertEqual(go.line(), "ready")
        go.say("addForever")
        seg, v, s, shared = self.seg, self.v, self.s, self.seg["n"]
        done, refused, signals, own, going = {"v": 0, "s": 0}, 0, 0, 0, True

        def work(what, value, call):
            nonlocal refused
            try:
                call()
                done[what] += value
            except RuntimeError:
                refused += 1

        def make_own():
            nonlocal own
            own += 1
            seg.value(f"own{own}", "q", own)

        def handler(*_):
            nonlocal signals
            signals += 1
            work("v", 1, lambda: v.add(1))
            work("v", 1, self.add_in_with)
            work("s", 1, self.edit)
            work("v", 0, lambda: shared.add(1))
            work("v", 0, make_own)
            if signals % 16 == 0:
                len(seg)
            if going:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 4e-4))

        old = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_REAL, 1e-4)
        mine = 0
        for _ in storm(lambda: signals > 30):
            mine += 1
            v.add(1)
            v.update(lambda x: x + 1)
            self.add_in_with()
            self.edit()
            shared.add(1)
            if mine % 8 == 0:
                self.make()
        going = False  # first: a handler that is about to run would set the timer again
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(f"{sys.version.split()[0]}: {signals} signals, {refused} changes refused, {mine} rounds", file=sys.stderr)
        self.assertEqual(v.value, 3 * mine + done["v"])
        self.assertEqual((s.load().x, s.load().y), (mine + done["s"], -mine - done["s"]))
        self.assertGreater(signals, 0)
        if signals > 20:  # on a busy machine few handlers run, and of few any may be refused
            self.assertLess(refused, 2 * signals)
        for value in (v, s, shared):
            self.assertTrue(self.state(value.get_lock()).keys() <= {"word"})
        go.kill()
        self.sane()


def allocation_locked(fd):
    """Report whether a process holds the allocation lock, as seen through a description of its own."""
    return shm.lease._lock_byte(fd, shm.lease._OFD_GETLK, shm.lease.fcntl.F_WRLCK, 0) != shm.lease.fcntl.F_UNLCK


if __name__ == "__main__":
    unittest.main()
