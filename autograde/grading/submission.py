"""One submission, from the rebuilt notebook to its verdict: run the cells, freeze the outputs, then judge."""

import hashlib
import os
import secrets
import shutil
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nbformat import NotebookNode, from_dict

from autograde.cells import cells_to_run, maximum_points, scored_cells
from autograde.judging.judge_client import JUDGE_CLIENT
from autograde.judging.verdict import Result, Verdict, score
from autograde.sandbox.kernel_process import KernelFactory
from autograde.sandbox.limits import Limits, limits_of
from autograde.sandbox.session import Kernel, Session

if TYPE_CHECKING:  # it imports NumPy, which the grader does not need
    from autograde.judging.student import Ask

LINE_CHARACTERS = 88  # of a line of feedback: nbgrader's page shows no more without scrolling


@dataclass(frozen=True)
class Ran:
    """What running and judging took: seconds by phase.

    delayed: whether time ran out somewhere, and a busy machine may be why.
    """

    seconds: dict[str, float]
    delayed: bool


def run(nb: NotebookNode, limits: Limits, begin: Callable[[], Kernel], judge: Callable[["Ask"], None]) -> Ran:
    """Run a rebuilt notebook in kernels that `begin` starts, and let `judge` ask; cells get their outputs."""
    clock, seconds = _Clock(), {}
    with Session(limits, begin) as session:
        seconds["start"] = clock.lap()
        for cell in cells_to_run(nb):
            session.run(cell)
        seconds["cells"] = clock.lap()
        judge(session.ask)
        seconds["judge"] = clock.lap()
    seconds["stop"] = clock.lap()
    return Ran(seconds, session.delayed)


def grade_notebook(
    nb: NotebookNode, tests: Path, files: Path, secret: bytes, seed: str, isolated: bool = True
) -> Result:
    """Run and judge a rebuilt notebook of one's own, in this process; its cells receive their outputs.

    `files` is the submission's folder, copied for the kernel without notebooks. Raises CourseError where
    there is no sandbox (unless `isolated` is False), no kernel or no verdict: never a Result with points that
    no judge gave.
    """
    limits, verdict = limits_of(nb.metadata), Verdict()
    kernels = KernelFactory(limits, isolated=isolated)
    JUDGE_CLIENT.start()

    def judge(ask: "Ask") -> None:
        verdict.update(JUDGE_CLIENT.verdict(tests, ask, secret, f"{seed}\0{fingerprint(nb)}", limits))

    with plain_files_of(files) as folder:
        ran = run(nb, limits, partial(kernels.start, folder), judge)
    scores = score(verdict, maximum_points(nb))
    return Result(scores, ran.seconds, kernels.meter.memory, delayed=ran.delayed)


def record(nb: NotebookNode, result: Result) -> None:
    """Write the scores into the test cells as nbgrader reads them: text, then exactly one number."""
    for name, cell in scored_cells(nb).items():
        number = {"text/plain": shown_points(result, name)}
        cell.outputs = from_dict(
            [
                {"output_type": "stream", "name": "stdout", "text": summary(name, result)},
                {"output_type": "execute_result", "data": number, "metadata": {}, "execution_count": None},
            ]
        )
        cell.execution_count = None


def shown_points(result: Result, exercise: str) -> str:
    """The points of an exercise as a test cell shows them, and as Record checks them."""
    return repr(float(result.exercises[exercise].points))


def summary(name: str, result: Result) -> str:
    """What a learner reads under a test cell: each property, why it did not hold, and what went astray."""
    exercise = result.exercises[name]
    lines = [f"{name}: {exercise.points:.4g} of {exercise.maximum:g} points"]
    if exercise.excused:
        lines.append("  This exercise is excused: everybody who handed in has its points.")
    found = [
        ("passed", test.sentence) if test.passed else ("FAILED", test.message) for test in exercise.tests
    ]
    found += [("note", hint) for hint in result.hints.get(name, []) if exercise.lost]
    for word, sentence in found:
        lines += textwrap.wrap(f"  {word:6}  {sentence}", LINE_CHARACTERS, subsequent_indent=" " * 10)
    return "\n".join(lines) + "\n"


def fingerprint(nb: NotebookNode) -> str:
    """A digest of what the learner handed in: fresh inputs for a changed answer, the same for a regrade."""
    text = "\0".join(f"{cell.cell_type}\0{cell.source}" for cell in nb.cells)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def course_secret(folder: Path) -> bytes:
    """The secret that seeds the hidden inputs: made once, kept in the grading folder, for its owner only."""
    make_secret(folder)
    return (folder / "secret").read_bytes()


def make_secret(folder: Path) -> None:
    """Make the course's secret, if there is none."""
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


@contextmanager
def plain_files_of(files: Path) -> Iterator[Path]:
    """A folder for the kernel with copies of the submission's plain files, without links and notebooks."""
    plain = (path for path in files.rglob("*") if path.is_file() and not path.is_symlink())
    found = {str(path.relative_to(files)): path for path in plain if path.suffix != ".ipynb"}
    with copies_of(found) as folder:
        yield folder


@contextmanager
def copies_of(files: Mapping[str, Path | bytes]) -> Iterator[Path]:
    """A folder for the kernel with these files, by their names in it: copies of others, or their content.

    Raises OSError, and ValueError for a name that leads elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True) as folder:
        for name, given in files.items():
            target = Path(folder, name)
            if ".." in target.parts or not target.is_relative_to(folder):
                raise ValueError(f"{name!r} is no name of a file in a folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(given, bytes):
                target.write_bytes(given)
            else:
                shutil.copyfile(given, target, follow_symlinks=False)
        yield Path(folder)


class _Clock:
    def __init__(self) -> None:
        self.last = time.perf_counter()

    def lap(self) -> float:
        before, self.last = self.last, time.perf_counter()
        return self.last - before
