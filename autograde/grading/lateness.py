"""When a submission came, until when it had time, and what lateness costs: never a learner's own word."""

import datetime as dt
import math
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook, MissingEntry, SubmittedAssignment
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import AssignLatePenalties

from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading import term
from autograde.grading.gradebook import one_line_errors, open_gradebook
from autograde.grading.student_names import same_name
from autograde.grading.term import LessonTerm

NEVER = "none"  # in the place of a due date


def received(course: Course, lesson: str, student: str) -> dt.datetime | None:
    """When the notebook that lies there was handed in, as far as collecting or the instructor said."""
    found = term.of_lesson(course, lesson).received.get(student)
    path = course.grading / "submitted" / student / lesson / f"{lesson}.ipynb"
    try:
        same = found is not None and found.notebook == term.notebook_digest(path)
    except OSError:
        same = False
    return dt.datetime.fromisoformat(found.time) if found and same else None


def due(decided: LessonTerm, student: str, duedate: dt.datetime | None) -> dt.datetime | None:
    """Until when a student has time, in UTC: the lesson's `duedate`, which is nbgrader's, or an extension.

    An extension that ends before the lesson's own date takes nothing away; without a date there is no end.
    """
    extended = {same_name(name): time for name, time in decided.extensions.items()}.get(same_name(student))
    if duedate is None or extended is None:
        return duedate
    return max(duedate, term.as_utc(dt.datetime.fromisoformat(extended)))


def due_date(course: Course, lesson: str) -> dt.datetime | None:
    """The lesson's due date, in UTC as nbgrader keeps it; None where there is none, or no such lesson."""
    with one_line_errors(course), open_gradebook(course) as gradebook:
        try:
            found: dt.datetime | None = gradebook.find_assignment(lesson).duedate
        except MissingEntry:
            return None
    return found


def look_at_due_date(course: Course, lesson: str) -> str | None:
    """A line where the due date is another one than in the last run, which a lost gradebook may be why of."""
    found = due_date(course, lesson)
    now = found.isoformat() if found else NEVER
    before = term.of_lesson(course, lesson).due
    if now == before:
        return None
    with term.change(course, lesson) as decided:
        decided.due = now
    if not before:
        return None
    said = [
        each if each == NEVER else term.shown_time(dt.datetime.fromisoformat(each)) for each in (now, before)
    ]
    return f"Due date: {said[0]}. In the last run: {said[1]}. To set it: `autograde due {lesson} TIME`."


def set_due_date(course: Course, lesson: str, when: dt.datetime | None) -> None:
    """Set the due date of a lesson that was released, or take it away. Raises CourseError."""
    with one_line_errors(course), open_gradebook(course) as gradebook:
        try:
            gradebook.find_assignment(lesson).duedate = term.as_utc(when) if when else None
        except MissingEntry:
            raise CourseError(f"{lesson} was not released here: run `autograde release {lesson}`.") from None
        gradebook.db.commit()


def known_timestamp(coursedir: CourseDirectory, path: str) -> dt.datetime | None:
    """CourseDirectory.get_existing_timestamp, which believes a timestamp.txt that a student wrote."""
    place = Path(coursedir.root, path).resolve()
    course = Course.at(Path(coursedir.root).resolve())
    if place.parent.parent != course.grading / "submitted":
        return None
    found = received(course, place.name, place.parent.name)
    return term.as_utc(found) if found else None


class Lateness(AssignLatePenalties):
    """Sets a submission's time and penalty by what is known now; the plugin says what lateness costs."""

    def preprocess(self, nb: Any, resources: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """As a step of nbgrader's, behind Record."""
        names = resources["nbgrader"]
        course = Course.at(Path(self.parent.parent.coursedir.root))
        with Gradebook(names["db_url"]) as gradebook:
            self.assign(gradebook, course, names["assignment"], names["student"])
        return nb, resources

    def assign(self, gradebook: Gradebook, course: Course, lesson: str, student: str) -> None:
        """Bring the gradebook up to date. Raises CourseError where the plugin fails, MissingEntry."""
        submission = gradebook.find_submission(lesson, student)
        when = received(course, lesson, student)
        submission.timestamp = term.as_utc(when) if when else None
        end = due(term.of_lesson(course, lesson), student, submission.assignment.duedate)
        seconds = (submission.timestamp - end).total_seconds() if submission.timestamp and end else 0.0
        for notebook in submission.notebooks:
            penalty = self._penalty(submission, notebook, seconds) if seconds > 0 else None
            notebook.late_submission_penalty = penalty
        gradebook.db.commit()

    def _penalty(self, submission: SubmittedAssignment, notebook: Any, seconds: float) -> float | None:
        """What the instructor's plugin takes, from none of it to all."""
        self.init_plugin()
        name = type(self.plugin_inst).__name__
        try:
            given = self.plugin_inst.late_submission_penalty(submission.student_id, notebook.score, seconds)
            penalty = None if given is None else float(given)
        except Exception as error:
            raise CourseError(f"The plugin for lateness, {name}, failed ({error!r}): mend it.") from None
        if penalty is not None and not math.isfinite(penalty):
            raise CourseError(
                f"The plugin for lateness, {name}, gave {penalty}: it must give points or None."
            )
        return None if penalty is None else min(max(penalty, 0.0), notebook.score)
