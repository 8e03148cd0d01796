"""One submission, from the rebuilt notebook to its verdict: run the cells, freeze the outputs, then judge."""

import hashlib
import math
import os
import secrets
import shutil
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbformat import NotebookNode, from_dict

from autograde.judge_server import SERVER
from autograde.kernel import Session
from autograde.limits import limits_of
from autograde.rebuild import grade_id, is_demo
from autograde.sandbox import GradingKernels
from autograde.verdict import NoVerdict, Verdict, points

WIDTH = 88  # of a line of feedback: nbgrader's page shows no more without scrolling


@dataclass
class Result:
    """What grading found: of each exercise points, maximum, tests; seconds by phase; bytes of memory."""

    exercises: dict[str, dict[str, Any]]
    seconds: dict[str, float] = field(default_factory=dict)
    memory: int = 0

    @property
    def points(self) -> float:
        """Automatic points in all."""
        return math.fsum(row["points"] for row in self.exercises.values())


def scored_cells(nb: NotebookNode) -> dict[str, NotebookNode]:
    """The public test cells of a notebook by exercise; their points are nbgrader's metadata."""
    cells = {}
    for cell in nb.cells:
        name = grade_id(cell)
        if name and name.startswith("test-") and cell.metadata.nbgrader.get("locked"):
            cells[name.removeprefix("test-")] = cell
    return cells


def cells_to_run(nb: NotebookNode) -> Iterator[NotebookNode]:
    """The code cells that grading runs: all but demo cells and public tests."""
    tests = [id(cell) for cell in scored_cells(nb).values()]
    for cell in nb.cells:
        if cell.cell_type == "code" and not is_demo(cell) and id(cell) not in tests:
            yield cell


def grade_notebook(
    nb: NotebookNode,
    tests: Path,
    files: Path,
    secret: bytes,
    seed: str,
    hidden: Sequence[Path] = (),
    isolated: bool = True,
    modules: Sequence[str] = (),
) -> Result:
    """Run and judge a rebuilt notebook; its cells receive their outputs.

    `files` is the submission's folder, copied for the kernel without notebooks; what lies in `hidden` does
    not exist for the kernel, which has imported `modules` before it starts. Raises CourseError where there is
    no sandbox (unless `isolated` is False, for one's own work), no kernel or no verdict: never a Result with
    points that no judge gave.
    """
    limits, clock, seconds = limits_of(nb.metadata), _Clock(), {}
    kernels = GradingKernels(limits, hidden, isolated, modules)
    SERVER.start()
    with _scratch(files) as folder, Session(folder, limits, kernels) as session:
        seconds["start"] = clock.lap()
        for cell in cells_to_run(nb):
            session.run(cell)
        seconds["cells"] = clock.lap()
        verdict = SERVER.verdict(tests, session.ask, secret, f"{seed}\0{fingerprint(nb)}", limits)
        seconds["judge"] = clock.lap()
    seconds["stop"] = clock.lap()
    maxima = {name: float(cell.metadata.nbgrader.points) for name, cell in scored_cells(nb).items()}
    return Result(score(verdict, maxima), seconds, kernels.meter.memory)


def score(verdict: Verdict, maxima: dict[str, float]) -> dict[str, dict[str, Any]]:
    """The verdict with points. Raises NoVerdict where an exercise was not judged or a number is none."""
    result = {}
    for name, maximum in maxima.items():
        tests = verdict.get(name)
        got = points(tests, maximum) if tests else math.nan
        if not 0 <= got <= maximum:
            raise NoVerdict(f"The judge left out exercise {name!r}; nothing was recorded.")
        result[name] = {"points": got, "max": maximum, "tests": tests}
    return result


def record(nb: NotebookNode, result: Result) -> None:
    """Write the scores into the test cells as nbgrader reads them: text, then exactly one number."""
    for name, cell in scored_cells(nb).items():
        row = result.exercises[name]
        number = {"text/plain": repr(float(row["points"]))}
        cell.outputs = from_dict(
            [
                {"output_type": "stream", "name": "stdout", "text": summary(name, row)},
                {"output_type": "execute_result", "data": number, "metadata": {}, "execution_count": None},
            ]
        )
        cell.execution_count = None


def summary(name: str, row: dict[str, Any]) -> str:
    """What a learner reads under a test cell: each property, and why it did not hold."""
    lines = [f"{name}: {row['points']:.4g} of {row['max']:g} points"]
    for test in row["tests"]:
        line = f"  passed  {test['sentence']}" if test["passed"] else f"  FAILED  {test['message']}"
        lines += textwrap.wrap(line, WIDTH, subsequent_indent=" " * 10)
    return "\n".join(lines) + "\n"


def fingerprint(nb: NotebookNode) -> str:
    """A digest of what the learner handed in: fresh inputs for a changed answer, the same for a regrade."""
    text = "\0".join(f"{cell.cell_type}\0{cell.source}" for cell in nb.cells)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def course_secret(folder: Path) -> bytes:
    """The secret that seeds the hidden inputs: made once, kept in the grading folder, for its owner only."""
    path = folder / "secret"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f"secret.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(draft, path)  # fails where another process was first: then theirs counts
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_bytes()


@contextmanager
def _scratch(files: Path) -> Iterator[Path]:
    """A folder for the kernel with copies of the submission's plain files, without links and notebooks."""
    with tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True) as folder:
        for path in files.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.suffix != ".ipynb":
                target = Path(folder) / path.relative_to(files)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target, follow_symlinks=False)
        yield Path(folder)


class _Clock:
    def __init__(self) -> None:
        self.last = time.perf_counter()

    def lap(self) -> float:
        before, self.last = self.last, time.perf_counter()
        return self.last - before
