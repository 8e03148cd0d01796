"""Runs a submission's cells in a kernel and carries the judge's questions there; survives what cells do.

An error costs what depends on it. A time-out, a dead kernel or a flood of output costs the cell that caused
it: the kernel is started anew, the cells that had run are run again without the poisonous one, and the rest
follows, at most `limits.restarts` times.
"""

import json
import time
from pathlib import Path
from types import TracebackType

from nbformat import NotebookNode
from nbformat.v4 import new_output

from autograde.errors import Died, TimedOut, Unusable
from autograde.sandbox.framing import WireError
from autograde.sandbox.kernel_process import KernelFactory, KernelProcess
from autograde.sandbox.limits import Limits
from autograde.sandbox.outputs import Flood, Outputs
from autograde.sandbox.protocol import KernelMessage

DEAD = ("KernelDied", "The process ended in this cell (a crash, an exit or too much memory).")
FLOOD = ("OutputLimit", "This cell printed far too much and was stopped.")
POISON = {
    TimeoutError: ("TimeLimit", "This cell took too long and was stopped."),
    **dict.fromkeys((Flood, WireError), FLOOD),
}


class Session:
    """A kernel for one submission: use it as a context manager. Raises CourseError when none can start."""

    def __init__(self, folder: Path, limits: Limits, kernels: KernelFactory) -> None:
        self.folder, self.limits, self.kernels = folder, limits, kernels
        self.deadline = time.monotonic() + limits.wall
        self.restarts, self.room = 0, limits.notebook_output_bytes
        self.done: list[NotebookNode] = []  # cells to run again after a restart
        self.kernel: KernelProcess | None = None
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
        if self.kernel is None:
            _fail(cell, "NotRun", "The process had ended too often before this cell.")
            return False
        if time.monotonic() > self.deadline:
            _fail(cell, "TimeLimit", "The time for the whole notebook was used up before this cell.")
            return False
        try:
            self._execute(cell)
        except Exception as error:
            _fail(cell, *POISON.get(type(error), DEAD))
            self._restart()
            return False
        self.done.append(cell)
        return not any(output.output_type == "error" for output in cell.outputs)

    def ask(self, request: str) -> str:
        """The judge's question, as student.Ask. After a death or a time-out the kernel is started anew."""
        if self.kernel is None or time.monotonic() > self.deadline:
            raise Died if self.kernel is None else TimedOut
        seconds = min(self.limits.call, self.deadline - time.monotonic())
        try:
            return self.kernel.channel.ask(request, seconds, self.kernel.lives)
        except Unusable:
            raise
        except TimeoutError:
            self._restart(cost=0)  # the judge stops asking an answer that does this again
            raise TimedOut from None
        except Exception:
            self._restart(cost=0)
            raise Died from None

    def _execute(self, cell: NotebookNode) -> None:
        assert self.kernel is not None
        seconds = max(1, min(self.limits.cell, self.deadline - time.monotonic()))
        self.outputs.begin(cell, min(self.limits.output_bytes, self.room))
        try:
            for message in self.kernel.channel.run(cell.source, seconds, self.kernel.lives):
                if message[:1] == KernelMessage.ENDED:
                    cell.execution_count = _count(message[1:])
                else:
                    self.outputs.take(message[1:])
        finally:
            self.room -= min(self.outputs.received, self.outputs.allowed)
        self.outputs.end()

    def _start(self) -> None:
        self.kernel = self.kernels.start(self.folder)

    def _stop(self) -> None:
        kernel, self.kernel = self.kernel, None
        if kernel is not None:
            kernel.stop()

    def _restart(self, cost: int = 1) -> None:
        """A new kernel with the same state, as far as the cells that ran can make it."""
        self._stop()
        self.restarts += cost
        if self.restarts > self.limits.restarts:
            return
        self._start()
        for cell in list(self.done):
            if time.monotonic() > self.deadline:  # nothing is run or asked from here on
                return
            try:
                self._execute(NotebookNode(cell, outputs=[]))  # the outputs of the first run stand
            except Exception:  # it ran before and does not now: it is left out from here on
                self.done.remove(cell)
                self._restart()
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
