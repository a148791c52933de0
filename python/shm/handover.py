"""Handing a segment over to a process that this one starts. docs/FORMAT.md describes it."""

import array
import contextlib
import errno
import fcntl
import os
import socket

from . import calls, file, lease
from .errors import ArgumentError, NotFoundError

ANONYMOUS = "anonymous segment"


def variable(name):
    """Return the environment variable that tells of a segment of that name."""
    return "SHM_SEGMENT_" + os.fsencode(name).hex()


@contextlib.contextmanager
def passing(mapping, name, env, pass_fds):
    """Yield arguments of subprocess.Popen by which a child inherits a segment."""
    env = dict(os.environ if env is None else env)
    known = env.get(variable(name), "").split(":")
    key = mapping.lease.key
    if known[0].isdigit() and int(known[0]) in pass_fds and known[1:3] != [str(n) for n in key]:
        raise ArgumentError(f"the process gets another segment of the name {name!r} already")
    fds = []
    try:
        fds.append(fcntl.fcntl(mapping.fd, fcntl.F_DUPFD_CLOEXEC, 3))
        place = ":".join(map(str, (fds[0], *key)))
        end = _send(mapping)
        if end is not None:
            fds.append(end)
            place += f":{end}"
        env[variable(name)] = place
        yield {"env": env, "pass_fds": (*pass_fds, *fds)}
    finally:
        for fd in fds:
            os.close(fd)


def _send(mapping):
    """Return a socket in which a description of the file waits, for the lease of a child, or None.

    A child that may open the file itself does without it. No process keeps another descriptor of
    the description, so that the lease ends with the child.
    """
    if mapping.read_only:  # a reader must not hand over more than it has
        return None
    try:
        fd = file.reopen(mapping.fd, mapping.path)
    except OSError:
        return None
    try:
        if not mapping.lease.leads_here(fd):
            return None
        mine, theirs = calls.attempt("socketpair", socket.socketpair, socket.AF_UNIX, socket.SOCK_STREAM)
        with mine, theirs:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
            mine.sendmsg([b"\0"], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            return fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:
        return None
    finally:
        os.close(fd)


def take(name, read_only):
    """Return the descriptor of a segment that the parent has passed, and what to call it."""
    missing = NotFoundError(errno.ENOENT, "the parent process passed no segment of this name", name)
    try:
        fd, device, inode, *sockets = map(int, os.environ.get(variable(name), "").split(":"))
        st = os.fstat(fd)
    except (ValueError, OverflowError, OSError):
        raise missing from None
    if fd < 3 or (st.st_dev, st.st_ino) != (device, inode) or len(sockets) > 1:
        raise missing
    file.identify(fd, name)
    os.set_inheritable(fd, False)
    for number in sockets:  # a description for the lease waits in it
        if number >= 3 and number not in _received:
            _received.add(number)
            lease.receive(number, (device, inode))
    path = file.path_of(name) if name else ANONYMOUS
    return duplicate(fd, path, read_only), path


_received = set()  # numbers of the sockets that were read and closed


def duplicate(fd, path, read_only):
    """Return a duplicate of a descriptor, if it permits what is asked for. Raises PermissionError, OSError."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if flags & os.O_ACCMODE == os.O_WRONLY or flags & os.O_PATH:
        raise PermissionError(errno.EACCES, "the descriptor is not for reading: open the file with O_RDWR", path)
    if not read_only and flags & os.O_ACCMODE == os.O_RDONLY:
        raise PermissionError(errno.EACCES, "the descriptor is for reading only: attach with readonly=True", path)
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
