"""nbgrader's exchange, the folder that a hub's students share: what is laid there, and what is taken from it.

Students write to it as themselves. So of what lies there, only its owner and the time of its last change are
believed, which the file system knows, and all that is read of it is copied first as any submission is.
"""

import datetime as dt
import os
import pwd
import stat
import tempfile
from pathlib import Path
from typing import Any

from nbgrader.exchange.default import ExchangeCollect, ExchangeReleaseAssignment, ExchangeReleaseFeedback
from nbgrader.utils import notebook_hash

from autograde import atomic_write
from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading import term
from autograde.grading.collecting import downloads, put_folder
from autograde.grading.standing import State, feedback_page, standings
from autograde.grading.student_names import PLAIN, plain_name, printable
from autograde.grading.submission_files import digest, walk

SECRET = "submission_secret.txt"  # in a submission: by it a student finds the feedback, and nobody else does
MAX_SECRET_BYTES = 1000
NO_TIME = dt.datetime(1970, 1, 1)
READABLE = 0o644
STANDS = (State.FINAL, State.WAITS)  # a page that is about what lies there


class Release(ExchangeReleaseAssignment):
    """Releases a lesson; and nobody but its owner may rename or remove what lies in a shared folder."""

    def ensure_root(self) -> None:
        """Without the sticky bit a student could put a folder of their own in the place of the course's."""
        super().ensure_root()
        self._own_names(self.root)

    def init_dest(self) -> None:
        """And another one's submission would be a student's to remove."""
        super().init_dest()
        self._own_names(self.inbound_path)

    def _own_names(self, folder: str) -> None:
        mode = os.stat(folder).st_mode
        try:
            if not mode & stat.S_ISVTX:
                os.chmod(folder, stat.S_IMODE(mode) | stat.S_ISVTX)
        except PermissionError:
            self.fail(f"In {folder} students could replace what is another's: have its owner `chmod +t` it.")


class Collect(ExchangeCollect):
    """Collects submissions as `autograde collect` does: bounded copies without links, each with its time."""

    src_records: list[dict[str, Any]]

    def _path_to_record(self, path: str) -> dict[str, Any]:
        """Whose a submission is, when it last changed, and why it is refused, or ""."""
        folder = Path(path)
        student = folder.name.rsplit("+", 3)[0]
        record = {"username": student, "filename": folder.name, "timestamp": NO_TIME}
        try:
            self._check_owner(folder, student)
            return record | {"timestamp": term.as_utc(_last_change(folder)), "refused": ""}
        except (CourseError, OSError) as error:
            return record | {"refused": str(error)}

    def _check_owner(self, folder: Path, student: str) -> None:
        """Raises CourseError where the folder is not this student's: its name is what anybody wrote."""
        if not plain_name(student):
            raise CourseError(f"{PLAIN}.")
        if not self.check_owner:
            return
        owner = _owner(folder)
        if owner != student:
            raise CourseError(f"it is named after {student}, and {printable(owner)} handed it in.")

    def _sort_by_timestamp(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The newest first; what is refused never stands before what a student handed in."""
        return sorted(records, key=lambda one: (not one["refused"], one["timestamp"]), reverse=True)

    def copy_files(self) -> None:
        """Collect each student's; one that cannot be collected stops nobody else's."""
        if not self.src_records:
            self.log.warning("Nothing to collect: nobody has handed in %s.", self.coursedir.assignment_id)
        for record in self.src_records:
            try:
                self._collect(record)
            except (CourseError, OSError) as error:
                self.log.error("Not collected: %s: %s", printable(record["filename"]), error)

    def _collect(self, record: dict[str, Any]) -> None:
        course, lesson, student = _course(self), self.coursedir.assignment_id, record["username"]
        if record["refused"]:
            raise CourseError(record["refused"])
        if not self._is_wanted(record, course.grading / "submitted" / student / lesson):
            return self.log.info("Nothing newer than what was collected: %s %s", student, lesson)
        place = downloads(course, lesson)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".collecting-", dir=place) as scratch:
            when = self._copy(Path(self.inbound_path, record["filename"]), Path(scratch, lesson))
            outcome = put_folder(course, lesson, student, Path(scratch, lesson))
        self.log.info("Collected: %s %s (%s)", student, lesson, outcome)
        if (course.grading / "submitted" / student / lesson / f"{lesson}.ipynb").is_file():
            term.receive(course, lesson, student, when, "exchange")

    def _copy(self, source: Path, target: Path) -> dt.datetime:
        """Copy a submission; its time is that of the last change of anything in it: no student sets that."""
        target.mkdir()
        digest(source, target)
        when = _last_change(source)  # now: later than what was copied
        if self.get_size(target) > 1000 * self.coursedir.max_dir_size:
            raise CourseError(f"it is larger than {self.coursedir.max_dir_size} kB.")
        return when

    def _is_wanted(self, record: dict[str, Any], target: Path) -> bool:
        """As nbgrader decides; but by the times that are known, not by those in names of folders."""
        if not target.is_dir():
            return True
        known = self.coursedir.get_existing_timestamp(str(target))
        if self.before_duedate:
            return bool(known != record["timestamp"])
        return bool(self.update and (known is None or record["timestamp"] > known))


class ReleaseFeedback(ExchangeReleaseFeedback):
    """Releases the pages that are about what was handed in last, each where its student alone finds it."""

    def copy_files(self) -> None:
        """A page that is stale stays here, and the log says whose."""
        course, lesson = _course(self), self.coursedir.assignment_id
        left_out = set(self.coursedir.student_id_exclude.split(","))
        for one in standings(course, lesson):
            asked = self.coursedir.student_id in ("*", one.student) and one.student not in left_out
            if not (asked and one.handed_in):
                continue
            page = feedback_page(course, lesson, one.student)
            if one.state not in STANDS or not page.is_file():
                why = "no page was made" if one.state in STANDS else one.state
                self.log.error("No feedback: %s: %s: `autograde grade %s`.", one.student, why, lesson)
            elif secret := _secret(course, lesson, one.student):
                self._put(page, notebook_hash(secret=secret, notebook_id=lesson))
                self.log.info("Feedback released: %s %s", one.student, lesson)
            else:
                self.log.warning("No feedback: %s did not hand in by the exchange.", one.student)

    def _put(self, page: Path, name: str) -> None:
        target = Path(self.dest_path, f"{name}.html")
        atomic_write.write(target, page.read_bytes())
        target.chmod(READABLE)


def _course(app: Any) -> Course:
    return Course.at(Path(app.coursedir.root))


def _owner(folder: Path) -> str:
    number = folder.lstat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _last_change(folder: Path) -> dt.datetime:
    """When anything in a submission last changed. Raises CourseError where it holds what nobody hands in."""
    top = folder.lstat()
    changed = [top.st_ctime]
    for name, file in walk(folder):
        if file is None:
            raise CourseError(f"it holds links, or other than plain files: {printable(name)}.")
        state = os.fstat(file.fileno())
        if state.st_uid != top.st_uid:
            raise CourseError(f"it holds a file of another user: {printable(name)}.")
        changed.append(state.st_ctime)
    return dt.datetime.fromtimestamp(max(changed)).astimezone()


def _secret(course: Course, lesson: str, student: str) -> str:
    """What nbgrader's submitting wrote into a submission; "" where there is nothing of the kind."""
    for name, file in walk(course.grading / "submitted" / student / lesson):
        if name == SECRET and file is not None:
            return file.read(MAX_SECRET_BYTES).decode(errors="replace").strip()
    return ""
