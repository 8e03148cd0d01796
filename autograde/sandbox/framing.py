"""Messages on the line between the grader and a kernel, on both sides: a text with its length before it."""

import socket
from collections.abc import Callable

MAX_BYTES = 64 << 20
HEADER_BYTES = 8  # say how long the message behind them is
CHUNK_BYTES = 1 << 20  # read at once, at most


class WireError(ValueError):
    """A value that cannot cross the line, or bytes that are not a well-formed message."""


def send(line: socket.socket, message: str) -> None:
    """Send a text in ASCII, its length before it."""
    content = message.encode("ascii")
    line.sendall(len(content).to_bytes(HEADER_BYTES, "big") + content)


def receive(take: Callable[[int], bytes]) -> bytes:
    """What one `send` sent; `take(n)` gives n bytes or fewer, none at the end of the line.

    Raises EOFError there, and WireError for a message that is longer than any may be.
    """
    size = int.from_bytes(_exactly(take, HEADER_BYTES), "big")
    if size > MAX_BYTES:
        raise WireError("the message is too large")
    return _exactly(take, size)


def _exactly(take: Callable[[int], bytes], size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        part = take(min(size - len(got), CHUNK_BYTES))
        if not part:
            raise EOFError
        got += part
    return bytes(got)
