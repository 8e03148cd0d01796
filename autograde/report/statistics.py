"""The numbers of `autograde report`: scores, exercises, failing properties, time and memory of a class."""

import dataclasses
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading.recorded import Recorded
from autograde.grading.staleness import verdict_path
from autograde.judging.verdict import Result
from autograde.report.data import Class, read_class
from autograde.report.deadlines import Deadlines, deadlines
from autograde.report.similarity import Similar, similar

FEWEST = 5  # graded submissions below which a correlation says nothing
WEAK = 0.2  # a discrimination below is poor: R. Ebel, D. Frisbie, Essentials of Educational Measurement, 1991
BINS = 10  # of the histogram
TOP = 5  # properties and students that are listed
FLAT = 1e-9  # a range of shares that is rounding and no variance


@dataclass(frozen=True)
class Spread:
    """How numbers lie: quartiles by linear interpolation; `deviation` divides by n - 1, None where n is 1."""

    n: int
    mean: float
    deviation: float | None
    least: float
    lower: float
    median: float
    upper: float
    most: float


@dataclass(frozen=True)
class Failing:
    """A property (a hidden test's sentence) and how many of those who answered did not have it."""

    exercise: str
    test: str
    sentence: str
    failed: int
    of: int
    share: float


@dataclass(frozen=True)
class Exercise:
    """An exercise over the class.

    difficulty: the mean share of its points, so that a low one is hard. discrimination: see there.
    blank, none and full: the share of submissions that left it as it was, with no points and with all.
    """

    name: str
    n: int
    mean: float
    maximum: float
    difficulty: float
    discrimination: float | None
    blank: float
    none: float
    full: float
    failing: Failing | None


@dataclass(frozen=True)
class Phase:
    """Seconds of a phase of grading."""

    median: float
    p95: float


@dataclass(frozen=True)
class Memory:
    """Bytes of peak memory, of the `n` submissions for which it was measured."""

    n: int
    median: float
    most: int
    student: str


@dataclass(frozen=True)
class Book:
    """nbgrader's gradebook: `totals` with points given by hand and less what lateness costs."""

    totals: Spread
    maximum: float
    waiting: int
    penalised: int
    penalties: float


@dataclass(frozen=True)
class Report:
    """All of it. `unreadable` names verdict files and why each cannot be read; `stale` see Class."""

    lesson: str
    submitted: int
    graded: int
    without_verdict: list[str]
    stale: list[str]
    unreadable: dict[str, str]
    versions: int
    maximum: float
    scores: Spread
    edges: list[float]
    counts: list[int]
    exercises: list[Exercise]
    failing: list[Failing]
    seconds: dict[str, Phase]
    slowest: dict[str, float]
    memory: Memory | None
    book: Book | None
    deadlines: Deadlines
    similar: Similar

    def flat(self) -> dict[str, Any]:
        """The report as JSON has it: all but the texts of answers that are alike."""
        found = dataclasses.asdict(self)
        for match in found["similar"]["matches"]:
            del match["sources"]
        return found


def report(course: Course, lesson: str) -> Report:
    """The report on a lesson. Raises CourseError where no verdict of it can be read."""
    found = read_class(course, lesson)
    paths = {student: verdict_path(course, lesson, student) for student in found.unreadable}
    unreadable = {os.path.relpath(path): found.unreadable[student] for student, path in paths.items()}
    if not found.graded:
        rest = [f"{shown(path)}: {reason}." for path, reason in unreadable.items()]
        mend = f"run `autograde grade {lesson}`"
        advice = f"None of {len(found.submitted)} submissions of {lesson} has a verdict: {mend}."
        raise CourseError(" ".join([advice, *rest]))
    return summarise(found, unreadable, similar(course, lesson))


def summarise(found: Class, unreadable: dict[str, str], alike: Similar) -> Report:
    """The numbers of a class of which at least one submission is graded."""
    graded = list(found.graded.values())
    known = set(found.graded)
    return Report(
        found.lesson,
        submitted=len(found.submitted),
        graded=len(graded),
        without_verdict=[name for name in found.submitted if name not in known | set(found.unreadable)],
        stale=found.stale,
        unreadable=unreadable,
        versions=len({tuple((name, s.maximum) for name, s in each.exercises.items()) for each in graded}),
        **_scores(graded),
        exercises=[exercise(graded, name) for name in _in_order(each.exercises for each in graded)],
        failing=failing(graded)[:TOP],
        **_costs(found.graded),
        book=_book([row for row in found.records.rows.values() if row.student in known]),
        deadlines=deadlines(found),
        similar=alike,
    )


def _scores(graded: Sequence[Result]) -> dict[str, Any]:
    """The distribution of the automatic points, without the rounding that would move one over an edge."""
    points = np.array([each.points for each in graded]).round(9)
    maximum = max(each.maximum for each in graded)
    counts, edges = np.histogram(points, BINS, (0, maximum))
    found = {"maximum": maximum, "scores": spread(points)}
    return found | {"edges": edges.tolist(), "counts": counts.tolist()}


def spread(values: npt.ArrayLike) -> Spread:
    """Mean, deviation, least, quartiles and most of (N,) numbers, N at least 1."""
    x = np.asarray(values, dtype=float)
    deviation = float(x.std(ddof=1)) if len(x) > 1 else None
    return Spread(len(x), float(x.mean()), deviation, *map(float, np.percentile(x, [0, 25, 50, 75, 100])))


def exercise(graded: Sequence[Result], name: str) -> Exercise:
    """One exercise over the submissions that have it."""
    having = [each for each in graded if name in each.exercises]
    scores = [each.exercises[name] for each in having]
    shares = np.array([score.share for score in scores])
    fails = failing(graded, name)
    return Exercise(
        name=name,
        n=len(having),
        mean=float(np.mean([score.points for score in scores])),
        maximum=max(score.maximum for score in scores),
        difficulty=float(shares.mean()),
        discrimination=discrimination(shares, [_rest(each, name) for each in having]),
        blank=float(np.mean([not score.answered for score in scores])),
        none=float(np.mean(shares <= FLAT)),
        full=float(np.mean(shares >= 1 - FLAT)),
        failing=fails[0] if fails else None,
    )


def _rest(result: Result, name: str) -> float:
    """The share of the points of all other exercises; 0 where there is none."""
    others = [score for other, score in result.exercises.items() if other != name]
    return math.fsum(s.points for s in others) / (math.fsum(s.maximum for s in others) or 1)


def discrimination(shares: npt.ArrayLike, rest: npt.ArrayLike) -> float | None:
    """The corrected item-total correlation: Pearson's r of an exercise's shares (N,) and the rest's (N,).

    None for fewer than FEWEST numbers, or where one side is the same for all. Source: S. Henrysson,
    Correction of item-total correlations in item analysis, Psychometrika 28, 1963.
    """
    x, y = np.asarray(shares, dtype=float), np.asarray(rest, dtype=float)
    if len(x) < FEWEST or np.ptp(x) <= FLAT or np.ptp(y) <= FLAT:
        return None
    return float(stats.pearsonr(x, y).statistic)


def failing(graded: Sequence[Result], name: str | None = None) -> list[Failing]:
    """The properties (of one exercise, or of all) that an answer failed, most often failed first."""
    failed: Counter[tuple[str, str]] = Counter()
    of: Counter[tuple[str, str]] = Counter()
    sentences = {}
    for each in graded:
        for exercise_name, score in each.exercises.items():
            for test in score.tests if score.answered and name in (None, exercise_name) else []:
                key = (exercise_name, test.name)
                of[key] += 1
                failed[key] += not test.passed
                sentences[key] = test.sentence
    rows = [Failing(*key, sentences[key], n, of[key], n / of[key]) for key, n in failed.items() if n]
    return sorted(rows, key=lambda row: (-row.failed, -row.share))


def _costs(graded: dict[str, Result]) -> dict[str, Any]:
    """Seconds by phase and in all, the slowest, and memory."""
    timed = {student: each.seconds for student, each in graded.items() if each.seconds}
    totals = {student: math.fsum(seconds.values()) for student, seconds in timed.items()}
    phases = {
        name: [seconds[name] for seconds in timed.values() if name in seconds]
        for name in _in_order(timed.values())
    }
    if totals:
        phases["total"] = list(totals.values())
    seconds = {name: Phase(*map(float, np.percentile(values, [50, 95]))) for name, values in phases.items()}
    slowest = dict(sorted(totals.items(), key=lambda pair: -pair[1])[:TOP])
    return {"seconds": seconds, "slowest": slowest, "memory": _memory(graded)}


def _memory(graded: dict[str, Result]) -> Memory | None:
    measured = [(each.memory, student) for student, each in graded.items() if each.memory is not None]
    if not measured:
        return None
    most, student = max(measured)
    return Memory(len(measured), float(np.median([size for size, _ in measured])), most, student)


def _book(rows: Sequence[Recorded]) -> Book | None:
    if not rows:
        return None
    return Book(
        totals=spread([row.total for row in rows]),
        maximum=max(row.maximum for row in rows),
        waiting=sum(row.waits for row in rows),
        penalised=sum(row.penalty > 0 for row in rows),
        penalties=math.fsum(row.penalty for row in rows),
    )


def _in_order(mappings: Iterable[dict[str, Any]]) -> list[str]:
    """Every key, in the order of first appearance."""
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def shown(name: str) -> str:
    """A name as it can be shown: what has no glyph, or steers a terminal, is escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name
    )
