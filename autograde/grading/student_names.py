"""Names that a student's folder may have: they stand in pages, addresses, commands and messages."""

import unicodedata

PLAIN = (
    "a student's folder has letters, digits, spaces and . , @ + = ( ) ~ _ - in its name, "
    "at most 100 characters, and no space at its ends"
)
MAX_CHARACTERS = 100
MAX_BYTES = 240  # a file system allows 255 for a name, and names of kept files are made from it
PUNCTUATION = frozenset(" .,@+=()~_-")


def plain_name(name: str) -> bool:
    """Whether a student's folder may have this name; letters, marks and digits are those of any script."""
    if not 0 < len(name) <= MAX_CHARACTERS or name != name.strip():
        return False
    kinds = [unicodedata.category(character)[0] for character in name]
    if kinds[0] not in "LN" and name[0] not in "_(":
        return False
    if not all(kind in "LMN" or one in PUNCTUATION for kind, one in zip(kinds, name, strict=True)):
        return False
    return len(name.encode()) <= MAX_BYTES


def same_name(name: str) -> str:
    """A name in the one form (NFC) in which equal names are equal texts, without space at its ends."""
    return unicodedata.normalize("NFC", name).strip()


def printable(name: str, most: int = 120) -> str:
    """A name for a message: what a terminal would obey is replaced, and it is cut where it is long."""
    text = "".join(one if one.isprintable() else "�" for one in name)
    return text if len(text) <= most else f"{text[: most - 1]}…"
