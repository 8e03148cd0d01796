"""Pastes a graded cell twice, one below the other, as a slip of the hand does."""

import copy


def notebook(nb):
    for cell in [cell for cell in nb.cells if "nbgrader" in cell.metadata]:
        nb.cells.insert(nb.cells.index(cell), copy.deepcopy(cell))
