"""Every command of README's "A term, step by step" does what the page says, in the order of the page."""

import csv
import re
import shlex
import subprocess
import zipfile
from pathlib import Path

import nbformat
import pytest
from classroom import RIGHT, configured, filled, released
from command_line import run
from course_root import ROOT
from small_course import NAME, course
from term_steps import DONE, ONE, by_hand

from autograde.course import Course

__all__ = ["configured", "course", "released"]
# What stands on the page, and what takes its place in the small course.
PLACES = {"01_map": NAME, "interval-mass": "weighted-mean"}
CLASS = """id,first_name,last_name,email,lms_user_id
alice,Alice,Lee,a@example.org,11
bob,Bob,Ray,b@example.org,12
carol,Carol,Ito,c@example.org,13
zoe,Zoë,Óir,z@example.org,14
"""


def commands() -> list[list[str]]:
    page = (ROOT / "README.md").read_text()
    section = page[page.index("### A term, step by step") : page.index("### Which numbers leave")]
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL)).splitlines()
    return [shlex.split(line)[1:] for line in lines if line]


@pytest.fixture
def term(configured: Course) -> Course:
    """The small course with a roster's file and Moodle's archive of three submissions in its folder."""
    (configured.root / "class.csv").write_text(CLASS)
    with zipfile.ZipFile(configured.root / "moodle.zip", "w") as archive:
        for number, (student, answers) in enumerate(
            {"Alice Lee": RIGHT, "Bob Ray": ONE, "Carol Ito": DONE}.items()
        ):
            notebook = nbformat.writes(filled(configured, answers))
            archive.writestr(f"{student}_{number}_assignsubmission_file_{NAME}.ipynb", notebook)
    return configured


def scores(course: Course) -> dict[str, str]:
    with (course.grading / "grades" / f"{NAME}.canvas.csv").open() as file:
        return {row["SIS Login ID"]: row[NAME] for row in csv.DictReader(file) if row["SIS Login ID"]}


def test_every_command_of_a_term_does_what_the_page_says(term):
    seen = []
    for command in commands():
        line = [PLACES.get(word, word) for word in command]
        if line[0] == "bundle":  # builds wheels of this very repository: tests/authoring/test_bundle.py
            continue
        if line == ["grade"]:
            by_hand(term, "alice", 2, "Well argued.")
        done = run(*line)
        assert done.exit_code == 0, (line, done.output, done.exception)
        seen.append((line, done.output, scores(term) if line[0] == "grade" else None))
    outputs = {" ".join(line): output for line, output, _ in seen}
    assert "4" in outputs["roster class.csv"]
    assert "Nothing handed in, of the roster: 1 (zoe)" in outputs[f"grade {NAME}"]
    found = [graded for _, _, graded in seen if graded is not None]
    assert found[0] == {"bob": "8", "carol": "20"}, "alice waits for a grader"
    assert found[1] == {"alice": "22", "bob": "8", "carol": "20"}
    assert found[2] == found[1], "nothing was mended"
    assert found[3] == {"alice": "22", "bob": "20", "carol": "20"}, "excused"
    page = (term.grading / "feedback" / "bob" / NAME / f"{NAME}.html").read_text()
    assert "dot" in page


def test_the_page_names_commands_that_are_there():
    known = run("--help").output
    assert all(f"  {command[0]} " in known for command in commands())
    assert {"roster", "collect", "due", "grade", "excuse"} <= {command[0] for command in commands()}


def test_all_that_belongs_to_a_class_is_ignored_by_git():
    git = ["git", "-C", str(ROOT), "check-ignore", "-q"]
    for path in (".grading/downloaded/01_map/a.zip", ".grading/settings.py", ".grading/term.json"):
        assert subprocess.run([*git, path]).returncode in (0, 128), path
    assert Path(ROOT, ".gitignore").read_text().count("/.grading/") == 1
