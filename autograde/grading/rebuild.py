"""A submission rebuilt from the release: only the learner's own sources are taken from it.

Metadata, ids, tags and locked cells come from the release. A graded cell that is missing is put back, one
that appears twice or that the release does not know becomes an ordinary cell.
"""

import copy
from collections import Counter

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

from autograde.cells import grade_id

MAKERS = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}


def rebuild(submitted: NotebookNode, released: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """The notebook to grade and, for the log, what was mended. Neither argument is changed."""
    graded = {name: cell for cell in released.cells if (name := grade_id(cell)) is not None}
    plain = {(c.cell_type, c.source): c for c in reversed(released.cells) if grade_id(c) is None}
    notes: list[str] = []
    cells: list[NotebookNode] = []
    seen: set[str] = set()
    for number, cell in enumerate(submitted.cells):
        name = grade_id(cell)
        if name in graded and name not in seen:
            seen.add(name)
            cells.append(_graded(graded[name], cell, notes))
            continue
        if name is not None:
            notes.append(f"cell {name!r} is unknown or appears twice: taken as an ordinary cell")
        cells.append(_plain(cell, plain, number))
    _put_back([c for n, c in graded.items() if n not in seen], cells, list(graded), notes)
    _distinct_ids(cells)
    rest = {name: part for name, part in released.items() if name != "cells"}
    return NotebookNode({**copy.deepcopy(rest), "cells": cells}), notes


def _graded(release: NotebookNode, submitted: NotebookNode, notes: list[str]) -> NotebookNode:
    cell = copy.deepcopy(release)
    if not release.metadata.nbgrader.get("locked"):
        cell.source = _source(submitted)
    elif _source(submitted) != release.source:
        notes.append(f"cell {grade_id(release)!r} had been changed: the release's is used")
    return cell


def _plain(
    submitted: NotebookNode, released: dict[tuple[str, str], NotebookNode], number: int
) -> NotebookNode:
    """An ordinary cell; it keeps the release's tags and id only where its source is the release's."""
    source, kind = _source(submitted), str(submitted.get("cell_type"))
    if (cell := released.get((kind, source))) is not None:
        return copy.deepcopy(cell)
    cell = MAKERS.get(kind, new_raw_cell)(source)
    cell.id = f"own-{number}"
    return cell


def _source(cell: NotebookNode) -> str:
    source = cell.get("source", "")
    # what is no text, half of a surrogate pair, cannot be written to the file again
    return source.encode(errors="replace").decode() if isinstance(source, str) else ""


def _put_back(
    missing: list[NotebookNode], cells: list[NotebookNode], order: list[str], notes: list[str]
) -> None:
    """Insert each missing graded cell behind the graded cell before it in the release."""
    for cell in missing:
        name = grade_id(cell)
        assert name is not None
        notes.append(f"cell {name!r} was missing: put back")
        before = set(order[: order.index(name)])
        places = [i for i, other in enumerate(cells) if grade_id(other) in before]
        cells.insert(max(places) + 1 if places else 0, copy.deepcopy(cell))


def _distinct_ids(cells: list[NotebookNode]) -> None:
    """Number the copies of a cell that a learner pasted more than once."""
    seen: Counter[str] = Counter()
    for cell in cells:
        seen[cell.id] += 1
        if seen[cell.id] > 1:
            cell.id = f"{cell.id}-copy{seen[cell.id]}"
