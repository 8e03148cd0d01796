"""The first half of grading a submission: it is read, run and judged. No gradebook and no course is needed.

The second half records what came of it: preprocessors.py, by way of nbgrader. Between the two a submission is
a Task, and what came of it is Judged: plain data with a text, wherever the judging is done.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nbformat import NotebookNode

from autograde.cells import maximum_points
from autograde.course import Course, hidden_tests
from autograde.errors import CourseError
from autograde.grading.desk import Desk
from autograde.grading.preload import needed
from autograde.grading.reading import Reader
from autograde.grading.released import read_released
from autograde.grading.submission import course_secret
from autograde.judging.judge_client import JUDGE_CLIENT
from autograde.judging.verdict import NoVerdict, Result, Verdict, read_result, score
from autograde.sandbox.kernel_process import KernelFactory
from autograde.sandbox.remote import KernelHost

SUBMISSION_SECONDS = 6000.0  # for one: more than the far ends of its cells, its calls and its judge together
NO_VERDICT = "There is no verdict of the judge for this submission; nothing was recorded."


@dataclass(frozen=True)
class Kit:
    """What all submissions of a lesson are judged with.

    secret: reads the course's secret. modules: those that kernels import. hidden: what no kernel may see.
    """

    lesson: str
    released: NotebookNode
    tests: Path
    secret: Callable[[], bytes]
    modules: Sequence[str]
    hidden: Sequence[Path]


def kit_of(course: Course, lesson: str) -> Kit:
    """The course's own. Raises OSError, and UsageError where the release is damaged."""
    released = read_released(course, lesson)
    hidden = [course.grading, course.sources, course.root / "work"]
    secret = partial(course_secret, course.grading)
    return Kit(lesson, released, hidden_tests(lesson), secret, needed(lesson, released), hidden)


@dataclass(frozen=True)
class Task:
    """A submission to judge.

    named: its notebook, as messages have it. again: the exercises to judge, where not all are; the others
    keep what `before` has, a verdict file's text. excused: exercises that are. alone: whether no other
    submission is graded beside it.
    """

    student: str
    named: str
    content: bytes
    again: Sequence[str]
    before: str
    excused: Sequence[str]
    alone: bool


@dataclass(frozen=True)
class Judged:
    """What came of a submission.

    answered: names of the cells that were. notebook: the text of what is kept, with its outputs.
    seconds: how long it took.
    """

    result: Result
    answered: frozenset[str]
    notebook: str
    seconds: float

    def text(self) -> str:
        """All of it as JSON."""
        found = {"result": self.result.text(), "answered": sorted(self.answered)}
        return json.dumps({**found, "notebook": self.notebook, "seconds": self.seconds})


def read_judged(text: str) -> Judged:
    """What is in such a text. Raises NoVerdict where it is none."""
    try:
        found = json.loads(text)
        result, notebook = read_result(found["result"].encode()), found["notebook"]
        answered = frozenset(map(str, found["answered"]))
        if type(notebook) is not str:
            raise TypeError
        return Judged(result, answered, notebook, float(found["seconds"]))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise NoVerdict(NO_VERDICT) from None


def judge(kit: Kit, task: Task, files: Path) -> Judged:
    """Read, run and judge a submission, with the files of a folder beside it.

    Raises CourseError where it is of another lesson, or there is no notebook, no kernel or no verdict.
    """
    JUDGE_CLIENT.start()
    start = time.monotonic()
    with ExitStack() as stack:
        reader = stack.enter_context(Reader(task.content, Path(task.named), kit.released))
        if reader.lesson not in ("", kit.lesson):
            where = f"{task.named} is a notebook of another lesson"
            raise CourseError(f"{where}, {reader.lesson!r}: not graded.")
        desk = stack.enter_context(_desk(kit, task, files, reader))
        answered = reader.graded(SUBMISSION_SECONDS, desk.answer)
        if desk.result is None:
            raise NoVerdict(NO_VERDICT)
        written = reader.child.text.decode(errors="replace")
        return Judged(desk.result, answered, written, time.monotonic() - start)


def _desk(kit: Kit, task: Task, files: Path, reader: Reader) -> Desk:
    """Made when the reader is there: what it reads does not meet the secret."""
    limits = reader.limits
    kernels = KernelFactory(limits, kit.hidden, modules=kit.modules, reader=reader.child.pid)
    seed, only = f"{kit.lesson}\0{task.student}", task.again or None
    decide = partial(_decide, kit, task)
    return Desk(KernelHost(kernels, files), kit.tests, kit.secret(), seed, limits, only, decide)


def _decide(kit: Kit, task: Task, verdict: Verdict, ran: Result) -> Result:
    """The result with the exercises that are kept, and full points for what is excused."""
    maxima = maximum_points(kit.released)
    kept = read_result(task.before.encode()).exercises if task.again else {}
    wanted = {name: most for name, most in maxima.items() if not task.again or name in task.again}
    judged = {**kept, **score(verdict, wanted)}
    scores = {name: judged[name].excuse() if name in task.excused else judged[name] for name in maxima}
    return replace(ran, exercises=scores, delayed=ran.delayed and not task.alone)
