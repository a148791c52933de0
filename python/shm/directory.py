"""The directory of a segment: its named values, and the index that leads to them.

Records are only appended, and one store of the header's `used` publishes them. The
index in the segment leads from a name to its newest record. A record is read when
somebody asks for it, so a segment with many values costs no more than those that
are used.

A signal handler may come between any two steps, and raise, or use the directory.
So these are the invariants:

- Reading has no state that two steps change. What is remembered (records by their
  offset, values by name, the index, the verified size) never changes once it is true,
  and each of it is stored by one step.
- Writing is done under the allocation lock, which a handler does not get inside such
  a call. Nothing is appended on the base of what was remembered: `used` and the index
  are loaded again first.
- Each store in the segment leaves a state that the next writer completes, in this
  process or in another: bytes above `used` are cleared, and records above `indexed`
  are taken into the index.
- A process loads `indexed` before it looks into the slots, and looks at the records
  from there on afterwards. So it misses no name that any process has found.
"""

import ctypes
import os
import struct
import weakref
from collections import namedtuple

from . import ask, header, native, record
from .atomics import WEAK, cas_8, fence, store_release
from .cell import CountCell, LockCell
from .errors import ArgumentTypeError, FormatError, FullError, LayoutError, LockError, NoValueError, ReadOnlyError
from .file import give_back, naming, require, reserve
from .header import LINE, load_lines, store_lines
from .record import SLOT
from .memory import PAGE

_WINDOW = 64 << 10  # bytes that one read takes when all records are read
_READ = 1 << 10  # bytes that one read takes for a single record
_REPAIR_WAIT = 1.0  # seconds that a process waits for the allocation lock when it attaches

_GLIMPSE = struct.Struct("=8Q")  # the slots that _glimpse reads

Index = namedtuple("Index", "start data slots mask")
Index.__doc__ = """An index: the offsets of its record and of its slots, these as a ctypes array, and their number less one."""


def differs(path, r, described, wanted):
    """Return the error for a record that is not what was wanted; both are described in words."""
    return LayoutError(
        f"{path}: value {r.name!r} is {described}, made by {r.program!r} (pid {r.pid}); "
        f"wanted {wanted}: use another name, or remove the segment once its programs have ended"
    )


class Directory:
    """This process's view of the named values.

    A Record object never changes, since handles hold it: when a value grows, a new
    object replaces it.
    """

    def __init__(self, mapping):
        self._mapping = weakref.ref(mapping)  # weak, as the mapping owns this
        self.known = {}  # name to the Record of a value that was found
        self._records = {}  # offset to the Record that is there
        self._index = None
        self._verified = 0  # bytes that the file was seen to have
        self._used = 0  # bytes that were seen in use

    @property
    def m(self):
        return self._mapping()

    # Reading.

    def find(self, name):
        """Return the record of a name, or None if there is no value of that name yet."""
        r = self.known.get(name)
        if r is not None and not r.grows:
            return r
        try:
            return self._find(name)
        except FullError:
            if r is None:
                raise
            return r  # others have grown the segment beyond what this process could map

    def _find(self, name):
        if not isinstance(name, str):
            raise ArgumentTypeError(f"the name of a value is a str, not {type(name).__name__}: {name!r}")
        m = self.m
        indexed = load_lines(m.indexed, m.path)
        fence()
        used = self.used()
        index, encoded = self._current_index(used), name.encode(errors="surrogatepass")
        found = self._glimpse(m, index, encoded) or self._search(index, encoded)[0]
        if found is None:
            fence()
            used = self.used()
            found = self._scan(max(indexed, header.SIZE), used, name)
        return found and self._learn(found)

    def all(self):
        """Return the records of all values, oldest first."""
        own, newest = {}, {}
        for r in self._walk(header.SIZE, self.used()):
            if r.kind == record.GROWTH:
                if r.older not in own:
                    raise FormatError(f"{self.m.path}: corrupt record at byte {r.offset}: no struct is at {r.older}")
                newest[r.older] = self._grown(own[r.older], r)
            elif r.kind != record.INDEX:
                own[r.offset] = newest[r.offset] = r
        return list(newest.values())

    def used(self):
        """Return how many bytes the records take, all of which are mapped and in the file."""
        m, before = self.m, self._used  # before: first, as a handler may come before the next line and see more
        used = load_lines(m.used, m.path)
        fence()
        if used < before or used < header.SIZE:
            raise FormatError(f"{m.path}: corrupt header: {used} bytes used, but {before} were used before")
        if used > self._verified or used > m.size:
            self.verify(used)
        self._used = used
        return used

    def verify(self, end):
        """Check that the first `end` bytes are mapped and in the file."""
        if end > self.m.size:
            raise FullError(
                f"{self.m.path}: the segment has {end} bytes, but this process could map only {self.m.size} "
                "for lack of address space: it cannot use the newer values"
            )
        if end > self._verified:
            self._verified = require(self.m.fd, self.m.path, end)
            self.m.in_file(self._verified)

    def _record(self, offset, end):
        """Return the record at an offset, which ends at `end` or before. Raises FormatError."""
        r = self._records.get(offset)
        if r is not None and offset + r.size <= end:
            return r
        if not header.SIZE <= offset < end:
            raise FormatError(f"{self.m.path}: no record can be at byte {offset} of {end}")
        # With pread: if the file is cut off meanwhile, a read of the mapped memory would
        # end the process.
        b = os.pread(self.m.fd, min(_READ, end - offset), offset)
        return self._decode(b, offset, end)

    def _decode(self, b, offset, end):
        try:
            head = record.head_of(b, offset, end)
            if head[1] > len(b):
                b = os.pread(self.m.fd, head[1], offset)
            return self._records.setdefault(offset, record.decode(b, offset, end, head))
        except FormatError as e:
            raise FormatError(f"{self.m.path}: {e}") from None

    def _walk(self, offset, end):
        """Yield the records between two offsets."""
        start, window = offset, b""
        while offset < end:
            r = self._records.get(offset)
            if r is None or offset + r.size > end:
                at = offset - start
                if at + _READ > len(window):
                    start, at, window = offset, 0, os.pread(self.m.fd, min(_WINDOW, end - offset), offset)
                r = self._decode(window[at : at + _READ], offset, end)
            yield r
            offset += r.size

    def _scan(self, offset, end, name):
        """Return the newest record of a name between two offsets, or None."""
        newest = None
        for r in self._walk(offset, end):
            if r.kind != record.INDEX and r.name == name and (newest is None or r.kind == record.GROWTH):
                newest = r
        return newest

    def _learn(self, r):
        """Return the value that a record is for, and remember it."""
        known = self.known.get(r.name)
        start = r.older or r.offset
        if known is not None and known.offset == start and known.layout == r.layout:
            return known
        if r.kind == record.GROWTH:
            r = self._grown(self._record(r.older, r.offset), r)
        self.known[r.name] = r
        return r

    def _grown(self, own, growth):
        try:
            return own.grown(growth)
        except FormatError as e:
            raise FormatError(f"{self.m.path}: {e}") from None

    # The index.

    def _current_index(self, used):
        """Return the index to which the header leads."""
        index, start = self._index, load_lines(self.m.index, self.m.path)
        if index is not None and index.start == start:
            return index
        if start >= used:  # made since
            used = self.used()
        self._index = index = self._index_at(start, used)
        return index

    def _index_at(self, start, used):
        r = self._record(start, used)
        if r.kind != record.INDEX:
            raise FormatError(f"{self.m.path}: corrupt record at byte {start}: it is no index")
        return Index(start, r.data, self.m.at(ctypes.c_uint64 * r.count, r.data), r.count - 1)

    def _glimpse(self, m, index, name):
        """Return the record of a name's encoding if a copy of a few slots leads to it, and None if that has to be searched for.

        The copy is read with pread. In a large index the first look at a slot through the
        mapped memory is mostly a page fault, which costs more. A copied slot need not
        be whole, but the record of that name is, whatever led to it.
        """
        if native.look is not None:
            found = native.look(m.fd, index.data, index.mask, name, not m.in_memory)
            return found and self._seen(*found)
        tag = header.tag(name)
        first = tag & index.mask
        if first + 8 > index.mask:
            return None
        b = os.pread(m.fd, 64, index.data + SLOT * first)
        if len(b) != 64:
            return None
        for slot in _GLIMPSE.unpack(b):
            if slot == 0:
                return None
            if slot >> 40 == tag:
                r = self._seen((slot & header.SEALED_MAX) * LINE)
                if r is None or r.name.encode() == name:
                    return r
        return None

    def _seen(self, start, b=None):
        """Return the record to which a copied slot leads, or None if it is not one of a value. b has its bytes, checked already."""
        r = self._records.get(start)
        if r is None:
            end = self._used
            try:
                end = end if start < end else self.used()  # it was published since
                if b is None:
                    r = self._record(start, end)
                else:
                    r = self._records.setdefault(start, record.decode(b, start, end, sound=True))
            except FormatError:
                return None
        return None if r.kind == record.INDEX else r

    def _search(self, index, name):
        """Return the record of a name's encoding, and the number of its slot.

        If there is none, return None and the number of the free slot, or None.
        """
        tag, slots = header.tag(name), index.slots
        for i in range(tag, tag + index.mask + 1):
            slot = slots[i & index.mask]
            if slot == 0:
                return None, i & index.mask
            if slot >> 40 != tag:
                continue
            if WEAK:
                fence()
            start, used = (slot & header.SEALED_MAX) * LINE, self._used
            r = self._records.get(start)
            if r is None:
                r = self._record(start, used if start < used else self.used())  # it was published since
            if r.kind != record.INDEX and r.name.encode() == name:
                return r, i & index.mask
        return None, None

    # Making values.

    def place(self, want, init=None):
        """Find the value that `want` describes, or make it; return its record.

        If it makes the value, init(record) writes the initial value before other
        processes can see it. If several processes do this at once, the first one's
        initial value stands. Raises LayoutError if the existing value is different,
        NoValueError if the count is -1 and there is no value, ReadOnlyError,
        LockError, FullError, OSError.
        """
        r, fits = self.expect(want)
        if fits:
            return r
        if r is None and want.has_lock:
            self.m.lease.take()  # first, so that a process that cannot lock makes no value with a lock
        r = self.m.lease.allocating(self._create, want, init)
        if not want.matches(r):
            raise self._differs(want, r)
        return r

    def expect(self, want):
        """Return the record of the value that `want` describes, or None, and whether place has nothing to append for it.

        It makes nothing, and raises what place would raise because of `want`, or of what is there.
        """
        r = self.find(want.name)
        if r is None and self.m.read_only:
            raise ReadOnlyError(
                f"{self.m.path}: no value {want.name!r}, and the segment is mapped read-only: "
                "open it without readonly to make the value"
            )
        if r is None and want.count == -1:
            raise NoValueError(
                f"{self.m.path}: no value {want.name!r} whose length could be taken: give a length to make the value"
            )
        if r is None or want.outgrows(r) and not self.m.read_only:
            if r is not None:
                want.count = r.count
            want.check()
            return r, False
        if not want.matches(r):
            raise self._differs(want, r)
        return r, True

    def _differs(self, want, r):
        return differs(self.m.path, r, r.describe(), want.describe())

    def asked(self, byte):
        """Return the change word that a byte stands for. It returns None if no value has one there.

        Whoever may only read could otherwise make this process change any byte: the bytes
        of a value may look like a record, and the index knows better.
        """
        place = ask.cell_of(byte)
        if place is None:
            return None
        start, cell = place
        if start == cell == 0:
            return self.m.names.word
        try:
            used = self.used()
            r = self._record(start, used) if header.SIZE <= start < used else None
            if r is None or cell - r.data not in r.lock_offsets(r.capacity):
                return None
            found = self.find(r.name)
        except (FormatError, FullError):
            return None
        if found is None or found.offset != start:
            return None
        return self.m.at(ctypes.c_uint32, cell + LockCell.change.offset)

    # All that follows is called with the allocation lock.

    def _create(self, want, init):
        """Append a record, and take it into the index. If the name is there already, return its record."""
        m = self.m
        m.listen()
        if self._foreign() and not m.lease.any_held():
            self._repair()
        self._complete()
        old = self._find(want.name)
        if old is not None and not want.outgrows(old):
            return old  # another process or thread was first
        older, capacity = 0, want.room
        if old is not None:
            want = record.Shape(want.name, want.layout, want.access, record.GROWTH)
            init, older, capacity = None, old.offset, old.capacity
        else:
            self._widen(want.name.encode())
        try:
            r = self._append(want, capacity, older, init)
            self._complete()
        finally:
            m.names.changed()
        return self._learn(r)

    def _append(self, want, capacity, older=0, init=None):
        """Append a record, and publish it; return it. The index does not have it yet."""
        m = self.m
        meta, size = want.encode(capacity, older)
        start = self.used()
        self._grow(start + size)
        self._wipe(start)
        r = record.made(want, start, len(meta), size, capacity, older)
        store_lines(m.dirty, start + size if init else r.data)
        ctypes.memmove(m.address(start, len(meta)), meta, len(meta))
        if init:
            init(r)
        store_lines(m.used, start + size)  # publishes
        return self._records.setdefault(start, r)

    def _wipe(self, start):
        """Clear the bytes that a process may have written before it died in _append."""
        dirty = load_lines(self.m.dirty, self.m.path)
        self.verify(dirty)
        if dirty > start:
            ctypes.memset(self.m.address(start, dirty - start), 0, dirty - start)

    def _grow(self, end):
        """Allocate the file's first `end` bytes. Raises OSError, FullError."""
        m = self.m
        allocated = load_lines(m.allocated, m.path)
        if end > m.max_size:
            raise FullError(
                f"{m.path}: {end} bytes needed, and its creator's max_size is {m.max_size}: "
                "make the segment anew with a larger max_size"
            )
        if end > m.size:
            raise FullError(
                f"{m.path}: {end} bytes needed, but this process could map only {m.size} of {m.max_size} "
                "for lack of address space: give this process more (ulimit -v)"
            )
        if end > allocated:
            # A process that died while it reserved space has left some above allocated.
            # Nobody may count on it, and a larger value may need it elsewhere.
            size = os.fstat(m.fd).st_size
            if size > allocated >= self._used:
                give_back(m.fd, allocated, size - allocated)
            # It allocates an eighth more than needed, so that many small values cost
            # few calls. If the filesystem is full, it allocates just what is needed.
            exact = min(header.round_up(end, PAGE), m.size)
            ample = (end + max(end // 8, header.FIRST_ALLOCATION)) // PAGE * PAGE
            target = max(exact, min(ample, m.size // PAGE * PAGE))
            with naming(m.path):
                try:
                    self._reserve(allocated, target)
                except OSError:
                    if target == exact:
                        raise
                    target = exact
                    self._reserve(allocated, target)
            store_lines(m.allocated, target)
        self.verify(end)

    def _reserve(self, allocated, target):
        try:
            reserve(self.m.fd, allocated, target)
        except OSError:
            give_back(self.m.fd, allocated, target - allocated)
            raise

    def _complete(self):
        """Take the records into the index that are published and not in it yet."""
        m = self.m
        indexed, used = load_lines(m.indexed, m.path), self.used()
        if not header.SIZE <= indexed <= used:
            raise FormatError(f"{m.path}: corrupt header: {indexed} bytes are indexed, and {used} are used")
        if indexed == used:
            return
        # Usually that is one record, whose name is counted. If a process died, or was
        # interrupted, a name may be in the index and not be counted.
        new, recount = 0, False
        while indexed < used:
            r = self._record(indexed, used)
            indexed += r.size
            if r.kind == record.INDEX:
                recount = True
                continue
            name = r.name.encode()
            if indexed < used:
                self._widen(name)
                used = self.used()
            index = self._current_index(used)
            old, i = self._search(index, name)
            if old is None and i is None:
                raise FullError(f"{m.path}: its index of {index.mask + 1} slots has no free slot")
            if old is None:
                new += 1
            elif old.offset >= r.offset or r.kind != record.GROWTH:
                recount = True
                continue
            word = ctypes.c_uint64.from_buffer(index.slots, 8 * i)
            store_release(word, header.tag(name) << 40 | r.offset // LINE)
        values = header.unseal(m.values.value)
        if recount or values is None:
            values, new = sum(map(bool, self._current_index(used).slots)), 0
        store_release(m.values, header.seal(values + new))
        store_lines(m.indexed, used)

    def _widen(self, name):
        """Make a larger index if more than half of the slots would be in use with one more name.

        If there is no room for one, the old index serves on, until one slot is free.
        """
        m = self.m
        index = self._current_index(self.used())
        values, slots = header.unseal(m.values.value), index.mask + 1
        if values is None:
            raise FormatError(f"{m.path}: corrupt header: the number of values is {m.values.value:#018x}")
        if 2 * (values + 1) <= slots:
            return
        why = None
        if slots < header.MAX_INDEX_SLOTS:
            want = record.Shape("", None, record.RAW, record.INDEX, 2 * slots)
            try:
                r = self._append(want, want.slot_size, 0, lambda r: self._fill(index, r))
            except OSError as e:  # FullError is one
                why = e
            else:
                store_lines(m.index, r.offset)
                return
        old, i = self._search(index, name)
        if old is None and (i is None or values + 2 > slots):
            raise FullError(f"{m.path}: its index of {slots} slots has no room for another name") from why

    def _fill(self, old, r):
        """Fill the index of a new record with the slots of the old one."""
        slots, mask = [0] * r.count, r.count - 1
        for slot in old.slots:
            if slot:
                i = slot >> 40 & mask
                while slots[i]:
                    i = i + 1 & mask
                slots[i] = slot
        memory = (ctypes.c_uint64 * r.count)(*slots)
        ctypes.memmove(self.m.address(r.data, ctypes.sizeof(memory)), memory, ctypes.sizeof(memory))

    # A file that outlived the system that wrote it, or that was copied.

    def attach(self, unfit):
        """Put the file in order, if that is needed, and check the index.

        unfit says why the sizes in the header do not fit each other, or is None.
        """
        m = self.m
        if not m.read_only and self._foreign() and not m.lease.any_held():
            self._move_in()
            try:
                m.lease.allocating_within(_REPAIR_WAIT, lambda locked: self._settle(locked, unfit))
            except OSError as e:
                # A process without a description of its own can read, and use raw values.
                if unfit or not isinstance(e, LockError):
                    raise
                self._raise_ids()
        elif unfit:
            raise FormatError(f"{m.path}: {unfit}")
        elif not m.read_only and m.mine == 0 and not m.lease.any_held():
            self._raise_ids()  # it cannot tell whether the file has outlived its system
        self._current_index(self.used())

    def _foreign(self):
        """Report whether the header has another home than this process sees."""
        home = header.unseal(self.m.home.value)
        return self.m.mine != 0 and home is not None and home != self.m.mine

    def _move_in(self):
        """Take a new segment in memory, whose maker could not know its home, for one's own."""
        m = self.m
        words = [header.unseal(w.value) for w in (m.next_id, m.values, m.used, m.indexed)]
        if m.in_memory and words[:2] == [1, 0] and words[2] == words[3]:
            cas_8(m.home, header.seal(0), header.seal(m.mine))

    def _settle(self, locked, unfit):
        if locked and not self._foreign():
            return  # another process was faster
        if locked and not self.m.lease.any_held():  # nobody came meanwhile who did without the allocation lock
            self._repair()
        elif unfit:
            raise FormatError(
                f"{self.m.path}: {unfit}; and another process keeps byte 0 of the file locked, or uses the segment, so this cannot be repaired"
            )
        elif self._foreign():
            self._raise_ids()

    def _repair(self):
        """Cut the directory back to what is valid, check the index, and put the ids in order.

        A process that dies inside leaves a file that the next one repairs.
        """
        m = self.m
        used, size = load_lines(m.used, m.path), os.fstat(m.fd).st_size
        if used > m.size:
            self.verify(used)
        limit = min(size, m.size) // LINE * LINE  # no pages: a system with smaller ones may have made the file
        self._verified, self._used = size, min(used, limit)
        self._records.clear()
        self._index = None
        end, start, sound = self._survey()
        if not start:
            raise FormatError(f"{m.path}: no record of an index is left")
        if end < self._used and self.known:
            # Handles may lead to what would be cut off.
            raise FormatError(
                f"{m.path}: the record at byte {end} is corrupt: close the segment and open it again in a new process"
            )
        # What lies behind is reserved when it is needed: a copy may have holes there. Pages
        # behind an old used may have reached the disk.
        allocated = min(header.round_up(end, PAGE), limit)
        store_lines(m.dirty, allocated)
        store_lines(m.allocated, allocated)
        if not sound:
            # From now on nobody trusts the slots. A process that dies leaves the rest to
            # the next one that completes the index.
            store_lines(m.indexed, header.SIZE)
            store_lines(m.index, start)
        store_lines(m.used, end)
        self._used = end
        self._records = {offset: r for offset, r in self._records.items() if offset + r.size <= end}
        self.known.clear()
        if not sound:
            self._index = None
            slots = self._current_index(end).slots
            ctypes.memset(slots, 0, ctypes.sizeof(slots))
            store_release(m.values, header.seal(0))
            self._complete()
        self._raise_ids()
        store_release(m.home, header.seal(m.mine))  # last: if this process dies before, the next one repeats all of it

    def _survey(self):
        """Read all records. Return the end of the last valid one, the start of the index, and whether it is sound.

        The index is the one to which the header leads, or else the last one, or 0.
        """
        m = self.m
        want = (header.unseal(m.index.value) or 0) * LINE
        newest, last, end = {}, 0, header.SIZE
        owns = {}
        try:
            for r in self._walk(header.SIZE, self._used):
                if r.kind == record.GROWTH:
                    own = owns.get(r.older)
                    if own is None:
                        raise FormatError("no struct")
                    own.grown(r)
                    newest[r.name] = r
                elif r.kind == record.INDEX:
                    if last != want:
                        last = r.offset
                else:
                    newest.setdefault(r.name, r)
                    if r.grows:
                        owns[r.offset] = r
                end = r.offset + r.size
        except FormatError:
            pass
        sound = (
            last == want != 0
            and header.unseal(m.indexed.value) == end // LINE
            and header.unseal(m.values.value) == len(newest)
        )
        if sound:
            index = self._index_at(want, end)
            sound = sum(map(bool, index.slots)) == len(newest)
            try:
                sound = sound and all(self._search(index, n.encode())[0] is r for n, r in newest.items())
            except FormatError:
                sound = False
        return end, last, sound

    def _raise_ids(self):
        """Make sure that no id in a lock word or a cell is given out again. It needs no lock."""
        m = self.m
        try:
            for r in self._walk(header.SIZE, self.used()):
                for offset in r.lock_offsets(r.capacity):
                    m.lease.raise_above(m.at(LockCell, r.data + offset))
                if r.kind in record.CELLS:
                    high = m.at(ctypes.c_uint64, r.data).value
                    for i in range(1, min(high, r.cells - 1) + 1):
                        offset = r.elements + i * r.stride + CountCell.owner.offset
                        m.lease.raise_above_owner(m.at(ctypes.c_uint64, offset))
        except (FormatError, FullError):
            pass  # what comes after a record that is not valid has no users
