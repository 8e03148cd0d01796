"""Which lessons were verified whole, and in what state of their files: verified.toml beside the hidden tests.

`autograde verify` and `verify --mutants` write it where a lesson holds. With `--brief` such a lesson gets,
while its files and what judges them stay as they were, a tenth of the seeds, and no trivial answers and no
mutants: CI has 45 minutes for all lessons.
"""

import contextlib
import hashlib
import tomllib
from pathlib import Path
from typing import Literal

from autograde import atomic_write
from autograde.course import Course, answers, hidden_tests
from autograde.errors import CourseError

PACKAGE = Path(__file__).parents[1]
JUDGING = ("*.py", "authoring/*.py", "judging/*.py", "sandbox/*.py")  # of the package: by it a lesson holds
FILE = "verified.toml"
HEAD = "# In which state of its files each lesson held whole; written by `autograde verify`, never by hand.\n"
What = Literal["answers", "mutants"]


def state(course: Course, name: str) -> str:
    """A digest of what decides: the lesson's three files, all that judges them, and versions of libraries."""
    judging = sorted(path for pattern in JUDGING for path in PACKAGE.glob(pattern))
    own = course.source(name), hidden_tests(name), answers(name)
    found = hashlib.sha256()
    for path in (*own, *judging, course.root / "constraints.txt"):
        content = path.read_bytes() if path.exists() else b""  # what is missing, verify itself will name
        found.update(hashlib.sha256(content).digest())
    return found.hexdigest()[:16]


def holds(name: str, what: What, now: str) -> bool:
    """Whether the lesson held so in the state that it has now. Raises CourseError for a damaged file."""
    return _read().get(name, {}).get(what) == now


def keep(name: str, what: What, then: str) -> None:
    """Note that the lesson holds so in a state. Raises CourseError for a damaged file."""
    rows = _read()
    rows.setdefault(name, {})[what] = then
    text = HEAD + "".join(
        f"\n[{lesson}]\n" + "".join(f'{key} = "{value}"\n' for key, value in sorted(row.items()))
        for lesson, row in sorted(rows.items())
    )
    with contextlib.suppress(OSError):  # a package that is installed, and not checked out, may be read-only
        atomic_write.write(_path(), text)


def _path() -> Path:
    return hidden_tests("any").with_name(FILE)


def _read() -> dict[str, dict[str, str]]:
    try:
        return tomllib.loads(_path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CourseError(f"{_path()} cannot be read: {error}. Delete it: verify writes it anew.") from None
