"""A term in the report: who had until when, who was late, of whom nobody knows, who handed in nothing."""

import datetime as dt
import json

import pytest
from classroom import released
from command_line import refused, run
from small_course import NAME, course
from verdict_files import graded

from autograde.course import Course
from autograde.grading import term
from autograde.grading.gradebook import open_gradebook
from autograde.report.deadlines import Late
from autograde.report.page import page
from autograde.report.statistics import report

__all__ = ["course", "graded", "released"]
DUE = dt.datetime(2026, 12, 1, 17, 0)  # as nbgrader keeps it: UTC, without saying so
HOUR = dt.timedelta(hours=1)
CAME = {"a": -HOUR, "b": 26 * HOUR, "c": dt.timedelta(minutes=5), "d": None, "e": 49 * HOUR}
LONGER = {"b": 30 * HOUR, "e": -2 * HOUR, "Zoë": 48 * HOUR}


@pytest.fixture
def term_course(graded: Course, monkeypatch: pytest.MonkeyPatch) -> Course:
    """A class with a due date: b, who came late, had more time; e's extension ends before the due date."""
    with open_gradebook(graded) as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate=DUE)
        for student, came in CAME.items():
            gradebook.add_student(student)
            submission = gradebook.add_submission(NAME, student)
            submission.timestamp = came and DUE + came
            submission.notebooks[0].late_submission_penalty = 2.5 if student == "e" else None
        for student in ("Zoë", "<i>x\u202e"):
            gradebook.add_student(student)
        gradebook.db.commit()
    with term.change(graded, NAME) as decided:
        for student, longer in LONGER.items():
            decided.extensions[student] = (DUE + longer).replace(tzinfo=dt.UTC).isoformat()
        decided.excused.append("running-mean")
    return graded


def test_a_terms_facts(term_course):
    found = report(term_course, NAME).deadlines
    assert dt.datetime.fromisoformat(found.due) == DUE.replace(tzinfo=dt.UTC)
    assert found.late == [Late("e", 49 * 3600, 2.5), Late("c", 300, 0)]
    assert (found.timeless, found.excused) == (["d"], ["running-mean"])
    assert found.absent == ["<i>x\u202e", "Zoë"] and set(found.extensions) == set(LONGER)


def test_the_terminal_says_them(term_course, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    said = " ".join(run("report", NAME).output.split())
    due, more = (term.shown_time(time) for time in (DUE, DUE + 48 * HOUR))
    assert f"Due: {due}." in said and f"Zoë until {more}, b until" in said
    assert "Late (2; it cost 2.5 points in all): e by 2 d 1 h, 2.5 points, c by 5 min." in said
    assert "No known time of submission (1), so late or not: d." in said
    assert "Excused, with full points for all who handed in: running-mean." in said
    assert "On the roster, nothing handed in (2): <i>x\\u202e, Zoë." in said


def test_page_and_json_have_them_too(term_course):
    text = page(report(term_course, NAME))
    assert "e by 2 d 1 h" in text and "&lt;i&gt;x\\u202e, Zoë" in text and "<i>x" not in text
    assert "running-mean</td>" in text and term.shown_time(DUE) in text
    found = json.loads(run("report", NAME, "--json").stdout)["deadlines"]
    assert found["late"][0] == {"student": "e", "seconds": 49 * 3600, "penalty": 2.5}
    assert found["due"] == "2026-12-01T17:00:00+00:00" and found["absent"] == ["<i>x\u202e", "Zoë"]


def test_without_a_due_date_nobody_is_late_or_without_a_time(graded):
    with open_gradebook(graded) as gradebook:
        gradebook.add_student("a")
        gradebook.add_submission(NAME, "a").timestamp = DUE
        gradebook.db.commit()
    found = report(graded, NAME).deadlines
    assert found.due is None and found.late == found.timeless == found.absent == []
    assert "Term" not in run("report", NAME).output.split()


def test_a_damaged_file_of_the_term_is_one_line(graded):
    term.place(graded).write_text("{")
    refused(run("report", NAME), 1, "term.json is damaged")
