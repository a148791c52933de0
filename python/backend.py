"""Builds the package's wheel for pip (PEP 517), so that `pip install ./python` needs no network and no setuptools."""

import base64
import hashlib
import os
import zipfile

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
    files[INFO + "METADATA"] = METADATA.encode() + _read("README.md")
    files[INFO + "WHEEL"] = b"Wheel-Version: 1.0\nGenerator: shm\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = [f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items()]
    files[INFO + "RECORD"] = "".join([*record, f"{INFO}RECORD,,\n"]).encode()
    wheel = NAME + "-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as z:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)  # it has a fixed time, so that the same files make the same wheel
            entry.external_attr = 0o644 << 16
            z.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return wheel


def _read(*path):
    with open(os.path.join(*path), "rb") as f:
        return f.read()


def _digest(content):
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
