"""Tests the lock between Go and Python, and holders that are killed."""

import gc
import os
import random
import signal
import threading
import time
import unittest

import shm
from shm.cell import KERNEL_WAITERS, OWNER_MASK

from .support import PEER, Case, eventually

HOLDER = """
import sys, shm
seg = shm.open(sys.argv[1])
v = seg["n"]
with v.get_lock():
    v.value += 1
    print("inside", flush=True)
    sys.stdin.readline()
"""


class Locks(Case):
    def setUp(self):
        super().setUp()
        self.seg = self.open()
        self.v = self.seg.value("n", "q")
        self.lock = self.v.get_lock()

    def waits_in_kernel(self, long=False):
        def ok():
            return self.lock._word.value & KERNEL_WAITERS and (not long or self.lock._cell.starve)

        eventually("a waiter sleeps", ok)

    def test_truth_of_blocking(self):
        for blocking in (True, False, None, 1 << 31, 1 << 64, -(1 << 63), "", "x", [], [1], 1.5):
            self.assertTrue(self.lock.acquire(blocking), blocking)
            self.lock.release()
            self.assertTrue(self.lock.acquire(blocking=blocking), blocking)
            self.lock.release()
        self.assertFalse(self.lock.locked())

    def test_excludes_go(self):
        go = self.agent()
        with self.lock:
            self.assertEqual(go.tell("trylock"), "false")
            with self.lock:
                self.v.value += 1
            self.assertEqual(go.tell("lockFor 5"), "gave up")
            go.say("lock")
            self.waits_in_kernel(long=True)
        self.assertEqual(go.line(), "locked")
        self.assertFalse(self.lock.acquire(blocking=False))
        self.assertFalse(self.lock.acquire(timeout=0))
        self.assertFalse(self.lock.acquire(timeout=0.02))
        for blocking in (0, None, "", []):  # its truth counts
            self.assertFalse(self.lock.acquire(blocking))
        self.assertEqual(self.v.load(), 1)  # does not wait
        with self.assertRaisesRegex(RuntimeError, "a thread that does not hold it"):
            self.lock.release()
        got = []
        t = threading.Thread(target=lambda: got.append(self.lock.acquire(timeout=20)) or self.lock.release())
        t.start()
        self.waits_in_kernel(long=True)
        self.assertEqual(go.tell("unlock"), "unlocked")
        t.join()
        self.assertEqual(got, [True])
        self.assertEqual(self.lock._word.value, 0)

    def test_killed_go_holder(self):
        for how in ("late", "waiting", "waiting long", "non-blocking"):
            go = self.agent()
            self.assertEqual(go.tell("addSlowly 1"), "inside")
            told = []

            def take():
                while not self.lock.acquire(how != "non-blocking"):
                    time.sleep(0.001)
                told.append(self.lock.abandoned())
                self.lock.release()

            t = threading.Thread(target=take)
            if how.startswith("waiting"):
                t.start()
                self.waits_in_kernel(long=how.endswith("long"))
            go.kill()
            if not how.startswith("waiting"):
                t.start()
            t.join(20)
            self.assertEqual(told, [True], how)
            with self.lock:
                self.assertFalse(self.lock.abandoned())
        self.assertEqual(self.v.load(), 4)
        self.assertEqual(self.lock._word.value, 0)

    def test_killed_python_holder(self):
        go = self.agent()
        for how in ("late", "waiting", "waiting long"):
            holder = self.python(HOLDER)
            self.assertEqual(holder.line(), "inside")
            if how != "late":
                go.say("lock")
                self.waits_in_kernel(long=how.endswith("long"))
            holder.kill()
            if how == "late":
                go.say("lock")
            self.assertEqual(go.line(), "locked")
            self.assertEqual(go.tell("abandoned"), "true")
            self.assertEqual(go.tell("unlock"), "unlocked")
        self.assertEqual(self.v.load(), 3)

    def test_takeover_is_from_the_word_that_was_seen(self):
        """A waiter that finds a dead owner does not take the lock from a process that took it over before."""
        dead, next = self.agent(), self.agent()
        self.assertEqual(dead.tell("lock"), "locked")
        seen = self.lock._word.value
        dead.kill()
        self.assertEqual(next.tell("lock"), "locked")
        held = self.lock._word.value
        self.v.get_obj().value = 1
        self.assertFalse(self.lock.acquire(blocking=False))  # has an id now
        eventually("the owner may be probed", lambda: self.lock._take_over(seen, 0)[1])
        self.assertTrue(self.lock._mapping.lease.known_dead(seen & OWNER_MASK))
        self.assertEqual(self.lock._take_over(seen, 0), (False, True))
        self.assertEqual(self.lock._word.value, held)
        # A probe through the description that holds the lease says that it is free.
        self.assertTrue(self.lock._mapping.lease.alive(self.lock._hold.id))

    def test_stopped_holder_is_not_robbed(self):
        holder = self.python(HOLDER)
        self.assertEqual(holder.line(), "inside")
        os.kill(holder.pid, signal.SIGSTOP)
        go = self.agent()
        self.assertEqual(go.tell("lockFor 50"), "gave up")
        self.assertFalse(self.lock.acquire(timeout=0.05))
        os.kill(holder.pid, signal.SIGCONT)
        holder.say("")
        with self.lock:
            self.assertFalse(self.lock.abandoned())

    def test_exception_inside(self):
        with self.assertRaises(KeyError), self.lock:
            raise KeyError
        go = self.agent()
        self.assertEqual(go.tell("lock"), "locked")
        self.assertEqual(go.tell("abandoned"), "true")
        self.assertEqual(go.tell("unlock"), "unlocked")
        with self.lock:
            self.assertFalse(self.lock.abandoned())

    def test_threads(self):
        go = self.agent()
        rounds = 300

        def work(i):
            for k in range(rounds):
                if k % 3:
                    with self.lock:
                        self.v.value += 1
                elif k % 2:
                    self.v.add(1)
                else:
                    self.v.update(lambda x: x + 1)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        go.say("add 20000")
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(go.line(), "added")
        self.assertEqual(self.v.load(), 20000 + 6 * rounds)
        self.assertEqual(self.lock._word.value, 0)

    def test_await_both_ways(self):
        go = self.agent()
        go.say("await 5")
        eventually("Go awaits a change", lambda: self.lock._change_word.value & 1)
        before = self.lock._change_word.value
        self.v.add(5)
        # Even without a wake-up Go would see the change, at a time-out. Therefore the word
        # is checked.
        self.assertEqual(self.lock._change_word.value & ~1, before + 1)
        self.assertEqual(go.line(), "saw 5 <nil>")
        seen = []
        t = threading.Thread(target=lambda: seen.append(self.v.wait_for(lambda x: x >= 7, 20)))
        t.start()
        eventually("Python awaits a change", lambda: self.lock._change_word.value & 1)
        self.assertEqual(go.tell("add 2"), "added")
        t.join()
        self.assertEqual(seen, [7])
        with self.assertRaises(shm.WaitTimeoutError):
            self.v.wait_for(lambda x: x < 0, 0.02)

    def test_await_name(self):
        made = []
        t = threading.Thread(target=lambda: made.append(self.seg.wait_for("mutex", 20)))
        t.start()
        go = self.go("pythonPeer", self.name)
        self.assertEqual(go.tell("make"), "ok")
        t.join()
        self.assertIsInstance(made[0], shm.Mutex)
        with self.assertRaises(TimeoutError):
            self.seg.wait_for("nothing", 0.01)

    def test_one_mutex_however_often_attached(self):
        other = self.open()["n"]
        self.assertIs(other.get_lock(), self.lock)
        with self.lock, other.get_lock():
            other.value += 1
        self.assertEqual(self.v.value, 1)

    def test_held_beyond_close(self):
        """A lock that is held when its Segment and its last handle go is still held, by the same thread."""
        with shm.open(self.name) as other:
            other.mutex("m").acquire()
        del other
        gc.collect()
        lock = self.seg.mutex("m")
        self.assertTrue(lock.locked())
        self.assertTrue(lock.acquire(timeout=20))
        lock.release()
        self.assertTrue(lock.locked())
        lock.release()
        self.assertFalse(lock.locked())

    def test_held_beyond_everything(self):
        """A process that lives keeps a lock also if it forgets the segment and each of its handles; its child does not."""
        program = (
            "import gc, os, sys, shm\n"
            "def hold():\n"
            "    shm.open(sys.argv[1]).value('n', 'q').get_lock().acquire()\n"
            "hold()\ngc.collect()\n"
            "r, w = os.pipe()\n"
            "if os.fork() == 0:\n"  # it lives on
            "    os.close(w)\n    os.read(r, 1)\n    os._exit(0)\n"
            "print('held', flush=True)\nsys.stdin.read()\nos._exit(0 * w)\n"
        )
        other = self.python(program)
        self.assertEqual(other.line(), "held")
        self.assertFalse(self.lock.acquire(timeout=0.1))
        other.kill()
        self.assertTrue(self.lock.acquire(timeout=20))
        self.assertTrue(self.lock.abandoned())
        self.lock.release()

    def test_works_after_close(self):
        self.lock.acquire()
        self.seg.close()
        self.seg.close()
        self.v.store(3)
        go = self.agent()
        self.assertEqual(go.tell("trylock"), "false")
        self.lock.release()
        self.assertEqual(go.tell("trylock"), "true")
        self.assertEqual(go.tell("unlock"), "unlocked")
        self.v.add(1)
        self.assertEqual(self.v.load(), 4)
        self.assertRaises(shm.ClosedError, lambda: self.seg["n"])

    def test_torn_reads(self):
        """A reader never sees two halves of a struct differ, whichever language writes."""
        go = self.go("pythonPeer", self.name)
        self.assertEqual(go.tell("pair"), "ok")
        pair = self.seg["pair"]
        go.say("writePairs 200")
        for i in range(1000):
            p = pair.load()
            self.assertEqual(p.A[0], p.A[4095])
            if i % 10 == 0:
                with pair.get_lock():  # two commits while the lock is held once
                    for _ in range(2):
                        with pair.edit() as p:
                            p.A[0] += 1000
                            p.A[4095] += 1000
        self.assertEqual(go.line(), "ok")

    def test_overtaken_reader(self):
        """A reader that was overtaken so often that it asks for the lock does not wait for the holder.

        The holder is a stopped process, or a thread of the reader's process.
        """
        values = self.seg.struct("v", "q"), self.seg.string("text", 8)
        read_only = self.open(readonly=True)

        def tries(slots, overtaken):
            """Return how often a reader copies if so many of its copies are overtaken."""
            copies = []

            def copy(_):
                copies.append(0)
                if len(copies) <= overtaken:
                    count.value += 2

            t = threading.Thread(target=slots.read, args=(copy,), daemon=True)
            t.start()
            t.join(20)
            self.assertFalse(t.is_alive(), "the reader waits")
            return len(copies)

        for slots in (v._slots for v in values):
            count, lock = slots.count, slots.mutex
            self.assertEqual(tries(slots, 65), 65)  # the last copy under the lock
            self.assertFalse(lock.locked())
            self.assertEqual(tries(read_only[lock.name]._slots, 200), 201)
            holder = self.child(lambda: lock.acquire() and os.kill(os.getpid(), signal.SIGSTOP))
            try:
                os.waitpid(holder, os.WUNTRACED)
                self.assertEqual(tries(slots, 64), 65)
            finally:
                os.kill(holder, signal.SIGKILL)
                self.reap(holder)
            with lock:
                self.assertEqual(tries(slots, 64), 65)

    def test_storm(self):
        """Processes in Go and Python add under the lock and are killed all the time.

        Each kill loses at most the one addition that was under way, and no process gets stuck.
        """
        if not PEER:
            self.skipTest("there is no Go peer: run the tests with go test -run TestPython ./test/interop")
        procs, kills, seconds = 4, 0, float(os.environ.get("SHM_TEST_STORM", "3"))
        counts = self.seg.raw_array("counts", "q", 6)  # as many as the Go helper wants
        v, lock = self.v, self.lock

        def start(i):
            if i % 2:
                return self.go("storm", self.name, str(i))
            return self.child(lambda: storm(i))

        def storm(i):
            n = v.get_obj()
            while True:
                with lock:
                    n.value += 1
                    counts[i] += 1

        def kill(p):
            if isinstance(p, int):
                os.kill(p, signal.SIGKILL)
                os.waitpid(p, 0)
            else:
                p.kill()

        running = []
        try:
            running += [start(i) for i in range(procs)]
            end = time.monotonic() + seconds
            while True:
                late = time.monotonic() - end
                if late >= 0 and counts[0] and counts[1] or late > 60:
                    break
                # On a busy machine a process may need longer than this to start. After
                # the storm each language gets the time to add something.
                time.sleep(random.random() * 0.02 if late < 0 else 0.5)
                i = random.randrange(procs)
                kill(running[i])
                running[i] = None
                kills += 1
                # Python forks while others hold the lock, and takes the lock itself.
                self.assertTrue(lock.acquire(timeout=20), "the lock is stuck")
                lock.release()
                running[i] = start(i)
        finally:
            for p in running:
                if p is not None:
                    kill(p)
        self.assertTrue(lock.acquire(timeout=20))
        counted = sum(counts)
        self.assertLessEqual(counted, v.value)
        self.assertLessEqual(v.value, counted + kills + procs)
        self.assertTrue(counts[0] and counts[1], list(counts))
        lock.release()


class Forks(Case):
    def setUp(self):
        super().setUp()
        self.seg = self.open()
        self.v = self.seg.value("n", "q")
        self.lock = self.v.get_lock()

    def test_child_has_its_own_id(self):
        self.v.add(1)
        mine = self.lock._hold.id

        def body():
            if self.lock._hold.id != 0:
                return 1
            self.v.add(1)
            return 0 if self.lock._hold.id not in (0, mine) else 2

        self.assertEqual(self.reap(self.child(body)), 0)
        self.assertEqual(self.lock._hold.id, mine)
        self.v.add(1)
        self.assertEqual(self.v.value, 3)

    def test_child_does_not_hold_the_parents_lock(self):
        self.lock.acquire()

        def body():
            try:
                self.lock.release()
                return 1
            except RuntimeError:
                pass
            return 2 if self.lock.acquire(timeout=0.02) else 0

        self.assertEqual(self.reap(self.child(body)), 0)
        # The child has ended, and its end released nothing.
        go = self.agent()
        self.assertEqual(go.tell("trylock"), "false")
        self.lock.release()
        self.assertEqual(go.tell("trylock"), "true")

    def test_killed_child_is_followed(self):
        r, w = os.pipe()

        def body():
            self.lock.acquire()
            os.write(w, b"x")
            signal.pause()

        pid = self.child(body)
        os.read(r, 1)
        self.assertFalse(self.lock.acquire(timeout=0.02))
        os.kill(pid, signal.SIGKILL)
        self.reap(pid)
        self.assertTrue(self.lock.acquire(timeout=20))
        self.assertTrue(self.lock.abandoned())
        self.lock.release()
        os.close(r)
        os.close(w)

    def test_living_child_does_not_keep_a_dead_parents_lease(self):
        parent = self.python(
            "import os, sys, time, shm\n"
            "lock = shm.open(sys.argv[1])['n'].get_lock()\n"
            "lock.acquire()\n"
            "pid = os.fork()\n"
            "if pid == 0:\n"
            "    print('child', flush=True)\n"
            "    time.sleep(60)\n"
            "    os._exit(0)\n"
            "sys.stdin.readline()\n"
            "print(pid, flush=True)\n"
            "time.sleep(60)\n"
        )
        self.assertEqual(parent.line(), "child")
        child = int(parent.tell(""))
        try:
            parent.kill()
            go = self.agent()
            self.assertEqual(go.tell("lockFor 15000"), "locked")
            os.kill(child, 0)  # the child lives
        finally:
            os.kill(child, signal.SIGKILL)

    def test_forks_while_threads_lock(self):
        stop = threading.Event()

        def work():
            while not stop.is_set():
                self.v.add(1)
                self.seg.raw_value(f"x{random.randrange(30)}", "i")

        threads = [threading.Thread(target=work) for _ in range(2)]
        for t in threads:
            t.start()
        try:
            for _ in range(15):
                child = self.child(lambda: 0 if self.v.add(1) and self.seg.value("y", "i") else 1)
                self.assertEqual(self.reap(child), 0)
        finally:
            stop.set()
            for t in threads:
                t.join()
        self.assertEqual(self.lock._word.value, 0)


if __name__ == "__main__":
    unittest.main()
