"""Who holds a lock, for tools."""

import ctypes
from collections import namedtuple

from .atomics import fence
from .cell import KERNEL_WAITERS, LOCAL_WAITERS, OWNER_MASK, LockCell


class LockInfo(namedtuple("LockInfo", "held id pid program alive reserved waiting abandoned takeovers")):
    """The state of a lock at one moment.

    id is that of the owner's attachment, and 0 if the lock is free. pid, in the owner's
    own pid namespace, and program are 0 and "" if the segment does not tell them any more.
    A dead owner's lock goes to the next that asks. reserved: free, but reserved for a process
    that has waited for long. waiting: there are, or were, waiters. abandoned: what the method
    of that name tells the next holder. takeovers: how often a dead owner was replaced.
    str describes all of it in one line.
    """

    __slots__ = ()

    def __str__(self):
        if self.reserved:
            text = "free, reserved for a long-waiting process"
        elif not self.held:
            text = "free"
        elif self.pid == 0:
            text = f"held by id {self.id}"
        else:
            program = self.program if self.program.isprintable() else ascii(self.program)[1:-1]
            text = f'held by "{program}" (pid {self.pid})'
        if self.held and not self.alive:
            text += ", which is dead"
        if self.waiting and self.held:
            text += ", has, or had, waiters"
        if self.abandoned:
            text += ", abandoned"
        if self.takeovers:
            text += f", takeovers: {self.takeovers}"
        return text


def lock_info(mapping, offset):
    """Return the LockInfo of a lock cell."""
    cell = mapping.at(LockCell, offset)
    w = ctypes.c_uint32.from_buffer(cell).value
    fence()
    owner = w & OWNER_MASK
    pid, _, program = mapping.lease.process(owner) if owner else (0, 0, "")
    return LockInfo(
        owner != 0, owner, pid, program, owner != 0 and mapping.lease.holds(owner),
        owner == 0 and w & KERNEL_WAITERS != 0, w & (LOCAL_WAITERS | KERNEL_WAITERS) != 0,
        cell.abandoned != 0, cell.takeovers,
    )  # fmt: skip
