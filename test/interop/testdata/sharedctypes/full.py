"""Another program fills /dev/shm, and then a process makes a RawArray.

The file of multiprocessing's heap has a size, but not all of its memory is allocated.
This script fills /dev/shm, so run it with a small /dev/shm of its own:

    unshare -rm sh -c 'mount -t tmpfs -o size=1m shm /dev/shm && python3 test/interop/testdata/sharedctypes/full.py'
"""

import errno
import multiprocessing
import os
import resource
import signal
import sys

fork = multiprocessing.get_context("fork")


def exhaust():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it is to be killed, and must leave no core file
    kept = [fork.RawArray("c", 5000) for _ in range(12)]  # the heap is now larger than the arrays
    with open("/dev/shm/filler", "wb", buffering=0) as filler:
        try:
            while filler.write(bytes(4096)):
                pass
        except OSError as e:
            if e.errno != errno.ENOSPC:
                raise
    try:
        kept += [fork.RawArray("c", 5000) for _ in range(12)]
    except OSError:
        sys.exit(2)


room = os.statvfs("/dev/shm")
if room.f_blocks * room.f_frsize > 16 << 20:
    sys.exit("/dev/shm is too large to fill: " + __doc__)
p = fork.Process(target=exhaust)
p.start()
p.join()
outcomes = {-signal.SIGBUS: "killed by SIGBUS", 0: "there was room", 2: "an error"}
print(outcomes.get(p.exitcode, f"exit code {p.exitcode}"))
