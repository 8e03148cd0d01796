"""Errors that a user meets, one line each, and those of a learner's code, each with a reason.

Commands print a CourseError without a traceback; it says what to do.
"""

UNANSWERED = "Not answered yet: the cell still raises NotImplementedError."


class CourseError(Exception):
    """Something did not hold; the command ends with status 1."""

    exit_code = 1


class UsageError(CourseError):
    """The command was called wrongly; it ends with status 2."""

    exit_code = 2


class StudentError(Exception):
    """The learner's code did not answer. `reason` is a sentence for the learner, free of values."""

    reason = "Your code did not answer."


class Died(StudentError):
    """The learner's process ended during a call."""

    reason = "The process ended during the call (a crash, an exit or too much memory)."


class TimedOut(StudentError):
    """A call took longer than its limit."""

    reason = "The call took too long."


class OutOfTime(TimedOut):
    """The time for all calls together was used up before this one."""

    reason = "The time for all calls together was used up before this one: earlier calls took too long."


class Unusable(StudentError):
    """The reply is no value of the expected kind."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.reason = f"Your code returned something that cannot be used here: {what}."
