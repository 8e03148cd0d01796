"""Every lesson runs: the whole reference in its smoke setting, and the release up to its first exercise."""

import os
from pathlib import Path
from unittest import mock

import nbformat
import pytest
from nbformat import NotebookNode

from autograde.course import Course
from autograde.grading import scored_cells
from autograde.quality import Client
from autograde.rebuild import grade_id
from autograde.script import read_lesson

COURSE = Course.at(Path(__file__).parents[1])
LESSONS = COURSE.names()


def execute(notebook: NotebookNode, folder: Path, allow_errors: bool) -> list[tuple[str, str]]:
    """Run every cell in the smoke setting; the errors as (grade id or "", name)."""
    client = Client(notebook, timeout=120, kernel_name="python3", allow_errors=allow_errors)
    client.resources = {"metadata": {"path": str(folder)}}
    with mock.patch.dict(os.environ, GENMAP_SETTING="smoke", OMP_NUM_THREADS="1"):
        client.execute()
    found = []
    for cell in notebook.cells:
        names = [out.ename for out in cell.get("outputs", []) if out.output_type == "error"]
        found += [(grade_id(cell) or "", name) for name in names]
    return found


@pytest.mark.parametrize("name", LESSONS)
def test_the_reference_runs_from_the_first_cell_to_the_last(name, tmp_path):
    notebook = read_lesson(COURSE.source(name))
    assert execute(notebook, tmp_path, allow_errors=False) == []
    stderr = [out.text for c in notebook.cells for out in c.get("outputs", []) if out.get("name") == "stderr"]
    assert stderr == []


@pytest.mark.parametrize("name", LESSONS)
def test_the_release_runs_up_to_its_exercises(name, tmp_path):
    notebook = nbformat.read(COURSE.lesson(name), 4)
    errors = execute(notebook, tmp_path, allow_errors=True)
    tests = {f"test-{exercise}" for exercise in scored_cells(notebook)}
    assert {where for where, _ in errors} == tests
    assert {kind for _, kind in errors} == {"NotImplementedError"}
