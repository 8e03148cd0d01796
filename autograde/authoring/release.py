"""Lessons from their sources: built by nbgrader's generate_assignment in a scratch course, then put in place.

A released notebook carries a digest of itself in `metadata.genmap.release`. By it a former release is told
from a learner's work, in a fresh clone too; only a former release is ever replaced.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.converters.generate_assignment import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import SaveCells
from traitlets.config import Config

from autograde import atomic_write
from autograde.authoring.script import read_lesson
from autograde.authoring.setup_cell import add_setup
from autograde.authoring.solution_regions import gives_away
from autograde.authoring.tracks import build_track, tasks
from autograde.cells import ANSWER_STUB, BEGIN, END, STUB
from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading.gradebook import register


@dataclass(frozen=True)
class Built:
    """A lesson as built: the instructor's notebook and the released one, as their files hold them.

    track: its build track, in the same way; "" where it has none.
    """

    name: str
    source: str
    released: str
    track: str = ""

    def is_in_place(self, course: Course) -> bool:
        """Whether lessons/ holds it as it is."""
        track = not self.track or _text(course.build_track(self.name)) == self.track
        return track and _text(course.lesson(self.name)) == self.released


def release(course: Course, names: list[str], check: bool = False) -> list[str]:
    """Release the lessons `names` (all when empty); the names of those whose notebook in lessons/ changed.

    With `check` nothing is written. Raises CourseError where a source breaks a rule; with `check`, where a
    lesson is stale, missing or without a source; without, where a file in the way is no former release, or
    submissions forbid the change.
    """
    built = build(course, course.select(tuple(names)))
    changed = [one.name for one in built if not one.is_in_place(course)]
    if check:
        _complain(course, changed, [one.name for one in built if not one.track])
        return []
    for one in built:
        _check_replaceable(course.lesson(one.name), one.name)
        _check_replaceable(course.build_track(one.name), one.name)
    _put_in_place(course, built)
    return changed


def build(course: Course, names: list[str]) -> list[Built]:
    """The lessons, built in a scratch course. Raises CourseError where a source breaks a rule."""
    sources = {name: add_setup(course, name, read_lesson(course.source(name))) for name in names}
    try:
        with tempfile.TemporaryDirectory(prefix="release-") as folder:
            released = _generate(Path(folder), sources)
    except OSError as error:
        raise CourseError(f"Cannot build in {tempfile.gettempdir()}: {error.strerror}.") from None
    for name, notebook in sources.items():
        if shown := leaks(notebook, released[name]):
            raise CourseError(f"{name}: the release would show {shown[0]!r}; nothing was written.")
    return [_built(course, name, nb, released[name]) for name, nb in sources.items()]


def _built(course: Course, name: str, source: NotebookNode, released: NotebookNode) -> Built:
    wanted = tasks(course.source(name))
    track = _seal(build_track(released, wanted)) if wanted else ""
    return Built(name, nbformat.writes(source) + "\n", _seal(released), track)


def leaks(source: NotebookNode, released: NotebookNode) -> list[str]:
    """Lines of the released notebook that show a solution of the instructor's: none, in a good release."""
    solutions = list(_solutions(source))
    found = []
    for cell in released.cells:
        lines = cell.source.split("\n")
        places = {gives_away(solution, lines) for solution in solutions} - {None}
        found += [lines[index] for index in places] + [line for line in lines if line.strip() in (BEGIN, END)]
    return found


def is_release(path: Path, name: str) -> bool:
    """Whether a file is a release of the lesson as it was written: neither edited nor run."""
    try:
        notebook = json.loads(path.read_bytes())
        marks = notebook["metadata"]["genmap"]
        return bool(marks["lesson"] == name and marks["release"] == _digest(notebook))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _generate(folder: Path, sources: dict[str, NotebookNode]) -> dict[str, NotebookNode]:
    """nbgrader's own release of the notebooks, in a course of their own without a gradebook."""
    for name, notebook in sources.items():
        (folder / "source" / name).mkdir(parents=True)
        nbformat.write(notebook, folder / "source" / name / f"{name}.ipynb")
    config = Config()
    config.CourseDirectory.root = str(folder)
    config.CourseDirectory.assignment_id = "*"
    config.ClearSolutions.code_stub = {"python": STUB}
    config.ClearSolutions.text_stub = ANSWER_STUB
    log = logging.Logger("release", logging.ERROR)  # of our own: nbgrader's messages are not for the terminal
    log.addHandler(messages := _Messages())
    nbgrader = GenerateAssignment(coursedir=CourseDirectory(config=config, log=log), config=config, log=log)
    nbgrader.no_database = True  # the lessons enter the course's gradebook later, once all of them are built
    nbgrader.preprocessors = [step for step in nbgrader.preprocessors if step is not SaveCells]
    try:
        nbgrader.start()
    except Exception as error:
        raise CourseError(f"nbgrader cannot release: {' '.join(messages.lines) or error}") from None
    return {name: nbformat.read(folder / "release" / name / f"{name}.ipynb", 4) for name in sources}


class _Messages(logging.Handler):
    """Keeps the last line of each message: of a traceback, the error."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.lines += record.getMessage().strip().split("\n")[-1:]


def _solutions(source: NotebookNode) -> Iterator[list[str]]:
    for cell in source.cells:
        lines = cell.source.split("\n")
        begins = [index for index, line in enumerate(lines) if line.strip() == BEGIN]
        ends = [index for index, line in enumerate(lines) if line.strip() == END]
        yield from (lines[begin + 1 : end] for begin, end in zip(begins, ends, strict=True))


def _seal(notebook: NotebookNode) -> str:
    """The notebook's file, with its digest."""
    plain = json.loads(nbformat.writes(notebook))
    plain["metadata"]["genmap"]["release"] = _digest(plain)
    return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _digest(notebook: dict[str, Any]) -> str:
    """The digest of all of a notebook but the digest; how its JSON is laid out does not count."""
    metadata = notebook["metadata"]
    genmap = {key: value for key, value in metadata["genmap"].items() if key != "release"}
    bare = {**notebook, "metadata": {**metadata, "genmap": genmap}}
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None


def _complain(course: Course, changed: list[str], without: list[str]) -> None:
    """Raise CourseError where a lesson differs from its source, or has none."""
    found = [f"{name} is {'stale' if course.lesson(name).exists() else 'missing'}" for name in changed]
    known = {course.lesson(name) for name in course.names()}
    surplus = sorted(path for path in course.root.glob("lessons/*/*.ipynb") if path not in known)
    surplus += [path for name in without if (path := course.build_track(name)).exists()]
    found += [f"{path.relative_to(course.root)} has no source" for path in surplus]
    if found:
        mend = "run `autograde release`" + (", and move away what has no source" if surplus else "")
        raise CourseError(f"Lessons differ from their sources: {', '.join(found)}; {mend}.")


def _check_replaceable(path: Path, name: str) -> None:
    if os.path.lexists(path) and not is_release(path, name):
        reason = f"{path} stays: it was edited or run, or is no release of this lesson"
        raise CourseError(f"{reason}. Move it away (learners work in work/), then release again.")


def _put_in_place(course: Course, built: list[Built]) -> None:
    """Write drafts of all files, register the lessons, and only then put the drafts in place."""
    released = {one.name: nbformat.reads(one.released, 4) for one in built}
    try:
        course.grading.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_write.write_all(dict(_new_files(course, built)), lambda: register(course, released))
    except OSError as error:
        reason = f"Cannot write {error.filename}: {error.strerror}"
        raise CourseError(f"{reason}. Mend that and run it again.") from None


def _new_files(course: Course, built: list[Built]) -> Iterator[tuple[Path, str]]:
    for one in built:
        for place in (course.instructors, course.released, course.lesson):
            text = one.source if place == course.instructors else one.released
            if _text(place(one.name)) != text:
                yield place(one.name), text
        if one.track and _text(course.build_track(one.name)) != one.track:
            yield course.build_track(one.name), one.track
