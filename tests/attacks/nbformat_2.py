"""Says that it is a notebook of format 2."""

import json

SCORE = (8.0, None)


def notebook(nb):
    cells = [{"cell_type": "code", "language": "python", "input": c.source, "outputs": []} for c in nb.cells]
    book = {"metadata": {"name": "x"}, "nbformat": 2, "worksheets": [{"cells": cells}]}
    return json.dumps(book)
