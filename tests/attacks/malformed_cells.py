"""Hands in cells that are no cells: null, numbers, sources that are objects, lone surrogates, NUL."""

import json

SCORE = None


def notebook(nb):
    book = json.loads(json.dumps(nb))
    book["cells"] += [
        None,
        3,
        [],
        {"cell_type": "code"},
        {"source": {"a": 1}, "cell_type": "code", "metadata": 7},
    ]
    return json.dumps(book)
