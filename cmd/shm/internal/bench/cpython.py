#!/usr/bin/env python3
"""Measures the shared numbers of CPython's multiprocessing.

It measures them in the same way as the Go files of this directory measure the other
ways. It needs CPython 3.9 or later on a Unix system, and nothing else.

    cpython.py version
    cpython.py IMPL alone SECONDS CPU
    cpython.py IMPL contend SECONDS CPU,CPU,…    one process for each
    cpython.py IMPL kill ASLEEP STUCK            both in seconds

IMPL  rawvalue  RawValue('q', 0), `v.value += 1`
      value     Value('q', 0), `with v.get_lock(): v.value += 1`
CPU   the processor to pin a process to, or - to pin it to none

It prints one line of JSON, which has the fields of report.go. After an error it
prints a line on standard error and exits with status 1.

The children are forked. Therefore multiprocessing unlinks its files and semaphores
when it makes them, and runs no resource tracker. SIGTERM is blocked meanwhile. A
child dies with its parent: on Linux at once, elsewhere within a fifth of a second.
"""

import contextlib
import ctypes
import json
import multiprocessing
import os
import platform
import signal
import statistics
import sys
import threading
import time

BATCH = 200  # increments between two readings of the clock
PR_SET_PDEATHSIG = 1

ctx = multiprocessing.get_context("fork")
now = time.monotonic_ns  # CLOCK_MONOTONIC, the same in every process


def loop_rawvalue(v, n):
    for _ in range(n):
        v.value += 1


def loop_value(v, n):
    for _ in range(n):
        with v.get_lock():
            v.value += 1


IMPLS = {"rawvalue": (ctx.RawValue, loop_rawvalue), "value": (ctx.Value, loop_value)}


@contextlib.contextmanager
def undisturbed():
    """Block SIGTERM, so that it does not end the process between the making and the unlinking of a file."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def watch(parent):
    """End this process when its parent has ended, on systems that do not do that themselves."""

    def look():
        while os.getppid() == parent:
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=look, daemon=True).start()


def die_with(parent):
    if sys.platform != "linux":
        watch(parent)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it died before prctl
        os._exit(1)


def spawn(target, *args):
    p = ctx.Process(target=target, args=(os.getpid(),) + args, daemon=True)
    p.start()
    return p


def pin(cpu):
    if cpu != "-":
        os.sched_setaffinity(0, {int(cpu)})


def count(loop, v, seconds, stop):
    """Increment until the time of the first process is over.

    Return the number of increments, the time they took, and the time of each batch.
    """
    ops, batches = 0, []
    start = last = now()
    deadline = start + int(seconds * 1e9)
    while not stop.value:
        loop(v, BATCH)
        t = now()
        batches.append(t - last)
        last = t
        ops += BATCH
        if t >= deadline:
            stop.value = 1
    return ops, last - start, batches


def alone(impl, seconds, cpu):
    make, loop = IMPLS[impl]
    with undisturbed():
        v, stop = make("q", 0), ctx.RawValue("b", 0)
    pin(cpu)
    ops, _, batches = count(loop, v, seconds, stop)
    if v.value != ops:
        sys.exit("the number grew by %d in %d increments" % (v.value, ops))
    return {"ns_per_op": statistics.median(batches) / BATCH, "ops": ops}


def contender(parent, loop, v, seconds, stop, cpu, gate, conn):
    die_with(parent)
    os.close(gate[1])
    pin(cpu)
    conn.send("ready")
    os.read(gate[0], 1)  # returns when the pipe ends
    conn.send(count(loop, v, seconds, stop)[:2])


def contend(impl, seconds, cpus):
    make, loop = IMPLS[impl]
    with undisturbed():
        v, stop = make("q", 0), ctx.RawValue("b", 0)
    gate = os.pipe()
    conns = []
    for cpu in cpus:
        receiver, sender = ctx.Pipe(duplex=False)
        spawn(contender, loop, v, seconds, stop, cpu, gate, sender)
        sender.close()
        conns.append(receiver)
    for c in conns:
        c.recv()
    os.close(gate[1])
    results = [c.recv() for c in conns]
    counts = [r[0] for r in results]
    ops, longest = sum(counts), max(1, *(r[1] for r in results)) / 1e9
    return {
        "procs": len(cpus),
        "pinned": "-" not in cpus,
        "seconds": longest,
        "ops": ops,
        "mops": ops / longest / 1e6,
        "counts": counts,
        "lost": ops - v.value,
    }


def hold(parent, impl, v, conn):
    """Begin an increment, and do not complete it, until the process is killed."""
    die_with(parent)
    if impl == "value":
        v.get_lock().acquire()
    conn.send("held")
    while True:
        if impl == "value":
            signal.pause()
        else:
            v.value += 1


def follow(parent, loop, v, killed, reaped, conn):
    """Increment until the victim's death is certain, and once more."""
    die_with(parent)
    conn.send("ready")
    before = after = 0
    last = False
    while not last:
        last = reaped.value != 0
        loop(v, 1)
        if not killed.value:
            before += 1
        elif not after:
            after = max(1, now() - killed.value)
    conn.send((before, after))


def kill(impl, asleep, stuck):
    make, loop = IMPLS[impl]
    with undisturbed():
        v, killed, reaped = make("q", 0), ctx.RawValue("q", 0), ctx.RawValue("b", 0)
    receiver, sender = ctx.Pipe(duplex=False)
    victim = spawn(hold, impl, v, sender)
    receiver.recv()
    spawn(follow, loop, v, killed, reaped, sender)
    receiver.recv()
    time.sleep(asleep)
    killed.value = now()
    victim.kill()
    victim.join()
    reaped.value = 1
    if not receiver.poll(stuck):
        return {"outcome": "stuck", "after_ns": int(stuck * 1e9)}
    before, after = receiver.recv()
    return {"outcome": "went_on" if before else "recovered", "after_ns": after}


def main(args):
    if sys.platform != "linux":
        watch(os.getppid())
    if args == ["version"]:
        line = {"version": platform.python_implementation() + " " + platform.python_version()}
    elif args[1] == "alone":
        line = alone(args[0], float(args[2]), args[3])
    elif args[1] == "contend":
        line = contend(args[0], float(args[2]), args[3].split(","))
    elif args[1] == "kill":
        line = kill(args[0], float(args[2]), float(args[3]))
    else:
        sys.exit("no such measurement: %s" % args[1])
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
