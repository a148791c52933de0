"""A process reads a structure of an Array while another process assigns to it.

A[0] = Point(...) writes the whole structure under the lock. p = A[0] takes the lock as
well, but p is a view of the memory, and its fields are read after the lock is released.
"""

import ctypes
import multiprocessing
import time

fork = multiprocessing.get_context("fork")


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_double)]


A = fork.Array(Point, 1)


def write():
    i = 0
    while True:
        i += 1
        A[0] = Point(i, i)


writer = fork.Process(target=write)
writer.start()
end = time.monotonic() + 20
reads = 0
while time.monotonic() < end:
    p = A[0]
    x, y = p.x, p.y
    reads += 1
    if x != y:
        print(f"x = {x:,.0f} beside y = {y:,.0f}, in {reads:,} reads")
        break
else:
    print("not seen in 20 s")
writer.kill()
