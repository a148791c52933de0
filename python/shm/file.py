"""The files behind segments: who may attach, and how one is made."""

import contextlib
import ctypes
import errno
import os
import random
import stat

from . import header
from .errors import FormatError, InsecureError

SHM_DIR = "/dev/shm/"


def path_of(name):
    """Return the file of a segment's name: /dev/shm/NAME if it has no slash, else the path itself."""
    return name if "/" in name else SHM_DIR + name


def check_name(name):
    """Raise TypeError or ValueError for what cannot be a segment's name."""
    if not isinstance(name, str):
        raise TypeError(f"a segment's name is a str, not {type(name).__name__}")
    last = name.rpartition("/")[2]
    if not name or "\0" in name or "/../" in name or last in ("", ".", ".."):
        raise ValueError(f"{name!r} cannot be a segment's name")
    if len(os.fsencode(last)) > 255 or len(os.fsencode(name)) > 4095:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), name)


@contextlib.contextmanager
def naming(path):
    """Have an OSError say which segment it is about, whatever file the system was busy with."""
    try:
        yield
    except OSError as e:
        raise OSError(e.errno, os.strerror(e.errno), path) from None


def identify(fd, path):
    """Return fstat of a regular file. Raises InsecureError for anything else."""
    st = os.fstat(fd)
    if not stat.S_ISREG(st.st_mode):
        raise InsecureError(f"{path}: not a regular file")
    return st


def open_existing(path, read_only, mode):
    """Open a name for attaching, if it can be trusted; return the descriptor.

    It follows no symbolic link. Raises InsecureError for a file that somebody
    else may have laid there, or may write to beyond what mode grants.
    """
    flags = os.O_RDONLY if read_only else os.O_RDWR
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        if e.errno == errno.ELOOP:
            raise InsecureError(f"{path}: a symbolic link") from None
        if e.errno in (errno.EISDIR, errno.ENXIO, errno.ENODEV):
            raise InsecureError(f"{path}: not a regular file") from None
        raise
    try:
        st = identify(fd, path)
        if st.st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if st.st_nlink > 1:
            raise InsecureError(f"{path}: it has {st.st_nlink} names")
        if st.st_uid not in (os.geteuid(), 0) and mode & 0o077 == 0:
            raise InsecureError(f"{path}: user {st.st_uid} owns it, and mode {mode:#o} does not ask for others")
        if st.st_mode & 0o222 & ~mode:
            raise InsecureError(f"{path}: its mode {st.st_mode & 0o777:#o} lets more write than {mode:#o}")
    except BaseException:
        os.close(fd)
        raise
    return fd


def create(path, mode, max_size, boot):
    """Build a segment under no name and link it into place, so that nobody sees a part of one.

    Raises FileExistsError where somebody else was first.
    """
    directory = os.path.dirname(path) or "."
    temporary = None
    try:
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as e:
        if e.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
        temporary = os.path.join(directory, f".{os.path.basename(path)[:100]}.{random.getrandbits(32):08x}")
        fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, mode)  # the umask does not apply
        os.posix_fallocate(fd, 0, header.FIRST_ALLOCATION)
        os.pwrite(fd, header.new(max_size, boot), 0)
        if temporary:
            _rename_new(temporary, path)
        else:
            # With a directory's descriptor, which an absolute path makes no use
            # of, Python calls linkat, which follows the link in /proc.
            os.link(f"/proc/self/fd/{fd}", os.path.abspath(path), src_dir_fd=fd, follow_symlinks=True)
        temporary = None
    except BaseException:
        os.close(fd)
        if temporary:
            os.unlink(temporary)
        raise
    return fd


def _rename_new(old, new):
    """Rename unless the new name exists."""
    at_cwd, noreplace = -100, 1
    if ctypes.CDLL(None, use_errno=True).renameat2(at_cwd, os.fsencode(old), at_cwd, os.fsencode(new), noreplace):
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e), new)


def reopen(fd, path):
    """Open a descriptor's file anew: an open file description that no child shares."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        if "/" not in path:
            raise
    # No /proc, or it refuses: by name, if that still leads to the same file.
    st = os.fstat(fd)
    return open_again(path, st.st_dev, st.st_ino, False)


def open_again(path, device, inode, read_only):
    """Open a name that led to a file which was trusted. Raises FileNotFoundError if it leads to another one."""
    flags = os.O_RDONLY if read_only else os.O_RDWR
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    st = os.fstat(fd)
    if (st.st_dev, st.st_ino) != (device, inode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "its name leads to another file", path)
    return fd


def read_header(fd, path):
    """Return stat and maximum size of a segment.

    A copy that is made while another process adds values may have an old word
    beside a new one, so an invalid header is read again until it stays the same.
    """
    before = None
    for _ in range(100):
        b = os.pread(fd, header.TABLE, 0)
        st = identify(fd, path)  # after the copy: the file only grows
        try:
            return st, header.check(b, st.st_size)
        except ValueError as e:
            e.args = (f"{path}: {e}",)
            if b == before:
                raise
            last = e
        before = b
    raise FormatError(f"{path}: the header never keeps still") from last


def require(fd, path, end):
    """Return the size of a file that has at least `end` bytes, whatever its header says."""
    size = os.fstat(fd).st_size
    if size < end:
        raise FormatError(f"{path}: cut off: {size} bytes of {end} are there")
    return size
