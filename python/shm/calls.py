"""The optional system calls. Each has a second way, which docs/system-calls.md names.

A filter that kills gives no answer. So the environment variable SHM_AVOID names the calls
that it does not permit, with commas between them, and the package does not make them.
The variable is read once, at the first such call.
"""

import errno
import functools
import os

_REFUSALS = {
    errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EACCES,  # filesystems, kernels, seccomp, SELinux
    errno.EISDIR,  # O_TMPFILE before Linux 3.11
    errno.EXDEV,  # links, where Landlock does not permit them
    errno.EMLINK,  # links, on filesystems with one name for each file
}  # fmt: skip


@functools.cache
def _avoided():
    return frozenset(os.environ.get("SHM_AVOID", "").replace(",", " ").split())


def avoided(name):
    """Report whether SHM_AVOID names a call."""
    return name in _avoided()


def attempt(name, call, *arguments, **named):
    """Make an optional call. If it is to be avoided, raise what a system without it raises."""
    if avoided(name):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return call(*arguments, **named)


def refused(e):
    """Report whether an OSError may say that the system, the filesystem or a filter does not let this process make a call."""
    return e.errno in _REFUSALS
