"""The line by which the judge's questions reach a kernel: connected before the learner's code runs."""

import os
import socket
import time
from collections.abc import Callable

from autograde import wire
from autograde.student import Unusable

LOOK = 0.5  # seconds between two looks at whether the kernel lives: a child of it may keep the line open


class Line:
    """The grader's end. It listens for one call in a folder that the kernel shares."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.end = socket.socket(socket.AF_UNIX)
        self.end.bind(path)
        self.end.listen(1)

    def connect(self, seconds: float) -> None:
        """Take the call, and no other. Raises TimeoutError where none came."""
        with self.end as listener:
            listener.settimeout(seconds)
            self.end, _ = listener.accept()
        os.unlink(self.path)

    def ask(self, question: str, seconds: float, lives: Callable[[], bool]) -> str:
        """The answer. Raises Unusable for what is no text; TimeoutError and other errors end the line."""
        deadline = time.monotonic() + seconds

        def take(size: int) -> bytes:
            while (left := deadline - time.monotonic()) > 0:
                self.end.settimeout(min(LOOK, left))
                try:
                    return self.end.recv(size)
                except TimeoutError:
                    if not lives():
                        raise EOFError from None
            raise TimeoutError

        self.end.settimeout(seconds)
        wire.send(self.end, question)
        try:
            return wire.receive(take).decode("ascii")
        except UnicodeDecodeError:
            raise Unusable("a malformed reply") from None

    def hang_up(self) -> None:
        """End the line: the kernel is done with answering."""
        self.end.close()
