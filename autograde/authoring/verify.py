"""Is every exercise's test fair and sharp? The matrix of answers against hidden tests, for one lesson.

Fair: the reference and every other right answer of an exercise score full, with 200 seeds that they share;
the reference does once more through the kernel. Sharp: the blank and every trivial answer score nothing, with
one seed; every listed wrong answer fails the test that it names and loses at least half, with 3 seeds.
"""

import contextlib
import copy
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from autograde.authoring import verified
from autograde.authoring.candidates import (
    EXPECTED_FULL,
    EXPECTED_NOTHING,
    Candidate,
    Lesson,
    judged,
    listed,
    read_candidates,
    read_sources,
)
from autograde.cells import cells_to_run
from autograde.course import Course, hidden_tests
from autograde.errors import CourseError, StudentError
from autograde.grading import prestart
from autograde.grading.submission import grade_notebook
from autograde.judging.chapter import prepare, run_cells
from autograde.judging.verdict import PROMISE, Outcome, passed_share
from autograde.sandbox.kernel_process import sandbox_problem
from autograde.sandbox.workers import forked

SECRET = b"verify"  # the same inputs in every run: a failure can be looked into
FEWEST_WRONG, FEWEST_RIGHT = 4, 1
LESSON_SECONDS = 3600.0  # that one lesson may take, on a machine that is busy with others
ANSWER_SEEDS = 40  # of an answer file, if none are asked for: what passes by luck once in ten shows itself

Tests = Sequence[Outcome]


@dataclass(frozen=True)
class Rule:
    """What the tests must find of some kinds of answers, and what is said where they do not."""

    kinds: frozenset[str]
    broken: Callable[[Candidate, Tests], bool]
    objection: Callable[[Candidate, Tests], str]


def failed(tests: Tests) -> list[str]:
    """The names of the tests that failed."""
    return [test.name for test in tests if not test.passed]


def passed(tests: Tests) -> list[str]:
    """The names of the tests that passed."""
    return [test.name for test in tests if test.passed]


WRONG = frozenset(["wrong"])
RULES = (
    Rule(
        EXPECTED_FULL | EXPECTED_NOTHING | WRONG,
        lambda candidate, tests: not tests,
        lambda candidate, tests: "is judged by no test",
    ),
    Rule(
        EXPECTED_FULL,
        lambda candidate, tests: bool(failed(tests)),
        lambda candidate, tests: (
            f"fails {', '.join(failed(tests))}: {next(t.message for t in tests if not t.passed)}"
        ),
    ),
    Rule(
        EXPECTED_NOTHING,
        lambda candidate, tests: passed_share(tests) > 0,
        lambda candidate, tests: f"gains points: it passes {', '.join(passed(tests))}",
    ),
    Rule(
        WRONG,
        lambda candidate, tests: candidate.fails not in failed(tests),
        lambda candidate, tests: (
            f"does not fail {candidate.fails}"
            + (f", only {', '.join(failed(tests))}" if failed(tests) else "")
        ),
    ),
    Rule(
        WRONG,
        lambda candidate, tests: passed_share(tests) > 0.5 and candidate.fails != PROMISE,
        lambda candidate, tests: f"keeps {passed_share(tests):.0%} of the points",
    ),
)


def verify_lessons(course: Course, names: list[str], brief: bool = False) -> Iterator[dict[str, Any]]:
    """The matrices of lessons, one after the other; see `verify_lesson`. Raises CourseError.

    brief: those that held whole with the files that they have now are verified briefly.
    """
    prepare()
    import IPython.core.interactiveshell  # noqa: F401 - here: every lesson is verified in a fork of this

    with prestart.running():
        prestart.settled()
        for name in names:
            prestart.start(())  # should one have ended
            state = verified.state(course, name)
            briefly = brief and verified.holds(name, "answers", state)
            work = partial(verify_lesson, course, name, default_jobs(), briefly)
            try:
                row = forked(work, limit=LESSON_SECONDS)
            except StudentError as error:
                raise CourseError(f"{name}: verify did not come to its end. {error.reason}") from None
            if not row["problems"]:
                verified.keep(name, "answers", state)
            yield row


def verify_lesson(course: Course, name: str, jobs: int, brief: bool = False) -> dict[str, Any]:
    """The matrix of a lesson: {"exercises": counts, "problems": lines, "seconds": ...}. Run it in a fork.

    brief: fewer seeds, and no trivial answers.
    """
    start = time.perf_counter()
    prepare()
    lesson = read_sources(course, name)
    with chapter(lesson) as (namespace, failures):
        candidates = read_candidates(lesson, namespace)
        kept = [each for each in candidates if not (brief and each.kind == "trivial")]
        table, problems = _matrix(lesson, kept, jobs, brief)
    problems = [*(f"the chapter does not run: {failure}" for failure in failures), *problems]
    problems += _too_few(table)
    seconds = time.perf_counter() - start
    return {"lesson": name, "exercises": table, "problems": problems, "seconds": seconds}


def judge_answers(course: Course, name: str, path: Path, seeds: int) -> list[dict[str, Any]]:
    """Each answer of a file with its share of the points and the failed tests on each of so many seeds.

    An answer that does not run, or does not end, has its reason instead. Raises CourseError.
    """

    def work() -> list[dict[str, Any]]:
        lesson = read_sources(course, name)
        candidates = listed(lesson, path, named=False)
        with chapter(lesson) as (_, failures):
            if failures:
                raise CourseError(f"{name}: the chapter does not run: {'; '.join(failures)}.")
            found = dict(judged(lesson, candidates, SECRET, default_jobs(), seeds=seeds))
        return [_row(candidate, found[number]) for number, candidate in enumerate(candidates)]

    prepare()
    try:
        return list(forked(work, LESSON_SECONDS))
    except StudentError as error:
        raise CourseError(f"{name}: the answers could not be judged. {error.reason}") from None


def _row(candidate: Candidate, outcome: Any) -> dict[str, Any]:
    row = {"kind": candidate.kind, "exercise": candidate.exercise, "name": candidate.name}
    if isinstance(outcome, StudentError | str):
        return row | {"reason": outcome if isinstance(outcome, str) else outcome.reason}
    return row | {
        "shares": [passed_share(tests) for tests in outcome],
        "failed": [failed(tests) for tests in outcome],
    }


@contextlib.contextmanager
def chapter(lesson: Lesson) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """The chapter's names, in a working folder of its own: lessons write their files there."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield run_cells(cell.source for cell in cells_to_run(lesson.notebook))


def _matrix(
    lesson: Lesson, candidates: list[Candidate], jobs: int, brief: bool
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Counts by exercise, and what does not hold."""
    table: dict[str, dict[str, Any]] = {
        each: {"tests": 0, "right": [0, 0], "wrong": [0, 0], "trivial": [0, 0]} for each in lesson.solutions
    }
    problems: list[str] = []
    beside = partial(_through_kernel, lesson)
    for number, outcome in judged(lesson, candidates, SECRET, jobs, beside=beside, brief=brief):
        if number is None:
            problems += outcome if isinstance(outcome, list) else [f"the kernel: {outcome.reason}"]
            continue
        candidate = candidates[number]
        why = _objection(candidate, outcome)
        _count(table[candidate.exercise], candidate, outcome, why)
        if why:
            problems.append(f"{candidate.exercise}: {candidate.kind} answer {candidate.name!r} {why}")
    return table, problems


def _objection(candidate: Candidate, outcome: Any) -> str:
    """Why the outcome is not what this kind of answer must have; empty where it is."""
    if isinstance(outcome, StudentError):
        return f"did not end. {outcome.reason}" if candidate.kind in EXPECTED_FULL | {"blank"} else ""
    if isinstance(outcome, str):
        return outcome
    broken = (
        rule.objection(candidate, tests)
        for tests in outcome
        for rule in RULES
        if candidate.kind in rule.kinds and rule.broken(candidate, tests)
    )
    return next(broken, "")


def _count(row: dict[str, Any], candidate: Candidate, outcome: Any, why: str) -> None:
    kind = {"reference": "right", "blank": "trivial"}.get(candidate.kind, candidate.kind)
    row[kind][0] += not why
    row[kind][1] += 1
    if candidate.kind == "reference" and isinstance(outcome, list):
        row["tests"] = len(outcome[0])


def _too_few(table: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"{name}: needs at least {FEWEST_WRONG} wrong answers and {FEWEST_RIGHT} other right one"
        for name, row in table.items()
        if row["wrong"][1] < FEWEST_WRONG or row["right"][1] - 1 < FEWEST_RIGHT
    ]


def _through_kernel(lesson: Lesson) -> list[str]:
    """The reference once through everything that a submission goes through, kernel and judge's process."""
    with tempfile.TemporaryDirectory() as empty:
        notebook = copy.deepcopy(lesson.notebook)
        isolated = sandbox_problem() is None  # the author's own work may do without
        tests = hidden_tests(lesson.name)
        result = grade_notebook(notebook, tests, Path(empty), SECRET, "kernel", isolated=isolated)
    short = [name for name, score in result.exercises.items() if score.points != score.maximum]
    return [f"{name}: the reference loses points in the kernel" for name in short]


def default_jobs() -> int:
    """One process a core."""
    return len(os.sched_getaffinity(0))
