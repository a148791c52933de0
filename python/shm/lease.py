"""Who is alive: ids, and the file locks that prove that their processes live.

A lease is an open-file-description write lock on byte BASE+id of the segment's
file. The kernel frees it when the description dies with its process, in any pid
namespace; nothing else proves that an owner is gone.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
import threading
import weakref

from . import file, futex, header
from .atomics import cas_8, store_release
from .cell import LockCell
from .errors import FormatError, FullError, LockError
from .record import PROGRAM

BASE = 1 << 62  # a byte no file reaches
ALLOCATION = 0  # byte of the header; locked while a record is appended
MAX_ID = (1 << 30) - 1
_BLIND_FOR = 1_000_000_000  # ns without probes after one that failed
_POLITE = 32  # ids passed over, so that long-lived processes keep their place in the table

_OFD_GETLK, _OFD_SETLK, _OFD_SETLKW = 36, 37, 38
_FLOCK = struct.Struct("hhqqi4x")  # type, whence, start, length, pid

# Held while a description is opened that a child must know of to close it.
_taking = threading.RLock()


def before_fork():
    """Let no description be half taken while the process forks."""
    _taking.acquire()


def in_parent():
    _taking.release()


def in_child():
    global _taking
    _taking = threading.RLock()


def _lock_byte(fd, command, kind, start, length=1):
    """Apply a lock of a kind to some bytes; return the kind found."""
    return _FLOCK.unpack(fcntl.fcntl(fd, command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)))[0]


class Lease:
    """This process's id in one mapping, and the description that holds its lease.

    Invariant: while a word anywhere in the segment holds the id, the mapping is
    alive and its control description holds the lease.
    """

    def __init__(self, mapping):
        self._mapping = weakref.ref(mapping)  # which owns this
        self.path, self.fd = mapping.path, mapping.fd
        self.start_anew()

    def start_anew(self):
        """Have no id yet, as at first and in a child process."""
        self.id = 0
        self.pid = os.getpid()
        self._control = None
        self._finalizer = None
        self._dead = set()  # ids whose lease was found free: they never live again
        self._blind_until = 0

    @property
    def wake_bit(self):
        """The futex bit by which this process's own sleepers are woken, and few of others'."""
        return 1 << ((self.id or self.pid) % 32)

    def control(self):
        """Return the description of our own: opened anew, so that no child shares it."""
        with _taking:
            if self._control is None:
                self._control = file.reopen(self.fd, self.path)
                self._finalizer = weakref.finalize(self, os.close, self._control)
                self._finalizer.atexit = False  # death frees the lease; until then threads may hold locks
            return self._control

    def drop_inherited(self):
        """In a child: close the parent's description. Never unlock: that would end the parent's lease."""
        if self._finalizer is not None:
            self._finalizer()
        self.start_anew()

    @contextlib.contextmanager
    def allocating(self):
        """Exclude all who append records, here and in other processes."""
        m = self._mapping()
        with m.lock:
            try:
                fd, set, wait = self.control(), _OFD_SETLK, _OFD_SETLKW
            except OSError:
                # fd may be shared with a parent or a child, whom an OFD lock on it
                # would not exclude: a POSIX lock does.
                fd, set, wait = m.fd, fcntl.F_SETLK, fcntl.F_SETLKW
            _lock_byte(fd, wait, fcntl.F_WRLCK, ALLOCATION)
            try:
                yield
            finally:
                _lock_byte(fd, set, fcntl.F_UNLCK, ALLOCATION)

    def take(self):
        """Take an id and its lease, once. Raises LockError with the reason.

        Order: id, lease, table, first use of the id.
        """
        with _taking:
            if self.id:
                return
            try:
                control = self.control()
                id = self._new_id(control)
            except LockError:
                raise
            except OSError as e:
                raise LockError(f"{self.path}: no lock without a lease: {e}") from e
            entry = header.TABLE + id % header.TABLE_LEN * header.LINE
            m = self._mapping()
            m.at(ctypes.c_uint32, entry).value = 0
            m.at(ctypes.c_uint32, entry + 4).value = os.getpid()
            m.at(ctypes.c_uint64, entry + 8).value = _pid_namespace()
            m.at(ctypes.c_char * 48, entry + 16).raw = os.fsencode(PROGRAM)[:48].ljust(48, b"\0")
            store_release(m.at(ctypes.c_uint32, entry), id)
            self.id = id

    def _new_id(self, control):
        """Take an id that nobody had before, and its lease."""
        m = self._mapping()
        tries = 0
        while True:
            word = m.next_id.value
            n = header.unseal(word)
            if not n:
                raise FormatError(f"{self.path}: id counter")
            if n > MAX_ID:
                raise FullError(f"{self.path}: all {MAX_ID} ids were used")
            if not cas_8(m.next_id, word, header.seal(n + 1)):
                continue
            tries += 1
            other = m.at(ctypes.c_uint32, header.TABLE + n % header.TABLE_LEN * header.LINE).value & MAX_ID
            if tries <= _POLITE and other and self._leased(control, other):
                continue
            try:
                _lock_byte(control, _OFD_SETLK, fcntl.F_WRLCK, BASE + n)
                return n
            except OSError as e:
                if e.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if tries > 2 * _POLITE:  # a peer that holds leases it has no right to
                    raise FormatError(f"{self.path}: the leases of {tries} fresh ids are held") from None

    @staticmethod
    def _leased(fd, id):
        """Probe an id's lease. Errors are the caller's.

        It asks as a reader, with whom only a write lock conflicts, so that
        whoever may only read the file cannot fake life.
        """
        return _lock_byte(fd, _OFD_GETLK, fcntl.F_RDLCK, BASE + id) != fcntl.F_UNLCK

    def known_dead(self, id):
        return id in self._dead

    def may_probe(self):
        """Whether this process's last probe worked, or is long enough ago."""
        return futex.monotonic() >= self._blind_until

    def alive(self, id):
        """Whether the process behind an id lives, as far as can be told.

        Death is for ever, but for an id that nobody has had yet: only a broken
        peer can have written that into a word.
        """
        if id == self.id:
            return True  # where one's own lock looks free
        try:
            alive = self._leased(self._control, id)
        except OSError:
            self._blind_until = futex.monotonic() + _BLIND_FOR
            return True
        if not alive and id < (header.unseal(self._mapping().next_id.value) or 0):
            self._dead.add(id)
        return alive

    def recover_boot(self):
        """Bring the locks of a file that outlived a reboot in order: no owner of then lives.

        It leaves them alone while anybody holds a lease, which then is on
        another host that shares the file.
        """
        m, mine = self._mapping(), boot_id()
        if not mine or header.unseal(m.boot.value) == mine:
            return
        with self.allocating():
            if header.unseal(m.boot.value) == mine:
                return  # somebody was first
            if _lock_byte(m.fd, _OFD_GETLK, fcntl.F_RDLCK, BASE, MAX_ID + 1) != fcntl.F_UNLCK:
                return
            m.directory.extend()
            for r in m.directory.by_name.values():
                if r.has_lock:
                    m.at(LockCell, r.data).reset()
            n = header.unseal(m.next_id.value)
            if n is not None:
                m.next_id.value = header.seal(min(n + (1 << 20), MAX_ID + 1))
            # Last: whoever dies before leaves all to the next.
            store_release(m.boot, header.seal(mine))


def boot_id():
    """Return 40 bits that tell this boot of the system from others; 0 where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as f:
            text = f.read()
    except OSError:
        return 0
    h = 0xCBF29CE484222325  # FNV-1a
    for byte in text:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h & header.SEALED_MAX | 1


def _pid_namespace():
    """Return what tells namespaces of pids apart; 0 where the system does not say."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
