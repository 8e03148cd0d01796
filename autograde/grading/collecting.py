"""Lays notebooks that an LMS hands out into the folders of submissions, and tells of every file."""

import datetime as dt
import filecmp
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from autograde import atomic_write
from autograde.course import Course
from autograde.errors import CourseError, UsageError
from autograde.grading import roster, term
from autograde.grading.archives import FOLDER, TAR, ZIP, check_size, unpack
from autograde.grading.collection_plan import Plan, Skipped, make_plan
from autograde.grading.roster import Person


@dataclass
class Collected:
    """What became of archives.

    new, replaced, unchanged: students, by what happened to their notebooks. skipped: all other files.
    late: those whom Canvas marks late. not_on_roster: those collected whom the roster does not name, where
    there is one. received: when they handed in, of those of whom it is known.
    """

    new: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    not_on_roster: list[str] = field(default_factory=list)
    received: dict[str, dt.datetime] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What a person reads: how many, then who and which files need a look."""
        kinds = {"new": self.new, "replaced": self.replaced, "unchanged": self.unchanged}
        told = [", ".join(f"{len(students)} {kind}" for kind, students in kinds.items())]
        for words, students in (
            ("Replaced, the old ones kept", self.replaced),
            ("Late, says Canvas, which gives no times", self.late),
            ("Not on the roster", self.not_on_roster),
        ):
            told += [f"{words}: {', '.join(students)}."] if students else []
        return told + [f"Skipped: {one.file}: {one.reason}." for one in self.skipped]


def collect(course: Course, lesson: str, archives: Sequence[Path] = ()) -> Collected:
    """Collect what lies in archives; without any, what already lies in .grading/downloaded/LESSON/archive.

    Archives that are given lie there afterwards; what lay there before is in `earlier` beside it. A notebook
    that another replaces is kept in `replaced`. Raises CourseError, and then nothing was collected.
    """
    if not course.released(lesson).exists():
        raise CourseError(f"{lesson} was not released here: run `autograde release {lesson}` first.")
    place = downloads(course, lesson)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    archive = place / "archive"
    if not archives and not (archive.is_dir() and any(archive.iterdir())):
        raise CourseError(f"Nothing to collect: name archives, or lay them into {archive}.")
    people = roster.known(course)
    with tempfile.TemporaryDirectory(prefix=".collecting-", dir=place) as scratch:
        given = Path(scratch) / "archive"
        if archives:
            _copy(archives, given)
        found = unpack(given if archives else archive, Path(scratch) / "unpacked")
        plan = make_plan(found, lesson, people, collected_names(course, lesson))
        if archives:
            _keep_earlier(archive, given, place / "earlier")
            given.rename(archive)
        return carry_out(course, lesson, plan, people)


def downloads(course: Course, lesson: str) -> Path:
    """The folder of a lesson's archives."""
    return course.grading / "downloaded" / lesson


def collected_names(course: Course, lesson: str) -> set[str]:
    """The students who have a folder for the lesson."""
    return {path.parent.name for path in (course.grading / "submitted").glob(f"*/{lesson}")}


def carry_out(course: Course, lesson: str, plan: Plan, people: Mapping[str, Person]) -> Collected:
    """Lay every choice into its student's folder, and keep its time. Raises CourseError."""
    done = Collected(skipped=list(plan.skipped))
    for student, choice in plan.choices.items():
        outcome = put(course, lesson, student, choice.path)
        if outcome is None:
            done.skipped.append(Skipped(choice.shown, f"{student}'s notebook there is a link or a folder"))
            continue
        getattr(done, outcome).append(student)
        if choice.sender.when:
            term.receive(course, lesson, student, choice.sender.when, choice.sender.lms)
            done.received[student] = choice.sender.when
        if choice.sender.late:
            done.late.append(student)
        if people and student not in people:
            done.not_on_roster.append(student)
    return done


def put(course: Course, lesson: str, student: str, notebook: Path) -> str | None:
    """Make a file the student's notebook; returns "new", "replaced" or "unchanged", None where it cannot be.

    Other files of the folder stay; the notebook that it replaces is kept in .grading/downloaded.
    """
    target = course.grading / "submitted" / student / lesson / f"{lesson}.ipynb"
    if target.is_symlink() or (target.exists() and not target.is_file()):
        return None
    there = target.exists()
    if there and filecmp.cmp(notebook, target, shallow=False):
        return "unchanged"
    if there:
        _keep_replaced(course, lesson, student, target)
    atomic_write.write(target, notebook.read_bytes())
    return "replaced" if there else "new"


def put_folder(course: Course, lesson: str, student: str, folder: Path) -> str:
    """Make a folder, which goes there, the student's submission; returns "new" or "replaced". Raises OSError.

    The notebook that it replaces is kept in .grading/downloaded.
    """
    target = course.grading / "submitted" / student / lesson
    there, notebook = target.is_dir(), target / f"{lesson}.ipynb"
    if notebook.is_file():
        _keep_replaced(course, lesson, student, notebook)
    target.parent.mkdir(parents=True, exist_ok=True)
    if there:
        target.rename(folder.with_name("replaced"))
    folder.rename(target)
    return "replaced" if there else "new"


def _keep_replaced(course: Course, lesson: str, student: str, notebook: Path) -> None:
    kept = downloads(course, lesson) / "replaced"
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copy2(notebook, _numbered(kept, student, ".ipynb"))


def _copy(archives: Sequence[Path], target: Path) -> None:
    """Copy what was given into a folder; a folder gets an ending that marks it. Raises CourseError."""
    target.mkdir()
    for path in archives:
        ending = next((end for end in (*ZIP, *TAR, ".ipynb") if path.name.lower().endswith(end)), "")
        if path.is_dir() and not target.resolve().is_relative_to(path.resolve()):
            check_size(path)
            shutil.copytree(path, _free(target, path.resolve().name, FOLDER), ignore=_no_plain_files)
        elif path.is_file() and ending:
            shutil.copy2(path, _free(target, path.name[: -len(ending)], path.name[-len(ending) :]))
        else:
            raise UsageError(
                f"{path} cannot be collected: expected {', '.join((*ZIP, *TAR))}, .ipynb or a folder."
            )


def _no_plain_files(folder: str, names: list[str]) -> list[str]:
    """For copytree: links, pipes and the like are left out."""
    paths = [Path(folder, name) for name in names]
    return [path.name for path in paths if path.is_symlink() or not (path.is_file() or path.is_dir())]


def _keep_earlier(archive: Path, given: Path, earlier: Path) -> None:
    """Move what lies in `archive` to `earlier`, unless the same was given again."""
    for path in archive.iterdir() if archive.is_dir() else ():
        again = given / path.name
        if path.is_file() and again.is_file() and filecmp.cmp(path, again, shallow=False):
            path.unlink()
        else:
            earlier.mkdir(mode=0o700, exist_ok=True)
            path.rename(_free(earlier, path.name, ""))
    if archive.is_dir():
        archive.rmdir()


def _free(folder: Path, name: str, ending: str) -> Path:
    """Where nothing lies in a folder: at the name itself, else at one with a number behind it."""
    path = folder / f"{name}{ending}"
    return _numbered(folder, name, ending) if path.exists() else path


def _numbered(folder: Path, name: str, ending: str) -> Path:
    paths = (folder / f"{name}-{number}{ending}" for number in count(1))
    return next(path for path in paths if not path.exists())
