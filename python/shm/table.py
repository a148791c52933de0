"""Tables: rows of one type, each of which changes as a whole."""

from types import GenericAlias

from .ctype import type_of
from .locked import pickled
from .published import Slots, Struct
from .record import index


class Table:
    """A fixed number of rows of one type. Each row is a Struct with a lock of its own.

    `t[i]` is row i, and `t[i].load()` a copy of it. A table has one name and one type. As
    with a Struct, programs whose type appends fields can attach as well, if they fit.
    """

    __slots__ = ("_mapping", "_record", "_type", "_end", "_known", "__weakref__")

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, mapping, record, type, end):
        self._mapping, self._record, self._type, self._end = mapping, record, type, end
        self._known = {}  # number of a row to its Struct

    @property
    def name(self):
        """The name of the table."""
        return self._record.name

    def __reduce__(self):
        made_here = self._type.__module__ == type_of.__module__  # see Struct.__reduce__
        return pickled(self._mapping, self.name, None if made_here else self._type)

    def __len__(self):
        return self._record.count

    def __getitem__(self, i):
        i = index(i, self._record.count, self.name)
        row = self._known.get(i)
        if row is None:
            slots = Slots(self._mapping, self._record, i)
            row = self._known.setdefault(i, Struct(slots, self._type, self._end))
        return row

    def __iter__(self):
        """Yield the rows, each a Struct."""
        return (self[i] for i in range(len(self)))

    def load(self):
        """Return a list of copies of all rows. Each is whole; they need not be of one moment."""
        return [row.load() for row in self]

    def __repr__(self):
        return f"<Table {self.name!r} of {len(self)} rows>"
