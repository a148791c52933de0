"""Says of pairs of formats whether the first extends the second, and where both end, as the Python package sees it."""

import sys

from shm.layout import parse

for line in sys.stdin:
    a, b = map(parse, line.split())
    print(int(a.extends(b)), a.end, b.end)
