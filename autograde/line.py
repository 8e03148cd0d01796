"""The grader's end of the line to a kernel: cells and questions go out, outputs and answers come back."""

import json
import socket
import time
from collections.abc import Callable, Iterator

from autograde import frames
from autograde.errors import Unusable

LOOK = 0.5  # seconds between two looks at whether the kernel lives: a child of it may keep the line open


class Line:
    """A message is text, its kind the first letter. Any error but Unusable ends the line."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def await_kernel(self, seconds: float, lives: Callable[[], bool]) -> None:
        """Wait until the kernel is ready: it says so before the learner's code runs. Raises as `run` does."""
        self._hear(time.monotonic() + seconds, lives)

    def run(self, source: str, seconds: float, lives: Callable[[], bool]) -> Iterator[str]:
        """Have a cell run; yields its messages (M) and, last, what says that it has ended (E).

        Raises TimeoutError, EOFError or OSError.
        """
        deadline = self._say("X" + json.dumps(source), seconds)
        kind = ""
        while kind != "E":
            message = self._hear(deadline, lives)
            kind = message[:1]
            yield message

    def ask(self, question: str, seconds: float, lives: Callable[[], bool]) -> str:
        """The answer. Raises Unusable for what is no text, TimeoutError, EOFError or OSError."""
        deadline = self._say("Q" + question, seconds)
        while (message := self._hear(deadline, lives))[:1] != "A":
            pass  # what a thread of the learner's prints meanwhile
        return message[1:]

    def _say(self, message: str, seconds: float) -> float:
        """Send; returns when the time for an answer is over."""
        deadline = time.monotonic() + seconds
        self.end.settimeout(max(seconds, 0.001))
        frames.send(self.end, message)
        return deadline

    def _hear(self, deadline: float, lives: Callable[[], bool]) -> str:
        def take(size: int) -> bytes:
            while (left := deadline - time.monotonic()) > 0:
                self.end.settimeout(min(LOOK, left))
                try:
                    return self.end.recv(size)
                except TimeoutError:
                    if not lives():
                        raise EOFError from None
            raise TimeoutError

        content = frames.receive(take)
        try:
            return content.decode("ascii")
        except UnicodeDecodeError:
            raise Unusable("a malformed reply") from None

    def hang_up(self) -> None:
        """End the line."""
        self.end.close()
