"""The lock's cache line in shared memory."""

import ctypes

OWNER = (1 << 30) - 1  # the owner's id; 0: free
L = 1 << 30  # a goroutine of the owner's process waits in Go
W = 1 << 31  # somebody waits in the kernel; without an owner: reserved for whoever waited

# What starve says: who has waited long.
IN_KERNEL = 1
IN_GO = 2  # since its process's places in the kernel are taken: no wake-up finds it


class LockCell(ctypes.Structure):
    """A lock, and what goes with it. A locked number is in the same line, at 48."""

    _fields_ = [
        ("word", ctypes.c_uint32),  # owner, L, W
        ("change", ctypes.c_uint32),  # moves when somebody awaits a change and there is one
        ("probed", ctypes.c_uint64),  # when the owner's lease was last looked at, CLOCK_MONOTONIC ns
        ("starve", ctypes.c_uint32),
        ("abandoned", ctypes.c_uint32),  # sticky: an owner died or failed inside
        ("takeovers", ctypes.c_uint32),  # how often a dead owner was replaced, for tools
        ("extent", ctypes.c_uint32),  # of a published value: bytes of a slot that some program's type reaches
        ("commit", ctypes.c_uint64),  # of a published value: counts; the low bit names the slot
        ("_reserved", ctypes.c_uint8 * 24),
    ]

    def reset(self):
        """Bring what an earlier boot left in order."""
        if self.word & OWNER:
            self.abandoned = 1
        self.word = self.probed = self.starve = 0
