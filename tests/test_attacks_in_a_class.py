"""All attacks in one class, graded by `autograde grade`, two at a time: nobody is harmed, nothing leaks."""

import csv
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attack_class
import pytest
from attack_class import CANARY, FULL, GOT_IN, HONEST, NUMBERS
from attack_traces import processes_left
from click.testing import Result
from command_line import run
from course_root import ROOT
from small_course import NAME

from autograde.course import Course
from autograde.grading.in_progress import COPIES
from autograde.grading.roster import Person, enter

ATTACKS = {attack.name: attack for attack in attack_class.load()}
FORMULA = '=HYPERLINK("https://evil.example")'
PICTURES = (".png", ".jpg", ".jpeg", ".gif")


@pytest.fixture(scope="module")
def graded() -> Iterator[tuple[attack_class.Class, Result, Result]]:
    """The class, the run that graded it, and another run after it."""
    with attack_class.classroom(every=0) as made:
        shutil.copy(ROOT / "nbgrader_config.py", made.course.root)
        for attack in ATTACKS.values():
            values = {"@COURSE@": made.course.root, "@PID@": os.getpid(), "@TMP@": made.scratch}
            attack_class.submit(made.course, attack, values)
        enter(made.course, [Person(HONEST, FORMULA, "+1", "@x", "-2")])
        made.limits[0] = attack_class.SMALL
        made.before = made._files()
        command = ("grade", NAME, "--jobs", "2", "--provisional")
        yield made, run(*command), run(*command)


def scores(course: Course) -> dict[str, dict[str, str]]:
    path = course.grading / "grades" / f"{NAME}.students.csv"
    return {row["student"]: row for row in csv.DictReader(path.open())}


def texts(course: Course) -> Iterator[tuple[str, str]]:
    """All that leaves the course, by its file."""
    for folder in ("grades", "feedback"):
        for path in (course.grading / folder).rglob("*"):
            if path.is_file():
                yield str(path.relative_to(course.grading)), path.read_text(errors="replace")


def test_each_attack_gets_what_its_honest_part_earns(graded):
    found = scores(graded[0].course)
    wrong = {}
    for name, attack in ATTACKS.items():
        given = found[name]["total"]
        if (float(given) if given else None) not in {*attack.allowed, None}:
            wrong[name] = given
    assert not wrong


def test_the_honest_student_beside_them_has_all_points(graded):
    row = scores(graded[0].course)[HONEST]
    assert float(row["weighted-mean"]) + float(row["running-mean"]) == FULL


def test_everybody_is_a_row_with_a_word_on_why(graded):
    _, first, _ = graded
    assert first.exit_code == 1 and "Not graded: " in first.output and "Traceback" not in first.output
    for name in ATTACKS.keys() - {"swaps_its_folder"}:  # it may not be there at the moment of the look
        assert re.search(rf"\b{name}\b", first.output), name
    assert len(re.findall("not graded[.] .+", first.output)) < len(ATTACKS) / 2


def test_the_terminal_is_told_nothing_that_it_obeys(graded):
    for done in graded[1:]:
        assert [line for line in done.output.splitlines() if not line.isprintable()] == []


def test_nothing_hidden_is_in_what_leaves_the_course(graded):
    course = graded[0].course
    said = [("terminal", done.output) for done in graded[1:]]
    secrets = (GOT_IN, *NUMBERS, f"{CANARY}-hidden", f"{CANARY}-gradebook", f"{CANARY}-environment")
    found = [(word, place) for place, text in (*texts(course), *said) for word in secrets if word in text]
    own = {f"feedback/{name}/" for name in ATTACKS}
    assert [one for one in found if not any(one[1].startswith(each) for each in own)] == []
    assert [one for one in found if one[0] in NUMBERS] == []


def test_pages_and_pictures_alone_are_handed_back(graded):
    folder = graded[0].course.grading / "feedback"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [str(path) for path in files if path.name != f"{NAME}.html" and path.suffix not in PICTURES] == []


def test_a_spreadsheet_computes_nothing(graded):
    for path in (graded[0].course.grading / "grades").glob("*.csv"):
        cells = [cell for row in csv.reader(path.open()) for cell in row]
        acting = [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
        assert [cell for cell in acting if cell != "-2"] == [], "a number is one, and computes nothing"
        assert any(FORMULA in cell for cell in cells), "it is there, as text"


def _counts(output: str) -> dict[str, int]:
    return {kind: int(n) for n, kind in re.findall(r"(\d+) (graded|unchanged|failed)[,.]", output)}


def test_another_run_grades_nobody_anew(graded):
    _, first, second = graded
    before, after = (_counts(run.output) for run in (first, second))
    assert after["unchanged"] > 0
    # one of them, swaps_its_folder, may have changed since it was copied, or be refused at one of the looks
    assert after.get("graded", 0) <= 1 and abs(after["failed"] - before["failed"]) <= 1


def test_nothing_is_changed_or_left(graded):
    made = graded[0]
    assert list(made._traces()) == []
    assert list((made.course.grading / COPIES).iterdir()) == []
    assert list(processes_left()) == []


def left_groups() -> list[Any]:
    return [path for path in Path("/sys/fs/cgroup").glob(f"**/autograde-{os.getpid()}-*")]


def test_no_control_group_is_left(graded):
    assert left_groups() == []
