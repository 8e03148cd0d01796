"""Is a notebook of format 3, with worksheets and the metadata of format 4."""

import json

SCORE = (0.0, 8.0, None)


def notebook(nb):
    cells = [
        {"cell_type": "code", "language": "python", "input": c.source, "outputs": [], "metadata": c.metadata}
        for c in nb.cells
        if c.cell_type == "code"
    ]
    return json.dumps({"metadata": {}, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": cells}]})
