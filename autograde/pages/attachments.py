"""Pictures of a markdown cell, pasted or inlined: only what is one stays, and a text names it."""

import base64
import itertools
import re
from collections.abc import Mapping

from nbformat import NotebookNode

MAX_PICTURE_BYTES = 5 << 20
MAX_PICTURES = 20  # of a cell
MAX_NAME_CHARACTERS = 200
STARTS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
}
# Where markdown has the address of a picture, in place or below: ![a](data:...) and [a]: data:...
INLINED = re.compile(r"(\](?:\(|:)\s?<?)data:(image/(?:png|jpe?g|gif));base64,([\w+/=]+)", re.ASCII)
Pictures = dict[str, dict[str, str]]


def kept(attachments: object) -> Pictures:
    """Of a cell's attachments, whatever they are, the pictures: by name, in base64 by type, one of each.

    A picture is a PNG, JPEG or GIF of up to MAX_PICTURE_BYTES that begins as its type does; MAX_PICTURES are
    kept. A name is what can be printed on one line.
    """
    found: Pictures = {}
    for name, forms in attachments.items() if isinstance(attachments, Mapping) else ():
        if len(found) < MAX_PICTURES and _is_name(name) and (picture := _picture(forms)):
            found[name] = picture
    return found


def is_picture(content: bytes) -> bool:
    """Whether a file's content is that of a picture that a page may show."""
    starts = tuple(start for group in STARTS.values() for start in group)
    return content.startswith(starts) and len(content) <= MAX_PICTURE_BYTES


def gather(cell: NotebookNode) -> None:
    """Make the pictures inlined in a markdown cell attachments, and keep of these what is a picture."""
    given = cell.pop("attachments", None)
    pictures = kept(given)
    taken = {*given} if isinstance(given, Mapping) else set()
    names = (name for number in itertools.count(1) if (name := f"inlined-{number}") not in taken)
    inlined: Pictures = {}

    def named(found: re.Match[str]) -> str:
        name = next(names)
        inlined[name] = {found[2].replace("jpg", "jpeg"): found[3]}
        return f"{found[1]}attachment:{name}"

    cell.source = INLINED.sub(named, cell.source)
    if pictures := kept({**pictures, **inlined}):
        cell.attachments = pictures


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARACTERS and name.isprintable()


def _picture(forms: object) -> dict[str, str]:
    """The first form that is a picture, its base64 on one line; empty where none is."""
    for kind, starts in STARTS.items():
        text = forms.get(kind) if isinstance(forms, Mapping) else None
        if not isinstance(text, str) or len(text) > MAX_PICTURE_BYTES * 3 // 2:
            continue
        try:
            content = base64.b64decode("".join(text.split()), validate=True)
        except ValueError:
            continue
        if content.startswith(starts) and len(content) <= MAX_PICTURE_BYTES:
            return {kind: base64.b64encode(content).decode()}
    return {}
