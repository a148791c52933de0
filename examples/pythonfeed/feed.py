"""Write frames of samples to shared memory: a tone whose loudness changes from frame to frame."""

import argparse
import ctypes
import math
import time

import shm

SIZE = 800  # samples of a frame
SLOTS = 8  # frames that the array has; the oldest one is overwritten


class Header(ctypes.Structure):
    """The number of frames and their rate. It changes under the lock of the samples, so that both agree."""

    _fields_ = [("frames", ctypes.c_int64), ("rate", ctypes.c_double)]


def tone(n, rate):
    """Return frame n, a tone of 440 Hz whose loudness depends on n."""
    loud = 0.1 * (1 + n % 10)
    return [loud * math.sin(2 * math.pi * 440 * i / rate) for i in range(n * SIZE, (n + 1) * SIZE)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="feed", help="name of the segment")
    parser.add_argument("--rate", type=float, default=8000, help="samples a second")
    args = parser.parse_args()
    with shm.open(args.name, create=True) as seg:
        header = seg.struct("header", Header)
        samples = seg.array("samples", "d", SLOTS * SIZE)
        n = header.value.frames  # continue after the last frame of an earlier feed, which may have been killed
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
