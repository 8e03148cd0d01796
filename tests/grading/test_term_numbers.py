"""Ordinary steps of a term: what reaches a student or an LMS is right, or it is left out and said."""

import datetime as dt
import shutil

import pytest
from classroom import FULL, RIGHT, configured, filled, hand_in, outcome, released
from command_line import refused, run
from small_course import NAME, course
from term_steps import DONE, ONE, at, by_hand, exported, graded, handed_in, page, table

from autograde.grading import term
from autograde.grading.gradebook import open_gradebook
from autograde.grading.lateness import set_due_date
from autograde.grading.standing import State, standings

__all__ = ["configured", "course", "released"]
PENALTY = "c.LateSubmissionPlugin.penalty_method = 'zero'\n"
THREE = """
from nbgrader.plugins import LateSubmissionPlugin
class Three(LateSubmissionPlugin):
    def late_submission_penalty(self, student_id, score, total_seconds_late):
        return {value}
c.AssignLatePenalties.plugin_class = Three
"""


def test_what_could_not_be_graded_is_in_no_lms_file_whoever_is_graded(configured):
    handed_in(configured, alice=DONE, dora=DONE)
    hand_in(configured, "dora", filled(configured, DONE)).write_text('{"cells": [')
    for more in ((), ("--student", "alice"), ()):
        done = graded(*more)
        assert exported(configured) == {"alice": "20"}
        assert "dora" in done.output
    assert table(configured, "students")["dora"]["state"] == "not graded"
    assert table(configured, "students")["dora"]["total"] == ""


def test_a_submission_that_changed_keeps_no_old_score_in_an_lms_file(configured):
    handed_in(configured, alice=DONE, bob=ONE)
    graded()
    handed_in(configured, bob=DONE)
    assert "changed since" in graded("--student", "alice").output
    assert exported(configured) == {"alice": "20"}
    graded()
    assert exported(configured) == {"alice": "20", "bob": "20"}


def test_a_gradebook_from_a_backup_is_brought_up_to_date(configured):
    handed_in(configured, alice=ONE)
    graded()
    backup = configured.grading / "backup.db"
    shutil.copy(configured.grading / "gradebook.db", backup)
    handed_in(configured, alice=DONE)
    graded()
    shutil.copy(backup, configured.grading / "gradebook.db")
    assert {one.student: one.state for one in standings(configured, NAME)} == {"alice": State.UNGRADED}
    assert outcome(configured, 1) == {"alice": ("graded", FULL)}
    graded()
    assert exported(configured) == {"alice": "20"}


def test_points_changed_in_the_gradebook_are_not_taken_for_the_verdict(configured):
    handed_in(configured, alice=ONE)
    graded()
    with open_gradebook(configured) as gradebook:
        gradebook.find_grade("test-weighted-mean", NAME, NAME, "alice").auto_score = 12
        gradebook.db.commit()
    graded()
    assert exported(configured) == {"alice": "8"}


def test_a_due_date_counts_whenever_it_is_set_moved_or_taken_away(configured):
    (configured.grading / "settings.py").write_text(PENALTY)
    handed_in(configured, alice=DONE)
    term.receive(configured, NAME, "alice", at(5), "instructor")
    graded()
    assert exported(configured) == {"alice": "20"}
    for day, score in {4: "0", 6: "20", 3: "0", None: "20"}.items():
        set_due_date(configured, NAME, at(day) if day else None)
        done = graded()
        assert exported(configured) == {"alice": score}
        assert ("late, −20" in done.output) == (score == "0") and "1 unchanged" in done.output
        assert ("Late, 20 points" in done.output) == (score == "0")


def test_an_extension_is_for_one_and_no_longer_than_it_says(configured):
    (configured.grading / "settings.py").write_text(PENALTY)
    handed_in(configured, alice=DONE, bob=DONE)
    for student in ("alice", "bob"):
        term.receive(configured, NAME, student, at(5), "instructor")
    assert "no due date" in run("due", NAME, "2026-01-06", "--student", "alice").output
    assert run("due", NAME, "2026-01-02T12:00+00:00").exit_code == 0
    assert run("due", NAME, "2026-01-06", "--student", "alice").exit_code == 0
    assert "alice: until 2026-01-06" in run("due", NAME).output
    graded()
    assert exported(configured) == {"alice": "20", "bob": "0"}
    run("due", NAME, "2026-01-04T00:00+00:00", "--student", "alice")
    graded()
    assert exported(configured) == {"alice": "0", "bob": "0"}
    run("due", NAME, "--never", "--student", "alice")
    assert "until" not in run("due", NAME).output
    refused(run("due", NAME, "--never", "--student", "alice"), 1, "no extension")
    refused(run("due", NAME, "tomorrow"), 2, "is no time")
    assert "Nobody is called alcie yet" in run("due", NAME, "2026-01-06", "--student", "alcie").output
    assert "Nobody" not in run("due", NAME, "2026-01-06", "--student", "bob").output


def test_an_extension_finds_a_name_however_its_accents_are_written(configured):
    (configured.grading / "settings.py").write_text(PENALTY)
    composed, decomposed = "Jos\u00e9", "Jose\u0301"
    hand_in(configured, decomposed, filled(configured, DONE))
    term.receive(configured, NAME, decomposed, at(5), "instructor")
    set_due_date(configured, NAME, at(2))
    assert "Nobody" not in run("due", NAME, "2026-01-06", "--student", composed).output
    graded()
    assert exported(configured) == {decomposed: "20"}


def test_a_learners_own_timestamp_changes_nothing_and_is_said(configured):
    (configured.grading / "settings.py").write_text(PENALTY)
    handed_in(configured, alice=DONE)
    path = hand_in(configured, "mallory", filled(configured, DONE))
    (path.parent / "timestamp.txt").write_text("2020-01-01 00:00:00 UTC")
    set_due_date(configured, NAME, at(1))
    for student in ("alice", "mallory"):
        assert run("received", NAME, student, "2026-01-02").exit_code == 0
    graded()
    assert exported(configured) == {"alice": "0", "mallory": "0"}
    hand_in(
        configured, "mallory", filled(configured, ONE)
    )  # another notebook: the old time says nothing of it
    done = graded()
    assert exported(configured) == {"alice": "0", "mallory": "8"}
    assert "Counted as in time" in done.output and "timestamp.txt is a student's word" in done.output


def test_a_penalty_follows_the_points_of_a_grader(configured):
    (configured.grading / "settings.py").write_text(PENALTY)
    handed_in(configured, alice=RIGHT)
    set_due_date(configured, NAME, at(1))
    term.receive(configured, NAME, "alice", at(2), "instructor")
    graded()
    by_hand(configured, "alice", 2)
    graded()
    assert exported(configured) == {"alice": "0"}


@pytest.mark.parametrize("value, phrase", [("1 / 0", "failed"), ("float('nan')", "gave nan")])
def test_a_plugin_for_lateness_that_fails_costs_nobody_a_point(configured, value, phrase):
    (configured.grading / "settings.py").write_text(THREE.format(value=value))
    handed_in(configured, alice=DONE)
    set_due_date(configured, NAME, at(1))
    term.receive(configured, NAME, "alice", at(2), "instructor")
    done = graded()
    assert done.exit_code == 1 and "plugin for lateness, Three" in done.output and phrase in done.output
    (configured.grading / "settings.py").write_text(THREE.format(value="3"))
    graded()
    assert exported(configured) == {"alice": "17"}


def test_settings_grade_nobody_anew_and_a_fault_in_them_is_one_line(configured):
    handed_in(configured, alice=DONE)
    graded()
    (configured.grading / "settings.py").write_text("c.FormgradeApp.mathjax_url = 'x'\n")
    config = configured.root / "nbgrader_config.py"
    config.write_text(config.read_text() + "\n# a remark\n")
    assert outcome(configured, 1) == {"alice": ("unchanged", FULL)}
    (configured.grading / "settings.py").write_text("\n\nc.X = y\n")
    refused(graded(), 1, "settings.py, line 3: NameError")


def test_who_waits_for_a_grader_has_no_final_score_and_then_a_new_page(configured):
    handed_in(configured, alice=RIGHT)
    done = graded()
    assert exported(configured) == {} and "Waiting for a grader: 1 (alice)" in done.output
    row = table(configured, "students")["alice"]
    assert (row["state"], row["why-mean"], row["total"]) == ("waits for a grader", "", "20")
    graded("--provisional")
    assert exported(configured) == {"alice": "20"}
    before = page(configured, "alice")
    assert "not graded yet" in before
    by_hand(configured, "alice", 2, "Think of leverage.")
    done = graded()
    assert exported(configured) == {"alice": "22"} and "feedback renewed" in done.output
    assert "Think of leverage." in page(configured, "alice") and "not graded yet" not in page(
        configured, "alice"
    )
    by_hand(configured, "alice", 2, "Well done.")
    graded()
    assert "Well done." in page(configured, "alice")
    assert "feedback renewed" not in graded().output


def test_solutions_are_shown_only_when_nobody_has_time_left(configured):
    handed_in(configured, alice=ONE)
    graded()
    tomorrow = (dt.datetime.now(dt.UTC) + dt.timedelta(days=1)).isoformat()
    run("due", NAME, tomorrow)
    refused(run("solutions", NAME), 1, "can be handed in until")
    run("due", NAME, "2026-01-01")
    run("due", NAME, tomorrow, "--student", "alice")
    refused(run("solutions", NAME), 1, "can be handed in until")
    secret = "np.dot(x, w) / total"
    assert secret not in page(configured, "alice")
    run("due", NAME, "--never", "--student", "alice")
    assert run("solutions", NAME).exit_code == 0
    refused(run("due", NAME, tomorrow, "--student", "alice"), 1, "Solutions are shown")
    assert "feedback renewed" in graded().output
    assert "total" in page(configured, "alice")
    run("solutions", NAME, "--hide")
    graded()
    assert secret not in page(configured, "alice")
