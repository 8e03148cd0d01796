"""How many mutants of a lesson's references do its hidden tests find? Each is judged as an answer is.

A mutant is killed where it loses points with every seed, a survivor where it loses none with any, lucky where
it depends on the seed; it is weakly killed where it always keeps more than half. What is as right as the
reference stands in the answers' file as `equivalent`, with the reason for a name. A mutant's call has two
seconds, or a student's time where the reference needs more than two: on a slow machine it would have all its
mutants killed.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from autograde.authoring.answers import Answer, read_answers
from autograde.authoring.candidates import Candidate, Lesson, judged, read_sources
from autograde.authoring.mutants import Mutant, mutants, same
from autograde.authoring.verify import SECRET, chapter, default_jobs
from autograde.course import Course, answers
from autograde.errors import CourseError, StudentError
from autograde.judging.chapter import prepare
from autograde.judging.verdict import Outcome, passed_share
from autograde.sandbox.workers import forked

LESSON_SECONDS = 7200.0
LUCK_SEEDS = 40  # for those that pass with one of the first three
KILLED, WEAK, LUCKY, SURVIVES = "killed", "weakly killed", "lucky", "survives"


@dataclass
class Report:
    """Of one lesson. counts: by exercise, how many of each kind. left: those that are not killed, by kind.

    problems: equivalents that are none, or of which there is no mutant.
    """

    lesson: str
    counts: dict[str, Counter[str]]
    left: list[tuple[str, Mutant]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def try_mutants(course: Course, name: str, sample: int | None = None) -> dict[str, Any]:
    """Judge the mutants of a lesson, `sample` of them unless it is None. Raises CourseError."""
    prepare()
    try:
        return dict(forked(partial(_tried, course, name, sample), LESSON_SECONDS))
    except StudentError as error:
        raise CourseError(f"{name}: the mutants could not be judged. {error.reason}") from None


def _tried(course: Course, name: str, sample: int | None) -> dict[str, Any]:
    lesson = read_sources(course, name)
    equivalents = [each for each in read_answers(answers(name)) if each.kind == "equivalent"]
    known, problems = _split(lesson, equivalents)
    made = [m for each, source in lesson.solutions.items() for m in mutants(each, source)]
    fresh = [mutant for mutant in made if not _among(mutant, known)]
    counts = {each: Counter(equivalent=len(known[each])) for each in lesson.solutions}
    report = Report(name, counts, problems=[*problems, *_stale(known, made)])
    if sample is not None:
        fresh = random.Random(name).sample(fresh, min(sample, len(fresh)))
    with chapter(lesson) as (_, failures):
        if failures:
            raise CourseError(f"{name}: the chapter does not run: {'; '.join(failures)}.")
        slow = _lost(lesson, lesson.solutions, frozenset())
        lost = _lost(lesson, slow, slow)
        report.problems += [
            f"{exercise}: its reference itself does not pass as a mutant" for exercise in lost
        ]
        _judge(lesson, fresh, slow, report)
    return _flat(report)


def _split(lesson: Lesson, equivalents: Sequence[Answer]) -> tuple[dict[str, list[str]], list[str]]:
    """The cells of equivalents by exercise, and those of exercises that there are not."""
    known: dict[str, list[str]] = {each: [] for each in lesson.solutions}
    problems = []
    for each in equivalents:
        if each.exercise in known:
            known[each.exercise].append(each.cell(lesson.solutions[each.exercise]))
        else:
            problems.append(f"{each.path}:{each.line}: no exercise {each.exercise!r}.")
    return known, problems


def _among(mutant: Mutant, known: dict[str, list[str]]) -> bool:
    return any(same(mutant.source, cell) for cell in known[mutant.exercise])


def _stale(known: dict[str, list[str]], made: Sequence[Mutant]) -> list[str]:
    lost = [
        (exercise, cell)
        for exercise, cells in known.items()
        for cell in cells
        if not any(mutant.exercise == exercise and same(mutant.source, cell) for mutant in made)
    ]
    return [f"{exercise}: an equivalent is no mutant any more:\n{cell}" for exercise, cell in lost]


def _lost(lesson: Lesson, exercises: Iterable[str], slow: frozenset[str]) -> frozenset[str]:
    """The exercises whose reference loses points where a mutant is judged."""
    references = [Mutant(each, 0, "nothing", "", "", lesson.solutions[each]) for each in exercises]
    shares = _shares(lesson, references, 0, slow)
    return frozenset(each.exercise for each, kept in zip(references, shares, strict=True) if min(kept) < 1)


def _judge(lesson: Lesson, fresh: Sequence[Mutant], slow: frozenset[str], report: Report) -> None:
    """Judge them with three seeds, and those that pass with any of these with many."""
    first = _shares(lesson, fresh, 0, slow)
    open_ = [mutant for mutant, shares in zip(fresh, first, strict=True) if max(shares) == 1]
    again = dict(zip(map(id, open_), _shares(lesson, open_, LUCK_SEEDS, slow), strict=True))
    for mutant, shares in zip(fresh, first, strict=True):
        kind = _kind(again.get(id(mutant), shares))
        report.counts[mutant.exercise][kind] += 1
        if kind != KILLED:
            report.left.append((kind, mutant))


def _kind(shares: Sequence[float]) -> str:
    if min(shares) == 1:
        return SURVIVES
    if max(shares) == 1:
        return LUCKY
    return WEAK if min(shares) > 0.5 else KILLED


def _shares(lesson: Lesson, which: Sequence[Mutant], seeds: int, slow: frozenset[str]) -> list[list[float]]:
    """The share of the points that each keeps, by seed; of what does not run or end, none.

    slow: the exercises whose mutants get a student's time for a call.
    """
    candidates = [
        Candidate("mutant", m.exercise, m.name, m.source, patient=m.exercise in slow) for m in which
    ]
    found = dict(judged(lesson, candidates, SECRET, default_jobs(), seeds)) if candidates else {}
    return [_kept(found[number]) for number in range(len(candidates))]


def _kept(outcome: Sequence[Sequence[Outcome]] | str | StudentError) -> list[float]:
    if isinstance(outcome, str | StudentError):
        return [0.0]
    return [passed_share(tests) for tests in outcome]


def _flat(report: Report) -> dict[str, Any]:
    left = [
        {"kind": kind, "exercise": m.exercise, "line": m.line, "what": m.what, "old": m.old, "new": m.new}
        for kind, m in report.left
    ]
    return {
        "lesson": report.lesson,
        "exercises": report.counts,
        "left": left,
        "problems": report.problems,
    }
