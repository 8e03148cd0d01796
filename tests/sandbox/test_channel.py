"""The line to a kernel: what comes is in time, of the kind that is awaited, and text, or it is an error."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from autograde.errors import Unusable
from autograde.sandbox import framing
from autograde.sandbox.allowance import Allowance
from autograde.sandbox.channel import Channel


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield Channel(ours), theirs
    ours.close()
    theirs.close()


def seconds(most: float, lives: bool = True) -> Allowance:
    return Allowance(most, cpu=lambda: 0.0, lives=lambda: lives)


def behind(work: Callable[[], None]) -> None:
    def until_the_end() -> None:
        with contextlib.suppress(OSError):
            work()

    threading.Thread(target=until_the_end, daemon=True).start()


def test_a_cell_is_sent_as_it_is_and_ends_with_its_end(ends):
    channel, theirs = ends
    for message in ("M1", "A2", "M3", "E4", "M5"):
        framing.send(theirs, message)
    assert list(channel.run("x = '\u00e4\ud800'", seconds(1))) == ["M1", "A2", "M3", "E4"]
    sent = framing.receive(theirs.recv).decode()
    assert (sent[0], json.loads(sent[1:])) == ("X", "x = '\u00e4\ud800'")


def test_only_an_answer_answers(ends):
    channel, theirs = ends
    for message in ("M1", "E2", "", "A3", "A4"):
        framing.send(theirs, message)
    assert channel.ask("q", seconds(1)) == "3"
    assert framing.receive(theirs.recv) == b"Qq"


def test_bytes_that_trickle_win_no_time(ends):
    channel, theirs = ends

    def trickle() -> None:
        theirs.sendall((1000).to_bytes(8, "big"))
        while True:
            time.sleep(0.05)
            theirs.send(b"A")

    behind(trickle)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        channel.ask("q", seconds(0.5))
    assert time.monotonic() - start < 40  # all of it would take fifty


def test_messages_of_other_kinds_win_no_time(ends):
    channel, theirs = ends

    def flood() -> None:
        while True:
            framing.send(theirs, "Z")

    behind(flood)
    with pytest.raises(TimeoutError):
        channel.ask("q", seconds(0.5))


def test_a_question_that_is_not_read_is_a_time_out(ends):
    channel, _ = ends
    with pytest.raises(TimeoutError):
        channel.ask("q" * (8 << 20), seconds(0.5))


def test_a_dead_kernel_ends_the_line_though_somebody_holds_it(ends):
    channel, theirs = ends
    with pytest.raises(EOFError):
        channel.ask("q", seconds(30, lives=False))
    theirs.close()
    with pytest.raises((EOFError, OSError)):
        channel.ask("q", seconds(30))


def test_what_is_no_text_or_too_long_is_no_answer(ends):
    channel, theirs = ends
    theirs.sendall((2).to_bytes(8, "big") + b"A\xff")
    with pytest.raises(Unusable):
        channel.ask("q", seconds(1))
    framing.send(theirs, "A1")
    assert channel.ask("q", seconds(1)) == "1"
    theirs.sendall((2**62).to_bytes(8, "big"))
    with pytest.raises(framing.WireError):
        channel.ask("q", seconds(1))
