"""What can go wrong, beside OSError from the system itself.

Opening a name that is missing or taken raises FileNotFoundError or
FileExistsError, a full filesystem OSError with ENOSPC, and a segment's lookup
of a name KeyError, as such things do elsewhere in Python.
"""


class Error(Exception):
    """The base of this package's own errors."""


class FormatError(Error, ValueError):
    """The memory, or a format in it, is not what this library writes."""


class VersionError(Error, ValueError):
    """A segment, but of another version or another kind of machine."""


class InsecureError(Error, PermissionError):
    """The file's owner, mode or type lets others tamper with it."""


class FullError(Error, OSError):
    """No room is left below the segment's maximum size, or no id for a lock."""


class ClosedError(Error, ValueError):
    """The operation came after close."""


class ReadOnlyError(Error, TypeError):
    """The segment is mapped for reading, and the operation has to write."""


class TooLongError(Error, ValueError):
    """A string does not fit the memory it is for. Nothing was changed."""


class LayoutError(Error, TypeError):
    """A value of this name exists as something else than what was asked for."""


class LockError(Error, OSError):
    """This process can take no lock here: the message says why.

    Raw values, and loads of all others, work nevertheless.
    """
