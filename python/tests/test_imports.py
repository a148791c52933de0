"""Tests the order of the package's modules: each imports only modules below it, and none imports in a function."""

import ast
import os
import re
import unittest

ROOT = os.path.join(os.path.dirname(__file__), "..")


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


def listed():
    """Return the names of the modules as README.md lists them, the lowest first."""
    section = read("README.md").split("## Reading the source\n", 1)[1]
    lines = re.findall(r"^\| (`.*`) \|", section, re.MULTILINE)
    return re.findall(r"`(\w+)`", " ".join(lines))


def imported(tree):
    """Yield the modules of the package that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield from [node.module] if node.module else [name.name for name in node.names]


class Imports(unittest.TestCase):
    def test_only_downwards(self):
        modules = {name[:-3] for name in os.listdir(os.path.join(ROOT, "shm")) if name.endswith(".py")}
        order = listed()
        self.assertEqual(sorted(order), sorted(modules - {"__init__"}), "README.md lists each module once")
        imports = 0
        for i, name in enumerate(order):
            for other in imported(ast.parse(read("shm", name + ".py"))):
                imports += 1
                self.assertIn(other, order[:i], f"{name} imports {other}, which is not below it")
        self.assertGreater(imports, 40)

    def test_at_the_top(self):
        for name in listed():
            for function in ast.walk(ast.parse(read("shm", name + ".py"))):
                if isinstance(function, (ast.FunctionDef, ast.Lambda)):
                    inside = [n.lineno for n in ast.walk(function) if isinstance(n, (ast.Import, ast.ImportFrom))]
                    self.assertEqual(inside, [], f"{name}.{getattr(function, 'name', 'lambda')} imports a module")


if __name__ == "__main__":
    unittest.main()
