"""Runs a lesson's notebook as a learner does, in its smoke setting."""

import os
from pathlib import Path
from unittest import mock

from nbformat import NotebookNode

from autograde.authoring.quality import Client
from autograde.cells import grade_id

CELL_SECONDS = 120


def execute(notebook: NotebookNode, folder: Path, allow_errors: bool) -> list[tuple[str, str]]:
    """Run every cell in the smoke setting; the errors as (grade id or "", name)."""
    client = Client(notebook, timeout=CELL_SECONDS, kernel_name="python3", allow_errors=allow_errors)
    client.resources = {"metadata": {"path": str(folder)}}
    with mock.patch.dict(os.environ, GENMAP_SETTING="smoke", OMP_NUM_THREADS="1"):
        client.execute()
    found = []
    for cell in notebook.cells:
        names = [out.ename for out in cell.get("outputs", []) if out.output_type == "error"]
        found += [(grade_id(cell) or "", name) for name in names]
    return found
