"""The grader's side of the judge: its server is a process of its own, which forks for every submission.

It is no fork of the process that kernels are forked from: who finds how memory is laid out in a kernel, or in
which order its sets are, knows nothing of the judge's.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from autograde.errors import Died, OutOfTime, StudentError, TimedOut, Unusable
from autograde.judging.verdict import HiddenTestError, NoVerdict, Verdict, read_verdict
from autograde.sandbox.forkserver_client import server_environment
from autograde.sandbox.limits import Limits
from autograde.sandbox.protocol import JudgeMessage

if TYPE_CHECKING:  # it imports NumPy, which the grader does not need
    from autograde.judging.student import Ask

FAILURES: dict[JudgeMessage, StudentError] = {
    JudgeMessage.DIED: Died(),
    JudgeMessage.TIMED_OUT: TimedOut(),
    JudgeMessage.OUT_OF_TIME: OutOfTime(),
    JudgeMessage.UNUSABLE: Unusable("a malformed reply"),
}
SERVER = "import socket, sys; from autograde.judging.judge_process import serve; "
SERVER += "serve(socket.socket(fileno=int(sys.argv[1])))"
STOP_SECONDS = 10.0  # for the server to end


class JudgeClient:
    """Starts the judge's server when it is first needed; close() or the grader's end stops it.

    Forks of the grader share this client. A request is one datagram; the answer comes on a line of its own.
    """

    def __init__(self) -> None:
        self.control: socket.socket | None = None
        self.server: subprocess.Popen[bytes] | None = None
        self.owner = 0

    def start(self) -> None:
        """Start it unless it runs; it warms up while the kernel does. Raises CourseError."""
        if self.control is not None and self.ended(0):
            self.control.close()
            self.control = None
        if self.control is None:
            self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                number = theirs.fileno()
                self.server = subprocess.Popen(
                    [sys.executable, "-P", "-c", SERVER, str(number)],
                    pass_fds=[number],
                    env=server_environment(),
                    cwd="/",  # not the grader's folder, which may go
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
            self.owner = os.getpid()

    def ended(self, seconds: float) -> bool:
        """Whether it has ended by now, or does within so many seconds."""
        assert self.control is not None
        look = select.poll()
        look.register(self.control, 0)  # for hanging up alone
        return bool(look.poll(seconds * 1000))

    @property
    def process(self) -> int:
        """Its process id: the first that it says, once it can."""
        assert self.control is not None
        return int(self.control.recv(64, socket.MSG_PEEK))

    def prepare(self, tests: Path) -> None:
        """Let it collect hidden tests that it is going to be asked for."""
        self.start()
        assert self.control is not None
        with contextlib.suppress(OSError):
            self.control.send(json.dumps({"tests": str(tests)}).encode())

    def verdict(
        self,
        tests: Path,
        ask: "Ask",
        secret: bytes,
        seed: str,
        limits: Limits,
        exercises: Sequence[str] | None = None,
    ) -> Verdict:
        """The verdict of one submission, on all exercises unless some are named.

        Raises NoVerdict or HiddenTestError; never returns half of one.
        """
        self.start()
        assert self.control is not None
        ours, theirs = socket.socketpair()
        cores = sorted(os.sched_getaffinity(0))
        request = {
            "tests": str(tests),
            "secret": secret.hex(),
            "seed": seed,
            "cores": cores,
            "exercises": exercises,
            "limits": vars(limits),
        }
        try:
            socket.send_fds(self.control, [json.dumps(request).encode()], [theirs.fileno()])
        except OSError:
            raise NoVerdict("The judge's server has ended; nothing was recorded. Grade again.") from None
        theirs.close()
        with Connection(ours.detach()) as line:
            return _serve_questions(line, ask, time.monotonic() + limits.judge_wall)

    def close(self) -> None:
        """End it."""
        if self.control is not None:
            with contextlib.suppress(OSError):
                self.control.shutdown(socket.SHUT_WR)
            self.ended(STOP_SECONDS)
            self.control.close()
            self.control = None
        if self.server is not None and self.owner == os.getpid():
            self.server.kill()
            self.server.wait()
            self.server = None


JUDGE_CLIENT = JudgeClient()  # one for the whole process: a class is graded by forks of one server


def _serve_questions(line: Connection, ask: "Ask", deadline: float) -> Verdict:
    look = select.poll()  # one for all: Connection.poll makes its own each time
    look.register(line, select.POLLIN)
    while look.poll(max(0, deadline - time.monotonic()) * 1000):
        try:
            message = line.recv_bytes()
        except (EOFError, OSError):
            raise NoVerdict("The judge ended without a verdict; nothing was recorded. Grade again.") from None
        text = message.decode(errors="replace")
        kind, body = text[:1], text[1:]
        if kind == JudgeMessage.VERDICT:
            return read_verdict(body)
        if kind != JudgeMessage.QUESTION:
            raise HiddenTestError(body or "The judge ended with an error.")
        try:
            answer = JudgeMessage.ANSWER + ask(body)
        except StudentError as error:
            answer = next(key for key, value in FAILURES.items() if type(error) is type(value))
        with contextlib.suppress(ConnectionError):  # the judge has ended meanwhile: seen above
            line.send_bytes(answer.encode())
    raise NoVerdict("The judge took too long; nothing was recorded. Grade again.")
