"""What a verdict depends on: digests of it, kept beside the verdict, say whether to grade once more."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autograde.course import Course, hidden_tests
from autograde.errors import CourseError
from autograde.grading import term
from autograde.grading.submission_files import plain_files

# What hidden tests import; the grader does not, for it brings NumPy.
CHECKS = Path(__file__).parents[1] / "checks.py"


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


def of_submission(course: Course, lesson: str, student: str) -> Key:
    """The key of what a student has handed in. Raises CourseError, OSError."""
    return key(ingredients(course, lesson), course.grading / "submitted" / student / lesson)


def of_verdict(path: Path) -> Key | None:
    """The key of what a verdict file is about; None where there is none that says so."""
    try:
        given = json.loads(path.read_bytes())["key"]
        return Key(**{**given, "excused": tuple(given["excused"])})
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


@dataclass(frozen=True)
class Marker:
    """What `autograde grade` leaves when all is done: digests of what the page shows, and of the page."""

    feedback: str
    page: str

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
        return Marker(str(found["feedback"]), str(found["page"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def page_digest(path: Path) -> str:
    """The digest of a page; "" where there is none."""
    return _digest(path) if path.is_file() else ""


def verdict_path(course: Course, lesson: str, student: str) -> Path:
    """Where grading writes a submission's verdict."""
    return course.grading / "autograded" / student / lesson / f"{lesson}.verdict.json"


def is_stale(course: Course, lesson: str, student: str, held_against: Key) -> bool:
    """Whether a verdict is not known to be on what lies there now."""
    try:
        return of_verdict(verdict_path(course, lesson, student)) != key(
            held_against, course.grading / "submitted" / student / lesson
        )
    except (CourseError, OSError):  # it cannot be graded any more
        return True


def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)).hexdigest()
