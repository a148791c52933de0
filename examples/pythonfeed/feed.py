"""Write frames of samples, a tone that rises and falls, into shared memory."""

import argparse
import ctypes
import math
import time

import shm

SIZE = 800  # samples of a frame
SLOTS = 8  # frames that are kept; the oldest one is being overwritten


class Header(ctypes.Structure):
    """It changes under the lock of the samples, so that who holds it sees both as one frame left them."""

    _fields_ = [("frames", ctypes.c_int64), ("rate", ctypes.c_double)]


def tone(n, rate):
    """Return frame n: 440 Hz, as loud as n says."""
    loud = 0.1 * (1 + n % 10)
    return [loud * math.sin(2 * math.pi * 440 * i / rate) for i in range(n * SIZE, (n + 1) * SIZE)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="feed", help="of the segment")
    parser.add_argument("--rate", type=float, default=8000, help="samples a second")
    args = parser.parse_args()
    with shm.open(args.name, create=True) as seg:
        header = seg.struct("header", Header)
        samples = seg.array("samples", "d", SLOTS * SIZE)
        n = header.value.frames  # where an earlier feed stopped, or was killed
        print(f"feeding from frame {n} on", flush=True)
        due = time.monotonic()
        while True:
            frame = tone(n, args.rate)
            at = n % SLOTS * SIZE
            with samples.get_lock():
                samples.get_obj()[at : at + SIZE] = frame
                n += 1
                header.value = (n, args.rate)
            due += SIZE / args.rate
            time.sleep(max(0, due - time.monotonic()))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
