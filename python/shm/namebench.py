"""Print what it costs to make a value, and to find one by its name: python -m shm.namebench [VALUES]

Each figure is in microseconds, the median and the least of many calls. VALUES is how many values the segment
has, 100,000 if it is not given. A million take some minutes to make, and a GiB of memory.
"""

import random
import sys
import time

import shm


def _spread(f, arguments):
    """Return the median and the least time of calls of f, in microseconds."""
    times = []
    for x in arguments:
        start = time.perf_counter()
        f(x)
        times.append(time.perf_counter() - start)
    times.sort()
    return times[len(times) // 2] * 1e6, times[0] * 1e6


def names(n):
    """Print what it costs to make a value, and to find one of n by its name."""
    with shm.anonymous(max_size=max(1 << 26, n * 1024)) as seg:
        for i in range(n):
            seg.raw_value(f"value {i}", "q")
        rows = [("make a Value", *_spread(lambda i: seg.value(f"new {i}", "q"), range(2000)))]
        for i in range(2000):
            seg.value(f"locked {i}", "q")
        with shm.open_fd(seg.fileno(), readonly=True) as reader:  # this has found nothing yet
            some = [f"locked {i}" for i in range(0, 2000, 2)]
            rows.append(('seg["name"], the first time', *_spread(reader.__getitem__, some)))
            raw = [f"value {random.randrange(n)}" for _ in range(1000)]
            rows.append(('seg["name"] of a raw value, the first time', *_spread(reader.__getitem__, raw)))
            rows.append(('seg["name"] again', *_spread(reader.__getitem__, some)))
    print(f"CPython {sys.version.split()[0]}, {n} values, \u00b5s{'':14}median   least")
    for what, median, least in rows:
        print(f"{what:42}{median:8.2f}{least:8.2f}")


if __name__ == "__main__":
    names(int(sys.argv[1]) if sys.argv[1:] else 100_000)
