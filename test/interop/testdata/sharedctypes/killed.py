"""A process is killed while it holds the lock of a Value."""

import multiprocessing
import os
import signal

fork = multiprocessing.get_context("fork")
v = fork.Value("i", 0)


def die():
    with v.get_lock():
        os.kill(os.getpid(), signal.SIGKILL)


holder = fork.Process(target=die)
holder.start()
holder.join()
if v.get_lock().acquire(timeout=1):
    print("the next has the lock")
else:
    print("the next waits for ever (gave up after 1 s)")
