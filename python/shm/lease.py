"""Ids, and leases: the file locks that prove that the process of an id lives.

A lease is a write lock on byte BASE+id of the segment's file. It belongs to an open
file description. The kernel frees it when the process ends and the description with
it, in any pid namespace. Nothing else proves that an owner is gone.
"""

import ctypes
import errno
import fcntl
import os
import struct
import weakref

from . import file, futex, header
from .atomics import cas_8, store_release
from .cell import LockCell
from .errors import FormatError, FullError, LockError
from .record import PROGRAM
from .reentry import Exclusion

BASE = 1 << 62  # the byte of id 0, which no file is long enough to have
ALLOCATION = 0  # the byte of the header whose lock is the allocation lock: it is held while a record is appended
MAX_ID = (1 << 30) - 1
_BLIND_FOR = 1_000_000_000  # ns without probes after a probe that failed
_MAX_SKIPPED = 32  # ids to skip, so that processes that live long keep their entries in the table

_OFD_GETLK, _OFD_SETLK, _OFD_SETLKW = 36, 37, 38
_FLOCK = struct.Struct("hhqqi4x")  # type, whence, start, length, pid
_LOCK_ALLOCATION = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, ALLOCATION, 1, 0)
_UNLOCK_ALLOCATION = _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, ALLOCATION, 1, 0)

# Held while a control description is opened, as a child has to know the description
# to close it.
_taking = Exclusion()


def before_fork():
    """Hold the lock during a fork, so that no other thread is about to open a control description."""
    _taking.hold()


def in_parent():
    _taking.let_go()


def in_child():
    global _taking
    _taking = Exclusion()


def _lock_byte(fd, command, kind, start, length=1):
    """Apply a lock of a kind to some bytes, or query it; return the kind of the lock found."""
    return _FLOCK.unpack(fcntl.fcntl(fd, command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)))[0]


class Lease:
    """This process's id in one mapping, and the control description that holds its lease.

    Invariant: while any word of the segment has the id, the mapping is alive and its
    control description holds the lease.
    """

    def __init__(self, mapping):
        self._mapping = weakref.ref(mapping)  # weak, as the mapping owns this
        self.path, self.fd = mapping.path, mapping.fd
        self.start_anew()

    def start_anew(self):
        """Have no id, as at the start and in a child process."""
        self.id = 0
        self.pid = os.getpid()
        self._once = {}  # "control": the control description; "id": the id. Each is set by one step.
        self._finalizer = None
        self._dead = set()  # ids whose lease was free once: no process gets them again
        self._blind_until = 0

    @property
    def wake_bit(self):
        """The futex bit of this process's sleepers, which few other processes have."""
        return 1 << ((self.id or self.pid) % 32)

    def control(self):
        """Return the control description. It is opened again, never duplicated, so that no child shares it."""
        if not self._once:
            _taking.run(self._open_control)
        return self._once["control"]

    def _open_control(self):
        fd = file.reopen(self.fd, self.path)
        # A handler may have opened one in between.
        if self._once.setdefault("control", fd) != fd:
            os.close(fd)
            return
        self._finalizer = weakref.finalize(self, os.close, fd)
        self._finalizer.atexit = False  # the end of the process frees it; until then threads may hold locks

    def drop_inherited(self):
        """In a child, close the parent's description. It must not unlock, which would end the parent's lease."""
        if self._finalizer is not None:
            self._finalizer()
        self.start_anew()

    def allocating(self, function, *args):
        """Call the function with the allocation lock, which excludes all threads and processes that append records.

        Raises RuntimeError in a signal handler that has interrupted such a call: the
        records are half written then, and the lock is this process's already.
        """
        m = self._mapping()
        if m.lock.inside():
            raise RuntimeError(
                f"{m.path}: a signal handler, or a finalizer, cannot make a value while it interrupts its thread in "
                "making one: make the values before, or let the main program do it"
            )
        return m.lock.run(self._allocating, function, args)

    def _allocating(self, function, args):
        try:
            fd, set, wait = self.control(), _OFD_SETLK, _OFD_SETLKW
        except OSError:
            # A parent or a child may share fd. An OFD lock on it would not exclude
            # them, and a POSIX lock does.
            fd, set, wait = self.fd, fcntl.F_SETLK, fcntl.F_SETLKW
        # The kernel locks and unlocks inside one C function each, so no handler comes
        # between the lock and the try block. CPython 3.9 may call one before a finally
        # block; the outer one is there for that.
        try:
            try:
                fcntl.fcntl(fd, wait, _LOCK_ALLOCATION)
                return function(*args)
            finally:
                fcntl.fcntl(fd, set, _UNLOCK_ALLOCATION)
        finally:
            fcntl.fcntl(fd, set, _UNLOCK_ALLOCATION)

    def take(self):
        """Take an id and its lease, unless this process has one. Raises LockError with the reason.

        The order is: id, lease, table, first use of the id.
        """
        if not self.id:
            _taking.run(self._take)

    def _take(self):
        if self.id:
            return
        try:
            control = self.control()
            id = self._new_id(control)
        except LockError:
            raise
        except OSError as e:
            raise LockError(f"{self.path}: a lock needs a lease, which this process cannot take: {e}") from e
        entry = header.TABLE + id % header.TABLE_LEN * header.LINE
        m = self._mapping()
        m.at(ctypes.c_uint32, entry).value = 0
        m.at(ctypes.c_uint32, entry + 4).value = os.getpid()
        m.at(ctypes.c_uint64, entry + 8).value = _pid_namespace()
        m.at(ctypes.c_char * 48, entry + 16).raw = os.fsencode(PROGRAM)[:48].ljust(48, b"\0")
        store_release(m.at(ctypes.c_uint32, entry), id)
        # A handler may have taken another id in between, and use it already. Then that
        # one is the id, and this one is never used.
        self.id = self._once.setdefault("id", id)

    def _new_id(self, control):
        """Take an id that no process had before, and its lease."""
        m = self._mapping()
        tries = 0
        while True:
            word = m.next_id.value
            n = header.unseal(word)
            if not n:
                raise FormatError(f"{self.path}: corrupt header: the counter of ids is {word:#018x}")
            if n > MAX_ID:
                raise FullError(f"{self.path}: all {MAX_ID} ids were used: make the segment anew")
            if not cas_8(m.next_id, word, header.seal(n + 1)):
                continue
            tries += 1
            other = m.at(ctypes.c_uint32, header.TABLE + n % header.TABLE_LEN * header.LINE).value & MAX_ID
            if tries <= _MAX_SKIPPED and other and self._leased(control, other):
                continue
            try:
                _lock_byte(control, _OFD_SETLK, fcntl.F_WRLCK, BASE + n)
                return n
            except OSError as e:
                if e.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if tries > 2 * _MAX_SKIPPED:  # only a broken or hostile peer holds leases of new ids
                    raise FormatError(
                        f"{self.path}: another process holds the leases of {tries} new ids: remove the segment"
                    ) from None

    @staticmethod
    def _leased(fd, id):
        """Report whether the lease of an id is held. Raises OSError.

        It asks for a read lock, which conflicts with write locks only. So a process that
        can only read the file cannot pretend that an id is alive.
        """
        return _lock_byte(fd, _OFD_GETLK, fcntl.F_RDLCK, BASE + id) != fcntl.F_UNLCK

    def known_dead(self, id):
        return id in self._dead

    def may_probe(self):
        """Report whether this process's last probe worked, or failed long enough ago."""
        return futex.monotonic() >= self._blind_until

    def alive(self, id):
        """Report whether the process of an id lives. If the probe fails, it returns True.

        An id that is dead stays dead, with one exception: an id that no process has had
        yet. Only a broken peer can have written that into a lock word.
        """
        if id == self.id:
            return True  # a probe through the description that holds the lock would say that it is free
        try:
            alive = self._leased(self._once["control"], id)
        except OSError:
            self._blind_until = futex.monotonic() + _BLIND_FOR
            return True
        if not alive and id < (header.unseal(self._mapping().next_id.value) or 0):
            self._dead.add(id)
        return alive

    def recover_boot(self):
        """Free the locks of a file that is older than the last reboot, as no owner of that time lives.

        It changes nothing while any lease is held: the holder is then a process on
        another host that shares the file.
        """
        m, mine = self._mapping(), boot_id()
        if not mine or header.unseal(m.boot.value) == mine:
            return
        self.allocating(self._recover_boot, mine)

    def _recover_boot(self, mine):
        m = self._mapping()
        if header.unseal(m.boot.value) == mine:
            return  # another process was first
        if _lock_byte(m.fd, _OFD_GETLK, fcntl.F_RDLCK, BASE, MAX_ID + 1) != fcntl.F_UNLCK:
            return
        m.directory.extend()
        for r in m.directory.by_name.values():
            if r.has_lock:
                m.at(LockCell, r.data).reset()
        n = header.unseal(m.next_id.value)
        if n is not None:
            m.next_id.value = header.seal(min(n + (1 << 20), MAX_ID + 1))
        # This store is the last. If the process dies before it, the next one that
        # attaches repeats everything.
        store_release(m.boot, header.seal(mine))


def boot_id():
    """Return 40 bits that identify this boot of the system, or 0 if the system does not tell."""
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
    """Return a number that identifies the pid namespace, or 0 if the system does not tell."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
