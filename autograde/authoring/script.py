"""A percent script with exercise markers as the instructor's notebook."""

import hashlib
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

from autograde.authoring.percent import Cell, read_cells, read_text, refuse
from autograde.authoring.rules import MARKS, check_lesson, check_marks, kind_of
from autograde.cells import BEGIN, END, grade_id, track_mark
from autograde.errors import CourseError
from autograde.sandbox.limits import limits_of

RUNS_ON = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
PERCENT = {"extension": ".py", "format_name": "percent", "comment_magics": False}
LESSON = re.compile(r"\d\d_[a-z][a-z0-9_]*")


def read_lesson(path: Path) -> NotebookNode:
    """The instructor's notebook of a percent script; it depends on the script alone.

    Raises CourseError, with file, line and reason, for a script that breaks one of the rules.
    """
    if not LESSON.fullmatch(path.stem):
        raise refuse(path, 1, "malformed lesson name: use two digits and lower-case words, such as 01_map.")
    preamble, cells = read_cells(path, MARKS)
    _check_preamble(path, preamble)
    for cell in cells:
        check_marks(cell)
    notebook = _read_with_jupytext(path, cells)
    check_lesson(path, cells)
    for theirs, ours in zip(notebook.cells, cells, strict=True):
        _expand(theirs, ours)
    set_ids(notebook.cells)
    genmap = {"lesson": path.stem, **notebook.metadata.get("genmap", {})}
    notebook.metadata = nbformat.from_dict({**RUNS_ON, "genmap": genmap})
    return notebook


def _check_preamble(path: Path, lines: list[str]) -> None:
    """Before the first cell there is a YAML header, or nothing."""
    edges = [index for index, line in enumerate(lines) if line.rstrip() == "# ---"][:2]
    inside = range(edges[0], edges[1] + 1) if len(edges) == 2 else ()
    for index, line in enumerate(lines):
        if line.strip() and index not in inside:
            raise refuse(path, index + 1, "this stands before the first cell: begin it with `# %%`.")


def _read_with_jupytext(path: Path, cells: list[Cell]) -> NotebookNode:
    """jupytext's notebook, held to our cells: it reads strings, code fences and headers its own way."""
    try:
        notebook = jupytext.reads(read_text(path), fmt=PERCENT)
        _check_metadata(notebook)
    except Exception as error:  # jupytext lets its YAML parser's errors through
        raise refuse(path, 1, f"malformed YAML header: {' '.join(str(error).split())}") from None
    for cell, other in zip_longest(cells, notebook.cells):
        if not (cell and other and _agree(cell, other)):
            reason = (
                "jupytext reads this cell otherwise: does a `# %%` line stand in a string or a code fence?"
            )
            raise (cell or cells[-1]).refuse(reason)
    return notebook


def _agree(cell: Cell, other: NotebookNode) -> bool:
    marks = {key: value for key, value in other.metadata.items() if key in MARKS}
    if marks != cell.marks or other.cell_type != ("markdown" if cell.markdown else "code"):
        return False
    return cell.markdown or other.source.strip("\n") == "\n".join(cell.lines).strip("\n")


def _check_metadata(notebook: NotebookNode) -> None:
    """The YAML header holds limits and what jupytext writes. Raises CourseError for anything else."""
    genmap = notebook.metadata.get("genmap", {})
    unknown = (set(notebook.metadata) - {"genmap", "jupytext", "kernelspec"}) | (set(genmap) - {"limits"})
    if unknown or (notebook.cells and notebook.cells[0].cell_type == "raw"):
        raise CourseError("only genmap: {limits: {cell: 120}} may stand there, below `jupyter:`.")
    limits_of(notebook.metadata)


def _expand(cell: NotebookNode, ours: Cell) -> None:
    """Replace the markers by nbgrader's metadata; jupytext's own go."""
    kind = kind_of(ours)
    lines = cell.source.strip("\n").split("\n")
    built = (line for line in lines if line.strip() not in (BEGIN, END))
    cell.source = "\n".join(built if kind == "build" else lines)
    cell.metadata = nbformat.from_dict({"tags": ["demo"]} if kind == "demo" else {})
    if title := ours.marks.get("folded"):
        cell.source = f"# @title {title}\n{cell.source}"  # Colab shows it in the place of the code
        cell.metadata |= nbformat.from_dict({"jupyter": {"source_hidden": True}, "cellView": "form"})
    if kind in ("", "demo"):
        return
    if kind in ("build", "check"):
        tags = {"tags": ["demo"]} if kind == "check" else {}
        cell.metadata = nbformat.from_dict({**tags, "genmap": {kind: ours.marks[kind]}})
        return
    name, points = ours.marks[kind], ours.marks.get("points")
    if kind == "test":
        cell.source = f"# test {name}: {points:g} points\n{cell.source}"
        cell.metadata["tags"] = ["raises-exception"]  # "Run all" goes on behind an exercise not yet solved
        cell.metadata["nbgrader"] = _metadata(f"test-{name}", points=points, grade=True, locked=True)
    elif kind == "answer":
        cell.metadata["nbgrader"] = _metadata(name, points=points, grade=True, solution=True)
    else:
        cell.metadata["nbgrader"] = _metadata(name, solution=True)


def _metadata(grade_id: str, **given: Any) -> NotebookNode:
    blank = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False}
    return nbformat.from_dict({**blank, **given, "grade_id": grade_id})


def set_ids(cells: list[NotebookNode]) -> None:
    """Ids from the names, else from the sources, so that they are the same in every build."""
    named = {id(cell): name for cell in cells if (name := grade_id(cell) or _track_id(cell))}
    taken = set(named.values())
    for cell in cells:
        if id(cell) in named:
            cell.id = named[id(cell)]
            continue
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        cell.id = next(name for name in _numbered(digest) if name not in taken)
        taken.add(cell.id)


def _track_id(cell: NotebookNode) -> str | None:
    """Of a cell that builds, or checks what is built."""
    marks = ((kind, track_mark(cell, kind)) for kind in ("build", "check"))
    return next((f"{kind}-{name}" for kind, name in marks if name), None)


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 1
    while True:
        number += 1
        yield f"{name}-{number}"
