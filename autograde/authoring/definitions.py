"""What a lesson's own cells define, for tests and benchmarks that look at what it teaches."""

import contextlib
import io
import os
from typing import Any
from unittest import mock

from autograde.authoring.script import read_lesson
from autograde.cells import cells_to_run
from autograde.course import Course


def definitions(course: Course, name: str, setting: str = "smoke") -> dict[str, Any]:
    """Run a lesson's own cells, those that grading runs, with its solutions; return the names they define.

    Nothing is printed. An error in a cell is raised, with the lesson's name in its traceback.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    with mock.patch.dict(os.environ, GENMAP_SETTING=setting), contextlib.redirect_stdout(io.StringIO()):
        for cell in cells_to_run(read_lesson(course.source(name))):
            exec(compile(cell.source, name, "exec"), names)
    return names
