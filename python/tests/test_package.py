"""Tests the package as pip and type checkers see it."""

import ast
import glob
import importlib.metadata
import inspect
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zipfile

import shm

from .support import PEER

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))


def has_pip():
    return subprocess.run([sys.executable, "-c", "import pip"], capture_output=True).returncode == 0


@unittest.skipUnless(os.path.exists(os.path.join(ROOT, "backend.py")), "the package is installed")
class Wheels(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)

    def backend(self, call, root=ROOT):
        code = f"import sys; sys.path.insert(0, {root!r}); import backend; print(backend.{call}({self.dir!r}))"
        environment = {**os.environ, "SHM_PURE": "1"}
        out = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True, env=environment)
        return os.path.join(self.dir, out.stdout.split()[-1])

    def test_wheel(self):
        with zipfile.ZipFile(self.backend("build_wheel")) as z:
            names = set(z.namelist())
            metadata = z.read(f"shm-{shm.__version__}.dist-info/METADATA").decode()
            license = z.read(f"shm-{shm.__version__}.dist-info/licenses/LICENSE")
            record = z.read(f"shm-{shm.__version__}.dist-info/RECORD").decode()
        self.assertIn(f"\nVersion: {shm.__version__}\n", metadata)
        self.assertTrue({"shm/__init__.py", "shm/__init__.pyi", "shm/native.pyi", "shm/py.typed", "shm/__main__.py"} <= names)
        self.assertEqual({line.split(",")[0] for line in record.splitlines()}, names)
        with open(os.path.join(ROOT, "LICENSE"), "rb") as f:
            self.assertEqual(f.read(), license)
        ours = os.path.join(ROOT, "..", "LICENSE")
        if os.path.exists(ours):
            with open(ours, "rb") as f:
                self.assertEqual(f.read(), license, "python/LICENSE is a copy of the project's")

    def test_sdist(self):
        """The archive builds the same wheel."""
        wheel = self.backend("build_wheel")
        with zipfile.ZipFile(wheel) as z:
            want = {name: z.read(name) for name in z.namelist()}
        os.unlink(wheel)
        with tarfile.open(self.backend("build_sdist")) as archive:
            self.assertTrue(all(m.isfile() and m.name.startswith(f"shm-{shm.__version__}/") for m in archive))
            archive.extractall(self.dir, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        with zipfile.ZipFile(self.backend("build_wheel", os.path.join(self.dir, f"shm-{shm.__version__}"))) as z:
            self.assertEqual({name: z.read(name) for name in z.namelist()}, want)

    @unittest.skipUnless(has_pip(), "it has no pip")
    def test_pip(self):
        """pip makes a wheel of a copy, and installs it and the sources themselves, all without a network."""
        source, target = os.path.join(self.dir, "python"), os.path.join(self.dir, "target")
        shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        here = ["--no-index", "--no-build-isolation"]
        for command in (["wheel", *here, "-w", self.dir, source], ["install", *here, "--target", target, source]):
            out = subprocess.run([*pip, *command], capture_output=True, text=True)
            self.assertEqual(out.returncode, 0, out.stderr)
        self.assertEqual(len(glob.glob(os.path.join(self.dir, "*.whl"))), 1)
        code = "import shm, shm.__main__, os; print(shm.__file__); print(shm.anonymous().value('n', 'q', 5).value)"
        out = subprocess.run([sys.executable, "-c", code], cwd=self.dir, env={**os.environ, "PYTHONPATH": target}, capture_output=True, text=True)
        self.assertEqual(out.stdout.split(), [os.path.join(target, "shm", "__init__.py"), "5"], out.stderr)
        found = importlib.metadata.PathDistribution(pathlib.Path(target, f"shm-{shm.__version__}.dist-info"))
        self.assertEqual(found.version, shm.__version__)

    def test_editable(self):
        with zipfile.ZipFile(self.backend("build_editable")) as z:
            self.assertEqual(z.read("shm-editable.pth").decode(), ROOT + "\n")


class Free(unittest.TestCase):
    def test_without_a_gil(self):
        """A free-threaded Python is refused, with the reason, while its GIL is off."""
        code = "import sys; sys._is_gil_enabled = lambda: False\ntry: import shm\nexcept ImportError as e: print(e)"
        out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        self.assertIn("free-threaded", out.stdout)

    def test_another_system(self):
        """Other systems than Linux are refused, with the reason."""
        code = "import sys; sys.platform = 'darwin'\ntry: import shm\nexcept ImportError as e: print(e)"
        out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        self.assertIn("serves Linux only", out.stdout)


# Methods that only the other modules of the package use.
INTERNAL = {"Mutex": {"put", "change", "begin_edit", "overlap", "lost", "still_changing", "return_to"}}


def public(names):
    return {n for n in names if not n.startswith("_")}


def told():
    """Return what each public function, method and property says of itself: its parameters, and its docstring."""
    found = {}
    for name in shm.__all__:
        x = getattr(shm, name)
        if not inspect.isclass(x):
            members = {name: x} if callable(x) else {}
        elif not x.__module__.startswith("shm"):
            members = {}
        else:
            members = {f"{name}.{m}": getattr(x, m) for m in public(dir(x)) if any(m in vars(c) for c in x.__mro__ if c.__module__.startswith("shm"))}
            members[name] = None
        for where, member in members.items():
            if member is None:
                found[where] = ["", x.__doc__]
            elif callable(member):
                of = inspect.signature(member)
                # The parameters by which a method in C gets its object cannot be named.
                found[where] = [[[p.name, p.name == "self" or int(p.kind), repr(p.default)] for p in of.parameters.values()], inspect.getdoc(member)]
            elif isinstance(member, property) or inspect.isgetsetdescriptor(member):
                found[where] = ["", inspect.getdoc(member)]
    return found


class Told(unittest.TestCase):
    """What help() and editors show of the package."""

    def test_docstrings(self):
        self.assertEqual([name for name, (_, doc) in told().items() if not doc], [])
        self.assertGreater(len(told()), 150)

    @unittest.skipUnless(shm.implementation == "native", "there are no verbs in C")
    def test_verbs_in_c(self):
        """The verbs in C say what those in Python say, under the same names, and take the same arguments."""
        code = "import json, tests.test_package as t; print(json.dumps(t.told()))"
        out = subprocess.run(
            [sys.executable, "-c", code], cwd=os.path.join(os.path.dirname(shm.__file__), ".."), capture_output=True, text=True,
            env={**os.environ, "SHM_PURE": "1", "PYTHONPATH": ROOT},
        )  # fmt: skip
        self.assertEqual(out.returncode, 0, out.stderr)
        theirs, ours = json.loads(out.stdout), told()
        self.assertEqual(set(ours), set(theirs))
        for name in ours:
            self.assertEqual(ours[name], theirs[name], name)
        with shm.anonymous() as seg, self.assertRaisesRegex(TypeError, r"^Value\.add\(\)"):
            seg.value("v", "q").add(delta=1)

    def test_positional(self):
        """Arguments that the verbs in C do not take by their names have no names in the verbs in Python either."""
        with shm.anonymous() as seg:
            v = seg.value("v", "q")
            for call in (lambda: v.add(delta=1), lambda: v.store(x=1), lambda: v.compare_and_swap(old=0, new=1), lambda: v.update(f=abs)):
                self.assertRaises(TypeError, call)
            self.assertEqual(v.value, 0)


class Stubs(unittest.TestCase):
    """shm/__init__.pyi has the types. It says what the modules have, no less and no more."""

    @classmethod
    def setUpClass(cls):
        with open(os.path.join(os.path.dirname(shm.__file__), "__init__.pyi"), encoding="utf-8") as f:
            cls.tree = ast.parse(f.read())
        cls.classes = {node.name: node for node in cls.tree.body if isinstance(node, ast.ClassDef)}
        cls.functions = {}
        for node in cls.tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                cls.functions.setdefault(node.name, []).append(node)

    def test_names(self):
        stated = public(self.classes) | public(self.functions) | {"__version__", "implementation"}
        self.assertEqual(stated, set(shm.__all__))
        for name in shm.__all__:
            self.assertTrue(hasattr(shm, name), name)
        self.assertEqual(sorted(shm.__all__), sorted(set(shm.__all__)))

    def methods(self, name):
        """Return the functions and the attributes of a class in the stub, with those of its base classes there."""
        functions, attributes = {}, set()
        node = self.classes[name]
        for base in node.bases:
            base = base.value if isinstance(base, ast.Subscript) else base
            if isinstance(base, ast.Name) and base.id in self.classes:
                inherited, more = self.methods(base.id)
                functions.update(inherited)
                attributes |= more
        own = {}
        for item in node.body:
            if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if any(isinstance(d, ast.Name) and d.id == "property" for d in item.decorator_list):
                    attributes.add(item.name)
                elif not any(isinstance(d, ast.Attribute) for d in item.decorator_list):  # of a setter
                    own.setdefault(item.name, []).append(item)
            elif isinstance(item, ast.AnnAssign):
                attributes.add(item.target.id)
        functions.update(own)
        return functions, attributes

    def compare(self, where, nodes, function):
        """Compare parameters: names, which of them are keyword-only or positional-only, and which have a default value."""
        parameters = list(inspect.signature(function).parameters.values())
        kinds = {inspect.Parameter.KEYWORD_ONLY: "keyword", inspect.Parameter.POSITIONAL_ONLY: "positional"}
        have = [(p.name, kinds.get(p.kind, "") if p.name != "self" else "", p.default is not p.empty) for p in parameters]
        for node in nodes:
            a = node.args
            missing = [None] * (len(a.posonlyargs + a.args) - len(a.defaults))
            only = [x.arg for x in a.posonlyargs if x.arg != "self"]
            stated = [
                (x.arg, "positional" if x.arg in only else "", d is not None)
                for x, d in zip(a.posonlyargs + a.args, [*missing, *a.defaults])
            ]
            stated += [(a.vararg.arg, "", False)] if a.vararg else []
            stated += [(x.arg, "keyword", d is not None) for x, d in zip(a.kwonlyargs, a.kw_defaults)]
            self.assertEqual([x[:2] for x in stated], [x[:2] for x in have], where)
            for mine, theirs in zip(stated, have):
                if len(nodes) == 1:
                    self.assertEqual(mine, theirs, where)
                else:  # an overload may need what another one does not
                    self.assertLessEqual(mine[2], theirs[2], where)

    def test_functions(self):
        for name in public(self.functions):
            self.compare(name, self.functions[name], getattr(shm, name))
            self.assertTrue(getattr(shm, name).__doc__, f"{name} has no docstring")

    def test_methods(self):
        checked = 0
        for name in public(self.classes):
            cls = getattr(shm, name)
            if issubclass(cls, BaseException):
                continue
            functions, attributes = self.methods(name)
            have = {n for n in public(dir(cls)) if not isinstance(inspect.getattr_static(cls, n), type)}
            if issubclass(cls, tuple):
                have -= set(dir(tuple))
            if issubclass(cls, shm.ctype.ctypes.Structure):
                have = {"value"}
            have -= INTERNAL.get(name, set())
            have -= {"keys", "items", "values", "get"}  # those of Mapping
            instance = {n for n in public(getattr(cls, "__slots__", ())) for _ in [0]}
            stated = public(functions) | public(attributes)
            self.assertEqual(have - stated, set(), f"{name} has more than the stub says")
            for attribute in stated - have - instance:
                self.assertRegex(inspect.getsource(sys.modules[cls.__module__]), rf"self\.{attribute}\b", f"{name}.{attribute}")
            for method in public(functions):
                self.compare(f"{name}.{method}", functions[method], getattr(cls, method))
                self.assertTrue(inspect.getdoc(getattr(cls, method)), f"{name}.{method} has no docstring")
                checked += 1
            self.assertTrue(cls.__doc__, name)
        self.assertGreater(checked, 80)

    def test_special_methods(self):
        """A class has each special method that the stub says, and its constructor has these parameters."""
        checked = 0
        for name in public(self.classes):
            cls = getattr(shm, name)
            for method, nodes in self.methods(name)[0].items():
                if method in ("__init__", "__new__"):
                    with self.subTest(cls=name):
                        self.compare(name, nodes, getattr(cls, method))
                elif method.startswith("__"):
                    self.assertIsNotNone(getattr(cls, method, None), f"{name}.{method}")
                    checked += 1
        self.assertGreater(checked, 30)

    def test_native(self):
        """shm.native has a stub too, with what README.md names."""
        with open(os.path.join(os.path.dirname(shm.__file__), "native.pyi"), encoding="utf-8") as f:
            stated = {node.target.id for node in ast.parse(f.read()).body if isinstance(node, ast.AnnAssign)}
        self.assertEqual(stated, {"implementation", "missing"})
        self.assertEqual((shm.native.implementation, shm.native.missing is None), (shm.implementation, shm.implementation == "native"))

    def test_all_is_annotated(self):
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self.assertIsNotNone(node.returns, node.name)
                for a in [*node.args.args, *node.args.kwonlyargs]:
                    self.assertTrue(a.annotation is not None or a.arg in ("self", "cls"), f"{node.name}: {a.arg}")


@unittest.skipIf(PEER and not os.environ.get("SHM_TEST_FIRST"), "only the first Python runs them")
class Checkers(unittest.TestCase):
    """mypy and pyright in their strict modes have nothing to say of the stub, and of a program that uses it."""

    def files(self):
        here = os.path.dirname(__file__)
        stubs = [os.path.join(ROOT, "shm", name) for name in ("__init__.pyi", "native.pyi")]
        return [*stubs, os.path.join(here, "typed.py")]

    def test_mypy(self):
        for python in (sys.executable, "/usr/bin/python3"):
            if subprocess.run([python, "-m", "mypy", "--version"], capture_output=True).returncode == 0:
                break
        else:
            self.skipTest("mypy is not installed")
        with tempfile.TemporaryDirectory() as cache:
            args = [python, "-m", "mypy", "--strict", "--cache-dir", cache, *self.files()]
            out = subprocess.run(args, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "MYPYPATH": ROOT})
            self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
            # What is wrong is noticed.
            wrong = os.path.join(cache, "wrong.py")
            with open(wrong, "w") as f:
                f.write("import shm\nx: str = shm.open('a').value('n', 'q').add(1)\nshm.open(5)\n")
            out = subprocess.run([*args[:6], wrong], cwd=ROOT, capture_output=True, text=True, env={**os.environ, "MYPYPATH": ROOT})
            self.assertEqual(len(re.findall("wrong.py:[23]: error", out.stdout)), 2, out.stdout)

    def test_pyright(self):
        pyright = shutil.which("pyright") or os.environ.get("SHM_PYRIGHT")
        if not pyright:
            self.skipTest("pyright is not installed")
        with tempfile.TemporaryDirectory() as d:
            with open(os.path.join(d, "pyrightconfig.json"), "w") as f:
                paths = ", ".join(f'"{os.path.abspath(p)}"' for p in self.files())
                f.write(f'{{"include": [{paths}], "extraPaths": ["{ROOT}"], "typeCheckingMode": "strict", "pythonVersion": "3.9", "reportPrivateUsage": false}}')
            out = subprocess.run([pyright, "-p", d], capture_output=True, text=True, timeout=300)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)


if __name__ == "__main__":
    unittest.main()
