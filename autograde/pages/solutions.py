"""The reference solutions and rubrics of a lesson, from the instructor's notebook."""

import functools
from pathlib import Path

import nbformat

from autograde.cells import BEGIN, END, grade_id


def rubrics(path: Path) -> dict[str, str]:
    """By answer in words, what stands between the solution markers; nothing where there is no notebook."""
    return {name: text for name, (kind, text) in _solutions(path).items() if kind == "markdown"}


def references(path: Path) -> dict[str, str]:
    """By exercise, its cell with the solution in it; by answer in words, its rubric."""
    return {name: text for name, (_, text) in _solutions(path).items()}


def _solutions(path: Path) -> dict[str, tuple[str, str]]:
    """By name, the type of the cell and its solution."""
    return _read(path, path.stat().st_mtime_ns) if path.exists() else {}


@functools.lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> dict[str, tuple[str, str]]:
    """Once for a class: nobody changes what is returned."""
    found = {}
    for cell in nbformat.read(path, 4).cells:
        lines = cell.source.split("\n")
        marks = [number for number, line in enumerate(lines) if line.strip() in (BEGIN, END)]
        if (name := grade_id(cell)) and marks:
            part = lines[marks[0] : marks[-1]] if cell.cell_type == "markdown" else lines
            kept = [line for line in part if line.strip() not in (BEGIN, END)]
            found[name] = (cell.cell_type, "\n".join(kept))
    return found
