"""A notebook from a file, or one line that says why there is none."""

import json
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


def read_notebook(path: Path) -> NotebookNode:
    """A notebook from a file, of UTF-8 or UTF-16, with a byte order mark or without.

    Raises UsageError, one line, for anything else.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        return _notebook(_json(content))
    except ValueError as error:
        raise UsageError(f"{path} is no notebook, or a damaged one: {error}.") from None


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
