"""Hands in 50,000 cells."""

from nbformat.v4 import new_code_cell

SCORE = None


def notebook(nb):
    nb.cells += [new_code_cell("1", id=f"n{n}") for n in range(50_000)]
