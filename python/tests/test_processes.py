"""Tests multiprocessing, fork, many threads, and waits that a signal ends. test_interrupts.py has the rest of signals."""

import multiprocessing
import os
import pickle
import signal
import threading
import unittest

import shm
from shm import mutex
from shm.cell import KERNEL_WAITERS, OWNER_MASK

from .support import Case, eventually
from .test_kinds import Point, make


def add_to_all(segment, value, array, struct, text, atomic, lock, entered):
    """The target of a process that multiprocessing starts: change all arguments."""
    value.add(1)
    segment["value"].add(1)
    array.add(0, 1)
    with struct.edit() as p:
        p.N += 1
    text.store(b"from a child")
    atomic.add(1)
    with lock:
        entered.release()
        signal.pause()


class Multiprocessing(Case):
    def test_values_are_handed_over(self):
        """Values can be arguments of a process that is forked, and of one that starts anew."""
        for method in ("fork", "spawn", "forkserver"):
            with self.subTest(method):
                context = multiprocessing.get_context(method)
                seg = self.open(create=True, max_size=1 << 20)
                make(seg)
                entered = context.Semaphore(0)
                lock = seg["mutex"]
                before = seg["value"].value, seg["array"][0], seg["struct"].value.N, seg["atomic"].value
                p = context.Process(
                    target=add_to_all,
                    args=(
                        seg, seg["value"], seg["array"], seg.struct("struct", Point), seg["string"], seg["atomic"],
                        lock, entered,
                    ),
                )  # fmt: skip
                p.start()
                self.assertTrue(entered.acquire(timeout=300))
                after = seg["value"].value, seg["array"][0], seg["struct"].value.N, seg["atomic"].value
                self.assertEqual([b - a for a, b in zip(before, after)], [2, 1, 1, 1])
                self.assertEqual(seg["string"].value, b"from a child")
                self.assertFalse(lock.acquire(blocking=False))
                os.kill(p.pid, signal.SIGKILL)
                p.join()
                self.assertTrue(lock.acquire(timeout=20))
                self.assertTrue(lock.abandoned())
                lock.release()

    def test_pickled_is_the_same_memory(self):
        seg = self.open()
        make(seg)
        again = pickle.loads(pickle.dumps(seg))
        self.assertIs(again["value"].get_lock(), seg["value"].get_lock())
        self.assertIs(pickle.loads(pickle.dumps(seg["value"].get_lock())), seg["value"].get_lock())
        for name in ("value", "array", "struct", "nested", "string", "atomic", "mutex"):
            self.assertIs(type(pickle.loads(pickle.dumps(seg[name]))), type(seg[name]), name)
        self.assertIsInstance(pickle.loads(pickle.dumps(seg.struct("struct", Point))).load(), Point)
        with self.open(readonly=True) as ro:
            with self.assertRaises(shm.ReadOnlyError):
                pickle.loads(pickle.dumps(ro["value"])).add(1)
        pickled = pickle.dumps(seg["value"])
        shm.remove(self.name)
        with self.assertRaises(FileNotFoundError):
            pickle.loads(pickled)
        with self.assertRaisesRegex(TypeError, "has no name any more"):
            pickle.dumps(seg["value"])
        shm.open(self.name, create=True).close()
        with self.assertRaisesRegex(FileNotFoundError, "is not there"):
            pickle.loads(pickled)


class Forks(Case):
    def test_child_holds_and_parent_dies(self):
        """A lock that a child holds is not freed by the parent's death, but by the child's."""
        self.open().value("n", "q")
        parent = self.python(
            "import os, sys, signal, shm\n"
            "v = shm.open(sys.argv[1])['n']\n"
            "v.add(1)\n"
            "pid = os.fork()\n"
            "if pid == 0:\n"
            "    with v.get_lock():\n"
            "        v.value += 1\n"
            "        print(os.getpid(), flush=True)\n"
            "        signal.pause()\n"
            "signal.pause()\n"
        )
        child = int(parent.line())
        lock = self.open(create=False)["n"].get_lock()
        try:
            # The parent is not reaped, as that would close the child's output.
            os.kill(parent.pid, signal.SIGKILL)
            os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT)
            go = self.agent()
            self.assertEqual(go.tell("lockFor 50"), "gave up")
            self.assertFalse(lock.acquire(timeout=0.05))
        finally:
            os.kill(child, signal.SIGKILL)
        self.assertEqual(go.tell("lock"), "locked")
        self.assertEqual(go.tell("abandoned"), "true")
        self.assertEqual(self.open(create=False)["n"].value, 2)

    def test_fork_of_a_fork(self):
        """Each generation takes an id of its own, and none takes a lock from another."""
        seg = self.open()
        v = seg.value("n", "q")
        lock = v.get_lock()

        def generation(ids):
            with lock:
                v.value += 1
                ids = ids + [lock._hold.id]
                if len(set(ids)) != len(ids):
                    return 1
                if len(ids) == 4:
                    return 0

                def child():
                    if lock.acquire(timeout=0.01) or lock._hold.held:
                        return 2
                    os.write(w, b"x")
                    return generation(ids)

                r, w = os.pipe()
                pid = self.child(child)
                os.read(r, 1)  # the child has tried to lock while this process holds the lock
            os.close(r)
            os.close(w)
            return self.reap(pid)

        self.assertEqual(generation([]), 0)
        self.assertEqual((v.value, lock._word.value & OWNER_MASK), (4, 0))


class Threads(Case):
    def test_one_thread_of_a_crowd_competes(self):
        """If a thousand threads wait for a lock of another process, one of them sleeps on the lock word."""
        seg = self.open()
        v = seg.value("n", "q")
        lock = v.get_lock()
        go = self.agent()
        self.assertEqual(go.tell("lock"), "locked")
        inside, most, guard = 0, 0, threading.Lock()
        wait = mutex.futex.wait

        def counted(*args):
            nonlocal inside, most
            with guard:
                inside += 1
                most = max(most, inside)
            try:
                wait(*args)
            finally:
                with guard:
                    inside -= 1

        started = threading.Semaphore(0)

        def work():
            started.release()
            with lock:
                v.value += 1

        old = threading.stack_size(256 << 10)
        threads = [threading.Thread(target=work) for _ in range(1000)]
        mutex.futex.wait = counted
        try:
            for t in threads:
                t.start()
            for _ in threads:
                started.acquire()
            eventually("one sleeps long", lambda: lock._word.value & KERNEL_WAITERS and lock._cell.starve)
            self.assertFalse(lock.acquire(timeout=0.01))
            self.assertEqual(go.tell("unlock"), "unlocked")
            for t in threads:
                t.join()
        finally:
            mutex.futex.wait = wait
            threading.stack_size(old)
        self.assertEqual((most, v.value), (1, 1000))
        self.assertEqual(lock._word.value, 0)

    def test_only_the_thread_that_holds_releases(self):
        seg = self.open()
        lock = seg.mutex("m")
        failed = []

        def other():
            for give in (lock.release, lambda: lock.__exit__(), lambda: lock.__exit__(KeyError, KeyError(), None)):
                try:
                    give()
                except RuntimeError as e:
                    failed.append(str(e))

        for depth in range(2):
            with lock:
                if depth:
                    lock.acquire()
                t = threading.Thread(target=other)
                t.start()
                t.join()
                self.assertFalse(lock.abandoned())
                if depth:
                    lock.release()
                self.assertTrue(lock.locked())
            self.assertFalse(lock.locked())
        self.assertEqual(len(failed), 6)
        self.assertIn("by a thread that does not hold it", failed[0])
        with self.assertRaises(RuntimeError), lock:
            lock.release()
        self.assertTrue(lock.acquire(timeout=None))
        lock.release()


class Interrupts(Case):
    def test_while_waiting(self):
        """Ctrl-C ends a wait, and leaves neither a lock nor a reservation."""
        seg = self.open()
        v = seg.value("n", "q")
        go = self.agent()
        waiter = self.python(
            "import sys, signal, shm\n"
            "v = shm.open(sys.argv[1])['n']\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "for ask in (v.get_lock().acquire, lambda: v.get_lock().acquire(timeout=60), lambda: v.add(1),\n"
            "            lambda: v.wait_for(lambda x: x < 0)):\n"
            "    print('waits', flush=True)\n"
            "    try: ask()\n"
            "    except KeyboardInterrupt: print('interrupted', flush=True)\n"
            "    sys.stdin.readline()\n"
            "v.add(1)\n"
            "print('added', flush=True)\n"
        )
        word, change = v.get_lock()._word, v.get_lock()._change_word
        for i in range(4):
            self.assertEqual(go.tell("lock"), "locked")
            if i < 3:
                word.value &= ~KERNEL_WAITERS
            else:
                change.value &= ~1
            if i:
                waiter.say("")
            self.assertEqual(waiter.line(), "waits")
            eventually("it waits", lambda: word.value & KERNEL_WAITERS if i < 3 else change.value & 1)
            os.kill(waiter.pid, signal.SIGINT)
            self.assertEqual(waiter.line(), "interrupted")
            self.assertEqual(go.tell("unlock"), "unlocked")
            self.assertEqual(go.tell("trylock"), "true")
            self.assertEqual(go.tell("unlock"), "unlocked")
        self.assertEqual(waiter.tell(""), "added")
        self.assertEqual((v.value, word.value), (1, 0))


if __name__ == "__main__":
    unittest.main()
