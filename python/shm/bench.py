"""Print what operations cost, compared with multiprocessing: python -m shm.bench

The figures are nanoseconds per operation, the least of many short runs: other
programs on the machine can only add to a run.
"""

import ctypes
import multiprocessing
import os
import sys
import timeit

import shm


def _cost(f, number=500, repeat=400):
    return min(timeit.repeat(f, number=number, repeat=repeat)) / number * 1e9


def _raw(obj):
    def get():
        obj.value

    def increment():
        obj.value += 1

    return get, increment


def _locked(v):
    def get():
        v.value

    def increment():
        with v.get_lock():
            v.value += 1

    return get, increment


def main():
    name = f"shm-bench-{os.getpid()}"
    with shm.open(name, exclusive=True, max_size=1 << 20) as seg:
        shm.remove(name)
        point = type("Point", (ctypes.Structure,), {"_fields_": [("x", ctypes.c_double), ("y", ctypes.c_double)]})
        v, p, a = seg.value("v", "q"), seg.struct("p", point), seg.atomic("a", "q")
        theirs = multiprocessing.Value("q", 0)
        rows = []
        for what, mine, other in zip(
            ("raw get", "raw += 1"), _raw(seg.raw_value("raw", "q")), _raw(multiprocessing.RawValue("q", 0))
        ):
            rows.append((what, _cost(mine), _cost(other)))
        for what, mine, other in zip(("locked get", "with v.get_lock(): v.value += 1"), _locked(v), _locked(theirs)):
            rows.append((what, _cost(mine), _cost(other)))
        for what, f in (
            ("v.add(1)", lambda: v.add(1)),
            ("atomic.add(1)", lambda: a.add(1)),
            ("struct.load()", p.load),
            ("struct.store((1, 2))", lambda: p.store((1, 2))),
        ):
            rows.append((what, _cost(f, repeat=100), None))
    print(f"CPython {sys.version.split()[0]}, ns{'':20}shm  multiprocessing  ratio")
    for what, mine, other in rows:
        print(f"{what:32}{mine:8.0f}" + (f"{other:17.0f}{mine / other:7.1f}" if other else ""))


if __name__ == "__main__":
    main()
