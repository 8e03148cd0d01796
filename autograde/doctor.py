"""What a machine has for this course: Python, packages, device, kernel, folders, isolation."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autograde.course import HIDDEN, Course
from autograde.errors import CourseError

PACKAGES = ("torch", "numpy", "matplotlib", "nbgrader", "jupyterlab", "ipywidgets", "pytest", "ipykernel")
OLDEST = (3, 11)
ENOUGH_MEMORY_BYTES = 4 << 30  # a kernel and a judge with torch
ENOUGH_DISK_BYTES = 2 << 30  # notebooks and feedback


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    here: str
    good: bool = True
    advice: str = ""


def examine() -> list[Finding]:
    """Look at this machine; starts nothing and writes only a temporary file."""
    return [*_python(), *_machine(), *_course(), *_isolation()]


def _python() -> Iterator[Finding]:
    good = sys.version_info >= OLDEST
    yield Finding("Python", platform.python_version(), good, "" if good else "install Python 3.11 or newer")
    for name in PACKAGES:
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "missing", False, "run `make setup`")


def _machine() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is not None:
        import genmap

        yield Finding("device", f"{genmap.device()}, setting {genmap.setting()}")
    yield Finding("processor cores", str(os.cpu_count()))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    enough = memory >= ENOUGH_MEMORY_BYTES
    advice = "" if enough else "grade on a machine with 4 GB or more"
    yield Finding("memory", f"{memory / 2**30:.1f} GB", enough, advice)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    room = free >= ENOUGH_DISK_BYTES
    yield Finding(
        "free disk for temporary files", f"{free / 2**30:.1f} GB", room, "" if room else "make room"
    )


def _course() -> Iterator[Finding]:
    try:
        course = Course.find()
        names = course.names()
    except CourseError as error:
        yield Finding("course", "none here", False, str(error))
        return
    yield Finding("course", f"{course.root}, {len(names)} lesson(s)")
    writable = os.access(course.root, os.W_OK)
    yield Finding(
        "course folder", "writable" if writable else "read-only", writable, "" if writable else _OWN
    )
    tests = len(list(HIDDEN.glob("test_*.py")))
    yield Finding(
        "hidden tests", f"for {tests} lesson(s)", tests > 0, "" if tests else "install genmap-autograde"
    )
    released = [name for name in names if course.released(name).exists()]
    advice = "" if released else "before grading: autograde release"
    yield Finding("released for grading", ", ".join(released) or "nothing yet", advice=advice)


def _isolation() -> Iterator[Finding]:
    from autograde.sandbox import cgroups
    from autograde.sandbox.bubblewrap import find_bwrap
    from autograde.sandbox.kernel_process import sandbox_problem

    reason = sandbox_problem()
    here = f"bubblewrap, {find_bwrap()}" if reason is None else "none: submissions of others are not graded"
    yield Finding("isolation of submissions", here, reason is None, reason or "")
    found = cgroups.mounted()
    held = (
        f"control groups, version {found.version}: memory, processes, processor" if found else "a watch alone"
    )
    yield Finding("limits of submissions", held, advice=cgroups.advice())


_OWN = f"make it writable for user {os.environ.get('USER', Path.home().name)}"
