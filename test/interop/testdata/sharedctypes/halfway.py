"""A process is killed while it changes a structure."""

import ctypes
import multiprocessing
import os
import signal

fork = multiprocessing.get_context("fork")


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_double)]


p = fork.Value(Point, 1, 1)


def move():
    with p.get_lock():
        p.x = 2
        os.kill(os.getpid(), signal.SIGKILL)
        p.y = 2


mover = fork.Process(target=move)
mover.start()
mover.join()
q = p.get_obj()
print(f"x = {q.x:.0f} beside y = {q.y:.0f}, and nobody is told")
