"""Nests metadata and outputs just as deep as a parser still takes."""

import json

SCORE = (8.0, None)


def notebook(nb):
    text = json.dumps(nb)
    deep = '{"a":' * 450 + "1" + "}" * 450
    return text.replace('"metadata": {}', f'"metadata": {{"deep": {deep}}}')
