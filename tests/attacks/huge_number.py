"""Hands in JSON with a number of a million digits, which takes Python for ever or is refused."""

import json

SCORE = None


def notebook(nb):
    return json.dumps(nb).replace('"execution_count": null', f'"execution_count": {"7" * 10**6}', 1)
