"""The grader's end of the line to a kernel: cells and questions go out, outputs and answers come back."""

import json
import socket
import time
from collections.abc import Callable, Iterator

from autograde.errors import Unusable
from autograde.sandbox import framing
from autograde.sandbox.protocol import KernelMessage

ALIVE_SECONDS = 0.5  # between two looks at whether the kernel lives: a child of it may keep the line open


class Channel:
    """Sends and receives KernelMessages. After any error but Unusable it is of no more use."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def await_kernel(self, seconds: float, lives: Callable[[], bool]) -> None:
        """Wait until the kernel is ready: it says so before the learner's code runs. Raises as `run` does."""
        self._receive(time.monotonic() + seconds, lives)

    def run(self, source: str, seconds: float, lives: Callable[[], bool]) -> Iterator[str]:
        """Have a cell run; yields its messages and, last, the one that says that it has ended.

        Raises TimeoutError, EOFError or OSError.
        """
        deadline = self._send(KernelMessage.CELL + json.dumps(source), seconds)
        kind = ""
        while kind != KernelMessage.ENDED:
            message = self._receive(deadline, lives)
            kind = message[:1]
            yield message

    def ask(self, question: str, seconds: float, lives: Callable[[], bool]) -> str:
        """The answer. Raises Unusable for what is no text, TimeoutError, EOFError or OSError."""
        deadline = self._send(KernelMessage.QUESTION + question, seconds)
        while (message := self._receive(deadline, lives))[:1] != KernelMessage.ANSWER:
            pass  # what a thread of the learner's prints meanwhile
        return message[1:]

    def _send(self, message: str, seconds: float) -> float:
        """Send; returns when the time for an answer is over."""
        deadline = time.monotonic() + seconds
        self.end.settimeout(max(seconds, 0.001))
        framing.send(self.end, message)
        return deadline

    def _receive(self, deadline: float, lives: Callable[[], bool]) -> str:
        def take(size: int) -> bytes:
            while (left := deadline - time.monotonic()) > 0:
                self.end.settimeout(min(ALIVE_SECONDS, left))
                try:
                    return self.end.recv(size)
                except TimeoutError:
                    if not lives():
                        raise EOFError from None
            raise TimeoutError

        content = framing.receive(take)
        try:
            return content.decode("ascii")
        except UnicodeDecodeError:
            raise Unusable("a malformed reply") from None

    def hang_up(self) -> None:
        """Close this end; the kernel's process ends when it reads on."""
        self.end.close()
