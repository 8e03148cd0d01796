"""Unlucky steps of a term: what was moved, stopped or done by another command is never taken for final."""

import datetime as dt
import os
import shutil
import signal

import pytest
from classroom import FULL, RIGHT, configured, filled, hand_in, outcome, released
from classroom import run as nbgrader
from command_line import refused, run
from nbgrader.converters import Autograde, GenerateFeedback
from small_course import NAME, change, course
from term_steps import DONE, ONE, at, by_hand, exported, graded, handed_in, page, table

from autograde.grading import term
from autograde.grading.gradebook import open_gradebook
from autograde.grading.lateness import set_due_date
from autograde.grading.preprocessors import Record
from autograde.grading.staleness import verdict_path
from autograde.grading.standing import State, standings
from autograde.judging.verdict import read_result

__all__ = ["configured", "course", "released"]
PENALTY = "c.LateSubmissionPlugin.penalty_method = 'zero'\n"
SOON = (dt.datetime.now(dt.UTC) + dt.timedelta(days=5)).isoformat()


def late(course, *students):
    (course.grading / "settings.py").write_text(PENALTY)
    for student in students:
        term.receive(course, NAME, student, at(5), term.INSTRUCTOR)
    set_due_date(course, NAME, at(1))


def mend_tests(course, old, new):
    path = course.root / "hidden" / f"test_{NAME}.py"
    path.write_text(path.read_text().replace(old, new))


def states(course):
    return {one.student: one.state for one in standings(course, NAME)}


def test_a_submission_that_was_moved_leaves_no_score_behind(configured):
    handed_in(configured, alice=DONE, bob=DONE)
    graded()
    folder = configured.grading / "submitted"
    (folder / "bob").rename(folder / "carol")
    done = graded()
    assert exported(configured) == {"alice": "20", "carol": "20"}
    assert states(configured)["bob"] is State.GONE and "(bob)" in done.output


def test_one_students_run_brings_everybodys_numbers_up_to_date(configured):
    handed_in(configured, alice=RIGHT, bob=DONE, carol=DONE)
    late(configured, "alice", "carol")
    graded()
    by_hand(configured, "alice", 2)
    run("due", NAME, "2026-02-01", "--student", "carol")
    done = graded("--student", "bob")
    assert exported(configured) == {"alice": "0", "bob": "20", "carol": "20"}
    assert "not graded yet" not in page(configured, "alice")
    assert "carol: penalty for lateness: 20 before, 0 now" in done.output and "1 unchanged" in done.output


def test_what_nbgraders_own_command_graded_is_stale_when_it_changes(configured):
    handed_in(configured, alice=DONE, bob=DONE, carol=DONE)
    nbgrader(configured, Autograde)
    assert set(states(configured).values()) == {State.FINAL}
    handed_in(configured, bob={})
    hand_in(configured, "carol", filled(configured, DONE)).write_text('{"cells": [')
    graded("--student", "alice")
    assert exported(configured) == {"alice": "20"}
    graded()
    assert exported(configured) == {"alice": "20", "bob": "0"}


def test_a_due_date_does_not_move_on_while_solutions_are_shown(configured):
    run("due", NAME, "2026-01-01")
    run("solutions", NAME)
    refused(run("due", NAME, SOON), 1, "Solutions are shown")
    assert run("due", NAME, "2026-01-02").exit_code == 0
    run("solutions", NAME, "--hide")
    assert run("due", NAME, SOON).exit_code == 0


def test_extra_points_and_praise_of_another_submission_are_looked_at_again(configured):
    handed_in(configured, alice=DONE)
    graded()
    with open_gradebook(configured) as gradebook:
        gradebook.find_grade("test-running-mean", NAME, NAME, "alice").extra_credit = 3
        gradebook.find_comment("weighted-mean", NAME, NAME, "alice").manual_comment = "Elegant."
        gradebook.db.commit()
    graded()
    assert exported(configured) == {"alice": "23"}
    handed_in(configured, alice={**DONE, "weighted-mean": "def weighted_mean(x, w):\n    return 0.75\n"})
    assert "Waiting for a grader: 1 (alice)" in graded().output
    assert exported(configured) == {}
    with open_gradebook(configured) as gradebook:
        found = gradebook.find_submission_notebook(NAME, NAME, "alice").grades
        waiting = {grade.name for grade in found if grade.needs_manual_grade}
    assert waiting == {"test-running-mean", "test-weighted-mean"}


def test_an_override_of_a_grader_stands_where_its_points_did_not_change(configured):
    handed_in(configured, alice=DONE)
    graded()
    with open_gradebook(configured) as gradebook:
        gradebook.find_grade("test-weighted-mean", NAME, NAME, "alice").manual_score = 10
        gradebook.db.commit()
    mend_tests(configured, "== 1.5", "== 1.25")
    graded("--again", "running-mean")
    assert exported(configured) == {"alice": "10"}


def test_a_grader_stopped_before_it_recorded_leaves_no_verdict(configured, monkeypatch):
    handed_in(configured, alice={**RIGHT, "why-mean": "Essay A."})
    graded()
    by_hand(configured, "alice", 2.5)
    graded()
    assert exported(configured) == {"alice": "22.5"}
    handed_in(configured, alice={**RIGHT, "why-mean": "Essay B."})
    with monkeypatch.context() as patch:
        patch.setattr(Record, "preprocess", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        assert graded().exit_code == 1
    assert exported(configured) == {}
    assert states(configured) == {"alice": State.UNGRADED}
    graded()
    assert states(configured) == {"alice": State.WAITS}


def test_an_answer_below_its_untouched_cell_waits_for_a_grader(configured):
    notebook = filled(configured, DONE)
    place = next(n for n, cell in enumerate(notebook.cells) if cell.id == "why-mean")
    twin = notebook.cells[place].copy()
    twin.source, twin.id = "It balances.", "twin"
    notebook.cells.insert(place + 1, twin)
    hand_in(configured, "alice", notebook)
    graded()
    assert states(configured) == {"alice": State.WAITS} and "It balances." in page(configured, "alice")


def test_a_time_that_was_known_of_another_notebook_is_named(configured):
    handed_in(configured, zed=DONE)
    late(configured, "zed")
    graded()
    assert exported(configured) == {"zed": "0"}
    handed_in(configured, zed={**DONE, "why-mean": "More."})
    done = graded()
    assert "zed: the time that is known" in done.output and "20 before, 0 now" in done.output


def test_collecting_again_does_not_overrule_the_instructor(configured):
    handed_in(configured, alice=DONE)
    for source, day in ((term.INSTRUCTOR, 1), ("Blackboard", 5)):
        term.receive(configured, NAME, "alice", at(day), source)
    kept = term.of_lesson(configured, NAME).received["alice"]
    assert (kept.source, dt.datetime.fromisoformat(kept.time)) == (term.INSTRUCTOR, at(1))
    handed_in(configured, alice=ONE)
    term.receive(configured, NAME, "alice", at(5), "Blackboard")
    assert term.of_lesson(configured, NAME).received["alice"].source == "Blackboard"


def test_a_page_that_another_command_made_is_made_anew(configured):
    handed_in(configured, alice=ONE)
    run("due", NAME, "2026-01-01")
    graded()
    run("solutions", NAME)
    nbgrader(configured, GenerateFeedback, force=True)
    shown = page(configured, "alice")
    run("solutions", NAME, "--hide")
    assert "feedback renewed" in graded().output
    assert page(configured, "alice") != shown


def test_a_submission_that_fails_keeps_no_score_and_its_page_is_named(configured):
    handed_in(configured, alice=DONE, bob=DONE)
    graded()
    late(configured, "alice")
    text = "from nbgrader.plugins import LateSubmissionPlugin\nclass Bad(LateSubmissionPlugin):\n"
    text += "    def late_submission_penalty(self, *given):\n        return 1 / 0\n"
    (configured.grading / "settings.py").write_text(text + "c.AssignLatePenalties.plugin_class = Bad\n")
    done = graded()
    assert "alice: not graded" in done.output and exported(configured) == {"bob": "20"}
    assert "of what was there before: 1 (alice)" in done.output


def test_tests_that_were_mended_count_for_everybody(configured):
    handed_in(configured, alice=DONE, bob=DONE)
    graded()
    mend_tests(configured, "== 1.5", "== 1.25")
    mend_tests(configured, "== 0.75", "== 0.5")
    graded("--again", "running-mean", "--student", "alice")
    assert exported(configured) == {"alice": "0"}, "bob's verdict is of the old tests"
    graded()
    assert exported(configured) == {"alice": "0", "bob": "0"}
    assert "2 unchanged" in graded().output


def test_what_was_delayed_in_a_run_that_stopped_is_judged_again(configured):
    handed_in(configured, alice=DONE, bob=DONE)
    graded()
    path = verdict_path(configured, NAME, "alice")
    path.write_text(path.read_text().replace('"delayed": false', '"delayed": true'))
    assert read_result(path.read_bytes()).delayed
    assert outcome(configured, 1) == {"alice": ("graded", FULL), "bob": ("unchanged", FULL)}
    assert not read_result(path.read_bytes()).delayed


def test_what_ran_out_of_time_is_judged_once_more_alone_and_that_is_kept(configured):
    handed_in(configured, alice=DONE)
    change(configured, "{cell: 120}", "{cell: 1}")
    run("release", NAME)
    notebook = filled(configured, DONE)
    notebook.cells.insert(2, notebook.cells[1].copy())
    notebook.cells[2].source, notebook.cells[2].id = "import time\ntime.sleep(1000)", "slow"
    hand_in(configured, "alice", notebook)
    assert outcome(configured, 2) == {"alice": ("graded", FULL)}
    path = verdict_path(configured, NAME, "alice")
    assert not read_result(path.read_bytes()).delayed, "it was graded once more, alone"


def test_what_lies_in_no_lessons_folder_is_named(configured):
    handed_in(configured, alice=DONE)
    place = configured.grading / "submitted"
    shutil.copy(place / "alice" / NAME / f"{NAME}.ipynb", place / "alice")
    (place / "bob" / "90-small").mkdir(parents=True)
    done = graded()
    assert f"alice/{NAME}.ipynb" in done.output and "bob/90-small" in done.output


@pytest.mark.parametrize("more", [(), ("--student", "alice")], ids=["all", "one"])
def test_a_run_with_nothing_new_changes_nothing(configured, more):
    handed_in(configured, alice=RIGHT, bob=DONE)
    graded()
    before = table(configured, "students"), page(configured, "alice")
    assert "unchanged" in graded(*more).output
    assert (table(configured, "students"), page(configured, "alice")) == before
