"""The lesson in CONTRIBUTING.md is what it says: three files that are released and verified as they stand."""

import re

import pytest
from course_root import ROOT

from autograde.authoring.release import release
from autograde.authoring.verify import verify_lesson
from autograde.course import Course
from autograde.sandbox.workers import forked

NAME = "90_means"
DOCUMENT = ROOT / "CONTRIBUTING.md"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course with the three files of the document and nothing else."""
    monkeypatch.setattr("autograde.course.HIDDEN", tmp_path / "hidden")
    monkeypatch.chdir(tmp_path)
    course = Course.at(tmp_path)
    places = {
        "source": course.source(NAME),
        "hidden": tmp_path / "hidden" / f"test_{NAME}.py",
        "wrong": tmp_path / "hidden" / "wrong" / f"{NAME}.py",
    }
    examples = re.findall(r"<!-- example: (\w+) -->\n```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert [label for label, _ in examples] == list(places)
    for label, text in examples:
        places[label].parent.mkdir(parents=True, exist_ok=True)
        places[label].write_text(text)
    return course


def test_the_example_is_a_lesson(course):
    release(course, [NAME])
    row = forked(lambda: verify_lesson(course, NAME, jobs=2), limit=300)
    assert row["problems"] == []
    counts = row["exercises"]["geometric-mean"]
    assert (counts["tests"], counts["right"], counts["wrong"]) == (2, [2, 2], [4, 4])
