"""The files of segments: which files are safe to attach to, and how a new one is made."""

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import random
import stat
import struct
import sys

from . import calls, header, memory, record
from .errors import ArgumentError, ArgumentTypeError, ExistsError, FormatError, InsecureError, NotFoundError

SHM_DIR = "/dev/shm/"


def path_of(name):
    """Return the path of a segment: /dev/shm/NAME if the name has no slash, otherwise the name itself."""
    return name if "/" in name else SHM_DIR + name


def check_name(name):
    """Return the name of a segment as text. It may be a path of pathlib. Raises TypeError, ValueError or OSError."""
    if not isinstance(name, str):
        given, name = name, None
        with contextlib.suppress(TypeError):
            name = os.fspath(given)
        if not isinstance(name, str) or isinstance(given, bytes):
            raise ArgumentTypeError(f"a segment's name is a str or a path, not {type(given).__name__}: {given!r}")
        name = name if "/" in name else f"./{name}"  # a path of pathlib is never a name in /dev/shm
    last = name.rpartition("/")[2]
    if not name or "\0" in name or "/../" in name or last in ("", ".", ".."):
        raise ArgumentError(
            f"{name!r} cannot be the name of a segment: it is a file name or a path, without '..' and NUL"
        )
    try:
        os.fsencode(name)
    except UnicodeEncodeError as e:
        raise ArgumentError(f"{name!r} cannot be the name of a segment: {e.object[e.start:e.end]!r} cannot be in a file name") from None
    if len(os.fsencode(last)) > 255 or len(os.fsencode(name)) > 4095:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), name)
    return name


@contextlib.contextmanager
def naming(path):
    """Raise any OSError of the block with the path of the segment, whichever file the call was about."""
    try:
        yield
    except InsecureError:
        raise
    except OSError as e:
        raise OSError(e.errno, e.strerror or str(e), path) from None


@contextlib.contextmanager
def naming_missing(path):
    """Raise a FileNotFoundError, or a FileExistsError, of the block as the package's own."""
    try:
        yield
    except FileNotFoundError as e:
        if isinstance(e, NotFoundError):
            raise
        raise NotFoundError(e.errno, f"{e.strerror}: no such segment", path) from None
    except FileExistsError as e:
        raise ExistsError(e.errno, e.strerror, path) from None


def check_removable(path):
    """Raise InsecureError if the name is of a file that no segment can be."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:  # os.unlink will say why
        return
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise InsecureError(f"{path}: not a regular file, as a segment is")


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
            for name in _temporaries(path):  # which its creator does not need any more, and may be dead
                if _leads_to(name, fd):
                    with contextlib.suppress(OSError):
                        os.unlink(name)
            st = os.fstat(fd)
        if st.st_nlink > 1:
            raise InsecureError(f"{path}: it has {st.st_nlink} hard links, and a segment has one: remove the others")
        if not _trusted_owner(st, read_only, mode):
            what = "is for this user only" if mode & 0o077 == 0 else "lets neither all users write, nor a group that this process is in"
            raise InsecureError(
                f"{path}: owned by user {st.st_uid} and group {st.st_gid}, and mode {mode:#o} {what}: if you trust that user, "
                "pass a mode that lets the file's group write, such as 0o660, in a process of that group"
            )
        if st.st_mode & 0o222 & ~mode:
            now = st.st_mode & 0o777
            raise InsecureError(
                f"{path}: writable by more users than mode {mode:#o} grants, as the file has mode {now:#o} now: somebody "
                "has changed it, such as Kubernetes for a volume with fsGroup, or it was made with that mode: if these "
                f"users may write, pass mode={now:#o}, and otherwise chmod {mode:o} {path}"
            )
    except BaseException:
        os.close(fd)
        raise
    return fd


def _trusted_owner(st, read_only, mode):
    """Report whether the owner of a file may be trusted, who can write to it and cut it off, whatever its mode says.

    That is this user, and root, who can do anything to this process anyhow. Others are
    trusted if mode lets all users write, or lets the file's group write and this process
    is in it; to read, if mode grants anything to others.
    """
    if st.st_uid == 0 or st.st_uid == os.geteuid() and not stranger(st.st_uid, "uid"):
        return True
    if read_only:
        return mode & 0o077 != 0
    if mode & 0o002:
        return True
    shares = st.st_gid in (os.getegid(), *os.getgroups()) and not stranger(st.st_gid, "gid")
    return mode & 0o020 != 0 and shares


def stranger(id, what):
    """Report whether an id stands for all that this user namespace does not have. what is "uid" or "gid".

    Then a file that has it is nobody's in particular, whoever this process is.
    """
    try:
        with open(f"/proc/sys/kernel/overflow{what}", "rb") as f:
            strangers = int(f.read())
    except (OSError, ValueError):
        strangers = 65534
    if id != strangers:
        return False
    try:
        with open(f"/proc/self/{what}_map", "rb") as f:
            known = sum(int(line.split()[2]) for line in f)
    except (OSError, ValueError, IndexError):
        known = 0
    return known < 0xFFFFFFFF  # the last number is no id


def create_anonymous(max_size):
    """Make a new segment without a name; return its descriptor. It is sealed, so that nobody can cut it off."""
    try:
        fd = calls.attempt("memfd_create", os.memfd_create, "shm", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as e:
        if not calls.refused(e):
            raise
        fd = _open_nameless(SHM_DIR + "anonymous")
    try:
        _build(fd, None, max_size)
        shrink, seal = 2, 1
        with contextlib.suppress(OSError):
            calls.attempt("F_ADD_SEALS", fcntl.fcntl, fd, 1033, shrink | seal)
        return fd
    except BaseException:
        os.close(fd)
        raise


def _open_nameless(path):
    """Open a new file without a name on the filesystem of a path. It may have a temporary name for a moment."""
    try:
        return _open_tmpfile(os.path.dirname(path), 0o600)
    except OSError as e:
        if not calls.refused(e):
            raise
    for name in _temporaries(path):
        _remove_abandoned(name)
    fd, temporary = _open_temporary(path)
    try:
        os.unlink(temporary)
    except BaseException:
        os.close(fd)
        raise
    _unlock_creation(fd)
    return fd


def _open_tmpfile(directory, mode):
    return calls.attempt("O_TMPFILE", os.open, directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode)


def create(path, mode, max_size):
    """Make a new segment; return its descriptor.

    The file is made without a name and gets its name when it is complete, so that
    no process sees a part of it. Raises FileExistsError if another process made a
    file of that name first.
    """
    directory = os.path.dirname(path) or "."
    try:
        fd = _open_tmpfile(directory, mode)
    except OSError as e:
        if not calls.refused(e):
            raise
        fd = None  # a filesystem, or a kernel, without files that have no name
    if fd is not None:
        try:
            _build(fd, mode, max_size)
            # If src_dir_fd is given, Python calls linkat, which follows the link in
            # /proc. linkat ignores the descriptor, as the path is absolute.
            target = os.path.abspath(path)
            calls.attempt("linkat", os.link, f"/proc/self/fd/{fd}", target, src_dir_fd=fd, follow_symlinks=True)
            _sync_directory(fd, directory)
            return fd
        except BaseException as e:
            os.close(fd)
            if not isinstance(e, OSError) or isinstance(e, Unfit) or e.errno != errno.ENOENT and not calls.refused(e):
                raise
    # The system has no files without a name, or does not let them be named. Under a
    # temporary name the file is complete before it gets its own.
    for name in _temporaries(path):
        _remove_abandoned(name)
    fd, temporary = _open_temporary(path)
    try:
        _build(fd, mode, max_size)
        linked = _rename_new(temporary, path)
        temporary = None
        if linked:
            # Some filesystems that are programs take two names for two files, which share no
            # memory. All others open the real name.
            with contextlib.suppress(OSError):
                new = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                old, fd = fd, new
                os.close(old)
        _unlock_creation(fd)
        _sync_directory(fd, directory)
    except BaseException:
        os.close(fd)
        raise
    finally:
        if temporary:
            os.unlink(temporary)
    return fd


# Temporary names: .NAME.xxxxxxxx.new-segment, in the same directory. The creator holds the
# lock of byte _CREATION until the file has its real name and has lost the temporary one.
# A temporary name whose file nobody has locked was left by a creator that died.

_CREATION = 1 << 61
_END = b".new-segment"


def _lock_creation(fd, kind):
    fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", kind, os.SEEK_SET, _CREATION, 1, 0))  # F_OFD_SETLK


def _unlock_creation(fd):
    with contextlib.suppress(OSError):  # as where the filesystem has no locks
        _lock_creation(fd, fcntl.F_UNLCK)


def _leads_to(path, fd):
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except OSError:
        return False


def _temporaries(path):
    """Return the temporary names of a path that exist."""
    directory, base = os.path.split(os.fsencode(path))
    start = b"." + base[:200] + b"."
    try:
        names = os.listdir(directory or b".")
    except OSError:
        return []
    return [
        os.fsdecode(os.path.join(directory, n))
        for n in names
        if n.startswith(start) and n.endswith(_END) and len(n) == len(start) + 8 + len(_END)
        and not n[len(start) : len(start) + 8].strip(b"0123456789abcdef")
    ]  # fmt: skip


def _remove_abandoned(name):
    """Remove a temporary name if its creator is dead."""
    try:
        fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            _lock_creation(fd, fcntl.F_WRLCK)
            if _leads_to(name, fd):
                os.unlink(name)
    except OSError:
        pass
    finally:
        os.close(fd)


def _open_temporary(path):
    """Open a new file under a temporary name, and lock it; return the descriptor and the name."""
    directory, base = os.path.split(os.fsencode(path))
    for _ in range(100):
        name = os.fsdecode(os.path.join(directory, b".%b.%08x%b" % (base[:200], random.getrandbits(32), _END)))
        try:
            fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
        try:
            _lock_creation(fd, fcntl.F_WRLCK)
        except OSError as e:
            if e.errno in (errno.EAGAIN, errno.EACCES):
                os.close(fd)
                continue
            # The filesystem has no locks, so it cannot hold a segment, and nobody locks it.
        if _leads_to(name, fd):
            return fd, name
        os.close(fd)  # another creator has taken it for abandoned, before it was locked
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)


class Unfit(OSError):
    """The filesystem cannot hold a segment."""


def _build(fd, mode, max_size):
    """Give an empty file its mode, its space and its first bytes. The mode is None for a file that never has a name."""
    _require_sharing(fd)
    _keep_in_place(fd)
    if mode is not None:
        _set_mode(fd, mode)
    index = record.Shape("", None, record.RAW, record.INDEX, header.INDEX_SLOTS)
    meta, size = index.encode(index.slot_size)
    identity = int.from_bytes(os.urandom(8), sys.byteorder)
    first = header.new(max_size, home_of(fd, identity), identity, header.SIZE + size)
    try:
        reserve(fd, 0, header.FIRST_ALLOCATION)
        os.pwrite(fd, meta, header.SIZE)
        os.pwrite(fd, first, 0)
    except OSError as e:
        if e.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENODEV, errno.ENOSYS):
            raise
        raise Unfit(
            e.errno,
            f"the filesystem cannot hold a segment, as it cannot reserve space or write a file ({e.strerror}): "
            "use a name without a slash, which is in /dev/shm, or a path on another filesystem",
        ) from None
    # What a name leads to is on the disk before the name is. A power failure then
    # leaves no name with zeros behind it.
    if not in_memory(fd):
        try:
            calls.attempt("fsync", os.fsync, fd)
        except OSError as e:
            if not calls.refused(e):
                raise


def _require_sharing(fd):
    """Raise Unfit if no process can map a new file, as on some filesystems that are programs, and on 9p without a cache."""
    if in_memory(fd):
        return
    try:
        memory.try_sharing(fd)
    except OSError as e:
        if e.errno not in (errno.ENODEV, errno.EINVAL):
            return  # what else there may be, the mapping itself will tell
        raise Unfit(
            e.errno,
            f"the filesystem cannot hold a segment, as it does not let processes share the memory of its files ({e.strerror}): "
            "use a name without a slash, which is in /dev/shm, or a path on another filesystem",
        ) from None


def _set_mode(fd, mode):
    """Give a file exactly these permission bits, whatever the umask."""
    failed = None
    try:
        calls.attempt("fchmod", os.fchmod, fd, mode)
    except OSError as e:
        failed = e
    have = os.fstat(fd).st_mode & 0o777
    if have != mode:  # some filesystems keep no modes, and return no error
        raise Unfit(
            failed.errno if failed else errno.EOPNOTSUPP,
            f"a new file here has mode {have:#o}, and it cannot be given mode {mode:#o}"
            f"{f' ({failed.strerror})' if failed else ''}: pass mode={have:#o} if that suits you, or use a path on another filesystem",
        )


def _keep_in_place(fd):
    """Switch copy-on-write off for an empty file, where the filesystem has it. It would undo the reservation of space.

    overlayfs may be on top of btrfs.
    """
    if _filesystem(fd) not in _COPYING:
        return
    with contextlib.suppress(OSError):
        (flags,) = struct.unpack("i4x", calls.attempt("ioctl", fcntl.ioctl, fd, _GETFLAGS, bytes(8)))
        if not flags & _NOCOW:
            calls.attempt("ioctl", fcntl.ioctl, fd, _SETFLAGS, struct.pack("i4x", flags | _NOCOW))


def _sync_directory(fd, directory):
    """Make the new name outlive a power failure, as far as the system lets this process do that.

    The segment is complete, whether or not that succeeds. The directory may be one that this
    user may write to and not read.
    """
    if in_memory(fd):
        return
    with contextlib.suppress(OSError):
        d = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            calls.attempt("fsync", os.fsync, d)
        finally:
            os.close(d)


def _rename_new(old, new):
    """Rename a file; return whether that took a link. Raises FileExistsError if the new name exists."""
    at_cwd, noreplace = -100, 1
    refusal = OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    with contextlib.suppress(AttributeError):  # an old C library
        if not calls.avoided("renameat2"):
            if _libc.renameat2(at_cwd, os.fsencode(old), at_cwd, os.fsencode(new), noreplace) == 0:
                return False
            e = ctypes.get_errno()
            refusal = OSError(e, os.strerror(e), new)
    if not calls.refused(refusal):
        raise refusal
    try:
        calls.attempt("linkat", os.link, old, new)  # fails if the name exists, as the rename does
    except OSError as link:
        if link.errno == errno.EEXIST:
            raise
        raise OSError(
            link.errno,
            f"the filesystem gives a complete file no new name, neither by a rename without replacement "
            f"({refusal.strerror}) nor by a link ({link.strerror}): use a path on another filesystem",
            new,
        ) from None
    with contextlib.suppress(OSError):  # the next process that opens the segment removes it
        os.unlink(old)
    return True


_libc = ctypes.CDLL(None, use_errno=True)
_MEMORY = 0x01021994, 0x858458F6, 0x958458F6  # f_type of tmpfs, ramfs and hugetlbfs
_COPYING = 0x9123683E, 0x794C7630  # f_type of btrfs and overlayfs
_GETFLAGS, _SETFLAGS = (  # FS_IOC_GETFLAGS and FS_IOC_SETFLAGS
    (0x40086601, 0x80086602) if platform.machine().startswith("ppc64") else (0x80086601, 0x40086602)
)
_NOCOW = 0x00800000  # FS_NOCOW_FL


def _filesystem(fd):
    """Return the type of a file's filesystem, or 0 if the system does not tell it."""
    b = ctypes.create_string_buffer(256)  # a struct statfs, which starts with f_type
    if calls.avoided("fstatfs") or _libc.fstatfs(fd, b):
        return 0
    number = ctypes.c_uint if platform.machine() == "s390x" else ctypes.c_ulong
    return number.from_buffer(b).value & 0xFFFFFFFF


def in_memory(fd):
    """Report whether a file is on a filesystem that no file outlives the system on."""
    return _filesystem(fd) in _MEMORY


def home_of(fd, identity):
    """Return the home of a segment, which says for which boot and which file its locks are; 0 if it is not known."""
    boot_id = b""
    if not in_memory(fd):
        try:
            with open("/proc/sys/kernel/random/boot_id", "rb") as f:
                boot_id = f.read()
        except OSError:
            return 0
    return header.home(boot_id, os.fstat(fd).st_ino, identity)


def reserve(fd, start, end):
    """Reserve bytes of a file on its filesystem, in steps, as a signal undoes a whole call. Raises OSError."""
    step = 16 << 20
    for at in range(start, end, step):
        n = min(step, end - at)
        try:
            calls.attempt("fallocate", os.posix_fallocate, fd, at, n)
        except OSError as e:
            if not calls.refused(e):
                raise
            _fill(fd, at, at + n)


def _fill(fd, start, end):
    """Write zeros from where the file ends, which takes the space as well. Nobody uses these bytes yet."""
    zeros, at = bytes(64 << 10), max(start, os.fstat(fd).st_size)
    while at < end:
        n = os.pwrite(fd, zeros[: end - at], at)
        if n == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        at += n


def give_back(fd, start, n):
    """Give back the space of some bytes of a file, if the filesystem can do that. The file keeps its length."""
    punch_hole_and_keep_size = 3
    if not calls.avoided("fallocate"):
        _libc.fallocate(fd, punch_hole_and_keep_size, ctypes.c_long(start), ctypes.c_long(n))


def beyond_stdio(fd):
    """Return the descriptor, or a duplicate from 3 on instead of it.

    A program may have closed its standard input, output or error, and what it prints there
    must not go into a segment.
    """
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def reopen(fd, path, flags=os.O_RDWR):
    """Open a descriptor's file again; return a descriptor whose open file description no child shares."""
    try:
        return beyond_stdio(os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC))
    except OSError:
        if "/" not in path:
            raise
    # There is no /proc, or it refuses. The path serves if it still leads to the file.
    st = os.fstat(fd)
    return open_again(path, st.st_dev, st.st_ino, flags == os.O_RDONLY)


def open_again(path, device, inode, read_only):
    """Open a path that once led to the given file. Raises FileNotFoundError if it leads to another file."""
    flags = os.O_RDONLY if read_only else os.O_RDWR
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    st = os.fstat(fd)
    if (st.st_dev, st.st_ino) != (device, inode):
        os.close(fd)
        raise NotFoundError(errno.ENOENT, "the segment was removed, and the path leads to another file", path)
    return beyond_stdio(fd)


def read_header(fd, path):
    """Return the fstat result and the Start of a segment.

    If another process adds values during the copy, the copy may have an old word
    next to a new one. Therefore an invalid header is read again until it is valid,
    or until two copies are the same.
    """
    before = None
    for _ in range(100):
        b = os.pread(fd, header.TABLE, 0)
        st = identify(fd, path)  # after the copy, as the file only grows
        try:
            start = header.check(b, st.st_size)
            if start.unfit is None or b == before:
                return st, start
            last = FormatError(f"{path}: {start.unfit}")
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
