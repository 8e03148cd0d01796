"""The transport within one process: for self-study and `autograde verify`, where the code is one's own."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from autograde.errors import TimedOut
from autograde.judging.student import Ask
from autograde.sandbox.call_server import CallServer


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
def _alarm(seconds: float) -> Iterator[list[bool]]:
    """Raise _CallTimeout after some seconds, and again every second: a bare `except` may swallow it.

    The list is empty until then.
    """
    expired: list[bool] = []

    def stop(*_: object) -> None:
        expired.append(True)
        raise _CallTimeout

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield expired
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
