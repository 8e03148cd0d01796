"""Kills `autograde grade` at random moments, starts it again, and compares the class with an undisturbed one.

Every kill is a SIGKILL to the command, at a moment drawn from the time that an undisturbed run takes; what it
had started must be gone, and in the end there is one verdict for each submission, with the undisturbed score.
Usage: python benchmarks/kill_and_resume.py [--kills 30] [--lesson 01_map] [--seed 0]
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from rich.console import Console

from autograde.authoring.release import release
from autograde.course import Course
from autograde.demo import submissions
from autograde.grading.gradebook import open_gradebook
from autograde.grading.submission import course_secret

ROOT = Path(__file__).parents[1]
GONE = 20.0  # seconds within which all that a killed run started must have ended


def make_class(root: Path, lesson: str) -> Course:
    """A released lesson and the demo class's submissions."""
    root.mkdir()
    shutil.copy(ROOT / "nbgrader_config.py", root)
    shutil.copytree(ROOT / "solutions" / lesson, root / "solutions" / lesson)
    course = Course.at(root)
    release(course, [lesson])
    for student, notebook in submissions(course, lesson).items():
        folder = course.grading / "submitted" / student / lesson
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / f"{lesson}.ipynb")
    course_secret(course.grading)
    return course


def start(course: Course, lesson: str) -> subprocess.Popen[bytes]:
    """`autograde grade`, two at a time, as a process group of its own."""
    line = [sys.executable, "-m", "autograde", "grade", lesson, "--jobs", "2"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        line, cwd=course.root, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )


def outcome(course: Course, lesson: str) -> dict[str, tuple[float, ...]]:
    """Each student's scores in the gradebook, by cell."""
    with open_gradebook(course) as gradebook:
        return {
            row.student_id: tuple(
                g.auto_score for n in row.notebooks for g in sorted(n.grades, key=lambda g: g.name)
            )
            for row in gradebook.assignment_submissions(lesson)
        }


def half_written(course: Course, lesson: str) -> list[Path]:
    """Verdicts, notebooks and pages that cannot be read, and marks or drafts that were left."""
    bad = []
    for path in course.grading.glob(f"*/*/{lesson}/*"):
        try:
            if path.suffix == ".ipynb":
                nbformat.validate(nbformat.read(path, 4))
            elif path.suffix == ".html" and not path.read_text().rstrip().endswith("</html>"):
                bad.append(path)
        except Exception:
            bad.append(path)
        if path.suffix in (".unfinished", ".part"):
            bad.append(path)
    return bad


def processes(course: Course) -> list[int]:
    """Processes that work in the course's folder or were started there."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and Path(os.readlink(entry / "cwd")).is_relative_to(course.root):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def kill(course: Course, lesson: str, after: float) -> float:
    """Start grading, kill it after some seconds; returns the seconds until nothing of it was left."""
    run = start(course, lesson)
    time.sleep(after)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    killed = time.monotonic()
    while processes(course):
        if time.monotonic() - killed > GONE:
            raise SystemExit(f"processes outlive a killed run: {processes(course)}")
        time.sleep(0.1)
    return time.monotonic() - killed


def kill_at_random(course: Course, given: argparse.Namespace, whole: float) -> None:
    """Kill gradings of a class, which take `whole` seconds undisturbed, at random moments."""
    draw = random.Random(given.seed)
    for number in range(given.kills):
        after = draw.uniform(0, whole)
        if number % 3 == 0:  # else the last runs have nothing left to grade
            shutil.rmtree(course.grading / "autograded", ignore_errors=True)
        left = kill(course, given.lesson, after)
        done = len(list(course.grading.glob(f"autograded/*/{given.lesson}/*.graded.json")))
        Console().print(
            f"kill {number + 1}: after {after:.1f} s, {done} graded, all gone within {left:.1f} s"
        )


def main() -> int:
    """Kill, resume, compare; returns 0 where nothing differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--lesson", default="01_map")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    say = Console().print
    with tempfile.TemporaryDirectory() as folder:
        calm = make_class(Path(folder, "calm"), given.lesson)
        killed = Course.at(Path(shutil.copytree(calm.root, Path(folder, "killed"))))
        began = time.monotonic()
        if start(calm, given.lesson).wait():
            raise SystemExit("the undisturbed run did not grade all")
        whole = time.monotonic() - began
        say(f"undisturbed: {whole:.1f} s, {len(outcome(calm, given.lesson))} submissions")
        kill_at_random(killed, given, whole)
        if start(killed, given.lesson).wait():
            raise SystemExit("the last run did not grade all")
        wanted = outcome(calm, given.lesson)
        same = wanted == outcome(killed, given.lesson)
        verdicts = len(list(killed.grading.glob(f"autograded/*/{given.lesson}/*.verdict.json")))
        bad = half_written(killed, given.lesson)
    scores = "as undisturbed" if same else "DIFFER"
    say(f"scores {scores}, {verdicts} verdicts, half-written: {bad or 'nothing'}")
    return 0 if same and not bad and verdicts == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
