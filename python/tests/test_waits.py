"""Tests waits that are given up from outside: by another thread, a signal handler, or a task of asyncio."""

import asyncio
import copy
import pickle
import signal
import threading
import time
import unittest

import shm
from shm import change

from .support import Case, eventually


class Cancelled(Case):
    def setUp(self):
        super().setUp()
        # Each sleep is so long that only a wake-up can end it in time.
        first = change._FIRST_TIMEOUT
        self.addCleanup(setattr, change, "_FIRST_TIMEOUT", first)
        change._FIRST_TIMEOUT = 300_000_000_000

    def waits(self, seg):
        seg.raw_value("raw", "q")
        return [
            seg.value("value", "q").wait_for,
            seg.array("array", "q", 2).wait_for,
            seg.struct("struct", shm.Complex128).wait_for,
            seg.string("string", 8).wait_for,
        ]

    def test_by_a_thread(self):
        seg = self.open()
        for wait in self.waits(seg):
            for after in (0, 0.001, 0.1):
                cancel = shm.Cancel()
                threading.Timer(after, cancel.set).start()
                with self.assertRaises(shm.CancelledError):
                    wait(lambda _: False, cancel=cancel)
                self.assertTrue(cancel.is_set())
                with self.assertRaises(shm.CancelledError):
                    wait(lambda _: False, None, cancel)  # a later one
                seen = []
                self.assertIs(wait(lambda x: not seen.append(x), None, cancel), seen[0])
        cancel = shm.Cancel()
        threading.Timer(0.1, cancel.set).start()
        with self.assertRaisesRegex(shm.CancelledError, "the wait for value 'x' in .* was given up"):
            seg.wait_for("x", cancel=cancel)

    def test_copied(self):
        """A copy, as in another process, would end nothing, so there is none."""
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            self.assertRaisesRegex(shm.ArgumentTypeError, "waits of one process", copied, shm.Cancel())

    def test_many_at_once(self):
        """One Cancel ends the waits of several threads, and no others."""
        seg = self.open()
        cancel, ended = shm.Cancel(), []
        v = seg.value("v", "q")

        def wait(name, cancel):
            try:
                ended.append((name, v.wait_for(lambda x: x == 1, 20, cancel)))
            except shm.CancelledError:
                ended.append((name, None))

        threads = [threading.Thread(target=wait, args=(i, cancel)) for i in range(20)]
        other = threading.Thread(target=wait, args=("other", shm.Cancel()))
        for t in (*threads, other):
            t.start()
        eventually("all wait", lambda: len(cancel._waited) == 20)
        cancel.set()
        for t in threads:
            t.join()
        self.assertEqual(sorted(ended), [(i, None) for i in range(20)])
        self.assertEqual(cancel._waited, [])
        v.store(1)
        other.join()
        self.assertEqual(ended[-1], ("other", 1))

    def test_by_a_signal_handler(self):
        v, cancel = self.open().value("v", "q"), shm.Cancel()
        before = signal.signal(signal.SIGALRM, lambda *_: cancel.set())
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with self.assertRaises(shm.CancelledError):
            v.wait_for(lambda _: False, cancel=cancel)

    def test_of_a_mutex(self):
        mutex, cancel = self.open().mutex("mutex"), shm.Cancel()
        threading.Timer(0.1, cancel.set).start()
        self.assertIs(mutex.wait_for(lambda: False, cancel=cancel), False)
        self.assertIs(mutex.wait_for(lambda: True, cancel=cancel), True)

    def test_read_only(self):
        self.open().value("v", "q")
        v, cancel = self.open(readonly=True)["v"], shm.Cancel()
        change._FIRST_TIMEOUT = 4_000_000
        threading.Timer(0.5, cancel.set).start()
        with self.assertRaises(shm.CancelledError):
            v.wait_for(lambda _: False, cancel=cancel)


class Closed(Case):
    """close ends what waits for values, when no other Segment of the process has the file open."""

    def ended_by_close(self, seg, wait, *rest):
        """Return what a wait in another thread has come to after close."""
        ended = []

        def run():
            try:
                ended.append(wait())
            except Exception as e:
                ended.append(e)

        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(0.05)
        for other in (seg, *rest):
            self.assertEqual(ended, [])
            other.close()
            other.close()
            if other is not (seg, *rest)[-1]:
                time.sleep(0.05)
        thread.join(10)
        self.assertFalse(thread.is_alive())
        return ended[0]

    def waits(self, seg):
        """Yield functions that wait for what does not happen, and end with ClosedError."""
        never, t = lambda _: False, 20
        yield lambda v=seg["v"]: v.wait_for(never, t)
        yield lambda v=seg["a"]: v.wait_for(never, t)
        yield lambda v=seg["s"]: v.wait_for(never, t)
        yield lambda v=seg["table"][1]: v.wait_for(never, t)
        yield lambda v=seg["v"].get_lock(): v.wait_for(lambda: False, t)
        yield lambda v=seg["ring"].reader(): v.next(t)
        yield lambda v=seg.entry("v"): v.wait_for(never, t)
        yield lambda v=seg.entry("at"): v.wait_for(never, t)
        yield lambda: seg.wait_for("later", t)

    def make(self):
        seg = self.open()
        seg.value("v", "q")
        seg.array("a", "q", 2)
        seg.string("s", 8)
        seg.table("table", shm.Complex128, 2)
        seg.ring("ring", "q", 2)
        seg.atomic("at", "q")
        seg.mutexes("locks", 2)
        seg.close()

    def test_waits(self):
        self.make()
        for readonly in (False, True):
            for i in range(9):
                seg = self.open(readonly=readonly)
                wait = list(self.waits(seg))[i]
                start = time.monotonic()
                self.assertIsInstance(self.ended_by_close(seg, wait), shm.ClosedError, (readonly, i))
                self.assertLess(time.monotonic() - start, 10)
        seg = self.open(readonly=False)
        locks = seg["locks"]
        for lock in locks:
            lock.acquire()
        self.assertIsInstance(self.ended_by_close(seg, lambda: locks.lock_any(20)), shm.ClosedError)
        for lock in locks:
            lock.release()
        seg = self.open(readonly=False)
        me = seg.processes()[0]
        self.assertIsInstance(self.ended_by_close(seg, lambda: seg.await_exit(me, 20)), shm.ClosedError)
        seg = self.open(readonly=False)
        self.assertEqual(self.ended_by_close(seg, lambda v=seg["v"]: list(v.changes(20))), [(1, 0)])

    def test_the_last_segment(self):
        """Two Segments share their values, so the first close ends only the waits for names."""
        self.make()
        one, two = self.open(readonly=False), self.open(readonly=False)
        self.assertIsInstance(self.ended_by_close(one, lambda v=one["v"]: v.wait_for(lambda _: False, 20), two), shm.ClosedError)
        one, two = self.open(readonly=False), self.open(readonly=False)
        self.assertIsInstance(self.ended_by_close(one, lambda: one.wait_for("later", 20)), shm.ClosedError)
        del two

    def test_afterwards(self):
        """A value works on after close, and a later wait for it is a new one."""
        seg = self.open()
        v = seg.value("v", "q")
        seg.close()
        threading.Timer(0.05, v.add, (1,)).start()
        self.assertEqual(v.wait_for(lambda x: x == 1, 20), 1)


class Asyncio(Case):
    def threads(self):
        return [t for t in threading.enumerate() if t.name == "shm-wait"]

    def test_time_out(self):
        seg = self.open()
        v = seg.value("v", "q")

        async def main():
            for wait in (v.wait_for_async(lambda x: x > 100), seg.wait_for_async("later")):
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(wait, 0.1)
            with self.assertRaises(shm.WaitTimeoutError):
                await v.wait_for_async(lambda x: x > 100, 0.05)
            with self.assertRaisesRegex(TimeoutError, "'later'.* has taken 0.05 s"):
                await seg.wait_for_async("later", 0.05)

        start = time.monotonic()
        asyncio.run(main())  # it ends though nobody changed the value
        self.assertLess(time.monotonic() - start, 60)
        eventually("the threads of the waits end", lambda: not self.threads())

    def test_results(self):
        """More waits than the executor of asyncio has threads, while the loop goes on."""
        seg = self.open()
        a, s = seg.array("a", "q", 2), seg.string("s", 8)

        async def main():
            tasks = [asyncio.create_task(a.wait_for_async(lambda a: a[0] > i)) for i in range(50)]
            tasks.append(asyncio.create_task(s.wait_for_async(lambda s: s == b"now")))
            tasks.append(asyncio.create_task(seg.wait_for_async("later")))
            await asyncio.sleep(0.05)
            self.assertFalse(any(t.done() for t in tasks))
            a[0] = 60
            s.value = "now"
            seg.value("later", "q", 7)
            *results, later = await asyncio.gather(*tasks)
            self.assertEqual((results, later.value), ([a] * 50 + [b"now"], 7))
            for error, seen in ((ZeroDivisionError, ZeroDivisionError), (StopIteration, RuntimeError)):

                def fail(_):
                    raise error

                with self.assertRaises(seen):
                    await a.wait_for_async(fail)

        asyncio.run(main())
        eventually("the threads of the waits end", lambda: not self.threads())


if __name__ == "__main__":
    unittest.main()
