"""A process reads a Value while a stopped process holds its lock."""

import multiprocessing
import os
import signal

fork = multiprocessing.get_context("fork")
v = fork.Value("i", 7)


def stop():
    with v.get_lock():
        os.kill(os.getpid(), signal.SIGSTOP)


def read():
    v.value


holder = fork.Process(target=stop)
holder.start()
os.waitpid(holder.pid, os.WUNTRACED)
reader = fork.Process(target=read)
reader.start()
reader.join(1)
print("a reader waits (gave up after 1 s)" if reader.is_alive() else "a reader goes on")
reader.kill()
holder.kill()
