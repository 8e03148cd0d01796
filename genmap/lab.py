"""Copies lessons to work/ and opens JupyterLab: `python -m genmap.lab`, in the course's folder.

`python -m genmap.lab build` copies the build track of the lessons that have one, in which the learner writes
what the chapter builds.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import webbrowser
from pathlib import Path
from urllib.parse import quote

BUILD = "build"  # the other track, and its folder in a lesson's

# nbgrader, installed beside the lessons, brings teachers' panels, and a Validate button that stops the server
# while it runs; JupyterLab asks whether to show its news. A learner needs neither.
CALM = {
    "labconfig/page_config.json": {
        "disabledExtensions": {
            "@jupyter/nbgrader": True,
            "@jupyterlab/apputils-extension:announcements": True,
        }
    },
    "jupyter_server_config.json": {
        "ServerApp": {
            "jpserver_extensions": {
                f"nbgrader.server_extensions.{name}": False
                for name in ("assignment_list", "course_list", "formgrader", "validate_assignment")
            }
        }
    },
}


class LabError(Exception):
    """What keeps the lab from opening: one line that says what to do."""


def copy_lessons(course: Path, track: str = "") -> list[str]:
    """Copy each file of `course`/lessons that `course`/work lacks; return the names of the lessons concerned.

    A learner's file is never overwritten, and a copy is there whole or not at all.

    course: the course's own folder.
    track: "build" to copy that of a lesson, where it has one, in its place; else "".

    Raises LabError if there are no lessons, no such track, or work/ cannot be written.
    """
    lessons, work = course / "lessons", course / "work"
    if not any(lessons.glob("*/*.ipynb")):
        raise LabError(f"There are no lessons in {lessons}: run this in the course's own folder.")
    if track not in ("", BUILD):
        raise LabError(f"There is no track {track!r}: name {BUILD!r}, or none.")
    files = sorted(path.relative_to(lessons) for path in lessons.rglob("*") if path.is_file())
    visible = [file for file in files if not any(part.startswith(".") for part in file.parts)]
    sources = {file: lessons / file for file in visible if BUILD not in file.parts[1:-1]}
    if track:
        tracks = (file for file in visible if file.parts[1:-1] == (BUILD,))
        sources |= {Path(file.parts[0], file.name): lessons / file for file in tracks}
    try:
        copied = [file.parts[0] for file, source in sources.items() if _copy(source, work / file)]
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
    """JupyterLab's arguments: work/ as its root, the first lesson open, only the URL where no browser is.

    course: the course's own folder, with at least one lesson.
    """
    lessons = course / "lessons"
    first = min(lessons.glob("*/*.ipynb")).relative_to(lessons).as_posix()
    given = [
        f"--ServerApp.root_dir={course / 'work'}",
        f"--LabApp.default_url=/lab/tree/{quote(first)}",
        "--log-level=WARN",  # of the two dozen lines at the start, only the URL matters
        "--LabApp.log_level=WARN",
    ]
    if not has_browser():
        given.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        given.append("--allow-root")  # usual in a container; the server asks for its token all the same
    return given


def calm(folder: Path) -> None:
    """Write the settings in `CALM` to `folder`, and let Jupyter read them before the learner's own.

    folder: one that is there; it must stay as long as JupyterLab runs.
    """
    for name, content in CALM.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    before = os.environ.get("JUPYTER_CONFIG_PATH")
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join([str(folder), before] if before else [str(folder)])


def main(track: str = "") -> int:
    """Copy what is missing, say what was copied, and run JupyterLab until it is stopped.

    track: as `copy_lessons` has it.
    """
    course = Path.cwd()
    try:
        copied = copy_lessons(course, track)
        try:
            from jupyterlab.labapp import main as jupyterlab
        except ImportError:
            raise LabError("JupyterLab is not installed: pip install jupyterlab") from None
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    said = f"Copied to work/: {', '.join(copied)}." if copied else "Every lesson is in work/ already."
    if track:
        said += " To begin a lesson's build track, move your copy of it away first."
    print(f"{said} JupyterLab starts; Control-C stops it.", flush=True)
    os.chdir(course / "work")
    with tempfile.TemporaryDirectory(prefix="genmap-lab-") as folder:  # it is read whenever a page opens
        calm(Path(folder))
        jupyterlab(argv=arguments(course))
    return 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
