"""What `autograde grade` does with one submission, in a fork: grades what changed, renews what shows it."""

import json
import logging
import re
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nbgrader.apps import AutogradeApp
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.converters.base import NbGraderException

from autograde import atomic_write
from autograde.course import Course
from autograde.errors import CourseError, UsageError
from autograde.grading import feedback, lateness, reading, recorded, staleness, submission_files, term
from autograde.grading.gradebook import one_line_errors, open_gradebook
from autograde.grading.lateness import Lateness
from autograde.grading.recorded import Recorded
from autograde.grading.released import read_released
from autograde.grading.staleness import Key, Marker
from autograde.grading.standing import agrees, feedback_page, read_verdict_of
from autograde.grading.student_names import PLAIN, plain_name, printable
from autograde.judging.verdict import Result

LOCKED = re.compile(r"OperationalError\) (.*)")


@dataclass
class Row:
    """What became of a submission.

    status: graded, unchanged (graded before, and nothing that the verdict depends on has changed), failed, or
    left: not asked for.
    points, maximum: automatic ones. before: automatic points that it had until now, None where it had none.
    notes: what else to know of it. reason: why it failed. delayed: see Result.
    """

    student: str
    status: str
    points: float | None = None
    maximum: float | None = None
    before: float | None = None
    notes: list[str] = field(default_factory=list)
    reason: str = ""
    seconds: float | None = None
    delayed: bool = False


class Work:
    """One submission: called with its folder, returns the row as a dict.

    Exercises in `again` are judged in any case, others keep their verdict where it still holds. Only
    the `chosen` (None: all) are graded; the others' times and pages are kept up to date. `alone`: no other is
    graded beside it.
    """

    def __init__(
        self,
        course: Course,
        lesson: str,
        app: AutogradeApp,
        again: Sequence[str] = (),
        chosen: Container[str] | None = None,
        alone: bool = True,
    ) -> None:
        self.course, self.lesson, self.app = course, lesson, app
        self.again, self.chosen, self.alone = list(again), chosen, alone
        self.held_against = staleness.ingredients(course, lesson)

    def __call__(self, folder: Path) -> dict[str, Any]:
        """Never raises what is about one submission: that is its row."""
        student = folder.parent.name
        try:
            return asdict(self._row(student, folder))
        except CourseError as error:
            return asdict(Row(student, "failed", reason=str(error)))
        except OSError as error:
            reason = f"{error.filename or 'file system'}: {error.strerror}."
            return asdict(Row(student, "failed", reason=reason))

    def _row(self, student: str, folder: Path) -> Row:
        if self.chosen is not None and student not in self.chosen:
            return self._other(student, folder)
        if not plain_name(student):
            raise CourseError(f"Rename the folder: {PLAIN}.")
        with (
            submission_files.taken(self.course, student, self.lesson) as (copy, digest),
            submission_files.handed_over(self.app.coursedir, copy),
        ):
            notes = self._look(student, folder, copy)
            key = replace(self.held_against, submission=digest)
            return self._graded(student, key, notes, copy, folder)

    def _graded(self, student: str, key: Key, notes: list[str], copy: Path, folder: Path) -> Row:
        start, seconds = time.monotonic(), None
        row, before, old = self._known(student)
        wanted = None if old is None or before is None or before.delayed else key.to_judge(old, self.again)
        if fresh := wanted != []:
            with self._reader(copy, folder):
                self._grade(student, before, old, key, wanted)
            seconds = time.monotonic() - start
        result = read_verdict_of(self.course, self.lesson, student)
        if result is None:
            raise CourseError("Its verdict cannot be read: grade again.")
        notes += self._settle(student, row, key, renewed=not fresh)
        status, had = "graded" if fresh else "unchanged", before.points if before else None
        return Row(student, status, result.points, result.maximum, had, notes, "", seconds, result.delayed)

    @contextmanager
    def _reader(self, copy: Path, folder: Path) -> Iterator[None]:
        """Within it, the notebook is being read. First, what cannot be graded is refused: nothing changes."""
        name, released = f"{self.lesson}.ipynb", read_released(self.course, self.lesson)
        with reading.begun(copy / name, folder / name, released) as reader:
            if reader.lesson not in ("", self.lesson):
                where = f"{folder / name} is a notebook of another lesson"
                raise CourseError(f"{where}, {reader.lesson!r}: not graded.")
            yield

    def _other(self, student: str, folder: Path) -> Row:
        """One whom this run does not grade: time, penalty and page of a verdict that holds are kept true."""
        row, before, old = self._known(student)
        try:
            holds = old is not None and old == staleness.key(self.held_against, folder)
        except CourseError:
            holds = False
        if row is None or before is None or old is None or not holds or before.delayed:
            return Row(student, "left")
        return Row(student, "left", notes=self._settle(student, row, old, renewed=True))

    def _known(self, student: str) -> tuple[Recorded | None, Result | None, Key | None]:
        """What is recorded, the verdict, and its key where the two agree."""
        with one_line_errors(self.course), open_gradebook(self.course) as gradebook:
            row = recorded.read(gradebook, self.lesson, student)
        path = staleness.verdict_path(self.course, self.lesson, student)
        before = read_verdict_of(self.course, self.lesson, student)
        good = row is not None and before is not None and agrees(before, row)
        return row, before, staleness.of_verdict(path) if good else None

    def _look(self, student: str, folder: Path, copy: Path) -> list[str]:
        """Refuse what is not to be graded, in words; returns what to say of what is."""
        name = f"{self.lesson}.ipynb"
        others = sorted(printable(path.name) for path in copy.glob("*.ipynb") if path.name != name)
        if not (copy / name).exists():
            hint = f"; {others[0]} is there: is it that one, by another name?" if others else "."
            raise CourseError(f"There is no {name} in {folder}{hint}")
        notes = [f"also holds {', '.join(others[:3])}, which is not graded"] if others else []
        if lateness.received(self.course, self.lesson, student):
            return notes
        if (copy / "timestamp.txt").exists():
            notes.append("the time in its timestamp.txt is a student's word and is not used")
        if noted := term.of_lesson(self.course, self.lesson).received.get(student):
            notes.append(f"the time that is known ({noted.time}, {noted.source}) is of another notebook")
        return notes

    def _grade(
        self, student: str, before: Result | None, old: Key | None, key: Key, wanted: list[str] | None
    ) -> None:
        """Let nbgrader grade it; with `wanted` these exercises alone, for the others `before` holds."""
        config = self.app.config
        config.RunAndJudge.again = wanted or []
        config.RunAndJudge.before = before.text() if before is not None and wanted else ""
        config.RunAndJudge.expected = json.dumps(asdict(key))
        config.RunAndJudge.alone = self.alone
        config.Record.same = old is not None and old.submission == key.submission
        config.Record.look_at = key.to_look_at(old) if old is not None else []
        self._convert(Autograde, student)

    def _settle(self, student: str, before: Recorded | None, key: Key, renewed: bool) -> list[str]:
        """Bring time, penalty and page up to date; returns what to say of it. Raises CourseError."""
        with one_line_errors(self.course), open_gradebook(self.course) as gradebook:
            Lateness(parent=self.app).assign(gradebook, self.course, self.lesson, student)
            row = recorded.read(gradebook, self.lesson, student)
        if row is None:
            raise CourseError("Nothing was recorded: grade again.")
        notes = []
        if before is not None and before.penalty != row.penalty:
            notes.append(f"penalty for lateness: {before.penalty:.4g} before, {row.penalty:.4g} now")
        if self._show(row, key) and renewed:
            notes.append("feedback renewed")
        return notes

    def _show(self, row: Recorded, key: Key) -> bool:
        """Make the page anew where anything on it changed, or it itself; returns whether it was made.

        The marker, written last, says that all is done.
        """
        place = staleness.marker(self.course, row.student, self.lesson)
        page = feedback_page(self.course, self.lesson, row.student)
        digest = feedback.digest(self.course, self.lesson, row, json.dumps(asdict(key)))
        if staleness.read(place) == Marker(digest, staleness.page_digest(page)):
            return False
        self._convert(GenerateFeedback, row.student)
        atomic_write.write(place, Marker(digest, staleness.page_digest(page)).text())
        return True

    def _convert(self, converter: type, student: str) -> None:
        """One of nbgrader's converters on one submission. Raises CourseError."""
        coursedir, heard = self.app.coursedir, _Ear()
        coursedir.assignment_id, coursedir.student_id = self.lesson, student
        log = logging.Logger("nbgrader")
        log.addHandler(heard)
        self.app.log = coursedir.log = log
        try:
            converter(coursedir=coursedir, parent=self.app, force=True).start()
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
