"""An assignment to a slice of an Array fails after two elements."""

import multiprocessing

a = multiprocessing.Array("i", 3)
try:
    a[0:3] = [1, 2, "three"]
except TypeError:
    print(f"{a[:]}: two of three written")
