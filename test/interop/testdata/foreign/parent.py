"""Makes values of every kind in a SharedMemory block or in multiprocessing's heap.

    parent.py shared NAME
    parent.py heap

It prints where the values are, and checks what a Go program stores there. For each
value there are three contents: the first one, the one that Go stores, and the one that
Python stores after that. The two programs exchange lines.
"""

import ctypes
import os
import sys
from multiprocessing import shared_memory
from multiprocessing.sharedctypes import RawArray, RawValue, typecode_to_type


class Point(ctypes.Structure):
    _fields_ = [
        ("x", ctypes.c_double),
        ("b", ctypes.c_int8),
        ("n", ctypes.c_int32 * 3),
        ("ok", ctypes.c_bool),
        ("tag", ctypes.c_char * 5),
    ]


NUMBERS = {
    "c": (b"x", b"y", b"z"),
    "u": ("ü", "日", "x"),
    "b": (-128, 127, -1),
    "B": (255, 0, 7),
    "h": (-(2**15), 2**15 - 1, -2),
    "H": (2**16 - 1, 0, 8),
    "i": (-(2**31), 2**31 - 1, -3),
    "I": (2**32 - 1, 0, 9),
    "l": (-(2**63), 2**63 - 1, -4),
    "L": (2**64 - 1, 0, 10),
    "q": (-(2**63), 2**63 - 1, -5),
    "Q": (2**64 - 1, 0, 11),
    "f": (0.5, -1.25, 1e30),
    "d": (0.1, -1e300, float("inf")),
}
ARRAY = ([1.5, -2.5, 0.0], [0.25, -2.5, 1e9], [3.0, 2.0, 1.0])
CHARS = (b"hello", b"bye", b"exactly twelve"[:12])
STRUCT = ((1.5, -7, (1, 2, 3), True, b"abc"), (-0.5, 100, (1, -2, 3), False, b"12345"), (0.0, 0, (0, 0, 0), True, b""))


def store(obj, value):
    if isinstance(obj, Point):
        obj.x, obj.b, obj.n[:], obj.ok, obj.tag = value
    elif isinstance(value, list):
        obj[:] = value
    else:
        obj.value = value


def load(obj):
    if isinstance(obj, Point):
        return obj.x, obj.b, tuple(obj.n), obj.ok, obj.tag
    return obj.value if hasattr(obj, "value") else list(obj)


def expect(want, values, objects):
    for name, obj in objects.items():
        if load(obj) != values[name][want]:
            return "%s is %r, not %r" % (name, load(obj), values[name][want])
    return "ok"


def main():
    values = dict(NUMBERS, array=ARRAY, chars=CHARS, struct=STRUCT)
    if set(NUMBERS) != set(typecode_to_type):
        sys.exit("multiprocessing has other typecodes than this program: %s" % sorted(set(NUMBERS) ^ set(typecode_to_type)))
    types = dict(typecode_to_type, array=ctypes.c_double * 3, chars=ctypes.c_char * 12, struct=Point)
    objects, offsets = {}, {}
    if sys.argv[1] == "shared":
        block = shared_memory.SharedMemory(sys.argv[2], create=True, size=4096)
        for i, (name, type_) in enumerate(types.items()):
            offsets[name] = 64 * i + 8
            objects[name] = type_.from_buffer(block.buf, offsets[name])
    else:
        for name, type_ in types.items():
            if name == "array":
                objects[name] = RawArray("d", 3)
            elif name == "chars":
                objects[name] = RawArray("c", 12)
            else:
                objects[name] = RawValue(name if name in NUMBERS else type_)
            (arena, offsets[name], stop), size = objects[name]._wrapper._state
            assert size == ctypes.sizeof(type_) <= stop - offsets[name]
        print("/proc/%d/fd/%d" % (os.getpid(), arena.fd))
    for name, obj in objects.items():
        store(obj, values[name][0])
    for name, offset in offsets.items():
        print(name, offset)
    print("ready", flush=True)
    for line in sys.stdin:
        command = line.strip()
        if command == "check":  # compare the values with what Go has stored
            answer = expect(1, values, objects)
            for name, obj in objects.items():
                store(obj, values[name][2])
        elif command == "reattach":
            shared_memory.SharedMemory(sys.argv[2]).close()
            answer = "ok"
        elif command == "reuse":  # free a number, and make another in its place
            number = RawValue("q", 5)
            print(number._wrapper._state[0][1], flush=True)
            sys.stdin.readline()
            del number
            number = RawValue("q", 6)
            answer = number._wrapper._state[0][1]
        print(answer, flush=True)
    if sys.argv[1] == "shared":
        objects.clear()
        del obj
        block.close()
        block.unlink()


main()
