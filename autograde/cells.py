"""What a notebook's cells say of themselves: nbgrader's ids, demos, public tests, the SOLUTION markers."""

from collections.abc import Iterator
from typing import Any

from nbformat import NotebookNode

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
STUB = "raise NotImplementedError"  # what a release has instead of a solution
ANSWER_STUB = "*Write your answer here.*"  # and instead of an answer in words


def grade_id(cell: NotebookNode) -> str | None:
    """The nbgrader id of a cell, None where it has none or something that is no id."""
    mark = cell.get("metadata", {}).get("nbgrader")
    name = mark.get("grade_id") if isinstance(mark, dict) else None
    return name if isinstance(name, str) else None


def track_mark(cell: NotebookNode, kind: str) -> str | None:
    """What the course's own mark of a cell says; None where there is none.

    kind: "build", what it builds; "check", what it checks; "track", which track alone has it.
    """
    mark = cell.get("metadata", {}).get("genmap")
    name = mark.get(kind) if isinstance(mark, dict) else None
    return name if isinstance(name, str) else None


def is_locked(cell: NotebookNode) -> bool:
    """Whether a released cell stays as it was released: a public test."""
    return bool(cell.metadata.get("nbgrader", {}).get("locked"))


def is_demo(cell: dict[str, Any]) -> bool:
    """Whether a released cell is left out while grading."""
    return "demo" in cell["metadata"].get("tags", [])


def scored_cells(nb: NotebookNode) -> dict[str, NotebookNode]:
    """The public test cells of a notebook by exercise; their points are nbgrader's metadata."""
    cells = {}
    for cell in nb.cells:
        name = grade_id(cell)
        if name and name.startswith("test-") and cell.metadata.nbgrader.get("locked"):
            cells[name.removeprefix("test-")] = cell
    return cells


def maximum_points(nb: NotebookNode) -> dict[str, float]:
    """The points of each exercise."""
    return {name: float(cell.metadata.nbgrader.points) for name, cell in scored_cells(nb).items()}


def cells_to_run(nb: NotebookNode) -> Iterator[NotebookNode]:
    """The code cells that grading runs: all but demo cells and public tests."""
    tests = [id(cell) for cell in scored_cells(nb).values()]
    for cell in nb.cells:
        if cell.cell_type == "code" and not is_demo(cell) and id(cell) not in tests:
            yield cell
