"""A process that works for the grader and its forks: started once, asked over a socket, ended with it."""

import os
import socket
import subprocess
from typing import Any


class Helper:
    """Starts the process when it is first needed; close() or the grader's end stops it.

    Forks of the grader share it: a message is one datagram, and the answer comes on a line of its own.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.owner = 0

    def running(self) -> bool:
        """Whether it was started and, as far as can be told from here, has not ended."""
        return self.process is not None and (self.owner != os.getpid() or self.process.poll() is None)

    def launch(self, command: list[str], *keep: int, **how: Any) -> None:
        """Run `command`, the number of its socket behind; not in the grader's folder, which may go.

        It inherits the descriptors `keep`.
        """
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            fds = [number, *keep]
            self.process = subprocess.Popen([*command, str(number)], pass_fds=fds, cwd="/", **how)
        self.owner = os.getpid()

    def close(self) -> None:
        """End the process."""
        if self.control is not None and self.process is not None:
            self.control.close()
            self.process.wait()
            self.process = self.control = None
