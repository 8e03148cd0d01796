"""A notebook from a file, or one line that says why there is none."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from autograde.errors import UsageError

# What other files begin with, and what they are.
OTHERS = {
    b"PK": "it is a zip archive: unpack it",
    b"%PDF": "it is a PDF: hand in the notebook itself",
    b"<": "it is a web page or holds a merge conflict: download the notebook itself",
}

MARKS = ("genmap", "nbgrader")  # the course's own metadata
CELL_KEYS = ("cell_type", "id", "level", "language", "collapsed", "prompt_number", "execution_count")
MAX_ENTRIES = 50  # of a dictionary of metadata or pictures


def read_notebook(path: Path) -> NotebookNode:
    """A notebook from a file, of UTF-8 or UTF-16, with a byte order mark or without.

    Raises UsageError, one line, for anything else.
    """
    return _parsed(content_of(path), path, lambda found: found)


def read_submission(path: Path) -> NotebookNode:
    """A learner's notebook from a file: see `parse_submission`. Raises UsageError."""
    return parse_submission(content_of(path), path)


def parse_submission(content: bytes, named: Path) -> NotebookNode:
    """A learner's notebook: sources, pictures and the course's own marks; all else is left out.

    So foreign metadata and outputs are never built. `named`: the file, for messages. Raises UsageError.
    """
    return _parsed(content, named, _reduced)


def content_of(path: Path, named: Path | None = None) -> bytes:
    """The bytes of a file, whose name in messages is `named` where it is a copy. Raises UsageError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{named or path} does not exist.") from None
    except OSError as error:
        raise UsageError(f"{named or path} cannot be read: {error.strerror}.") from None


def _parsed(content: bytes, named: Path, prepare: Callable[[Any], Any]) -> NotebookNode:
    try:
        return _notebook(prepare(_json(content)))
    except ValueError as error:
        raise UsageError(f"{named} is no notebook, or a damaged one: {error}.") from None


def _reduced(found: Any) -> Any:
    """What grading reads of a notebook. Raises ValueError where cells are malformed."""
    if not isinstance(found, dict):
        return found
    kept = {key: found[key] for key in ("nbformat", "nbformat_minor") if key in found}
    metadata = found.get("metadata")
    kept["metadata"] = _marks(metadata) if isinstance(metadata, dict) else {}
    if "cells" in found:
        kept["cells"] = _cells(found["cells"])
    if isinstance(sheets := found.get("worksheets"), list):  # of format 3
        kept["worksheets"] = [{"metadata": {}, "cells": _cells(sheet["cells"])} for sheet in sheets]
    return kept


def _cells(cells: Any) -> list[dict[str, Any]]:
    try:
        return [_cell(cell) for cell in cells]
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"its cells are malformed ({type(error).__name__})") from None


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell as it may be in any format; TypeError and the like for what is none."""
    kept = {key: cell[key] for key in CELL_KEYS if isinstance(cell.get(key), str | int)}
    for key in ("source", "input"):
        if key in cell:
            kept[key] = cell[key] if isinstance(cell[key], str) else "".join(cell[key])
    if isinstance(attached := cell.get("attachments"), dict):
        first = islice(attached.items(), MAX_ENTRIES)
        kept["attachments"] = {name: _flat(forms) for name, forms in first if isinstance(forms, dict)}
    kept["metadata"] = _marks(cell.get("metadata", {}))
    return kept | ({"outputs": []} if cell["cell_type"] == "code" else {})


def _marks(metadata: dict[str, Any]) -> dict[str, Any]:
    """Of the metadata of a notebook or a cell what the course and nbgrader put there."""
    return {key: _flat(metadata[key]) for key in MARKS if isinstance(metadata.get(key), dict)}


def _flat(found: dict[str, Any]) -> dict[str, Any]:
    """The first entries of a dictionary, without those that hold others."""
    first = islice(found.items(), MAX_ENTRIES)
    return {key: value for key, value in first if not isinstance(value, dict | list)}


def _json(content: bytes) -> Any:
    """What is in the file. Raises ValueError with the reason."""
    if not content.strip():
        raise ValueError("it is empty")
    for start, what in OTHERS.items():
        if content.lstrip().startswith(start):
            raise ValueError(what)
    try:
        return json.loads(content)  # which finds the encoding by itself
    except UnicodeDecodeError:
        raise ValueError("it is no text in UTF-8 or UTF-16") from None
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip())
        where = "at its end: it was cut off" if cut else f"in line {error.lineno}"
        raise ValueError(f"it is no JSON, {where} ({error.msg.lower()})") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _notebook(found: Any) -> NotebookNode:
    """The notebook in what was read; ids may be missing or double. Raises ValueError with the reason."""
    if not isinstance(found, dict) or not {"cells", "worksheets"} & found.keys():
        raise ValueError("it is JSON, but has no cells")
    try:
        notebook = nbformat.convert(nbformat.reader.reads(json.dumps(found)), 4)
        sound = all(isinstance(cell["metadata"], dict) and cell["cell_type"] for cell in notebook.cells)
    except Exception as error:  # of a format from before, or of none
        raise ValueError(f"its cells are malformed ({type(error).__name__})") from None
    if not sound:
        raise ValueError("its cells are malformed")
    return notebook
