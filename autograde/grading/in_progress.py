"""Marks of submissions that are being graded: after a kill nbgrader would take them for graded."""

import os
import shutil
from pathlib import Path

from autograde.course import Course


def begin(folder: Path, name: str) -> None:
    """Mark a submission's autograded folder as being graded by this process."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.unfinished").write_text(str(os.getpid()))


def end(folder: Path, name: str) -> None:
    """Take the mark away: the verdict is written."""
    (folder / f"{name}.unfinished").unlink(missing_ok=True)


def sweep(course: Course) -> list[Path]:
    """Remove what a killed grader left, so that it is graded again; returns the folders."""
    left = []
    for folder in course.grading.glob("autograded/*/*"):
        if not any(folder.glob("*.verdict.json")) and not any(map(_at_work, folder.glob("*.unfinished"))):
            shutil.rmtree(folder)
            left.append(folder)
    return left


def _at_work(mark: Path) -> bool:
    try:
        return alive(mark.read_text())
    except OSError:
        return False


def alive(process: str) -> bool:
    """Whether the process of this number is there."""
    try:
        os.kill(int(process), 0)
    except (OSError, ValueError):
        return False
    return True
