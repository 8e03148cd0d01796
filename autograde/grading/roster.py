"""Who is in the class: read from what an LMS exports, kept in nbgrader's gradebook."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nbgrader.api import Gradebook

from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading.gradebook import is_begun, one_line_errors, open_gradebook
from autograde.grading.student_names import PLAIN, plain_name, printable, same_name

DETAILS = ("first_name", "last_name", "email", "lms_user_id")
MOST_FAULTS = 3  # that a message lists


@dataclass(frozen=True)
class Person:
    """One of the class; what is not known is "".

    id: what the folder of submissions is called. lms_user_id: Canvas's number, or Moodle's ID number.
    """

    id: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    lms_user_id: str = ""


@dataclass
class Entered:
    """What became of a roster: ids of those who were added, changed or not; others stay as they were."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    not_in_file: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What a person reads: how many, and whom the gradebook has beside them."""
        told = [f"{len(self.added)} added, {len(self.changed)} changed, {len(self.unchanged)} unchanged."]
        others = ", ".join(self.not_in_file)
        return told + ([f"In the gradebook and not in the file, kept: {others}."] if others else [])


@dataclass(frozen=True)
class _Layout:
    """The columns of a kind of file: those that tell it, and those that may hold the id, in order."""

    name: str
    told_by: tuple[str, ...]
    ids: tuple[str, ...]
    lms_user_id: str
    full_name: str = ""


LAYOUTS = (
    _Layout("Canvas", ("student", "id"), ("sis login id", "id"), "id", "student"),
    _Layout("nbgrader", ("id",), ("id",), "lms user id", "name"),
    _Layout("list", ("student",), ("student",), "lms user id", "name"),
    _Layout("Moodle", ("first name",), ("username", "email address", "id number"), "id number"),
)
EXPECTED = (
    "Canvas's gradebook (Student, ID, SIS Login ID), Moodle's participants or grades (First name, with "
    "Username, Email address or ID number), nbgrader's (id, first_name, last_name, email, lms_user_id), "
    "or a list (student, name)"
)


def read_roster(path: Path) -> list[Person]:
    """The people of a file in CSV, in its order. Raises CourseError, with the numbers of odd rows."""
    header, *rows = _table(path)
    columns = [_column(name) for name in header]
    layout = next((one for one in LAYOUTS if set(one.told_by) <= set(columns)), None)
    if layout is None or not set(layout.ids) & set(columns):
        found = ", ".join(printable(name, 30) for name in header[:12])
        raise CourseError(f"{path}: its columns ({found}) are none of those expected: {EXPECTED}.")
    people: list[Person] = []
    faults: list[str] = []
    seen: dict[str, int] = {}
    for number, cells in enumerate(rows, 2):
        row = dict(zip(reversed(columns[: len(cells)]), reversed(cells[: len(columns)]), strict=True))
        if _is_nobody(layout, row):
            continue
        person = _person(layout, row)
        if fault := _fault(person, seen):
            faults.append(f"row {number}: {fault}")
        seen.setdefault(person.id, number)
        people.append(person)
    if faults or not people:
        more = [f"{len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        said = "; ".join([*faults[:MOST_FAULTS], *more]) or "nobody is in it"
        raise CourseError(f"{path}: {said}. Mend the file: nobody was entered.")
    return people


def enter(course: Course, people: Iterable[Person]) -> Entered:
    """Write people to the gradebook; what a person's row does not say stays. Raises CourseError."""
    entered, given = Entered(), {person.id: person for person in people}
    course.grading.mkdir(mode=0o700, parents=True, exist_ok=True)
    with one_line_errors(course), open_gradebook(course) as gradebook:
        before = {row.id: {name: getattr(row, name) for name in DETAILS} for row in gradebook.students}
        for person in given.values():
            _enter(gradebook, person, before.get(person.id), entered)
    entered.not_in_file = sorted(before.keys() - given.keys())
    return entered


def known(course: Course) -> dict[str, Person]:
    """Everybody whom a roster names, by id; not those of whom the gradebook has no more than a submission.

    Raises CourseError.
    """
    if not is_begun(course):
        return {}
    with one_line_errors(course), open_gradebook(course) as gradebook:
        rows = [(row.id, [getattr(row, name) for name in DETAILS]) for row in gradebook.students]
    return {
        student: Person(student, *(value or "" for value in details))
        for student, details in sorted(rows)
        if any(value is not None for value in details)
    }


def _enter(gradebook: Gradebook, person: Person, before: dict[str, str | None] | None, to: Entered) -> None:
    old = before or dict.fromkeys(DETAILS)
    # A name that is "" and not NULL is the mark of one who is on a roster.
    new = {name: getattr(person, name) or old[name] for name in DETAILS}
    new |= {name: new[name] or "" for name in ("first_name", "last_name")}
    if before is None or new != old:
        gradebook.update_or_create_student(person.id, **new)
    (to.added if before is None else to.changed if new != old else to.unchanged).append(person.id)


def _table(path: Path) -> list[list[str]]:
    """The rows of a file, the header first. Raises CourseError."""
    try:
        text = _decode(path.read_bytes())
    except OSError as error:
        raise CourseError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CourseError(f"{path} is no text in UTF-8 or UTF-16: save it as “CSV UTF-8”.") from None
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise CourseError(f"{path} is no CSV file: {error}.") from None
    if not rows:
        raise CourseError(f"{path} is empty.")
    return rows


def _decode(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    if b"\0" in content[:200]:  # UTF-16 without its mark
        return content.decode("utf-16-be" if content[:1] == b"\0" else "utf-16-le")
    return content.decode("utf-8-sig")


def _column(name: str) -> str:
    """A column's name in small letters; Moodle said Surname for long."""
    plain = " ".join(name.replace("_", " ").casefold().split())
    return {"surname": "last name", "e-mail": "email"}.get(plain, plain)


def _is_nobody(layout: _Layout, row: dict[str, str]) -> bool:
    """A blank row; of Canvas's also the row of possible points, the one above it, and its test student."""
    filled = [value.strip() for value in row.values() if value.strip()]
    if layout.name != "Canvas" or not filled:
        return not filled
    student = row.get("student", "").strip()
    no_id = not any(row.get(column, "").strip() for column in layout.ids)
    return student == "Student, Test" or (no_id and student in ("", "Points Possible"))


def _person(layout: _Layout, row: dict[str, str]) -> Person:
    def value(*columns: str) -> str:
        """The first of some columns that has something, without line ends in it."""
        return next((found for name in columns if (found := " ".join(row.get(name, "").split()))), "")

    last, first = _split(value(layout.full_name) if layout.full_name else "")
    return Person(
        id=same_name(value(*layout.ids)),
        first_name=value("first name") or first,
        last_name=value("last name") or last,
        email=value("email address", "email"),
        lms_user_id=value(layout.lms_user_id),
    )


def _fault(person: Person, seen: dict[str, int]) -> str:
    """What is wrong with a row, or ""."""
    if not person.id:
        return "no id"
    if not plain_name(person.id):
        return f"the id {printable(person.id, 40)!r}, where {PLAIN}"
    if person.id in seen:
        return f"the id {person.id!r} of row {seen[person.id]} again"
    return ""


def _split(full: str) -> tuple[str, str]:
    """The last and the first name of "Liddell, Alice" and of "Alice Liddell"."""
    if "," in full:
        last, _, first = full.partition(",")
    else:
        first, _, last = full.rpartition(" ")
    return last.strip(), first.strip()
