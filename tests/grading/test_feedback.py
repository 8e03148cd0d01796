"""A page is drawn from the gradebook and the term, and its digest changes with all that it shows."""

from collections.abc import Callable
from dataclasses import replace

import nbformat
import pytest
from classroom import RIGHT, filled, hand_in, released, run
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from small_course import NAME, course

from autograde.cells import grade_id
from autograde.course import Course
from autograde.grading import feedback, term
from autograde.grading.feedback import digest
from autograde.grading.gradebook import open_gradebook
from autograde.grading.recorded import Grade, Recorded

__all__ = ["course", "released"]
GRADES = {"test-kl": Grade(2.0, None, 0.0, 3.0, False), "why-mean": Grade(None, 1.0, 0.0, 2.5, False)}
GRADED = Recorded("alice", GRADES, {"kl": "Good."}, 1.0, None)


def page(course: Course, student: str) -> str:
    return (course.grading / "feedback" / student / NAME / f"{NAME}.html").read_text()


def test_a_page_shows_what_graders_gave_and_said(released):
    wrong = {**RIGHT, "weighted-mean": "def weighted_mean(x, w):\n    return 1 / 0\n"}
    hand_in(released, "alice", filled(released, wrong))
    run(released, Autograde)
    run(released, GenerateFeedback)
    assert "8 of 22.5 so far; 1 answer is not graded yet" in page(released, "alice")
    with open_gradebook(released) as gradebook:
        grade = gradebook.find_grade("why-mean", NAME, NAME, "alice")
        grade.manual_score, grade.needs_manual_grade = 1.5, False
        gradebook.find_comment("why-mean", NAME, NAME, "alice").manual_comment = "Half of it."
        gradebook.find_submission_notebook(NAME, NAME, "alice").late_submission_penalty = 3
        gradebook.db.commit()
    run(released, GenerateFeedback, force=True)
    shown = page(released, "alice")
    for words in ("6.5 of 22.5 points", "late: −3", "1.5 of 2.5", "Half of it.", "Feedback for alice"):
        assert words in shown
    assert "Weights count. Your code raised ZeroDivisionError." in shown
    assert "passed</b> <span>Two numbers.</span>" in shown


def test_there_is_no_page_of_what_is_not_recorded(released):
    hand_in(released, "alice", filled(released, RIGHT))
    run(released, Autograde)
    with open_gradebook(released) as gradebook:
        gradebook.remove_submission(NAME, "alice")
    with pytest.raises(NbGraderException):
        run(released, GenerateFeedback)
    assert not (released.grading / "feedback" / "alice" / NAME).exists()


def _again(course: Course) -> tuple[Recorded, str]:
    return GRADED, "key"


def _decide(**decisions: object) -> Callable[[Course], tuple[Recorded, str]]:
    def change(course: Course) -> tuple[Recorded, str]:
        with term.change(course, NAME) as decided:
            for name, value in decisions.items():
                setattr(decided, name, value)
        return GRADED, "key"

    return change


def _grade(name: str, **changes: object) -> Callable[[Course], tuple[Recorded, str]]:
    return lambda course: (replace(GRADED, grades={**GRADES, name: replace(GRADES[name], **changes)}), "key")


CHANGES = {
    "an automatic grade": _grade("test-kl", automatic=3.0),
    "a manual grade": _grade("why-mean", manual=0.0),
    "no manual grade": _grade("why-mean", manual=None),
    "extra points": _grade("why-mean", extra=0.5),
    "the maximum": _grade("test-kl", maximum=4.0),
    "waits": _grade("why-mean", waits=True),
    "a comment": lambda course: (replace(GRADED, comments={"kl": "Good!"}), "key"),
    "no comment": lambda course: (replace(GRADED, comments={}), "key"),
    "a comment elsewhere": lambda course: (replace(GRADED, comments={"why-mean": "Good."}), "key"),
    "the penalty": lambda course: (replace(GRADED, penalty=2.0), "key"),
    "the student": lambda course: (replace(GRADED, student="bob"), "key"),
    "the verdict": lambda course: (GRADED, "another key"),
    "excused": _decide(excused=["kl"]),
    "solutions": _decide(solutions=True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_of_what_a_page_shows_changes_its_digest(released, change):
    before = digest(released, NAME, GRADED, "key")
    assert digest(released, NAME, *_again(released)) == before
    assert digest(released, NAME, *change(released)) != before


@pytest.mark.parametrize("name", ["FORMAT", "TEMPLATE", "STYLE"])
def test_another_format_of_the_page_changes_every_digest(released, monkeypatch, name):
    before = digest(released, NAME, GRADED, "key")
    monkeypatch.setattr(feedback, name, "another")
    assert digest(released, NAME, GRADED, "key") != before


def test_the_solutions_text_counts_only_where_it_is_shown(released):
    hidden = digest(released, NAME, GRADED, "key")
    _decide(solutions=True)(released)
    shown = digest(released, NAME, GRADED, "key")
    path = released.instructors(NAME)
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        if grade_id(cell) == "why-mean":
            cell.source = cell.source.replace("squared distances", "distances, squared")
    nbformat.write(notebook, path)
    assert digest(released, NAME, GRADED, "key") != shown
    _decide(solutions=False)(released)
    assert digest(released, NAME, GRADED, "key") == hidden


def test_what_the_page_does_not_show_leaves_the_digest(released):
    before = digest(released, NAME, GRADED, "key")
    _decide(extensions={"alice": "2026-12-01T18:00:00+01:00"})(released)
    assert digest(released, NAME, GRADED, "key") == before
