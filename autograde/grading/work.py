"""What `autograde grade` does with one submission, in a fork: grades what changed, renews what shows it."""

import json
import tempfile
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nbgrader.apps import AutogradeApp
from nbgrader.converters import Autograde, GenerateFeedback

from autograde import atomic_write
from autograde.course import Course
from autograde.errors import CourseError, StudentError
from autograde.grading import feedback, lateness, recorded, staleness, submission_files, term
from autograde.grading.cluster.parcels import task_text
from autograde.grading.converting import convert
from autograde.grading.gradebook import one_line_errors, open_gradebook
from autograde.grading.judged import Judged, Task, judge, kit_of, read_judged
from autograde.grading.lateness import Lateness
from autograde.grading.preprocessors import CHANGED, files_beside
from autograde.grading.recorded import Recorded
from autograde.grading.staleness import Key, Marker
from autograde.grading.standing import agrees, feedback_page, read_verdict_of
from autograde.grading.student_names import PLAIN, plain_name, printable
from autograde.grading.submission import copies_of
from autograde.judging.verdict import Result
from autograde.notebooks import content_of

STOPPED = "Its grader was stopped ({}): run again."


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


def row_of(student: str, outcome: Any) -> Row:
    """The row of what a fork returned, or of how it ended."""
    if isinstance(outcome, StudentError):
        return Row(student, "failed", reason=STOPPED.format(outcome.reason.strip()))
    return Row(**outcome)


@dataclass
class _Look:
    """A submission that is taken: `copy` is its folder, which nobody changes any more.

    row, before, old: what is recorded, the verdict, and its key where the two agree. wanted: the exercises
    to judge; None for all.
    """

    student: str
    folder: Path
    copy: Path
    key: Key
    notes: list[str]
    row: Recorded | None
    before: Result | None
    old: Key | None
    wanted: list[str] | None

    @property
    def stamp(self) -> str:
        """What was decided by: it is another one where a second look would decide otherwise."""
        kept = self.before.text() if self.before is not None and self.wanted else ""
        return json.dumps([asdict(self.key), self.wanted, kept])


class Work:
    """One submission: called with its folder, grades it here and returns the row as a dict.

    Where it is judged elsewhere, `look` says what to judge, and `record` takes what came of it.

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
        self.kit = kit_of(course, lesson)

    def __call__(self, folder: Path) -> dict[str, Any]:
        """Never raises what is about one submission: that is its row."""
        return _told(folder, lambda folder: self._decided(folder, self._here))

    def look(self, folder: Path) -> dict[str, Any]:
        """The row, where there is nothing to judge; else `file`, of the task's text, and `stamp`."""
        return _told(folder, lambda folder: self._decided(folder, self._sent))

    def record(self, given: tuple[Path, str, str]) -> dict[str, Any]:
        """The row of a submission that was judged: its folder, the file of Judged's text, and the stamp."""
        folder, file, stamp = given
        return _told(folder, lambda folder: self._received(folder, Path(file), stamp))

    def _decided(
        self, folder: Path, judge_it: Callable[[_Look], Row | dict[str, Any]]
    ) -> Row | dict[str, Any]:
        """The row of what need not be judged; else what `judge_it` makes of it."""
        if self.chosen is not None and folder.parent.name not in self.chosen:
            return self._other(folder.parent.name, folder)
        with self._taken(folder) as look:
            return self._settled(look, None) if look.wanted == [] else judge_it(look)

    def _here(self, look: _Look) -> Row:
        with copies_of(self._files(look)) as files:
            return self._settled(look, judge(self.kit, self._task(look), files))

    def _sent(self, look: _Look) -> dict[str, Any]:
        descriptor, file = tempfile.mkstemp(prefix="task-")
        with open(descriptor, "w") as text:
            text.write(task_text(self._task(look), self._files(look)))
        return {"file": file, "stamp": look.stamp}

    def _received(self, folder: Path, file: Path, stamp: str) -> Row:
        judged = read_judged(file.read_text())
        with self._taken(folder) as look:
            if look.stamp != stamp:
                raise CourseError(CHANGED)
            return self._settled(look, judged)

    @contextmanager
    def _taken(self, folder: Path) -> Iterator[_Look]:
        """A look at a submission, within which nbgrader takes it from the copy."""
        student = folder.parent.name
        if not plain_name(student):
            raise CourseError(f"Rename the folder: {PLAIN}.")
        with (
            submission_files.taken(self.course, student, self.lesson) as (copy, digest),
            submission_files.handed_over(self.app.coursedir, copy),
        ):
            notes = self._look(student, folder, copy)
            key = replace(self.held_against, submission=digest)
            row, before, old = self._known(student)
            holds = old is not None and before is not None and not before.delayed
            wanted = key.to_judge(old, self.again) if holds and old is not None else None
            yield _Look(student, folder, copy, key, notes, row, before, old, wanted)

    def _task(self, look: _Look) -> Task:
        """With `wanted` these exercises alone are judged, for the others `before` holds."""
        name = f"{self.lesson}.ipynb"
        content = content_of(look.copy / name, look.folder / name)
        kept = look.before.text() if look.before is not None and look.wanted else ""
        wanted, excused = look.wanted or [], look.key.excused
        return Task(look.student, str(look.folder / name), content, wanted, kept, excused, self.alone)

    def _files(self, look: _Look) -> dict[str, Path]:
        converter = Autograde(coursedir=self.app.coursedir, parent=self.app)
        return files_beside(converter, look.copy, self.lesson)

    def _settled(self, look: _Look, judged: Judged | None) -> Row:
        """The row of a submission that was judged just now, or whose verdict holds."""
        start, student = time.monotonic(), look.student
        if judged is not None:
            self._grade(look, judged)
        result = read_verdict_of(self.course, self.lesson, student)
        if result is None:
            raise CourseError("Its verdict cannot be read: grade again.")
        notes = look.notes + self._settle(student, look.row, look.key, renewed=judged is None)
        had = look.before.points if look.before else None
        row = Row(student, "unchanged", result.points, result.maximum, had, notes, delayed=result.delayed)
        if judged is not None:
            row.status, row.seconds = "graded", judged.seconds + time.monotonic() - start
        return row

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

    def _grade(self, look: _Look, judged: Judged) -> None:
        """Have nbgrader record it, as what was judged by the look's key."""
        config, old = self.app.config, look.old
        config.RunAndJudge.judged = judged.text()
        config.RunAndJudge.expected = json.dumps(asdict(look.key))
        config.Record.same = old is not None and old.submission == look.key.submission
        config.Record.look_at = look.key.to_look_at(old) if old is not None else []
        convert(self.app, Autograde, self.lesson, look.student)

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
        convert(self.app, GenerateFeedback, self.lesson, row.student)
        atomic_write.write(place, Marker(digest, staleness.page_digest(page)).text())
        return True


def _told(folder: Path, step: Callable[[Path], Row | dict[str, Any]]) -> dict[str, Any]:
    """What a step returns, as JSON has it; of what it raises about one submission, the row."""
    student = folder.parent.name
    try:
        found = step(folder)
        return asdict(found) if isinstance(found, Row) else found
    except CourseError as error:
        return asdict(Row(student, "failed", reason=str(error)))
    except OSError as error:
        reason = f"{error.filename or 'file system'}: {error.strerror}."
        return asdict(Row(student, "failed", reason=reason))
