"""Runs a submission's cells in a kernel and carries the judge's questions there; survives what cells do.

An error costs what depends on it. A time-out, a dead kernel or a flood of output costs the cell that caused
it, however often: the kernel is started anew, the cells that had run are run again without the poisonous one,
and the rest follows, until the time for all cells is used up. Calls have a time of their own: what the cells
defined is judged all the same.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol

from nbformat import NotebookNode
from nbformat.v4 import new_output

from autograde.errors import Died, OutOfTime, TimedOut, Unusable
from autograde.sandbox.allowance import Allowance, Budget
from autograde.sandbox.channel import Channel
from autograde.sandbox.framing import WireError
from autograde.sandbox.kernel_process import did_not_start
from autograde.sandbox.limits import Limits
from autograde.sandbox.outputs import Flood, Outputs
from autograde.sandbox.protocol import KernelMessage

DEAD = ("KernelDied", "The process ended in this cell (a crash, an exit or too much memory).")
FLOOD = ("OutputLimit", "This cell printed far too much and was stopped.")
POISON = {
    TimeoutError: ("TimeLimit", "This cell took too long and was stopped."),
    **dict.fromkeys((Flood, WireError), FLOOD),
}


class Kernel(Protocol):
    """A process that runs cells, and the line to it; `stop` ends it. See kernel_process.KernelProcess."""

    channel: Channel

    def cpu(self) -> float:
        """CPU seconds that it has used."""

    def lives(self) -> bool:
        """Whether it may still answer."""

    def stop(self) -> None:
        """End it, and see it gone."""


class Session:
    """A kernel for one submission: use it as a context manager. Raises CourseError when none can start.

    `begin` starts one, at first and after one has died.
    """

    def __init__(self, limits: Limits, begin: Callable[[], Kernel]) -> None:
        self.limits, self.begin = limits, begin
        self.cells, self.calls = Budget(limits.notebook), Budget(limits.notebook)
        self.delayed = False  # whether time ran out, and the machine may be why
        self.room = limits.notebook_output_bytes
        self.done: list[NotebookNode] = []  # cells to run again after a restart
        self.kernel: Kernel | None = None
        self.outputs = Outputs(NotebookNode(cells=[], metadata={}), store_widget_state=False)
        self.outputs.limits = limits

    def __enter__(self) -> "Session":
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def run(self, cell: NotebookNode) -> bool:
        """Run a code cell and put its outputs into it; returns whether it ended without an error."""
        cell.outputs = []
        if self.cells.spent:
            self.delayed = True
            _fail(cell, "TimeLimit", "The time for the whole notebook was used up before this cell.")
            return False
        try:
            self._execute(cell, self.cells)
        except Exception as error:
            _fail(cell, *POISON.get(type(error), DEAD))
            self._restart(self.cells)
            return False
        self.done.append(cell)
        return not any(output.output_type == "error" for output in cell.outputs)

    def ask(self, request: str) -> str:
        """The judge's question, as student.Ask. After a death or a time-out the kernel is started anew."""
        if self.calls.spent:
            self.delayed = True
            raise OutOfTime
        kernel = self._kernel()
        try:
            with self._allow(self.calls, self.limits.call) as allowance:
                return kernel.channel.ask(request, allowance)
        except Unusable:
            raise
        except Exception as error:
            self._restart(self.calls)  # the judge stops asking an answer that does this again
            raise (TimedOut if isinstance(error, TimeoutError) else Died) from None

    def _execute(self, cell: NotebookNode, budget: Budget) -> None:
        kernel = self._kernel()
        self.outputs.begin(cell, min(self.limits.output_bytes, self.room))
        try:
            with self._allow(budget, self.limits.cell) as allowance:
                for message in kernel.channel.run(cell.source, allowance):
                    if message[:1] == KernelMessage.ENDED:
                        cell.execution_count = _count(message[1:])
                    else:
                        self.outputs.take(message[1:])
        finally:
            self.room -= min(self.outputs.received, self.outputs.allowed)
        self.outputs.end()

    @contextmanager
    def _allow(self, budget: Budget, limit: float) -> Iterator[Allowance]:
        kernel = self._kernel()
        with budget.spend(limit, kernel.cpu, kernel.lives) as allowance:
            try:
                yield allowance
            except TimeoutError:
                self.delayed |= allowance.delayed
                raise

    def _kernel(self) -> Kernel:
        assert self.kernel is not None, "a session is used in a `with` statement"
        return self.kernel

    def _start(self) -> None:
        self.kernel = kernel = self.begin()
        try:
            kernel.channel.await_kernel(Allowance(self.limits.start, kernel.cpu, kernel.lives))
        except (OSError, EOFError) as error:
            self._stop()
            raise did_not_start(error) from error

    def _stop(self) -> None:
        kernel, self.kernel = self.kernel, None
        if kernel is not None:
            kernel.stop()

    def _restart(self, budget: Budget) -> None:
        """A new kernel with the same state, as far as the cells that ran can make it."""
        self._stop()
        self._start()
        for cell in list(self.done):
            payer = self.calls if budget.spent else budget  # what the cells defined is judged all the same
            if payer.spent:
                return
            try:
                self._execute(NotebookNode(cell, outputs=[]), payer)  # the outputs of the first run stand
            except Exception:  # it ran before and does not now: it is left out from here on
                self.done.remove(cell)
                self._restart(budget)
                return


def _fail(cell: NotebookNode, name: str, sentence: str) -> None:
    cell.outputs = [output for output in cell.outputs if output.output_type != "error"]
    cell.outputs.append(new_output("error", ename=name, evalue=sentence, traceback=[f"{name}: {sentence}"]))


def _count(text: str) -> int | None:
    """The number of a cell, from what anything may have written."""
    try:
        count = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return count if type(count) is int else None
