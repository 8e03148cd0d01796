"""Runs lessons in the `quick` setting, writes their figures to data/board.toml and holds them to the targets.

Run as `make quality`, `make quality LESSON=NN_name` or `python -m autograde.authoring.quality [LESSON...]`. A
lesson's figures are those that it passes to `genmap.board.record`, its claims those that it makes by
`genmap.board.claim`: where there are any it runs with other seeds, too, and all have to hold each time. The
notebooks that ran are kept in .grading/quality.
"""

import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from rich.console import Console
from rich.table import Table

from autograde import atomic_write
from autograde.authoring.script import read_lesson
from autograde.course import Course
from autograde.errors import CourseError
from genmap import board
from genmap.board.entries import METRICS, Board, Row, Target, parse, row_of

CORES = 2  # what `quick` is made for: figures are taken with so many threads and without a GPU
SHIFTS = (1000, 2000)  # added to a lesson's seeds in further runs, in which its claims have to hold, too
CELL_SECONDS = 600  # of wall time
CPU_SECONDS = 300  # that a lesson may take in `quick`: a laptop runs it in minutes
MEASURED = "# Measured by `make quality`, which writes everything below this line.\n"
SHIFTED = "from autograde.authoring.shifted_seeds import shift\n\nshift({})"
DIGITS = {"train_seconds": 2, "sample_seconds": 2}  # significant ones; of every figure, 4


class Client(NotebookClient):
    """Without answers to widgets: sent from here they can lose the reply, and the cell never ends."""

    def handle_comm_msg(self, *_: object) -> None:
        """Leave the widget's message."""


@dataclass(frozen=True)
class Run:
    """What a run of a lesson gave: rows, in the order of recording; seconds of CPU and of wall time.

    claims: how many it made. broken: those of them that did not hold.
    """

    rows: list[Row]
    cpu: float
    wall: float
    claims: int = 0
    broken: tuple[str, ...] = ()


def run_lesson(course: Course, name: str, shift: int = 0) -> Run:
    """Run a lesson's source, with its solutions, in a fresh kernel; `shift` is added to its seeds.

    Raises CourseError where a cell fails.
    """
    notebook = read_lesson(course.source(name))
    if shift:
        notebook.cells.insert(0, new_code_cell(SHIFTED.format(shift)))
    kept = course.grading / "quality" / (f"{name}-{shift}.ipynb" if shift else f"{name}.ipynb")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures"
        start, cpu = time.perf_counter(), _children()
        try:
            _execute(name, notebook, Path(folder), _environment(figures))
        finally:
            nbformat.write(notebook, kept)
        wall = time.perf_counter() - start
        lines = figures.read_text(encoding="utf-8").splitlines() if figures.exists() else []
    entries = [json.loads(line) for line in lines]
    claims = [entry for entry in entries if "claim" in entry]
    broken = tuple(dict.fromkeys(entry["claim"] for entry in claims if not entry["holds"]))
    rows = {row.key: row for row in (row_of(entry) for entry in entries if "claim" not in entry)}
    if strange := next((row for row in rows.values() if row.lesson != name), None):
        raise CourseError(f"{name}: it records figures of {strange.lesson}: give board.record its own name.")
    return Run(list(rows.values()), _children() - cpu, wall, len(claims), broken)


def _environment(figures: Path) -> dict[str, str]:
    """The kernel's: `quick`, the threads of two cores, no GPU, figures to a file."""
    own = {"GENMAP_SETTING": "quick", "OMP_NUM_THREADS": str(CORES), "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **own, board.RECORD: str(figures)}


def _execute(name: str, notebook: NotebookNode, folder: Path, environment: dict[str, str]) -> None:
    quiet = ["--IPKernelApp.log_level=ERROR"]  # its warning that TCP is not encrypted
    client = Client(notebook, timeout=CELL_SECONDS, kernel_name="python3", extra_arguments=quiet)
    client.resources = {"metadata": {"path": str(folder)}}
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        raise CourseError(f"{name}: a cell raises {error.ename}: {' '.join(error.evalue.split())}") from None
    except CellTimeoutError:
        raise CourseError(f"{name}: a cell runs for more than {CELL_SECONDS} seconds.") from None
    except DeadKernelError:
        raise CourseError(f"{name}: the kernel died, most likely of too little memory.") from None


def _children() -> float:
    """Seconds of CPU of all processes started from here that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def misses(name: str, run: Run, targets: list[Target]) -> list[str]:
    """A line for every target or claim that the run does not meet, for no figures, for too much CPU time."""
    lines = [_miss(target, run.rows) for target in targets if target.lesson == name]
    if run.cpu > CPU_SECONDS:
        lines.append(f"the notebook takes {run.cpu:.0f} CPU-seconds, more than {CPU_SECONDS}")
    if not run.rows:
        lines.append("it records no figure: call board.record in the section on quality")
    lines += [f"this does not hold: {sentence}" for sentence in run.broken]
    return [f"{name}: {line}" for line in lines if line]


def _miss(target: Target, rows: list[Row]) -> str:
    what = f"{METRICS[target.metric].label} of {target.model} on {target.data}"
    value = next((row.figures.get(target.metric) for row in rows if row.key == target.key), None)
    if value is None:
        return f"no {what} was recorded; the target is {target}"
    return "" if target.held(value) else f"{what} is {value:.4g}; the target is {target}"


def write_rows(path: Path, name: str, rows: list[Row]) -> None:
    """Put a lesson's rows into board.toml in place of its old ones; all else stays as it is.

    Raises CourseError for a file that is damaged.
    """
    text = path.read_text(encoding="utf-8")
    if text.count(MEASURED) != 1:
        raise CourseError(f"{path} lacks its line {MEASURED.strip()!r}: restore it from git.")
    others = [row for row in read_board(path).rows if row.lesson != name]
    entries = [_entry(row) for row in sorted([*others, *rows], key=lambda row: row.lesson)]
    text = text.partition(MEASURED)[0] + MEASURED + "".join(entries)
    parse(text)
    atomic_write.write(path, text)


def read_board(path: Path) -> Board:
    """The board of this checkout. Raises CourseError for a file that is missing or damaged."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CourseError(f"{path}: {error.strerror}: restore it from git.") from None
    except ValueError as error:
        raise CourseError(f"{error}; restore {path} from git, or mend it.") from None


def _entry(row: Row) -> str:
    lines = [f"{name} = {_value(name, value)}" for name, value in row.flat().items()]
    return "\n".join(["", "[[measured]]", *lines, ""])


def _value(name: str, value: Any) -> str:
    """A string, whole number or rounded float in TOML, whose strings are JSON's here."""
    if isinstance(value, float):
        return repr(float(f"{value:.{DIGITS.get(name, 4)}g}"))
    return json.dumps(value, ensure_ascii=False)


def _show(name: str, run: Run, targets: list[Target]) -> None:
    asked = {(target.key, target.metric): target for target in targets}
    table = Table("model", "data", "figure", "value", "target", title=name)
    for row in run.rows:
        for metric, value in row.figures.items():
            target = asked.get((row.key, metric), "")
            table.add_row(row.model, row.data, METRICS[metric].label, f"{value:.4g}", str(target))
    Console().print(table, f"{run.cpu:.0f} CPU-seconds of {CPU_SECONDS}, {run.wall:.0f} s", highlight=False)


def _with_other_seeds(course: Course, name: str) -> list[str]:
    """A line for each claim that does not hold with other seeds."""
    problems = []
    for shift in SHIFTS:
        try:
            broken = run_lesson(course, name, shift).broken
        except CourseError as error:
            problems.append(f"{error} (with {shift} added to its seeds)")
            continue
        problems += [f"{name}: this does not hold with {shift} added to the seeds: {each}" for each in broken]
    return problems


def main(arguments: list[str]) -> None:
    """Run the lessons. Raises CourseError with a line for each thing that does not hold."""
    course = Course.find()
    path, problems = course.root / "data" / "board.toml", []
    for name in course.select(tuple(arguments)):
        targets = read_board(path).targets
        try:
            run = run_lesson(course, name)
        except CourseError as error:
            problems.append(str(error))
            continue
        write_rows(path, name, run.rows)
        _show(name, run, targets)
        problems += misses(name, run, targets)
        problems += _with_other_seeds(course, name) if run.claims else []
    if problems:
        raise CourseError("\n".join(["these do not hold:", *problems]))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CourseError as error:
        print(f"quality: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
