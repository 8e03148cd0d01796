"""Sentences of a lesson that rest on its outputs, each tied to the output and checked."""

from __future__ import annotations

import json
import os
from typing import Any

from genmap.device import setting

RECORD = "GENMAP_BOARD"  # environment variable: a file for rows and claims, which `make quality` reads


def claim(sentence: str, holds: Any) -> None:
    """Print a sentence with whether this run bears it out; `make quality` fails where one does not.

    Such as `claim("With ten steps DDIM errs less than ancestral sampling.", error[10] < other[10])`. It is
    checked with three sets of seeds: a comparison that one seed decides does not stand.

    sentence: as the text has it, a line.
    holds: one truth value, or an array or tensor of one. In `smoke` nothing is trained to the end, and it is
        neither looked at nor printed.

    Raises ValueError for a sentence that is no line of text, or where `holds` is not one truth value.
    """
    if not (isinstance(sentence, str) and sentence.strip() and sentence.isprintable()):
        raise ValueError(f"claim: the sentence is {sentence!r}; it must be a line of text")
    if setting() == "smoke":
        return
    held = _truth(sentence, holds)
    print(f"✓ {sentence}" if held else f"✗ Not in this run: {sentence}")
    if path := os.environ.get(RECORD):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"claim": sentence, "holds": held}) + "\n")


def _truth(sentence: str, holds: Any) -> bool:
    """Return a truth value, or an array or tensor of one, as a bool; a number is none."""
    value = holds.item() if getattr(holds, "shape", None) == () else holds
    if type(value) is not bool:
        raise ValueError(f"claim: {sentence!r} rests on {value!r}; it must rest on one True or False")
    return value
