"""Ids, and leases: the file locks that prove that the process of an id lives.

A lease is a write lock on byte BASE+id of the segment's file. It belongs to an open
file description. The kernel frees it when the process ends and the description with
it, in any pid namespace. Nothing else proves that an owner is gone.
"""

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
import time
import weakref

from . import ask, file, futex, header
from .atomics import cas_4, cas_8, fence, store_release
from .cell import OWNER_ID, LockCell
from .change import Closing
from .errors import FormatError, FullError, LockError, UsageError
from .record import PROGRAM
from .reentry import Exclusion

BASE = 1 << 62  # the byte of id 0, which no file is long enough to have
ALLOCATION = 0  # the byte of the header whose lock is the allocation lock: it is held while a record is appended
MAX_ID = (1 << 30) - 1
_BLIND_FOR = 1_000_000_000  # ns without probes after a probe that failed
_NEXT_ID_GAP = 1 << 20  # an id this far above the counter was never given out
_MOST_LOOKS = 1 << 17  # calls of the system in one search for living ids
_MOST_ASKED = 64  # the same for those who ask; the others get their answers later
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
    """Forget what belongs to the parent. Descriptions are closed, as an unlock would end the parent's leases."""
    global _taking
    ask.in_child()
    _taking = Exclusion()
    for fd in [*_passed.values(), *_questions, *(fd for fd, passed, _ in _kept if not passed)]:
        os.close(fd)
    _kept.clear()
    _passed.clear()
    _questions.clear()


# Descriptors of descriptions for the locks by which waits of read-only mappings ask.
_questions = set()

# Device and inode to the descriptor of a description that this process's parent has
# left for its lease. A process with fewer rights may have no other, and may attach
# again after its last mapping has ended, so it is kept.
_passed = {}


def receive(number, key):
    """Receive a description of a file that the parent has left in a socket, if there is one.

    If anything else is there, it is left as it is: the number may be another file's by now.
    """
    try:
        s = socket.socket(fileno=number)
    except OSError:
        return  # without it the process opens the file by itself
    try:
        peeked = _waiting(s, key, socket.MSG_PEEK)
        if peeked is None:
            return
        os.close(peeked)
        fd = _waiting(s, key, 0)
    except OSError:
        return
    finally:
        s.detach()
    if fd is None:  # another process that has the socket was faster
        return
    os.close(number)
    if _passed.setdefault(key, fd) != fd:
        os.close(fd)


def _waiting(s, key, flags):
    """Return a descriptor of the key's file that waits in a socket, or None. With MSG_PEEK the message stays there."""
    # Not recv_fds, which ignores the flags: a program that this process starts would
    # keep the lease.
    flags |= socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    message, control, _, _ = s.recvmsg(2, socket.CMSG_SPACE(2 * 4), flags)
    fds = array.array("i")
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) // 4 * 4])
    if len(message) == 1 and len(fds) == 1:
        st = os.fstat(fds[0])
        if (st.st_dev, st.st_ino) == key and fcntl.fcntl(fds[0], fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR:
            return file.beyond_stdio(fds[0])
    for fd in fds:
        os.close(fd)
    return None


def _end_lease(fd, passed):
    if not passed:
        os.close(fd)
    elif fd in _passed.values():
        fcntl.fcntl(fd, _OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, BASE, MAX_ID + 1, 0))


_kept = []  # the control descriptions of mappings that were forgotten while a lock of theirs was held, and what they need


def _forget(fd, passed, holds, memory):
    """End a lease whose mapping nothing refers to any more, unless a thread of this process holds one of its locks.

    This process lives, so nobody may take it for dead: then the lease lasts until it ends.
    """
    if any(hold.held for hold in holds.values()):
        _kept.append((fd, passed, memory))
    else:
        _end_lease(fd, passed)


def _lock_byte(fd, command, kind, start, length=1):
    """Apply a lock of a kind to some bytes, or query it; return the kind of the lock found."""
    return _FLOCK.unpack(fcntl.fcntl(fd, command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)))[0]


def _conflicts(fd, kind, start, end, looks):
    """Yield the start and the length of each lock on bytes of a file that conflicts with one of this kind.

    It asks the system `looks` times at most. Raises OSError.
    """
    spans = [(start, end)]
    while spans and looks > 0:
        start, end = spans.pop()
        if start >= end:
            continue
        looks -= 1
        flock = _FLOCK.pack(kind, os.SEEK_SET, start, end - start, 0)
        found, _, at, n, _ = _FLOCK.unpack(fcntl.fcntl(fd, _OFD_GETLK, flock))
        if found == fcntl.F_UNLCK:
            continue
        after = at + n if n else end
        yield at, n
        spans += [(start, at), (max(after, start + 1), end)]


class Lease:
    """This process's id in one mapping, and the control description that holds its lease.

    Invariant: while any word of the segment has the id, the mapping is alive and its
    control description holds the lease.
    """

    def __init__(self, mapping, key):
        self._mapping = weakref.ref(mapping)  # weak, as the mapping owns this
        self.path, self.fd, self.key = mapping.path, mapping.fd, key
        self.start_anew()

    def start_anew(self):
        """Have no id, as at the start and in a child process."""
        self.id = 0
        self.pid = os.getpid()
        self._once = {}  # "control": the control description; "id": the id. Each is set by one step.
        self._finalizer = None
        self._dead = set()  # ids whose lease was free once: no process gets them again
        self._blind_until = 0
        self.closing = Closing()

    def end_waits(self):
        """End the waits for values of this mapping, as its last Segment is closed. Later ones are not affected."""
        closing, self.closing = self.closing, Closing()
        closing.set()

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
        if self._once:
            return
        passed = False
        try:
            fd = file.reopen(self.fd, self.path)
        except OSError as e:
            fd, passed = _passed.get(self.key), True
            if fd is None:
                raise LockError(
                    f"{self.path}: this process cannot open the segment's file for itself alone, so it takes no lease and "
                    f"makes no value: {e}; a file lock through a description that others share would not last"
                ) from e
        # A handler may have opened one in between.
        if self._once.setdefault("control", fd) != fd:
            os.close(fd)
            return
        m = self._mapping()
        self._finalizer = weakref.finalize(self, _forget, fd, passed, m.holds, m.memory)
        self._finalizer.atexit = False  # the end of the process frees it; until then threads may hold locks

    def leads_here(self, fd):
        """Report whether a descriptor is one of the segment's file.

        A program that closes descriptors which are not its own may have given the number
        to another file. So it is asked after what it is to confirm.
        """
        try:
            st = os.fstat(fd)
        except OSError:
            return False
        return (st.st_dev, st.st_ino) == self.key

    def _require(self, fd):
        if not self.leads_here(fd):
            raise LockError(
                f"{self.path}: descriptor {fd} is not the segment's any more: the program has closed descriptors that "
                "are not its own; it can use the segment again in a new process"
            )

    def drop_inherited(self):
        """In a child, close the parent's description. It must not unlock, which would end the parent's lease."""
        alive = None if self._finalizer is None else self._finalizer.detach()
        if alive is not None:
            _end_lease(*alive[2][:2])
        self.start_anew()

    def allocating(self, function, *args):
        """Call the function with the allocation lock, which excludes all threads and processes that append records.

        Raises LockError without a description of this process's own, and RuntimeError in a
        signal handler that has interrupted such a call: the records are half written
        then, and the lock is this process's already.
        """
        m = self._mapping()
        if m.lock.inside():
            raise UsageError(
                f"{m.path}: a signal handler, or a finalizer, cannot make a value while it interrupts its thread in "
                "making one: make the values before, or let the main program do it"
            )
        return m.lock.run(self._allocating, function, args, None)

    def allocating_within(self, seconds, function):
        """Call function(True) with the allocation lock, or function(False) if it cannot be had for so long."""
        m = self._mapping()
        if m.lock.inside():
            return function(False)
        return m.lock.run(self._allocating, function, (True,), futex.monotonic() + int(seconds * 1e9))

    def _allocating(self, function, args, until):
        fd = self.control()
        # The kernel locks and unlocks inside one C function each, so no handler comes
        # between the lock and the try block. CPython 3.9 may call one before a finally
        # block; the outer one is there for that.
        try:
            try:
                self._require(fd)
                if until is None:
                    fcntl.fcntl(fd, _OFD_SETLKW, _LOCK_ALLOCATION)
                elif not self._lock_until(fd, until):
                    return function(False)
                self._require(fd)
                self._require(self.fd)  # through which the file is made longer
                return function(*args)
            finally:
                fcntl.fcntl(fd, _OFD_SETLK, _UNLOCK_ALLOCATION)
        finally:
            fcntl.fcntl(fd, _OFD_SETLK, _UNLOCK_ALLOCATION)

    @staticmethod
    def _lock_until(fd, until):
        """Take the allocation lock; return whether it could be had by then."""
        while True:
            try:
                fcntl.fcntl(fd, _OFD_SETLK, _LOCK_ALLOCATION)
                return True
            except OSError as e:
                if e.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            if futex.monotonic() >= until:
                return False
            time.sleep(0.002)

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
        m.listen()

    def _new_id(self, control):
        """Take an id that no process had before, and its lease."""
        self._require(control)
        m = self._mapping()
        tries = 0
        while True:
            word = m.next_id.value
            n = header.unseal(word)
            if not n:
                raise FormatError(f"{self.path}: corrupt header: the counter of ids is {word:#018x}")
            if n > MAX_ID:
                raise FullError(f"{self.path}: all {MAX_ID} ids were used: make the segment anew")
            # A read lock keeps out whoever comes. To find that out uses up no id.
            if _lock_byte(control, _OFD_GETLK, fcntl.F_WRLCK, BASE + n) == fcntl.F_RDLCK:
                raise LockError(
                    f"{self.path}: a process that may only read the file keeps others from a lease, by a read lock on "
                    "the bytes of the leases: end it (fuser lists the processes that have the file open), or make the "
                    "segment with a mode for fewer users"
                )
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
        control = self._once.get("control", self.fd)
        try:
            alive = self._leased(control, id)
            self._require(control)
        except OSError:
            self._blind_until = futex.monotonic() + _BLIND_FOR
            return True
        if not alive and id < (header.unseal(self._mapping().next_id.value) or 0):
            self._dead.add(id)
        return alive

    def any_held(self):
        """Report whether a process of this system holds a lease. An error counts as held."""
        try:
            free = _lock_byte(self.fd, _OFD_GETLK, fcntl.F_RDLCK, BASE, MAX_ID + 1) == fcntl.F_UNLCK
        except OSError:
            return True
        return not free or not self.leads_here(self.fd)

    def living(self):
        """Return the ids whose leases are held, in ascending order. Raises OSError."""
        m, found = self._mapping(), set()
        next = min(header.unseal(m.next_id.value) or 1, MAX_ID + 1)
        for at, n in _conflicts(self.fd, fcntl.F_RDLCK, BASE + 1, BASE + next, _MOST_LOOKS):
            if n == 1:
                found.add(at - BASE)
                continue
            # No process's lease has several bytes, so these are only the ids that the table has.
            for i in range(header.TABLE_LEN):
                id = m.at(ctypes.c_uint32, header.TABLE + i * header.LINE).value
                if id < next and at <= BASE + id and (n == 0 or BASE + id < at + n):
                    found.add(id)
        if self.id:
            found.add(self.id)
        self._require(self.fd)
        return sorted(found - {0})

    def process(self, id):
        """Return the pid, the pid namespace and the program of an id, as far as the table of ids tells them."""
        m, entry = self._mapping(), header.TABLE + id % header.TABLE_LEN * header.LINE
        there = m.at(ctypes.c_uint32, entry)
        if there.value != id:
            return 0, 0, ""
        fence()
        pid, namespace = m.at(ctypes.c_uint32, entry + 4).value, m.at(ctypes.c_uint64, entry + 8).value
        program = bytes(m.at(ctypes.c_char * 48, entry + 16))
        fence()
        if there.value != id:
            return 0, 0, ""
        return pid, namespace, program.partition(b"\0")[0].decode(errors="replace")

    def holds(self, id):
        """Report whether the process of an id, which may be this one, lives. An error counts as alive."""
        return id != 0 and not self.known_dead(id) and self.alive(id)

    # Asking, and answering: see ask.py.

    def question(self):
        """Return a descriptor for the locks of a wait that asks, which no child keeps, or None."""
        return _taking.run(self._question)

    def _question(self):
        try:
            fd = file.reopen(self.fd, self.path, os.O_RDONLY)
        except OSError:
            return None
        _questions.add(fd)
        return fd

    @staticmethod
    def withdraw(fd):
        """End what was asked through a descriptor, and close it."""
        if fd in _questions:
            _questions.discard(fd)
            os.close(fd)

    def ask(self, fd, byte, bell):
        """Ask for a change word, through a descriptor that question has returned."""
        try:
            _lock_byte(fd, _OFD_SETLK, fcntl.F_RDLCK, byte)
        except OSError:
            return
        futex.wake(bell, 1)

    @staticmethod
    def unask(fd, byte):
        """Ask no longer."""
        with contextlib.suppress(OSError):
            _lock_byte(fd, _OFD_SETLK, fcntl.F_UNLCK, byte)

    def asked(self):
        """Return bytes of change words that processes which may only read have asked for."""
        try:
            found = _conflicts(self.fd, fcntl.F_WRLCK, ask.BASE, ask.BASE + ask.BYTES, _MOST_ASKED)
            return [at for at, n in found if n == 1]
        except OSError:
            return []

    def raise_above(self, cell):
        """Make sure that no process gets the id that stands in a lock cell.

        It is for a file that outlived its system, or was copied, so that its counter of
        ids may be older than its locks. It needs no lock, as the counter only grows. The
        owner, which is dead, stays for whoever asks for the lock. An id that was never
        given out is removed, unless its lease is held.
        """
        word = ctypes.c_uint32.from_buffer(cell, LockCell.word.offset)

        def remove(w):
            cell.abandoned = 1
            return cas_4(word, w, 0)

        self._raise_above(word, MAX_ID, remove)

    def raise_above_owner(self, owner):
        """Do as raise_above does for the owner of a cell of a counter, a gauge or a histogram. The number stays."""
        self._raise_above(owner, OWNER_ID, lambda w: cas_8(owner, w, 0))

    def _raise_above(self, word, mask, remove):
        m = self._mapping()
        while True:
            w, next = word.value, m.next_id.value
            id, n = w & mask, header.unseal(next)
            if n is None or id < n:
                return
            if id < n + _NEXT_ID_GAP and id <= MAX_ID:
                if cas_8(m.next_id, next, header.seal(id + 1)):
                    return
                continue
            try:
                if self._leased(self.fd, id) or not self.leads_here(self.fd):
                    return
            except OSError:
                return
            if remove(w):
                return


def _pid_namespace():
    """Return a number that identifies the pid namespace, or 0 if the system does not tell."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
