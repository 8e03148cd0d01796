"""Submissions a minute and core, and memory: `autograde grade`, stock nbgrader and Otter, on the same class.

Half of the class hands in the reference, half the blank lesson. Stock knows no hidden tests, no sandbox: it
runs every cell, and the public asserts decide. It gets the class as it is and once without the demo cells,
those that grading leaves out (training, figures, widgets); it may stall on a widget until the time limit of a
cell, by default 30 s, for nbclient can lose a reply there. Otter-Grader gets the class without demo cells
only: one `otter run` a submission, as that command works, the public tests in its autograder zip, neither
hidden tests nor a sandbox; its kernel is the Python that runs this file. Ours runs sandboxed, with hidden
tests and feedback, with one worker and with two. Each has as many cores as it has workers, or the pace would
not be one per core. The others grade the class once; ours three times, one worker and two in turn, and the
median counts: its runs are so short that a slow half minute of the machine would decide. Memory is looked at
every four seconds, Otter's every second. With Dask, scheduler and workers run before the time is taken, on
the grader's cores; what a lesson then costs grader and worker says where 64 workers saturate. The last line
compares stock on the class as it is with one worker of ours, for the last lesson.
Usage: python benchmarks/grading.py [--lesson 01_map --lesson 10_vae] [--submissions 40] [--otter PATH]
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import clusters
import nbformat
import otter_runs
from nbformat import NotebookNode
from rich.console import Console
from rich.table import Table
from watching import FailedError, watched

from autograde.authoring.release import release
from autograde.cells import is_demo, scored_cells
from autograde.course import Course
from autograde.demo import submissions
from autograde.grading.gradebook import open_gradebook

ROOT = Path(__file__).parents[1]
STOCK = """c = get_config()
c.CourseDirectory.db_url = "sqlite:///{root}/.grading/gradebook.db"
c.CourseDirectory.source_directory = ".grading/source"
c.CourseDirectory.release_directory = ".grading/released"
c.CourseDirectory.submitted_directory = ".grading/submitted"
c.CourseDirectory.autograded_directory = ".grading/autograded"
"""
OURS = (sys.executable, "-m", "autograde", "grade")
THEIRS = (sys.executable, "-m", "nbgrader", "autograde")
LESSONS = ("01_map", "10_vae")
TITLES = ("grader", "seconds", "a minute and core", "peak MB a worker", "reference / blank")
ROUNDS = 3  # of ours, one worker and two in turn
LOOK, SELDOM = 1.0, 4.0  # seconds between two looks at the memory: one takes a tenth of a second of a core


@dataclass(frozen=True)
class Contender:
    """Who grades: a command, its workers, and whether it gets all cells or none of the demo cells."""

    name: str
    command: tuple[str, ...]
    workers: int = 1
    demo: bool = True
    dask: bool = False

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
DASK_ONE = Contender("ours, Dask, 1 worker", OURS, dask=True)
DASK_TWO = Contender("ours, Dask, 2 workers", OURS, workers=2, dask=True)
OWN = (ONE, TWO, DASK_ONE, DASK_TWO)
COMPARED = (
    (TWO, ONE, "two workers against one"),
    (DASK_ONE, ONE, "one Dask worker against --jobs 1"),
    (DASK_TWO, DASK_ONE, "two Dask workers against one"),
)


def make_class(root: Path, lesson: str, size: int, contender: Contender) -> Course:
    """A course with a release and `size` submissions, reference and blank in turn."""
    root.mkdir()
    shutil.copytree(ROOT / "solutions" / lesson, root / "solutions" / lesson)
    (root / "nbgrader_config.py").write_text((ROOT / "nbgrader_config.py").read_text())
    course = Course.at(root)
    release(course, [lesson])
    if contender.otter:
        otter_runs.equip(course, lesson, contender.command[0])
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


def commands(course: Course, lesson: str, contender: Contender, address: str) -> list[list[str]]:
    """What is to run: one command for the class or, with Otter, which knows no class, one a submission."""
    if not contender.otter:
        jobs = () if contender.stock else ("--jobs", str(contender.workers))
        return [[*contender.command, lesson, *(("--cluster", address) if address else jobs)]]
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
    every = LOOK if contender.otter else SELDOM  # its runs are short; two workers would feel the looks
    cores = sorted(os.sched_getaffinity(0))[: contender.workers]
    made = clusters.running(contender.workers, cores) if contender.dask else contextlib.nullcontext(("", []))
    with made as (address, others):
        start = time.perf_counter()
        peak = max(
            watched(command, course.root, environment, cores, every, others)
            for command in commands(course, lesson, contender, address)
        )
        return time.perf_counter() - start, peak / 2**20


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


def otter_score(results: Path) -> float:
    """The points that Otter gave. Raises FailedError where it ran no tests."""
    points = otter_runs.points(results)
    if not points:
        raise FailedError("no tests were run: has Otter's environment another version of Python?")
    return float(sum(points))


@dataclass(frozen=True)
class Run:
    """A class graded once: seconds, peak memory in MB, the scores given."""

    seconds: float
    memory: float
    points: str


def measure(contender: Contender, lesson: str, size: int) -> Run | None:
    """Grade a class. None where that failed; why is printed."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            course = make_class(Path(folder, "course"), lesson, size, contender)
            run = Run(*grade(course, lesson, contender), scores(course, lesson, contender))
    except (FailedError, OSError, subprocess.SubprocessError) as error:
        print(f"{lesson}, {contender.name}: failed: {error}", file=sys.stderr)
        return None
    print(f"{lesson}, {contender.name}: {run.seconds:.1f} s", file=sys.stderr)
    return run


def row(contender: Contender, size: int, runs: list[Run]) -> list[str]:
    """Its line of the table: the median time, the most memory, all scores that were given."""
    if not runs:
        return [contender.name, "failed", "", "", ""]
    seconds, memory = middle(runs), max(run.memory for run in runs)
    rate, share = 60 * size / seconds / contender.workers, memory / contender.workers
    points = ", ".join(sorted({run.points for run in runs}))
    looked = f"{share:.0f}" if share else "not seen"  # it took less time than passes between two looks
    return [contender.name, f"{seconds:.1f}", f"{rate:.1f}", looked, points]


def middle(runs: list[Run]) -> float:
    """The median of their seconds."""
    return median(run.seconds for run in runs)


def compare(taken: dict[Contender, float]) -> None:
    """Print how ours does against the others, as far as they could be measured; each of them has one core."""
    for many, one, said in COMPARED:
        if many in taken and one in taken:
            print(f"{said}: {taken[one] / taken[many]:.2f} times the pace")
    for rival, seconds in taken.items():
        if ONE in taken and rival not in OWN:
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


def measure_all(contenders: list[Contender], lesson: str, size: int) -> dict[Contender, float]:
    """Measure a lesson and print its table; the seconds of those of which no run failed."""
    runs: dict[Contender, list[Run | None]] = {each: [] for each in contenders}
    for each in contenders:
        runs[each].append(measure(each, lesson, size))
    ended = {each: [run for run in found if run] if all(found) else [] for each, found in runs.items()}
    table = Table(*TITLES, title=f"{lesson}, {size} submissions")
    for each, found in ended.items():
        table.add_row(*row(each, size, found))
    Console().print(table)
    return {each: middle(found) for each, found in ended.items() if found}


def saturate(lesson: str, size: int) -> str:
    """Where 64 Dask workers saturate, from what a class costs one worker and the grader."""
    with tempfile.TemporaryDirectory() as folder:
        course = make_class(Path(folder, "course"), lesson, size, DASK_ONE)
        cores = sorted(os.sched_getaffinity(0))
        with clusters.running(1, cores) as (address, _):
            (line,) = commands(course, lesson, DASK_ONE, address)
            return clusters.saturation(*clusters.costs(line, course.root), len(cores))


def main() -> None:
    """Measure, print a table a lesson and, last, the ratio of stock, as it is, to one worker of ours."""
    given = arguments()
    has_dask = clusters.DASK.exists()
    contenders = [AS_IS, BARE, *(OWN if has_dask else (ONE, TWO)) * ROUNDS]
    if otter := shutil.which(given.otter):
        command = (os.path.abspath(otter), "run")  # it runs in another folder
        contenders.append(Contender("otter run, no demo cells", command, demo=False))
    else:
        print(otter_runs.MISSING, file=sys.stderr)
    if not has_dask:
        print(clusters.MISSING, file=sys.stderr)
    for lesson in given.lesson or LESSONS:
        taken = measure_all(contenders, lesson, given.submissions)
        compare(taken)
        if DASK_ONE in taken:
            print(saturate(lesson, given.submissions))
    if AS_IS in taken and ONE in taken:
        print(f"ratio: {taken[AS_IS] / taken[ONE]:.2f}")


if __name__ == "__main__":
    main()
