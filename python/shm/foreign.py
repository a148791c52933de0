"""Memory that another program laid out: its numbers, arrays and structs at offsets."""

import ctypes
import operator
import os

from . import ctype, file, memory
from .ctype import layout_of
from .errors import ArgumentError, ArgumentTypeError, ClosedError


class Foreign:
    """A shared file that is no segment of this package. It has no names, so its values are found by their offsets.

    The objects that the methods return are the memory itself, as raw values are. They work on
    after close.
    """

    _fd = None  # also if a caller gives the constructor wrong arguments

    def __init__(self, name, path, fd, read_only):
        self.name, self._path, self._read_only = name, path, read_only
        size = os.fstat(fd).st_size
        if size == 0:
            raise ArgumentError(f"{path}: the file is empty, so nothing can be in it")
        try:
            self._memory = memory.map_shared(fd, size, size, read_only)
        except OSError as e:
            raise OSError(e.errno, e.strerror, path) from None
        self._fd = fd

    def close(self):
        """End this attachment. A second call does nothing."""
        fd, self._fd, self._memory = self._fd, None, None
        if fd is not None:
            os.close(fd)

    def __del__(self):
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"<Foreign {self.name!r}{'' if self._fd is not None else ', closed'}>"

    def __reduce__(self):
        """Refuse to be copied and pickled, as two objects would close one descriptor."""
        raise ArgumentTypeError(f"foreign segment {self.name!r} cannot be copied or pickled: give its name to open_foreign again")

    @property
    def size(self):
        """The bytes that are mapped."""
        return len(self._attached())

    def _attached(self):
        if self._memory is None:
            raise ClosedError(f"foreign segment {self.name!r} is closed: open it again")
        return self._memory

    def raw_value(self, type, offset=0):
        """Return the number, struct or array of that type at an offset in bytes.

        Raises ArgumentError if it is not inside the file, or not aligned.
        """
        return self._at(ctype.resolve(type), layout_of(type), offset, None)

    def raw_array(self, type, size, offset=0):
        """Return the array of so many elements of that type at an offset in bytes."""
        return self._at(ctype.resolve(type), layout_of(type), offset, operator.index(size))

    def char_array(self, size, offset=0):
        """Return the C string of so many bytes at an offset."""
        return self.raw_array(ctypes.c_char, size, offset)

    def _at(self, t, layout, offset, count):
        mapped, offset = self._attached(), operator.index(offset)
        need = layout.size * (1 if count is None else count)
        # The file may have become shorter since it was mapped.
        end = min(os.fstat(self._fd).st_size, len(mapped))
        if count is not None and count < 1 or offset < 0 or offset + need > end:
            raise ArgumentError(f"{self._path}: {need} bytes at byte {offset} are not inside its {end}")
        if offset % layout.align:
            raise ArgumentError(f"{self._path}: byte {offset} is not aligned to {layout.align}, as {layout.format} needs")
        if self._read_only:
            t = ctype.type_of(layout, True)
            if count is None and layout.code:
                t = ctype.read_only_number(t)
        if count is not None:
            t = ctype.array_type(t, count, self._read_only)
        return t.from_buffer(mapped, offset)


def open_foreign(name, *, readonly=False, mode=0o600):
    """Attach to a shared file that another program laid out; return the Foreign.

    name and mode are as with open, and so are the exceptions.
    """
    name = file.check_name(name)
    path = file.path_of(name)
    with file.naming_missing(path):
        fd = file.beyond_stdio(file.open_existing(path, readonly, mode))
    try:
        return Foreign(name, path, fd, readonly)
    except BaseException:
        os.close(fd)
        raise
