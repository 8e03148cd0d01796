"""What nbgrader's own collecting gets from us: names of files of LMSs, times that are kept, bounds."""

import datetime as dt
from pathlib import Path
from typing import Any

from nbgrader.apps.zipcollectapp import ZipCollectApp
from nbgrader.plugins import ExtractorPlugin, FileNameCollectorPlugin

from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading import roster, term
from autograde.grading.archives import Found, unpack
from autograde.grading.collecting import carry_out, collected_names
from autograde.grading.collection_plan import Plan, make_plan
from autograde.grading.student_names import PLAIN, plain_name, printable, same_name

STOCK_TRANSFER_FILES = ZipCollectApp._transfer_files


class Extractor(ExtractorPlugin):
    """Unpacks notebooks and nothing else, within bounds."""

    def extract(self, archive_path: str, extracted_path: str) -> None:
        """Called by `nbgrader zip_collect`; ends it where an archive is refused."""
        try:
            found = unpack(Path(archive_path), Path(extracted_path))
        except CourseError as error:
            return self.parent.fail(str(error))
        for file in found:
            if file.reason:
                self.log.warning("Skipped: %s %s", file.shown, file.reason)


class Collector(FileNameCollectorPlugin):
    """Knows how Moodle, Canvas, Blackboard and people name files; `named_regexp`, where set, alone counts."""

    plan: Plan | None = None

    def collect(self, submitted_file: str) -> dict[str, Any] | None:
        """Whose a file is, for `nbgrader zip_collect`; None where it counts for nobody."""
        lesson = self.parent.coursedir.assignment_id
        if self.named_regexp:
            found = super().collect(submitted_file)
            return found if found and self._may_be(found, submitted_file) else None
        self.plan = self.plan or self._make_plan()
        for student, choice in self.plan.choices.items():
            if choice.path == Path(submitted_file):
                return {"student_id": student, "file_id": lesson, "timestamp": choice.sender.when}
        return None

    def _make_plan(self) -> Plan:
        """For all files that were unpacked: one alone would not tell who has a namesake."""
        app, course = self.parent, _course(self.parent)
        unpacked = Path(app._format_collect_path(app.extracted_directory))
        paths = [path for path in sorted(unpacked.rglob("*")) if path.is_file()]
        found = [Found(path.relative_to(unpacked).parts, path) for path in paths]
        lesson = app.coursedir.assignment_id
        plan = make_plan(found, lesson, roster.known(course), collected_names(course, lesson))
        for skipped in plan.skipped:
            self.log.warning("Skipped: %s %s", skipped.file, skipped.reason)
        return plan

    def _may_be(self, found: dict[str, Any], file: str) -> bool:
        """Whether what an instructor's pattern took from a name may become a path."""
        student, name = same_name(found.get("student_id") or ""), Path(found.get("file_id") or "").stem
        if not plain_name(student):
            self.log.warning("Skipped: %s would be of %r, where %s", file, printable(student), PLAIN)
        found["student_id"] = student
        # A timestamp.txt would be the student's own word about the time.
        return plain_name(student) and f"{name}{Path(file).suffix}" != "timestamp.txt"


def transfer_files(app: Any, collected: dict[str, Any]) -> None:
    """In the place of ZipCollectApp._transfer_files, which empties folders and leaves a time in a file there.

    With a pattern of the instructor's own it goes on as it was, and the times are kept too.
    """
    course, lesson = _course(app), app.coursedir.assignment_id
    plan = getattr(app.collector_plugin_inst, "plan", None)
    try:
        if plan is None:
            return _transfer_by_pattern(app, course, lesson, collected)
        done = carry_out(course, lesson, plan, roster.known(course))
    except CourseError as error:
        return app.fail(str(error))
    for what in ("new", "replaced", "unchanged", "late", "not_on_roster"):
        app.log.info("%s: %s", what.replace("_", " "), ", ".join(getattr(done, what)) or "nobody")


def _transfer_by_pattern(app: Any, course: Course, lesson: str, collected: dict[str, Any]) -> None:
    STOCK_TRANSFER_FILES(app, collected)
    for student, files in collected.items():
        if files["timestamp"] and f"{lesson}.ipynb" in files["file_ids"]:
            term.receive(course, lesson, student, _aware(files["timestamp"]), "the file's name")


def _course(app: Any) -> Course:
    return Course.at(Path(app.coursedir.root))


def _aware(when: dt.datetime) -> dt.datetime:
    """nbgrader's times without an offset are in UTC."""
    return when if when.tzinfo else when.replace(tzinfo=dt.UTC)
