"""What an instructor decides during a term, kept in .grading/term.json beside the gradebook.

Extensions, when a submission was handed in, exercises that are excused, whether feedback shows solutions.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from autograde import atomic_write
from autograde.course import Course
from autograde.errors import CourseError, UsageError

WAYS = "write it as 2026-12-01 or 2026-12-01T18:00 in local time, or with an offset: 2026-12-01T18:00+01:00"
INSTRUCTOR = "instructor"  # the source of a time that a person gave
LOCK_SECONDS = 10.0  # to wait for another command that changes the file
DAY_CHARACTERS = 10  # of a date without a time


@dataclass(frozen=True)
class Received:
    """When a notebook was handed in, and who says so.

    time: ISO 8601 with an offset. source: such as "Blackboard", or "instructor".
    notebook: the digest of the notebook that it is about: for another one the time is unknown.
    """

    time: str
    source: str
    notebook: str


@dataclass
class LessonTerm:
    """Of one lesson.

    extensions: the time until which a student may hand in, ISO 8601 with an offset, by student.
    received: by student.
    excused: exercises for which all who handed in get full points.
    solutions: whether feedback shows the reference solution beside each answer.
    due: the lesson's due date as the last run found it in the gradebook, ISO 8601; "none" where there was
    none, "" before the first run.
    """

    extensions: dict[str, str] = field(default_factory=dict)
    received: dict[str, Received] = field(default_factory=dict)
    excused: list[str] = field(default_factory=list)
    solutions: bool = False
    due: str = ""


def place(course: Course) -> Path:
    """The file."""
    return course.grading / "term.json"


def of_lesson(course: Course, lesson: str) -> LessonTerm:
    """What was decided for a lesson. Raises CourseError where the file cannot be read."""
    return _read(place(course)).get(lesson) or LessonTerm()


@contextmanager
def change(course: Course, lesson: str) -> Iterator[LessonTerm]:
    """For a `with` statement: what is changed inside is written at its end. Raises CourseError."""
    path = place(course)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock"), timeout=LOCK_SECONDS):
        everything = _read(path)
        found = everything.setdefault(lesson, LessonTerm())
        yield found
        text = json.dumps({name: asdict(one) for name, one in sorted(everything.items())}, indent=1)
        atomic_write.write(path, text + "\n")


def notebook_digest(path: Path) -> str:
    """What says which notebook a time is about. Raises OSError."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def receive(course: Course, lesson: str, student: str, when: dt.datetime, source: str) -> None:
    """Keep that the notebook which lies in the student's folder now was handed in at a time.

    Raises CourseError where there is none.
    """
    path = course.grading / "submitted" / student / lesson / f"{lesson}.ipynb"
    if not path.is_file():
        raise CourseError(f"There is no {path}: the time of a submission is kept once it is there.")
    received = Received(when.isoformat(), source, notebook_digest(path))
    with change(course, lesson) as term:
        known = term.received.get(student)
        if known and known.source == INSTRUCTOR != source and known.notebook == received.notebook:
            return  # what the instructor said of this very notebook stands
        term.received[student] = received


def parse_time(text: str) -> dt.datetime:
    """A time from what a person writes; a date alone means the end of that day. Raises UsageError."""
    try:
        found = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{text!r} is no time: {WAYS}.") from None
    if len(text.strip()) <= DAY_CHARACTERS:
        found = found.replace(hour=23, minute=59, second=59)
    return found if found.tzinfo else found.astimezone()


def as_utc(when: dt.datetime) -> dt.datetime:
    """A time as nbgrader's gradebook keeps it: in UTC, without saying so."""
    return when.astimezone(dt.UTC).replace(tzinfo=None)


def shown_time(when: dt.datetime) -> str:
    """A time as a person reads it: local, with its offset; one without an offset is nbgrader's, so UTC."""
    aware = when if when.tzinfo else when.replace(tzinfo=dt.UTC)
    return f"{aware.astimezone():%Y-%m-%d %H:%M %Z}"


def _read(path: Path) -> dict[str, LessonTerm]:
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(f"{path} cannot be read: {error}.") from None
    try:
        return {name: _lesson(row) for name, row in json.loads(content).items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CourseError(f"{path} is damaged ({error}): mend it, or bring back a copy of it.") from None


def _lesson(row: dict[str, Any]) -> LessonTerm:
    received = {student: Received(**one) for student, one in row["received"].items()}
    for text in (*row["extensions"].values(), *(one.time for one in received.values())):
        if dt.datetime.fromisoformat(text).tzinfo is None:
            raise ValueError(f"{text} has no offset")
    found = LessonTerm(**{**row, "received": received})
    if type(found.solutions) is not bool or not all(type(name) is str for name in found.excused):
        raise ValueError("solutions is true or false, excused a list of names")
    return found
