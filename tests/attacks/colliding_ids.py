"""Gives its cells the ids of the test cells, of each other, and ids that no notebook may have."""

import copy
import json

IDS = ("", "own-3", "own-3", "x" * 10_000, "../x", "<b>", "\n", 7, None)


def notebook(nb):
    book = json.loads(json.dumps(nb))
    graded = [cell for cell in book["cells"] if "nbgrader" in cell["metadata"]]
    for cell in copy.deepcopy(graded):
        other = {"code": "markdown", "markdown": "code"}[cell["cell_type"]]
        book["cells"].append({**cell, "cell_type": other, "source": "12.0"})
    for cell in copy.deepcopy(graded):
        book["cells"].append({**cell, "metadata": {}, "source": "12.0"})
    for name in IDS:
        book["cells"].append({"cell_type": "raw", "id": name, "metadata": {}, "source": "x"})
    return json.dumps(book)
