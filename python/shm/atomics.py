"""Atomic operations on shared memory, without a compiler.

The operations come from libatomic, which belongs to the runtime of every C
compiler. ctypes calls it. Where libatomic is not installed, as in Debian's slim
images, the module has the same functions for x86-64 as machine code of 10 to 24
bytes each, in a page that is mapped from a file in memory. Each is one
instruction with a lock prefix, as in libatomic. On other processors without
libatomic, `unavailable` says so, and locks and atomics raise LockError.

The calls keep the GIL: none of them waits, and to release the GIL would cost more
than the call.

A plain load or store of a ctypes number is one instruction in practice. ctypes
copies the number with a memcpy of a size that the compiler knows. An unoptimised
interpreter may call memcpy as a function, but then every C library of Linux moves
1, 2, 4 or 8 bytes at once. So `.value` of an aligned number is never torn. Plain
loads and stores have no order, however: on processors that reorder them (all but
x86-64 and s390x) `fence` orders them.
"""

import ctypes
import os
import platform

from . import calls, futex, memory
from .errors import LockError

SEQ_CST = 5

#: Whether the processor may reorder plain loads with each other, or plain stores.
WEAK = platform.machine() not in ("x86_64", "AMD64", "i686", "i386", "s390x")

# The functions of libatomic for x86-64, in its own calling convention: rdi has the
# address, rsi and rdx have the next two arguments. The functions ignore the memory
# order. Each starts with endbr64.
_ENDBR = "f30f1efa"
_X86_64 = {
    # mov eax,[rsi]; lock cmpxchg [rdi],edx; jz +2; mov [rsi],eax; sete al; movzx eax,al; ret
    "__atomic_compare_exchange_4": "8b06 f00fb117 7402 8906 0f94c0 0fb6c0 c3",
    "__atomic_compare_exchange_8": "488b06 f0480fb117 7403 488906 0f94c0 0fb6c0 c3",
    # mov eax,esi; xchg [rdi],eax; ret
    "__atomic_exchange_4": "89f0 8707 c3",
    "__atomic_exchange_8": "4889f0 488707 c3",
    # mov eax,esi; lock xadd [rdi],eax; ret
    "__atomic_fetch_add_4": "89f0 f00fc107 c3",
    "__atomic_fetch_add_8": "4889f0 f0480fc107 c3",
    # mov eax,[rdi]; again: mov ecx,eax; and ecx,esi; lock cmpxchg [rdi],ecx; jnz again; ret
    "__atomic_fetch_and_4": "8b07 89c1 21f1 f00fb10f 75f6 c3",
    "__atomic_fetch_and_8": "488b07 4889c1 4821f1 f0480fb10f 75f3 c3",
    # the same with or
    "__atomic_fetch_or_4": "8b07 89c1 09f1 f00fb10f 75f6 c3",
    "__atomic_fetch_or_8": "488b07 4889c1 4809f1 f0480fb10f 75f3 c3",
}


class MachineCode:
    """A replacement for libatomic. A subscript by name returns a function, as with a ctypes library.

    Raises OSError if the system refuses executable memory.
    """

    def __init__(self, code=_X86_64):
        text, offsets = b"", {}
        for name, instructions in code.items():
            offsets[name] = len(text)
            text += bytes.fromhex(_ENDBR + instructions)
            text += b"\xcc" * (-len(text) % 16)
        fd = calls.attempt("memfd_create", os.memfd_create, "shm atomics")
        try:
            os.write(fd, text)
            base = memory.map(fd, len(text), memory.READ | memory.EXEC, memory.PRIVATE)  # never unmapped
        finally:
            os.close(fd)
        self._addresses = {name: base + offset for name, offset in offsets.items()}

    def __getitem__(self, name):
        return ctypes.PYFUNCTYPE(ctypes.c_int)(self._addresses[name])


def _find():
    """Return the library that has the functions and None, or None and the reason why there is none."""
    try:
        library = ctypes.PyDLL("libatomic.so.1")
        for name in (*_X86_64, *["atomic_thread_fence"] * WEAK):
            library[name]  # a library that is damaged, or another of that name, lacks some
        return library, None
    except (OSError, AttributeError) as missing:
        reason = f"{missing}; install libatomic (Debian: the package libatomic1)"
    if platform.machine() not in ("x86_64", "AMD64"):
        return None, reason
    try:
        return MachineCode(), None
    except OSError as refused:
        return None, f"{reason}; the system also refuses executable memory for the built-in code: {refused}"


_library, unavailable = _find()


def function(name, result):
    """Return libatomic's function of that name, which is given without `__atomic_`.

    The function takes an address from byref, then values. A value is a ctypes number
    of the right size, or an int for 4 bytes. Without a library it returns a function
    that raises LockError.
    """
    if _library is None:
        return _missing
    f = _library["__atomic_" + name]
    f.restype = result
    return f


def _missing(*_):
    raise LockError(f"locks and atomics need atomic instructions, which this Python cannot get: {unavailable}")


#: compare_exchange(byref(word), byref(expected), new, SEQ_CST, SEQ_CST) stores new
#: and returns True if the word equals expected. Otherwise it copies the word to expected
#: and returns False.
compare_exchange_4 = function("compare_exchange_4", ctypes.c_bool)
compare_exchange_8 = function("compare_exchange_8", ctypes.c_bool)


def cas_4(word, old, new):
    """Store new in a c_uint32 if it equals old; return whether it did."""
    return compare_exchange_4(ctypes.byref(word), ctypes.byref(ctypes.c_uint32(old)), new, SEQ_CST, SEQ_CST)


def cas_8(word, old, new):
    """Store new in a c_uint64 if it equals old; return whether it did."""
    return compare_exchange_8(
        ctypes.byref(word), ctypes.byref(ctypes.c_uint64(old)), ctypes.c_uint64(new), SEQ_CST, SEQ_CST
    )


if not WEAK:

    def fence():
        """Order the loads and stores before it and after it, for all processes.

        It does nothing, because this processor keeps plain loads and stores in
        order, and every other operation of this module is a fence itself.
        """

elif _library is None:
    _unused_word = ctypes.c_uint32()

    def fence():
        """Order the loads and stores before it and after it, for all processes.

        It wakes the sleepers of a word that has none. In that call the kernel has a
        full barrier between the caller's stores and its own look at the sleepers;
        without it no futex would work.
        """
        futex.wake(_unused_word, 1)

else:
    _fence = _library["atomic_thread_fence"]
    _fence.restype = None

    def fence():
        """Order the loads and stores before it and after it, for all processes."""
        _fence(SEQ_CST)


def store_release(cell, n):
    """Store n in a ctypes number. All earlier stores become visible before it."""
    fence()
    cell.value = n
