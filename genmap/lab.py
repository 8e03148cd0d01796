"""Copies lessons to work/ and opens JupyterLab: `python -m genmap.lab`, in the course's folder."""

from __future__ import annotations

import os
import shutil
import sys
import webbrowser
from pathlib import Path
from urllib.parse import quote


class LabError(Exception):
    """What keeps the lab from opening: one line that says what to do."""


def copy_lessons(course: Path) -> list[str]:
    """Copy each file of `course`/lessons that `course`/work lacks; return the names of the lessons concerned.

    A learner's file is never overwritten, and a copy is there whole or not at all.
    Raises LabError if there are no lessons or work/ cannot be written.
    """
    lessons, work = course / "lessons", course / "work"
    if not any(lessons.glob("*/*.ipynb")):
        raise LabError(f"There are no lessons in {lessons}: run this in the course's own folder.")
    files = sorted(path.relative_to(lessons) for path in lessons.rglob("*") if path.is_file())
    visible = [file for file in files if not any(part.startswith(".") for part in file.parts)]
    try:
        copied = [file.parts[0] for file in visible if _copy(lessons / file, work / file)]
    except OSError as error:
        raise LabError(
            f"Cannot write {error.filename or work} ({error.strerror}): make the course's folder writable."
        ) from None
    return sorted(set(copied))


def _copy(source: Path, target: Path) -> bool:
    if os.path.lexists(target):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    os.replace(part, target)
    return True


def has_browser() -> bool:
    """Whether a window can open here. A browser that draws in the terminal is not enough for JupyterLab."""
    if sys.platform not in ("darwin", "win32") and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def arguments(course: Path) -> list[str]:
    """JupyterLab's arguments: work/ as its root, the first lesson open, only the URL where no browser is."""
    lessons = course / "lessons"
    first = min(lessons.glob("*/*.ipynb")).relative_to(lessons).as_posix()
    given = [
        f"--ServerApp.root_dir={course / 'work'}",
        f"--LabApp.default_url=/lab/tree/{quote(first)}",
        "--log-level=WARN",  # of the two dozen lines at the start, only the URL matters
    ]
    if not has_browser():
        given.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        given.append("--allow-root")  # usual in a container; the server asks for its token all the same
    return given


def main() -> int:
    """Copy what is missing, say what was copied, and run JupyterLab until it is stopped."""
    course = Path.cwd()
    try:
        copied = copy_lessons(course)
        try:
            from jupyterlab.labapp import main as jupyterlab
        except ImportError:
            raise LabError("JupyterLab is not installed: pip install jupyterlab") from None
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    said = f"Copied to work/: {', '.join(copied)}." if copied else "Every lesson is in work/ already."
    print(f"{said} JupyterLab starts; Control-C stops it.", flush=True)
    # nbgrader's panels read the course's settings from the current folder; learners need none of them.
    os.chdir(course / "work")
    jupyterlab(argv=arguments(course))
    return 0


if __name__ == "__main__":
    sys.exit(main())
