"""What is judged or looked at again when tests, points, excuses, due dates or folders change."""

import ast
import json
import shutil

import nbformat
import pytest
from classroom import RIGHT, WEIGHTED, configured, released
from command_line import run
from course_root import ROOT
from small_course import NAME, change, course
from term_steps import DONE, at, by_hand, exported, graded, handed_in

from autograde.cells import grade_id
from autograde.grading import class_run, staleness, term
from autograde.grading.gradebook import open_gradebook
from autograde.grading.staleness import verdict_path
from autograde.grading.work import Work

__all__ = ["configured", "course", "released"]
PENALTY = "c.LateSubmissionPlugin.penalty_method = 'zero'\n"


def mend(course, old, new):
    path = course.root / "hidden" / f"test_{NAME}.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def give(course, student, cell, **what):
    with open_gradebook(course) as gradebook:
        grade = gradebook.find_grade(cell, NAME, NAME, student)
        for name, value in what.items():
            setattr(grade, name, value)
        gradebook.db.commit()


def ran_out_of_time(course, student):
    """weighted-mean as it is where it ran out of time beside others: 0 of 12, in verdict and gradebook."""
    path = verdict_path(course, NAME, student)
    found = json.loads(path.read_text())
    found["delayed"] = True
    found["exercises"]["weighted-mean"]["points"] = 0.0
    for test in found["exercises"]["weighted-mean"]["tests"]:
        test.update(passed=False, message="Time ran out.")
    path.write_text(json.dumps(found))
    give(course, student, "test-weighted-mean", auto_score=0.0)


def beside_others(course, student, monkeypatch, stop=False):
    original = class_run._graded

    def noting(work, folders, jobs, done, modules):
        if work.alone and stop:
            raise KeyboardInterrupt
        rows = original(work, folders, jobs, done, modules)
        if not work.alone:
            ran_out_of_time(course, student)
            rows[student].delayed, rows[student].points = True, 8.0
        return rows

    monkeypatch.setattr(class_run, "_graded", noting)


def test_all_that_hidden_tests_read_of_autograde_is_in_a_verdict_s_key():
    trees = [ast.parse(path.read_text()) for path in (ROOT / "autograde" / "hidden").glob("test_*.py")]
    named = {node.module for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    read = {name for name in named if name and name.startswith("autograde.")}
    assert {"autograde.checks", "autograde.relations", "autograde.training"} <= read
    counted = {f"autograde.{path.stem}" for path in staleness.CHECKS}
    names_alone = {"autograde.errors", "autograde.judging.student"}
    assert read <= counted | names_alone


def test_two_mends_one_after_the_other_reach_everybody(configured):
    mend(configured, "== 1.5", "== 1.25")  # running-mean's test is wrong
    handed_in(configured, alice=DONE, bob=DONE)
    graded()
    mend(configured, "== 1.25", "== 1.5")
    graded("--again", "running-mean", "--student", "alice")  # does the mend help? it does
    mend(configured, "== 0.75", "== 3 / 4")  # another exercise's test is mended, too
    graded("--again", "weighted-mean")
    graded()
    assert exported(configured) == {"alice": "20", "bob": "20"}


def test_a_mend_that_is_taken_back(configured):
    mend(configured, "== 1.5", "== 1.25")
    handed_in(configured, alice=DONE)
    graded()
    mend(configured, "== 1.25", "== 1.5")
    graded("--again", "running-mean")
    mend(configured, "== 0.75", "== 0.5")  # a mend that was none
    graded()
    mend(configured, "== 0.5", "== 0.75")  # taken back
    graded()
    assert exported(configured) == {"alice": "20"}


def test_who_ran_out_of_time_is_judged_in_all_exercises(configured, monkeypatch):
    handed_in(configured, alice=DONE)
    graded()
    mend(configured, "== 1.5", "== 3 / 2")
    handed_in(configured, bob=DONE)
    with monkeypatch.context() as patch:
        beside_others(configured, "bob", patch)
        run("grade", NAME, "--jobs", "2", "--again", "running-mean")
    graded()
    assert exported(configured) == {"alice": "20", "bob": "20"}


def test_what_waits_to_be_judged_alone_is_not_final(configured, monkeypatch):
    handed_in(configured, alice=DONE, bob=DONE)
    with monkeypatch.context() as patch:
        beside_others(configured, "bob", patch, stop=True)
        run("grade", NAME, "--jobs", "2")
    graded("--student", "alice")
    assert exported(configured) == {"alice": "20"}


def two_lessons(course):
    other, hidden = "91_other", course.root / "hidden"
    course.source(other).parent.mkdir(parents=True)
    shutil.copy(course.source(NAME), course.source(other))
    shutil.copy(hidden / f"test_{NAME}.py", hidden / f"test_{other}.py")
    shutil.copy(hidden / "wrong" / f"{NAME}.py", hidden / "wrong" / f"{other}.py")
    run("release", other)
    notebook = nbformat.read(course.released(other), 4)
    for cell in notebook.cells:
        cell.source = DONE.get(grade_id(cell) or "", cell.source)
    path = course.grading / "submitted" / "alice" / other / f"{other}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)
    return other, path.parent


def test_the_last_submission_of_a_lesson_is_moved_away(configured):
    handed_in(configured, alice=DONE)
    other, folder = two_lessons(configured)
    run("grade")
    shutil.move(folder, configured.root / "withdrawn")
    done = run("grade")
    text = (configured.grading / "grades" / f"{other}.canvas.csv").read_text()
    assert "alice" not in text and f"{other}: nothing is handed in now" in done.output


def test_extra_points_wait_whatever_else_changes(configured):
    handed_in(configured, alice=DONE)
    graded()
    give(configured, "alice", "test-running-mean", extra_credit=3)
    handed_in(configured, alice={"weighted-mean": WEIGHTED})  # another one, without running-mean
    assert "Waiting for a grader: 1 (alice)" in graded().output
    run("excuse", NAME, "running-mean")
    graded()
    assert exported(configured) == {}


def test_extra_points_wait_after_the_run_alone(configured, monkeypatch):
    handed_in(configured, alice=DONE, bob=DONE)
    graded()
    give(configured, "bob", "test-weighted-mean", extra_credit=3)
    handed_in(configured, bob={**DONE, "weighted-mean": WEIGHTED + "# other\n"})
    with monkeypatch.context() as patch:
        beside_others(configured, "bob", patch)
        run("grade", NAME, "--jobs", "2")
    assert exported(configured) == {"alice": "20"}


def test_an_excused_exercise_that_a_grader_lowered_waits(configured):
    handed_in(configured, alice=DONE)
    graded()
    give(configured, "alice", "test-weighted-mean", manual_score=0)
    run("excuse", NAME, "weighted-mean")
    done = graded()
    assert "Waiting for a grader: 1 (alice)" in done.output and exported(configured) == {}


def test_a_due_date_lost_with_its_assignment_is_named(configured):
    (configured.grading / "settings.py").write_text(PENALTY)
    handed_in(configured, alice=DONE)
    term.receive(configured, NAME, "alice", at(5), term.INSTRUCTOR)
    run("due", NAME, "2026-01-01")
    graded()
    assert exported(configured) == {"alice": "0"}
    change(configured, 'answer="why-mean"', 'answer="why-so"')
    assert f"nbgrader db assignment remove {NAME} --force" in run("release", NAME).output
    with open_gradebook(configured) as gradebook:
        gradebook.remove_assignment(NAME)  # what that command does
    run("release", NAME)
    found = json.loads(run("grade", NAME, "--json").stdout)
    assert "Due date: none. In the last run: 2026-01-01" in found[0]["due_date_moved"]
    assert [one["received"] for one in found[0]["standings"]] == ["2026-01-05T12:00:00"]
    assert "Due date" not in graded().output  # said once


def test_a_due_date_lost_with_the_gradebook_is_named(configured):
    (configured.grading / "settings.py").write_text(PENALTY)
    handed_in(configured, alice=DONE)
    term.receive(configured, NAME, "alice", at(5), term.INSTRUCTOR)
    graded()
    book = configured.grading / "gradebook.db"
    shutil.copy(book, configured.grading / "backup.db")
    run("due", NAME, "2026-01-01")
    graded()
    shutil.copy(configured.grading / "backup.db", book)
    assert "Due date: none. In the last run: 2026-01-01" in graded().output


@pytest.mark.parametrize("points", ["5", "1"])
def test_an_answer_that_is_worth_other_points_now_waits(configured, points):
    handed_in(configured, alice=RIGHT)
    graded()
    by_hand(configured, "alice", 2.5)
    graded()
    change(configured, "points=2.5", f"points={points}")
    run("release", NAME)
    done = graded()
    assert exported(configured) == {}, done.output


def test_a_verdict_counts_for_its_own_student_alone(configured):
    handed_in(configured, alice={**RIGHT, "why-mean": "A."}, bob={**RIGHT, "why-mean": "B."})
    graded()
    by_hand(configured, "alice", 2.5)
    by_hand(configured, "bob", 0)
    graded()
    for name in ("submitted", "autograded", "feedback"):
        place = configured.grading / name
        (place / "alice").rename(place / "x")
        (place / "bob").rename(place / "alice")
        (place / "x").rename(place / "bob")
    graded()
    assert exported(configured) in ({}, {"alice": "20", "bob": "22.5"})


def test_tests_that_change_during_a_run(configured, monkeypatch):
    mend(configured, "== 1.5", "== 1.25")
    handed_in(configured, alice=DONE)
    graded()
    mend(configured, "== 1.25", "== 1.5")
    original = class_run._graded

    def editing(work, folders, *rest):
        if folders:
            mend(configured, "== 0.75", "== 0.5")
        return original(work, folders, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(class_run, "_graded", editing)
        graded("--again", "running-mean")
    graded()
    assert exported(configured) == {"alice": "8"}, "what the tests that lie there now say"


def test_a_submission_that_is_replaced_while_it_is_graded(configured, monkeypatch):
    handed_in(configured, alice={**RIGHT, "why-mean": "A1."})
    graded()
    by_hand(configured, "alice", 2.5)
    mend(configured, "== 1.5", "== 3 / 2")
    original = Work._grade

    def collecting(self, *given):
        handed_in(configured, alice={**RIGHT, "why-mean": "A2."})
        return original(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Work, "_grade", collecting)
        graded()
    graded()
    assert exported(configured) == {}


def test_facts_that_hidden_tests_read(configured, monkeypatch, tmp_path):
    facts = tmp_path / "facts" / "map.toml"
    facts.parent.mkdir()
    (facts.parent / "__init__.py").write_text("")
    facts.write_text("1.25")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(staleness, "FACTS", "facts")
    mend(configured, "import pytest\n", f"import pytest\nFACT = float(open({str(facts)!r}).read())\n")
    mend(configured, "== 1.5", "== FACT")
    handed_in(configured, alice=DONE)
    graded()
    facts.write_text("1.5")
    graded()
    assert exported(configured) == {"alice": "20"}


def test_a_comment_in_the_tests_changes_nothing(configured):
    handed_in(configured, alice=DONE)
    graded()
    mend(configured, "import pytest\n", "import pytest  # here\n")
    assert "1 unchanged" in graded().output
