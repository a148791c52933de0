"""The package's own exceptions.

Each of them is an Error, and also the exception of Python that other modules would
raise: an OSError, a ValueError, a TypeError, a KeyError, a TimeoutError or a
RuntimeError. The system's other errors are raised as OSError, such as ENOSPC if the
filesystem is full.
"""


class Error(Exception):
    """The base class of the package's own exceptions."""


class FormatError(Error, ValueError):
    """The file is not a segment, or it is corrupt; or a type's format cannot be parsed."""


class VersionError(Error, ValueError):
    """The file is a segment of another format version, or of another kind of machine or system."""


class InsecureError(Error, PermissionError):
    """The file's owner, mode or type lets other users tamper with it."""


class NotFoundError(Error, FileNotFoundError):
    """There is no segment of this name, or the name leads to another file by now."""


class ExistsError(Error, FileExistsError):
    """There is a segment of this name already, and the call was to make a new one."""


class NoValueError(NotFoundError, KeyError):
    """The segment has no value of this name."""

    def __str__(self):
        return str(self.args[0]) if self.args else ""


class FullError(Error, OSError):
    """The segment has no room below its maximum size, or no id is left for a lock owner."""


class ClosedError(Error, ValueError):
    """The segment was closed before the call."""


class ReadOnlyError(Error, TypeError):
    """The segment is mapped read-only, and the call has to write to it."""


class TooLongError(Error, ValueError):
    """A string does not fit into its memory. Nothing was changed."""


class LayoutError(Error, TypeError):
    """A value of this name exists, but its type, access or length is not the one asked for."""


class ArgumentTypeError(Error, TypeError):
    """An argument has the wrong type, or is a type that processes cannot share. Nothing was changed."""


class ArgumentError(Error, ValueError):
    """An argument has the right type and a wrong value. Nothing was changed."""


class LockError(Error, OSError):
    """This process cannot take a lock. The message says why.

    Raw values work nevertheless, and so do loads of all other values.
    """


class UsageError(Error, RuntimeError):
    """A lock is released by who does not hold it, or a change begins inside another change of the same value."""


class WaitTimeoutError(Error, TimeoutError):
    """What was waited for has not happened in time."""


class CancelledError(Error):
    """The wait was given up, because its Cancel was set."""
