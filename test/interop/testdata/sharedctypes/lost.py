"""Two processes add to a Value with v.value += 1, which takes and releases its lock twice."""

import multiprocessing
import time

fork = multiprocessing.get_context("fork")
EACH = 20_000


def add(v, barrier):
    barrier.wait()
    for _ in range(EACH):
        v.value += 1


end = time.monotonic() + 20
while time.monotonic() < end:
    v, barrier = fork.Value("q", 0), fork.Barrier(2)
    both = [fork.Process(target=add, args=(v, barrier)) for _ in range(2)]
    for p in both:
        p.start()
    for p in both:
        p.join()
    lost = 2 * EACH - v.value
    if lost:
        print(f"lost {lost:,} of {2 * EACH:,}")
        break
else:
    print("not seen in 20 s")
