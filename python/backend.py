"""Builds the package for pip (PEP 517 and 660), so that `pip install ./python` needs no network and no setuptools.

If there is a C compiler, the wheel has the compiled module and is for one version of
CPython. Otherwise, or if SHM_PURE is set in the environment, it is for all of them.
"""

import base64
import hashlib
import io
import os
import re
import sys
import sysconfig
import tarfile
import tempfile
import zipfile

import native_build

_HERE = os.path.dirname(os.path.abspath(__file__))
_KINDS = ".py", ".pyi", ".typed", ".c", ".h"  # of the package's files


def _read(*path):
    with open(os.path.join(_HERE, *path), "rb") as f:
        return f.read()


VERSION = re.search(rb'^__version__ = "(.*)"$', _read("shm", "__init__.py"), re.MULTILINE).group(1).decode()
NAME = f"shm-{VERSION}"
INFO = f"{NAME}.dist-info/"
METADATA = f"""\
Metadata-Version: 2.4
Name: shm
Version: {VERSION}
Summary: Typed values in shared memory, under one crash-safe lock with Go and C
Requires-Python: >=3.9
License-Expression: BSD-3-Clause
License-File: LICENSE
Keywords: shared memory,multiprocessing,lock,robust mutex,interprocess communication,ctypes
Classifier: Development Status :: 4 - Beta
Classifier: Intended Audience :: Developers
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: Python :: 3
Classifier: Programming Language :: Python :: 3 :: Only
Classifier: Programming Language :: Python :: 3.9
Classifier: Programming Language :: Python :: 3.10
Classifier: Programming Language :: Python :: 3.11
Classifier: Programming Language :: Python :: 3.12
Classifier: Programming Language :: Python :: 3.13
Classifier: Programming Language :: Python :: 3.14
Classifier: Programming Language :: Python :: 3.15
Classifier: Programming Language :: Python :: Implementation :: CPython
Classifier: Typing :: Typed
Description-Content-Type: text/markdown

"""


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Write the wheel to a directory; return its file name."""
    files = {f"shm/{name}": _read("shm", name) for name in _package() if not name.endswith((".c", ".h"))}
    compiled = _compiled()
    return _wheel(wheel_directory, {**files, **compiled}, _tag() if compiled else "py3-none-any")


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Write a wheel that leads to the sources here, for `pip install -e`; return its file name.

    The compiled module, if there can be one, is put beside the sources, and is to be compiled anew after a change.
    """
    if _compiles():
        try:
            native_build.build(os.path.join(_HERE, "shm"))
        except native_build.Missing as e:
            print(f"the verbs in C are not used: {e}", file=sys.stderr)
    return _wheel(wheel_directory, {"shm-editable.pth": os.fsencode(_HERE) + b"\n"})


def build_sdist(sdist_directory, config_settings=None):
    """Write an archive of the sources, from which pip builds the wheel as well; return its file name."""
    files = {name: _read(name) for name in ("LICENSE", "README.md", "backend.py", "native_build.py", "pyproject.toml")}
    files.update((f"shm/{name}", _read("shm", name)) for name in _package())
    tests = sorted(name for name in os.listdir(os.path.join(_HERE, "tests")) if name.endswith(".py"))
    files.update((f"tests/{name}", _read("tests", name)) for name in tests)
    files["PKG-INFO"] = _metadata()
    with tarfile.open(os.path.join(sdist_directory, f"{NAME}.tar.gz"), "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{NAME}/{name}")
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return f"{NAME}.tar.gz"


def _compiles():
    return os.environ.get("SHM_PURE", "0") in ("", "0")


def _compiled():
    """Return the compiled module by its path in the wheel, or nothing if it cannot be compiled here."""
    if not _compiles():
        return {}
    with tempfile.TemporaryDirectory() as directory:
        try:
            name = native_build.build(directory)
        except native_build.Missing as e:
            print(f"the package is built without the verbs in C: {e}", file=sys.stderr)
            return {}
        return {f"shm/{name}": _read(directory, name)}


def _tag():
    """Return the tag of a wheel for this Python on this kind of machine."""
    version = "cp{}{}".format(*sys.version_info)
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return f"{version}-{version}{sys.abiflags}-{platform}"


def _package():
    return sorted(name for name in os.listdir(os.path.join(_HERE, "shm")) if name.endswith(_KINDS))


def _metadata():
    return METADATA.encode() + _read("README.md")


def _wheel(directory, files, tag="py3-none-any"):
    """Write a wheel with these files; return its file name."""
    pure = "true" if tag == "py3-none-any" else "false"
    files = {
        **files,
        INFO + "METADATA": _metadata(),
        INFO + "WHEEL": f"Wheel-Version: 1.0\nGenerator: shm\nRoot-Is-Purelib: {pure}\nTag: {tag}\n".encode(),
        INFO + "licenses/LICENSE": _read("LICENSE"),
    }
    record = [f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items()]
    files[INFO + "RECORD"] = "".join([*record, f"{INFO}RECORD,,\n"]).encode()
    wheel = f"{NAME}-{tag}.whl"
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as z:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)  # it has a fixed time, so that the same files make the same wheel
            entry.external_attr = 0o644 << 16
            z.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return wheel


def _digest(content):
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
