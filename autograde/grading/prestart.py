"""What grading shares, servers of forks and of judges and a sandbox, started before it is needed."""

import contextlib
import gc
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from autograde.course import Course, hidden_tests
from autograde.errors import CourseError
from autograde.judging.judge_client import JUDGE_CLIENT
from autograde.sandbox.confined import CONFINEMENT
from autograde.sandbox.forkserver_client import FORK_SERVER

if TYPE_CHECKING:
    from nbformat import NotebookNode


@contextlib.contextmanager
def running(judges: bool = True) -> Iterator[None]:
    """Inside, all of it runs, and the garbage collector rests until the grader has `settled`.

    It would look through all that is imported, again and again. At the end it is gone. A grader that does
    not judge itself needs the sandbox alone.
    """
    gc.disable()
    try:
        if judges:
            start(())
        else:
            CONFINEMENT.start()
        yield
    finally:
        gc.enable()
        with contextlib.ExitStack() as ends:
            for each in (CONFINEMENT, FORK_SERVER, JUDGE_CLIENT):
                ends.callback(each.close)


def settled(released: "NotebookNode | None" = None) -> None:
    """All is imported: from here on garbage is collected; a fork's collector leaves shared pages alone.

    What forks need of a release is kept for all of them: the schema of notebooks, and what is read of it.
    """
    if released is not None:
        import nbformat  # here, as below: what stands above takes no time to import

        from autograde.grading.rebuild import rebuild

        nbformat.validate(released)
        rebuild(released, released)
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
