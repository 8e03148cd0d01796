"""Errors that a user meets: one line each, saying what to do; commands print them without a traceback."""


class CourseError(Exception):
    """Something did not hold; the command ends with status 1."""

    exit_code = 1


class UsageError(CourseError):
    """The command was called wrongly; it ends with status 2."""

    exit_code = 2
