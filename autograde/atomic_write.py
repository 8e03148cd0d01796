"""Writes files whole or not at all: a reader, or a kill, meets the old file or the new one."""

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path


def write(path: Path, content: str | bytes) -> None:
    """Put the content, a text as UTF-8, into a file. Raises OSError, and leaves what was there."""
    write_all({path: content})


def write_all(files: Mapping[Path, str | bytes], between: Callable[[], None] = lambda: None) -> None:
    """Write drafts of all files, call `between`, and only then put the drafts in their places.

    What is raised before the first is in its place leaves every file as it was. Raises OSError, which names
    the file.
    """
    drafts = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in files}
    try:
        for path, draft in drafts.items():
            content = files[path]
            _put(draft, content.encode() if isinstance(content, str) else content, path)
        between()
        for path, draft in drafts.items():
            os.replace(draft, path)
    finally:
        for draft in drafts.values():
            with contextlib.suppress(OSError):
                draft.unlink()


def _put(draft: Path, content: bytes, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
    except OSError as error:  # a full disk does not name the file
        raise OSError(error.errno, error.strerror, str(path)) from None
