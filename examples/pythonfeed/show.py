"""Show the newest frame with numpy. feed.py writes the frames, and the Go program reads them as well."""

import argparse

import numpy
import shm

SIZE = 800  # samples of a frame, the same as in feed.py


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="feed", help="name of the segment")
    parser.add_argument("--frames", type=int, default=3, help="how many frames to show")
    args = parser.parse_args()
    with shm.open(args.name) as seg:
        header, samples = seg["header"], seg["samples"]
        # This is not a copy: the array is the memory that the feed writes.
        ring = numpy.frombuffer(samples.get_obj(), dtype=numpy.float64).reshape(-1, SIZE)
        shown = header.value.frames
        for _ in range(args.frames):
            header.wait_for(lambda h: h.frames > shown)
            with samples.get_lock():  # the feed waits while this program holds the lock
                h = header.value
                shown = h.frames
                frame = ring[(shown - 1) % len(ring)]
                rms, peak = numpy.sqrt(numpy.mean(frame**2)), numpy.abs(frame).max()
                hertz = numpy.abs(numpy.fft.rfft(frame)).argmax() * h.rate / SIZE
            print(f"frame {shown - 1}: rms {rms:.3f}, peak {peak:.3f}, {hertz:.0f} Hz", flush=True)


if __name__ == "__main__":
    main()
