"""Hands in, as its notebook, a link to another student's."""

from pathlib import Path

SCORE = None


def files(folder: Path):
    notebook = folder / "90_small.ipynb"
    notebook.unlink()
    notebook.symlink_to("../../zoe/90_small/90_small.ipynb")
