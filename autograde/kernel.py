"""Runs a submission's cells in a kernel and carries the judge's questions there; survives what cells do.

An error costs what depends on it. A time-out, a dead kernel or a flood of output costs the cell that caused
it: the kernel is started anew, the cells that had run are run again without the poisonous one, and the rest
follows, at most `limits.restarts` times.
"""

import math
import os
import subprocess
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL
from types import TracebackType
from typing import cast

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output

from autograde.client import Channels, Client, Manager, end_kernel
from autograde.errors import CourseError
from autograde.limits import Limits
from autograde.line import Line
from autograde.runtime import SERVE, bootstrap
from autograde.sandbox import GradingKernels
from autograde.student import Died, TimedOut, Unusable
from autograde.warm import kernel_environment

POISON = {
    CellTimeoutError: ("TimeLimit", "This cell took too long and was stopped."),
    DeadKernelError: ("KernelDied", "The process ended in this cell (a crash, an exit or too much memory)."),
}
FLOOD = ("OutputLimit", "This cell printed far too much and was stopped.")
CUT = "\n[output cut off here]\n"
POLL = 0.005  # seconds


class Session:
    """A kernel for one submission: use it as a context manager. Raises CourseError when none can start."""

    def __init__(self, folder: Path, limits: Limits, kernels: GradingKernels) -> None:
        self.folder, self.limits, self.kernels = folder, limits, kernels
        self.deadline = time.monotonic() + limits.wall
        self.restarts, self.room = 0, limits.notebook_output_bytes
        self.done: list[NotebookNode] = []  # cells to run again after a restart
        self.client: Client | None = None

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
        if self.client is None:
            _fail(cell, "NotRun", "The process had ended too often before this cell.")
            return False
        if time.monotonic() > self.deadline:
            _fail(cell, "TimeLimit", "The time for the whole notebook was used up before this cell.")
            return False
        try:
            self._execute(cell)
        except Exception as error:  # time-out, death, or traffic that jupyter_client cannot read
            lost = "IOPub" in str(error)  # a message over the limit ends the connection that outputs come by
            flooded = self.client.flooded or lost
            _fail(cell, *(FLOOD if flooded else POISON.get(type(error), POISON[DeadKernelError])))
            self._restart()
            return False
        self.done.append(cell)
        return not any(output.output_type == "error" for output in cell.outputs)

    def ask(self, request: str) -> str:
        """The judge's question, as student.Ask. After a death or a time-out the kernel is started anew."""
        if self.client is None or time.monotonic() > self.deadline:
            raise Died if self.client is None else TimedOut
        try:
            if not self.serving:
                run_sync(self._serve)()
            return self.line.ask(
                request, min(self.limits.call, self.deadline - time.monotonic()), self._lives
            )
        except Unusable:
            raise
        except TimeoutError:
            self._restart(cost=0)  # the judge stops asking an answer that does this again
            raise TimedOut from None
        except Exception:
            self._restart(cost=0)
            raise Died from None

    def _lives(self) -> bool:
        assert self.client is not None
        return bool(run_sync(self.client.km.is_alive)())

    async def _serve(self) -> None:
        """Let the kernel answer from now on: it runs no more cells."""
        assert self.client is not None
        cast(AsyncKernelClient, self.client.kc).execute(SERVE, silent=True, allow_stdin=False)
        self.serving = True

    def _execute(self, cell: NotebookNode) -> None:
        assert self.client is not None
        self.client.received, self.client.failed = 0, False
        self.client.allowed = min(self.limits.output_bytes, self.room)
        self.client.timeout = max(1, math.ceil(min(self.limits.cell, self.deadline - time.monotonic())))
        self.client.nb.cells = [cell]
        self.client.reset_execution_trackers()  # of the cell before, which is not in this notebook of one
        try:
            self.client.execute_cell(cell, 0)
        finally:
            self.room -= min(self.client.received, self.client.allowed)
        if self.client.flooded:  # the kernel's answer may come before the flood
            raise DeadKernelError("flood")
        if self.client.received > self.client.allowed:
            cell.outputs.append(new_output("stream", name="stdout", text=CUT))

    def _start(self) -> None:
        self.client = self._new_client()
        try:
            self.client.start_new_kernel(
                cwd=str(self.folder), env=kernel_environment(), stdout=DEVNULL, stderr=DEVNULL
            )
            self._await_sockets(self.client.km)
            self.client.start_new_kernel_client()
            setup = NotebookNode(cell_type="code", source=bootstrap(self.line.path), metadata={}, outputs=[])
            self.client.nb.cells = [setup]
            self.client.execute_cell(setup, 0, store_history=False)
            self.line.connect(self.limits.start)
        except Exception as error:
            self._stop()
            if isinstance(error, CourseError):
                raise
            reason = f"The kernel did not start ({type(error).__name__}): run `autograde doctor`."
            raise CourseError(reason) from error

    def _await_sockets(self, manager: AsyncKernelManager) -> None:
        """Wait until the kernel listens: its sockets are connected to only once. Raises TimeoutError."""
        ports = [value for name, value in manager.get_connection_info().items() if name.endswith("_port")]
        end = time.monotonic() + self.limits.start
        while not all(os.path.exists(f"{manager.ip}-{port}") for port in ports):
            if time.monotonic() > end or not run_sync(manager.is_alive)():
                raise TimeoutError
            time.sleep(POLL)
        time.sleep(2 * POLL)  # between making the last socket and listening to it

    def _new_client(self) -> Client:
        """A client for a kernel that talks over sockets in a folder of its own, not over the network."""
        self.sockets = tempfile.TemporaryDirectory(prefix="k-", ignore_cleanup_errors=True)
        manager = Manager(kernel_spec_manager=self.kernels, kernel_name="grading")
        manager.client_factory = Channels
        manager.transport, manager.ip = "ipc", f"{self.sockets.name}/k"
        manager.connection_file = f"{self.sockets.name}/connection.json"
        self.line, self.serving = Line(f"{self.sockets.name}/line"), False
        client = Client(NotebookNode(cells=[], metadata={}), km=manager, allow_errors=True)
        client.interrupt_on_timeout, client.store_widget_state, client.record_timing = False, False, False
        client.raise_on_iopub_timeout = True
        client.startup_timeout, client.shutdown_kernel = int(self.limits.start), "immediate"
        client.limits = self.limits
        return client

    def _stop(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            self.line.hang_up()
            if client.km is not None:  # else it never came to life, and nbclient has cleaned up
                if client.kc is not None:
                    client.kc.stop_channels()  # before the kernel ends: afterwards ZeroMQ takes a second
                run_sync(end_kernel)(client.km)
                client._cleanup_kernel()
            subprocess.run(["rm", "-rf", "--", self.sockets.name], check=False)  # at any depth, unlike Python
            self.sockets.cleanup()

    def _restart(self, cost: int = 1) -> None:
        """A new kernel with the same state, as far as the cells that ran can make it."""
        self._stop()
        self.restarts += cost
        if self.restarts > self.limits.restarts:
            return
        self._start()
        for cell in list(self.done):
            try:
                self._execute(NotebookNode(cell, outputs=[]))  # the outputs of the first run stand
            except Exception:  # it ran before and does not now: it is left out from here on
                self.done.remove(cell)
                self._restart()
                return


def _fail(cell: NotebookNode, name: str, sentence: str) -> None:
    cell.outputs = [output for output in cell.outputs if output.output_type != "error"]
    cell.outputs.append(new_output("error", ename=name, evalue=sentence, traceback=[f"{name}: {sentence}"]))
