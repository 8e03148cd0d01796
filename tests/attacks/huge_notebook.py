"""Hands in a notebook of 60 MB: sources, outputs, metadata and attachments."""

from nbformat.v4 import new_markdown_cell, new_output

SCORE = None
MB = 1 << 20


def notebook(nb):
    nb.cells.append(new_markdown_cell("x" * (15 * MB), attachments={"x": {"text/plain": "y" * (15 * MB)}}))
    nb.cells[1].outputs = [new_output("stream", text="z" * (15 * MB))]
    nb.metadata["filler"] = "m" * (15 * MB)
