"""What grading shares, servers of forks and of judges and a sandbox, started before it is needed."""

import contextlib
import gc
import json
from collections.abc import Iterator, Sequence

from autograde.course import Course, hidden_tests
from autograde.errors import CourseError
from autograde.judging.judge_client import JUDGE_CLIENT
from autograde.sandbox.confined import CONFINEMENT
from autograde.sandbox.forkserver_client import FORK_SERVER


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Inside, all of it runs, and the garbage collector rests until the grader has `settled`.

    It would look through all that is imported, again and again. At the end it is gone.
    """
    gc.disable()
    try:
        start(())
        yield
    finally:
        gc.enable()
        with contextlib.ExitStack() as ends:
            for each in (CONFINEMENT, FORK_SERVER, JUDGE_CLIENT):
                ends.callback(each.close)


def settled() -> None:
    """All is imported: from here on garbage is collected; a fork's collector leaves shared pages alone."""
    gc.freeze()
    gc.enable()


def start(modules: Sequence[str]) -> None:
    """Start what does not run, and have the modules imported for the kernels to come."""
    JUDGE_CLIENT.start()  # first: what else kernels need is not for it
    FORK_SERVER.learn(modules)
    CONFINEMENT.start()


def prepare(course: Course, lesson: str) -> None:
    """Have a lesson's modules and hidden tests read while the grader itself is imported, for seconds."""
    path = course.released(lesson)
    with contextlib.suppress(OSError, ValueError, CourseError):  # no release, or a damaged one: said later
        released = json.loads(path.read_text(encoding="utf-8"))
        JUDGE_CLIENT.prepare(hidden_tests(lesson))
        from autograde.grading.preload import needed  # here, because it takes a tenth of a second

        FORK_SERVER.learn(needed(lesson, released))
