"""Messages on a line between the grader and a kernel: a text with its length before it, on both sides."""

import socket
from collections.abc import Callable

MAX_BYTES = 64 << 20
HEADER = 8  # bytes that say how long the message behind them is
CHUNK = 1 << 20  # bytes that are read at once, at most


class WireError(ValueError):
    """A value that cannot cross, or a message that is none."""


def send(line: socket.socket, message: str) -> None:
    """Send a line of text, its length before it."""
    content = message.encode("ascii")
    line.sendall(len(content).to_bytes(HEADER, "big") + content)


def receive(take: Callable[[int], bytes]) -> bytes:
    """What one `send` sent; `take(n)` gives n bytes or fewer, none at the end of the line.

    Raises EOFError there, and WireError for a message that is longer than any may be.
    """

    def exactly(size: int) -> bytes:
        got = bytearray()
        while len(got) < size:
            part = take(min(size - len(got), CHUNK))
            if not part:
                raise EOFError
            got += part
        return bytes(got)

    size = int.from_bytes(exactly(HEADER), "big")
    if size > MAX_BYTES:
        raise WireError("the message is too large")
    return exactly(size)
