"""Does as formats.c does."""

import sys

from shm import layout

for line in sys.stdin.buffer:
    try:
        text = bytes.fromhex(line.decode()).decode()  # strict, as record.decode reads the format of a value
        found = layout.parse(text)
        ok = found.format == text
    except ValueError:
        ok = False
    print(*((1, found.end, found.size) if ok else (0, 0, 0)))
