"""Hands in 50,000 cells."""

import json

SCORE = None


def notebook(nb):
    text = json.dumps(nb)
    cell = '{"cell_type": "markdown", "id": "n%d", "metadata": {}, "source": "1"}'
    cells = ", ".join(cell % number for number in range(50_000))
    return text.replace('"cells": [', f'"cells": [{cells}, ', 1)
