"""jupyter_client and nbclient for a kernel that runs a stranger's code: bounded, connected only once."""

import asyncio
import contextlib
import math
import queue
import time
from typing import Any

import zmq
import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

from autograde import wire
from autograde.limits import Limits

LOST = {"ename": "Error", "evalue": "its text was too long", "traceback": ["[too long]"]}
MESSAGE = 2 * wire.MAX_BYTES  # bytes of the largest message that a kernel may send
LOOK, LAST = 0.005, 10.0  # seconds between two looks at whether the kernel has ended, and for all of them


class Client(NotebookClient):
    """nbclient's client with a cap on the bytes of a cell's output."""

    km: AsyncKernelManager
    limits: Limits
    received = allowed = 0
    flooded = failed = False

    def process_message(
        self, msg: dict[str, Any], cell: NotebookNode, cell_index: int
    ) -> NotebookNode | None:
        """Count what arrives; keep it up to the limit, and end a kernel that floods."""
        self.received += _size(msg.get("content"))
        if self.received > self.limits.flood_bytes and not self.flooded:
            self.flooded = True
            assert self.km.provisioner is not None
            self.end = asyncio.ensure_future(self.km.provisioner.kill())  # nbclient finds it dead
        if self.received > self.allowed and msg["msg_type"] != "status":
            if msg["msg_type"] != "error" or self.failed:
                return None
            self.failed, msg = True, {**msg, "content": LOST}
        return super().process_message(msg, cell, cell_index)

    def handle_comm_msg(self, outs: list[NotebookNode], msg: dict[str, Any], cell_index: int) -> None:
        """Widgets have nobody to talk to here; nbclient's answers can lose the kernel's reply to the cell."""

    async def _async_poll_kernel_alive(self) -> None:
        """nbclient's watch, which outlives a cell that fails: once the connection is gone it is over."""
        with contextlib.suppress(AssertionError):
            await super()._async_poll_kernel_alive()


def _careful(owner: Any) -> zmq.asyncio.Context:
    """A context that connects once, before the learner's code runs, and takes no message that is too large.

    A socket that the learner's code replaced, by a link to another one, say, is never connected to.
    """
    context = zmq.asyncio.Context()
    # in eleven days: never (-1) would end the connection at once, and ZeroMQ this process if it reads then
    context.setsockopt(zmq.RECONNECT_IVL, 10**9)
    context.setsockopt(zmq.MAXMSGSIZE, MESSAGE)
    owner._created_context = True
    return context


class Channels(AsyncKernelClient):
    """The connections to the kernel."""

    _context_default = _careful

    def start_channels(self, *wanted: bool, **named: bool) -> None:
        """All but the heartbeat, which waits for ever where its connection is broken, and is not used."""
        super().start_channels(*wanted, **{**named, "hb": False})

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """jupyter_client's, without the fifth of a second in which it then listens for nothing."""
        end = time.monotonic() + (timeout or math.inf)
        while time.monotonic() < end:
            number = self.kernel_info()
            with contextlib.suppress(queue.Empty):
                self._handle_kernel_info_reply(await self.get_shell_msg(timeout=1))
                while True:  # until both channels are known to be connected
                    message = await self.get_iopub_msg(timeout=0.2)
                    if (
                        message["parent_header"].get("msg_id") == number
                        and message["content"].get("execution_state") == "idle"
                    ):
                        return
            if not await self.is_alive():
                break
        raise RuntimeError("the kernel does not answer")


class Manager(AsyncKernelManager):
    """Starts and ends the kernel, and has a connection of its own."""

    _context_default = _careful


async def end_kernel(manager: AsyncKernelManager) -> None:
    """Kill the kernel and see it gone, which jupyter_client looks for only ten times a second."""
    if (provisioner := manager.provisioner) is not None:
        await provisioner.kill()
        last = time.monotonic() + LAST
        while await provisioner.poll() is None and time.monotonic() < last:
            await asyncio.sleep(LOOK)


def _size(content: object) -> int:
    """Bytes of text in a message, roughly; enough to stop a flood."""
    if isinstance(content, str):
        return len(content)
    if isinstance(content, dict):
        return sum(map(_size, content.values()))
    if isinstance(content, list):
        return sum(map(_size, content))
    return 8
