"""mmap(2). Python's own module mmap cannot map memory past the end of a file."""

import ctypes
import errno
import os
import weakref

from . import calls

READ, WRITE, EXEC = 1, 2, 4
SHARED, PRIVATE = 1, 2
PAGE = os.sysconf("SC_PAGESIZE")

if ctypes.sizeof(ctypes.c_void_p) != 8:
    raise ImportError("shm needs a 64-bit Python; this one has 32 bits")

_libc = ctypes.CDLL(None, use_errno=True)
_mmap, _munmap, _msync = _libc.mmap, _libc.munmap, _libc.msync
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_msync.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_MS_SYNC = 4
_madvise = _libc.madvise
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_MADV_DONTDUMP, _MADV_DODUMP = 16, 17


def map(fd, size, protection, flags):
    """Map the first size bytes of a file; return the address. Raises OSError."""
    address = _mmap(None, size, protection, flags, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return address


def map_shared(fd, size, need, read_only):
    """Map a file as a ctypes array of bytes, which may be longer than the file.

    If the system has too little address space, it halves the size until the map
    succeeds or the size is below `need` bytes. The memory stays mapped while any
    object that from_buffer made from the array is alive. Raises OSError.
    """
    protection = READ if read_only else READ | WRITE
    while True:
        try:
            address = map(fd, size, protection, SHARED)
            break
        except OSError as e:
            if e.errno != errno.ENOMEM or size // 2 < need:
                raise
            size = -(-(size // 2) // PAGE) * PAGE
    memory = (ctypes.c_ubyte * size).from_address(address)
    # It is not unmapped at exit, as threads may still use it.
    weakref.finalize(memory, _munmap, address, size).atexit = False
    return memory


def try_sharing(fd):
    """Map a page of a file, and unmap it. Raises OSError if the file's filesystem has no memory that processes share."""
    _munmap(map(fd, PAGE, READ | WRITE, SHARED), PAGE)


def omit_from_dumps(address, size, omit):
    """Keep memory out of core dumps of this process, or with omit false let it be in them again.

    The kernel takes the mapping of a file without a name for the process's own memory,
    and writes each page of it. The address is that of a page. If the system refuses,
    nothing changes.
    """
    if size > 0 and not calls.avoided("madvise"):
        _madvise(address, size, _MADV_DONTDUMP if omit else _MADV_DODUMP)


def sync(memory, size):
    """Flush the first bytes of a mapping to the file. Raises OSError."""
    if _msync(ctypes.addressof(memory), size, _MS_SYNC):
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
