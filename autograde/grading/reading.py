"""All that reads what a student handed in, beyond its bytes: it runs confined, and its parent writes it down.

A confined process has no gradebook, no hidden tests and no file to write. It gives back JSON and a text.
"""

from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbconvert.exporters import Exporter
from nbformat import NotebookNode

from autograde.cells import grade_id
from autograde.errors import CourseError
from autograde.grading.rebuild import rebuild
from autograde.grading.submission import fingerprint, record, run
from autograde.grading.submission_files import MAX_CELLS
from autograde.judging.judge_client import answer_all
from autograde.judging.verdict import read_result
from autograde.notebooks import parse_submission
from autograde.pages.sanitise import sanitise
from autograde.sandbox.confined import Answer, Confined, Host
from autograde.sandbox.limits import Limits, limits_of
from autograde.sandbox.remote import RemoteKernel

if TYPE_CHECKING:  # it imports NumPy, which the grader does not need
    from autograde.judging.student import Ask

SHOWN_CHARACTERS = 40  # of the name of another lesson
READING_SECONDS = 600.0  # of wall time, to look at a notebook or to make a page


def page(content: bytes, exporter: Exporter, resources: dict[str, Any]) -> bytes:
    """The page of a graded notebook. Raises CourseError."""

    def work(host: Host) -> None:
        nb = nbformat.reads(content.decode(errors="replace"), as_version=4)
        host.give(str(exporter.from_notebook_node(nb, resources)[0]))

    child = Confined(work, Limits())
    try:
        child.run(READING_SECONDS)
        return child.text
    finally:
        child.end()


class Reader:
    """A confined process that reads a submission, runs its cells, has it judged and gives its notebook.

    `content` is of the file `named`. It says first which `lesson` it is of, and waits until it is to go on.
    """

    def __init__(self, content: bytes, named: Path, released: NotebookNode) -> None:
        self.content, self.named, self.released = content, named, released
        self.limits = limits_of(released.metadata)
        self.child = Confined(self._work, self.limits)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *error: object) -> None:
        self.child.end()

    @cached_property
    def lesson(self) -> str:
        """The lesson that the notebook says it is of; "" where it says nothing. Raises CourseError."""
        asks, found = self.child.next(READING_SECONDS)
        return str(found.get("lesson")) if asks else ""

    def graded(self, seconds: float, answer: Answer) -> frozenset[str]:
        """Let it go on; returns the names of the cells that were answered. Raises CourseError.

        `answer`, a desk.Desk's, is asked for kernels, for "judge" (with a digest of what was handed in; the
        line of the judge's questions comes along) and, when all are answered, for "result".
        """
        assert self.lesson is not None  # it waits with that
        self.child.reply(True)
        return frozenset(map(str, self.child.run(seconds, answer)))

    def _work(self, host: Host) -> list[str]:
        submitted = parse_submission(self.content, self.named)
        if len(submitted.cells) > MAX_CELLS:
            raise CourseError(f"The notebook has more than {MAX_CELLS} cells: not graded.")
        says = submitted.metadata.get("genmap", {}).get("lesson")
        host.ask("lesson", lesson=says[:SHOWN_CHARACTERS] if isinstance(says, str) else "")
        rebuilt = rebuild(submitted, self.released)
        nb = rebuilt.notebook

        def judge(ask: "Ask") -> None:
            host.ask("judge", whose=fingerprint(nb))
            answer_all(Connection(host.take()), ask, self.limits.judge_wall)

        ran = run(nb, self.limits, lambda: RemoteKernel(host), judge)
        told = host.ask("result", seconds=ran.seconds, delayed=ran.delayed, hints=rebuilt.hints)
        sanitise(nb)  # before nbconvert checks what a kernel may have forged, and refuses all of it
        record(nb, read_result(told.encode()))
        nbformat.validate(nb, relax_add_props=True)  # before a score is saved
        host.give(nbformat.writes(nb))
        return self._answered(nb)

    def _answered(self, nb: NotebookNode) -> list[str]:
        """Names of the cells whose source is another than the release's."""
        before = {grade_id(cell): cell.source for cell in self.released.cells}
        names = {grade_id(cell): cell.source for cell in nb.cells if grade_id(cell) in before}
        return [name for name, source in names.items() if name and source != before[name]]
