"""Sleeping on a word of shared memory: futex(2)."""

import ctypes
import errno
import functools
import platform
import time

from . import calls

WAIT_BITSET = 9
WAKE_BITSET = 10
ALL_BITS = 0xFFFFFFFF
EVERYBODY = 0x7FFFFFFF

# The number of the system call. The private flag is never set, as other processes
# sleep on the same words.
_NUMBERS = {"x86_64": 202, "AMD64": 202, "ppc64le": 221, "ppc64": 221, "s390x": 238}
_NUMBER = _NUMBERS.get(platform.machine(), 98)  # 98 on all systems with the generic table


class _Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_int64), ("nsec", ctypes.c_int64)]


def _syscall(library):
    f = library.syscall
    f.restype = ctypes.c_long
    f.argtypes = [
        ctypes.c_long, ctypes.c_void_p, ctypes.c_long, ctypes.c_ulong,
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong,
    ]  # fmt: skip
    return f


_waiting = _syscall(ctypes.CDLL(None, use_errno=True))  # releases the GIL, as the call sleeps
_waking = _syscall(ctypes.PyDLL(None))  # keeps the GIL, as the call does not sleep


def monotonic():
    """Return CLOCK_MONOTONIC in nanoseconds. All processes of the system share this clock."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def wait(word, value, bits, until):
    """Sleep while the c_uint32 equals value, at most until the monotonic time `until`.

    A wake of one of the bits ends the sleep. wait may return early, and a signal
    makes it do so, so that the signal's handler runs: callers check the word again.
    """
    t = _Timespec(*divmod(max(until, 0), 1_000_000_000))
    r = _waiting(_NUMBER, ctypes.addressof(word), WAIT_BITSET, value, ctypes.addressof(t), None, bits)
    if r < 0 and ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT):
        # The system forbids the call. Without this pause the caller would spin.
        time.sleep(0.001)


class _Waiter(ctypes.Structure):
    _fields_ = [("value", ctypes.c_uint64), ("address", ctypes.c_uint64), ("flags", ctypes.c_uint32), ("zero", ctypes.c_uint32)]


_WAITV, _SIZE_U32, _MONOTONIC = 449, 2, 1
MOST_WORDS = 128  # that the system lets a thread sleep on


@functools.cache
def can_wait_any():
    """Report whether the system can sleep on several words, which came with Linux 5.16."""
    if calls.avoided("futex_waitv"):
        return False
    _waiting(_WAITV, None, 0, 0, None, None, 0)
    return ctypes.get_errno() == errno.EINVAL


def wait_any(own, value, addresses, until):
    """Sleep while a c_uint32 of this process equals value, and the shared words at the addresses are 0, or until a time.

    The memory at the addresses may be unmapped meanwhile. wait_any may return early.
    """
    waiters = (_Waiter * (1 + len(addresses)))(
        (value, ctypes.addressof(own), _SIZE_U32, 0), *((0, a, _SIZE_U32, 0) for a in addresses)
    )
    t = _Timespec(*divmod(until, 1_000_000_000))
    r = _waiting(_WAITV, ctypes.addressof(waiters), len(waiters), 0, ctypes.addressof(t), _MONOTONIC, 0)
    if r < 0 and ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT):
        time.sleep(0.25)  # a word has no memory any more, or the system forbids the call


def wait_all(words, until):
    """Sleep while each of some shared words has a value, or until the time. words are addresses with values, MOST_WORDS at most.

    It may return early, as wait does.
    """
    waiters = (_Waiter * len(words))(*((value, address, _SIZE_U32, 0) for address, value in words))
    t = _Timespec(*divmod(max(until, 0), 1_000_000_000))
    r = _waiting(_WAITV, ctypes.addressof(waiters), len(waiters), 0, ctypes.addressof(t), _MONOTONIC, 0)
    if r < 0 and ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT):
        time.sleep(0.001)  # as in wait


def wake(word, n, bits=ALL_BITS):
    """Wake up to n threads that sleep on the c_uint32 for one of the bits; return how many it woke."""
    return max(0, _waking(_NUMBER, ctypes.addressof(word), WAKE_BITSET, n, None, None, bits))
