"""Every lesson runs in its smoke setting from the first cell to the last, a release up to its exercises. Code
in prose can be pasted."""

import ast
import re
import textwrap

import nbformat
import pytest
from course_root import COURSE
from lesson_runs import execute

from autograde.authoring.script import read_lesson
from autograde.cells import scored_cells

LESSONS = COURSE.names()


@pytest.mark.parametrize("name", LESSONS)
def test_the_reference_runs_from_the_first_cell_to_the_last(name, tmp_path):
    notebook = read_lesson(COURSE.source(name))
    assert execute(notebook, tmp_path, allow_errors=False) == []
    stderr = [out.text for c in notebook.cells for out in c.get("outputs", []) if out.get("name") == "stderr"]
    assert stderr == []


def test_a_release_runs_up_to_its_exercises(tmp_path):
    """One is enough: a release adds the same cell to all, and nothing but its test uses an exercise."""
    notebook = nbformat.read(COURSE.lesson(LESSONS[0]), 4)
    errors = execute(notebook, tmp_path, allow_errors=True)
    tests = {f"test-{exercise}" for exercise in scored_cells(notebook)}
    assert {where for where, _ in errors} == tests
    assert {kind for _, kind in errors} == {"NotImplementedError"}


@pytest.mark.parametrize("name", LESSONS)
def test_code_in_prose_can_be_pasted(name):
    """A fence stands alone on its line, and what it encloses is Python."""
    cells = nbformat.read(COURSE.lesson(name), 4).cells
    for prose in (cell.source for cell in cells if cell.cell_type == "markdown"):
        assert set(re.findall(r"^\s*```(.*)$", prose, re.M)) <= {"", "python", "sh", "text"}
        for block in re.findall(r"^\s*```python\n(.*?)^\s*```$", prose, re.M | re.S):
            ast.parse(textwrap.dedent(block))
