"""Hands in a notebook that is as large as one may be, to the byte: an answer in prose and metadata."""

import nbformat

from autograde.grading.submission_files import MAX_NOTEBOOK_BYTES

LARGEST = 14 << 20


def notebook(nb):
    for cell in nb.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") == "why-mean":
            cell.source = "y " * (2 << 20)
    nb.metadata["filler"] = ""
    nb.metadata["filler"] = "m" * (MAX_NOTEBOOK_BYTES - len(nbformat.writes(nb)) - 1)


def files(folder):
    assert (folder / "90_small.ipynb").stat().st_size == MAX_NOTEBOOK_BYTES
