"""Helpers of the tests. The Go tests run the tests of this package, and name a Go peer in the environment."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
import unittest
import warnings

import shm

PEER = os.environ.get("SHM_TEST_PEER")
PREFIX = os.environ.get("SHM_TEST_PREFIX", f"shmtest-py-{os.getpid()}")
_count = 0


def eventually(what, ok, seconds=120):
    """Wait until ok() is true. The time-out is so long that only a defect reaches it."""
    end = time.monotonic() + seconds
    while not ok():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.001)


@contextlib.contextmanager
def set_environment(name, value):
    """Have a variable in the environment for the time of a with statement."""
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def end_with_parent():
    """In a new process, ask to be killed when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


class Process:
    """A process that gets lines, and answers each with a line."""

    def __init__(self, *command, **environment):
        self.p = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, **environment}, preexec_fn=end_with_parent,
        )  # fmt: skip
        self.pid = self.p.pid

    def say(self, line):
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()

    def line(self):
        text = self.p.stdout.readline()
        if not text:
            raise AssertionError(f"process {self.pid} ended, and a line was expected")
        return text.rstrip("\n")

    def tell(self, line):
        self.say(line)
        return self.line()

    def kill(self):
        """Kill it as kill -9 does, and reap it."""
        self.p.send_signal(signal.SIGKILL)
        self.p.wait()
        self.p.stdin.close()
        self.p.stdout.close()


class Case(unittest.TestCase):
    """A test with the name of a segment. Its processes are killed when it ends."""

    def setUp(self):
        global _count
        _count += 1
        self.name = f"{PREFIX}-{_count}"
        self.addCleanup(self.forget, self.name)

    def forget(self, name):
        try:
            shm.remove(name)
        except FileNotFoundError:
            pass

    def open(self, **options):
        options = options or {"create": True, "max_size": 1 << 20}
        segment = shm.open(self.name, **options)
        self.addCleanup(segment.close)
        return segment

    def process(self, *command, **environment):
        p = Process(*command, **environment)
        self.addCleanup(lambda: p.p.returncode is None and p.kill())
        return p

    def go(self, helper, *args):
        """Start a helper process of the Go tests."""
        if not PEER:
            self.skipTest("there is no Go peer: run the tests with go test -run TestPython ./test/interop")
        return self.process(PEER, *args, SHM_TEST_HELPER=helper)

    def agent(self):
        """Start the Go agent, which obeys commands about the lock of Value n."""
        a = self.go("agent", self.name)
        self.assertEqual(a.line(), "ready")
        return a

    def python(self, program, *args):
        """Start a Python process that runs the program. sys.argv has the segment's name and args."""
        return self.process(sys.executable, "-c", program, self.name, *args)

    def child(self, body):
        """Fork a child that calls body; return its pid. The result of body is the exit code. It ends with the test."""
        sys.stdout.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
            pid = os.fork()
        if pid:
            self.addCleanup(self._end_child, pid)
        if pid == 0:
            code = 99
            try:
                code = body() or 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        return pid

    @staticmethod
    def _end_child(pid):
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # the test has reaped it

    def reap(self, pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
