"""The judge in a process of its own: one fork a submission, with limits and without the gradebook.

A small server imports pytest and torch once and then forks for every submission. The fork asks its questions
over a socket, which the grader answers from the learner's kernel, and ends with the verdict as JSON. Nothing
that comes over the socket is unpickled on either side.
"""

import contextlib
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
from autograde.judge import ROW, HiddenTestError, Verdict, import_once, judge
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
            line.send_bytes(b"R" + ask(body).encode())
        except StudentError as error:
            line.send_bytes(next(key for key, value in FAILURES.items() if type(error) is type(value)))
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


def _main(control: socket.socket) -> None:
    """Fork once for every request until the grader hangs up."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the grader's Ctrl-C: it hangs up
    while True:
        message, descriptors, *_ = socket.recv_fds(control, 1 << 16, 1)
        if not message:
            return
        request = json.loads(message)
        import_once(Path(request["tests"]))
        if os.fork() == 0:
            control.close()
            with contextlib.suppress(EOFError, ConnectionError):  # the grader is gone
                _judge_one(request, Connection(descriptors[0]))
            os._exit(0)
        os.close(descriptors[0])


def _judge_one(request: dict[str, Any], line: Connection) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _limit(Limits(**request["limits"]))

    def ask(question: str) -> str:
        line.send_bytes(b"A" + question.encode())
        reply = line.recv_bytes()
        if reply[:1] != b"R":
            raise FAILURES[reply[:1]]
        return reply[1:].decode()

    try:
        (verdict,) = judge(Path(request["tests"]), ask, bytes.fromhex(request["secret"]), [request["seed"]])
        line.send_bytes(b"V" + json.dumps(verdict).encode())
    except HiddenTestError as error:
        line.send_bytes(b"E" + str(error).encode())


def _limit(limits: Limits) -> None:
    """Bounds that hold whatever a reply makes the hidden tests do."""
    resource.setrlimit(resource.RLIMIT_CPU, (limits.judge_cpu, limits.judge_cpu))
    resource.setrlimit(resource.RLIMIT_AS, (limits.judge_memory, limits.judge_memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(limits.judge_wall)


if __name__ == "__main__":
    _main(socket.socket(fileno=int(sys.argv[1])))
