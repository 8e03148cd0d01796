"""Submissions a minute and core, and memory: `autograde grade`, stock nbgrader and Otter, on the same class.

Half of the class hands in the reference, half the blank lesson. Stock knows no hidden tests, no sandbox: it
runs every cell, and the public asserts decide. It gets the class as it is and once without the demo cells,
those that grading leaves out (training, figures, widgets); it may stall on a widget until the time limit of a
cell, by default 30 s, for nbclient can lose a reply there. Otter-Grader gets the class without demo cells
only: one `otter run` a submission, as that command works, the public tests in its autograder zip, neither
hidden tests nor a sandbox; its kernel is the Python that runs this file. Ours runs sandboxed, with hidden
tests and feedback, with one worker and with two. Memory is looked at every four seconds, Otter's every
second. The last line compares stock on the class as it is with one worker of ours, for the last lesson.
Usage: python benchmarks/grading.py [--lesson 01_map --lesson 10_vae] [--submissions 40] [--otter PATH]
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from nbformat import NotebookNode
from rich.console import Console
from rich.table import Table

from autograde.course import Course
from autograde.demo import submissions
from autograde.gradebook import open_gradebook
from autograde.grading import scored_cells
from autograde.rebuild import is_demo
from autograde.release import release

ROOT = Path(__file__).parents[1]
STOCK = """c = get_config()
c.CourseDirectory.db_url = "sqlite:///{root}/.grading/gradebook.db"
c.CourseDirectory.source_directory = ".grading/source"
c.CourseDirectory.release_directory = ".grading/released"
c.CourseDirectory.submitted_directory = ".grading/submitted"
c.CourseDirectory.autograded_directory = ".grading/autograded"
"""
OTTER_TEST = """from otter.test_files import test_case

OK_FORMAT = False
name, points = {name!r}, {points!r}


@test_case()
def public(env):
    exec({source!r}, env)
"""
# Otter's kernel: this Python and its packages and, behind them on the path, those of Otter's environment.
# One is hidden, which JupyterLab brings along: by it, importing Otter would take three times as long.
OTTER_KERNEL = """import sys

sys.path.append({packages!r})
sys.modules["rfc3987_syntax"] = None
from ipykernel.kernelapp import launch_new_instance

launch_new_instance()
"""
NO_OTTER = (
    "Otter-Grader is left out. To have it: `pip install otter-grader` in an environment of its own, with the"
    " same version of Python, and `--otter PATH` with the path of its executable."
)
OURS = (sys.executable, "-m", "autograde", "grade")
THEIRS = (sys.executable, "-m", "nbgrader", "autograde")
LESSONS = ("01_map", "10_vae")
LOOK, SELDOM = 1.0, 4.0  # seconds between two looks at the memory: one takes a tenth of a second of a core


class FailedError(Exception):
    """A contender did not grade the class; the message says why."""


@dataclass(frozen=True)
class Contender:
    """Who grades: a command, its workers, and whether it gets all cells or none of the demo cells."""

    name: str
    command: tuple[str, ...]
    workers: int = 1
    demo: bool = True

    @property
    def stock(self) -> bool:
        """Whether it is nbgrader alone."""
        return self.command == THEIRS

    @property
    def otter(self) -> bool:
        """Whether it is Otter."""
        return self.command[1:] == ("run",)


AS_IS = Contender("stock nbgrader", THEIRS)
BARE = Contender("stock, no demo cells", THEIRS, demo=False)
ONE = Contender("ours, 1 worker", OURS)
TWO = Contender("ours, 2 workers", OURS, workers=2)


def make_class(root: Path, lesson: str, size: int, contender: Contender) -> Course:
    """A course with a release and `size` submissions, reference and blank in turn."""
    root.mkdir()
    shutil.copytree(ROOT / "solutions" / lesson, root / "solutions" / lesson)
    (root / "nbgrader_config.py").write_text((ROOT / "nbgrader_config.py").read_text())
    course = Course.at(root)
    release(course, [lesson])
    if contender.otter:
        equip_otter(course, lesson, contender.command[0])
    notebooks = submissions(course, lesson)
    for number in range(size):
        kind = ("reference", "blank")[number % 2]
        folder = course.grading / "submitted" / f"{kind}-{number}" / lesson
        folder.mkdir(parents=True)
        nbformat.write(handed_in(notebooks[kind], contender), folder / f"{lesson}.ipynb")
    if contender.stock:
        (root / "nbgrader_config.py").write_text(STOCK.format(root=root))
    return course


def handed_in(notebook: NotebookNode, contender: Contender) -> NotebookNode:
    """The notebook as the contender gets it."""
    cells = [cell for cell in notebook.cells if contender.demo or not is_demo(cell)]
    made: NotebookNode = nbformat.from_dict({**notebook, "cells": cells})
    if contender.otter:
        for name, cell in scored_cells(made).items():
            # the mark that Otter Assign leaves where a test belongs; with its source the test would run twice
            cell.source, cell.metadata = "", NotebookNode(otter={"tests": [name]})
    return made


def equip_otter(course: Course, lesson: str, otter: str) -> None:
    """What Otter needs to grade the lesson: the zip with its public tests, and a kernel that finds torch."""
    with zipfile.ZipFile(course.root / "autograder.zip", "w") as made:
        made.writestr("otter_config.json", json.dumps({"lang": "python"}))
        for name, cell in scored_cells(nbformat.read(course.released(lesson), 4)).items():
            points = cell.metadata.nbgrader.points
            test = OTTER_TEST.format(name=name, points=points, source=cell.source)
            made.writestr(f"tests/{name}.py", test)
    python = Path(otter).resolve().with_name("python")  # a link may lead to the executable
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    start = [sys.executable, "-c", OTTER_KERNEL.format(packages=packages), "-f", "{connection_file}"]
    folder = course.root / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    kernel = {"argv": start, "display_name": "Python and Otter", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(kernel))


def commands(course: Course, lesson: str, contender: Contender) -> list[list[str]]:
    """What is to run: one command for the class or, with Otter, which knows no class, one a submission."""
    if not contender.otter:
        jobs = () if contender.stock else ("--jobs", str(contender.workers))
        return [[*contender.command, lesson, *jobs]]
    notebooks = sorted((course.grading / "submitted").glob(f"*/{lesson}/*.ipynb"))
    zipped = str(course.root / "autograder.zip")
    return [[*contender.command, "-a", zipped, "-o", str(path.parent), str(path)] for path in notebooks]


def grade(course: Course, lesson: str, contender: Contender) -> tuple[float, float]:
    """Seconds, and peak memory in MB: what all processes hold, shared pages counted once (PSS).

    Raises FailedError.
    """
    environment = {**os.environ, "GENMAP_SETTING": "smoke", "OMP_NUM_THREADS": "1"}
    if contender.otter:
        environment["JUPYTER_PATH"] = str(course.root / "jupyter")
    start = time.perf_counter()
    every = LOOK if contender.otter else SELDOM  # its runs are short; two workers would feel the looks
    peak = max(
        run(command, course.root, environment, every) for command in commands(course, lesson, contender)
    )
    return time.perf_counter() - start, peak / 2**20


def run(command: list[str], folder: Path, environment: dict[str, str], every: float) -> int:
    """Runs a command to its end; the peak of its memory in bytes, looked at every so many seconds.

    Raises FailedError.
    """
    peak, quiet, log = 0, subprocess.DEVNULL, folder / "stderr.txt"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdin=quiet, stdout=quiet, stderr=errors
        ) as process,
    ):
        while process.poll() is None:
            peak = max(peak, held(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(every)
    if process.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise FailedError(*last or [f"exit status {process.returncode}"])
    return peak


def held(pid: int) -> int:
    """Bytes of PSS of a process and all below it."""
    total = 0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total


def scores(course: Course, lesson: str, contender: Contender) -> str:
    """The scores given to references and to blanks. Raises FailedError where Otter ran no tests."""
    if contender.otter:
        found = (course.grading / "submitted").glob(f"*/{lesson}/results.json")
        rows = [(path.parents[1].name, otter_score(path)) for path in found]
    else:
        with open_gradebook(course) as gradebook:
            rows = [(row.student_id, row.score) for row in gradebook.assignment_submissions(lesson)]
    kinds = ("reference", "blank")
    return " / ".join(",".join(sorted({f"{s:g}" for n, s in rows if n.startswith(kind)})) for kind in kinds)


def otter_score(path: Path) -> float:
    """The points in a file of Otter's results; it has none where the kernel could not run the tests."""
    points = [test["score"] for test in json.loads(path.read_text())["tests"] if "score" in test]
    if not points:
        raise FailedError("no tests were run: has Otter's environment another version of Python?")
    return float(sum(points))


def measure(contender: Contender, lesson: str, size: int, table: Table) -> float | None:
    """Grade a class: a row for the table, and the seconds. None where that failed; the row says so."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            course = make_class(Path(folder, "course"), lesson, size, contender)
            seconds, memory = grade(course, lesson, contender)
            points = scores(course, lesson, contender)
    except (FailedError, OSError, subprocess.SubprocessError) as error:
        print(f"{lesson}, {contender.name}: failed: {error}", file=sys.stderr)
        table.add_row(contender.name, "failed", "", "", "")
        return None
    print(f"{lesson}, {contender.name}: {seconds:.0f} s", file=sys.stderr)
    rate = 60 * size / seconds / contender.workers
    table.add_row(
        contender.name, f"{seconds:.0f}", f"{rate:.1f}", f"{memory / contender.workers:.0f}", points
    )
    return seconds


def compare(taken: dict[Contender, float]) -> None:
    """Print how ours does against the others, as far as they could be measured; each of them has one core."""
    if ONE in taken and TWO in taken:
        print(f"two workers: {taken[ONE] / taken[TWO]:.2f} times one")
    for rival, seconds in taken.items():
        if ONE in taken and rival not in (ONE, TWO):
            print(f"ours against {rival.name}: {seconds / taken[ONE]:.2f} times the pace, per core")


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lesson", action="append", choices=Course.at(ROOT).names(), metavar="NN_NAME")
    parser.add_argument("--submissions", type=int, default=40)
    parser.add_argument("--otter", default="otter", metavar="PATH", help="Otter's executable")
    return parser.parse_args()


def main() -> None:
    """Measure, print a table a lesson and, last, the ratio of stock, as it is, to one worker of ours."""
    given = arguments()
    contenders = [AS_IS, BARE, ONE, TWO]
    if otter := shutil.which(given.otter):
        command = (os.path.abspath(otter), "run")  # it runs in another folder
        contenders.append(Contender("otter run, no demo cells", command, demo=False))
    else:
        print(NO_OTTER, file=sys.stderr)
    titles = ("grader", "seconds", "a minute and core", "peak MB a worker", "reference / blank")
    for lesson in given.lesson or LESSONS:
        table = Table(*titles, title=f"{lesson}, {given.submissions} submissions")
        measured = {each: measure(each, lesson, given.submissions, table) for each in contenders}
        taken = {each: seconds for each, seconds in measured.items() if seconds is not None}
        Console().print(table)
        compare(taken)
    if AS_IS in taken and ONE in taken:
        print(f"ratio: {taken[AS_IS] / taken[ONE]:.2f}")


if __name__ == "__main__":
    main()
