"""Look at segments, and change values: python -m shm

ls                      the segments in /dev/shm
ls SEGMENT              the values of a segment
get SEGMENT NAME...     values as text
set SEGMENT NAME TEXT   set a value from a text, such as get prints, or JSON
watch SEGMENT [NAME]    a value, or all, again and again as they change
"""

import argparse
import os
import sys
import time

import shm

from .text import quoted


def plain(text):
    """Return a text that others have written, without what a terminal would interpret."""
    return text if text.isprintable() else quoted(text.encode(errors="surrogateescape"))


def show_segments():
    """Print each segment in /dev/shm: its name, its size, its values, and whether a process uses it."""
    for name in sorted(os.listdir(shm.path("x")[:-1])):
        try:
            with shm.open(name, readonly=True, mode=0o777) as seg:
                used = "in use" if seg.leased() else "no lease"
                print(f"{plain(name)}  {seg.size} bytes  {len(seg)} values  {used}")
        except (shm.Error, OSError):
            continue  # no segment, or not for this user


def show_values(seg):
    """Print each value in a line: its name, its kind with the format, its text, and what it means."""
    for e in seg.entries():
        of = f" {plain(e.format)}" if e.format else ""
        length = f" x {e.length}" if e.length else ""
        unit = f" {plain(e.unit)}" if e.unit else ""
        help = f"  # {plain(e.help)}" if e.help else ""
        text = e.text()
        text = text if len(text) <= 200 else text[:197] + "..."
        print(f"{plain(e.name)}  {e.kind}{of}{length}  {text}{unit}{help}")


def watch(seg, name, times):
    """Print a value, or all, whenever its text changes."""
    shown, left = {}, times
    while True:
        for e in [seg.entry(name)] if name else seg.entries():
            text = e.text()
            if shown.get(e.name) != text:
                shown[e.name] = text
                print(f"{plain(e.name)}  {text}", flush=True)
                left -= 1
                if left == 0:
                    return
        if name and seg.entry(name).layout is not None:
            # It sleeps until the next change, if the value announces it.
            e = seg.entry(name)
            try:
                e.wait_for(lambda _: e.text() != shown[name], timeout=1)
            except shm.WaitTimeoutError:
                pass
        else:
            time.sleep(0.1)


def octal(text):
    """Return the mode that an argument says."""
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise argparse.ArgumentTypeError(f"{text!r} is not a mode: use three octal digits, such as 660")
    return mode


def parser():
    p = argparse.ArgumentParser(prog="python -m shm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--version", action="version", version=f"shm {shm.__version__}")
    verbs = p.add_subparsers(dest="verb", required=True, metavar="VERB")
    ls = verbs.add_parser("ls", help="list segments, or the values of one")
    ls.add_argument("segment", nargs="?")
    get = verbs.add_parser("get", help="print values")
    get.add_argument("segment")
    get.add_argument("names", nargs="+", metavar="name")
    put = verbs.add_parser("set", help="set a value from a text")
    put.add_argument("segment")
    put.add_argument("name")
    put.add_argument("text")
    look = verbs.add_parser("watch", help="print values as they change")
    look.add_argument("segment")
    look.add_argument("name", nargs="?")
    look.add_argument("--times", type=int, default=0, help="end after so many lines; 0: never")
    for verb in (ls, get, put, look):
        verb.add_argument("--mode", type=octal, default=0o600, help="which users may write to the segment, as in shm.open, such as 660")
    return p


def main(args=None):
    """Do what the arguments say; return the exit code."""
    args = parser().parse_args(args)
    try:
        if args.verb == "ls" and args.segment is None:
            show_segments()
            sys.stdout.flush()
            return 0
        with shm.open(args.segment, readonly=args.verb != "set", mode=args.mode) as seg:
            if args.verb == "ls":
                show_values(seg)
            elif args.verb == "get":
                for text in [seg.entry(name).text() for name in args.names]:
                    print(text)
            elif args.verb == "set":
                seg.entry(args.name).parse(args.text)
            else:
                watch(seg, args.name, args.times)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # who reads the output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (shm.Error, OSError) as e:
        print(f"shm: {plain(str(e))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack characters of names and texts
    sys.exit(main())
