"""Which lessons were verified whole, and in what state of their files: verified.toml beside the hidden tests.

`autograde verify` and `verify --mutants` write it where a lesson holds. With `--brief` such a lesson gets,
while its files and what judges them stay as they were, a tenth of the seeds, and no trivial answers and no
mutants: CI has 45 minutes for all lessons. `verify --seeds` notes with how many seeds the right answers held,
and goes on from there.
"""

import contextlib
import hashlib
import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from autograde import atomic_write
from autograde.course import Course, answers, hidden_tests
from autograde.errors import CourseError

PACKAGE = Path(__file__).parents[1]
JUDGING = ("*.py", "authoring/*.py", "judging/*.py", "sandbox/*.py")  # of the package: by it a lesson holds
APART = {  # of these: what is said and kept, what makes notebooks, and the kernel: each run goes through
    *("__main__.py", "atomic_write.py", "cli.py", "demo.py", "doctor.py", "self_study.py"),
    *("authoring/bundle.py", "authoring/fairness.py", "authoring/quality.py", "authoring/release.py"),
    *("authoring/setup_cell.py", "authoring/shifted_seeds.py", "authoring/tracks.py"),
    *("authoring/verified.py", "judging/judge_client.py", "judging/judge_process.py"),
    *("sandbox/bubblewrap.py", "sandbox/cell_executor.py", "sandbox/cgroups.py", "sandbox/channel.py"),
    *("sandbox/confined.py", "sandbox/forkserver.py", "sandbox/forkserver_client.py"),
    *("sandbox/kernel_process.py", "sandbox/outputs.py", "sandbox/protocol.py", "sandbox/remote.py"),
    *("sandbox/seccomp.py", "sandbox/session.py", "sandbox/standing.py"),
}
JUDGES = (
    "genmap",
    "genmap-autograde",
)  # the versions of what these need decide, those of other libraries do not
FILE = "verified.toml"
HEAD = "# In which state of its files each lesson held whole; written by `autograde verify`, never by hand.\n"
What = Literal["answers", "mutants"]


def state(course: Course, name: str) -> str:
    """A digest of what decides: the lesson's three files, all that judges them, and versions of libraries."""
    found = sorted(path for pattern in JUDGING for path in PACKAGE.glob(pattern))
    judging = [path for path in found if path.relative_to(PACKAGE).as_posix() not in APART]
    own = course.source(name), hidden_tests(name), answers(name)
    digest = hashlib.sha256()
    for path in (*own, *judging):
        content = path.read_bytes() if path.exists() else b""  # what is missing, verify itself will name
        digest.update(hashlib.sha256(content).digest())
    digest.update("\n".join(_pins(course)).encode())
    return digest.hexdigest()[:16]


def holds(name: str, what: What, now: str) -> bool:
    """Whether the lesson held so in the state that it has now. Raises CourseError for a damaged file."""
    return _read().get(name, {}).get(what) == now


def keep(name: str, what: What, then: str) -> None:
    """Note that the lesson holds so in a state. Raises CourseError for a damaged file."""
    _note(name, {what: then})


def seeds(name: str, now: str) -> int:
    """With how many seeds the right answers held in the state that the lesson has now. Raises CourseError."""
    row = _read().get(name, {})
    count = row.get("seeds", 0) if row.get("seeds_of") == now else 0
    if isinstance(count, int):
        return count
    raise CourseError(f"{_path()}: [{name}] seeds is no number. Delete the line.")


def keep_seeds(name: str, count: int, then: str) -> None:
    """Note with how many seeds, from the first, the right answers hold in a state. Raises CourseError."""
    _note(name, {"seeds": count, "seeds_of": then})


def _note(name: str, entries: dict[str, str | int]) -> None:
    rows = _read()
    rows.setdefault(name, {}).update(entries)
    text = HEAD + "".join(
        f"\n[{lesson}]\n"
        + "".join(
            f"{key} = {value}\n" if isinstance(value, int) else f'{key} = "{value}"\n'
            for key, value in sorted(row.items())
        )
        for lesson, row in sorted(rows.items())
    )
    with contextlib.suppress(OSError):  # a package that is installed, and not checked out, may be read-only
        atomic_write.write(_path(), text)


def _pins(course: Course) -> list[str]:
    """The lines of constraints.txt for the libraries that the two distributions need by themselves."""
    path = course.root / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    needed = {
        _library(each) for dist in JUDGES for each in metadata.requires(dist) or () if "extra ==" not in each
    }
    return sorted(line for line in lines if _library(line) in needed)


def _library(requirement: str) -> str:
    """The name of what is required, in the one way to write it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]).lower()


def _path() -> Path:
    return hidden_tests("any").with_name(FILE)


def _read() -> dict[str, dict[str, Any]]:
    try:
        return tomllib.loads(_path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CourseError(f"{_path()} cannot be read: {error}. Delete it: verify writes it anew.") from None
