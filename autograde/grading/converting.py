"""One of nbgrader's converters on one submission; where it could not, why, in a line."""

import logging
import re

from nbgrader.apps import AutogradeApp
from nbgrader.converters.base import NbGraderException

from autograde.errors import CourseError, UsageError

LOCKED = re.compile(r"OperationalError\) (.*)")


def convert(app: AutogradeApp, converter: type, lesson: str, student: str) -> None:
    """Have it convert a submission. Raises CourseError."""
    coursedir, heard = app.coursedir, _Ear()
    coursedir.assignment_id, coursedir.student_id = lesson, student
    log = logging.Logger("nbgrader")
    log.addHandler(heard)
    app.log = coursedir.log = log
    try:
        converter(coursedir=coursedir, parent=app, force=True).start()
    except NbGraderException as error:
        raise CourseError(heard.reason or str(error)) from None
    except UsageError as error:
        raise CourseError(str(error)) from None


class _Ear(logging.Handler):
    """Hears why nbgrader could not grade: the last line of the last error with a traceback."""

    reason = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the reason."""
        text = record.getMessage()
        if record.levelno < logging.ERROR or "Traceback" not in text:
            return
        last = text.strip().splitlines()[-1]
        if found := LOCKED.search(text):
            last = f"The gradebook: {found[1].strip()}. Close what else works with it, then run again."
        said = re.sub(r"^[\w.]+(?:Error|Exception|NoVerdict): ", "", last)
        self.reason = said if said != last or " " in last else f"{last}: nbgrader failed on it."
