"""A lock between processes, and between the threads of each."""

import ctypes
from _thread import RLock, get_ident

from . import futex
from .atomics import SEQ_CST, WEAK, cas_4, cas_8, compare_exchange_4, function
from .cell import IN_GO, IN_KERNEL, OWNER, LockCell, W
from .change import Change
from .errors import ReadOnlyError

_PROBE_EVERY = 4_000_000  # ns between two looks at an owner's lease, for all processes together
_SHORT_SLEEP = 4_000_000  # ns in the kernel; then the lock is to be reserved for the waiter
_LONG_WAIT = 100_000_000  # ns; after that a probe every _PATIENT_SLEEP is enough
_PATIENT_SLEEP = 20_000_000
_LONGEST_SLEEP = 1_000_000_000  # ns, of a waiter whose process others are quicker than

_exchange_4 = function("exchange_4", ctypes.c_uint32)
_fetch_add_4 = function("fetch_add_4", ctypes.c_uint32)

# What the fast path tries to take while this process has no id in the segment,
# or never gets one: it is never free.
_never_free = ctypes.c_uint32(OWNER)
_NEVER_FREE = ctypes.byref(_never_free)


class Mutex:
    """A lock between processes and threads that survives the death of its holder.

    It is recursive, as multiprocessing's RLock is: the thread that holds it may
    acquire it again. A process that is killed with the lock held is followed by
    the next that asks or already waits, and `abandoned` tells it so; a process
    that lives is never robbed, however long it holds the lock and even while it
    is stopped. All methods are safe for concurrent use.

    It works on after close of the segment. A child made by os.fork holds no
    lock, whatever its parent held. In a read-only segment acquire raises
    ReadOnlyError; where the system lacks what the lock needs, LockError.

    Within the process a thread gate is passed first, so that only its holder
    competes for the word, which has the process's id.
    """

    # Invariants: the word has this process's id if and only if the gate is held
    # by a thread that has taken the word, or is about to have its end of it. The
    # words that compare_exchange overwrites when it fails, _free and _mine, are
    # set right before the gate is released. _id is set before _at.

    __slots__ = (
        "name", "_mapping", "_cell", "_word", "_change_word", "_change", "_gate_acquire", "_gate_release",
        "_gate_is_owned", "_owner", "_depth", "_asked", "_at", "_id", "_free", "_free_ref", "_mine", "_mine_ref",
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
        """Be nobody's, and have no id: at first, and in a child process."""
        self._at, self._id = _NEVER_FREE, 0
        self._free, self._mine = ctypes.c_uint32(0), ctypes.c_uint32(0)
        self._free_ref, self._mine_ref = ctypes.byref(self._free), ctypes.byref(self._mine)
        gate = RLock()  # for it knows its owner; it is acquired once
        self._gate_acquire, self._gate_release, self._gate_is_owned = gate.acquire, gate.release, gate._is_owned
        self._owner = self._depth = 0
        self._asked = False

    def __repr__(self):
        return f"<Mutex {self.name!r}>"

    def _bind(self):
        """Have an id, and its lease. Raises ReadOnlyError, LockError."""
        if self._mapping.read_only:
            raise ReadOnlyError(f"lock of {self.name!r}: {self._mapping.path} is mapped for reading")
        lease = self._mapping.lease
        lease.take()
        self._mine.value = self._id = lease.id
        self._at = ctypes.byref(self._word)

    def __reduce__(self):
        return _again, (self._mapping, self.name)

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
            self._let_go()
            raise

    def __exit__(self, kind=None, value=None, traceback=None):
        depth = self._depth
        try:
            if self._owner != get_ident():
                raise RuntimeError(f"release of {self.name!r}, which this thread has not got ({self._word.value:#x})")
            if kind is not None:
                # Whoever did not finish has answered for nothing, and may have left halves.
                self._asked = False
                self._cell.abandoned = 1
            if depth:
                self._depth = depth - 1
                return
            if self._asked:
                # While the lock is still held, and only now: whoever dies between
                # being told and here leaves the mark to the next.
                self._asked = False
                self._cell.abandoned = 0
            self._owner = 0
            if not compare_exchange_4(self._at, self._mine_ref, 0, SEQ_CST, SEQ_CST):
                self._give_back()
            self._gate_release()
        except BaseException:
            if not depth:
                self._let_go()
            elif self._gate_is_owned():
                self._depth = depth - 1
            raise
        # After the release, since who awaits a change sets its bit before it looks.
        if WEAK or self._change_word.value & 1:
            self._change.changed()

    def acquire(self, blocking=True, timeout=-1):
        """Take the lock; return whether it was taken. timeout is in seconds, -1 or None for ever.

        Without blocking it takes what is free, or a dead process's.
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
            self._let_go()
            raise

    def release(self):
        """Give the lock back. RuntimeError, and nothing written, if this thread has not got it."""
        self.__exit__()

    def locked(self):
        """Return whether anybody holds it, as it was for a moment."""
        return self._word.value & OWNER != 0

    def abandoned(self):
        """Return whether a holder died inside, or left a with statement by an exception.

        What the lock guards may be half changed then. The answer stays true, for
        whoever holds the lock, until one who was told so releases it. RuntimeError
        if this thread does not hold it.
        """
        if self._owner != get_ident():
            raise RuntimeError(f"abandoned of {self.name!r}, which this thread has not got")
        told = self._cell.abandoned != 0
        self._asked = self._asked or told
        return told

    def wait_for(self, look, timeout=None):
        """Sleep until look() is true, or `timeout` seconds are over; return what it returned last.

        It is called without the lock, and again after each change of what the
        lock guards, by any process.
        """
        return self._change.wait_for(look, timeout)

    # The slow ways; the gate is held.

    def _take(self, blocking, until):
        """Take the word, which was not free at once; False if it was given up."""
        self._free.value = 0
        lease = self._mapping.lease
        if self._id == 0:
            self._bind()
        start, slept, pause = futex.monotonic(), False, _SHORT_SLEEP
        try:
            while True:
                w = self._word.value
                owner = w & OWNER
                if owner == 0:
                    # A reservation is for who slept in the kernel. Who has slept
                    # leaves W wherever it goes: others may sleep there still.
                    if (w == 0 or slept) and cas_4(self._word, w, self._id | w & W | (W if slept else 0)):
                        return True
                    if w == 0 or slept:
                        continue
                    if not blocking and self._may_probe() and cas_4(self._word, w, self._id | W):
                        return True  # nobody came for it
                else:
                    taken, probed = self._take_over(w)
                    if taken:
                        return True
                    # One process of all probes; the others look less and less often.
                    pause = _SHORT_SLEEP if probed else min(2 * pause, _LONGEST_SLEEP)
                now = futex.monotonic()
                if now - start >= _LONG_WAIT:
                    pause = max(pause, _PATIENT_SLEEP)
                if not blocking or until is not None and now >= until:
                    break
                if not w & W:
                    if not cas_4(self._word, w, w | W):
                        continue
                    w |= W
                slept = True
                if now - start >= _SHORT_SLEEP:
                    self._cell.starve = IN_KERNEL
                wake = now + (pause if owner else _SHORT_SLEEP)
                futex.wait(self._word, w, lease.wake_bit, wake if until is None else min(wake, until))
        except BaseException:
            if slept:
                self._wake_one(self._cell.starve)
            raise
        if slept:  # whatever woke this thread, it passes on
            self._wake_one(self._cell.starve)
        return False

    def _may_probe(self):
        """Whether this thread is the one of all processes to look at the owner's lease."""
        probed = ctypes.c_uint64.from_buffer(self._cell, LockCell.probed.offset)
        last, now = probed.value, futex.monotonic()
        # Unsigned, so that a stamp from the future is an old one.
        old = now - last & 0xFFFFFFFFFFFFFFFF >= _PROBE_EVERY
        return old and self._mapping.lease.may_probe() and cas_8(probed, last, now)

    def _take_over(self, w):
        """Replace a dead owner; return whether it did, and whether it looked.

        By a compare-and-swap from the very word that was seen before the
        owner's lease was found free, so that nobody who has got it since is
        robbed. W is set, since nobody knows who sleeps.
        """
        owner, lease = w & OWNER, self._mapping.lease
        if not lease.known_dead(owner):
            if not self._may_probe():
                return False, False
            if lease.alive(owner):
                return False, True
        if not cas_4(self._word, w, self._id | W):
            return False, True
        self._cell.abandoned = 1
        _fetch_add_4(ctypes.byref(self._cell, LockCell.takeovers.offset), 1)
        # The dead one may have changed something and told nobody.
        self._change.wake_all()
        return True, True

    def _give_back(self):
        """Release a word that has bits beside this process's id."""
        self._mine.value = self._id
        starve = 0
        while True:
            w = self._word.value
            if w & OWNER != self._id or not self._id:
                raise RuntimeError(f"release of {self.name!r}, which id {w & OWNER} holds; this process is {self._id}")
            if w & W:
                # Cleared by who reserves, not by who takes: then others may starve still.
                starve = max(starve, _exchange_4(ctypes.byref(self._cell, LockCell.starve.offset), 0))
            if cas_4(self._word, w, W if w & W and starve else 0):
                break
        if w & W:
            self._wake_one(starve)

    def _wake_one(self, starve):
        """Wake one of the kernel's sleepers. Where there is none, a reservation is for nobody.

        Unless somebody sleeps in Go for lack of a place in the kernel.
        """
        if futex.wake(self._word, 1) == 0 and starve != IN_GO and cas_4(self._word, W, 0):
            futex.wake(self._word, 1)  # one who came meanwhile, and sleeps on the reservation

    def _let_go(self):
        """After an exception, which a signal's handler may raise at any step: have neither word nor gate."""
        if not self._gate_is_owned():
            return
        self._owner = 0
        self._free.value = 0
        try:
            if self._id and self._word.value & OWNER == self._id:
                self._give_back()
        finally:
            self._gate_release()


def _again(mapping, name):
    """Return what was pickled: the lock of that name."""
    return mutex_of(mapping, mapping.directory.find(name))


def mutex_of(mapping, record):
    """Return the one Mutex of a record that has a lock."""
    with mapping.lock:
        mutex = mapping.mutexes.get(record.data)
        if mutex is None:
            mutex = mapping.mutexes[record.data] = Mutex(mapping, record)
        return mutex
