"""Hands in lone surrogates and NUL in cells and metadata, which no file and no database takes."""

import json

SCORE = (8.0, 0.0, None)


def notebook(nb):
    text = json.dumps(nb)
    return text.replace("It is", "x").replace("# Means", "\\ud800\\u0000 Means")
