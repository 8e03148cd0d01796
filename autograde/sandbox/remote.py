"""Kernels for a confined process: it speaks with them, its parent makes them, measures them and ends them."""

import socket
from pathlib import Path
from typing import Any

from autograde.sandbox.channel import Channel
from autograde.sandbox.confined import Host, Reply
from autograde.sandbox.kernel_process import KernelFactory, KernelProcess


class RemoteKernel:
    """The confined side: a Session's kernel."""

    def __init__(self, host: Host) -> None:
        self.host = host
        host.ask("kernel")
        self.channel = Channel(socket.socket(fileno=host.take()))

    def cpu(self) -> float:
        """As KernelProcess has it."""
        return float(self.host.ask("cpu"))

    def lives(self) -> bool:
        """As KernelProcess has it."""
        return bool(self.host.ask("lives"))

    def stop(self) -> None:
        """End it."""
        self.channel.hang_up()
        self.host.ask("stop")


class KernelHost:
    """The parent's side: one kernel at a time, in a copy of the folder; at the end it has to `stop`."""

    def __init__(self, kernels: KernelFactory, folder: Path) -> None:
        self.kernels, self.folder = kernels, folder
        self.kernel: KernelProcess | None = None

    def answer(self, request: dict[str, Any]) -> Reply | None:
        """What a RemoteKernel asks; None where it is no question of that kind. Raises CourseError."""
        what = request.get("ask")
        if what == "kernel":
            self.stop()
            self.kernel = self.kernels.start(self.folder)
            return True, self.kernel.channel.end.fileno()
        if what == "stop":
            self.stop()
            return True, None
        if what == "cpu":
            return self.kernel.cpu() if self.kernel else 0.0, None
        if what == "lives":
            return self.kernel is not None and self.kernel.lives(), None
        return None

    def stop(self) -> None:
        """End the kernel, if there is one."""
        kernel, self.kernel = self.kernel, None
        if kernel is not None:
            kernel.stop()
