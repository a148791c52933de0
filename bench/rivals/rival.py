"""multiprocessing.Value and Array of CPython, in the league.

The processes of multiprocessing share by inheritance, and not by name. So this one starts
four workers, and passes each line to the worker whose number it begins with.
"""

import ctypes
import multiprocessing
import sys
import threading
import time


def work(count, record, changed, poked, lines, answers):
    for line in lines_of(lines):
        op, _, n = line.partition(" ")
        n = int(n or 0)
        start = time.monotonic_ns()
        end = start + n * 1_000_000
        if op == "add":
            for _ in range(n):
                with count.get_lock():
                    count.value += 1
            end = time.monotonic_ns()
            answer = f"{end - start} {end}"
        elif op == "total":
            answer = str(count.value)
        elif op == "write":
            i = 0
            while i % 16 or time.monotonic_ns() < end:
                i += 1
                with record.get_lock():
                    record[:] = [i] * 8
            answer = f"{i} {time.monotonic_ns() - start}"
        elif op == "read":
            i = torn = 0
            while i % 16 or time.monotonic_ns() < end or not i:
                with record.get_lock():
                    r = record[:]
                torn += len(set(r)) != 1
                i += 1
            answer = f"{i} {time.monotonic_ns() - start} {torn}"
        elif op == "lock":
            count.get_lock().acquire()
            answer = "locked"
        elif op == "wait":
            answers.send("waiting")
            with changed:
                seen = poked.value
                while poked.value == seen:
                    changed.wait()
            answer = str(time.monotonic_ns())
        elif op == "poke":
            answer = str(time.monotonic_ns())
            with changed:
                poked.value += 1
                changed.notify_all()
        elif op == "mismatch":
            as_double = ctypes.cast(ctypes.pointer(count.get_obj()), ctypes.POINTER(ctypes.c_double))[0]
            answer = f"processes inherit the object with its type; a cast gives garbage: {count.value} is {as_double:g}"
        else:
            answer = "none"
        answers.send(answer)


def lines_of(connection):
    while True:
        try:
            yield connection.recv()
        except EOFError:
            return


def main():
    context = multiprocessing.get_context("fork")
    count = context.Value(ctypes.c_uint64, 0)
    record = context.Array(ctypes.c_uint64, 8)
    changed, poked = context.Condition(), context.RawValue(ctypes.c_uint64, 0)
    workers = []
    for _ in range(4):
        lines, lines_end = context.Pipe(False)
        answers, answers_end = context.Pipe(False)
        args = (count, record, changed, poked, lines, answers_end)
        p = context.Process(target=work, args=args, daemon=True)
        p.start()
        workers.append((p, lines_end, answers))
    printing = threading.Lock()

    def forward(which, answers):
        for answer in lines_of(answers):
            with printing:
                print(which, answer, flush=True)

    for which, (p, _, answers) in enumerate(workers):
        threading.Thread(target=forward, args=(which, answers), daemon=True).start()
        with printing:
            print("ready", p.pid, flush=True)
    for line in sys.stdin:
        which, _, line = line.strip().partition(" ")
        workers[int(which)][1].send(line)


main()
