"""Do the reference and every other right answer keep all points, however the hidden inputs fall?"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from autograde.authoring import verified
from autograde.authoring.candidates import (
    EXPECTED_FULL,
    Candidate,
    Lesson,
    judged,
    read_candidates,
    read_sources,
)
from autograde.authoring.verify import SECRET, chapter, default_jobs, failed
from autograde.course import Course
from autograde.errors import CourseError, StudentError
from autograde.judging.chapter import prepare
from autograde.sandbox.workers import forked

AT_ONCE = 50  # seeds: each test is collected once for every one of them
LESSON_SECONDS = 40_000.0


def try_seeds(course: Course, name: str, seeds: int) -> dict[str, Any]:
    """Judge a lesson's right answers with that many seeds; "unfair" has those that lost points.

    Those that held before, in the state that the lesson has now, are not tried again: a run that was ended
    goes on where it was; "before" says how many. Raises CourseError.
    """
    prepare()
    state = verified.state(course, name)
    held = verified.seeds(name, state)
    held -= held % AT_ONCE  # with the secret of its start, each block has inputs of its own
    try:
        return dict(
            forked(partial(_tried, course, name, range(held, seeds, AT_ONCE), seeds, state), LESSON_SECONDS)
        )
    except StudentError as error:
        raise CourseError(f"{name}: the right answers could not be judged. {error.reason}") from None


def _tried(course: Course, name: str, starts: range, seeds: int, state: str) -> dict[str, Any]:
    lesson = read_sources(course, name)
    with chapter(lesson) as (namespace, failures):
        if failures:
            raise CourseError(f"{name}: the chapter does not run: {'; '.join(failures)}.")
        right = [each for each in read_candidates(lesson, namespace) if each.kind in EXPECTED_FULL]
        counts: Counter[tuple[str, str, str]] = Counter()
        for start in starts:
            end = min(start + AT_ONCE, seeds)
            counts.update(_lost(lesson, right, start, end - start))
            if not counts:
                verified.keep_seeds(name, end, state)
    unfair = [
        {"exercise": exercise, "answer": answer, "fails": test, "times": times}
        for (exercise, answer, test), times in counts.items()
    ]
    return {
        "lesson": name,
        "answers": len(right),
        "seeds": seeds,
        "before": min(starts.start, seeds),
        "unfair": unfair,
    }


def _lost(lesson: Lesson, right: list[Candidate], start: int, seeds: int) -> Iterator[tuple[str, str, str]]:
    """Exercise, answer and what it failed, for each seed; the secret makes other inputs of each start."""
    for number, outcome in judged(lesson, right, SECRET + str(start).encode(), default_jobs(), seeds):
        assert number is not None
        each = right[number]
        if isinstance(outcome, str | StudentError):
            yield each.exercise, each.name, outcome if isinstance(outcome, str) else outcome.reason
            continue
        for tests in outcome:
            yield from ((each.exercise, each.name, test) for test in failed(tests))
