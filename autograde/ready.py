"""The processes that grading shares, started before they are needed: the judge and the parent of kernels."""

import contextlib
import json
from collections.abc import Sequence

from autograde.course import Course, hidden_tests
from autograde.judge_process import SERVER
from autograde.warm import ZYGOTE, imports, kernel_environment


def start(modules: Sequence[str]) -> None:
    """Start those that do not run; they warm up meanwhile."""
    ZYGOTE.start(modules, kernel_environment())
    SERVER.start()


def start_early(course: Course, lesson: str) -> None:
    """Start them for a lesson before the grader itself is imported, which takes seconds as well."""
    path = course.released(lesson)
    with contextlib.suppress(OSError, ValueError):  # no release, or none that can be read: said later
        start(imports(json.loads(path.read_text(encoding="utf-8"))))
        SERVER.prepare(hidden_tests(lesson))


def close() -> None:
    """End them."""
    SERVER.close()
    ZYGOTE.close()
