"""Runs the programs of COOKBOOK.md and README.md, and compares what they print with what stands there."""

import os
import re
import subprocess
import sys
import tempfile
import unittest

import shm

from .support import PEER, Case

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))


def blocks(page):
    """Return the programs of a page by their names: code, and what it prints, or None."""
    with open(os.path.join(ROOT, page), encoding="utf-8") as f:
        text = f.read()
    found = re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", text, re.DOTALL)
    return {name: (code, out or None) for name, code, out in found}


@unittest.skipUnless(os.path.exists(os.path.join(ROOT, "COOKBOOK.md")), "the package is installed")
class Cookbook(Case):
    def run_program(self, code, *args, **options):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "program.py")
            with open(path, "w", encoding="utf-8") as f:
                f.write(code)
            environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(shm.__file__)), **options}
            return subprocess.run(
                [sys.executable, "-W", "error", path, *args], capture_output=True, text=True, env=environment, timeout=600
            )

    def test_programs(self):
        programs = blocks("COOKBOOK.md")
        self.assertEqual(sorted(programs), ["aio.py", "frames.py", "model.py", "pool.py", "prefork.py"])
        for name, (code, out) in programs.items():
            if out is None:
                continue  # model.py, see below
            if "numpy" in code and subprocess.run([sys.executable, "-c", "import numpy"], capture_output=True).returncode:
                continue
            with self.subTest(name):
                p = self.run_program(code)
                self.assertEqual((p.returncode, p.stdout), (0, out), p.stderr)

    def test_model(self):
        """The model answers a service in Go."""
        if not PEER:
            self.skipTest("there is no Go peer")
        code, _ = blocks("COOKBOOK.md")["model.py"]
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "model.py")
            with open(path, "w", encoding="utf-8") as f:
                f.write(code)
            packages = os.path.dirname(os.path.dirname(shm.__file__))
            model = self.process(sys.executable, path, self.name, PYTHONPATH=packages)
            go = self.go("predictor", self.name)
            self.assertEqual((go.line(), go.line()), ("2.5", "2.5"))
            model.kill()

    def test_typed(self):
        """The program that type checkers read does what it says."""
        with open(os.path.join(os.path.dirname(__file__), "typed.py"), encoding="utf-8") as f:
            p = self.run_program(f.read())
        said = f"{shm.implementation} {shm.native.missing or 'compiled'}\n20.5 7 12\n"
        self.assertEqual((p.returncode, p.stdout), (0, said), p.stderr)

    def test_readme(self):
        """The lines that README.md begins with work."""
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
            text = f.read()
        first, second = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[:2]
        for code in (first, second):
            p = self.run_program(code.replace('"plant"', repr(self.name)))
            self.assertEqual(p.returncode, 0, p.stderr)


if __name__ == "__main__":
    unittest.main()
