"""The judge in a process of its own: one fork a submission, with limits and without the gradebook.

The judge's server imports pytest and collects the tests once; then it forks for every submission. The fork
goes into the sandbox of what reads foreign things, asks its questions over a socket, which are answered from
the learner's kernel (judge_client.py), and ends with the verdict as JSON on another. Nothing is unpickled.
"""

import contextlib
import gc
import json
import os
import resource
import signal
import socket
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from autograde.errors import Died
from autograde.judging.judge import Judge, run
from autograde.judging.judge_client import FAILURES
from autograde.judging.student import Ask
from autograde.judging.verdict import HiddenTestError, verdict_text
from autograde.sandbox.confined import Door
from autograde.sandbox.limits import Limits
from autograde.sandbox.protocol import JudgeMessage
from autograde.sandbox.seccomp import FOR_READERS, program


class JudgeServer:
    """Takes requests and forks for each, with the tests collected before."""

    def __init__(self, control: socket.socket) -> None:
        self.control, self.process = control, os.getpid()
        self.waiting: tuple[dict[str, Any], list[int]] | None = None  # a request and its descriptors
        self.serves = False  # whether pytest has come as far as to serve
        self.lines: tuple[Connection, Connection] | None = None  # for questions and verdict, in a fork

    def tests(self) -> tuple[str, int]:
        """The file that is asked for, and its age; ends the process when the grader has hung up."""
        if self.waiting is None:
            message, descriptors, *_ = socket.recv_fds(self.control, 1 << 16, 3)
            if not message:
                os._exit(0)
            self.waiting = json.loads(message), descriptors
        path = Path(self.waiting[0]["tests"])
        return str(path), path.stat().st_mtime_ns if path.exists() else 0

    def serve(self, plugin: Judge, session: pytest.Session) -> bool | None:
        """Within Judge.serve: goes on in each fork; here, until other tests are asked for."""
        tests, self.serves = self.tests(), True
        gc.freeze()  # so that a fork's garbage collector leaves the shared pages alone
        while self.tests() == tests:
            assert self.waiting is not None
            request, descriptors = self.waiting
            self.waiting = None
            if descriptors and os.fork() == 0:  # without, it was to prepare, no more
                self.begin(plugin, session, request, *descriptors)
                return None
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def begin(
        self,
        plugin: Judge,
        session: pytest.Session,
        request: dict[str, Any],
        questions: int,
        verdict: int,
        *handle: int,
    ) -> None:
        """Make this fork the judge of one submission."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.sched_setaffinity(0, request["cores"])
        limits = Limits(**request["limits"])
        if handle:
            Door(request["first"], *handle).enter(
                limits, program(FOR_READERS), self.process, questions, verdict
            )
        _limit(limits)
        self.lines = Connection(questions), Connection(verdict)
        plugin.ask = _asks(self.lines[0])
        plugin.secret, plugin.seeds = bytes.fromhex(request["secret"]), [request["seed"]]
        if request["exercises"] is not None:
            plugin.keep(session, frozenset(request["exercises"]))

    def collect(self) -> None:
        """Collect what is asked for and serve it; in a fork, send the verdict and end."""
        (first, _), self.serves = self.tests(), False
        try:
            plugin = Judge(_asks_nobody, b"", [""])
            plugin.serve = lambda session: self.serve(plugin, session)
            (verdict,) = run(Path(first), plugin)
            answer = JudgeMessage.VERDICT + verdict_text(verdict)
        except HiddenTestError as error:
            answer = JudgeMessage.FAULT + str(error)
            if self.waiting and not self.serves:
                _refuse(self.waiting[1], answer)
                self.waiting = None
        if self.lines is not None:
            self.lines[0].close()  # which says that no more is asked
            _send(self.lines[1], answer)
            os._exit(0)


def serve(control: socket.socket) -> None:
    """Say which process this is, then fork once for every request until the grader hangs up."""
    control.send(str(os.getpid()).encode())
    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the grader's Ctrl-C: it hangs up
    with contextlib.suppress(ImportError, RuntimeError):  # without libseccomp there is no sandbox to go into
        program(FOR_READERS)  # is made once, for every fork
    server = JudgeServer(control)
    while True:
        server.collect()


def _refuse(descriptors: list[int], answer: str) -> None:
    """Say why there will be no verdict, to who asked for one."""
    lines = [Connection(descriptor) for descriptor in descriptors[:2]]
    for line in lines[1:]:
        _send(line, answer)
    for line in lines:
        line.close()
    for descriptor in descriptors[2:]:
        os.close(descriptor)


def _send(line: Connection, answer: str) -> None:
    """Send it to the grader, unless it is gone."""
    with contextlib.suppress(ConnectionError):
        line.send_bytes(answer.encode())


def _asks_nobody(question: str) -> str:
    raise Died


def _asks(line: Connection) -> Ask:
    def ask(question: str) -> str:
        line.send_bytes(question.encode())
        reply = line.recv_bytes().decode()
        if reply[:1] != JudgeMessage.ANSWER:
            raise FAILURES[JudgeMessage(reply[:1])]
        return reply[1:]

    return ask


def _limit(limits: Limits) -> None:
    """Bounds that hold whatever a reply makes the hidden tests do."""
    resource.setrlimit(resource.RLIMIT_CPU, (limits.judge_cpu, limits.judge_cpu))
    resource.setrlimit(resource.RLIMIT_AS, (limits.judge_memory, limits.judge_memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(limits.judge_wall)
