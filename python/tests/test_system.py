"""Tests what the package asks of the system: threads, system calls, address space, and what a core dump has."""

import ctypes
import errno
import fcntl
import os
import resource
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
from unittest import mock

import shm
from shm import ask, file

from .support import Case

SOMEBODY = 12345  # a user who has no other processes


def become_somebody():
    os.setgroups([])
    os.setgid(SOMEBODY)
    os.setuid(SOMEBODY)


needs_root = unittest.skipIf(os.geteuid(), "only root can become a user with fewer rights")


class Threads(Case):
    """The thread that answers read-only waiters only saves time, so nothing fails without it."""

    def works(self):
        """Make values of two kinds, and lock them; return 0."""
        seg = shm.open(self.name, create=True, max_size=1 << 20)
        v, m = seg.value("n", "q"), seg.mutex("m")
        v.add(1)
        with m:
            self.assertFalse(m.abandoned())
        self.assertEqual(v.value, 1)
        return 0

    def test_refused(self):
        def body():
            with mock.patch.object(ask, "start_new_thread", side_effect=RuntimeError("can't start new thread")) as start:
                self.works()
            self.assertEqual((start.called, ask._listener.ended), (shm.futex.can_wait_any(), None))
            shm.anonymous(max_size=1 << 20).value("n", "q").add(1)  # tries again
            self.assertEqual(ask._listener.ended is not None, shm.futex.can_wait_any())

        self.assertEqual(self.reap(self.child(body)), 0)

    def test_subinterpreter(self):
        """A subinterpreter that has used a lock ends, and so does the process."""
        inside = "import shm; s = shm.anonymous(max_size=1 << 20); v = s.value('v', 'q'); v.add(1); assert v.value == 1"
        for name in ("_interpreters", "_xxsubinterpreters"):
            program = f"import {name} as i\ntry: x = i.create(isolated=False)\nexcept TypeError: x = i.create()\nr = i.run_string(x, {inside!r})\nassert r is None, r\ni.destroy(x)\nprint('destroyed')"
            ran = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if "_ctypes does not support loading in subinterpreters" in ran.stdout:
                self.skipTest("ctypes cannot be loaded in subinterpreters")
            if "ModuleNotFoundError" not in ran.stdout or ran.returncode == 0:
                self.assertEqual((ran.returncode, ran.stdout), (0, "destroyed\n"))
                break

    @needs_root
    def test_limit_of_the_user(self):
        def body():
            become_somebody()
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
            self.assertRaises(RuntimeError, threading.Thread(target=print).start)
            self.works()

        self.assertEqual(self.reap(self.child(body)), 0)

    def test_at_exit(self):
        program = (
            "import atexit, sys, shm\n"
            "@atexit.register\n"
            "def last():\n"
            "    v = shm.open(sys.argv[1], create=True, max_size=1 << 20).value('n', 'q')\n"
            "    print(v.add(1))\n"
        )
        done = subprocess.run([sys.executable, "-c", program, self.name], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "1\n", ""))


class Naming(Case):
    """What fails after a segment has its name is no error: the segment is there."""

    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.path = os.path.join(directory.name, "segment")

    def made(self, tmpfile):
        """Make a segment on what counts as a disk; return 0."""
        real = os.open

        def open_(path, flags, *rest, **named):
            if not tmpfile and flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "refused")
            return real(path, flags, *rest, **named)

        with mock.patch.object(file, "in_memory", lambda fd: False), mock.patch.object(os, "open", open_):
            seg = shm.open(self.path, exclusive=True, max_size=1 << 20)
        self.assertEqual(seg.value("n", "q", 4).add(1), 5)
        return 0

    @needs_root
    def test_directory_that_cannot_be_read(self):
        os.chown(self.directory, SOMEBODY, SOMEBODY)
        os.chmod(self.directory, 0o300)
        for tmpfile in (True, False):

            def body(tmpfile=tmpfile):
                become_somebody()
                self.assertRaises(PermissionError, os.listdir, self.directory)
                return self.made(tmpfile)

            self.assertEqual(self.reap(self.child(body)), 0, tmpfile)
            self.assertEqual(os.listdir(self.directory), ["segment"])
            os.unlink(self.path)

    def test_directory_that_cannot_be_synchronized(self):
        real = os.fsync

        def fsync(fd):
            if os.path.isdir(f"/proc/self/fd/{fd}"):
                raise OSError(errno.EIO, "refused")
            real(fd)

        for tmpfile in (True, False):
            with mock.patch.object(os, "fsync", fsync):
                self.made(tmpfile)
            self.assertEqual(os.listdir(self.directory), ["segment"])
            os.unlink(self.path)

    def test_temporary_name_that_cannot_be_removed(self):
        """It has two names then. The next process that opens the segment removes the other one."""
        unlink = mock.Mock(side_effect=OSError(errno.EIO, "refused"))
        with mock.patch.object(file, "_libc", mock.Mock(spec=["fstatfs"], fstatfs=file._libc.fstatfs)):
            with mock.patch.object(os, "unlink", unlink):
                self.made(False)
        self.assertTrue(unlink.called)
        self.assertEqual(len(os.listdir(self.directory)), 2)
        with shm.open(self.path) as seg:
            self.assertEqual(seg["n"].value, 5)
        self.assertEqual(os.listdir(self.directory), ["segment"])


class Modes(Case):
    def test_no_fchmod(self):
        """A mode that the umask lets through is had without it, and another one is an error that names both."""
        old = os.umask(0o022)
        try:
            with mock.patch.object(os, "fchmod", side_effect=PermissionError(errno.EPERM, "refused")):
                shm.open(self.name, exclusive=True, mode=0o600, max_size=1 << 20).close()
                shm.remove(self.name)
                with self.assertRaisesRegex(PermissionError, "has mode 0o644, .* mode 0o666 .*: pass mode=0o644"):
                    shm.open(self.name, exclusive=True, mode=0o666, max_size=1 << 20)
                self.assertRaises(FileNotFoundError, shm.open, self.name)
                shm.anonymous(max_size=1 << 20).value("n", "q").add(1)
        finally:
            os.umask(old)

    def test_filesystem_without_modes(self):
        with mock.patch.object(os, "fchmod"):
            with self.assertRaises(OSError) as refused:
                shm.open(self.name, exclusive=True, mode=0o777, max_size=1 << 20)
        self.assertEqual(refused.exception.errno, errno.EOPNOTSUPP)
        self.assertRaises(FileNotFoundError, shm.open, self.name)


class CopyOnWrite(Case):
    """It is off for new segments on btrfs: the place that was reserved for a page stays its own."""

    def requests(self, filesystem, flags, failure=None):
        """Make a segment; return what it asked of the filesystem of that type."""
        asked = []

        def ioctl(fd, request, argument):
            asked.append((request, struct.unpack("i4x", argument)[0]))
            if failure:
                raise failure
            return struct.pack("i4x", flags)

        with mock.patch.object(file, "_filesystem", lambda fd: filesystem), mock.patch.object(fcntl, "ioctl", ioctl):
            with tempfile.TemporaryDirectory() as directory:
                shm.open(os.path.join(directory, "segment"), exclusive=True, max_size=1 << 20).close()
        return asked

    def test_switched_off(self):
        compressed, nocow = 0x4, 0x00800000
        for filesystem in (0x9123683E, 0x794C7630):  # btrfs, overlayfs
            switch = [(file._GETFLAGS, 0), (file._SETFLAGS, compressed | nocow)]
            self.assertEqual(self.requests(filesystem, compressed), switch)
            self.assertEqual(self.requests(filesystem, nocow), switch[:1])
            self.assertEqual(self.requests(filesystem, 0, OSError(errno.ENOTTY, "refused")), switch[:1])
        self.assertEqual(self.requests(0xEF53, 0), [])  # ext4

    def test_numbers(self):
        """A filesystem with flags answers the request of this machine."""
        with tempfile.TemporaryFile() as f:
            try:
                (flags,) = struct.unpack("i4x", fcntl.ioctl(f, file._GETFLAGS, bytes(8)))
                fcntl.ioctl(f, file._SETFLAGS, struct.pack("i4x", flags))
            except OSError as e:
                self.skipTest(f"the filesystem of temporary files has no flags: {e}")


class Dumps(Case):
    """A core dump has what is in the file, and not the addresses that are reserved for more."""

    @staticmethod
    def dumped(seg):
        """Return how many bytes of a segment's mapping a core dump has, and how many it has not."""
        base = ctypes.addressof(seg._attached().memory)
        size, bytes_ = len(seg._attached().memory), {True: 0, False: 0}
        inside = False
        with open("/proc/self/smaps") as f:
            for line in f:
                first = line.split()[0]
                if "-" in first and not first.endswith(":"):
                    start, end = (int(n, 16) for n in first.split("-"))
                    inside = base <= start < base + size
                elif inside and first == "VmFlags:":
                    bytes_["dd" not in line.split()] += end - start
        return bytes_[True], bytes_[False]

    def check(self, seg):
        size = os.fstat(seg._attached().fd).st_size
        self.assertEqual(self.dumped(seg), (size, (256 << 20) - size))
        return size

    def test_grows(self):
        for make in (lambda: shm.anonymous(max_size=256 << 20), lambda: self.open(create=True, max_size=256 << 20)):
            seg = make()
            before = self.check(seg)
            seg.raw_array("large", "q", 1 << 18)[0] = 1
            self.assertGreater(self.check(seg), before + (2 << 20))
            seg.close()

    def test_grown_by_another(self):
        seg = self.open(create=True, max_size=256 << 20)
        other = shm.open(self.name, readonly=True)
        before = self.check(other)
        seg.raw_array("large", "q", 1 << 18)
        other["large"]
        self.assertGreater(self.check(other), before)
        other.close()

    def test_in_a_child(self):
        seg = shm.anonymous(max_size=256 << 20)

        def body():
            seg.raw_array("large", "q", 1 << 18)
            self.check(seg)

        self.assertEqual(self.reap(self.child(body)), 0)
        seg["large"]
        self.check(seg)
        seg.close()


class AddressSpace(Case):
    def test_too_little(self):
        """The error says that this process lacks it, and not that the segment is too small."""

        def body():
            with open("/proc/self/statm") as f:
                mapped = int(f.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (mapped + (1 << 30), resource.RLIM_INFINITY))
            seg = shm.open(self.name, create=True, max_size=4 << 30)
            self.assertLess(seg._attached().size, 4 << 30)
            with self.assertRaisesRegex(shm.FullError, f"only {seg._attached().size} of {4 << 30} .*address space"):
                seg.raw_array("a", "b", 1 << 30)
            with self.assertRaisesRegex(shm.FullError, f"max_size is {4 << 30}: make the segment anew"):
                seg.raw_array("a", "b", 1 << 32)

        self.assertEqual(self.reap(self.child(body)), 0)


if __name__ == "__main__":
    unittest.main()
