"""Print what operations cost, compared with multiprocessing: python -m shm.bench

It measures the verbs in C, if they were compiled, and those in Python, each in a process
of its own. There short runs of an operation and of its counterpart in multiprocessing
alternate, so that other programs on the machine slow both. The figures are nanoseconds
for one operation: the medians of the runs, and the median of their ratios.
"""

import ctypes
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
import timeit

import shm
from shm import native

_ROUNDS = int(os.environ.get("SHM_BENCH_ROUNDS", "401"))
_RUN = 80_000  # ns of a run: so short that most runs are not interrupted by other programs


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_double)]


def _median(xs):
    return sorted(xs)[len(xs) // 2]


def _alternate(ours, theirs):
    """Return the medians of what the two cost, and of the ratio. theirs may be None."""
    timers, numbers = [], []
    for f in (ours, theirs) if theirs else (ours,):
        timer = timeit.Timer(f)
        timer.timeit(10)
        once = timer.timeit(100) / 100
        timers.append(timer)
        numbers.append(max(3, int(_RUN / 1e9 / once)))
    rounds = [[t.timeit(n) / n * 1e9 for t, n in zip(timers, numbers)] for _ in range(_ROUNDS)]
    medians = [_median(c) for c in zip(*rounds)]
    return (*medians, _median([a / b for a, b in rounds])) if theirs else (*medians, None, None)


def _pairs(seg):
    """Yield the operations: what is printed, ours, and multiprocessing's, or None."""
    mp = multiprocessing
    v, w = seg.value("v", "q"), mp.Value("q", 0)
    raw, their_raw = seg.raw_value("raw", "q"), mp.RawValue("q", 0)
    array, their_array = seg.raw_array("array", "i", 1000), mp.RawArray("i", 1000)

    def raw_get(x):
        def f():
            x.value

        return f

    def raw_increment(x):
        def f():
            x.value += 1

        return f

    def element_get(x):
        def f():
            x[7]

        return f

    def element_set(x):
        def f():
            x[7] = 5

        return f

    yield "raw get", raw_get(raw), raw_get(their_raw)
    yield "raw += 1", raw_increment(raw), raw_increment(their_raw)
    yield "raw array, get an element", element_get(array), element_get(their_array)
    yield "raw array, set an element", element_set(array), element_set(their_array)
    yield "locked get", raw_get(v), raw_get(w)

    def store(x):
        def f():
            x.value = 5

        return f

    yield "v.value = x", store(v), store(w)

    def lock(x):
        def f():
            x.acquire()
            x.release()

        return f

    yield "acquire(); release()", lock(v.get_lock()), lock(w.get_lock())

    def increment(x):
        def f():
            with x.get_lock():
                x.value += 1

        return f

    yield "with v.get_lock(): v.value += 1", increment(v), increment(w)
    yield "v.add(1)", lambda: v.add(1), increment(w)

    def more(x):
        return x + 1

    def their_update():
        with w.get_lock():
            w.value = more(w.value)

    yield "v.update(f)", lambda: v.update(more), their_update

    text, their_text = seg.string("text", 64), mp.Array("c", 64)

    def set_text(x):
        def f():
            x.value = b"sixteen bytes..."

        return f

    yield "string store", set_text(text), set_text(their_text)
    yield "string load", raw_get(text), raw_get(their_text)

    p, q = seg.struct("p", Point), mp.Value(Point)
    obj = q.get_obj()

    def edit():
        with p.edit() as x:
            x.x += 1
            x.y += 1

    def set_fields():
        with q.get_lock():
            q.x = 1.0
            q.y = 2.0

    def set_fields_of_obj():
        with q.get_lock():
            obj.x = 1.0
            obj.y = 2.0

    def change_fields():
        with q.get_lock():
            q.x += 1
            q.y += 1

    def change_fields_of_obj():
        with q.get_lock():
            obj.x += 1
            obj.y += 1

    def copy_of_obj():
        with q.get_lock():
            return Point.from_buffer_copy(obj)

    def move(x):
        x.x += 1
        x.y += 1

    def update_obj():
        with q.get_lock():
            move(obj)

    yield "struct update, theirs by get_obj", lambda: p.update(move), update_obj
    yield "struct store", lambda: p.store((1.0, 2.0)), set_fields
    yield "struct store, theirs by get_obj", lambda: p.store((1.0, 2.0)), set_fields_of_obj
    yield "struct edit", edit, change_fields
    yield "struct edit, theirs by get_obj", edit, change_fields_of_obj
    yield "struct load", p.load, copy_of_obj

    a, b = seg.array("a", "i", 1000), mp.Array("i", 1000)
    numbers = list(range(1000))

    def set_slice(x):
        def f():
            x[0:1000] = numbers

        return f

    def get_slice(x):
        def f():
            x[0:1000]

        return f

    yield "set a slice of 1,000", set_slice(a), set_slice(b)
    yield "get a slice of 1,000", get_slice(a), get_slice(b)
    yield "set an element", element_set(a), element_set(b)
    yield "get an element", element_get(a), element_get(b)

    atomic, counter = seg.atomic("atomic", "q"), seg.counter("counter")
    yield "atomic.add(1)", lambda: atomic.add(1), None
    yield "counter.add(1)", lambda: counter.add(1), None
    histogram = seg.histogram("histogram", [1.0, 2.0, 5.0, 10.0])
    yield "histogram.observe(3.5)", lambda: histogram.observe(3.5), None
    ring, rows = seg.ring("ring", "q", 100), seg.ring("rows", Point, 100)
    point = Point(1, 2)
    yield "ring.append(1)", lambda: ring.append(1), None
    reader = ring.reader()
    there, here = mp.Pipe(False)

    def next_of_ring():
        ring.append(1)
        reader.next()

    def next_of_pipe():
        here.send(1)
        there.recv()

    yield "append(1); next()", next_of_ring, next_of_pipe
    yield "ring.append of a struct", lambda: rows.append(point), None
    yield 'seg["v"], a number', lambda: seg["v"], None
    yield 'seg["p"], a struct', lambda: seg["p"], None


def _measure():
    name = f"shm-bench-{os.getpid()}"
    with shm.open(name, exclusive=True, max_size=1 << 20) as seg:
        shm.remove(name)
        rows = [(what, *_alternate(ours, theirs)) for what, ours, theirs in _pairs(seg)]
    return {"implementation": shm.implementation, "missing": native.missing, "rows": rows}


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown processor"


def main():
    if sys.argv[1:] == ["child"]:
        json.dump(_measure(), sys.stdout)
        return
    print(
        f"CPython {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors ({_processor()}), "
        f"load {os.getloadavg()[0]:.1f}, {time.strftime('%Y-%m-%d')}: ns for one operation, medians of {_ROUNDS} runs"
    )
    for pure in ("0", "1"):
        command = [sys.executable, "-m", "shm.bench", "child"]
        out = subprocess.run(command, env={**os.environ, "SHM_PURE": pure}, stdout=subprocess.PIPE, check=True).stdout
        result = json.loads(out)
        if pure == "0" and result["implementation"] != "native":
            print(f"\nThe verbs in C are not measured: {result['missing']}")
            continue
        print(f"\n{result['implementation']:32}{'shm':>8}{'multiprocessing':>17}{'ratio':>8}")
        for what, mine, other, ratio in result["rows"]:
            print(f"{what:32}{mine:8.0f}" + (f"{other:17.0f}{ratio:8.2f}" if other else ""))


if __name__ == "__main__":
    main()
