"""Print what it costs to make a value, and to find one by its name: python -m shm.namebench [VALUES]

Each figure is in microseconds, the median and the least of many calls. VALUES is how many values the segment
has, 100,000 if it is not given. Other processes find the values, which know none of them before. A million values take
some minutes to make, and a GiB of memory.
"""

import json
import random
import subprocess
import sys
import time

import shm

_SOME = 1000  # values that are found


def _spread(f, arguments):
    """Return the median and the least time of calls of f, in microseconds."""
    times = []
    for x in arguments:
        start = time.perf_counter()
        f(x)
        times.append(time.perf_counter() - start)
    times.sort()
    return times[len(times) // 2] * 1e6, times[0] * 1e6


def _find(n):
    """Find values in a segment that the parent has passed; return the figures."""
    seg = shm.inherited()
    some = [f"locked {i}" for i in random.sample(range(2 * _SOME), _SOME)]
    raw = [f"value {random.randrange(n)}" for _ in range(_SOME)]
    return [
        ('seg["name"], the first time', *_spread(seg.__getitem__, some)),
        ('seg["name"] of a raw value, the first time', *_spread(seg.__getitem__, raw)),
        ('seg["name"] again', *_spread(seg.__getitem__, some)),
    ]


def names(n):
    """Print what it costs to make a value, and to find one of n by its name."""
    with shm.anonymous(max_size=max(1 << 26, n * 1024)) as seg:
        for i in range(n):
            seg.raw_value(f"value {i}", "q")
        rows = [("make a Value", *_spread(lambda i: seg.value(f"locked {i}", "q"), range(2 * _SOME)))]
        with seg.passing() as inheritance:
            command = [sys.executable, "-m", "shm.namebench", "child", str(n)]
            rows += json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, **inheritance).stdout)
    print(f"CPython {sys.version.split()[0]}, {shm.implementation}, {n} values, \u00b5s{'':6}median   least")
    for what, median, least in rows:
        print(f"{what:42}{median:8.2f}{least:8.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        json.dump(_find(int(sys.argv[2])), sys.stdout)
    else:
        names(int(sys.argv[1]) if sys.argv[1:] else 100_000)
