"""The grader's end of the line to a kernel: cells and questions go out, outputs and answers come back."""

import json
import socket
from collections.abc import Iterator

from autograde.errors import Unusable
from autograde.sandbox import framing
from autograde.sandbox.allowance import LOOK_SECONDS, Allowance
from autograde.sandbox.protocol import KernelMessage


class Channel:
    """Sends and receives KernelMessages. After any error but Unusable it is of no more use."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def await_kernel(self, allowance: Allowance) -> None:
        """Wait until the kernel is ready: it says so before the learner's code runs. Raises as `run` does."""
        self._receive(allowance)

    def run(self, source: str, allowance: Allowance) -> Iterator[str]:
        """Have a cell run; yields its messages and, last, the one that says that it has ended.

        Raises TimeoutError, EOFError or OSError.
        """
        self._send(KernelMessage.CELL + json.dumps(source), allowance)
        kind = ""
        while kind != KernelMessage.ENDED:
            message = self._receive(allowance)
            kind = message[:1]
            yield message

    def ask(self, question: str, allowance: Allowance) -> str:
        """The answer. Raises Unusable for what is no text, TimeoutError, EOFError or OSError."""
        self._send(KernelMessage.QUESTION + question, allowance)
        while (message := self._receive(allowance))[:1] != KernelMessage.ANSWER:
            pass  # what a thread of the learner's prints meanwhile
        return message[1:]

    def _send(self, message: str, allowance: Allowance) -> None:
        # a kernel that waits reads at once; one that does not read is asleep
        self.end.settimeout(max(allowance.seconds, 0.001))
        framing.send(self.end, message)

    def _receive(self, allowance: Allowance) -> str:
        def take(size: int) -> bytes:
            self.end.settimeout(LOOK_SECONDS)
            while True:
                allowance.check()  # also where much comes: a child of a dead kernel may keep the line open
                try:
                    return self.end.recv(size)
                except TimeoutError:
                    pass

        content = framing.receive(take)
        try:
            return content.decode("ascii")
        except UnicodeDecodeError:
            raise Unusable("a malformed reply") from None

    def hang_up(self) -> None:
        """Close this end; the kernel's process ends when it reads on."""
        self.end.close()
