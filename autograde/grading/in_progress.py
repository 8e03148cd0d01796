"""What is there while something is graded, and what a kill would leave: marks, temporary files."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from filelock import FileLock, Timeout

from autograde.course import Course

SIGNALLED = 128  # and the number of the signal: the status of what a signal ended
COPIES = "snapshots"  # the folder, in .grading, of copies of submissions that are being graded


def begin(folder: Path, name: str) -> None:
    """Mark a submission's autograded folder as being graded by this process."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.unfinished").write_text(str(os.getpid()))


def end(folder: Path, name: str) -> None:
    """Take the mark away: the verdict is written."""
    (folder / f"{name}.unfinished").unlink(missing_ok=True)


def lock(course: Course, lesson: str) -> FileLock:
    """What a process holds while it grades a lesson."""
    return FileLock(course.grading / f"{lesson}.lock")


def sweep(course: Course, held: str = "") -> list[Path]:
    """Remove what killed graders left, so that it is graded again; returns the folders.

    `held` is the lesson whose lock this process holds. Of others that are being graded nothing is touched.
    """
    left = []
    for name in {folder.name for folder in course.grading.glob("autograded/*/*")}:
        with contextlib.suppress(Timeout), _locked(course, name, held):
            for folder in filter(_is_left, course.grading.glob(f"autograded/*/{name}")):
                shutil.rmtree(folder, ignore_errors=True)
                left.append(folder)
    for copy in course.grading.glob(f"{COPIES}/*-*"):
        if not alive(copy.name.split("-")[0]):
            shutil.rmtree(copy, ignore_errors=True)
    return left


def _locked(course: Course, lesson: str, held: str) -> contextlib.AbstractContextManager[object]:
    return contextlib.nullcontext() if lesson == held else lock(course, lesson).acquire(timeout=0)


def _is_left(folder: Path) -> bool:
    return not any(folder.glob("*.verdict.json")) and not any(map(_at_work, folder.glob("*.unfinished")))


def _at_work(mark: Path) -> bool:
    try:
        return alive(mark.read_text())
    except OSError:
        return False


def alive(process: str) -> bool:
    """Whether the process of this number is there."""
    try:
        os.kill(int(process), 0)
    except (OSError, ValueError):
        return False
    return True


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for all temporary files of this process and its forks; those of killed ones go."""
    sweep_temporary()
    own = temporary(os.getpid())
    before, tempfile.tempdir = tempfile.tempdir, str(own)
    try:
        yield own
    finally:
        tempfile.tempdir = before
        shutil.rmtree(own, ignore_errors=True)


def temporary(process: int) -> Path:
    """A folder for files that go with that process, for its owner only. Raises OSError."""
    return Path(tempfile.mkdtemp(prefix=f"autograde-{process}-"))


def sweep_temporary() -> None:
    """Remove such folders of processes that are no more."""
    for left in Path(tempfile.gettempdir()).glob("autograde-*-*"):
        if not alive(left.name.split("-")[1]):
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def orderly_end() -> Iterator[None]:
    """Within it, a signal to end is like Ctrl-C: forks are ended, and temporary folders go."""

    def end(number: int, frame: object) -> NoReturn:
        raise SystemExit(SIGNALLED + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
