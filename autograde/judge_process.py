"""The judge in a process of its own: one fork a submission, with limits and without the gradebook.

A small server imports pytest and torch and collects the tests once; then it forks for every submission. The
fork asks its questions over a socket, which the grader answers from the learner's kernel, and ends with the
verdict as JSON. Nothing that comes over the socket is unpickled on either side.
"""

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from autograde.errors import CourseError
from autograde.helper import Helper
from autograde.judge import ROW, HiddenTestError, Judge, Verdict, run
from autograde.limits import Limits
from autograde.student import Ask, Died, StudentError, TimedOut, Unusable

FAILURES: dict[bytes, StudentError] = {b"D": Died(), b"T": TimedOut(), b"U": Unusable("a malformed reply")}


class NoVerdict(CourseError):
    """The judge ended without a verdict: an error of the course, never points."""


class JudgeServer(Helper):
    """The grader's side."""

    def start(self) -> None:
        """Start the server unless it runs; it warms up while the kernel does."""
        if not self.running():
            self.launch([sys.executable, "-P", "-m", "autograde.judge_process"], stdin=subprocess.DEVNULL)

    def prepare(self, tests: Path) -> None:
        """Let it collect hidden tests that it is going to be asked for."""
        self.start()
        assert self.control is not None
        with contextlib.suppress(OSError):
            self.control.send(json.dumps({"tests": str(tests)}).encode())

    def verdict(self, tests: Path, ask: Ask, secret: bytes, seed: str, limits: Limits) -> Verdict:
        """The verdict of one submission. Raises NoVerdict or HiddenTestError; never returns half of one."""
        self.start()
        assert self.control is not None
        ours, theirs = socket.socketpair()
        request = {"tests": str(tests), "secret": secret.hex(), "seed": seed, "limits": vars(limits)}
        try:
            socket.send_fds(self.control, [json.dumps(request).encode()], [theirs.fileno()])
        except OSError:
            raise NoVerdict("The judge's server has ended; nothing was recorded. Grade again.") from None
        theirs.close()
        with Connection(ours.detach()) as line:
            return _serve_questions(line, ask, time.monotonic() + limits.judge_wall)


SERVER = JudgeServer()  # one for the whole process: a class is graded by forks of it


def _serve_questions(line: Connection, ask: Ask, deadline: float) -> Verdict:
    while line.poll(max(0, deadline - time.monotonic())):
        try:
            message = line.recv_bytes()
        except (EOFError, OSError):
            raise NoVerdict("The judge ended without a verdict; nothing was recorded. Grade again.") from None
        kind, body = message[:1], message[1:].decode(errors="replace")
        if kind == b"V":
            return _checked(body)
        if kind != b"A":
            raise HiddenTestError(body or "The judge ended with an error.")
        try:
            answer = b"R" + ask(body).encode()
        except StudentError as error:
            answer = next(key for key, value in FAILURES.items() if type(error) is type(value))
        with contextlib.suppress(ConnectionError):  # the judge has ended meanwhile: seen above
            line.send_bytes(answer)
    raise NoVerdict("The judge took too long; nothing was recorded. Grade again.")


def _checked(body: str) -> Verdict:
    """The verdict in a message. Raises NoVerdict where it is cut short or malformed."""
    try:
        verdict = json.loads(body)
        rows = [row for tests in verdict.values() for row in tests]
        sound = all(
            set(row) == set(ROW) and type(row["passed"]) is bool and row["weight"] > 0 for row in rows
        )
    except (ValueError, AttributeError, TypeError):
        sound = False
    if not sound:
        raise NoVerdict("The judge's verdict is malformed; nothing was recorded. Grade again.")
    return verdict


class Desk:
    """Takes requests and forks for each, with the tests collected before."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.waiting: tuple[dict[str, Any], Connection | None] | None = None
        self.serves = False  # whether pytest has come as far as to serve
        self.line: Connection | None = None  # to the grader, in a fork

    def tests(self) -> tuple[str, int]:
        """The file that is asked for, and its age; ends the process when the grader has hung up."""
        if self.waiting is None:
            message, descriptors, *_ = socket.recv_fds(self.control, 1 << 16, 1)
            if not message:
                os._exit(0)
            self.waiting = json.loads(message), Connection(descriptors[0]) if descriptors else None
        path = Path(self.waiting[0]["tests"])
        return str(path), path.stat().st_mtime_ns if path.exists() else 0

    def serve(self, plugin: Judge) -> bool | None:
        """Judge.serve: goes on in each fork; here, until other tests are asked for."""
        tests, self.serves = self.tests(), True
        gc.freeze()  # so that a fork's garbage collector leaves the shared pages alone
        while self.tests() == tests:
            assert self.waiting is not None
            request, line = self.waiting
            self.waiting = None
            if line is None:  # it was to prepare, no more
                continue
            if os.fork() == 0:
                self.control.close()
                self.line, plugin.ask = line, _asks(line)
                plugin.secret, plugin.seeds = bytes.fromhex(request["secret"]), [request["seed"]]
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _limit(Limits(**request["limits"]))
                return None
            line.close()
        return True

    def collect(self) -> None:
        """Collect what is asked for and serve it; in a fork, send the verdict and end."""
        (first, _), self.serves = self.tests(), False
        try:
            (verdict,) = run(Path(first), Judge(_asks_nobody, b"", [""], serve=self.serve))
            answer = b"V" + json.dumps(verdict).encode()
        except HiddenTestError as error:
            answer = b"E" + str(error).encode()
            if self.waiting and not self.serves:
                _send(self.waiting[1], answer)
                self.waiting = None
        if self.line is not None:
            _send(self.line, answer)
            os._exit(0)


def _main(control: socket.socket) -> None:
    """Fork once for every request until the grader hangs up."""
    import torch

    torch.set_num_threads(1)
    torch.broadcast_shapes((1,), (1,))  # its first call imports for a quarter of a second
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the grader's Ctrl-C: it hangs up
    desk = Desk(control)
    while True:
        desk.collect()


def _send(line: Connection | None, answer: bytes) -> None:
    """Send it to the grader, unless none is waiting or it is gone."""
    if line is not None:
        with contextlib.suppress(ConnectionError):
            line.send_bytes(answer)


def _asks_nobody(question: str) -> str:
    raise Died


def _asks(line: Connection) -> Ask:
    def ask(question: str) -> str:
        line.send_bytes(b"A" + question.encode())
        reply = line.recv_bytes()
        if reply[:1] != b"R":
            raise FAILURES[reply[:1]]
        return reply[1:].decode()

    return ask


def _limit(limits: Limits) -> None:
    """Bounds that hold whatever a reply makes the hidden tests do."""
    resource.setrlimit(resource.RLIMIT_CPU, (limits.judge_cpu, limits.judge_cpu))
    resource.setrlimit(resource.RLIMIT_AS, (limits.judge_memory, limits.judge_memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(limits.judge_wall)


if __name__ == "__main__":
    _main(socket.socket(fileno=int(sys.argv[1])))
