"""Runs the Python code of docs/sharedctypes.md, and reports names that the page does not have.

    python3 test/interop/testdata/sharedctypes/page.py docs/sharedctypes.md
"""

import ctypes
import doctest
import inspect
import re
import sys
from multiprocessing import sharedctypes


def run(page):
    """Run the blocks of code as one session; return how many lines failed."""
    code = "\n".join(re.findall(r"```pycon\n(.*?)```\n", page, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(code, {}, "sharedctypes.md", None, None)
    if len(test.examples) < 50:
        sys.exit(f"only {len(test.examples)} lines of Python")
    # The text of an exception differs between versions, and an address between runs.
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    return runner.run(test).failed


def contents():
    """Yield each public name of sharedctypes, and each argument and method."""
    for name in sharedctypes.__all__:
        yield name
        yield from inspect.signature(getattr(sharedctypes, name)).parameters
    for cls in ("SynchronizedBase", "Synchronized", "SynchronizedArray", "SynchronizedString"):
        for name, member in vars(getattr(sharedctypes, cls)).items():
            if name != "__init__" and (inspect.isfunction(member) or isinstance(member, property)):
                yield name
    obj = sharedctypes.Value("i")
    yield from (name for name in vars(obj) if not name.startswith("_"))


def missing(page):
    """Yield the names and typecodes that are not in the tables of the page."""
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    # The code in the first column, without its strings.
    first = " ".join(code for row in rows for code in re.findall("`([^`]+)`", row.split(" | ")[0]))
    first = re.sub("'[^']*'", "", first)
    for name in sorted(set(contents())):
        if not re.search(rf"\b{name}\b", first):
            yield name
    for code, type_ in sharedctypes.typecode_to_type.items():
        row = next((row.split(" | ") for row in rows if row.startswith(f"| `'{code}'` |")), None)
        if row is None:
            yield f"typecode {code}"
        elif getattr(ctypes, row[1].strip("` ")) is not type_ or f"`{in_go(code, type_)}`" not in row[2]:
            yield f"typecode {code} as {type_.__name__} and {in_go(code, type_)}"


def in_go(code, type_):
    if code in "cu":  # characters, which are numbers in Go
        return {1: "uint8", 4: "rune"}[ctypes.sizeof(type_)]
    kind = "float" if isinstance(type_().value, float) else "int" if type_(-1).value < 0 else "uint"
    return f"{kind}{8 * ctypes.sizeof(type_)}"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as f:
        text = f.read()
    failed = run(text)
    absent = list(missing(text))
    if absent:
        print("not in the tables:", ", ".join(absent))
    sys.exit(bool(failed or absent))
