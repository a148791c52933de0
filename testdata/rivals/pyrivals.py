#!/usr/bin/env python3
"""Measures CPython's shared numbers as rivals.c measures C's locks: one run,
one line of JSON with the same fields. README.md describes them.

rawvalue  RawValue('Q', 0), `v.value += 1`: no lock, so updates get lost
value     Value('Q', 0), `with v.get_lock(): v.value += 1`

Children are forked: then multiprocessing unlinks its files and semaphores as
it makes them, nothing can be left in /dev/shm, and no resource tracker runs.
"""

import ctypes
import json
import math
import multiprocessing
import os
import signal
import statistics
import sys
import time

USAGE = """\
usage: pyrivals.py rawvalue|value alone N
       pyrivals.py rawvalue|value contend PROCS SECONDS
       pyrivals.py value kill
Each run prints one line of JSON."""

BATCH = 100  # increments between two looks at the clock
START_TIMEOUT = 30  # seconds, for what can only fail if a child fails
KILL_TIMEOUT = 0.3  # seconds; a lock not got by then is stuck
KILL_ROUNDS = 3
PR_SET_PDEATHSIG = 1

ctx = multiprocessing.get_context("fork")
libc = ctypes.CDLL(None, use_errno=True)
now = time.monotonic_ns  # CLOCK_MONOTONIC


def loop_rawvalue(v, n):
    for _ in range(n):
        v.value += 1


def loop_value(v, n):
    for _ in range(n):
        with v.get_lock():
            v.value += 1


def loop_empty(n):
    for _ in range(n):
        pass


IMPLS = {"rawvalue": (ctx.RawValue, loop_rawvalue), "value": (ctx.Value, loop_value)}


def die_with(parent):
    """Have the kernel kill this child when its parent dies."""
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it died before prctl
        os._exit(1)


def spawn(target, *args):
    p = ctx.Process(target=target, args=(os.getpid(),) + args, daemon=True)
    p.start()
    return p


def kill(p):
    os.kill(p.pid, signal.SIGKILL)
    p.join()
    p.close()


def must_receive(conn, what, seconds=0):
    if not conn.poll(seconds + START_TIMEOUT):
        sys.exit("pyrivals: %s: timed out" % what)
    try:
        return conn.recv()
    except EOFError:
        sys.exit("pyrivals: %s: the child failed" % what)


def alone(impl, n):
    make, loop = IMPLS[impl]
    v = make("Q", 0)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    loop(v, 1000)
    loop_empty(1000)
    start = now()
    loop(v, n)
    middle = now()
    loop_empty(n)
    end = now()
    if v.value != n + 1000:
        sys.exit("pyrivals: counter is %d after %d increments" % (v.value, n + 1000))
    return {
        "impl": impl,
        "mode": "alone",
        "iterations": n,
        "ns_per_op": round((middle - start) / n, 3),
        "loop_ns": round((end - middle) / n, 3),
    }


def contender(parent, impl, v, cpu, seconds, ready, go, conn):
    die_with(parent)
    os.sched_setaffinity(0, {cpu})
    loop = IMPLS[impl][1]
    ready.release()
    if not go.wait(START_TIMEOUT):
        sys.exit("pyrivals: start: timed out")
    count = 0
    start = end = now()
    deadline = start + int(seconds * 1e9)
    while end < deadline:
        loop(v, BATCH)
        count += BATCH
        end = now()
    t = os.times()
    conn.send((count, start, end, t.user + t.system))


def contend(impl, procs, seconds):
    v = IMPLS[impl][0]("Q", 0)
    ready, go = ctx.Semaphore(0), ctx.Event()
    cpus = sorted(os.sched_getaffinity(0))
    children, conns = [], []
    for i in range(procs):
        receiver, sender = ctx.Pipe(duplex=False)
        cpu = cpus[i % len(cpus)]
        children.append(spawn(contender, impl, v, cpu, seconds, ready, go, sender))
        conns.append(receiver)
        sender.close()
    for _ in children:
        if not ready.acquire(timeout=START_TIMEOUT):
            sys.exit("pyrivals: start of the children: timed out")
    go.set()
    results = [must_receive(c, "counts", seconds) for c in conns]
    for p in children:
        p.join()
        p.close()
    counts = [r[0] for r in results]
    total = sum(counts)
    elapsed = (max(r[2] for r in results) - min(r[1] for r in results)) / 1e9
    return {
        "impl": impl,
        "mode": "contend",
        "procs": procs,
        "cpus": min(procs, len(cpus)),
        "seconds": round(elapsed, 6),
        "mops": round(total / elapsed / 1e6, 4),
        "counts": counts,
        "min_share": round(min(counts) / total, 4),
        "max_share": round(max(counts) / total, 4),
        "lost": total - v.value,
        "cpu_seconds": round(sum(r[3] for r in results), 3),
    }


def hold(parent, v, conn):
    die_with(parent)
    v.get_lock().acquire()
    conn.send("held")
    while True:
        signal.pause()


def wait(parent, v, conn):
    die_with(parent)
    conn.send("waiting")
    v.get_lock().acquire()
    conn.send(now())


def await_asleep(pid):
    """Having said that it waits, the waiter has nothing to sleep in but the lock."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        with open("/proc/%d/stat" % pid) as f:
            if f.read().rpartition(")")[2].split()[0] == "S":
                return
        time.sleep(0.001)
    sys.exit("pyrivals: the waiter does not block")


def kill_round(impl):
    """Kill a holder; return the ns that a blocked waiter and a locker coming
    later needed, None where it got nothing in time."""
    v = IMPLS[impl][0]("Q", 0)
    receiver, sender = ctx.Pipe(duplex=False)
    holder = spawn(hold, v, sender)
    must_receive(receiver, "start of the holder")
    waiter = spawn(wait, v, sender)
    must_receive(receiver, "start of the waiter")
    await_asleep(waiter.pid)

    start = now()
    kill(holder)
    early = receiver.recv() - start if receiver.poll(KILL_TIMEOUT) else None
    kill(waiter)
    start = now()
    late = now() - start if v.get_lock().acquire(timeout=KILL_TIMEOUT) else None
    receiver.close()
    sender.close()
    return early, late


def kill_holder(impl):
    rounds = [kill_round(impl) for _ in range(KILL_ROUNDS)]
    line = {
        "impl": impl,
        "mode": "kill",
        "rounds": KILL_ROUNDS,
        "timeout_ms": int(KILL_TIMEOUT * 1000),
        "stuck": any(t is None for r in rounds for t in r),
    }
    for who, times in zip(("waiter", "late"), zip(*rounds)):
        got = sorted(t for t in times if t is not None)
        line[who + "_stuck"] = len(times) - len(got)
        line[who + "_median_ns"] = int(statistics.median(got)) if got else None
        line[who + "_p99_ns"] = got[math.ceil(len(got) * 0.99) - 1] if got else None
    return line


def bad(text):
    print("pyrivals: " + text, file=sys.stderr)
    sys.exit(2)


def number(what, text, parse, low, high):
    try:
        n = parse(text)
    except ValueError:
        n = low - 1
    if not low <= n <= high:
        bad("%s must be a number from %s to %s: %.40s" % (what, low, high, text))
    return n


def main(args):
    if args in (["-h"], ["--help"]):
        print(USAGE)
        return
    if len(args) < 2 or args[0] not in IMPLS:
        bad("want rawvalue or value, then alone, contend or kill (-h lists usage)")
    impl, mode, rest = args[0], args[1], args[2:]
    if mode == "alone" and len(rest) == 1:
        line = alone(impl, number("N", rest[0], int, 1, 10**12))
    elif mode == "contend" and len(rest) == 2:
        procs = number("PROCS", rest[0], int, 1, 1024)
        line = contend(impl, procs, number("SECONDS", rest[1], float, 0.001, 3600))
    elif mode == "kill" and not rest:
        if impl == "rawvalue":
            bad("rawvalue has no lock to die with")
        line = kill_holder(impl)
    else:
        bad("want alone N, contend PROCS SECONDS or kill (-h lists usage)")
    print(json.dumps(line, separators=(",", ":")), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
