"""Validate over a lesson of the course, with the settings that autograde/HUB.md gives students."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest
from course_root import COURSE
from hub_site import commands, page

from autograde.authoring.release import build
from autograde.cells import grade_id

LESSON = "01_map"
RIGHT, WRONG = "interval-mass", "bandwidth"
NOTHING = "def loo_bandwidth(points, candidates):\n    return candidates[0], 0 * candidates\n"


@pytest.fixture
def student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's settings and kernel, in which nbgrader is run as students run it."""
    folder = tmp_path / LESSON
    folder.mkdir()
    (folder / "nbgrader_config.py").write_text(page("students"))
    (line,) = (line for line in commands("Once, as root") if " ipykernel install " in line)
    words = [sys.executable, *line.replace("/opt/genmap", str(tmp_path)).split()[1:]]
    subprocess.run(words, check=True, capture_output=True)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    for name in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    return folder


def validate(folder: Path, notebook: nbformat.NotebookNode) -> str:
    """What `nbgrader validate` says of a notebook."""
    nbformat.write(notebook, folder / f"{LESSON}.ipynb")
    program = Path(sysconfig.get_path("scripts"), "nbgrader")
    line = [sys.executable, program, "validate", f"{LESSON}.ipynb"]
    done = subprocess.run(line, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_validate_names_the_cells_that_fail_and_no_hidden_test(student):
    (built,) = build(COURSE, [LESSON])
    notebook, solved = nbformat.reads(built.released, 4), json.loads(built.source)
    answers = {grade_id(cell): "".join(cell["source"]) for cell in nbformat.from_dict(solved).cells}
    cells = {grade_id(cell): cell for cell in notebook.cells}
    cells[RIGHT].source, cells[WRONG].source = answers[RIGHT], NOTHING
    said = validate(student, notebook)
    exercises = {name.removeprefix("test-") for name in cells if name and name.startswith("test-")}
    assert {name for name in exercises if f"# test {name}: " in said} == exercises - {RIGHT}
    assert "VALIDATION FAILED ON" in said and "AssertionError" in said and "NotImplementedError" in said
