"""The directory of a segment: this process's index of the named values."""

import ctypes
import os
import weakref

from . import header, record
from .atomics import fence
from .errors import FormatError, FullError, LayoutError, ReadOnlyError
from .file import naming, require
from .memory import PAGE
from .reentry import Exclusion

_WINDOW = 64 << 10  # bytes that one read takes


class Directory:
    """The index of the named values. Records are only appended, so it reads from where it stopped.

    Invariants: by_name has all records up to `seen`, oldest first. The file has had at
    least `verified` bytes, and every offset in the records is below that. A Record
    object never changes, since handles hold it: when a value grows, a new object
    replaces it.

    A signal handler may come between any two steps, and raise or use the directory. So
    a record is added first and `seen` stored afterwards, and a record that is added
    again changes nothing. Nobody appends before the records up to `used` are read
    again, under the allocation lock, which a handler cannot take inside `place`.
    """

    def __init__(self, mapping):
        self._mapping = weakref.ref(mapping)  # weak, as the mapping owns this
        self.by_name = {}
        self.seen = header.SIZE
        self.verified = 0
        self.lock = Exclusion()

    @property
    def m(self):
        return self._mapping()

    def extend(self):
        """Read the records that were published since the last call. Raises FormatError, FullError.

        It reads with pread: if the file is cut off meanwhile, a read of the mapped
        memory would end the process.
        """
        used = header.load_lines(self.m.used, self.m.path)
        fence()
        if used == self.seen and self.verified:
            return
        self.lock.run(self._extend)

    def _extend(self):
        before = self.seen  # first, as a handler may come before the next line and read more
        used = header.load_lines(self.m.used, self.m.path)
        if used < before:
            raise FormatError(f"{self.m.path}: corrupt header: {used} bytes used, but {before} were used before")
        self.verify(used)
        next = start = self.seen
        window = b""
        while next < used:
            for n in (record.FIXED, None):  # the fixed part gives the length of the whole
                at = next - start
                if n is None:
                    n = record.length_of(window[at : at + record.FIXED], next, used)
                if at + n > len(window):
                    start, at = next, 0
                    window = os.pread(self.m.fd, min(max(n, _WINDOW), used - start), start)
            try:
                r = record.decode(window[at : at + n], next, used)
                self.add(r)
            except FormatError as e:
                raise FormatError(f"{self.m.path}: {e}") from None
            next += r.size
            self.seen = max(self.seen, next)

    def add(self, r):
        """Add a record to the index. The caller holds the lock."""
        old = self.by_name.get(r.name)
        if old is not None and old.newest >= r.offset:
            return  # it was added before an exception
        r.newest = r.offset
        if r.kind == record.GROWTH:
            wanted = record.Shape(r.name, r.layout, r.access, record.SINGLE, r.count)
            if old is None or not wanted.outgrows(old) or r.capacity != old.capacity:
                raise FormatError(
                    f"corrupt record at byte {r.offset}: value {r.name!r} cannot grow to {r.layout.format!r}"
                )
            grown = record.Record(old.name, r.layout, old.access, old.kind, old.count, old.unit, old.help)
            for attribute in ("offset", "data", "size", "capacity", "pid", "program"):
                setattr(grown, attribute, getattr(old, attribute))
            grown.newest, r = r.offset, grown
        elif old is not None:
            raise FormatError(f"corrupt record at byte {r.offset}: a second value {r.name!r}")
        self.by_name[r.name] = r

    def verify(self, end):
        """Check that the first `end` bytes are mapped and in the file. The caller holds the lock."""
        if end > self.m.size:
            raise FullError(
                f"{self.m.path}: the segment has {end} bytes, but this process could map only {self.m.size} "
                "for lack of address space: it cannot use the newer values"
            )
        if end > self.verified:
            self.verified = require(self.m.fd, self.m.path, end)

    def find(self, name):
        """Return the record of a name, or None if there is no value of that name yet."""
        r = self.by_name.get(name)
        if r is None or r.grows:
            self.extend()
            r = self.by_name.get(name)
        return r

    def place(self, want, init=None):
        """Find the value that `want` describes, or make it; return its record.

        If it makes the value, init(record) writes the initial value before other
        processes can see it. If several processes do this at once, the first one's
        initial value stands. Raises LayoutError if the existing value is different,
        FileNotFoundError if the count is -1 and there is no value, ReadOnlyError,
        LockError, FullError, OSError.
        """
        r = self.find(want.name)
        if r is None and self.m.read_only:
            raise ReadOnlyError(
                f"{self.m.path}: no value {want.name!r}, and the segment is mapped read-only: "
                "open it without readonly to make the value"
            )
        if r is None and want.count == -1:
            raise FileNotFoundError(
                f"{self.m.path}: no value {want.name!r} whose length could be taken: give a length to make the value"
            )
        if r is None and want.has_lock:
            self.m.lease.take()  # first, so that a process that cannot lock makes no value with a lock
        if r is None or want.outgrows(r) and not self.m.read_only:
            r = self._create(want, init)
        if not want.matches(r):
            raise LayoutError(
                f"{self.m.path}: value {r.name!r} is {r.describe()}, made by {r.program!r} (pid {r.pid}); "
                f"wanted {want.describe()}: use another name, or remove the segment once its programs have ended"
            )
        return r

    def _create(self, want, init):
        """Append a record under the allocation lock.

        One store to "used" publishes the record. If the process dies before that store,
        there is no new value, and the next process that appends a record clears the
        bytes that were written above "used".
        """
        want.check()
        return self.m.lease.allocating(self._append, want, init)

    def _append(self, want, init):
        m = self.m
        self.extend()
        old = self.by_name.get(want.name)
        if old is not None and not want.outgrows(old):
            return old  # another process or thread was first
        capacity = want.room
        if old is not None:
            want = record.Shape(want.name, want.layout, want.access, record.GROWTH, want.count)
            init, capacity = None, old.capacity
        meta, size = want.encode(capacity)
        start = self.seen
        self._grow(start + size)
        self._wipe(start)
        r = record.decode(meta, start, start + size)
        header.store_lines(m.dirty, start + size if init else r.data)
        ctypes.memmove(m.address(start, len(meta)), meta, len(meta))
        if init:
            init(r)
        try:
            header.store_lines(m.used, start + size)  # publishes
        finally:
            m.names.changed()
        self.extend()
        return self.by_name[want.name]

    def _wipe(self, start):
        """Clear the bytes that a process may have written before it died in _create."""
        dirty = header.load_lines(self.m.dirty, self.m.path)
        self.verify(dirty)
        if dirty > start:
            ctypes.memset(self.m.address(start, dirty - start), 0, dirty - start)

    def _grow(self, end):
        """Allocate the file's first `end` bytes. Raises OSError, FullError."""
        m = self.m
        allocated = header.load_lines(m.allocated, m.path)
        if end > m.size:
            raise FullError(
                f"{m.path}: {end} bytes needed, and its creator's max_size is {m.size}: "
                "make the segment anew with a larger max_size"
            )
        if end > allocated:
            # It allocates an eighth more than needed, so that many small values cost
            # few calls. If the filesystem is full, it allocates just what is needed.
            exact = header.round_up(end, PAGE)
            ample = (end + max(end // 8, header.FIRST_ALLOCATION)) // PAGE * PAGE
            target = max(exact, min(ample, m.size // PAGE * PAGE))
            with naming(m.path):
                try:
                    os.posix_fallocate(m.fd, allocated, target - allocated)
                except OSError:
                    if target == exact:
                        raise
                    target = exact
                    os.posix_fallocate(m.fd, allocated, target - allocated)
            header.store_lines(m.allocated, target)
        self.verify(end)
