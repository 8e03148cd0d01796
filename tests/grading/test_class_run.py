"""`autograde grade`: a class gets nbgrader's own scores; what fails is a row; what is graded stays."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from classroom import (
    FULL,
    RIGHT,
    RUNNING,
    WEIGHTED,
    autograded,
    configured,
    filled,
    gradebook_of,
    hand_in,
    mixed,
    outcome,
    released,
    scores,
)
from small_course import NAME, change, course

from autograde.authoring.release import release
from autograde.cells import grade_id
from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading import class_run as grading_of_a_class
from autograde.grading.class_run import grade
from autograde.grading.gradebook import open_gradebook
from autograde.grading.standing import State, standings
from autograde.grading.submission import course_secret
from autograde.report.statistics import report

__all__ = ["configured", "course", "released"]
PENALTY = "c.LateSubmissionPlugin.penalty_method = 'zero'\n"


def shown(course: Course, student: str) -> dict[str | None, list[dict]]:
    return {
        grade_id(cell): cell.get("outputs", [])
        for cell in nbformat.read(autograded(course, student), 4).cells
    }


def copy_of(course: Course, root: Path) -> Course:
    shutil.copytree(course.root, root)
    return Course.at(root)


def test_forty_submissions_get_what_nbgrader_gives_them(configured, tmp_path_factory):
    (configured.grading / "settings.py").write_text(PENALTY)
    mixed(configured)
    course_secret(configured.grading)
    theirs = copy_of(configured, tmp_path_factory.mktemp("theirs") / "course")
    line = [sys.executable, "-c", RUN.format(hidden=str(configured.root / "hidden"))]
    subprocess.run(line, cwd=theirs.root, check=True, stdin=subprocess.DEVNULL)
    found = outcome(configured)
    assert len(found) == 40 and {status for status, _ in found.values()} == {"graded"}
    assert gradebook_of(configured) == gradebook_of(theirs)
    assert {penalty for _, _, penalty in gradebook_of(configured).values()} > {0.0}
    for student in found:
        assert shown(configured, student) == shown(theirs, student)
        pages = [c.grading / "feedback" / student / NAME / f"{NAME}.html" for c in (configured, theirs)]
        # a dying kernel may or may not have told its cell's number
        ours, other = (re.sub(r"In&nbsp;\[(&nbsp;|\d)*\]", "", page.read_text()) for page in pages)
        assert ours == other


# nbgrader's own commands, in a process of their own, with the small course's hidden tests
RUN = """
from pathlib import Path
import autograde.course
autograde.course.HIDDEN = Path({hidden!r})
from nbgrader.apps import AutogradeApp, GenerateFeedbackApp
for command in (AutogradeApp, GenerateFeedbackApp):
    app = command()
    app.initialize(["90_small", "--log-level=ERROR"])
    app.start()
"""


def test_what_cannot_be_graded_is_a_row_with_its_reason(configured):
    for student in ("ann", "zoe"):
        hand_in(configured, student, filled(configured, RIGHT))
    hand_in(configured, "not-json", filled(configured, RIGHT)).write_text("{")
    hand_in(configured, "nothing", filled(configured, RIGHT)).unlink()
    path = hand_in(configured, "link", filled(configured, RIGHT))
    path.unlink()
    path.symlink_to(hand_in(configured, "ann", filled(configured, RIGHT)))
    hand_in(configured, "$(rm)", filled(configured, RIGHT))
    rows = {row.student: row for row in grade(configured, NAME, 2)}
    assert {s for s, row in rows.items() if row.status == "graded" and row.points == FULL} == {"ann", "zoe"}
    for student, word in {"not-json": "JSON", "nothing": "no 90", "link": "link", "$(rm)": "Rename"}.items():
        assert rows[student].status == "failed" and word in rows[student].reason
        assert "\n" not in rows[student].reason


def test_only_what_changed_is_graded_anew(configured):
    for student in ("ann", "bob"):
        hand_in(configured, student, filled(configured, {"running-mean": RUNNING}))
    assert outcome(configured) == {"ann": ("graded", 8), "bob": ("graded", 8)}
    assert outcome(configured) == {"ann": ("unchanged", 8), "bob": ("unchanged", 8)}
    assert report(configured, NAME).stale == []
    assert {row.name: row.blank for row in report(configured, NAME).exercises}["weighted-mean"] == 1
    hand_in(configured, "ann", filled(configured, RIGHT))
    assert report(configured, NAME).stale == ["ann"]
    assert outcome(configured) == {"ann": ("graded", FULL), "bob": ("unchanged", 8)}
    tests = configured.root / "hidden" / f"test_{NAME}.py"
    tests.write_text(tests.read_text().replace("== 1.5", "== 1.25"))
    assert report(configured, NAME).stale == ["ann", "bob"]
    assert outcome(configured) == {"ann": ("graded", 12), "bob": ("graded", 0)}
    with open_gradebook(configured) as gradebook:
        gradebook.remove_submission(NAME, "bob")
    assert outcome(configured) == {"ann": ("unchanged", 12), "bob": ("graded", 0)}
    change(configured, "The mean is", "A mean is")
    release(configured, [NAME])
    assert outcome(configured) == {"ann": ("graded", 12), "bob": ("graded", 0)}
    assert scores(configured) == {"ann": 12, "bob": 0}


def test_a_grade_by_hand_stays(configured):
    hand_in(configured, "ann", filled(configured, {**RIGHT, "weighted-mean": "weighted_mean = None\n"}))
    grade(configured, NAME, 1)
    with open_gradebook(configured) as gradebook:
        for name, points in {"why-mean": 2, "test-weighted-mean": 5}.items():
            gradebook.find_grade(name, NAME, NAME, "ann").manual_score = points
        gradebook.db.commit()
    hand_in(configured, "ann", filled(configured, RIGHT))
    assert outcome(configured) == {"ann": ("graded", FULL)}
    assert scores(configured) == {"ann": 5 + 8 + 2}


def test_extra_credit_counts_and_stays(configured):
    hand_in(configured, "ann", filled(configured, {"running-mean": RUNNING}))
    grade(configured, NAME, 1)
    with open_gradebook(configured) as gradebook:
        gradebook.find_grade("test-running-mean", NAME, NAME, "ann").extra_credit = 1.5
        gradebook.db.commit()
    hand_in(configured, "ann", filled(configured, {"weighted-mean": WEIGHTED, "running-mean": RUNNING}))
    assert outcome(configured) == {"ann": ("graded", FULL)}
    assert scores(configured) == {"ann": FULL + 1.5}
    (one,) = standings(configured, NAME)
    assert one.state is State.WAITS, "the extra points were for another submission"


def test_one_grader_at_a_time_and_nothing_else_in_one_line(configured, monkeypatch):
    with pytest.raises(CourseError, match="Nothing was handed in"):
        grade(configured, NAME, 1)
    hand_in(configured, "ann", filled(configured, RIGHT))
    with pytest.raises(CourseError, match="by bob"):
        grade(configured, NAME, 1, ("bob",))
    with grading_of_a_class._alone(configured, NAME), pytest.raises(CourseError, match="another process"):
        grade(configured, NAME, 1)
    (configured.root / "nbgrader_config.py").write_text("c = get_config()\n")
    with pytest.raises(CourseError, match="lacks our steps"):
        grade(configured, NAME, 1)
