"""Cells: how processes count without waiting for each other.

A counter, a gauge and a histogram have a cell for each process that changes it. A
process claims a cell by its id, once, and from then on it is the only one that changes
the cell's number. The end of its lease is what gives the cell up: the next process that
looks for a cell inherits it, number and all, by one compare-and-swap of the owner. So
nothing is ever added up and stored elsewhere, and nothing is lost or counted twice.

- A number changes only in the cell of a living owner, or in the shared cell 0, to
  which processes add that found no cell of their own.
- `high` is raised before a cell above it is claimed. So who adds up the cells from 0 to
  `high` misses none.
- An id never lives twice, so a compare-and-swap from a dead owner cannot hit a new one.

A signal handler may come between any two steps, and change the same value. The claim
of a counter may be done twice then, which gives the process two cells, both of which
count. What an exception leaves over has this process's id, and the next claim finds it.
"""

import ctypes
from collections import namedtuple

from . import futex, native
from .atomics import SEQ_CST, cas_8, compare_exchange_8, fence, function, store_release, unavailable
from .cell import CLEAN, OWNER_ID, CountCell
from .errors import FullError, LockError, ReadOnlyError, UsageError
from .lease import MAX_ID
from .record import BUCKETS_OFFSET
from .reentry import Exclusion

_fetch_add_8 = function("fetch_add_8", ctypes.c_uint64)
_PROBE_EVERY = 4_000_000  # ns between two probes of an owner's lease, by all processes together

Part = namedtuple("Part", "pid program value")
Part.__doc__ = """What one living process has in a gauge. pid and program are 0 and "" if the segment does not tell them any more."""


class Claim(native.Claim):
    """What this process has of the cells of one value. The mapping has one for each.

    mine is the Mine of this process, or None. lives says whether its number counts only while the
    process lives, as the part of a gauge does.
    """

    __slots__ = ("exclusion", "lives")

    def __init__(self):
        self.start_anew()

    def start_anew(self):
        """Have no cell, as at the start and in a child process."""
        self.mine, self.lives = None, False
        self.exclusion = Exclusion()


class Mine:
    """The cell of this process: its number, and the buckets if there are some."""

    __slots__ = ("number", "bits", "ref", "_buckets")

    def __init__(self, cells, i):
        start = cells.first + i * cells.stride
        self.number = cells.mapping.at(cells.type, start)
        self.bits = cells.mapping.at(ctypes.c_uint64, start)
        self.ref = ctypes.byref(self.bits)
        self._buckets = cells.mapping.address(start, cells.stride) + BUCKETS_OFFSET

    def add(self, delta):
        """Add an integer, which wraps around, in one step."""
        _fetch_add_8(self.ref, ctypes.c_uint64(delta), SEQ_CST)

    def count(self, bucket):
        """Add 1 to a bucket."""
        _fetch_add_8(ctypes.c_void_p(self._buckets + 8 * bucket), ctypes.c_uint64(1), SEQ_CST)

    def add_float(self, delta):
        """Add a float. Other threads of this process may add at the same time, and others to the shared cell."""
        while True:
            old = ctypes.c_uint64(self.bits.value)
            sum = ctypes.c_double(ctypes.c_double.from_buffer(old).value + delta)
            if compare_exchange_8(self.ref, ctypes.byref(old), ctypes.c_uint64.from_buffer(sum), SEQ_CST, SEQ_CST):
                return


class Cells:
    """The cells of one value. type is the ctypes type of the numbers."""

    __slots__ = ("mapping", "name", "what", "type", "first", "stride", "last", "claim", "_high", "_numbers")

    def __init__(self, mapping, record, type, what):
        self.mapping, self.name, self.what, self.type = mapping, record.name, what, type
        self.first, self.stride, self.last = record.elements, record.stride, record.cells - 1
        self.claim = mapping.claims.setdefault(record.data, Claim())
        self._high = mapping.at(ctypes.c_uint64, record.data)
        self._numbers = mapping.at(type * (record.capacity // 8), record.elements)

    def in_use(self):
        """Return the highest number of a cell that was ever claimed, or 0."""
        return min(self._high.value, self.last)

    def numbers(self):
        """Return the numbers of all cells, with the shared one."""
        fence()
        step = self.stride // 8
        found = self._numbers[: (self.in_use() + 1) * step : step]
        fence()
        return found

    def correct(self, i, total):
        """Make the sum of the words i of all cells a total, by the word of the shared cell.

        i counts words of 8 bytes in a cell. The sum is exact only if nobody else counts.
        """
        t = self.type if i == 0 else ctypes.c_uint64
        numbers, step = self.mapping.at(t * (self._numbers._length_), self.first), self.stride // 8
        rest = sum(numbers[i + step : (self.in_use() + 1) * step : step])
        numbers[i] = total - rest

    def cell(self, i):
        return self.mapping.at(CountCell, self.first + i * self.stride)

    def owner(self, i):
        return self.mapping.at(ctypes.c_uint64, self.first + i * self.stride + CountCell.owner.offset)

    def mine(self):
        """Return the cell that this process adds to. Raises ReadOnlyError, LockError."""
        return self.claim.mine or self.claim.exclusion.run(self._claim)

    def _claim(self):
        claim = self.claim
        if claim.mine is None:
            try:
                i = self._take(0)
            except LockError:  # a process that can take no lease adds to the shared cell
                if unavailable:
                    raise
                i = None
            claim.mine = Mine(self, i or 0)
        return claim.mine

    def first_change(self, number):
        """Claim a cell, with this number, for a gauge. If there is one already, return it and change nothing.

        Raises RuntimeError in a signal handler that interrupts this very call: what it
        stored would be replaced.
        """
        if self.claim.exclusion.inside():
            raise UsageError(
                f"a signal handler cannot change {self.what} {self.name!r} while it interrupts its thread in the "
                "process's first change of it: change the gauge once before, or let the main program do it"
            )
        return self.claim.exclusion.run(self._first_change, number)

    def _first_change(self, number):
        if self.claim.mine is not None:
            return self.claim.mine
        i = self._take(CLEAN)
        if i is None:
            raise FullError(
                f"{self.mapping.path}: all {self.last} cells of {self.what} {self.name!r} belong to living processes"
            )
        self.claim.lives = True
        self.mapping.keep()
        owner, mine, found = self.owner(i), Mine(self, i), None
        if owner.value & CLEAN:
            mine.number.value = number
            store_release(owner, self.mapping.lease.id)
        else:
            found = mine  # an exception came just before the next line
        self.claim.mine = mine
        return found

    def _take(self, clean):
        """Take a cell; return its number, or None if there is none. Raises ReadOnlyError, LockError."""
        if self.mapping.read_only:
            raise ReadOnlyError(
                f"cannot change {self.what} {self.name!r}: {self.mapping.path} is mapped read-only; "
                "open the segment without readonly"
            )
        lease = self.mapping.lease
        lease.take()
        me = lease.id
        known = self.in_use()
        for i in range(1, known + 1):
            owner = self.owner(i)
            w = owner.value
            if w & OWNER_ID == me:
                return i  # an exception came after the next line, or a handler
            if (w == 0 or self.dead(w & OWNER_ID)) and cas_8(owner, w, me | clean):
                return i
        for i in range(known + 1, self.last + 1):
            self._raise_high(i)
            owner = self.owner(i)
            if owner.value & OWNER_ID == me or cas_8(owner, 0, me | clean):
                return i
        return None

    def _raise_high(self, i):
        while True:
            high = self._high.value
            if high >= i or cas_8(self._high, high, i):
                return

    def dead(self, id):
        """Report whether the process of an id is known to be dead, or turns out to be. An error counts as alive."""
        lease = self.mapping.lease
        return id != lease.id and (id == 0 or lease.known_dead(id) or not lease.alive(id))

    def parts(self):
        """Return the parts of a gauge that belong to living processes, as pairs of an id and a number."""
        found, me = [], self.mapping.lease.id
        fence()
        for i in range(1, self.in_use() + 1):
            cell, owner = self.cell(i), self.owner(i)
            number = self.mapping.at(self.type, self.first + i * self.stride)
            while True:
                w = id = owner.value
                if w == 0 or w > MAX_ID:  # CLEAN, or what no process has stored
                    break
                fence()
                x = number.value
                fence()
                if owner.value != w:
                    continue  # it has gone to another process
                if id == me or not self._vanished(cell, owner, w):
                    found.append((id, x))
                break
        return found

    def _vanished(self, cell, owner, w):
        """Report whether the owner is dead. If so, take its part out, so that nobody has to ask again."""
        id, lease = w, self.mapping.lease
        if not lease.known_dead(id) and not (self._may_probe(cell) and self.dead(id)):
            return False
        if not self.mapping.read_only and not unavailable:
            cas_8(owner, w, 0)
        return True

    def _may_probe(self, cell):
        """Report whether this process is to probe the owner now. One process does it for all that may write."""
        if self.mapping.read_only or unavailable:
            return True
        probed = ctypes.c_uint64.from_buffer(cell, CountCell.probed.offset)
        last, now = probed.value, futex.monotonic()
        return now - last & 0xFFFFFFFFFFFFFFFF >= _PROBE_EVERY and cas_8(probed, last, now)

    def process(self, id):
        """Return the pid and the program of an id, as far as the table of ids tells them."""
        pid, _, program = self.mapping.lease.process(id)
        return pid, program
