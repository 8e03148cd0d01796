"""A term's facts about a lesson: who had until when, who was late, who handed in nothing, what is excused."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from autograde.grading import lateness
from autograde.report.data import Class


@dataclass(frozen=True)
class Late:
    """A submission that came late, by `seconds`; `penalty`: the points that it costs."""

    student: str
    seconds: float
    penalty: float


@dataclass(frozen=True)
class Deadlines:
    """Times are ISO 8601 with an offset.

    due: None without a due date. extensions: until when, by student.
    late: the submissions, latest first. timeless: the students of whom nobody knows whether they were late.
    excused: exercises. absent: the students on the roster who handed in nothing.
    """

    due: str | None
    extensions: dict[str, str]
    late: list[Late]
    timeless: list[str]
    excused: list[str]
    absent: list[str]


def deadlines(found: Class) -> Deadlines:
    """Those of a class, as far as the gradebook and the instructor's decisions say."""
    records = found.records
    return Deadlines(
        due=records.due.replace(tzinfo=dt.UTC).isoformat() if records.due else None,
        extensions=found.decided.extensions,
        late=sorted(_late(found), key=lambda late: -late.seconds),
        timeless=[row.student for row in records.rows.values() if records.due and row.received is None],
        excused=found.decided.excused,
        absent=[student for student in records.roster if student not in set(found.submitted)],
    )


def _late(found: Class) -> Iterator[Late]:
    for row in found.records.rows.values():
        end = lateness.due(found.decided, row.student, found.records.due)
        seconds = (row.received - end).total_seconds() if row.received and end else 0.0
        if seconds > 0:
            yield Late(row.student, seconds, row.penalty)
