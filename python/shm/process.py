"""The processes that have a segment attached."""

import ctypes
import os
import select
import time

from .cell import OWNER_MASK
from . import calls, futex
from .change import check_cancel, deadline, given_up
from .errors import ArgumentError, FormatError, FullError


class Process:
    """A process that has, or had, a segment attached. No other process ever gets its id in that segment.

    pid, in the process's own pid namespace, and program are what the process wrote about
    itself. They are 0 and "" if the segment has forgotten them: it remembers 512 processes.
    """

    __slots__ = ("id", "pid", "namespace", "program", "_mapping")

    def __init__(self, mapping, id):
        self.id, self._mapping = id, mapping
        self.pid, self.namespace, self.program = mapping.lease.process(id)

    def alive(self):
        """Return whether the process lives and has the segment attached. The answer False is final.

        The proof is its lease, a file lock that the kernel drops when the process ends, and
        not its pid, which another process may have by now.
        """
        return self._mapping.lease.holds(self.id)

    def __eq__(self, other):
        return isinstance(other, Process) and (self.id, self._mapping.lease.key) == (other.id, other._mapping.lease.key)

    def __hash__(self):
        return hash((self.id, self._mapping.lease.key))

    def __repr__(self):
        return f"<Process {self.id}: {self.program!r} (pid {self.pid})>"


def processes(mapping):
    """Return the living processes, in the order in which they came, and then the dead that still hold a lock."""
    found = mapping.lease.living()
    known, dead = set(found), set()
    try:
        for r in mapping.directory.all():
            for offset in r.lock_offsets(r.capacity):
                id = mapping.at(ctypes.c_uint32, r.data + offset).value & OWNER_MASK
                if id and id not in known:
                    known.add(id)
                    if not mapping.lease.holds(id):
                        dead.add(id)
    except (FormatError, FullError):
        pass  # what comes after a record that is not valid has no users
    return [Process(mapping, id) for id in (*found, *sorted(dead))]


_FIRST_LOOK, _LONGEST_LOOK, _LOOK_BESIDE_PIDFD = 0.004, 0.02, 0.25  # seconds between two probes


def await_exit(mapping, process, timeout, cancel, check):
    """Sleep until a process is dead, or has left the segment. It calls check meanwhile, which may raise."""
    if not isinstance(process, Process) or process._mapping.lease.key != mapping.lease.key:
        raise ArgumentError(f"{process!r} is no process of {mapping.path}")
    check_cancel(cancel)
    end = deadline(timeout)
    pidfd, pause = _open(process), _FIRST_LOOK
    try:
        while process.alive():
            now = futex.monotonic()
            if end is not None and now >= end or cancel is not None and cancel.is_set():
                raise given_up(f"the exit of {process!r}", timeout, cancel)
            check()
            least = _LOOK_BESIDE_PIDFD if pidfd is not None and cancel is None else pause
            least = least if end is None else min(least, (end - now) / 1e9)
            if pidfd is None or pidfd[1].poll(least * 1000):
                time.sleep(min(least, pause))  # the lease ends a little later than the process
            pause = min(2 * pause, _LONGEST_LOOK)
    finally:
        if pidfd is not None:
            os.close(pidfd[0])


def _open(process):
    """Return a pidfd and what polls it, if the process is in this pid namespace, or None."""
    try:
        if process.namespace == 0 or process.namespace != os.stat("/proc/self/ns/pid").st_ino:
            return None
        fd = calls.attempt("pidfd_open", os.pidfd_open, process.pid)
    except OSError:
        return None
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return fd, poll
