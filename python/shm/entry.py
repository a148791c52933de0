"""What a segment's directory says of a named value, and values whose type is found at run time."""

import ctypes
import operator
import struct
import time
from collections import namedtuple

from . import futex, layout as layouts, text as texts
from .change import check_cancel, deadline, given_up
from .errors import ArgumentError, FormatError, ReadOnlyError, TooLongError
from .lockinfo import lock_info
from .mutex import mutex_of
from .published import Slots
from .record import ACCESS_NAMES, ATOMIC, BUCKETS_OFFSET, CELLS, COUNTER, GAUGE, HISTOGRAM, PUBLISHED, RING, index
from .value import Atomic

_POLL = 0.1  # seconds between two looks at a value that announces no change

_Entry = namedtuple("_Entry", "name format length access unit help pid program offset size hint kind")


class Entry(_Entry):
    """The directory's description of a named value, and access to the value without its type.

    format is the format of one element, and "" for a mutex. length is the number of
    elements of an array, of rows, of locks, of bytes of a C string, of values that a ring
    keeps or of bounds of a histogram, and 0 for a single value. access is
    raw, atomic, locked or published. pid and program belong to the process that made the
    value. offset and size are in bytes, and offset counts from the start of the segment.
    hint says what the value means to people: "duration" (nanoseconds), "time" (nanoseconds
    since 1970-01-01 UTC), "text" (UTF-8), "counter" (a number that only grows), "gauge" (one
    that goes up and down), or "". kind is the name of the method that attaches to the value,
    such as "array" or "counter".
    """

    @property
    def layout(self):
        """The Layout of one element, or None for a mutex."""
        return self._record.layout

    def locks(self):
        """Return a LockInfo of each lock of the value, without waiting: one, or as many as there are rows or locks."""
        r = self._record
        return [lock_info(self._mapping, r.data + offset) for offset in r.lock_offsets(r.capacity)]

    def load(self):
        """Return a copy of the value as Python has it.

        That is a number, a bool, bytes for characters up to the first NUL, a list for an
        array, a table or a ring, or a dict for a struct. It is the sum of a counter or a
        gauge, a dict of bounds, counts and sum of a histogram, and None for a mutex. It takes no
        lock. Raises TooLongError for a value of more than 16 MiB or 250,000 parts.
        """
        if self._record.layout is None:
            return None
        layout, b = self._shown()
        if texts.too_many(layout):
            raise TooLongError(f"value {self.name!r}: {self.size} bytes in too many parts")
        return [] if b is None else texts.value(layout, b)

    def text(self):
        """Return the value in one line, as Go writes it.

        Numbers, true and false; characters as a string literal, so that a terminal does not
        interpret them; [1, 2] for arrays; {x: 1, y: 2} for structs. For a mutex it is the state of
        the lock. Of a value of more than 16 MiB, or with a longer text than 64 MiB, it says
        how large it is.
        """
        if self._record.layout is None:
            locks = [str(lock) for lock in self.locks()]
            return f"[{', '.join(locks)}]" if self.length else locks[0]
        try:
            layout, b = self._shown()
            shown = "[]" if b is None else texts.text(layout, b)
        except TooLongError:
            shown = None
        except FormatError as e:
            return f"<{e}>"
        if shown is None:
            return f"<{'an' if self.kind[0] == 'a' else 'a'} {self.kind} of {self.size} bytes, too large to show>"
        return shown

    def parse(self, text):
        """Set the value from a text, such as the method text returns, or JSON.

        Characters that are the whole value need no quotes. An array takes all its elements, or
        some of them by index, as in [3: 7]; a struct takes fields by name. What is left out
        keeps its value. It waits for the lock of a value that has one; each row of a table
        changes as a whole.

        Raises ArgumentError if the text does not describe such a value or the value cannot be
        set from a text, TooLongError, ReadOnlyError. Then nothing is changed.
        """
        self._changeable()
        self._store(texts.parse(self._whole(), text))

    def update(self, f):
        """Set the value from the text that f returns. f gets what load returns, under the value's own lock.

        An integer of an atomic changes by a compare-and-swap: f is called again if another process
        has changed it meanwhile. Other values without a lock are read and then written. For a table,
        f is called before a lock is taken, and each row changes under its own lock: f is called again,
        under the lock of a row, if another process has changed that row since f saw it.
        """
        self._changeable()
        r = self._record
        if r.is_table:
            self._update_rows(f)
            return
        if r.has_lock:
            mutex_of(self._mapping, r).change(self._update, f)
            return
        while True:
            old = self._bytes()
            patches = texts.parse(self._whole(), f(texts.value(self._whole(), old)))
            if r.access == ATOMIC and len(patches) == 1 and len(patches[0][1]) == r.layout.size:
                at, new = patches[0]
                code = "=I" if r.layout.size == 4 else "=Q"
                if not self._atomic(at).compare_and_swap(*struct.unpack(code, old[at : at + len(new)]), *struct.unpack(code, new)):
                    continue
                return
            self._store(patches)
            return

    def _update(self, f):
        patches = texts.parse(self._whole(), f(self.load()))
        mutex_of(self._mapping, self._record).still_changing()
        self._put(patches)

    def _update_rows(self, f):
        size, stored = self._record.layout.size, set()

        def ask():
            old = self._bytes()
            rows = self._rows(texts.parse(self._whole(), f(texts.value(self._whole(), old))))
            return old, {i: patches for i, patches in rows.items() if i not in stored}

        def change(i, slots):
            """Change a row, and return whether f was called again, which may change other rows."""
            nonlocal old, rows
            asked = bytes(slots.committed()[:size]) != old[i * size : (i + 1) * size]
            if asked:
                old, rows = ask()
                slots.mutex.still_changing()
            if i in rows:
                self._publish(slots, rows.pop(i), size)
                stored.add(i)
            return asked

        old, rows = ask()
        left = sorted(rows)
        while left:
            slots = Slots(self._mapping, self._record, left[0])
            left = sorted(rows) if slots.mutex.change(change, left[0], slots) else left[1:]

    def parts(self):
        """Return how many parts of the value change each by itself: the rows of a table, and 1 for any other value."""
        return self.length if self._record.is_table else 1

    def load_bytes(self, part=0):
        """Return a copy of a part of the value, as it is in memory, and the number of the commit that it is of.

        A part of a published value is the copy of one commit. Other values have no commits: the
        number is 0, each number is one load, and what has no lock may be copied while it changes.
        Of a ring it is the newest value with its number, or b"" and 0 if there is none. Of a
        counter, a gauge and a histogram it is the sum, or bounds, counts and sum. It takes no lock.

        Raises ArgumentError for a mutex, IndexError for a part that there is not, and
        TooLongError for a part of more than 16 MiB.
        """
        r, part = self._record, index(part, self.parts(), self.name)
        size = self._part_size()
        if r.kind == RING:
            ring = self._segment[self.name]
            newest = list(self._since(ring, ring._commit.value - 1)) if ring._commit.value else []
            return (newest[-1][1], newest[-1][0]) if newest else (b"", 0)
        if r.kind in CELLS:
            return self._shown()[1], 0
        if r.access != PUBLISHED:
            return self._bytes(), 0
        slots = Slots(self._mapping, r, part if r.is_table else None)
        return slots.read(lambda slot: (bytes(slot[:size]), slots.count.value))

    def store_bytes(self, b, part=0):
        """Set a part of the value to bytes that load_bytes has returned, of this value or of one like it.

        It appends them to a ring. It makes the sum of a counter and the counts of a histogram what
        the bytes say, which is exact only if nobody else counts at the same time; it sets this
        process's part of a gauge. It waits for the lock of a value that has one. Bytes
        that a published value has already are no commit.

        Raises ArgumentError if the number of bytes is not that of the part, or if a
        histogram has other bounds, and what load_bytes and parse raise. Then nothing is changed.
        """
        r, part, b = self._record, index(part, self.parts(), self.name), bytes(memoryview(b))
        if self._mapping.read_only:
            raise ReadOnlyError(f"value {self.name!r}: {self._mapping.path} is mapped read-only: open the segment without readonly")
        want = self._shown()[0].size if r.kind in CELLS else self._part_size()
        if len(b) != want:
            raise ArgumentError(f"value {self.name!r}: {len(b)} bytes are given, and the part has {want}")
        if r.kind == RING:
            ring = self._segment[self.name]
            ring.append(ring._type.from_buffer_copy(b))
        elif r.kind in CELLS:
            self._store_cells(b)
        else:
            self._store([(part * want, b)])

    def since(self, after):
        """Return an iterator of number and bytes of each value of a ring that is kept and newer than the value of that number.

        The oldest comes first, as of the call. If the first number is not after + 1, those
        between are not kept any more. For other values there is nothing in it.
        """
        after = operator.index(after)
        return self._since(self._segment[self.name], max(after, 0)) if self._record.kind == RING else iter(())

    @staticmethod
    def _since(ring, after):
        return iter(ring._bytes_since(after, ring._commit.value))

    def wait_for(self, ok, timeout=None, cancel=None):
        """Sleep until ok(x) is true for what load returns; return that.

        Raises WaitTimeoutError after `timeout` seconds, and CancelledError once cancel, a Cancel,
        is set. A value without a lock announces no change, nor does a table as a whole: it
        is looked at ten times a second.
        """
        r = self._record
        if r.layout is None:
            raise ArgumentError(f"value {self.name!r}: a mutex has no value to wait for")
        check_cancel(cancel)
        seen = []

        def look():
            x = self.load()
            if not ok(x):
                return False
            seen.append(x)
            return True

        if r.has_lock and not r.is_table:
            done = mutex_of(self._mapping, r).wait_for(look, timeout, cancel)
        else:
            end, closing = deadline(timeout), self._mapping.lease.closing
            done = look()
            while not done and not (cancel is not None and cancel.is_set()):
                left = _POLL if end is None else min(_POLL, (end - futex.monotonic()) / 1e9)
                if left <= 0:
                    break
                closing.check(self._mapping.path)
                time.sleep(left)
                done = look()
        if not done:
            raise given_up(f"value {self.name!r}", timeout, cancel)
        return seen[0]

    # The bytes.

    def _whole(self):
        """Return the layout of all elements."""
        r = self._record
        return layouts.array_of(r.layout, r.count) if r.count > 0 and r.kind not in CELLS else r.layout

    def _shown(self):
        """Return the layout and the bytes of what is shown, or None instead of the bytes of an empty ring."""
        r = self._record
        if self.size > texts.MAX_SHOWN:
            raise TooLongError(f"value {self.name!r}: {self.size} bytes are more than {texts.MAX_SHOWN}")
        if r.kind == RING:
            ring = self._segment[self.name]
            kept = ring._kept_bytes()
            return layouts.array_of(r.layout, len(kept) or 1), b"".join(kept) or None
        if r.kind == HISTOGRAM:
            d, n = self._segment[self.name].load(), r.count
            order = layouts.ORDER
            layout = layouts.parse(f"T{{({n}){order}d:bounds:({n + 1}){order}Q:counts:{order}d:sum:}}")
            return layout, struct.pack(f"={n}d{n + 1}Qd", *d.bounds, *d.counts, d.sum)
        if r.kind in CELLS:
            return r.layout, struct.pack("=" + r.layout.code, self._segment[self.name].load())
        return self._whole(), self._bytes()

    def _bytes(self):
        """Return a copy of the value's bytes, each number of which is whole."""
        r, m = self._record, self._mapping
        if r.access == PUBLISHED:
            n = self.size if not r.is_table else r.layout.size
            parts = range(r.count) if r.is_table else [None]
            return b"".join(Slots(m, r, i).read(lambda slot: bytes(slot[:n])) for i in parts)
        words = m.at(ctypes.c_uint64 * (-(-self.size // 8)), r.elements)
        return struct.pack(f"={len(words)}Q", *words)[: self.size]

    def _part_size(self):
        """Return the bytes of a part of a value without cells. Raises ArgumentError, TooLongError."""
        r = self._record
        if r.layout is None:
            raise ArgumentError(f"value {self.name!r}: a {self.kind} has no bytes")
        size = r.layout.size if r.is_table or r.kind == RING else self.size
        if size > texts.MAX_SHOWN:
            raise TooLongError(f"value {self.name!r}: {size} bytes are more than {texts.MAX_SHOWN}")
        return size

    def _store_cells(self, b):
        """Make the sums of a value with cells what the bytes say."""
        r, value = self._record, self._segment[self.name]
        if r.kind == GAUGE:
            value.set(*struct.unpack("=" + r.layout.code, b))
        elif r.kind == COUNTER:
            value._cells.mine()  # raises what add would raise
            value._cells.correct(0, *struct.unpack("=" + r.layout.code, b))
        else:
            n = r.count
            numbers = struct.unpack(f"={n}d{n + 1}Qd", b)
            if list(numbers[:n]) != value.bounds:
                raise ArgumentError(f"value {self.name!r}: the histogram has the bounds {value.bounds}, not {list(numbers[:n])}")
            value._cells.mine()
            value._cells.correct(0, numbers[-1])
            for i, count in enumerate(numbers[n:-1]):
                value._cells.correct(BUCKETS_OFFSET // 8 + i, count)

    def _changeable(self):
        r = self._record
        if self._mapping.read_only:
            raise ReadOnlyError(f"value {self.name!r}: {self._mapping.path} is mapped read-only: open the segment without readonly")
        if r.layout is None or r.kind == RING or r.kind in CELLS:
            raise ArgumentError(f"value {self.name!r}: a {self.kind} cannot be set from a text")
        if self.size > texts.MAX_SHOWN:
            raise TooLongError(f"value {self.name!r}: {self.size} bytes are more than {texts.MAX_SHOWN}")

    def _store(self, patches):
        """Make a change as the value's own methods do."""
        r, m = self._record, self._mapping
        if r.is_table:
            self._store_rows(patches)
        elif r.has_lock:
            mutex_of(m, r).change(self._put, patches)
        else:
            self._put(patches)

    def _put(self, patches):
        """Make a change. The caller holds the lock if there is one."""
        if self._record.access == PUBLISHED:
            self._publish(Slots(self._mapping, self._record), patches, self.size)
        else:
            self._put_numbers(patches)

    def _publish(self, slots, patches, size):
        new = (ctypes.c_ubyte * size).from_buffer_copy(slots.committed())
        for at, b in patches:
            new[at : at + len(b)] = b
        if bytes(new) == bytes(slots.committed()[:size]):
            return
        if self._record.grows:
            slots.extend(size)
        slots.publish(ctypes.addressof(new), size)

    def _rows(self, patches):
        """Return the changes in each row of a table, by its index. Their offsets are in the row."""
        size, rows = self._record.layout.size, {}
        for at, b in patches:
            while b:
                n = min(len(b), size - at % size)
                rows.setdefault(at // size, []).append((at % size, b[:n]))
                at, b = at + n, b[n:]
        return rows

    def _store_rows(self, patches):
        size, rows = self._record.layout.size, self._rows(patches)
        for i in sorted(rows):
            slots = Slots(self._mapping, self._record, i)
            slots.mutex.change(self._publish, slots, rows[i], size)

    def _atomic(self, at):
        t = ctypes.c_uint32 if self._record.layout.size == 4 else ctypes.c_uint64
        return Atomic(self._mapping, self.name, t, self._record.elements + at)

    def _put_numbers(self, patches):
        """Write each number of up to 8 bytes by one store, and copy what is inside a struct."""
        r, m = self._record, self._mapping
        elem = r.layout.elem or r.layout
        n = elem.size
        for at, b in patches:
            if r.access == ATOMIC:
                for i in range(0, len(b), n):
                    self._atomic(at + i).store(*struct.unpack("=I" if n == 4 else "=Q", b[i : i + n]))
            elif elem.code and n in (2, 4, 8):
                t, code = {2: (ctypes.c_uint16, "H"), 4: (ctypes.c_uint32, "I"), 8: (ctypes.c_uint64, "Q")}[n]
                m.at(t * (len(b) // n), r.elements + at)[:] = struct.unpack(f"={len(b) // n}{code}", b)
            else:
                ctypes.memmove(m.address(r.elements + at, len(b)), b, len(b))


def entry_of(segment, mapping, r, kind):
    """Return the Entry of a record. kind is the name of the method that attaches to the value."""
    e = Entry(
        r.name, r.layout.format if r.layout else "", r.count, ACCESS_NAMES[r.access],
        r.unit, r.help, r.pid, r.program, r.elements, r.bytes, r.hint, kind,
    )  # fmt: skip
    e._segment, e._mapping, e._record = segment, mapping, r
    return e
