"""The lock cell: the cache line of shared memory that a lock consists of."""

import ctypes

# The bits of the lock word, as in docs/FORMAT.md.
OWNER_MASK = (1 << 30) - 1  # the owner's id; 0 means that the lock is free
LOCAL_WAITERS = 1 << 30  # a goroutine of the owner's process waits in Go
KERNEL_WAITERS = 1 << 31  # a thread waits in the kernel; without an owner, the lock is reserved for such a waiter

# The values of LockCell.starve, which says that somebody has waited for long.
STARVE_KERNEL = 1  # the waiter sleeps in the kernel
STARVE_GO = 2  # the waiter sleeps in Go, as its process has no place left in the kernel, and no wake-up reaches it


class LockCell(ctypes.Structure):
    """A lock and the words that belong to it. The value of a locked number is in the same line, at byte 48."""

    _fields_ = [
        ("word", ctypes.c_uint32),  # the lock word: OWNER_MASK, LOCAL_WAITERS, KERNEL_WAITERS
        ("change", ctypes.c_uint32),  # the change word, which moves if somebody awaits a change when one is made
        ("probed", ctypes.c_uint64),  # when the owner's lease was probed last, CLOCK_MONOTONIC in ns
        ("starve", ctypes.c_uint32),  # 0, STARVE_KERNEL or STARVE_GO
        ("abandoned", ctypes.c_uint32),  # 1: an owner died or failed while it held the lock; a later holder clears it
        ("takeovers", ctypes.c_uint32),  # how often a dead owner was replaced; tools show it
        ("extent", ctypes.c_uint32),  # of a published value: bytes of a slot that the longest known type uses
        ("commit", ctypes.c_uint64),  # of a published value: the commit counter, whose low bit names the committed slot
        ("_reserved", ctypes.c_uint8 * 24),
    ]


CLEAN = 1 << 32  # of an owner of a gauge's cell: the number is not 0 yet, but will be
OWNER_ID = (1 << 32) - 1  # the bits of an owner that are its id


class CountCell(ctypes.Structure):
    """The cell that a process has of a counter, a gauge or a histogram, whose buckets follow."""

    _fields_ = [
        ("number", ctypes.c_uint64),  # the count; of a histogram: the sum; the bits of a float64 if it is one
        ("owner", ctypes.c_uint64),  # the owner's id, and CLEAN; 0: nobody's
        ("probed", ctypes.c_uint64),  # when the owner's lease was probed last, CLOCK_MONOTONIC in ns
        ("_reserved", ctypes.c_uint8 * 40),
    ]
