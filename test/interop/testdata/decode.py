"""Lists what files hold, as the Python package reads them. testdata/c/decode.c has the format of the output."""

import sys

import shm
from shm import record


def class_of(error):
    for kind, name in ((shm.FormatError, "format"), (shm.VersionError, "version"), (shm.InsecureError, "insecure"), (shm.FullError, "full")):
        if isinstance(error, kind):
            return name
    if isinstance(error, (OSError, MemoryError)):
        return "system"
    raise error


out = sys.stdout.buffer
for path in sys.stdin:
    try:
        segment = shm.open(path.rstrip("\n"), readonly=True)
    except Exception as error:
        out.write(b"refused: %s\n" % class_of(error).encode())
        out.flush()
        continue
    with segment:
        out.write(b"ok\n")
        try:
            for r in segment._records():
                if r.kind in (record.INDEX, record.GROWTH):
                    continue
                text, size = (r.layout.format, r.layout.size) if r.layout else ("", 0)
                out.write(b"value\t%s\t%d\t%d\t%d\t%s\t%d\n" % (r.name.encode(), r.kind, r.access, r.count, text.encode(), size))
            out.write(b"end\n")
        except Exception as error:
            out.write(b"error: %s\n" % class_of(error).encode())
    out.flush()
