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
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from autograde.errors import Died, OutOfTime, StudentError, TimedOut, Unusable
from autograde.judging.verdict import HiddenTestError, NoVerdict, Verdict, read_verdict
from autograde.sandbox.confined import Door
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
MAX_VERDICT_BYTES = 4 << 20
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

    def begin(
        self,
        tests: Path,
        secret: bytes,
        seed: str,
        limits: Limits,
        exercises: Sequence[str] | None = None,
        door: Door | None = None,
    ) -> "Trial":
        """Have one submission judged, on all exercises unless some are named, behind `door` if there is one.

        Raises NoVerdict.
        """
        self.start()
        assert self.control is not None
        (questions, asks), (verdict, says) = socket.socketpair(), socket.socketpair()
        request = {
            "tests": str(tests),
            "secret": secret.hex(),
            "seed": seed,
            "cores": sorted(os.sched_getaffinity(0)),
            "exercises": exercises,
            "limits": vars(limits),
            "first": door.first if door else None,
        }
        with asks, says:
            lines = [asks.fileno(), says.fileno(), *([door.handle] if door else [])]
            try:
                socket.send_fds(self.control, [json.dumps(request).encode()], lines)
            except OSError:
                raise NoVerdict("The judge's server has ended; nothing was recorded. Grade again.") from None
        end = time.monotonic() + limits.judge_wall
        return Trial(Connection(questions.detach()), Connection(verdict.detach()), end)

    def verdict(self, tests: Path, ask: "Ask", secret: bytes, seed: str, limits: Limits) -> Verdict:
        """The verdict of one's own work, on all exercises. Raises NoVerdict or HiddenTestError."""
        trial = self.begin(tests, secret, seed, limits)
        answer_all(trial.questions, ask, limits.judge_wall)
        return trial.result()

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


@dataclass
class Trial:
    """One submission before the judge: the line of its questions, and the line that its verdict comes on."""

    questions: Connection
    verdict: Connection
    end: float  # by time.monotonic

    def result(self) -> Verdict:
        """The verdict, once all questions are answered. Raises NoVerdict or HiddenTestError."""
        with self.verdict as line:
            if not line.poll(max(0.0, self.end - time.monotonic())):
                raise NoVerdict("The judge took too long; nothing was recorded. Grade again.")
            try:
                message = line.recv_bytes(MAX_VERDICT_BYTES).decode(errors="replace")
            except (EOFError, OSError):
                text = "The judge ended without a verdict; nothing was recorded. Grade again."
                raise NoVerdict(text) from None
        if message[:1] == JudgeMessage.VERDICT:
            return read_verdict(message[1:])
        raise HiddenTestError(message[1:] or "The judge ended with an error.")


def answer_all(questions: Connection, ask: "Ask", seconds: float) -> None:
    """Answer what the judge asks on this line, until it asks no more or the time is over."""
    end = time.monotonic() + seconds
    look = select.poll()  # one for all: Connection.poll makes its own each time
    look.register(questions, select.POLLIN)
    with questions:
        while look.poll(max(0, end - time.monotonic()) * 1000):
            try:
                question = questions.recv_bytes().decode(errors="replace")
                answer = JudgeMessage.ANSWER + ask(question)
            except StudentError as error:
                answer = next(key for key, value in FAILURES.items() if type(error) is type(value))
            except (EOFError, OSError):
                return
            with contextlib.suppress(ConnectionError):  # the judge has ended meanwhile: seen above
                questions.send_bytes(answer.encode())
