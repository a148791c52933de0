"""Locks between processes, and between the threads of each process."""

import ctypes
from _thread import RLock, get_ident

from . import futex
from .atomics import SEQ_CST, WEAK, cas_4, cas_8, compare_exchange_4, function
from .cell import KERNEL_WAITERS, OWNER_MASK, STARVE_GO, STARVE_KERNEL, LockCell
from .change import Change
from .errors import ReadOnlyError

_PROBE_EVERY = 4_000_000  # ns between two probes of an owner's lease, by all processes together
_SHORT_SLEEP = 4_000_000  # ns of a first sleep in the kernel; after it the waiter asks for a reservation
_LONG_WAIT = 100_000_000  # ns of waiting, after which a probe every _PATIENT_SLEEP is enough
_PATIENT_SLEEP = 20_000_000
_LONGEST_SLEEP = 1_000_000_000  # ns, for a waiter when other processes always probe first

_exchange_4 = function("exchange_4", ctypes.c_uint32)
_fetch_add_4 = function("fetch_add_4", ctypes.c_uint32)

# A word that is never free. The fast path uses it instead of the lock word while this
# process has no id in the segment, so that it fails and takes the slow path.
_never_free = ctypes.c_uint32(OWNER_MASK)
_NEVER_FREE = ctypes.byref(_never_free)


class Mutex:
    """A lock between processes and threads that survives the death of its holder.

    It is recursive, like multiprocessing's RLock: the thread that holds it may acquire
    it again. If a process is killed while it holds the lock, the next one that asks,
    or that already waits, takes the lock over, and `abandoned` tells it so. A process
    that lives never loses the lock, however long it holds it, and even while it is
    stopped. All methods are safe for concurrent use.

    The lock works on after close of the segment. A child made by os.fork holds no
    lock, whatever its parent holds. If the segment is read-only, acquire raises
    ReadOnlyError. If this process cannot take locks at all, acquire raises LockError.

    Each process has one lock for its own threads, the gate. A thread takes the gate
    first, so that only one thread of a process competes for the lock word, which has
    room for the id of a process and not of a thread.
    """

    # Invariants: the lock word has this process's id if and only if a thread holds the
    # gate, has taken the word and has not released it. compare_exchange overwrites
    # _free and _mine when it fails; they get their values back right before the gate
    # is released. _id is set before _at.

    __slots__ = (
        "name", "_mapping", "_cell", "_word", "_change_word", "_change", "_gate_acquire", "_gate_release",
        "_gate_is_owned", "_owner", "_depth", "_clear_mark", "_at", "_id", "_free", "_free_ref", "_mine", "_mine_ref",
        "__weakref__",
    )  # fmt: skip

    def __init__(self, mapping, record):
        self.name, self._mapping = record.name, mapping
        self._cell = mapping.at(LockCell, record.data)
        self._word = mapping.at(ctypes.c_uint32, record.data)
        self._change_word = mapping.at(ctypes.c_uint32, record.data + 4)
        self._change = Change(self._change_word, mapping.lease, mapping.read_only)
        self.start_anew()

    def start_anew(self):
        """Have no holder and no id, as at the start and in a child process."""
        self._at, self._id = _NEVER_FREE, 0
        self._free, self._mine = ctypes.c_uint32(0), ctypes.c_uint32(0)
        self._free_ref, self._mine_ref = ctypes.byref(self._free), ctypes.byref(self._mine)
        gate = RLock()  # an RLock knows its owner; it is never acquired twice
        self._gate_acquire, self._gate_release, self._gate_is_owned = gate.acquire, gate.release, gate._is_owned
        self._owner = self._depth = 0
        self._clear_mark = False

    def __repr__(self):
        return f"<Mutex {self.name!r}>"

    def _bind(self):
        """Take an id and its lease. Raises ReadOnlyError, LockError."""
        if self._mapping.read_only:
            raise ReadOnlyError(
                f"cannot lock {self.name!r}: {self._mapping.path} is mapped read-only; "
                "open the segment without readonly"
            )
        lease = self._mapping.lease
        lease.take()
        self._mine.value = self._id = lease.id
        self._at = ctypes.byref(self._word)

    def __reduce__(self):
        return _mutex_again, (self._mapping, self.name)

    def __enter__(self):
        me = get_ident()
        if self._owner == me:
            self._depth += 1
            return True
        try:
            self._gate_acquire()
            if not compare_exchange_4(self._at, self._free_ref, self._id, SEQ_CST, SEQ_CST):
                self._take(True, None)
            self._owner = me
            return True
        except BaseException:
            self._clean_up()
            raise

    def __exit__(self, kind=None, value=None, traceback=None):
        depth = self._depth
        try:
            if self._owner != get_ident():
                raise RuntimeError(
                    f"release of {self.name!r} by a thread that does not hold it (lock word {self._word.value:#x})"
                )
            if kind is not None:
                # The block did not end normally, so the memory may be half changed: the
                # mark is set, and stays even if the block has called abandoned.
                self._clear_mark = False
                self._cell.abandoned = 1
            if depth:
                self._depth = depth - 1
                return
            if self._clear_mark:
                # The mark is cleared only now, while the lock is still held. If the
                # process dies after it was told and before this line, the mark stays for
                # the next holder.
                self._clear_mark = False
                self._cell.abandoned = 0
            self._owner = 0
            if not compare_exchange_4(self._at, self._mine_ref, 0, SEQ_CST, SEQ_CST):
                self._release_word()
            self._gate_release()
        except BaseException:
            if not depth:
                self._clean_up()
            elif self._gate_is_owned():
                self._depth = depth - 1
            raise
        # This follows the release. Whoever awaits a change sets the bit before it looks,
        # so it either sees the change, or is woken here.
        if WEAK or self._change_word.value & 1:
            self._change.changed()

    def acquire(self, blocking=True, timeout=-1):
        """Take the lock; return whether it was taken.

        timeout is in seconds; -1 or None means no time-out. If blocking is false, it
        takes a lock that is free or whose holder is dead, and does not wait.
        """
        if timeout is None:
            timeout = -1
        if blocking and timeout == -1:
            return self.__enter__()
        me = get_ident()
        if self._owner == me:
            self._depth += 1
            return True
        until = None if timeout < 0 else futex.monotonic() + int(timeout * 1e9)
        try:
            if not self._gate_acquire(blocking, timeout):
                return False
            if self._take(blocking, until):
                self._owner = me
                return True
            self._gate_release()
            return False
        except BaseException:
            self._clean_up()
            raise

    def release(self):
        """Release the lock. Raises RuntimeError, and changes nothing, if this thread does not hold it."""
        self.__exit__()

    def locked(self):
        """Return whether any process holds the lock. The answer may be out of date when it arrives."""
        return self._word.value & OWNER_MASK != 0

    def abandoned(self):
        """Return whether a holder died, or left a with statement by an exception.

        If so, the memory that the lock guards may be half changed. It returns True for
        every later holder, until one that has called it releases the lock. Raises
        RuntimeError if this thread does not hold the lock.
        """
        if self._owner != get_ident():
            raise RuntimeError(f"abandoned of {self.name!r} by a thread that does not hold it")
        told = self._cell.abandoned != 0
        self._clear_mark = self._clear_mark or told
        return told

    def wait_for(self, look, timeout=None):
        """Sleep until look() is true, or until `timeout` seconds are over; return the last result of look().

        It calls look without the lock, and again after each change that any process
        makes under the lock.
        """
        return self._change.wait_for(look, timeout)

    # The slow paths. Their caller holds the gate.

    def _take(self, blocking, until):
        """Take the lock word, which was not free; return whether it was taken before the time-out."""
        self._free.value = 0
        lease = self._mapping.lease
        if self._id == 0:
            self._bind()
        start, slept, pause = futex.monotonic(), False, _SHORT_SLEEP
        try:
            while True:
                w = self._word.value
                owner = w & OWNER_MASK
                if owner == 0:
                    # Only a thread that has slept in the kernel may take a reserved word.
                    # It leaves KERNEL_WAITERS set, as others may still sleep there.
                    waiters = KERNEL_WAITERS if slept else 0
                    if (w == 0 or slept) and cas_4(self._word, w, self._id | waiters):
                        return True
                    if w == 0 or slept:
                        continue
                    if not blocking and self._may_probe() and cas_4(self._word, w, self._id | KERNEL_WAITERS):
                        return True  # no waiter came for the reservation
                else:
                    taken, probed = self._take_over(w)
                    if taken:
                        return True
                    # One process probes for all. The others sleep longer and longer.
                    pause = _SHORT_SLEEP if probed else min(2 * pause, _LONGEST_SLEEP)
                now = futex.monotonic()
                if now - start >= _LONG_WAIT:
                    pause = max(pause, _PATIENT_SLEEP)
                if not blocking or until is not None and now >= until:
                    break
                if not w & KERNEL_WAITERS:
                    if not cas_4(self._word, w, w | KERNEL_WAITERS):
                        continue
                    w |= KERNEL_WAITERS
                slept = True
                if now - start >= _SHORT_SLEEP:
                    self._cell.starve = STARVE_KERNEL
                wake = now + (pause if owner else _SHORT_SLEEP)
                futex.wait(self._word, w, lease.wake_bit, wake if until is None else min(wake, until))
        except BaseException:
            if slept:
                self._wake_one(self._cell.starve)
            raise
        if slept:  # a wake-up may have reached this thread: it is passed on to another waiter
            self._wake_one(self._cell.starve)
        return False

    def _may_probe(self):
        """Report whether this thread is to probe the owner's lease now, on behalf of all processes."""
        probed = ctypes.c_uint64.from_buffer(self._cell, LockCell.probed.offset)
        last, now = probed.value, futex.monotonic()
        # The difference is unsigned, so a time in the future counts as long ago.
        old = now - last & 0xFFFFFFFFFFFFFFFF >= _PROBE_EVERY
        return old and self._mapping.lease.may_probe() and cas_8(probed, last, now)

    def _take_over(self, w):
        """Take over the lock if its owner is dead; return whether it did, and whether it probed the lease.

        The compare-and-swap is from the word that was read before the lease was probed.
        If another process has taken the lock since, the word has changed and the
        takeover fails. It sets KERNEL_WAITERS, since waiters may sleep.
        """
        owner, lease = w & OWNER_MASK, self._mapping.lease
        if not lease.known_dead(owner):
            if not self._may_probe():
                return False, False
            if lease.alive(owner):
                return False, True
        if not cas_4(self._word, w, self._id | KERNEL_WAITERS):
            return False, True
        self._cell.abandoned = 1
        _fetch_add_4(ctypes.byref(self._cell, LockCell.takeovers.offset), 1)
        # The dead owner may have made a change and not woken those who await it.
        self._change.wake_all()
        return True, True

    def _release_word(self):
        """Release a lock word that has other bits than this process's id."""
        self._mine.value = self._id
        starve = 0
        while True:
            w = self._word.value
            if w & OWNER_MASK != self._id or not self._id:
                raise RuntimeError(
                    f"release of {self.name!r}, which is held by id {w & OWNER_MASK}, "
                    f"and not by this process, whose id is {self._id}"
                )
            if w & KERNEL_WAITERS:
                # starve is cleared by the thread that reserves the lock, not by the one that
                # takes it: others may still starve then.
                starve = max(starve, _exchange_4(ctypes.byref(self._cell, LockCell.starve.offset), 0))
            if cas_4(self._word, w, KERNEL_WAITERS if w & KERNEL_WAITERS and starve else 0):
                break
        if w & KERNEL_WAITERS:
            self._wake_one(starve)

    def _wake_one(self, starve):
        """Wake one waiter in the kernel. If there is none, remove the reservation, which is for nobody.

        If a waiter sleeps in Go for lack of a place in the kernel, the reservation stays.
        """
        if futex.wake(self._word, 1) == 0 and starve != STARVE_GO and cas_4(self._word, KERNEL_WAITERS, 0):
            futex.wake(self._word, 1)  # a waiter may have come meanwhile and sleep on the reserved word

    def _clean_up(self):
        """Release the lock word and the gate after an exception, if this thread holds them.

        A signal handler can raise an exception at any step of the lock.
        """
        if not self._gate_is_owned():
            return
        self._owner = 0
        self._free.value = 0
        try:
            if self._id and self._word.value & OWNER_MASK == self._id:
                self._release_word()
        finally:
            self._gate_release()


def _mutex_again(mapping, name):
    """Return a pickled Mutex: the lock of that name."""
    return mutex_of(mapping, mapping.directory.find(name))


def mutex_of(mapping, record):
    """Return the Mutex of a record that has a lock. There is one Mutex for each record."""
    with mapping.lock:
        mutex = mapping.mutexes.get(record.data)
        if mutex is None:
            mutex = mapping.mutexes[record.data] = Mutex(mapping, record)
        return mutex
