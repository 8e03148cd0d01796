"""English prose and Python source that come with every Python."""

from __future__ import annotations

import hashlib
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from genmap.data.splits import Splits


@cache
def prose() -> Splits[str]:
    """Return the running Python's language reference: English with examples, about 370,000 characters.

    A paragraph's part follows from a hash of its text: about 80 % train, 10 % validation, 10 % test. So no
    paragraph is in two parts, nor twice in one, and another version of Python moves none that it shares. The
    text does differ between versions: give targets a margin. A few characters are not ASCII.

    Source: pydoc's topics, the Python Software Foundation's documentation, under its licence.
    """
    from pydoc_data.topics import topics

    pieces = [piece for topic in sorted(topics) for piece in re.split(r"\n\s*\n", topics[topic])]
    return _by_hash((" ".join(piece.split()), piece.strip("\n") + "\n\n") for piece in pieces)


@cache
def code() -> Splits[str]:
    """Return the source of the standard library's top-level modules, about 4,700,000 characters.

    A module's part follows from a hash of its name: about 80 % train, 10 % validation, 10 % test. The text
    differs between versions of Python: give targets a margin.

    Raises FileNotFoundError where this Python comes without its source.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    modules = sorted(path for path in folder.glob("*.py") if path.stem in sys.stdlib_module_names)
    if not modules:
        raise FileNotFoundError(f"{folder} holds no modules; use a Python that comes with its source")
    return _by_hash((path.stem, _source(path)) for path in modules)


def _source(path: Path) -> str:
    with tokenize.open(path) as file:  # in the encoding that the file declares
        return file.read()


def _by_hash(pieces: Iterable[tuple[str, str]]) -> Splits[str]:
    """Join pieces, given with keys, into the parts that the keys' hashes choose; each key counts once."""
    parts: tuple[dict[str, str], ...] = ({}, {}, {})
    for key, text in pieces:
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
        if key:
            parts[max(0, number % 10 - 7)].setdefault(key, text)
    return Splits(*("".join(part.values()) for part in parts))
