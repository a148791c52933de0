"""The files of segments: which files are safe to attach to, and how a new one is made."""

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
    """Return the path of a segment: /dev/shm/NAME if the name has no slash, otherwise the name itself."""
    return name if "/" in name else SHM_DIR + name


def check_name(name):
    """Raise TypeError, ValueError or OSError if name cannot be the name of a segment."""
    if not isinstance(name, str):
        raise TypeError(f"a segment's name is a str, not {type(name).__name__}: {name!r}")
    last = name.rpartition("/")[2]
    if not name or "\0" in name or "/../" in name or last in ("", ".", ".."):
        raise ValueError(
            f"{name!r} cannot be the name of a segment: it is a file name or a path, without '..' and NUL"
        )
    if len(os.fsencode(last)) > 255 or len(os.fsencode(name)) > 4095:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), name)


@contextlib.contextmanager
def naming(path):
    """Raise any OSError of the block with the path of the segment, whichever file the call was about."""
    try:
        yield
    except OSError as e:
        raise OSError(e.errno, os.strerror(e.errno), path) from None


def identify(fd, path):
    """Return the fstat result of a regular file. Raises InsecureError for other files."""
    st = os.fstat(fd)
    if not stat.S_ISREG(st.st_mode):
        raise InsecureError(f"{path}: not a regular file, as a segment is")
    return st


def open_existing(path, read_only, mode):
    """Open an existing file to attach to it, if it is safe; return the descriptor.

    It does not follow symbolic links. Raises InsecureError if another user may have
    put the file there, or if more users can write to it than mode grants.
    """
    flags = os.O_RDONLY if read_only else os.O_RDWR
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        if e.errno == errno.ELOOP:
            raise InsecureError(f"{path}: a symbolic link, which is not followed: use the path it leads to") from None
        if e.errno in (errno.EISDIR, errno.ENXIO, errno.ENODEV):
            raise InsecureError(f"{path}: not a regular file, as a segment is") from None
        raise
    try:
        st = identify(fd, path)
        if st.st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if st.st_nlink > 1:
            raise InsecureError(f"{path}: it has {st.st_nlink} hard links, and a segment has one: remove the others")
        if st.st_uid not in (os.geteuid(), 0) and mode & 0o077 == 0:
            raise InsecureError(
                f"{path}: owned by user {st.st_uid}, and mode {mode:#o} is for this user only: "
                "if that user is meant, pass a mode that grants more, such as 0o660"
            )
        if st.st_mode & 0o222 & ~mode:
            raise InsecureError(
                f"{path}: writable by more users than mode {mode:#o} grants, as the file has mode "
                f"{st.st_mode & 0o777:#o}: if they may write, pass mode={st.st_mode & 0o777:#o}"
            )
    except BaseException:
        os.close(fd)
        raise
    return fd


def create(path, mode, max_size, boot):
    """Make a new segment; return its descriptor.

    The file is made without a name and gets its name when it is complete, so that
    no process sees a part of it. Raises FileExistsError if another process made a
    file of that name first.
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
            # If src_dir_fd is given, Python calls linkat, which follows the link in
            # /proc. linkat ignores the descriptor, as the path is absolute.
            os.link(f"/proc/self/fd/{fd}", os.path.abspath(path), src_dir_fd=fd, follow_symlinks=True)
        temporary = None
    except BaseException:
        os.close(fd)
        if temporary:
            os.unlink(temporary)
        raise
    return fd


def _rename_new(old, new):
    """Rename a file. Raises FileExistsError if the new name exists."""
    at_cwd, noreplace = -100, 1
    if ctypes.CDLL(None, use_errno=True).renameat2(at_cwd, os.fsencode(old), at_cwd, os.fsencode(new), noreplace):
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e), new)


def reopen(fd, path):
    """Open a descriptor's file again; return a descriptor whose open file description no child shares."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        if "/" not in path:
            raise
    # There is no /proc, or it refuses. The path serves if it still leads to the file.
    st = os.fstat(fd)
    return open_again(path, st.st_dev, st.st_ino, False)


def open_again(path, device, inode, read_only):
    """Open a path that once led to the given file. Raises FileNotFoundError if it leads to another file."""
    flags = os.O_RDONLY if read_only else os.O_RDWR
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    st = os.fstat(fd)
    if (st.st_dev, st.st_ino) != (device, inode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "the segment was removed, and the path leads to another file", path)
    return fd


def read_header(fd, path):
    """Return the fstat result and the maximum size of a segment.

    If another process adds values during the copy, the copy may have an old word
    next to a new one. Therefore an invalid header is read again until it is valid,
    or until two copies are the same.
    """
    before = None
    for _ in range(100):
        b = os.pread(fd, header.TABLE, 0)
        st = identify(fd, path)  # after the copy, as the file only grows
        try:
            return st, header.check(b, st.st_size)
        except ValueError as e:
            e.args = (f"{path}: {e}",)
            if b == before:
                raise
            last = e
        before = b
    raise FormatError(f"{path}: the header kept changing while it was read 100 times, and was never valid") from last


def require(fd, path, end):
    """Return the size of the file. Raises FormatError if it has less than `end` bytes, whatever its header says."""
    size = os.fstat(fd).st_size
    if size < end:
        raise FormatError(f"{path}: the file was cut off: it has {size} of {end} bytes")
    return size
