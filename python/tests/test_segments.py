"""Tests opening, read-only segments, malformed segments, and systems that lack something."""

import ctypes
import errno
import gc
import json
import math
import os
import pathlib
import random
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
import zlib
from unittest import mock

import shm
from shm import header, layout, record
from shm.cell import OWNER_MASK
from shm.ctype import layout_of, type_of

from .support import Case
from .test_kinds import Point, make

TESTDATA = os.path.join(os.path.dirname(__file__), "..", "..", "testdata")


def refuse_tmpfile(*_):
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


class Opening(Case):
    def test_create_and_attach(self):
        with self.assertRaises(FileNotFoundError):
            shm.open(self.name)
        with self.assertRaises(FileNotFoundError):
            shm.open(self.name, readonly=True)
        with shm.open(self.name, exclusive=True, mode=0o640, max_size=1 << 20) as seg:
            self.assertEqual(os.stat(f"/dev/shm/{self.name}").st_mode & 0o777, 0o640)
            self.assertEqual(seg.size, header.FIRST_ALLOCATION)
            with self.assertRaises(FileExistsError) as taken:
                shm.open(self.name, exclusive=True)
            self.assertEqual((taken.exception.filename, taken.exception.filename2), (f"/dev/shm/{self.name}", None))
            self.assertEqual(list(seg), [])
            seg.raw_value("a", "i", 5, unit="K", help="temperature")
            self.assertIn("a", seg)
            self.assertEqual((seg.entries()[0].unit, seg.entries()[0].help), ("K", "temperature"))
        with self.assertRaises(shm.ClosedError):
            seg["a"]
        shm.remove(self.name)
        with self.assertRaises(FileNotFoundError):
            shm.remove(self.name)

    def test_many_create_at_once(self):
        def body(i):
            seg = shm.open(self.name, create=True, max_size=1 << 20)
            v = seg.value("n", "q", 1000)
            v.add(1)
            return 0

        children = [self.child(lambda: body(i)) for i in range(6)]
        self.assertEqual([self.reap(pid) for pid in children], [0] * 6)
        self.assertEqual(self.open(create=False)["n"].value, 1006)

    def test_grows_until_full(self):
        seg = self.open(create=True, max_size=1 << 20)
        with self.assertRaises(shm.FullError):
            for i in range(100):
                seg.raw_array(f"a{i}", "q", 4096)[4095] = i
        with shm.open(self.name) as again:
            self.assertGreater(len(again), 20)
            self.assertTrue(all(again[f"a{i}"][4095] == i for i in range(len(again))))

    def test_names(self):
        for bad in ("", "a/", "/tmp/../x", "x\0", ".", "n" * 256):
            with self.assertRaises((ValueError, OSError), msg=bad):
                shm.open(bad, create=True)
        for bad in (None, b"plant", 5):
            with self.assertRaisesRegex(shm.ArgumentTypeError, "name is a str or a path, not " + type(bad).__name__):
                shm.open(bad)
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "none", "segment")
            with self.assertRaises(FileNotFoundError) as missing:
                shm.open(path, create=True)
            self.assertEqual(missing.exception.filename, path)

    def test_filesystem_without_shared_memory(self):
        """A filesystem that lets no process map its files, such as some that are programs, is left as it was."""

        def refuse(*_):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

        for tmpfile in (True, False):
            with tempfile.TemporaryDirectory() as d, self.subTest(tmpfile=tmpfile):
                path = os.path.join(d, "segment")
                with mock.patch("shm.file.in_memory", lambda fd: False), mock.patch("shm.memory.map", refuse):
                    with mock.patch("shm.file._open_tmpfile", shm.file._open_tmpfile if tmpfile else refuse_tmpfile):
                        with self.assertRaisesRegex(OSError, "share the memory of its files") as refused:
                            shm.open(path, create=True)
                self.assertEqual((refused.exception.errno, refused.exception.filename), (errno.ENODEV, path))
                self.assertEqual(os.listdir(d), [])

    def test_no_room_in_the_filesystem(self):
        """A full filesystem, which only root could make, is replaced by a limit on the size of files."""

        def body():
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (header.FIRST_ALLOCATION - 1, limits[1]))
            with self.assertRaises(OSError) as refused:
                shm.open(self.name, create=True)
            self.assertEqual((refused.exception.errno, refused.exception.filename), (errno.EFBIG, path))
            resource.setrlimit(resource.RLIMIT_FSIZE, (header.FIRST_ALLOCATION, limits[1]))
            seg = shm.open(self.name, create=True)
            with self.assertRaises(OSError) as refused:
                seg.raw_array("a", "b", header.FIRST_ALLOCATION)
            self.assertEqual((refused.exception.errno, refused.exception.filename), (errno.EFBIG, path))
            self.assertEqual(list(seg), [])

        path = f"/dev/shm/{self.name}"
        self.assertEqual(self.reap(self.child(body)), 0)

    def test_read_only(self):
        seg = self.open()
        make(seg)
        with shm.open(self.name, readonly=True) as ro:
            self.assertEqual(ro["value"].value, 0.5)
            self.assertEqual(ro["struct"].load().X, 1.5)
            self.assertEqual(ro["rawStruct"].M[1][2], 12.5)
            seg["value"].add(1)
            seg["rawInt"].value = 7
            self.assertEqual((ro["value"].value, ro["rawInt"].value), (1.5, 7))
            self.assertEqual(ro["atomic"].load(), 1 << 63)
            with self.assertRaises(shm.WaitTimeoutError):
                ro["value"].wait_for(lambda x: x < 0, 0.01)
            for write in (
                lambda: ro["value"].store(1),
                lambda: ro["value"].add(1),
                lambda: setattr(ro["value"].get_obj(), "value", 1),
                lambda: ro["array"].__setitem__(0, 1),
                lambda: ro["array"].get_obj().__setitem__(0, 1),
                lambda: ro["struct"].store((0, 0, 0, False, b"")),
                lambda: ro["string"].store(""),
                lambda: ro["atomic"].add(1),
                lambda: ro["atomic"].compare_and_swap(0, 1),
                lambda: ro["mutex"].acquire(),
                lambda: ro["mutex"].acquire(blocking=False),
                lambda: setattr(ro["rawInt"], "value", 1),
                lambda: setattr(ro["rawComplex"], "value", 1),
                lambda: ro["rawArray"].__setitem__(0, 1),
                lambda: setattr(ro["rawStruct"], "A", 1),
                lambda: ro["rawStruct"].M[0].__setitem__(0, 1),
                lambda: setattr(ro["chars"], "value", b"x"),
                lambda: setattr(ro["chars"], "raw", b"x"),
                lambda: ro.value("new", "i"),
            ):
                self.assertRaises(shm.ReadOnlyError, write)
        go = self.go("pythonPeer", self.name)
        self.assertEqual(go.tell("check"), "rawInt: 7, want -42; value: 1.5, want 0.5")

    def test_who_may_attach(self):
        self.open()
        path = f"/dev/shm/{self.name}"
        os.chmod(path, 0o666)
        with self.assertRaisesRegex(shm.InsecureError, "writable by more users"):
            shm.open(self.name)
        shm.open(self.name, mode=0o666).close()
        os.chmod(path, 0o600)
        with tempfile.TemporaryDirectory() as d:
            link, fifo, sub = (os.path.join(d, n) for n in ("link", "fifo", "sub"))
            os.symlink(path, link)
            os.mkfifo(fifo)
            os.mkdir(sub)
            for other in (link, fifo, sub):
                with self.assertRaises(shm.InsecureError, msg=other):
                    shm.open(other)
            hard = os.path.join("/dev/shm", self.name + "-2")
            os.link(path, hard)
            try:
                with self.assertRaisesRegex(shm.InsecureError, "2 hard links"):
                    shm.open(self.name)
            finally:
                os.unlink(hard)

    def test_inherited(self):
        go = self.go("pythonPeer", self.name)
        answer = go.tell("pass " + sys.executable)
        self.assertEqual(answer, "anonymous 41 named -42")

    @unittest.skipIf(os.geteuid(), "only root can become a user with fewer rights")
    def test_inherited_with_fewer_rights(self):
        """A process that may not open the file takes its lease through the description that its parent has left."""
        maker = self.python(
            "import sys, shm; shm.open(sys.argv[1], create=True, max_size=1 << 20).value('n', 'q', 5)\n"
            "print('made', flush=True); sys.stdin.readline()\n"
        )
        self.assertEqual(maker.line(), "made")
        path = f"/dev/shm/{self.name}"
        for hand_over in (True, False):
            fd, anew = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
            st = os.fstat(fd)
            ours, theirs = socket.socketpair()
            if hand_over:
                socket.send_fds(ours, [b"x"], [anew])
            os.close(anew)

            def body():
                ours.close()
                os.setgid(12345)
                os.setuid(12345)
                where = f"{fd}:{st.st_dev}:{st.st_ino}" + f":{theirs.fileno()}" * hand_over
                os.environ["SHM_SEGMENT_" + self.name.encode().hex()] = where
                for i in range(2):
                    with shm.inherited(self.name) as seg:
                        try:
                            seg["n"].add(1)
                            seg.value(f"new{i}", "q")
                        except shm.LockError as e:
                            return 0 if not hand_over and "for itself alone" in str(e) else 1
                    del seg
                    gc.collect()
                return 0 if hand_over else 2

            child = self.child(body)
            self.assertEqual(self.reap(child), 0, hand_over)
            os.close(fd)
            ours.close()
            theirs.close()
        seg = self.open(create=False)
        self.assertEqual((seg["n"].value, list(seg)), (7, ["n", "new0", "new1"]))

    def test_earlier_boot(self):
        """After a reboot a dead owner's lock is taken over as ever, and its id is not given out again."""
        with tempfile.TemporaryDirectory(dir=".") as d:
            path = os.path.abspath(os.path.join(d, "segment"))
            with shm.open(path, create=True, max_size=1 << 20) as seg:
                seg.value("n", "q")
                go = self.go("agent", path)
                self.assertEqual(go.line(), "ready")
                self.assertEqual(go.tell("lock"), "locked")
                owner = seg["n"].get_lock()._word.value & OWNER_MASK
                seg.sync()
            go.kill()
            del seg
            with open(path, "r+b") as f:  # the counter is older than the lock word
                for offset, n in ((header.HOME, 12345), (header.NEXT_ID, owner)):
                    f.seek(offset)
                    f.write(header.seal(n).to_bytes(8, sys.byteorder))
            program = (
                "import sys, shm; seg = shm.open(sys.argv[1]); lock = seg['n'].get_lock()\n"
                "with lock: assert lock.abandoned()\n"
                f"assert lock._hold.id == {owner} + 1 and lock._cell.takeovers == 1, lock._hold.id\n"
                "m = seg._attached()\n"
                "assert shm.header.unseal(m.home.value) == m.mine\n"
            )
            subprocess.run([sys.executable, "-c", program, path], check=True)
            go = self.go("agent", path)
            self.assertEqual(go.line(), "ready")
            self.assertEqual(go.tell("lock"), "locked")
            self.assertEqual(go.tell("abandoned"), "false")

    def test_repair(self):
        """A file whose pages reached the disk in any order is cut back to what is valid, and its index is made anew."""
        program = (
            "import sys, shm; seg = shm.open(sys.argv[1]); names = list(seg)\n"
            "assert all(seg[n].value == int(n[1:]) for n in names)\n"
            "m = seg._attached(); h = shm.header\n"
            "assert h.unseal(m.home.value) == m.mine and h.unseal(m.values.value) == len(names)\n"
            "assert m.indexed.value == m.used.value\n"
            "seg.value('n1000', 'q', 1000); assert 'n1000' in seg\n"
            "print(len(names))\n"
        )

        def damaged(change):
            with tempfile.TemporaryDirectory(dir=".") as d:
                path = os.path.join(d, "segment")
                with shm.open(path, create=True, max_size=1 << 22) as seg:
                    for i in range(400):
                        seg.value(f"n{i}", "q", i)
                    m = seg._attached()
                    at = {name: seg._attached().directory.find(name).offset for name in seg}
                    index = m.directory._current_index(m.directory.used())
                    self.assertEqual(index.mask + 1, 1024)
                    m.home.value = header.seal(12345)
                    change(m, at, index)
                    seg.sync()
                    del m, index
                del seg
                gc.collect()
                return int(subprocess.run([sys.executable, "-c", program, path], check=True, stdout=-1).stdout)

        def wrong_slots(m, at, index):
            for i in range(0, 1024, 3):
                index.slots[i] = 0

        def broken_record(m, at, index):
            ctypes.memset(m.address(at["n300"], 64), 0xFF, 64)

        def old_used(m, at, index):
            m.used.value = m.indexed.value = header.seal(at["n350"] // 64)

        def cut_off(m, at, index):
            os.truncate(m.path, (at["n390"] + 4096) // 4096 * 4096)

        self.assertEqual(damaged(lambda *_: None), 400)
        self.assertEqual(damaged(wrong_slots), 400)
        self.assertEqual(damaged(broken_record), 300)
        self.assertEqual(damaged(old_used), 350)
        self.assertIn(damaged(cut_off), range(390, 401))

    def test_what_a_dead_process_left_is_completed(self):
        seg = self.open(create=True, max_size=1 << 24)
        m = seg._attached()
        for step in ("used", "slot", "values", "index"):
            n = len(seg)

            def body():
                for i in range(600):
                    stores = 0
                    d = m.directory
                    name = f"{step}{i}"
                    if i != (0 if step == "index" else 300):
                        seg.value(name, "q", i)
                        continue
                    if step == "used":
                        d._complete = lambda real=d._complete: os._exit(0) if d.find(name) else real()
                    elif step == "index":
                        real = shm.directory.store_lines
                        shm.directory.store_lines = lambda w, x: os._exit(0) if w is m.index else real(w, x)
                    else:
                        def store(word, x, real=shm.directory.store_release):
                            nonlocal stores
                            stores += 1
                            real(word, x)
                            if stores == {"slot": 1, "values": 2}[step]:
                                os._exit(0)

                        shm.directory.store_release = store
                    seg.value(name, "q", i)
                return 1

            self.assertEqual(self.reap(self.child(body)), 0, step)
            self.assertGreater(len(seg), n + 100)
            other = self.python("import sys, shm\nseg = shm.open(sys.argv[1])\nprint(len(list(seg)), flush=True)\nsys.stdin.readline()\n")
            self.assertEqual(int(other.line()), len(seg))
            seg.value(f"{step} after", "q")
            self.assertEqual(header.unseal(m.values.value), len(seg))
            self.assertEqual(m.indexed.value, m.used.value)
            go = self.go("agent", self.name)
            self.assertEqual(go.line(), "ready")

    def test_many_names(self):
        seg = self.open(create=True, max_size=1 << 24)
        for i in range(3000):
            seg.value(f"n{i}", "q", i)
        again = self.python(
            "import sys, shm\nseg = shm.open(sys.argv[1])\n"
            "d = seg._attached().directory\n"
            "assert seg['n2999'].value == 2999 and 'no' not in seg\n"
            "print(len(d._records), len(seg))\n"
        )
        read, n = map(int, again.line().split())
        self.assertLess(read, 20)  # of the records, and all are read only to be listed
        self.assertEqual(n, 3000)

    def test_found_value_is_small(self):
        """A value that was found takes less than two KiB: a page fault for each would cost more than the search."""
        seg = self.open(create=True, max_size=1 << 24)
        for i in range(600):
            seg.value(f"n{i}", "q", i)
        again = self.python(
            "import sys, shm, tracemalloc\nseg = shm.open(sys.argv[1])\n"
            "assert seg['n500'].value == 500\n"
            "tracemalloc.start()\n"
            "assert all([seg[f'n{i}'].value == i for i in range(500)])\n"
            "print(tracemalloc.get_traced_memory()[0] // 500)\n"
        )
        limit = 2048 if shm.implementation == "native" else 4096
        self.assertLess(int(again.line()), limit)

    def test_copied_slots_are_a_hint(self):
        """What a copy of slots leads to is believed only if it is the record of the name."""
        seg = self.open(create=True, max_size=1 << 24)
        for i in range(300):
            seg.value(f"n{i}", "q", i)
        other = shm.open_fd(os.dup(seg.fileno()), readonly=True)
        d = other._attached().directory
        look, pread = shm.native.look, os.pread
        torn = random.Random(1)

        def torn_slots(fd, n, offset):
            b = pread(fd, n, offset)
            if n != 64:
                return b
            return b"".join(b[8 * i : 8 * i + 5 - torn.randrange(3)].ljust(5, b"\x01") + b[8 * i + 5 : 8 * i + 8] for i in range(8))

        try:
            for shm.native.look, os.pread in (look, pread), (None, torn_slots):
                for i in range(300):
                    self.assertEqual(other[f"n{i}"].value, i)
                self.assertNotIn("no", other)
                d.known.clear()
                d._records.clear()
                other._values.clear()
        finally:
            shm.native.look, os.pread = look, pread

    def test_memory_lives_as_long_as_its_objects(self):
        """Raw objects, views of them and the objects of locked values keep the memory mapped."""
        with self.open(create=True) as seg:
            objects = [
                seg.raw_value("r", "q", 7), seg.raw_array("a", "q", [7, 8])[:] and seg["a"], seg.value("v", "q", 7).get_obj(),
                memoryview(seg.raw_value("m", "q", 7)), seg.array("l", "q", [7]).get_obj(), seg.mutex("x"),
            ]  # fmt: skip
            objects += [ctypes.c_int64.from_buffer(objects[0]), ctypes.pointer(objects[0]), ctypes.cast(objects[1], ctypes.c_void_p)]
            base = ctypes.addressof(seg._mapping.memory)
        del seg
        gc.collect()
        with open("/proc/self/maps") as maps:
            self.assertIn(f"{base:x}-", maps.read())
        self.assertEqual(objects[0].value + objects[1][0] + objects[2].value + objects[4][0] + objects[6].value, 5 * 7)
        while objects:
            del objects[:-1]  # what is left keeps the memory alone
            x = objects.pop()
            del x
        gc.collect()
        with open("/proc/self/maps") as maps:
            self.assertNotIn(f"{base:x}-", maps.read())

    def test_hints(self):
        seg = self.open()
        for hint in ("", "duration", "time", "text", "counter", "gauge"):
            seg.value("v" + hint, "q", hint=hint)
        self.assertEqual([e.hint for e in seg.entries()], [e.name[1:] for e in seg.entries()])
        with self.assertRaisesRegex(ValueError, "hint 'speed'"):
            seg.value("w", "q", hint="speed")

    def test_creation_where_calls_are_refused(self):
        """Each optional call has a second way, and a name never leads to half a header."""
        real_open, real_link = os.open, os.link

        def refusing(no_tmpfile, link, rename):
            def open_(path, flags, *rest):
                if no_tmpfile and flags & os.O_TMPFILE == os.O_TMPFILE:
                    raise OSError(errno.EOPNOTSUPP, "refused")
                return real_open(path, flags, *rest)

            def link_(source, *rest, **more):
                if link and "/proc/" in source:
                    raise OSError(link, "refused")
                return real_link(source, *rest, **more)

            class Library:
                fstatfs = staticmethod(shm.file._libc.fstatfs)

                @staticmethod
                def renameat2(*_):
                    ctypes.set_errno(rename)
                    return -1

            return open_, link_, Library if rename else shm.file._libc

        library = shm.file._libc
        for no_tmpfile in (False, True):
            for link in (0, errno.EACCES, errno.EPERM, errno.EXDEV):
                for rename in (0, errno.EINVAL, errno.ENOSYS, errno.EPERM):
                    os.open, os.link, shm.file._libc = refusing(no_tmpfile, link, rename)
                    try:
                        with shm.open(self.name, exclusive=True, max_size=1 << 20) as seg:
                            seg.value("n", "q", 1).add(1)
                        self.assertRaises(FileExistsError, shm.open, self.name, exclusive=True)
                    finally:
                        os.open, os.link, shm.file._libc = real_open, real_link, library
                    self.assertEqual(self.open(create=False)["n"].value, 2)
                    self.assertEqual([n for n in os.listdir("/dev/shm") if self.name in n], [self.name])
                    shm.remove(self.name)

    def test_without_a_description_of_its_own(self):
        seg = self.open()
        raw = seg.raw_value("raw", "q", 1)
        program = (
            "import sys, shm\n"
            "def refuse(fd, path): raise PermissionError(13, 'refused')\n"
            "shm.file.reopen = refuse\n"
            "seg = shm.open(sys.argv[1])\n"
            "seg['raw'].value += 1\n"
            "for f in (lambda: seg.value('new', 'q'), lambda: seg.raw_value('new', 'q'), lambda: seg.mutex('m')):\n"
            "    try: f()\n"
            "    except shm.LockError as e: assert 'for itself alone' in str(e), e\n"
            "    else: raise SystemExit('made')\n"
            "print(list(seg))\n"
        )
        out = subprocess.run([sys.executable, "-c", program, self.name], check=True, stdout=-1, text=True).stdout
        self.assertEqual((out, raw.value), ("['raw']\n", 2))

    def test_read_lock_on_all_leases(self):
        """Who may only read the file can keep others from leases. The error names that, and no id is used up."""
        seg = self.open()
        v = seg.raw_value("raw", "q", 1)
        before = seg._attached().next_id.value
        fd = os.open(f"/dev/shm/{self.name}", os.O_RDONLY)
        self.addCleanup(os.close, fd)
        shm.lease._lock_byte(fd, shm.lease._OFD_SETLK, shm.lease.fcntl.F_RDLCK, shm.lease.BASE, 1 << 30)
        with self.assertRaisesRegex(shm.LockError, "may only read the file keeps others"):
            seg.value("n", "q")
        self.assertEqual((seg._attached().next_id.value, v.value), (before, 1))

    def test_closed_descriptor_is_no_death(self):
        """If the program closes descriptors that are not its own, no owner looks dead."""
        seg = self.open()
        v = seg.value("n", "q")
        v.add(1)
        go = self.agent()
        self.assertEqual(go.tell("lock"), "locked")
        control = seg._attached().lease.control()
        saved = os.dup(control)
        self.addCleanup(os.close, saved)
        with open("/dev/null") as other:
            os.dup2(other.fileno(), control, inheritable=False)
            self.assertFalse(v.get_lock().acquire(timeout=0.05))
            with self.assertRaisesRegex(shm.LockError, "is not the segment's any more"):
                seg.raw_value("new", "q")
        os.dup2(saved, control, inheritable=False)
        self.assertEqual(go.tell("unlock"), "unlocked")
        seg._attached().lease._blind_until = 0
        v.add(1)

    @unittest.skipIf(os.geteuid(), "only root can give files away")
    def test_files_of_other_users(self):
        self.open()
        path = f"/dev/shm/{self.name}"
        os.chown(path, 12345, 12345)
        os.chmod(path, 0o644)
        with self.assertRaisesRegex(shm.InsecureError, "lets neither all users write, nor a group"):
            shm.open(self.name, mode=0o644)
        with self.assertRaisesRegex(shm.InsecureError, "for this user only"):
            shm.open(self.name, readonly=True)
        shm.open(self.name, mode=0o644, readonly=True).close()
        with self.assertRaisesRegex(shm.InsecureError, "a group that this process is in"):
            shm.open(self.name, mode=0o664)
        shm.open(self.name, mode=0o666).close()
        os.chmod(path, 0o664)
        with self.assertRaisesRegex(shm.InsecureError, "fsGroup.*pass mode=0o664.*chmod 640"):
            shm.open(self.name, mode=0o640, readonly=True)


class Malformed(Case):
    def setUp(self):
        super().setUp()
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.path = os.path.join(self.dir.name, "segment")

    def write(self, content):
        with open(self.path, "wb") as f:
            f.write(content)
        os.chmod(self.path, 0o600)

    def test_foreign_files(self):
        for content in (b"", b"text" * 25, bytes(1 << 16), b"\x93SHM" + bytes(70000)):
            self.write(content)
            with self.assertRaises(shm.FormatError):
                shm.open(self.path)

    def test_versions(self):
        with shm.open(self.path, create=True, max_size=1 << 20):
            pass
        with open(self.path, "rb") as f:
            good = f.read()
        for at, n, error in (
            (8, 1, shm.VersionError), (8, 3, shm.VersionError), (12, 0x04030201, shm.VersionError), (20, 7, shm.FormatError),
        ):  # fmt: skip
            b = bytearray(good)
            struct.pack_into("=I", b, at, n)
            struct.pack_into("=I", b, 40, zlib.crc32(b[:40]))
            self.write(b)
            with self.assertRaises(error):
                shm.open(self.path)
        for place, error, text in (
            (header.seal(1 << 20), shm.VersionError, "locks are in a file of their own, number 1048576"),
            (header.seal(3), shm.VersionError, "another system"), (1 << 20, shm.FormatError, "sealed word at byte 136"),
        ):  # fmt: skip
            b = bytearray(good)
            struct.pack_into("=Q", b, header.PLACE, place)
            self.write(b)
            for readonly in (False, True):
                with self.assertRaisesRegex(error, text):
                    shm.open(self.path, readonly=readonly)
            with open(self.path, "rb") as f:
                self.assertEqual(f.read(), bytes(b))  # nothing is changed

    @unittest.skipIf(shm.native.look is None, "the search in C is not there")
    def test_damaged_index(self):
        """The search in C finds in a damaged index and damaged records what the one in Python finds, or the same exception."""
        with shm.open(self.path, create=True, max_size=1 << 20) as seg:
            for i in range(40):
                seg.value(f"n{i}", "q", i)
        with open(self.path, "rb") as f:
            good = f.read()
        names = [f"n{i}" for i in range(0, 40, 7)] + ["none"]
        look, random_, found = shm.native.look, random.Random(os.urandom(8)), 0
        slots = header.SIZE + 128  # the offset of the index

        def search():
            try:
                with shm.open(self.path, readonly=True) as seg:
                    for name in names:
                        try:
                            yield name, seg[name].get_lock()._offset
                        except (shm.Error, KeyError) as e:
                            yield name, type(e)
            except shm.Error as e:
                yield type(e)

        try:
            for _ in range(200):
                b = bytearray(good)
                for _ in range(random_.randrange(1, 6)):
                    at = random_.choice((random_.randrange(slots, slots + 4096), random_.randrange(slots + 4096, slots + 13_000))) & ~7
                    other = random_.randrange(slots, slots + 4000) & ~7
                    b[at : at + 8] = random_.choice((bytes(8), os.urandom(8), good[other : other + 8]))
                self.write(b)
                shm.native.look = look
                in_c = list(search())
                shm.native.look = None
                self.assertEqual(in_c, list(search()))
                found += sum(isinstance(x, tuple) and isinstance(x[1], int) for x in in_c)
        finally:
            shm.native.look = look
        self.assertGreater(found, 100)

    def test_damage(self):
        """Whatever bytes are in a file, there are values or an exception, and no fault and no endless loop."""
        with shm.open(self.path, create=True, max_size=1 << 20) as seg:
            make(seg)
            seg.struct("longer", Point)
        with open(self.path, "rb") as f:
            good = f.read()
        end = max(i for i, c in enumerate(good) if c) + 200
        random.seed(1)
        refused = read = 0
        for round in range(400):
            b = bytearray(good)
            for _ in range(random.choice((1, 1, 1, 3, 20))):
                at = random.randrange(*random.choice(((0, 256), (header.SIZE, end), (header.SIZE, header.SIZE + 700))))
                b[at] = random.choice((0, 1, 0xFF, random.randrange(256)))
            if round % 5 == 0:
                b = b[: random.randrange(len(b))]
            self.write(b)
            try:
                with shm.open(self.path, readonly=round % 2 == 0) as seg:
                    for name in seg:
                        x = seg[name]
                        bytes(x) if isinstance(x, ctypes._SimpleCData) else repr(x)
                        if hasattr(x, "load") and not isinstance(x, shm.Array):
                            x.load()
                    read += 1
            except (shm.Error, KeyError):
                refused += 1
            self.forget(self.path)
        self.assertGreater(refused, 50)
        self.assertGreater(read, 10)

    def test_cut_off_after_attaching(self):
        seg = shm.open(self.path, create=True, max_size=1 << 20)
        other = shm.open(self.path)
        seg.raw_value("a", "i")
        os.truncate(self.path, 4096)
        with self.assertRaisesRegex(shm.FormatError, "cut off"):
            # This reads the header only.
            other._attached().start_anew()
            other["a"]


class Bench(unittest.TestCase):
    def run_bench(self, module, *args):
        environment = {**os.environ, "SHM_BENCH_ROUNDS": "1"}
        out = subprocess.run([sys.executable, "-m", module, *args], capture_output=True, text=True, env=environment)
        self.assertEqual(out.returncode, 0, out.stderr)
        return out.stdout

    def test_every_row(self):
        """All operations that are measured work. No test depends on how long they take."""
        rows = self.run_bench("shm.bench")
        self.assertGreater(len(rows.splitlines()), 20)
        self.assertRegex(rows, r"(?m)^with v.get_lock\(\): v.value \+= 1 +\d.* +\d")

    def test_names(self):
        rows = self.run_bench("shm.namebench", "300").splitlines()
        self.assertEqual([row.split("  ")[0] for row in rows[1:]], [
            "make a Value", 'seg["name"], the first time', 'seg["name"] of a raw value, the first time', 'seg["name"] again',
        ])  # fmt: skip


class Layouts(unittest.TestCase):
    def test_what_ctypes_did(self):
        with open(os.path.join(TESTDATA, "struct.json")) as f:
            structs = json.load(f)
        self.assertGreater(len(structs), 10)
        for s in structs:
            with self.subTest(s["name"]):
                l = layout.parse(s["pep3118"])
                self.assertEqual((l.format, l.size), (s["pep3118"], s["size"]))
                t = type_of(l)
                self.assertEqual(ctypes.sizeof(t), s["size"])
                for f in s["fields"]:
                    self.assertEqual(getattr(t, f["name"]).offset, f["offset"])
                    self.assertEqual(getattr(t, f["name"]).size, f["size"])
                self.assertEqual(layout_of(t).format, s["pep3118"])
                if "sample_hex" in s:
                    sample = bytes.fromhex(s["sample_hex"])
                    self.assertEqual(bytes(t.from_buffer_copy(sample)), sample)

    def test_packed_and_padded(self):
        for format, offset, size in (
            ("T{<b:a:<i:b:}", 1, 5),  # packed
            ("T{<i:a:12x<i:b:}", 16, 20),  # blank fields
            ("T{8x<i:b:4x}", 8, 16),
            ("T{<b:a:T{<h:x:<d:y:}:b:}", 1, 11),
        ):
            t = type_of(layout.parse(format))
            self.assertEqual((t.b.offset, ctypes.sizeof(t), layout_of(t).format), (offset, size, format))

    def test_canonical(self):
        self.assertEqual(layout.parse("T{<l:a:2x1xx}").format, "T{<i:a:4x}")
        self.assertEqual(layout.array_of(layout.parse("(2,3)<d"), 4).format, "(4,2,3)<d")

    def test_malformed(self):
        for bad in (
            "", "<", "<P", ">i", "P", "<ii", "(", "(0)<i", "(01)<i", "(2<i", "(2)(3)<i", "T{", "T{}", "T{<i}",
            "T{<i:a}", "T{<i::}", "T{<i:a:<i:a:}", "T{<i:a b:}", "T{<i:a{:}", "T{<i:\n:}", "T{3<i:a:}",
            "(1099511627777)<b", "(1048576,1048577)<b", "T{" * 40 + "}" * 40, "(" + "1," * 40 + "1)<i",
            "T{<i:" + "n" * 40000 + ":}", "T{1099511627776x<i:a:}",
        ):  # fmt: skip
            with self.assertRaises(shm.FormatError, msg=bad[:50]):
                layout.parse(bad)


class Lacking(Case):
    """Systems without libatomic, and systems without executable memory."""

    WITHOUT = (
        "import ctypes, sys, os, platform\n"
        "real = ctypes.PyDLL\n"
        "def refuse(name=None, *a, **k):\n"
        "    if name == 'libatomic.so.1': raise OSError('libatomic.so.1: not here')\n"
        "    return real(name, *a, **k)\n"
        "ctypes.PyDLL = refuse\n"
    )

    def run_python(self, program):
        done = subprocess.run(
            [sys.executable, "-c", self.WITHOUT + program, self.name], capture_output=True, text=True, timeout=60
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_machine_code(self):
        from shm.atomics import MachineCode, _X86_64, function

        if os.uname().machine != "x86_64":
            self.skipTest("there is machine code for x86-64 only")
        code = MachineCode()
        for size, t in ((4, ctypes.c_uint32), (8, ctypes.c_uint64)):
            top = (1 << 8 * size) - 1
            for name, f in (
                ("exchange", lambda a, b: b), ("fetch_add", lambda a, b: a + b & top),
                ("fetch_and", lambda a, b: a & b), ("fetch_or", lambda a, b: a | b),
            ):  # fmt: skip
                mine, theirs = code[f"__atomic_{name}_{size}"], function(f"{name}_{size}", t)
                mine.restype = t
                for a, b in ((0, 0), (5, 3), (top, 1), (top >> 1, top), (0xF0F0F0F0, 0x3C3C3C3C)):
                    for call in (mine, theirs):
                        x = (t * 3)(top, a, top)
                        self.assertEqual(call(ctypes.byref(x, size), t(b), 5), a)
                        self.assertEqual(list(x), [top, f(a, b), top])
            cas = code[f"__atomic_compare_exchange_{size}"]
            cas.restype = ctypes.c_bool
            for a, old in ((7, 7), (7, 8), (top, top), (top, top >> 1), (0, top)):
                x, expected = t(a), t(old)
                self.assertIs(cas(ctypes.byref(x), ctypes.byref(expected), t(9), 5, 5), a == old)
                self.assertEqual((x.value, expected.value), (9, old) if a == old else (a, a))
        self.assertEqual(len(_X86_64), 10)

    def test_locks_by_machine_code(self):
        if os.uname().machine != "x86_64":
            self.skipTest("there is machine code for x86-64 only")
        self.open().value("n", "q")
        go = self.agent()
        go.say("add 30000")
        out = self.run_python(
            "import shm; v = shm.open(sys.argv[1])['n']\n"
            "assert isinstance(shm.atomics._library, shm.atomics.MachineCode)\n"
            "for i in range(3000):\n"
            "    with v.get_lock(): v.value += 1\n"
            "print('ok')\n"
        )
        self.assertEqual(out, "ok\n")
        self.assertEqual(go.line(), "added")
        self.assertEqual(self.open()["n"].value, 33000)

    def test_damaged_library(self):
        """A library of that name without the functions is as good as none."""
        if os.uname().machine != "x86_64":
            self.skipTest("there is machine code for x86-64 only")
        program = (
            "import ctypes, sys\n"
            "real = ctypes.PyDLL\n"
            "ctypes.PyDLL = lambda name=None, *a, **k: real('libc.so.6' if name == 'libatomic.so.1' else name, *a, **k)\n"
            "import shm\n"
            "assert isinstance(shm.atomics._library, shm.atomics.MachineCode), shm.atomics._library\n"
            "print(shm.anonymous().value('n', 'q', 4).add(1))\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.stdout, done.stderr), ("5\n", ""))

    def test_neither(self):
        seg = self.open()
        make(seg)
        out = self.run_python(
            "platform.machine = lambda: 'riscv64'\n"
            "import shm\n"
            "shm.futex._NUMBER = 202 if os.uname().machine == 'x86_64' else 98\n"
            "seg = shm.open(sys.argv[1])\n"
            "seg['rawInt'].value += 2\n"
            "seg.raw_value('new', 'i', 5)\n"
            "fences = 0\n"
            "def wake(*a, real=shm.futex.wake):\n"
            "    global fences\n"
            "    fences += 1\n"
            "    return real(*a)\n"
            "shm.futex.wake = wake\n"
            "assert seg['value'].value == 0.5 and seg['struct'].value.N == 3 and seg['atomic'].load() == 1 << 63\n"
            "assert fences >= 5, fences\n"  # two for each of these, and one for the number
            "if shm.implementation == 'native':\n"  # whose verbs need no other instructions, but a lock is more than a word
            "    assert seg['atomic'].add(1) == (1 << 63) + 1\n"
            "for f in (lambda: seg['value'].add(1), lambda: seg['mutex'].acquire(), lambda: seg['atomic']._call('fetch_add', 1),\n"
            "          lambda: seg['struct'].store((0, 0, 0, False, b'')), lambda: seg['mutex'].acquire(timeout=1)):\n"
            "    try: f()\n"
            "    except shm.LockError as e: assert 'libatomic' in str(e), e\n"
            "    else: raise SystemExit('locked')\n"
            "slots, tries = seg['struct']._slots, []\n"
            "def overtaken(slot):\n"
            "    tries.append(0)\n"
            "    slots.count.value += 2 * (len(tries) <= 64)\n"
            "slots.read(overtaken)\n"
            "assert len(tries) == 65, tries\n"
            "print('ok')\n"
        )
        self.assertEqual(out, "ok\n")
        self.assertEqual((seg["rawInt"].value, seg["new"].value), (-40, 5))
        with seg["mutex"]:
            pass


class TemporaryNames(Case):
    """A filesystem without files that have no name."""

    def setUp(self):
        super().setUp()
        self.real = os.open
        os.open = self.refuse
        self.addCleanup(setattr, os, "open", self.real)
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "segment")

    def refuse(self, path, flags, *args, **named):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no files without a name")
        return self.real(path, flags, *args, **named)

    def names(self):
        return os.listdir(os.path.dirname(self.path))

    def test_made(self):
        with shm.open(self.path, create=True) as seg:
            seg.value("v", "q", 5)
        self.assertEqual(self.names(), ["segment"])
        self.assertEqual(shm.open(self.path)["v"].value, 5)
        self.assertRaises(FileExistsError, shm.open, self.path, exclusive=True)
        self.assertEqual(self.names(), ["segment"])

    def test_abandoned_is_removed(self):
        """What a creator that died has left goes, and what one that lives is making stays."""
        living, name = shm.file._open_temporary(self.path)
        self.assertRegex(name, r"/\.segment\.[0-9a-f]{8}\.new-segment$")
        dead = os.path.join(os.path.dirname(self.path), ".segment.0123abcd.new-segment")
        other = os.path.join(os.path.dirname(self.path), ".segment.0123abcx.new-segment")
        for path in (dead, other):
            open(path, "w").close()
        shm.open(self.path, create=True).close()
        self.assertEqual(sorted(self.names()), sorted(map(os.path.basename, [self.path, other, name])))
        os.close(living)

    def test_second_name_is_removed(self):
        """A creator died between the link and the removal of the temporary name."""
        shm.open(self.path, create=True).close()
        second = os.path.join(os.path.dirname(self.path), ".segment.01234567.new-segment")
        os.link(self.path, second)
        shm.open(self.path).close()
        self.assertEqual(self.names(), ["segment"])
        os.link(self.path, self.path + "2")
        self.assertRaises(shm.InsecureError, shm.open, self.path)


class Trust(Case):
    """Whose files are safe to attach to, as in FORMAT.md."""

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("only root can give files away")

    def attached(self, mode, uid, gid, own, groups=(), **options):
        """Report whether a process of user 1234, of the group own, attaches to a file that another user has."""
        with self.open(create=True, mode=mode, max_size=1 << 20):
            pass
        os.chown(f"/dev/shm/{self.name}", uid, gid)

        def body():
            os.setgroups(list(groups))
            os.setgid(own)
            os.setuid(1234)
            try:
                shm.open(self.name, mode=mode, **options)
            except (shm.InsecureError, PermissionError) as e:
                return 1 if isinstance(e, shm.InsecureError) else 2
            return 0

        code = os.waitstatus_to_exitcode(os.waitpid(self.child(body), 0)[1])
        shm.remove(self.name)
        return {0: True, 1: False}.get(code, code)

    def test_owner(self):
        self.assertIs(self.attached(0o600, 1234, 5, 7), True)
        self.assertIs(self.attached(0o666, 4321, 5, 7), True)
        self.assertIs(self.attached(0o660, 4321, 5, 5), True)
        self.assertIs(self.attached(0o660, 4321, 5, 7, [5]), True)
        # The file's group may write, and this process can read it, but is not in the group.
        self.assertIs(self.attached(0o664, 4321, 5, 7, readonly=True), True)
        self.assertIs(self.attached(0o664, 0, 5, 5), True)

    def test_group_of_another(self):
        """A mode that lets a group write is no trust in a group that this process is not in."""
        st = os.stat_result((0o100660, 1, 1, 1, 4321, 5, 0, 0, 0, 0))
        self.assertIs(shm.file._trusted_owner(st, False, 0o660), 5 in (os.getegid(), *os.getgroups()))
        self.assertIs(shm.file._trusted_owner(st, False, 0o662), True)
        self.assertIs(shm.file._trusted_owner(st, True, 0o640), True)
        self.assertIs(shm.file._trusted_owner(st, True, 0o600), False)

    def test_stranger(self):
        with open("/proc/self/uid_map") as f:
            all_known = sum(int(line.split()[2]) for line in f) >= 0xFFFFFFFF
        self.assertIs(shm.file.stranger(1234, "uid"), False)
        self.assertIs(shm.file.stranger(65534, "uid"), not all_known)


class Hostile(Case):
    """Arguments of wrong types, and impossible ones: an exception that says so, and nothing is changed."""

    def test_timeouts(self):
        seg = self.open(create=True, max_size=1 << 20)
        v, m, ring = seg.value("v", "q"), seg.mutexes("ms", 2), seg.ring("r", "q", 2)
        with m[0], m[1]:
            me = seg.processes()[0]
            other = self.python(
                "import sys, shm\nseg = shm.open(sys.argv[1])\nwith seg['ms'][0], seg['ms'][1]:\n  pass\nprint(seg['v'].add(0), flush=True)\nsys.stdin.read()"
            )
            waits = {
                "wait_for": lambda t: v.wait_for(lambda x: False, t), "name": lambda t: seg.wait_for("none", t),
                "entry": lambda t: seg.entry("v").wait_for(lambda x: False, t), "raw": lambda t: seg.entry("raw").wait_for(lambda x: False, t),
                "changes": lambda t: list(v.changes(t)), "any": lambda t: m.lock_any(t), "next": lambda t: ring.reader().next(t),
                "exit": lambda t: seg.await_exit(me, t), "acquire": lambda t: v.get_lock().acquire(True, t),
            }  # fmt: skip
            seg.raw_value("raw", "q")
            for what, wait in waits.items():
                for t in ("1", b"1", 1j, [], object(), math.nan):
                    with self.subTest(what=what, timeout=t):
                        self.assertRaises(shm.ArgumentTypeError if t == t else shm.ArgumentError, wait, t)
                if what not in ("acquire", "exit"):
                    for t in (0, -1, -1.5, -math.inf, -(10**400), 0.001, False, ctypes.c_double(0).value):
                        try:
                            self.assertIn(wait(t), (None, [(1, 0)]))
                        except shm.WaitTimeoutError:
                            pass
            for t in (math.inf, 1e300, 10**400, 2**62):
                ended = shm.Cancel()
                threading.Timer(0.02, ended.set).start()
                self.assertRaises(shm.CancelledError, v.wait_for, lambda x: False, t, ended)
                self.assertTrue(v.get_lock().acquire(timeout=t))
                v.get_lock().release()
            for args in ((True, -2), (True, -math.inf), (False, 1), (False, 0)):
                self.assertRaises(shm.ArgumentError, v.get_lock().acquire, *args)
            for cancel in (5, "x", object()):
                for call in (
                    lambda: v.wait_for(lambda x: False, 0, cancel), lambda: seg.wait_for("none", 0, cancel), lambda: list(v.changes(0, cancel)),
                    lambda: m.lock_any(0, cancel), lambda: ring.reader().next(0, cancel), lambda: seg.await_exit(me, 0, cancel),
                    lambda: seg.entry("raw").wait_for(lambda x: False, 0, cancel),
                ):  # fmt: skip
                    self.assertRaises(shm.ArgumentTypeError, call)
        self.assertEqual(other.line(), "0")
        self.assertEqual((v.get_lock()._hold.level(), m[0]._hold.level()), (-1, -1))

    def test_without_standard_files(self):
        """What a program prints that has closed its standard files does not go into a segment."""
        program = (
            "import os, sys, shm\n"
            "os.close(0), os.close(1), os.close(2)\n"
            "with shm.open(sys.argv[1], create=True) as seg, shm.anonymous() as other, shm.open_foreign(sys.argv[1]) as foreign:\n"
            "    seg.value('v', 'q').add(1), other.value('v', 'q').add(1)\n"
            "    fds = [seg.fileno(), other.fileno(), foreign._fd, seg._mapping.lease._once['control'], other._mapping.lease._once['control']]\n"
            "    with seg.passing() as more:\n"
            "        fds += more['pass_fds']\n"
            "    try:\n"
            "        os.write(2, b'damage')\n"
            "    except OSError:\n"
            "        os._exit(0 if min(fds) > 2 else 3)\n"
            "os._exit(4)\n"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", program, self.name], timeout=600).returncode, 0)
        self.assertEqual(self.open(readonly=True)["v"].value, 1)

    def test_arguments(self):
        seg = self.open(create=True, max_size=1 << 20)
        text, v = seg.string("s", 8), seg.value("v", "q", 3)
        text.store("old")
        for call, error in (
            (lambda: text.store("\ud800"), shm.ArgumentError), (lambda: setattr(text, "value", "\udc80"), shm.ArgumentError),
            (lambda: shm.open("\ud800"), shm.ArgumentError), (lambda: shm.remove("a\ud800"), shm.ArgumentError), (lambda: seg["\ud800"], KeyError),
            (lambda: shm.inherited("\ud800"), shm.ArgumentError), (lambda: shm.open_foreign("\ud800"), shm.ArgumentError),
            (lambda: seg.value("\ud800", "q"), shm.ArgumentError),
            *((lambda x=x: shm.open_fd(x), shm.ArgumentTypeError) for x in (None, "3", b"3", 1.5, [], pathlib.Path("x"))),
            *((lambda x=x: shm.open_fd(x), shm.ArgumentError) for x in (-1, 2**31, 2**70)),
            *((lambda x=x: seg.entry("v").parse(x), shm.ArgumentTypeError) for x in (None, 5, b"5", ["5"], {"v": 5}, {0: 1})),
            *((lambda x=x: seg.entry("s").parse(x), shm.ArgumentError) for x in ("\ud800", "`\ud800`", '"\ud800"')),
            *((lambda m=m: getattr(seg, m)("new", "i", ["x"]), shm.ArgumentTypeError) for m in ("array", "raw_array")),
            *((lambda x=x: seg.entry("s").parse(x), shm.ArgumentError) for x in ('"\\ 12"', '"\\1_2"', '"\\+12"', '"\\x\u0663\u0663"', '"\\400"', '"\\12"')),
            *((lambda x=x: seg.entry("v").update(lambda _: x), shm.ArgumentTypeError) for x in (None, 5, b"5", {0: 1})),
            *((lambda x=x: shm.type_of(x), shm.ArgumentTypeError) for x in (None, 5, "q", b"q", ctypes.c_int, memoryview(b"x"))),
            *((lambda x=x: shm.parse_layout(x), shm.ArgumentTypeError) for x in (None, 5, b"<q", ctypes.c_int, [])),
            *((lambda m=m: getattr(seg, m)("new", memoryview(b"x")), shm.ArgumentTypeError) for m in ("value", "atomic", "counter", "gauge", "struct")),
        ):  # fmt: skip
            self.assertRaises(error, call)
        self.assertEqual((text.load(), v.value, list(seg)), (b"old", 3, ["s", "v"]))

    def test_no_type(self):
        """A value without a type is refused, and leaves the segment as it was, for other programs too."""
        seg = self.open(create=True, max_size=1 << 20)
        seg.value("v", "q")
        for method in ("ring", "table", "atomic_array", "array", "raw_array", "raw_value", "value", "struct", "atomic", "counter", "gauge"):
            for args in [(None,), *([(None, 2)] if method in ("ring", "table") or "array" in method else [])]:
                with self.assertRaises(shm.ArgumentTypeError, msg=method):
                    getattr(seg, method)("new", *args)
        # Nor does the directory take such a description.
        for access, kinds in record.KINDS.items():
            for kind in set(kinds) - {record.MUTEX, record.INDEX}:
                count = 2 if kind in (record.ARRAY, record.CHARS, record.RING, record.HISTOGRAM) else 0
                with self.assertRaisesRegex(shm.ArgumentError, "no format", msg=(access, kind)):
                    record.Shape("new", None, access, kind, count).check()
        with self.assertRaisesRegex(shm.ArgumentError, "format"):
            record.Shape("new", layout.parse(layout.ORDER + "q"), record.LOCKED, record.MUTEX).check()
        with shm.open(self.name) as again:
            again.check()
            self.assertEqual(list(again), ["v"])


if __name__ == "__main__":
    unittest.main()
