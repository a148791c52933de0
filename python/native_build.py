"""Compiles shm/_native.c: python native_build.py [DIRECTORY]

The module is written to the directory, or beside its source, for the Python that runs
this. pip does the same when it builds the package (backend.py). Nothing is needed but a C
compiler and the headers of that Python. The environment variables CC, CFLAGS and LDFLAGS
mean what they mean elsewhere.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shm", "_native.c")
FLAGS = ["-std=gnu11", "-O2", "-fPIC", "-shared", "-pthread", "-fno-strict-aliasing", "-fwrapv"]


class Missing(Exception):
    """The module cannot be compiled here. The message says why."""


def name():
    """Return the file name of the module for this Python."""
    return "_native" + sysconfig.get_config_var("EXT_SUFFIX")


def build(directory):
    """Compile the module into a directory; return its file name. Raises Missing."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise Missing("the verbs in C need a CPython with a GIL; this Python uses those in Python")
    includes = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    if not any(os.path.exists(os.path.join(d, "Python.h")) for d in includes):
        raise Missing(f"there is no Python.h in {' or '.join(sorted(includes))} (Debian: install python3-dev)")
    with tempfile.TemporaryDirectory(dir=directory, prefix=".native-") as temporary:
        output = os.path.join(temporary, name())
        command = [*_compiler(), *FLAGS, *_words("CFLAGS"), *(f"-I{d}" for d in sorted(includes)), SOURCE, "-o", output, *_words("LDFLAGS")]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise Missing(f"{shlex.join(command)}: exit status {done.returncode}\n{done.stdout}")
        os.replace(output, os.path.join(directory, name()))
    return name()


def _words(variable):
    return shlex.split(os.environ.get(variable, ""))


def _compiler():
    wanted = _words("CC")
    if wanted:
        if shutil.which(wanted[0]) is None:
            raise Missing(f"there is no C compiler {wanted[0]}, which CC names")
        return wanted
    for command in (shlex.split(sysconfig.get_config_var("CC") or ""), ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            return command
    raise Missing("there is no C compiler: install gcc or clang, or name one in CC")


def main(args):
    try:
        directory = args[0] if args else os.path.dirname(SOURCE)
        print(os.path.join(directory, build(directory)))
    except (Missing, OSError) as e:
        sys.exit(f"not compiled: {e}")


if __name__ == "__main__":
    main(sys.argv[1:])
