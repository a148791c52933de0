"""This process's index of a segment's named values."""

import ctypes
import os
import threading
import weakref

from . import header, record
from .atomics import fence
from .errors import FormatError, FullError, LayoutError, ReadOnlyError
from .file import naming, require
from .memory import PAGE

_WINDOW = 64 << 10  # bytes read at once


class Directory:
    """Records are only ever appended, so it grows from the last "used" it saw.

    Invariants: by_name holds each record, oldest first; seen is the end of the
    last of them; every offset in them is below verified, bytes that the file was
    seen to have. A record never changes: one that grows is replaced, since
    handles hold it.
    """

    def __init__(self, mapping):
        self._mapping = weakref.ref(mapping)  # which owns this
        self.by_name = {}
        self.seen = header.SIZE
        self.verified = 0
        self.lock = threading.RLock()

    @property
    def m(self):
        return self._mapping()

    def extend(self):
        """Read what has been published since the last time. Raises FormatError, FullError.

        It reads by pread, since the file may be cut off meanwhile, and memory
        that is not there would end the process.
        """
        used = header.load_lines(self.m.used, self.m.path)
        fence()
        if used == self.seen and self.verified:
            return
        with self.lock:
            used = header.load_lines(self.m.used, self.m.path)
            if used < self.seen:
                raise FormatError(f"{self.m.path}: {used} bytes used, after {self.seen}")
            self.reach(used)
            start, window = self.seen, b""
            while self.seen < used:
                for n in (record.FIXED, None):  # then as much as that says
                    at = self.seen - start
                    if n is None:
                        n = record.length_of(window[at : at + record.FIXED], self.seen, used)
                    if at + n > len(window):
                        start, at = self.seen, 0
                        window = os.pread(self.m.fd, min(max(n, _WINDOW), used - start), start)
                try:
                    r = record.decode(window[at : at + n], self.seen, used)
                    self.add(r)
                except FormatError as e:
                    raise FormatError(f"{self.m.path}: {e}") from None
                self.seen += r.size

    def add(self, r):
        """Take a record into the index. The lock is held."""
        old = self.by_name.get(r.name)
        if r.kind == record.GROWTH:
            wanted = record.Shape(r.name, r.layout, r.access, record.SINGLE, r.count)
            if old is None or not wanted.outgrows(old) or r.capacity != old.capacity:
                raise FormatError(f"record at {r.offset}: {r.name!r} does not grow into {r.layout.format!r}")
            grown = record.Record(old.name, r.layout, old.access, old.kind, old.count, old.unit, old.help)
            for attribute in ("offset", "data", "size", "capacity", "pid", "program"):
                setattr(grown, attribute, getattr(old, attribute))
            r = grown
        elif old is not None:
            raise FormatError(f"record at {r.offset}: name {r.name!r} again")
        self.by_name[r.name] = r

    def reach(self, end):
        """Make sure that the first `end` bytes can be touched. The lock is held."""
        if end > self.m.size:
            raise FullError(f"{self.m.path}: it has {end} bytes, this process could map only {self.m.size}")
        if end > self.verified:
            self.verified = require(self.m.fd, self.m.path, end)

    def find(self, name):
        """Return the record of a name, None if there is none yet."""
        r = self.by_name.get(name)
        if r is None or r.grows:
            self.extend()
            r = self.by_name.get(name)
        return r

    def place(self, want, init=None):
        """Find the value that `want` describes, or make it; return its record.

        init(record) then writes the first value, before anybody can see it.
        Between processes that do this at once the first one's stands. Raises
        LayoutError where the name is something else, FileNotFoundError where a
        count of -1 finds nothing, ReadOnlyError, LockError, FullError, OSError.
        """
        r = self.find(want.name)
        if r is None and self.m.read_only:
            raise ReadOnlyError(f"{self.m.path}: no value {want.name!r}, and the segment is mapped for reading")
        if r is None and want.count == -1:
            raise FileNotFoundError(f"{self.m.path}: no value {want.name!r} to take the length from")
        if r is None and want.has_lock:
            self.m.lease.take()  # who cannot lock leaves no lock behind
        if r is None or want.outgrows(r) and not self.m.read_only:
            r = self._create(want, init)
        if not want.matches(r):
            raise LayoutError(
                f"value {r.name!r} is {r.describe()}, made by {r.program!r} (pid {r.pid}); wanted {want.describe()}"
            )
        return r

    def _create(self, want, init):
        """Append a record under the allocation lock.

        Whoever dies inside leaves nothing: the one store to "used" publishes,
        and what was written above it is cleared by the next one to come.
        """
        want.check()
        m = self.m
        with m.lease.allocating(), self.lock:
            self.extend()
            old = self.by_name.get(want.name)
            if old is not None and not want.outgrows(old):
                return old  # somebody was first
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
            header.store_lines(m.used, start + size)  # publishes
            self.seen = start + size
            self.add(r)
            m.names.changed()
            return self.by_name[r.name]

    def _wipe(self, start):
        """Clear what an allocator that died may have left."""
        dirty = header.load_lines(self.m.dirty, self.m.path)
        self.reach(dirty)
        if dirty > start:
            ctypes.memset(self.m.address(start, dirty - start), 0, dirty - start)

    def _grow(self, end):
        """Make sure that the first `end` bytes are allocated. Raises OSError, FullError."""
        m = self.m
        allocated = header.load_lines(m.allocated, m.path)
        if end > m.size:
            raise FullError(f"{m.path}: {end} bytes needed, {m.size} is the most (max_size of its creator)")
        if end > allocated:
            # An eighth more than needed, so that many small values cost few
            # calls; just what is needed where the filesystem has no more.
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
        self.reach(end)
