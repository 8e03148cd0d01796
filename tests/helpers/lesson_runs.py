"""Runs a lesson's notebook as a learner does, in its smoke setting; and its functions at full size."""

import contextlib
import io
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from course_root import COURSE
from nbformat import NotebookNode

from autograde.authoring.quality import Client
from autograde.authoring.script import read_lesson
from autograde.cells import grade_id

CELL_SECONDS = 1200


def execute(notebook: NotebookNode, folder: Path, allow_errors: bool) -> list[tuple[str, str]]:
    """Run every cell in the smoke setting; the errors as (grade id or "", name)."""
    client = Client(notebook, timeout=CELL_SECONDS, kernel_name="python3", allow_errors=allow_errors)
    client.resources = {"metadata": {"path": str(folder)}}
    inline = "module://matplotlib_inline.backend_inline"  # a notebook's: what is shown is closed
    with mock.patch.dict(os.environ, GENMAP_SETTING="smoke", OMP_NUM_THREADS="1", MPLBACKEND=inline):
        client.execute()
    found = []
    for cell in notebook.cells:
        names = [out.ename for out in cell.get("outputs", []) if out.output_type == "error"]
        found += [(grade_id(cell) or "", name) for name in names]
    return found


def at_full_size(
    lesson: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> SimpleNamespace:
    """Give a lesson's functions the settings of `full`, changed, until the test ends; returns them.

    `lesson` is what its cells define in the smoke setting: to run them all in `full` takes minutes.
    """
    cells = read_lesson(COURSE.source(name)).cells
    (source,) = [cell.source for cell in cells if "S = genmap.settings(" in cell.source]
    names = dict(lesson)
    with mock.patch.dict(os.environ, GENMAP_SETTING="full"), contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, "settings", "exec"), names)
    settings: SimpleNamespace = names["S"]
    vars(settings).update(**changes)
    monkeypatch.setitem(lesson, "S", settings)
    return settings
