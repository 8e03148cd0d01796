"""The release that submissions are rebuilt from: read once for a class, and changed by nobody."""

import functools
from pathlib import Path

from nbformat import NotebookNode

from autograde.course import Course
from autograde.notebooks import read_notebook


def read_released(course: Course, lesson: str) -> NotebookNode:
    """The released notebook. Raises OSError, and UsageError where it is damaged."""
    path = course.released(lesson)
    return _read(path, path.stat().st_mtime_ns)


@functools.cache
def _read(path: Path, changed: int) -> NotebookNode:
    return read_notebook(path)
