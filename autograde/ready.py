"""The processes that grading shares, started before they are needed: the judge and the parent of kernels."""

import contextlib
import json
from collections.abc import Sequence

from autograde.course import Course, hidden_tests
from autograde.errors import CourseError
from autograde.judge_server import SERVER
from autograde.warm import ZYGOTE


def start(modules: Sequence[str]) -> None:
    """Start those that do not run; they warm up meanwhile."""
    SERVER.start()  # first: the rest of what kernels need is not for it
    ZYGOTE.learn(modules)


def start_early(course: Course, lesson: str) -> None:
    """Start them for a lesson before the grader itself is imported, which takes seconds as well."""
    path = course.released(lesson)
    with contextlib.suppress(OSError, ValueError, CourseError):  # no release, none to be read: said later
        released = json.loads(path.read_text(encoding="utf-8"))
        SERVER.prepare(hidden_tests(lesson))
        from autograde.needed import imports  # here: meanwhile they warm up

        ZYGOTE.learn(imports(released))


def close() -> None:
    """End them."""
    SERVER.close()
    ZYGOTE.close()
