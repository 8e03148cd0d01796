"""The transport within one process: for self-study and `autograde verify`, where the code is one's own."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from autograde.errors import TimedOut
from autograde.judging.student import Ask
from autograde.sandbox.allowance import LOOK_SECONDS, Allowance
from autograde.sandbox.call_server import CallServer

AGAIN_SECONDS = 1.0  # after which a call that goes on is stopped again


class _CallTimeout(BaseException):
    """Raised in the learner's code when a call is out of time; `except Exception` does not swallow it."""


def in_process(namespace: dict[str, Any], call_limit: float) -> Ask:
    """A function that asks the answers in `namespace`; a call longer than `call_limit` seconds times out."""
    call_server = CallServer(namespace, interruptible=True)

    def ask(request: str) -> str:
        if threading.current_thread() is not threading.main_thread():
            return call_server.answer(request)  # signals reach the main thread only
        reply = ""
        with _alarm(call_limit) as expired, contextlib.suppress(_CallTimeout):
            reply = call_server.answer(request)
        if expired:
            raise TimedOut
        return reply

    return ask


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[list[float]]:
    """Raise _CallTimeout when a call is out of time, and again every second: a bare `except` may swallow it.

    The list holds when it was raised.
    """
    expired: list[float] = []
    allowance = Allowance(seconds, time.process_time, lives=lambda: True)

    def look(*_: object) -> None:
        if expired and time.monotonic() - expired[-1] < AGAIN_SECONDS:
            return
        try:
            allowance.check()
        except TimeoutError:
            expired.append(time.monotonic())
            raise _CallTimeout from None

    before, often = signal.signal(signal.SIGALRM, look), min(LOOK_SECONDS, seconds)
    signal.setitimer(signal.ITIMER_REAL, often, often)
    try:
        yield expired
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
