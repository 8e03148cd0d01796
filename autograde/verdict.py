"""What the judge found out about a submission: the form of a verdict, its points, why there may be none."""

import json
from typing import Any

from autograde.errors import CourseError

Verdict = dict[str, list[dict[str, Any]]]  # exercise -> its tests, each with the entries of ROW
ROW = ("name", "weight", "passed", "sentence", "message")


class HiddenTestError(CourseError):
    """The hidden tests themselves are at fault: they cannot be collected or are not marked."""


class NoVerdict(CourseError):
    """The judge ended without a verdict: an error of the course, never points."""


def read_verdict(text: str) -> Verdict:
    """The verdict in a message. Raises NoVerdict where it is cut short or malformed."""
    try:
        verdict: Verdict = json.loads(text)
        rows = [row for tests in verdict.values() for row in tests]
        sound = all(
            set(row) == set(ROW) and type(row["passed"]) is bool and row["weight"] > 0 for row in rows
        )
    except (ValueError, AttributeError, TypeError):
        sound = False
    if not sound:
        raise NoVerdict("The judge's verdict is malformed; nothing was recorded. Grade again.")
    return verdict


def points(tests: list[dict[str, Any]], maximum: float) -> float:
    """The score of an exercise: its maximum times the passed share of the weights, of which there is one."""
    total = sum(test["weight"] for test in tests)
    return maximum * sum(test["weight"] for test in tests if test["passed"]) / total
