"""Tests python -m shm."""

import os
import subprocess
import sys
import threading
import unittest

import shm

from .support import Case, set_environment


class Command(Case):
    def run_shm(self, *args, code=0):
        p = subprocess.run([sys.executable, "-m", "shm", *args], capture_output=True, text=True, timeout=600)
        self.assertEqual(p.returncode, code, p.stderr)
        return p.stdout if code == 0 else p.stderr

    def test_verbs(self):
        seg = self.open()
        seg.value("hits", "q", 7, unit="requests", help="since the start")
        seg.struct("p", (shm.ctype.ctypes.c_double * 2), (1, 2.5))
        seg.string("text", 16).store("a\x1b[1m")
        seg.mutex("lock")
        self.assertIn(f"{self.name}  65536 bytes  4 values  in use\n", self.run_shm("ls"))
        order = shm.layout.ORDER
        self.assertEqual(
            self.run_shm("ls", self.name),
            f"hits  value {order}q  7 requests  # since the start\np  struct (2){order}d  [1, 2.5]\n"
            f'text  string {order}c x 16  "a\\x1b[1m"\nlock  mutex  free\n',
        )
        self.assertEqual(self.run_shm("get", self.name, "hits", "p"), "7\n[1, 2.5]\n")
        self.assertEqual(self.run_shm("set", self.name, "p", "[1: 8]"), "")
        self.assertEqual(self.run_shm("set", self.name, "text", "plain"), "")
        self.assertEqual((seg["p"].load()[:], seg["text"].load()), ([1.0, 8.0], b"plain"))
        for args, says in (
            (("get", self.name, "none"), "no value 'none'"), (("set", self.name, "hits", "x"), "cannot read 'x'"),
            (("set", self.name, "lock", "1"), "cannot be set"), (("ls", self.name + "-none"), "no such segment"), (("ls", "a/../b"), "cannot be the name"),
        ):  # fmt: skip
            error = self.run_shm(*args, code=1)
            self.assertTrue(error.startswith("shm: ") and says in error and "Traceback" not in error, error)
        self.assertIn("usage:", self.run_shm("nothing", code=2))
        for mode in ("999", "x", "7777", "-1"):
            self.assertIn(f"{mode!r} is not a mode: use three octal digits", self.run_shm("ls", self.name, f"--mode={mode}", code=2))
        self.assertEqual(self.run_shm("--version"), f"shm {shm.__version__}\n")
        self.assertEqual(seg["hits"].value, 7)

    def test_output_that_lacks_characters(self):
        """Names and texts with characters that the output's encoding lacks are printed with escapes."""
        seg = self.open()
        seg.string("größe", 8, unit="µs", help="in €").store("é")
        with set_environment("PYTHONIOENCODING", "ascii"):
            out = self.run_shm("ls", self.name)
        self.assertEqual(out, f'gr\\xf6\\xdfe  string {shm.layout.ORDER}c x 8  "\\xe9" \\xb5s  # in \\u20ac\n')

    def test_reader_that_has_enough(self):
        """Whoever reads the output may end, as head does: no error, and no traceback."""
        seg = self.open()
        seg.raw_array("a", "q", 5000)
        for args in (("ls",), ("ls", self.name), ("get", self.name, "a"), ("watch", self.name, "a")):
            read, write = os.pipe()
            os.close(read)
            p = subprocess.run([sys.executable, "-m", "shm", *args], stdout=write, stderr=subprocess.PIPE, text=True, timeout=600)
            os.close(write)
            self.assertEqual((p.returncode, p.stderr), (0, ""), args)

    def test_watch(self):
        seg = self.open()
        v = seg.value("n", "q")
        p = self.process(sys.executable, "-m", "shm", "watch", "--times", "3", self.name, "n")
        for i in range(1, 4):
            self.assertEqual(p.line(), f"n  {i - 1}")
            v.value = i
        self.assertEqual(p.p.wait(60), 0)
        p.p.stdin.close()
        p.p.stdout.close()
        p = self.process(sys.executable, "-m", "shm", "watch", "--times", "2", self.name)
        self.assertEqual(p.line(), "n  3")
        threading.Timer(0.01, seg.raw_value, ["later", "d", 0.5]).start()
        self.assertEqual(p.line(), "later  0.5")
        self.assertEqual(p.p.wait(60), 0)
        p.p.stdin.close()
        p.p.stdout.close()


if __name__ == "__main__":
    unittest.main()
