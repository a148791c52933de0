"""Locks between processes, and between the threads of each process.

Each process has one lock for its own threads, the gate. A thread takes the gate
first, so that only one thread of a process competes for the lock word, which has
room for the id of a process and not of a thread. Gate and word are what is true of
the lock in this process. A signal handler may interrupt acquire and release between
any two steps, and raise, or use the same lock (see reentry.py). What it finds:

    gate            word    held    what that is
    free            not us  False   nobody here has the lock
    this thread's   not us  False   before the word is taken, or after it is released
    this thread's   us      False   the word is just taken, or is about to be released
    this thread's   us      True    this thread holds the lock
    free            us      False   left over by two exceptions in a row

Invariants:

- A thread changes the state only while it has the gate. The word gets this
  process's id only from such a thread, and loses it before the gate is released.
- `held` is set after the word is taken, and cleared before it is released. So if it
  is set, the thread of the gate holds the lock, whatever interrupts it.
- `depth` counts the acquires of the gate's thread beyond the first, among them those
  of a handler. A handler that finds the word taken uses it and leaves it: nothing
  that the lock guards is half changed then, as its thread is before or after that.
  A handler that finds the word free takes it, notes in `taken` at which depth, and
  releases it at that depth.
- An exception in acquire or release brings the lock back to a known depth, whatever
  was done until then (return_to). If a second one interrupts that, the next acquire of
  the thread finds the gate its own, and no frame of acquire or release below it:
  it takes what was left over for its own.
- Without an id (0) the fast path is closed. With one, `free` is 0 and `mine` is the id whenever the
  gate is free. compare_exchange overwrites them when it fails. Nested acquires and releases use
  words of their own.
- While `editing` is set, the thread of the gate reads the value and writes what it
  has made of it. A change in between, by a handler or by the function that update
  calls, would be lost, or would lose that of the editor, and raises RuntimeError.
"""

import ctypes
import weakref

from . import ask, futex, native
from .atomics import SEQ_CST, WEAK, cas_4, cas_8, compare_exchange_4, function
from .cell import KERNEL_WAITERS, OWNER_MASK, STARVE_GO, STARVE_KERNEL, LockCell
from .change import Change, deadline
from .errors import ArgumentError, ReadOnlyError, UsageError
from .lockinfo import lock_info
from .reentry import interrupted

_PROBE_EVERY = 4_000_000  # ns between two probes of an owner's lease, by all processes together
_SHORT_SLEEP = 4_000_000  # ns of a first sleep in the kernel; after it the waiter asks for a reservation
_LONG_WAIT = 100_000_000  # ns of waiting, after which a probe every _PATIENT_SLEEP is enough
_PATIENT_SLEEP = 20_000_000
_LONGEST_SLEEP = 1_000_000_000  # ns, for a waiter when other processes always probe first

_exchange_4 = function("exchange_4", ctypes.c_uint32)
_fetch_add_4 = function("fetch_add_4", ctypes.c_uint32)


class Hold(native.Hold):
    """What this process has of one lock: the gate, and who holds it. The mapping has one for each lock.

    It lives as long as the mapping. So a lock that is held is not forgotten when the
    last Mutex of it is collected. `mutex` is a weak reference to that Mutex.
    """

    __slots__ = ("at", "free", "free_ref", "mine", "mine_ref", "mutex")

    def start_anew(self):
        """Have no holder and no id, in a child process."""
        self.id = 0
        self.new_gate()
        self.settle()

    def bind(self, word, id):
        """Have an id, with which the thread of the gate takes the word."""
        self.free, self.mine = ctypes.c_uint32(0), ctypes.c_uint32(id)
        self.free_ref, self.mine_ref, self.at = ctypes.byref(self.free), ctypes.byref(self.mine), ctypes.byref(word)
        self.id = id  # last: from now on the fast path uses the others

    def settle(self):
        """Have no holder. The thread has the gate, or there is no other thread."""
        self.held = self.clear_mark = False
        self.depth = self.taken = self.editing = 0
        if self.id:
            self.free.value, self.mine.value = 0, self.id

    def level(self):
        """Return how often this thread has acquired the lock, less one: -1 if it has not."""
        return self.depth if self.owned() else -1


@native.compiled("lock")
@native.late(
    _cell=lambda mutex: mutex._mapping.inner(LockCell, mutex._offset),
    _word=lambda mutex: mutex._mapping.inner(ctypes.c_uint32, mutex._offset),
    _change=lambda mutex: mutex._make_change(),
)
class Mutex(native.Handle):
    """A lock between processes and threads that survives the death of its holder.

    It is recursive, like multiprocessing's RLock: the thread that holds it may acquire
    it again. If a process is killed while it holds the lock, the next one that asks,
    or that already waits, takes the lock over, and `abandoned` tells it so. A process
    that lives never loses the lock, however long it holds it, and even while it is
    stopped. All methods are safe for concurrent use, and in signal handlers.

    The lock works on after close of the segment. A child made by os.fork holds no
    lock, whatever its parent holds. If the segment is read-only, acquire raises
    ReadOnlyError. If this process cannot take locks at all, acquire raises LockError.
    """

    __slots__ = (
        "name", "_mapping", "_record", "_part", "_offset", "_cell", "_word", "_change_word", "_change", "__weakref__",
    )  # fmt: skip

    def __init__(self, mapping, record, part, offset, hold):
        self.name = record.name if part is None else f"{record.name}[{part}]"
        self._mapping, self._record, self._part, self._offset, self._hold = mapping, record.offset, part, offset, hold
        self._change_word = mapping.inner(ctypes.c_uint32, offset + 4)

    def _make_change(self):
        m = self._mapping
        byte = ask.byte_of(self._record, self._offset)
        return Change(self._change_word, m.lease, m.read_only, byte, m.bell, m.memory)

    @property
    def _place(self):
        """The name of the record, and the number of the lock if it has several."""
        part = self._part
        return (self.name,) if part is None else (self.name[: -len(f"[{part}]")], part)

    def __repr__(self):
        return f"<Mutex {self.name!r}>"

    def __eq__(self, other):
        return isinstance(other, Mutex) and self._hold is other._hold

    def __hash__(self):
        return hash(self._hold)

    def __reduce__(self):
        return _mutex_again, (self._mapping, *self._place)

    def __enter__(self):
        hold = self._hold
        if hold.owned():
            if hold.held:
                hold.depth += 1
                return True
            return self._acquire_again(True, None)
        try:
            hold.acquire()
            if not hold.id or not compare_exchange_4(hold.at, hold.free_ref, hold.id, SEQ_CST, SEQ_CST):
                self._take(True, None)
            hold.held = True
            return True
        except BaseException:
            self.return_to(-1)
            raise

    def __exit__(self, kind=None, value=None, traceback=None):
        hold = self._hold
        depth = hold.depth
        if not (hold.held or depth):
            raise self._not_held("release")
        try:
            if not hold.owned():
                raise self._not_held("release")
            if kind is not None:
                # The block did not end normally, so the memory may be half changed: the
                # mark is set, and stays even if the block has called abandoned.
                hold.clear_mark = False
                self._cell.abandoned = 1
            if depth:
                self.return_to(depth - 1)
                return
            if hold.clear_mark:
                # The mark is cleared only now, while the lock is still held. If the
                # process dies after it was told and before this line, the mark stays for
                # the next holder.
                hold.clear_mark = False
                self._cell.abandoned = 0
            hold.editing = 0  # a change that released the lock itself does not write any more, see still_changing
            hold.held = False
            if not hold.id or not compare_exchange_4(hold.at, hold.mine_ref, 0, SEQ_CST, SEQ_CST):
                self._release_word()
            hold.release()
        except BaseException:
            self.return_to(depth - 1)
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
        hold = self._hold
        until = None if timeout is None or timeout == -1 else deadline(timeout)
        if until is not None and not (blocking and timeout >= 0):
            raise ArgumentError(
                "a timeout is not negative, and one that does not wait takes none"
                if blocking
                else "acquire with blocking=False does not wait, so it takes no timeout"
            )
        if hold.owned():
            if hold.held:
                hold.depth += 1
                return True
            return self._acquire_again(blocking, until)
        try:
            if not hold.acquire(True if blocking else False, -1 if until is None else max(0, until - futex.monotonic()) / 1e9):
                return False
            if hold.id and compare_exchange_4(hold.at, hold.free_ref, hold.id, SEQ_CST, SEQ_CST) or self._take(blocking, until):
                hold.held = True
                return True
            hold.release()
            return False
        except BaseException:
            self.return_to(-1)
            raise

    def release(self):
        """Release the lock. Raises UsageError, and changes nothing, if this thread does not hold it."""
        self.__exit__()

    def locked(self):
        """Return whether any process holds the lock. The answer may be out of date when it arrives."""
        return self._word.value & OWNER_MASK != 0

    def info(self):
        """Return a LockInfo: who holds the lock, and what else is known of it. It does not wait."""
        return lock_info(self._mapping, ctypes.addressof(self._cell) - ctypes.addressof(self._mapping.memory))

    def abandoned(self):
        """Return whether a holder died, or left a with statement by an exception.

        If so, the memory that the lock guards may be half changed. It returns True for
        every later holder, until one that has called it releases the lock. Raises
        UsageError if this thread does not hold the lock.
        """
        hold = self._hold
        if not (hold.owned() and (hold.held or hold.depth)):
            raise self._not_held("abandoned")
        told = self._cell.abandoned != 0
        hold.clear_mark = hold.clear_mark or told
        return told

    def wait_for(self, look, timeout=None, cancel=None):
        """Sleep until look() is true, or until `timeout` seconds are over; return the last result of look().

        It calls look without the lock, and again after each change that any process
        makes under the lock. It also returns if cancel, a Cancel, is set.
        """
        return self._change.wait_for(look, timeout, cancel)

    # What the values use. Each change notes the level first, and goes back to it after
    # an exception.

    def put(self, function, *args):
        """Return function(*args), called with the lock held. The function is one in C, which no handler interrupts.

        Raises RuntimeError inside another change of the value by this thread.
        """
        hold = self._hold
        level = hold.depth if hold.owned() else -1
        try:
            self.__enter__()
            if hold.editing:
                raise self.overlap()
            result = function(*args)
            self.__exit__()
            return result
        except BaseException:
            self.return_to(level)
            raise

    def change(self, function, *args):
        """Return function(*args), called with the lock held. The function reads the value, and writes a new one.

        Raises RuntimeError inside another change of the value by this thread.
        """
        hold = self._hold
        level = hold.depth if hold.owned() else -1
        try:
            self.__enter__()
            if hold.editing:
                raise self.overlap()
            hold.editing = 1 + hold.depth  # as begin_edit does
            result = function(*args)
            hold.editing = 0
            self.__exit__()
            return result
        except BaseException:
            self.return_to(level)
            raise

    def begin_edit(self):
        """Note that the thread, which has just acquired the lock, is going to read the value and to replace it."""
        hold = self._hold
        if hold.editing:
            raise self.overlap()
        hold.editing = 1 + hold.depth

    def overlap(self):
        """Return the exception for a change inside a change of the same value."""
        return UsageError(
            f"cannot change {self.name!r} while this thread is inside another change of it, such as update or edit, "
            "as one of the two would be lost: change it there or afterwards; in a signal handler, note what is to be "
            "done, and let the main program do it"
        )

    def lost(self):
        """Return the exception for a change that has released the lock itself, before it could write."""
        return UsageError(
            f"cannot change {self.name!r}: update or edit holds its lock, and it was released meanwhile; nothing was changed"
        )

    def still_changing(self, level=None):
        """Raise UsageError unless this thread still has the lock that a change has taken, at the level before that."""
        hold = self._hold
        if not (hold.owned() and hold.editing and level in (None, hold.editing - 2)):
            raise self.lost()

    def return_to(self, level):
        """Bring the lock back to a level, whatever this thread has done or left undone since."""
        hold = self._hold
        if not hold.owned():
            return  # the last level, -1, is the one before the gate was acquired
        if hold.editing > level + 1:
            hold.editing = 0
        if level >= 0:
            hold.depth = level
            if hold.taken > level:
                self._release_nested(level)
            return
        hold.settle()
        try:
            if hold.id and self._word.value & OWNER_MASK == hold.id:
                self._release_word()
        finally:
            hold.release()
        # The interrupted release may have left the wake-ups out.
        futex.wake(self._word, 1)
        self._change.changed()

    def _not_held(self, what):
        return UsageError(
            f"{what} of {self.name!r} by a thread that does not hold it (lock word {self._word.value:#x})"
        )

    # The slow paths. Their caller has the gate.

    def _acquire_again(self, blocking, until):
        """Acquire the lock in a thread that has the gate and does not hold the lock; return whether it was acquired."""
        hold = self._hold
        if not interrupted(_STEPS, 3, lambda frame: frame.f_locals["self"]._hold is hold):
            # An exception left the gate with this thread, and perhaps the word.
            try:
                hold.settle()
                hold.held = self._take(blocking, until)
                if not hold.held:
                    hold.release()
                return hold.held
            except BaseException:
                self.return_to(-1)
                raise
        depth = hold.depth
        try:
            hold.depth = depth + 1
            if not hold.id or self._word.value & OWNER_MASK != hold.id:
                hold.taken = depth + 1
                if not self._take(blocking, until):
                    hold.depth = hold.taken = depth
                    return False
            return True
        except BaseException:
            self.return_to(depth)
            raise

    def _release_nested(self, level):
        """Release the word that was taken above a level, by a handler."""
        hold = self._hold
        if self._word.value & OWNER_MASK == hold.id:
            self._release_word()
        hold.taken = level
        self._change.changed()

    def _bind(self):
        """Take an id and its lease. Raises ReadOnlyError, LockError."""
        if self._mapping.read_only:
            raise ReadOnlyError(
                f"cannot lock {self.name!r}: {self._mapping.path} is mapped read-only; "
                "open the segment without readonly"
            )
        lease, hold = self._mapping.lease, self._hold
        lease.take()
        hold.bind(self._word, lease.id)

    def _take(self, blocking, until):
        """Take the lock word, which was not free; return whether it was taken before the time-out."""
        lease, hold = self._mapping.lease, self._hold
        if not hold.owned():
            hold.acquire()  # a handler has forked, and this is the child, whose gates are new
        if hold.id:
            hold.free.value = 0
        else:
            self._bind()
        me = hold.id
        start, slept, pause = futex.monotonic(), False, _SHORT_SLEEP
        try:
            while True:
                w = self._word.value
                owner = w & OWNER_MASK
                if owner == me:
                    return True  # left over by exceptions, or taken by a handler that has interrupted this
                if owner == 0:
                    # Only a thread that has slept in the kernel may take a reserved word.
                    # It leaves KERNEL_WAITERS set, as others may still sleep there.
                    waiters = KERNEL_WAITERS if slept else 0
                    if (w == 0 or slept) and cas_4(self._word, w, me | waiters):
                        return True
                    if w == 0 or slept:
                        continue
                    if not blocking and self._may_probe(_PROBE_EVERY) and cas_4(self._word, w, me | KERNEL_WAITERS):
                        return True  # no waiter came for the reservation
                else:
                    taken, probed = self._take_over(w, _PROBE_EVERY if blocking else 0)
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

    def _may_probe(self, every):
        """Report whether this thread is to probe the owner's lease now, on behalf of all processes.

        It is if the last probe is at least so many nanoseconds ago."""
        probed = ctypes.c_uint64.from_buffer(self._cell, LockCell.probed.offset)
        last, now = probed.value, futex.monotonic()
        # The difference is unsigned, so a time in the future counts as long ago.
        old = now - last & 0xFFFFFFFFFFFFFFFF >= every
        return old and self._mapping.lease.may_probe() and cas_8(probed, last, now)

    def _take_over(self, w, every):
        """Take over the lock if its owner is dead; return whether it did, and whether it probed the lease.

        The compare-and-swap is from the word that was read before the lease was probed.
        If another process has taken the lock since, the word has changed and the
        takeover fails. It sets KERNEL_WAITERS, since waiters may sleep. every is that of
        _may_probe: who does not wait does not try again, so a probe of before is no answer.
        """
        owner, lease = w & OWNER_MASK, self._mapping.lease
        if not lease.known_dead(owner):
            if not self._may_probe(every):
                return False, False
            if lease.alive(owner):
                return False, True
        me = self._hold.id
        try:
            if not cas_4(self._word, w, me | KERNEL_WAITERS):
                return False, True
            self._cell.abandoned = 1
        except BaseException:  # of a handler; the next holder has to be told all the same
            if self._word.value & OWNER_MASK == me:
                self._cell.abandoned = 1
            raise
        _fetch_add_4(ctypes.byref(self._cell, LockCell.takeovers.offset), 1)
        # The dead owner may have made a change and not woken those who await it.
        self._change.wake_all()
        return True, True

    def _release_word(self):
        """Release a lock word that has other bits than this process's id."""
        hold = self._hold
        if hold.id:
            hold.mine.value = hold.id
        starve = 0
        while True:
            w = self._word.value
            if w & OWNER_MASK != hold.id or not hold.id:
                raise UsageError(
                    f"release of {self.name!r}, which is held by id {w & OWNER_MASK}, "
                    f"and not by this process, whose id is {hold.id}"
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


# The functions in which the state is between two states of the table above.
_STEPS = {
    getattr(Mutex, "_slow_" + f.strip("_"), getattr(Mutex, f)).__code__
    for f in ("__enter__", "__exit__", "acquire", "_acquire_again", "return_to")
}


def _mutex_again(mapping, name, part=None):
    """Return a pickled Mutex: the lock of that name, or one of several."""
    return mutex_of(mapping, mapping.directory.find(name), part)


def lock_offset(record, part=None):
    """Return the offset of a record's lock cell. A record with several has one for each part, from 0."""
    return record.data + (0 if part is None else record.lock_offsets(record.capacity)[part])


def mutex_of(mapping, record, part=None):
    """Return a Mutex of a record that has a lock, or several. All Mutexes of one lock cell are the same lock."""
    offset = record.data if part is None else lock_offset(record, part)
    hold = mapping.holds.get(offset)
    if hold is None:
        hold = mapping.holds.setdefault(offset, Hold(mapping.memory, offset))
    else:
        mutex = getattr(hold, "mutex", _nothing)()
        if mutex is not None:
            return mutex
    mutex = Mutex(mapping, record, part, offset, hold)
    hold.mutex = weakref.ref(mutex)
    return mutex


def _nothing():
    return None
