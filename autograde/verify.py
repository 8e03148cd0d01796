"""Is every exercise's test fair and sharp? The matrix of answers against hidden tests, for one lesson.

Fair: the reference and every other right answer score full, with 20 seeds, and the reference once more
through the kernel. Sharp: the blank and every trivial answer score nothing; every listed wrong answer fails
the test that it names and loses at least half, with 3 seeds.
"""

import contextlib
import copy
import os
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from nbformat import NotebookNode

from autograde.chapter import prepare, run_cell, run_cells
from autograde.course import Course, answers, hidden_tests
from autograde.errors import CourseError, StudentError
from autograde.forks import forked_map
from autograde.grading import cells_to_run, grade_notebook, scored_cells
from autograde.inprocess import in_process
from autograde.judge import import_once, judge
from autograde.judge_server import SERVER
from autograde.limits import Limits, limits_of
from autograde.rebuild import grade_id
from autograde.sandbox import sandbox_problem
from autograde.script import read_answers, read_lesson
from autograde.selfcheck import read_notebook
from autograde.trivial import defined_names, trivial_answers
from autograde.verdict import points

SECRET = b"verify"  # the same inputs in every run: a failure can be looked into
RIGHT_SEEDS, WRONG_SEEDS = 20, 3
FEWEST_WRONG, FEWEST_RIGHT = 4, 1
TRIVIAL_CALL = 2.0  # seconds a call: a chapter's training loop pasted in may run for long
CANDIDATE = 60.0  # seconds for one answer with all its seeds


@dataclass(frozen=True)
class Candidate:
    """An answer to try; without a source it is in the namespace already, or trivial.py makes it."""

    kind: str  # reference, blank, right, wrong, trivial
    exercise: str
    name: str
    source: str | None = None
    fails: str | None = None


@dataclass
class _Lesson:
    """The lesson under test, with the chapter run in this process and every exercise solved."""

    name: str
    notebook: NotebookNode
    solutions: dict[str, str]
    blanks: dict[str, str]
    limits: Limits

    def candidates(self, namespace: dict[str, Any]) -> list[Candidate]:
        found = []
        tests = scored_cells(self.notebook)
        for exercise, source in self.solutions.items():
            found.append(Candidate("reference", exercise, "reference"))
            found.append(Candidate("blank", exercise, "blank", self.blanks[exercise]))
            for name in trivial_answers(source, tests[exercise].source, namespace):
                found.append(Candidate("trivial", exercise, name))
        for answer in read_answers(answers(self.name)):
            if answer.exercise not in self.solutions:
                raise CourseError(f"{answers(self.name)}:{answer.line}: no exercise {answer.exercise!r}.")
            found.append(Candidate(answer.kind, answer.exercise, answer.name, answer.source, answer.fails))
        return found

    def judge(self, candidate: Candidate) -> Any:
        """The verdicts of a candidate, one a seed; runs in a fork, whose namespace it may spoil."""
        os.chdir(tempfile.mkdtemp(dir="."))  # files that another candidate wrote are none of its own
        shell = InteractiveShell.instance()
        source = self.solutions[candidate.exercise]
        if candidate.kind == "trivial":
            public = scored_cells(self.notebook)[candidate.exercise].source
            trivial_answers(source, public, shell.user_ns)[candidate.name](shell.user_ns)
        elif candidate.source is not None:
            for name in defined_names(source):
                shell.user_ns.pop(name, None)
            error = run_cell(shell, candidate.source)
            if error is not None:
                return {"error": f"its cell raises {type(error).__name__}: {error}"}
        count = RIGHT_SEEDS if candidate.kind in ("reference", "right") else WRONG_SEEDS
        limit = TRIVIAL_CALL if candidate.kind == "trivial" else self.limits.call
        seeds, only = [f"seed {n}" for n in range(count)], frozenset([candidate.exercise])
        ask = in_process(shell.user_ns, limit)
        return [
            verdict.get(candidate.exercise, [])
            for verdict in judge(hidden_tests(self.name), ask, SECRET, seeds, only)
        ]


def verify_lesson(course: Course, name: str, jobs: int) -> dict[str, Any]:
    """The matrix of a lesson: {"exercises": counts, "problems": lines, "seconds": ...}. Run it in a fork."""
    start = time.perf_counter()
    prepare()
    lesson = _read(course, name)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        table, problems = _matrix(lesson, jobs)
    problems += _too_few(table)
    seconds = time.perf_counter() - start
    return {"lesson": name, "exercises": table, "problems": problems, "seconds": seconds}


def _matrix(lesson: _Lesson, jobs: int) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Counts by exercise, and what does not hold; lessons write their files to the working folder."""
    namespace, failures = run_cells(cell.source for cell in cells_to_run(lesson.notebook))
    problems = [f"the chapter does not run: {failure}" for failure in failures]
    table = {
        each: {"tests": 0, "right": [0, 0], "wrong": [0, 0], "trivial": [0, 0]} for each in lesson.solutions
    }
    candidates = lesson.candidates(namespace)
    import_once(hidden_tests(lesson.name))
    items = [None, *candidates]  # None: the kernel's turn, first, for it mostly waits
    for index, outcome in forked_map(partial(_try, lesson), items, CANDIDATE, jobs):
        candidate = items[index]
        if candidate is None:
            problems += outcome if isinstance(outcome, list) else [f"the kernel: {outcome.reason}"]
            continue
        why = _objection(candidate, outcome)
        _count(table[candidate.exercise], candidate, outcome, why)
        if why:
            problems.append(f"{candidate.exercise}: {candidate.kind} answer {candidate.name!r} {why}")
    return table, problems


def _try(lesson: _Lesson, candidate: Candidate | None) -> Any:
    return _through_kernel(lesson) if candidate is None else lesson.judge(candidate)


def _read(course: Course, name: str) -> _Lesson:
    notebook = read_lesson(course.source(name))
    release = read_notebook(course.lesson(name))
    solutions, blanks = _exercises(notebook), _exercises(release)
    if set(solutions) != set(blanks):
        raise CourseError(f"lessons/{name} is stale: run `autograde release {name}` first.")
    return _Lesson(name, notebook, solutions, blanks, limits_of(notebook.metadata))


def _exercises(notebook: NotebookNode) -> dict[str, str]:
    sources = {grade_id(cell): cell.source for cell in notebook.cells}
    return {name: sources[name] for name in scored_cells(notebook)}


def _objection(candidate: Candidate, outcome: Any) -> str:
    """Why the outcome is not what this kind of answer must have; empty where it is."""
    if isinstance(outcome, StudentError):
        return "" if candidate.kind in ("wrong", "trivial") else f"did not end. {outcome.reason}"
    if isinstance(outcome, dict):
        return outcome["error"]
    for tests in outcome:
        if not tests:
            return "is judged by no test"
        share, failed = points(tests, 1), [test["name"] for test in tests if not test["passed"]]
        if candidate.kind in ("reference", "right") and failed:
            return f"fails {', '.join(failed)}: {next(t['message'] for t in tests if not t['passed'])}"
        if candidate.kind in ("blank", "trivial") and share > 0:
            return f"gains points: it passes {', '.join(t['name'] for t in tests if t['passed'])}"
        if candidate.kind == "wrong" and candidate.fails not in failed:
            return f"does not fail {candidate.fails}" + (f", only {', '.join(failed)}" if failed else "")
        if candidate.kind == "wrong" and share > 0.5:
            return f"keeps {share:.0%} of the points"
    return ""


def _count(row: dict[str, Any], candidate: Candidate, outcome: Any, why: str) -> None:
    kind = {"reference": "right", "blank": "trivial"}.get(candidate.kind, candidate.kind)
    row[kind][0] += not why
    row[kind][1] += 1
    if candidate.kind == "reference" and isinstance(outcome, list):
        row["tests"] = len(outcome[0])


def _too_few(table: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for name, row in table.items():
        if row["wrong"][1] < FEWEST_WRONG or row["right"][1] - 1 < FEWEST_RIGHT:
            lines.append(
                f"{name}: needs at least {FEWEST_WRONG} wrong answers and {FEWEST_RIGHT} other right one"
            )
    return lines


def _through_kernel(lesson: _Lesson) -> list[str]:
    """The reference once through everything that a submission goes through, kernel and judge's process."""
    with tempfile.TemporaryDirectory() as empty:
        notebook = copy.deepcopy(lesson.notebook)
        isolated = sandbox_problem() is None  # the author's own work may do without
        tests = hidden_tests(lesson.name)
        result = grade_notebook(notebook, tests, Path(empty), SECRET, "kernel", isolated=isolated)
    SERVER.close()
    short = [name for name, row in result.exercises.items() if row["points"] != row["max"]]
    return [f"{name}: the reference loses points in the kernel" for name in short]


def default_jobs() -> int:
    """One process a core."""
    return os.cpu_count() or 1
