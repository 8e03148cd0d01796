"""What a verdict depends on: a digest of it, kept beside the verdict, says whether to grade once more."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from autograde.course import Course, hidden_tests
from autograde.grading.submission_files import plain_files


def ingredients(course: Course, lesson: str) -> bytes:
    """A digest of what all submissions of a lesson are held against. Raises OSError where a part is gone."""
    files = (course.released(lesson), hidden_tests(lesson), course.root / "nbgrader_config.py")
    return b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)


def key(held_against: bytes, folder: Path) -> str:
    """A digest of those `ingredients` and of a submission's folder. Raises CourseError, OSError."""
    digest = hashlib.sha256(held_against)
    for path in sorted(plain_files(str(folder))):
        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        digest.update(f"{os.path.relpath(path, folder)}\0{content}\0".encode(errors="surrogatepass"))
    return digest.hexdigest()


def marker(course: Course, student: str, lesson: str) -> Path:
    """The file that `autograde grade` leaves when a submission is graded: its key and its row."""
    return course.grading / "autograded" / student / lesson / f"{lesson}.graded.json"


def read(path: Path) -> dict[str, Any]:
    """What is in a marker; nothing where there is none, or no whole one."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
