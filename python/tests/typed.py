"""A program that type checkers read in their strict modes, and which test_cookbook runs. It uses most of the package."""

import asyncio
import ctypes
import subprocess
import sys
from typing import List

import shm


class Point(ctypes.Structure):
    x: float
    y: float
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_double)]


class Board:
    requests: shm.Counter[int]
    position: shm.Struct[Point]
    lock: shm.Mutex


def values(seg: shm.Segment) -> float:
    hits = seg.value("hits", ctypes.c_int64, 5, unit="requests")
    hits.value += 1
    total: int = hits.add(1)
    half = seg.value("half", "d", 0.5)
    x: float = half.update(lambda x: x / 2)
    samples = seg.array("samples", "i", [1, 2, 3])
    part: List[int] = samples[1:]
    samples[0] = sum(part)
    position = seg.struct("position", Point, (1.0, 2.0))
    with position.edit() as p:
        p.x, p.y = p.y, p.x
    position.store((3.0, position.load().x))
    text = seg.string("text", 16)
    text.store("grüße")
    raw: ctypes.c_double = seg.raw_value("raw", ctypes.c_double, 0.25)
    raw.value += x
    ring = seg.ring("ring", Point, 8)
    ring.append((1.0, 2.0))
    last = ring.last()
    latency = seg.histogram("latency", [0.1, 1])
    latency.observe(0.5)
    states = seg.atomic_array("states", "q", 4)
    states.at(2).compare_and_swap(0, 7)
    table = seg.table("table", Point, 3)
    for row in table:
        row.update(lambda p: setattr(p, "x", 1.5))
    places = seg.mutexes("places", 2)
    i = places.lock_any(timeout=1)
    if i is not None:
        places[i].release()
    a, b = shm.snapshot(lambda: (position.load().x, text.load()), position, text)
    return total + raw.value + (last[0].y if last else 0) + a + len(b) + sum(latency.load().counts)


async def waits(seg: shm.Segment) -> int:
    hits = seg.value("hits", "q")
    return await hits.wait_for_async(lambda n: n > 0, timeout=10)


def others(seg: shm.Segment) -> List[str]:
    with seg.passing() as inheritance:
        subprocess.run([sys.executable, "-c", ""], check=True, **inheritance)
    board = shm.bind(seg, Board)
    board.requests.add()
    try:
        seg.value("hits", "q").wait_for(lambda n: n < 0, timeout=0)
    except shm.WaitTimeoutError:
        pass
    return [f"{e.name} {e.text()}" for e in seg.entries() if e.access != "raw"]


def main() -> None:
    with shm.anonymous(max_size=1 << 20) as seg:
        print(shm.implementation, shm.native.missing or "compiled")
        print(values(seg), asyncio.run(waits(seg)), len(others(seg)))


if __name__ == "__main__":
    main()
