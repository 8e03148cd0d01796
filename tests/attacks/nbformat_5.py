"""Says that it is a notebook of format 5, of format "4", and of minor version 99."""

import json

SCORE = (8.0, None)


def notebook(nb):
    return json.dumps(nb | {"nbformat": 5, "nbformat_minor": 99})
