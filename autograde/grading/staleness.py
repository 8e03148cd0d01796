"""What a verdict depends on: digests of it, kept beside the verdict, say whether to grade once more."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autograde.course import HIDDEN, Course, hidden_tests
from autograde.errors import CourseError
from autograde.grading import term
from autograde.grading.submission_files import plain_files

CHECKS = HIDDEN.parent / "checks.py"  # what hidden tests import; the grader does not, for it brings NumPy


@dataclass(frozen=True)
class Key:
    """Digests: of the submission's folder, the release, the hidden tests; and which exercises are excused."""

    submission: str
    lesson: str
    tests: str
    excused: tuple[str, ...]


def ingredients(course: Course, lesson: str) -> Key:
    """What all submissions of a lesson are held against. Raises OSError where a part is gone."""
    tests = _digest(hidden_tests(lesson), CHECKS)
    excused = tuple(sorted(term.of_lesson(course, lesson).excused))
    return Key("", _digest(course.released(lesson)), tests, excused)


def key(held_against: Key, folder: Path) -> Key:
    """Those `ingredients` with a submission's folder. Raises CourseError, OSError."""
    digest = hashlib.sha256()
    for path in sorted(plain_files(str(folder))):
        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        digest.update(f"{os.path.relpath(path, folder)}\0{content}\0".encode(errors="surrogatepass"))
    return Key(digest.hexdigest(), held_against.lesson, held_against.tests, held_against.excused)


@dataclass(frozen=True)
class Marker:
    """What `autograde grade` leaves when a submission is graded: its key, and the digest of its feedback."""

    key: Key
    feedback: str

    def text(self) -> str:
        """The marker as its file has it."""
        return json.dumps(asdict(self), indent=1) + "\n"


def marker(course: Course, student: str, lesson: str) -> Path:
    """The file of a submission's marker."""
    return course.grading / "autograded" / student / lesson / f"{lesson}.graded.json"


def read(path: Path) -> Marker | None:
    """What is in a marker; None where there is none, or no whole one."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        given = found["key"]
        return Marker(Key(**{**given, "excused": tuple(given["excused"])}), str(found["feedback"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def is_stale(course: Course, lesson: str, student: str, held_against: Key) -> bool:
    """Whether a verdict is known to be on something else than what lies there now."""
    folder, found = course.grading / "submitted" / student / lesson, read(marker(course, student, lesson))
    if found is None or not folder.is_dir():
        return False
    try:
        return key(held_against, folder) != found.key
    except (CourseError, OSError):  # it cannot be graded any more
        return True


def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)).hexdigest()
