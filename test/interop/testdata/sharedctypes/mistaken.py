"""Two programs attach to the same memory, and use different types for a value in it."""

import ctypes
from multiprocessing.shared_memory import SharedMemory

here = SharedMemory(create=True, size=8)
there = SharedMemory(here.name)
number = ctypes.c_double.from_buffer(here.buf)
number.value = 1.5
other = ctypes.c_int64.from_buffer(there.buf)
print(f"1.5 is read as {other.value:,}")
del number, other
there.close()
here.close()
here.unlink()
