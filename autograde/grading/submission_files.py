"""What nbgrader may read of a submission's folder: plain names, plain files of bounded size, and no links."""

import os
import stat
from pathlib import Path
from typing import Any

from nbgrader.converters.base import BaseConverter, NbGraderException
from nbgrader.utils import find_all_files

from autograde.errors import CourseError
from autograde.grading.student_names import PLAIN, plain_name

MAX_FILES = 2000
MAX_BYTES = 200 << 20  # of a submission's folder
MAX_NOTEBOOK_BYTES = 50 << 20
MAX_CELLS = 2000
STOCK_CONVERT_NOTEBOOKS = BaseConverter.convert_notebooks


def plain_files(path: str, exclude: list[str] | None = None) -> list[str]:
    """nbgrader's find_all_files without links, pipes and devices, which may have no end.

    Raises CourseError where the folder holds too much or a notebook is no plain file: it would be
    somebody else's, or endless.
    """
    found = {name: os.lstat(name) for name in find_all_files(path, exclude)}
    plain = {name: entry.st_size for name, entry in found.items() if stat.S_ISREG(entry.st_mode)}
    if len(plain) > MAX_FILES or sum(plain.values()) > MAX_BYTES:
        raise CourseError(f"{path} holds more than {MAX_FILES} files or {MAX_BYTES >> 20} MB: not graded.")
    for notebook in Path(path).glob("*.ipynb"):
        entry = notebook.lstat()
        if not stat.S_ISREG(entry.st_mode) or entry.st_size > MAX_NOTEBOOK_BYTES:
            reason = f"is a link or larger than {MAX_NOTEBOOK_BYTES >> 20} MB"
            raise CourseError(f"{notebook} {reason}: not graded.")
    return list(plain)


def convert_plain_names(converter: Any) -> None:
    """nbgrader's BaseConverter.convert_notebooks, without folders of students whose names are not plain.

    The others are converted first; then NbGraderException says which were not.
    """
    refused = [path for path in converter.assignments if not plain_name(Path(path).parts[-2])]
    for path in refused:
        del converter.assignments[path]
    STOCK_CONVERT_NOTEBOOKS(converter)
    if refused:
        names = ", ".join(repr(Path(path).parts[-2]) for path in refused)
        converter.log.error("Not converted: %s. Rename: %s.", names, PLAIN)
        raise NbGraderException(f"Not converted: {names}. Rename: {PLAIN}.")
