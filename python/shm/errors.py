"""The package's own exceptions.

The system's errors are raised as OSError. The package also raises Python's own
exceptions where other modules do: FileNotFoundError if a name does not exist,
FileExistsError if a name is taken, OSError with ENOSPC if the filesystem is full,
and KeyError if a segment has no value of a name.
"""


class Error(Exception):
    """The base class of the package's own exceptions."""


class FormatError(Error, ValueError):
    """The file is not a segment, or it is corrupt; or a type's format cannot be parsed."""


class VersionError(Error, ValueError):
    """The file is a segment of another format version or of another kind of machine."""


class InsecureError(Error, PermissionError):
    """The file's owner, mode or type lets other users tamper with it."""


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


class LockError(Error, OSError):
    """This process cannot take a lock. The message says why.

    Raw values work nevertheless, and so do loads of all other values.
    """
