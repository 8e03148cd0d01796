"""Hands in metadata of a million empty dictionaries, each of which is an object once it is read."""

import json

MANY = 1_000_000


def notebook(nb):
    text = json.dumps(nb)
    assert text.startswith('{"cells"') or '"metadata"' in text
    book = json.loads(text)
    book["metadata"]["filler"] = "@MANY@"
    book["cells"][1]["metadata"]["filler"] = "@MANY@"
    book["cells"][1].setdefault("outputs", [])
    return json.dumps(book).replace('"@MANY@"', "[" + ",".join(["{}"] * MANY) + "]")
