"""An assignment to a slice fails in the middle."""

import multiprocessing

a = multiprocessing.Array("i", 3)
try:
    a[0:3] = [1, 2, "three"]
except TypeError:
    print(f"{a[:]}: two of three written")
