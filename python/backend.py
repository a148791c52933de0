"""Builds the package's wheel for pip (PEP 517), so that `pip install ./python` needs no network and no setuptools.

If there is a C compiler, the wheel has the compiled module and is for one version of
CPython. Otherwise, or if SHM_PURE is set in the environment, it is for all of them.
"""

import base64
import hashlib
import os
import sys
import sysconfig
import tempfile
import zipfile

import native_build

NAME = "shm-0.1.0"
INFO = NAME + ".dist-info/"
METADATA = """\
Metadata-Version: 2.1
Name: shm
Version: 0.1.0
Summary: Typed values in shared memory, under one crash-safe lock with Go
Requires-Python: >=3.9
Classifier: Operating System :: POSIX :: Linux
Description-Content-Type: text/markdown

"""


def build_wheel(directory, config_settings=None, metadata_directory=None):
    """Write the wheel to a directory; return its file name. The current directory must be that of this file."""
    files = {f"shm/{name}": _read("shm", name) for name in sorted(os.listdir("shm")) if name.endswith(".py")}
    compiled = _compiled()
    files.update(compiled)
    tag = _tag() if compiled else "py3-none-any"
    pure = "false" if compiled else "true"
    files[INFO + "METADATA"] = METADATA.encode() + _read("README.md")
    files[INFO + "WHEEL"] = f"Wheel-Version: 1.0\nGenerator: shm\nRoot-Is-Purelib: {pure}\nTag: {tag}\n".encode()
    record = [f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items()]
    files[INFO + "RECORD"] = "".join([*record, f"{INFO}RECORD,,\n"]).encode()
    wheel = f"{NAME}-{tag}.whl"
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as z:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)  # it has a fixed time, so that the same files make the same wheel
            entry.external_attr = 0o644 << 16
            z.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return wheel


def _compiled():
    """Return the compiled module by its path in the wheel, or nothing if it cannot be compiled here."""
    if os.environ.get("SHM_PURE", "0") not in ("", "0"):
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


def _read(*path):
    with open(os.path.join(*path), "rb") as f:
        return f.read()


def _digest(content):
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
