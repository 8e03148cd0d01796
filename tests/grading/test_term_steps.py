"""Steps of a term: exercises judged again or excused, odd files and names, cells that hang."""

import json
import shutil

import nbformat
import pytest
from classroom import FULL, RIGHT, WEIGHTED, configured, filled, hand_in, outcome, released
from command_line import refused, run
from nbformat.v4 import new_code_cell
from small_course import NAME, change, course
from term_steps import DONE, ONE, at, by_hand, exported, graded, handed_in, page, table

from autograde.course import Course
from autograde.grading import class_run, term
from autograde.grading.class_run import grade
from autograde.grading.lateness import set_due_date
from autograde.grading.staleness import verdict_path

__all__ = ["configured", "course", "released"]


def mend_tests(course: Course, old: str, new: str) -> None:
    path = course.root / "hidden" / f"test_{NAME}.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_an_exercise_judged_again_leaves_the_others_and_says_whose_points_changed(configured):
    handed_in(configured, alice=RIGHT, bob=ONE)
    mend_tests(configured, "== 1.5", "== 1.25")
    graded()
    by_hand(configured, "alice", 1)
    mend_tests(configured, "== 1.25", "== 1.5")
    path = verdict_path(configured, NAME, "alice")
    path.write_text(path.read_text().replace("Weights count.", "As it was."))
    done = graded("--again", "running-mean")
    assert "bob 0 → 8" in done.output and "alice 12 → 20" in done.output
    assert "As it was." in path.read_text(), "the other exercise was not judged again"
    assert exported(configured) == {"alice": "21", "bob": "8"}
    assert "2 unchanged" in graded().output
    refused(graded("--again", "nothing"), 2, "no exercise 'nothing'")


def test_an_exercise_judged_again_does_not_spare_a_new_submission_the_others(configured):
    handed_in(configured, alice=DONE)
    graded()
    handed_in(configured, alice={**DONE, "weighted-mean": "weighted_mean = None"})
    graded("--again", "running-mean")
    assert exported(configured) == {"alice": "8"}


def test_an_excused_exercise_gives_everybody_its_points_until_it_counts_again(configured):
    handed_in(configured, alice=ONE, bob={})
    graded()
    assert run("excuse", NAME, "weighted-mean").exit_code == 0
    assert "Excused" in graded().output
    assert exported(configured) == {"alice": "20", "bob": "12"}
    assert "full points for everybody" in page(configured, "bob")
    run("excuse", NAME, "weighted-mean", "--undo")
    graded()
    assert exported(configured) == {"alice": "8", "bob": "0"}
    refused(run("excuse", NAME, "why-mean"), 2, "no exercise 'why-mean' with tests")


def test_all_that_lies_there_is_graded_when_no_lesson_is_named(configured):
    refused(run("grade"), 1, "Nothing was handed in")
    handed_in(configured, alice=DONE)
    assert run("grade").exit_code == 0
    assert exported(configured) == {"alice": "20"}


def test_other_notebooks_in_the_folder_are_named(configured):
    path = hand_in(configured, "alice", filled(configured, DONE))
    shutil.copy(path, path.with_name(f"{NAME} (2).ipynb"))
    renamed = hand_in(configured, "bob", filled(configured, DONE))
    renamed.rename(renamed.with_name("final.ipynb"))
    other = filled(configured, DONE)
    other.metadata.genmap.lesson = "91_other"
    hand_in(configured, "carol", other)
    rows = {row.student: row for row in grade(configured, NAME, 1)}
    assert any(f"{NAME} (2).ipynb" in note for note in rows["alice"].notes) and rows["alice"].points == FULL
    assert rows["bob"].status == "failed" and "final.ipynb" in rows["bob"].reason
    assert rows["carol"].status == "failed" and "91_other" in rows["carol"].reason


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-8"])
def test_a_notebook_is_read_in_any_encoding_that_editors_write(configured, encoding):
    notebook = filled(configured, {**DONE, "weighted-mean": f"# é\n{WEIGHTED}"})
    path = hand_in(configured, "alice", notebook)
    path.write_bytes(nbformat.writes(notebook).replace("\\n", "\\r\\n").encode(encoding))
    assert outcome(configured, 1) == {"alice": ("graded", FULL)}


@pytest.mark.parametrize(
    "content, word",
    [
        (b"", "empty"),
        (b"PK\x03\x04", "zip"),
        (b"<html>", "web page"),
        (b"[]", "no cells"),
        (b"\xff\xfe\xff", "UTF"),
    ],
)
def test_a_damaged_notebook_says_which_file_and_why(configured, content, word):
    path = hand_in(configured, "alice", filled(configured, DONE))
    path.write_bytes(content)
    done = graded()
    (line,) = [line for line in done.output.splitlines() if "alice: not graded" in line]
    assert str(path) in line and word in line


@pytest.mark.parametrize("student", ["प्रिया", "José", "李雷", "O Neil (2)"])
def test_names_of_people_are_names(configured, student):
    hand_in(configured, student, filled(configured, DONE))
    assert outcome(configured, 1) == {student: ("graded", FULL)}


def test_names_that_steer_a_terminal_or_a_spreadsheet_do_neither(configured):
    handed_in(configured, alice=DONE)
    evil = ["=cmd()", "x\x1b[31m"]
    for name in evil:
        hand_in(configured, name, filled(configured, DONE))
    notebook = hand_in(configured, "alice", filled(configured, DONE))
    shutil.copy(notebook, notebook.with_name("b\x1b[2J.ipynb"))
    done = graded()
    assert "\x1b" not in done.output and done.output.count("Rename the folder") == 2
    assert {"'=cmd()", "alice"} < set(table(configured, "students"))
    assert exported(configured) == {"alice": "20"}


def test_a_blank_at_the_end_of_a_name_grades_nobody_else(configured):
    handed_in(configured, zoe=ONE)
    hand_in(configured, "zoe ", filled(configured, DONE))
    assert outcome(configured, 1) == {"zoe": ("graded", 8), "zoe ": ("failed", None)}
    graded()
    assert exported(configured) == {"zoe": "8"}


def test_slow_cells_of_ones_own_cost_nothing_but_themselves(configured):
    change(configured, "{cell: 120}", "{cell: 1}")
    run("release", NAME)
    notebook = filled(configured, DONE)
    slow = [new_code_cell("import time\ntime.sleep(1000)", id=f"slow{n}") for n in range(4)]
    notebook.cells[2:2] = slow
    hand_in(configured, "alice", notebook)
    assert outcome(configured, 1) == {"alice": ("graded", FULL)}


def test_what_ran_out_of_time_beside_others_is_judged_once_more_alone(configured, monkeypatch):
    change(configured, "{cell: 120}", "{cell: 2}")
    run("release", NAME)
    handed_in(configured, alice=DONE, bob=DONE)
    seen: list[tuple[bool, int]] = []
    original = class_run._graded

    def noting(work, folders, jobs, done, modules):
        seen.append((work.alone, len(folders)))
        rows = original(work, folders, jobs, done, modules)
        if not work.alone:
            path = verdict_path(configured, NAME, "bob")
            path.write_text(path.read_text().replace('"delayed": false', '"delayed": true'))
            rows["bob"].delayed = True
        return rows

    monkeypatch.setattr(class_run, "_graded", noting)
    assert outcome(configured, 2) == {"alice": ("graded", FULL), "bob": ("graded", FULL)}
    assert seen == [(False, 2), (True, 1)]


def test_damaged_decisions_of_the_term_are_one_line_and_lose_nothing(configured):
    handed_in(configured, alice=DONE)
    set_due_date(configured, NAME, at(1))
    run("due", NAME, "2026-02-01", "--student", "alice")
    path = term.place(configured)
    good = path.read_text()
    path.write_text(good[:20])
    refused(graded(), 1, "term.json is damaged")
    refused(run("due", NAME, "2026-03-01", "--student", "bob"), 1, "term.json is damaged")
    assert path.read_text() == good[:20]
    path.write_text(good)
    assert json.loads(good)[NAME]["extensions"].keys() == {"alice"}
