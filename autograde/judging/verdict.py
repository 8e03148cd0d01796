"""What grading found out about a submission, as records and as JSON: the only place that reads it back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from autograde.errors import UNANSWERED, CourseError

PROMISE = "promises"  # the outcome of an exercise whose answer changed what it was to leave alone
SLUG = re.compile(r"[\w-]+")  # names of exercises, tests and phases: ours, never a learner's


class HiddenTestError(CourseError):
    """The hidden tests themselves are at fault: they cannot be collected or are not marked."""


class NoVerdict(CourseError):
    """The judge ended without a verdict: an error of the course, never points."""


@dataclass(frozen=True)
class Outcome:
    """What became of one hidden test.

    name: of its function.
    weight: its part of the exercise's points, above 0.
    passed: whether the property held.
    sentence: the property, as the learner reads it.
    message: the sentence and, where there is one, the reason why it did not hold; empty where it did.
    """

    name: str
    weight: float
    passed: bool
    sentence: str
    message: str

    @property
    def answered(self) -> bool:
        """Whether the learner wrote anything: a cell left as it was released answers no test."""
        return not self.message.endswith(UNANSWERED)


Verdict = dict[str, list[Outcome]]  # by exercise


@dataclass(frozen=True)
class Score:
    """An exercise of one submission: `points` of `maximum`, and the outcome of each hidden test.

    excused: the points are given whatever the tests say: the exercise is excused for the class.
    """

    points: float
    maximum: float
    tests: Sequence[Outcome]
    excused: bool = False

    def excuse(self) -> Score:
        """The score when the exercise is excused."""
        return replace(self, points=self.maximum, excused=True)

    @property
    def share(self) -> float:
        """Points as a share of the maximum, 0 to 1."""
        return self.points / self.maximum

    @property
    def lost(self) -> bool:
        """Whether any test failed."""
        return not all(test.passed for test in self.tests)

    @property
    def answered(self) -> bool:
        """Whether any test was answered."""
        return any(test.answered for test in self.tests)

    def flat(self) -> dict[str, Any]:
        """The score as JSON has it."""
        tests = [asdict(test) for test in self.tests]
        return {"points": self.points, "max": self.maximum, "tests": tests, "excused": self.excused}


@dataclass(frozen=True)
class Result:
    """A submission graded.

    exercises: the score of each. seconds: by phase. memory: bytes at the peak, where measured.
    hints: by exercise, what went astray on the learner's side, such as a definition further down.
    delayed: whether time ran out somewhere, and a busy machine may be why.
    """

    exercises: dict[str, Score]
    seconds: dict[str, float] = field(default_factory=dict)
    memory: int | None = None
    hints: dict[str, list[str]] = field(default_factory=dict)
    delayed: bool = False

    @property
    def points(self) -> float:
        """Automatic points in all."""
        return math.fsum(score.points for score in self.exercises.values())

    @property
    def maximum(self) -> float:
        """The most that there was to get."""
        return math.fsum(score.maximum for score in self.exercises.values())

    def text(self, **names: Any) -> str:
        """The result as the text of a verdict file; `names` say whose it is, and of what."""
        exercises = {name: score.flat() for name, score in self.exercises.items()}
        rest = {"memory": self.memory, "hints": self.hints, "delayed": self.delayed}
        found = {**names, "exercises": exercises, "seconds": self.seconds, **rest}
        return json.dumps(found, indent=1) + "\n"


def score(verdict: Verdict, maxima: dict[str, float]) -> dict[str, Score]:
    """The scores of a verdict: an exercise's maximum times the passed share of its tests' weights.

    Raises NoVerdict where an exercise was not judged.
    """
    scores = {}
    for name, maximum in maxima.items():
        if not verdict.get(name):
            raise NoVerdict(f"The judge left out exercise {name!r}; nothing was recorded.")
        scores[name] = Score(maximum * passed_share(verdict[name]), maximum, verdict[name])
    return scores


def passed_share(tests: Sequence[Outcome]) -> float:
    """The passed share of the weights of at least one test, 0 to 1."""
    return sum(test.weight for test in tests if test.passed) / sum(test.weight for test in tests)


def verdict_text(verdict: Verdict) -> str:
    """A verdict as JSON, as the judge sends it."""
    return json.dumps({name: [asdict(test) for test in tests] for name, tests in verdict.items()})


def read_verdict(text: str) -> Verdict:
    """The verdict in the judge's message. Raises NoVerdict where it is cut short or malformed."""
    try:
        return {_slug(name): [_outcome(row) for row in rows] for name, rows in json.loads(text).items()}
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        raise NoVerdict("The judge's verdict is malformed; nothing was recorded. Grade again.") from None


def read_outcomes(rows: list[dict[str, Any]]) -> list[Outcome]:
    """Outcomes from what `asdict` made of them, of our own making. Raises ValueError, LookupError."""
    return [_outcome(row) for row in rows]


def read_result(content: bytes) -> Result:
    """The result in a verdict file. Raises ValueError with the reason where it cannot be read as one."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("no JSON, perhaps half-written") from None
    try:
        exercises = {_slug(name): _score(row) for name, row in found["exercises"].items()}
        memory = found.get("memory")
        if not exercises:
            raise ValueError
        used = None if memory is None else int(_number(memory))
        return replace(read_run(found), exercises=exercises, memory=used)
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError):
        raise ValueError("no verdict, though it is JSON") from None


def read_run(found: dict[str, Any]) -> Result:
    """A result without scores: the seconds, hints and delay that are said of a run. Raises ValueError."""
    try:
        seconds = {_slug(name): _number(value) for name, value in found.get("seconds", {}).items()}
        hints = {_slug(name): [str(line) for line in lines] for name, lines in found.get("hints", {}).items()}
    except (LookupError, TypeError, AttributeError, OverflowError):
        raise ValueError from None
    return Result({}, seconds, None, hints, found.get("delayed") is True)


def _score(row: dict[str, Any]) -> Score:
    points, maximum = _number(row["points"]), _number(row["max"])
    if not 0 <= points <= maximum or not maximum:
        raise ValueError
    tests = [_outcome(test) for test in row["tests"]]
    return Score(points, maximum, tests, row.get("excused") is True)


def _outcome(row: dict[str, Any]) -> Outcome:
    weight = _number(row["weight"])
    texts = row["sentence"], row["message"]
    if type(row["passed"]) is not bool or not weight or any(type(text) is not str for text in texts):
        raise ValueError
    return Outcome(_slug(row["name"]), weight, row["passed"], *texts)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError
    return float(value)


def _slug(name: str) -> str:
    if not SLUG.fullmatch(name):
        raise ValueError
    return name
