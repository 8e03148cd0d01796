"""Writes a file whole or not at all: whoever reads it, or kills the writer, meets the old or the new one."""

import os
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Put `text` into the file, as UTF-8. Raises OSError, and leaves what was there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        draft.write_text(text, encoding="utf-8", newline="")
        os.replace(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
