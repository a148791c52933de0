"""Attaching to segments, and making them."""

import errno
import operator
import os

from . import file, header, handover, memory
from .errors import ArgumentError, ArgumentTypeError, ExistsError, NotFoundError
from .mapping import attach
from .segment import Segment

DEFAULT_MAX_SIZE = 4 << 30


def open(name, *, create=False, exclusive=False, readonly=False, mode=0o600, max_size=0):
    """Attach to the segment of that name; return it.

    A name without a slash is a POSIX shared-memory object, which lives until it is
    removed or the system reboots. A name with a slash, and a path
    of pathlib, is the path of a file.

    With create, open makes the segment if there is none. With exclusive, it makes the
    segment, and raises ExistsError if there is one. mode has the permission bits of
    a new segment, whatever the umask; an existing one must not be writable by more
    users than mode grants. max_size is the number of bytes of address space that a new
    segment may grow to; 0 means 4 GiB. With readonly, it maps the segment without write
    permission.

    Raises NotFoundError if there is no such segment; FormatError or VersionError if
    the file is not a segment that this version reads; InsecureError if the file is not
    a regular file, has several hard links, belongs to another user while mode is for
    this user only, or is writable by more users than mode grants; OSError from the
    system.
    """
    name, mode = file.check_name(name), operator.index(mode)
    if mode & ~0o777:
        raise ArgumentError(f"mode {mode:#o} has other bits than the permissions 0o777")
    if exclusive:
        create = True
    if create and readonly:
        raise ArgumentError("readonly cannot be combined with create or exclusive: a read-only attachment makes nothing")
    max_size, path = _checked(max_size), file.path_of(name)
    # Another process may create and remove the name in turn, so that neither attaching
    # nor creating succeeds. It gives up after a number of rounds.
    for _ in range(100):
        if not exclusive:
            try:
                return Segment(name, attach(file.open_existing(path, readonly, mode), path, readonly))
            except FileNotFoundError as e:
                if not create:
                    raise NotFoundError(e.errno, f"{e.strerror}: no such segment; create=True makes it", path) from None
        try:
            with file.naming(path):
                fd = file.create(path, mode, max_size)
            return Segment(name, attach(fd, path, readonly))
        except FileExistsError as e:
            if exclusive:
                raise ExistsError(e.errno, e.strerror, path) from None
    raise OSError(errno.EAGAIN, "the name was created and removed 100 times during open", path)


def remove(name):
    """Remove the name. Attached processes keep the memory.

    Raises NotFoundError, and InsecureError for a directory, a device, a pipe or a socket, which stay.
    """
    path = file.path_of(file.check_name(name))
    file.check_removable(path)
    with file.naming_missing(path):
        os.unlink(path)


def inherited(name="", *, readonly=False):
    """Attach to a segment that the parent process passed, with Segment.passing or with Go's Pass.

    The name of an anonymous segment is "". Raises NotFoundError if the parent passed
    no such segment, and otherwise the same exceptions as open.
    """
    fd, path = handover.take(file.check_name(name) if name else "", readonly)
    return Segment(name, attach(fd, path, readonly))


def anonymous(*, max_size=0):
    """Make a segment without a name, and attach to it. Only processes to which this one hands it over can use it.

    They are children that inherit it by Segment.passing or by fork, and the arguments of
    multiprocessing. max_size is as with open.
    """
    with file.naming(handover.ANONYMOUS):
        fd = file.create_anonymous(_checked(max_size))
    return Segment("", attach(fd, handover.ANONYMOUS, False))


def open_fd(fd, *, readonly=False):
    """Attach to the segment of a descriptor, or of an open file, that this process has inherited or received.

    Who handed it over granted access, so neither owner nor mode is checked. The segment works on a
    duplicate; the descriptor stays the caller's.
    """
    try:
        number = operator.index(fd if isinstance(fd, int) else fd.fileno())
    except (AttributeError, TypeError):
        raise ArgumentTypeError(f"a descriptor is an int, or an open file, and not {fd!r}") from None
    if not 0 <= number < 1 << 31:
        raise ArgumentError(f"{number} is no descriptor")
    path = f"descriptor {number}"
    with file.naming(path):
        file.identify(number, path)
        own = handover.duplicate(number, path, readonly)
    return Segment("", attach(own, path, readonly))


def path(name):
    """Return the path of the file behind a segment's name: /dev/shm/NAME for a name without a slash, else the name."""
    return file.path_of(file.check_name(name))


def _checked(max_size):
    max_size = operator.index(max_size)
    if not 0 <= max_size <= header.MAX_SEGMENT:
        raise ArgumentError(f"max_size {max_size} is not between 0 and {header.MAX_SEGMENT}")
    return max(header.FIRST_ALLOCATION, header.round_up(max_size or DEFAULT_MAX_SIZE, memory.PAGE))
