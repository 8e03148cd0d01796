"""What students handed in, read as text: the code of each exercise.

A notebook may hold anything. Nothing in it is run, and what is read of it has bounds.
"""

import json
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from autograde.cells import grade_id, scored_cells
from autograde.report.normal_form import Cell, read_cell

MAX_BYTES = 20 << 20  # of a notebook, with its outputs; Python takes up to thirty times that to read it
MAX_CELLS = 2000
MAX_CHARACTERS = 300_000  # of a notebook's code: six times what a lesson has
MAX_ANSWER_CHARACTERS = 40_000  # of an exercise: twenty times what the longest has


@dataclass(frozen=True)
class Released:
    """A lesson's exercises, their cells by name; the sources of all its code; the names that it binds."""

    exercises: dict[str, Cell]
    sources: frozenset[str]
    bound: frozenset[str]


def read_released(notebook: NotebookNode) -> Released:
    """From the released notebook."""
    code = [read_cell(cell.source.strip()) for cell in notebook.cells if cell.cell_type == "code"]
    cells = {grade_id(cell): cell for cell in notebook.cells}
    exercises = {name: read_cell(cells[name].source) for name in scored_cells(notebook)}
    bound = frozenset[str]().union(*(cell.bound for cell in code))
    return Released(exercises, frozenset(cell.source for cell in code), bound)


def answers(path: Path, released: Released) -> dict[str, list[str]]:
    """The sources that answer each exercise, of those where anything was written.

    An exercise's own cell; others that define what it asks for; and those that define what these use.
    Raises ValueError with the reason where the notebook cannot be compared.
    """
    own = [(name, read_cell(text)) for name, text in _code(path) if text not in released.sources]
    found = {name: [cell.source for cell in _of(name, own, released)] for name in released.exercises}
    for name, sources in found.items():
        if sum(map(len, sources)) > MAX_ANSWER_CHARACTERS:
            raise ValueError(f"{name} is longer than {MAX_ANSWER_CHARACTERS} characters")
    return {name: sources for name, sources in found.items() if sources}


def _of(exercise: str, own: list[tuple[str | None, Cell]], released: Released) -> Iterable[Cell]:
    wanted = released.exercises[exercise].bound
    free = [cell for name, cell in own if name not in released.exercises]
    chosen = {id(cell) for name, cell in own if name == exercise}
    chosen |= {id(cell) for cell in free if cell.bound & wanted}
    before = -1
    while len(chosen) > before:
        before = len(chosen)
        used = frozenset[str]().union(*(cell.used for _, cell in own if id(cell) in chosen)) - released.bound
        chosen |= {id(cell) for cell in free if cell.bound & used}
    return (cell for _, cell in own if id(cell) in chosen)


def _code(path: Path) -> Iterator[tuple[str | None, str]]:
    """The code cells: an nbgrader id, or None, and the source. Raises ValueError."""
    cells = [cell for cell in _cells(_read(path)) if cell.get("cell_type") == "code"]
    found = [(_name(cell), _text(cell)) for cell in cells[: MAX_CELLS + 1]]
    if len(found) > MAX_CELLS or sum(len(text) for _, text in found) > MAX_CHARACTERS:
        raise ValueError(f"more than {MAX_CELLS} cells or {MAX_CHARACTERS} characters of code")
    yield from found


def _read(path: Path) -> Any:
    try:
        entry = path.lstat()
        if not stat.S_ISREG(entry.st_mode) or entry.st_size > MAX_BYTES:
            raise ValueError(f"is a link or larger than {MAX_BYTES >> 20} MB")
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(str(error.strerror)) from None
    try:
        return json.loads(content)
    except (ValueError, RecursionError, MemoryError):
        raise ValueError("no notebook") from None


def _cells(content: Any) -> Iterator[dict[str, Any]]:
    """Those of a notebook, which before format 4 were on worksheets."""
    for sheet in (content, *_list_in(content, "worksheets")):
        yield from (cell for cell in _list_in(sheet, "cells") if isinstance(cell, dict))


def _list_in(owner: Any, key: str) -> list[Any]:
    found = owner.get(key) if isinstance(owner, dict) else None
    return found if isinstance(found, list) else []


def _name(cell: dict[str, Any]) -> str | None:
    return grade_id(NotebookNode(cell)) if isinstance(cell.get("metadata"), dict) else None


def _text(cell: dict[str, Any]) -> str:
    source = cell.get("source", cell.get("input"))
    lines = source if isinstance(source, list) else [source]
    text = "".join(line for line in lines if isinstance(line, str)).replace("\r\n", "\n").strip()
    return text.encode(errors="replace").decode()  # half of a surrogate pair is no Python
