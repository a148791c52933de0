"""Sleeping on a word of shared memory: futex(2)."""

import ctypes
import errno
import platform
import time

WAIT_BITSET = 9
WAKE_BITSET = 10
ALL_BITS = 0xFFFFFFFF
EVERYBODY = 0x7FFFFFFF

# Never the private flag: the words are shared.
_NUMBERS = {"x86_64": 202, "AMD64": 202, "ppc64le": 221, "ppc64": 221, "s390x": 238}
_NUMBER = _NUMBERS.get(platform.machine(), 98)  # 98 wherever the table is the generic one


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


_waiting = _syscall(ctypes.CDLL(None, use_errno=True))  # lets go of the GIL
_waking = _syscall(ctypes.PyDLL(None))


def monotonic():
    """Return CLOCK_MONOTONIC in nanoseconds, which all processes share."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def wait(word, value, bits, until):
    """Sleep while the c_uint32 is value, until the monotonic time `until`.

    Whoever wakes one of the bits ends it. It may return early, and does so for
    a signal, whose handler then runs: callers look again.
    """
    t = _Timespec(*divmod(max(until, 0), 1_000_000_000))
    r = _waiting(_NUMBER, ctypes.addressof(word), WAIT_BITSET, value, ctypes.addressof(t), None, bits)
    if r < 0 and ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT):
        # Something forbids the call: look often, instead of at full speed.
        time.sleep(0.001)


def wake(word, n, bits=ALL_BITS):
    """Wake up to n who sleep on the c_uint32 for one of the bits; return how many."""
    return max(0, _waking(_NUMBER, ctypes.addressof(word), WAKE_BITSET, n, None, None, bits))
