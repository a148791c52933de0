"""Mappings: the memory of a segment in this process."""

import ctypes
import errno
import os
import sys
import weakref

from . import ask, header, lease, memory
from .change import Change
from .directory import Directory
from .errors import ArgumentError, ArgumentTypeError, NotFoundError
from .file import beyond_stdio, home_of, in_memory, open_again, read_header
from .reentry import Exclusion

_attached = {}  # (device, inode, read_only) to a weak reference, so that each file is mapped once
_needed = set()  # the mappings that live on though nothing else may refer to them, see Mapping.keep
_lock = Exclusion()


class Mapping:
    """The mapped memory of one file. All Segments of the file in this process share it.

    The memory stays mapped while any object refers to the Mapping. The objects that it
    owns refer to it weakly. The mapped range is as long as the segment can grow; only
    the bytes that the directory has verified are in the file.
    """

    def __init__(self, fd, path, st, start, read_only):
        self.path, self.read_only, self.identity = path, read_only, start.identity
        self.in_memory, self.mine = in_memory(fd), home_of(fd, start.identity)  # mine: the home as this process sees it
        try:
            self.memory = memory.map_shared(fd, start.max_size, min(st.st_size, start.max_size), read_only)
        except OSError as e:
            if e.errno != errno.ENODEV:
                raise
            text = "its filesystem cannot map memory that processes share: use a segment on another filesystem"
            raise OSError(e.errno, text, path) from None
        self.size, self.max_size = len(self.memory), start.max_size  # bytes of address space, had and wanted
        self._base = ctypes.addressof(self.memory)
        self._dumped = -(-st.st_size // memory.PAGE) * memory.PAGE  # bytes that a core dump has
        memory.omit_from_dumps(self._base + self._dumped, self.size - self._dumped, omit=True)
        self.fd = fd
        self.allocated, self.used, self.indexed, self.dirty, self.next_id, self.home, self.index, self.values = (
            self.at(ctypes.c_uint64, offset)
            for offset in (
                header.ALLOCATED, header.USED, header.INDEXED, header.DIRTY, header.NEXT_ID, header.HOME, header.INDEX,
                header.VALUES,
            )
        )  # fmt: skip
        self.lease = lease.Lease(self, (st.st_dev, st.st_ino))
        self.bell = self.at(ctypes.c_uint32, header.BELL)
        self.names = Change(self.at(ctypes.c_uint32, header.NAMES), self.lease, read_only, ask.BASE, self.bell)
        self.segments = weakref.WeakSet()  # those that are not closed
        self.unclosed = set()  # a token of each Segment that was not closed, also if nothing refers to it any more
        self.holds = {}  # offset of a lock cell to its one Hold, which is kept as long as the mapping
        self.claims = {}  # offset of a value with cells to its one Claim
        self.start_anew()
        weakref.finalize(self, os.close, fd).atexit = False

    def keep(self):
        """Live on, if a gauge has a number of this process, until each Segment of this mapping is closed.

        This process lives, so its number counts. If it opens the file again, it has that number.
        """
        if self.unclosed and any(claim.lives for claim in [*self.claims.values()]):
            _needed.add(self)

    def attached_by(self, token):
        """Have a Segment more, which has the token."""
        self.unclosed.add(token)
        self.keep()

    def closed_by(self, token):
        """Have a Segment less."""
        self.unclosed.discard(token)
        if not self.unclosed:
            _needed.discard(self)

    def listen(self):
        """From now on, answer processes that may only read and ask to be told of changes."""
        if not self.listens and not self.read_only:
            self.listens = True
            ask.listen(self, self.bell, _answer)
            _answer(self)

    def in_file(self, size):
        """Have in core dumps what the file has by now, which is `size` bytes."""
        before, now = self._dumped, min(-(-size // memory.PAGE) * memory.PAGE, self.size)
        if now > before:
            memory.omit_from_dumps(self._base + before, now - before, omit=False)
            self._dumped = now

    def start_anew(self):
        """Make new locks and a new directory, as at the start and in a child process.

        Threads that do not exist in the child may have held the old ones.
        """
        self.listens = False
        self.lock = Exclusion()  # excludes other threads that append records
        self.directory = Directory(self)

    def forked(self):
        """In a child process, hold no lock of the parent, and have no id."""
        self.lease.drop_inherited()
        self.start_anew()
        _needed.discard(self)
        for state in [*self.holds.values(), *self.claims.values()]:
            state.start_anew()

    def __reduce__(self):
        """Pickle the path of the file, so that the process that unpickles it attaches to the file.

        Without such a path, an argument of a multiprocessing.Process takes the descriptor with it.
        Otherwise it raises ArgumentTypeError.
        """
        mine = os.fstat(self.fd)
        path = os.path.abspath(self.path)
        try:
            found = "/" in self.path and os.path.samestat(mine, os.stat(path))
        except FileNotFoundError:
            found = False
        if found:
            return _attach_again, (path, mine.st_dev, mine.st_ino, self.read_only, self.identity)
        context = sys.modules.get("multiprocessing.context")
        if context is not None and context.get_spawning_popen() is not None:
            dup = sys.modules["multiprocessing.reduction"].DupFd(self.fd)
            return _attach_descriptor, (dup, self.path, mine.st_dev, mine.st_ino, self.read_only)
        raise ArgumentTypeError(
            f"{self.path}: cannot pickle a segment that has no name any more, as another process could not attach to "
            "it: give it to a multiprocessing.Process as an argument, or use Segment.passing"
        )

    def at(self, ctype, offset):
        """Return an object of a ctypes type at an offset. Raises ValueError if it is not inside, or not aligned."""
        if offset % ctypes.alignment(ctype):
            raise ArgumentError(
                f"{self.path}: byte {offset} is not a multiple of {ctypes.alignment(ctype)}, as {ctype.__name__} needs"
            )
        return ctype.from_buffer(self.memory, offset)

    def inner(self, ctype, offset):
        """Do as at does, for an object that does not keep the memory mapped: whoever has it keeps this Mapping.

        It takes a fourth of the memory, and of the time.
        """
        n = ctypes.sizeof(ctype)
        if offset < 0 or offset % ctypes.alignment(ctype) or offset + n > self.size:
            return self.at(ctype, offset)  # which says what is wrong
        return ctype.from_address(self._base + offset)

    def address(self, offset, n):
        """Return the address of n bytes at an offset. Raises ValueError if they are not inside."""
        if offset < 0 or n < 0 or offset + n > self.size:
            raise ArgumentError(f"{self.path}: {n} bytes at byte {offset} are not inside the mapped {self.size}")
        return self._base + offset


def _answer(mapping):
    """Answer those who have asked for change words of a mapping."""
    for byte in mapping.lease.asked():
        word = mapping.directory.asked(byte)
        if word is not None:
            ask.announce_others(word)


def attach(fd, path, read_only):
    """Return the Mapping of a descriptor's segment.

    The Mapping owns the descriptor. If there is an error or the file is mapped already,
    attach closes the descriptor. Raises FormatError, VersionError, OSError.
    """
    m, unfit = _lock.run(_attach, beyond_stdio(fd), path, read_only)
    m.directory.attach(unfit)
    return m


def _attach(fd, path, read_only):
    try:
        st, start = read_header(fd, path)
        key = st.st_dev, st.st_ino, read_only
        m = _attached.get(key, lambda: None)()
        if m is None:
            m = Mapping(fd, path, st, start, read_only)
            fd = None
            # A handler may have attached in between. The first Mapping is the one.
            ref = weakref.ref(m, lambda ref: _attached.get(key) is ref and _attached.pop(key))
            m = _attached.setdefault(key, ref)() or m
        return m, start.unfit
    finally:
        if fd is not None:
            os.close(fd)


def _attach_again(path, device, inode, read_only, identity):
    """Attach to a pickled mapping. Raises NotFoundError if its path leads to another file, as on another machine."""
    try:
        m = attach(open_again(path, device, inode, read_only), path, read_only)
        if m.identity == identity:
            return m
    except FileNotFoundError:
        pass
    raise NotFoundError(
        errno.ENOENT, "the pickled segment is not there: it was removed, or the pickle comes from another machine or container", path
    )


def _attach_descriptor(dup, path, device, inode, read_only):
    """Attach to a mapping whose descriptor multiprocessing has handed over."""
    fd = dup.detach()
    os.set_inheritable(fd, False)
    st = os.fstat(fd)
    if (st.st_dev, st.st_ino) != (device, inode):
        os.close(fd)
        raise NotFoundError(errno.ENOENT, "the descriptor is not that of the segment", path)
    return attach(fd, path, read_only)


def _before_fork():
    _lock.hold()
    lease.before_fork()
    ask.before_fork()


def _in_parent():
    ask.in_parent()
    lease.in_parent()
    _lock.let_go()


def _in_child():
    global _lock
    _lock = Exclusion()
    lease.in_child()
    for ref in list(_attached.values()):
        m = ref()
        if m is not None:
            m.forked()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
