"""The Python side of the Go tests of several languages: python -m tests.peer MODE SEGMENT ARGUMENTS.

c/test.c has the same modes for C.
"""

import ctypes
import sys
import threading

import shm


def say(line):
    print(line, flush=True)


def agent(seg):
    """Obey commands about the lock of Value n, one a line."""
    v = seg.value("n", "q")
    lock = v.get_lock()

    def inside(n):
        with lock:
            v.value += n
            say("inside")
            sys.stdin.readline()

    def add(n):
        for _ in range(n):
            v.add(1)
        say("added")

    verbs = {
        "lock": lambda n: (lock.acquire(), say("locked")),
        "trylock": lambda n: say("true" if lock.acquire(blocking=False) else "false"),
        "lockFor": lambda n: say("locked" if lock.acquire(timeout=n / 1000) else "gave up"),
        "unlock": lambda n: (lock.release(), say("unlocked")),
        "abandoned": lambda n: say("true" if lock.abandoned() else "false"),
        "add": add,
        "addSlowly": inside,
    }
    say("ready")
    for line in sys.stdin:
        verb, *n = line.split()
        verbs[verb](*map(int, n or "0"))


class Steady(ctypes.Structure):
    _fields_ = [("n", ctypes.c_int64), ("all", ctypes.c_int64 * 40)]


def storm(seg, i):
    """Change all values until it is killed. It says ready after the first round."""
    v, counts = seg.value("n", "q"), seg.raw_array("counts", "q", 6)
    steady, text = seg.struct("steady", Steady), seg.string("text", 64)
    n, lock = v.get_obj(), v.get_lock()
    letters, last, said = chr(ord("a") + i), 0, False

    def add():
        with lock:
            n.value += 1
            counts[i] += 1

    def add_for_ever():
        while True:
            add()

    def check(x):
        if x.all[:] != [x.n * (k + 1) for k in range(len(x.all))] or x.n < last:
            raise AssertionError(f"a torn struct after {last}: {x.n}, {x.all[:]}")

    threading.Thread(target=add_for_ever, daemon=True).start()
    while True:
        for _ in range(4):
            add()
        with steady.edit() as x:
            check(x)
            x.n += 1
            x.all[:] = [x.n * (k + 1) for k in range(len(x.all))]
        x = steady.load()
        check(x)
        last = x.n
        text.store(letters * (1 + last % 64))
        read = text.load()
        if len(set(read)) != 1:
            raise AssertionError(f"a torn text: {read!r}")
        if not said:
            said = True
            say("ready")


class Row(ctypes.Structure):
    _fields_ = [("n", ctypes.c_int64), ("twice", ctypes.c_int64)]


def share(seg, who):
    """Count, observe, append and change rows until it is killed. What is done it notes in its own number afterwards."""
    counter, floats, histogram = seg.counter("counter"), seg.counter("floats", "d"), seg.histogram("histogram", [1, 2, 3])
    gauge, ring, table, acks = seg.gauge("gauge"), seg.ring("ring", Row, 16), seg.table("table", Row, 4), seg.raw_array("acks", "q", 6)
    reader, last, k = ring.reader(), 0, 0

    def whole(x):
        if x.twice != 2 * x.n:
            raise AssertionError(f"a torn struct: {x.n}, {x.twice}")

    gauge.set(1)
    while True:
        counter.add(1)
        floats.add(0.5)
        histogram.observe(k % 5)
        ring.append((k, 2 * k))
        with table[k % 4].edit() as x:
            whole(x)
            x.n += 1
            x.twice += 2
        acks[who] += 1
        for _ in range(4):
            there = reader.next(0)
            if there is None:
                break
            x, seq = there
            whole(x)
            if seq <= last:
                raise AssertionError(f"value {seq} of the ring after {last}")
            last = seq
        if k == 0:
            say("ready")
        k += 1


if __name__ == "__main__":
    mode, name, *args = sys.argv[1:]
    {"agent": agent, "share": share, "storm": storm}[mode](shm.open(name, create=True), *map(int, args))
