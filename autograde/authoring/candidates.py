"""The answers that a lesson's hidden tests are tried on; each is judged in a fork.

The chapter has run in this process, and pytest has collected the hidden tests, before the first fork: an
answer costs its own cell and its tests.
"""

import gc
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbformat import NotebookNode

from autograde.authoring.answers import read_answers
from autograde.authoring.script import read_lesson
from autograde.authoring.trivial_answers import defined_names, trivial_answers
from autograde.cells import grade_id, scored_cells
from autograde.course import Course, answers, hidden_tests
from autograde.errors import CourseError, Died
from autograde.judging.chapter import run_cell
from autograde.judging.in_process import in_process
from autograde.judging.judge import Judge, run
from autograde.judging.verdict import read_outcomes
from autograde.notebooks import read_notebook
from autograde.sandbox.limits import Limits, limits_of
from autograde.sandbox.workers import forked_map

EXPECTED_FULL = frozenset(["reference", "right"])
EXPECTED_NOTHING = frozenset(["blank", "trivial"])
SEEDS = {"wrong": 3, "blank": 1, "trivial": 1, "mutant": 3}
RIGHT_SEEDS = 200  # of an exercise: its right answers share them, and each has inputs of its own
SHORT = {"trivial": 2.0, "mutant": 2.0}  # seconds of a call: what is changed or pasted in may run for long
BRIEFLY = 10  # times fewer seeds, where a lesson held before
CANDIDATE_SECONDS = 600.0  # for one answer with all its seeds, on a machine that is busy with others


@dataclass(frozen=True)
class Candidate:
    """An answer to try; without a source it is in the namespace already, or trivial_answers.py makes it.

    patient: whether its calls may take as long as a student's, though its kind is cut short.
    """

    kind: str  # reference, blank, right, wrong, trivial, mutant
    exercise: str
    name: str
    source: str | None = None
    fails: str | None = None
    patient: bool = False


@dataclass(frozen=True)
class Lesson:
    """The lesson under test: the instructor's notebook; the solution's and the released cell by exercise."""

    name: str
    notebook: NotebookNode
    solutions: dict[str, str]
    blanks: dict[str, str]
    limits: Limits


def read_sources(course: Course, name: str) -> Lesson:
    """A lesson's sources. Raises CourseError where its release is stale."""
    notebook = read_lesson(course.source(name))
    release = read_notebook(course.lesson(name))
    solutions, blanks = _exercises(notebook), _exercises(release)
    if set(solutions) != set(blanks):
        raise CourseError(f"lessons/{name} is stale: run `autograde release {name}` first.")
    return Lesson(name, notebook, solutions, blanks, limits_of(notebook.metadata))


def _exercises(notebook: NotebookNode) -> dict[str, str]:
    sources = {grade_id(cell): cell.source for cell in notebook.cells}
    return {name: sources[name] for name in scored_cells(notebook)}


def read_candidates(lesson: Lesson, namespace: dict[str, Any]) -> list[Candidate]:
    """Reference, blank and trivial answers of every exercise, and the listed ones. Raises CourseError."""
    found = []
    tests = scored_cells(lesson.notebook)
    for exercise, source in lesson.solutions.items():
        found.append(Candidate("reference", exercise, "reference"))
        found.append(Candidate("blank", exercise, "blank", lesson.blanks[exercise]))
        for name in trivial_answers(source, tests[exercise].source, namespace):
            found.append(Candidate("trivial", exercise, name))
    return found + listed(lesson, answers(lesson.name))


def listed(lesson: Lesson, path: Path, named: bool = True) -> list[Candidate]:
    """The answers of an answer file; where not `named`, wrong ones need not say which test they fail."""
    found = []
    for answer in read_answers(path, named):
        if answer.kind == "equivalent":  # see mutation.py
            continue
        if answer.exercise not in lesson.solutions:
            raise CourseError(f"{path}:{answer.line}: no exercise {answer.exercise!r}.")
        source = answer.cell(lesson.solutions[answer.exercise])
        found.append(Candidate(answer.kind, answer.exercise, answer.name, source, answer.fails))
    return found


def judged(
    lesson: Lesson,
    candidates: list[Candidate],
    secret: bytes,
    jobs: int,
    seeds: int = 0,
    beside: Callable[[], Any] | None = None,
    brief: bool = False,
) -> Iterator[tuple[int | None, Any]]:
    """Each candidate's number and what became of it: outcomes by seed, why its cell fails, or a StudentError.

    seeds: how often each is judged; 0 for as often as its kind asks, or where `brief` a tenth as often.
    beside: other work, done first in a fork of its own; its number is None.

    The chapter's names are IPython's. Raises CourseError, HiddenTestError.
    """
    often = {each: seeds or _often(each, candidates, brief) for each in candidates}
    plugin = Judge(_nobody, secret, [f"seed {n}" for n in range(max(often.values(), default=0))])
    items: list[Candidate | None] = [None] * (beside is not None) + list(candidates)
    found: list[tuple[int | None, Any]] = []
    raised: list[Exception] = []

    def serve(session: pytest.Session) -> bool:
        def work(candidate: Candidate | None) -> Any:
            sys.stderr = sys.__stderr__  # pytest's judge keeps silent; a fault of our own shall not
            if candidate is None:
                return beside() if beside else None
            return _judge(lesson, candidate, plugin, session, often[candidate])

        gc.freeze()  # so that a fork's garbage collector leaves the shared pages alone
        try:
            for index, outcome in forked_map(work, items, CANDIDATE_SECONDS, jobs):
                number = index - (beside is not None)
                found.append((number if number >= 0 else None, outcome))
        except Exception as error:  # pytest would take it for an error of its own
            raised.append(error)
        return True

    plugin.serve = serve
    run(hidden_tests(lesson.name), plugin)
    if raised:
        raise raised[0]
    for number, outcome in found:
        rows = number is not None and isinstance(outcome, list)
        yield number, [read_outcomes(tests) for tests in outcome] if rows else outcome


def _often(candidate: Candidate, candidates: list[Candidate], brief: bool) -> int:
    """How many seeds it is judged with."""
    if candidate.kind not in EXPECTED_FULL:
        whole: float = SEEDS[candidate.kind]
    else:
        right = [each for each in candidates if each.kind in EXPECTED_FULL]
        whole = RIGHT_SEEDS / sum(each.exercise == candidate.exercise for each in right)
    return math.ceil(whole / BRIEFLY if brief else whole)


def _nobody(question: str) -> str:
    raise Died


def _judge(lesson: Lesson, candidate: Candidate, plugin: Judge, session: pytest.Session, seeds: int) -> Any:
    """The outcomes of a candidate, by seed; runs in a fork, whose namespace it may spoil."""
    os.chdir(tempfile.mkdtemp(dir="."))  # files that another candidate wrote are none of its own
    shell = InteractiveShell.instance()
    source = lesson.solutions[candidate.exercise]
    if candidate.kind == "trivial":
        public = scored_cells(lesson.notebook)[candidate.exercise].source
        trivial_answers(source, public, shell.user_ns)[candidate.name](shell.user_ns)
    elif candidate.source is not None:
        for name in defined_names(source):
            shell.user_ns.pop(name, None)
        error = run_cell(shell, candidate.source)
        if error is not None:
            return f"does not run: its cell raises {type(error).__name__}: {error}"
    if candidate.kind in EXPECTED_FULL:
        plugin.secret += candidate.name.encode()  # for inputs of its own
    limit = lesson.limits.call if candidate.patient else SHORT.get(candidate.kind, lesson.limits.call)
    plugin.ask = in_process(shell.user_ns, limit)
    verdicts = plugin.judge_collected(session, candidate.exercise, seeds)
    return [[asdict(test) for test in verdict.get(candidate.exercise, [])] for verdict in verdicts]
