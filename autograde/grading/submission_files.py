"""What is read of a submission's folder: plain files of bounded size, by descriptors, and no link anywhere.

A student may change the folder while it is read. So it is copied once, and all that follows uses the copy.
"""

import contextlib
import fnmatch
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from nbgrader.converters import Autograde
from nbgrader.converters.base import BaseConverter, NbGraderException

from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading.in_progress import COPIES, begin
from autograde.grading.student_names import PLAIN, plain_name, printable
from autograde.pages.attachments import MAX_PICTURE_BYTES, is_picture

MAX_ENTRIES = 2000  # files, folders and all else
MAX_DEPTH = 100  # folders in folders
MAX_BYTES = 200 << 20  # of a submission's folder
MAX_NOTEBOOK_BYTES = 12 << 20  # as an object in Python it is many times as large
MAX_CELLS = 2000
CHUNK_BYTES = 1 << 20
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
TOO_MUCH = f"holds more than {MAX_ENTRIES} files and folders or {MAX_BYTES >> 20} MB: not graded"
NOTEBOOK = f"is a link or larger than {MAX_NOTEBOOK_BYTES >> 20} MB: clear its outputs and hand it in again"
LINK = "is a link or no folder: not graded"
ENDING = re.compile(r"\.(png|jpe?g|gif)$", re.I)  # of a picture; a server or a browser goes by it
STOCK_CONVERT_NOTEBOOKS = BaseConverter.convert_notebooks
STOCK_INIT_ASSIGNMENT = Autograde.init_assignment


def digest(folder: Path, copy_to: Path | None = None) -> str:
    """A digest of all plain files of a submission, which are copied on the way where that is asked for.

    `folder` is .../STUDENT/LESSON, and neither may be a link. Raises CourseError, OSError.
    """
    found, left = [], [MAX_BYTES]
    for name, file in walk(folder):
        notebook = name.endswith(".ipynb") and "/" not in name
        if notebook and (file is None or os.fstat(file.fileno()).st_size > MAX_NOTEBOOK_BYTES):
            raise CourseError(f"{folder}/{printable(name)} {NOTEBOOK}.")
        if file is None:
            continue
        with _target(copy_to, name) as copy:
            own = _copied(file, copy, left)
        if left[0] < 0:
            raise CourseError(f"{folder} {TOO_MUCH}.")
        found.append(f"{name}\0{own}\0".encode(errors="surrogatepass"))
    return hashlib.sha256(b"".join(sorted(found))).hexdigest()


def _target(copy_to: Path | None, name: str) -> IO[bytes]:
    path = copy_to / name if copy_to else Path(os.devnull)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb")


def _copied(file: IO[bytes], copy: IO[bytes], left: list[int]) -> str:
    """Copy it; returns the digest. It ends early once `left`, the bytes that there may be, is below zero."""
    own = hashlib.sha256()
    while left[0] >= 0 and (chunk := file.read(CHUNK_BYTES)):
        left[0] -= len(chunk)
        own.update(chunk)
        copy.write(chunk)
    return own.hexdigest()


def walk(folder: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Each entry but folders, with its name below the folder: a plain file, open until the next, or None.

    Raises CourseError at the first of too many entries of any kind, OSError.
    """
    count, waiting = 0, [("", _open(folder.parent.parent, folder.parent.name, folder.name))]
    try:
        while waiting:
            prefix, descriptor = waiting.pop()
            with _closing(descriptor), os.scandir(descriptor) as entries:
                for entry in entries:
                    count += 1
                    if count > MAX_ENTRIES or prefix.count("/") > MAX_DEPTH:
                        raise CourseError(f"{folder} {TOO_MUCH}.")
                    if entry.is_dir(follow_symlinks=False):
                        inner = os.open(entry.name, FOLDER, dir_fd=descriptor)
                        waiting.append((f"{prefix}{entry.name}/", inner))
                    else:
                        with _plain(descriptor, entry) as file:
                            yield prefix + entry.name, file
    finally:
        for _, descriptor in waiting:
            os.close(descriptor)


def _open(top: Path, *parts: str) -> int:
    """The folder below `top`, which may be a link itself, as nothing below it may. Raises CourseError."""
    descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts:
        with _closing(descriptor):
            try:
                descriptor = os.open(part, FOLDER, dir_fd=descriptor)
            except NotADirectoryError:
                raise CourseError(f"{printable(str(top), 1000)}: {printable(part)} in it {LINK}.") from None
    return descriptor


@contextlib.contextmanager
def _plain(folder: int, entry: os.DirEntry[str]) -> Iterator[IO[bytes] | None]:
    """The file of an entry, open; None where it is none, or one no more."""
    if not entry.is_file(follow_symlinks=False):
        yield None
        return
    with open(os.open(entry.name, FILE, dir_fd=folder), "rb") as file:
        yield file if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


def plain_files(path: str, exclude: list[str] | None = None) -> list[str]:
    """nbgrader's find_all_files, without what is no plain file. Raises CourseError."""
    names = [name for name, file in walk(Path(path).absolute()) if file is not None]
    kept = [name for name in names if not _ignored(name, exclude or [])]
    return [os.path.join(path, name) for name in kept]


def _ignored(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(part, pattern) for part in name.split("/") for pattern in patterns)


@contextlib.contextmanager
def taken(course: Course, student: str, lesson: str) -> Iterator[tuple[Path, str]]:
    """A copy of a submission for a `with` statement, and its digest; the copy's folder is .../STUDENT/LESSON.

    Raises CourseError, OSError.
    """
    place = course.grading / COPIES
    place.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=place, ignore_cleanup_errors=True) as top:
        copy = Path(top) / student / lesson
        copy.mkdir(parents=True)
        yield copy, digest(course.grading / "submitted" / student / lesson, copy)


@contextlib.contextmanager
def handed_over(coursedir: Any, copy: Path) -> Iterator[None]:
    """Within it, nbgrader takes submissions from the copy."""
    before, top = coursedir.submitted_directory, copy.parent.parent
    coursedir.submitted_directory = os.path.relpath(top, coursedir.root)
    try:
        yield
    finally:
        coursedir.submitted_directory = before


def convert_plain_names(converter: Any) -> None:
    """nbgrader's BaseConverter.convert_notebooks, without folders of students whose names are not plain.

    The others are converted first, and what is graded is a copy; then NbGraderException says which were not.
    """
    refused: dict[str, str] = {}
    wanted: dict[str, list[str]] = {}
    for path, names in converter.assignments.items():
        student, lesson = Path(path).parts[-2:]
        wanted[path] = [name for name in names if Path(name).name == f"{lesson}.ipynb"]  # no other is known
        if not plain_name(student):
            refused[path] = f"Rename: {PLAIN}"
        elif not wanted[path]:
            refused[path] = f"there is no {lesson}.ipynb"
    wanted = {path: names for path, names in wanted.items() if path not in refused}
    if isinstance(converter, Autograde) and COPIES not in Path(converter.coursedir.submitted_directory).parts:
        refused |= _convert_copies(converter, wanted)
    else:
        converter.assignments = wanted
        STOCK_CONVERT_NOTEBOOKS(converter)
    if refused:
        said = "; ".join(f"{Path(path).parts[-2]!r} ({why})" for path, why in refused.items())
        converter.log.error("Not converted: %s.", said)
        raise NbGraderException(f"Not converted: {said}.")


def _convert_copies(converter: Autograde, wanted: dict[str, list[str]]) -> dict[str, str]:
    """Have copies of these submissions graded; returns why some were not, by their folders."""
    course, failed = Course.at(Path(converter.coursedir.root)), dict[str, str]()
    for path, notebooks in wanted.items():
        student, lesson = Path(path).parts[-2:]
        try:
            with taken(course, student, lesson) as (copy, _), handed_over(converter.coursedir, copy):
                converter.assignments = {str(copy): [str(copy / Path(name).name) for name in notebooks]}
                STOCK_CONVERT_NOTEBOOKS(converter)
        except (CourseError, OSError) as error:
            failed[path] = str(error)
        except NbGraderException:
            failed[path] = "the log says why"
    return failed


def begin_assignment(converter: Any, assignment_id: str, student_id: str) -> None:
    """Autograde.init_assignment, which copies files into a folder; first that is marked as being graded."""
    begin(Path(converter._format_dest(assignment_id, student_id)), assignment_id)
    STOCK_INIT_ASSIGNMENT(converter, assignment_id, student_id)


def copy_pictures(converter: Any, assignment_id: str, student_id: str) -> None:
    """GenerateFeedback.init_assignment, which hands back every file: here pictures, and nothing that acts."""
    target = Path(converter._format_dest(assignment_id, student_id))
    for name, file in walk(Path(converter._format_source(assignment_id, student_id)).absolute()):
        content = file.read(MAX_PICTURE_BYTES + 1) if file is not None and ENDING.search(name) else b""
        if is_picture(content):
            with _target(target, name) as copy:
                copy.write(content)
