"""Steps of a term in the small course: hand in, grade by the command, grade by hand, read what came of it."""

import csv
import datetime as dt

from classroom import RUNNING, WEIGHTED, filled, hand_in
from click.testing import Result
from command_line import run
from small_course import NAME

from autograde.course import Course
from autograde.grading.gradebook import open_gradebook

DONE = {"weighted-mean": WEIGHTED, "running-mean": RUNNING}  # nothing waits for a grader
ONE = {"running-mean": RUNNING}


def table(course: Course, lms: str) -> dict[str, dict[str, str]]:
    key = {"canvas": "SIS Login ID", "moodle": "Username", "students": "student"}[lms]
    rows = csv.DictReader((course.grading / "grades" / f"{NAME}.{lms}.csv").open())
    return {row[key]: row for row in rows if row[key]}


def exported(course: Course) -> dict[str, str]:
    found = {student: row[NAME] for student, row in table(course, "canvas").items()}
    assert found == {student: row[NAME] for student, row in table(course, "moodle").items()}
    return found


def graded(*more: str) -> Result:
    return run("grade", NAME, "--jobs", "1", *more)


def handed_in(course: Course, **answers: dict[str, str]) -> None:
    for student, sources in answers.items():
        hand_in(course, student, filled(course, sources))


def at(day: int) -> dt.datetime:
    return dt.datetime(2026, 1, day, 12, tzinfo=dt.UTC)


def page(course: Course, student: str) -> str:
    return (course.grading / "feedback" / student / NAME / f"{NAME}.html").read_text()


def by_hand(course: Course, student: str, points: float, comment: str = "") -> None:
    with open_gradebook(course) as gradebook:
        found = gradebook.find_grade("why-mean", NAME, NAME, student)
        found.manual_score, found.needs_manual_grade = points, False
        gradebook.find_comment("why-mean", NAME, NAME, student).manual_comment = comment
        gradebook.db.commit()
