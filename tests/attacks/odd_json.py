"""Hands in JSON with doubled keys, numbers beyond every range and constants that JSON does not have."""

import json

SCORE = (8.0, 0.0, None)


def notebook(nb):
    text = json.dumps(nb)
    odd = '"a": NaN, "a": Infinity, "b": 1e999, "c": -0.0, "d": 123456789012345678901234567890'
    text = text.replace('"metadata": {}', f'"metadata": {{{odd}}}')
    return text.replace('"execution_count": null', f'"execution_count": {10**400}', 1)
