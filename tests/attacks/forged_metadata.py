"""Raises its points, unlocks, renames and doubles the graded cells, and tags the tests as not to be run."""

import copy


def notebook(nb):
    for cell in nb.cells:
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader.update(points=1000, schema_version=99, locked=False, solution=True)
        cell.metadata.tags = ["demo", "skip-execution"]
    nb.cells += copy.deepcopy(nb.cells)
    nb.metadata.genmap = {"limits": {"notebook": 10**6}}  # another lesson: test_nbgrader.py
    nb.metadata.kernelspec = {"name": "bash", "display_name": "../../x", "language": "sh"}
