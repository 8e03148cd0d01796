"""The judge in a process of its own: one fork a submission, with limits and without the gradebook.

The judge's server imports pytest and collects the tests once; then it forks for every submission. The fork
asks its questions over a socket, which the grader (judge_client.py) answers from the learner's kernel, and
ends with the verdict as JSON. Nothing that comes over it is unpickled.
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
from autograde.sandbox.limits import Limits
from autograde.sandbox.protocol import JudgeMessage


class JudgeServer:
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

    def serve(self, plugin: Judge, session: pytest.Session) -> bool | None:
        """Within Judge.serve: goes on in each fork; here, until other tests are asked for."""
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
                if request["exercises"] is not None:
                    plugin.keep(session, frozenset(request["exercises"]))
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.sched_setaffinity(0, request["cores"])
                _limit(Limits(**request["limits"]))
                return None
            line.close()
        return True

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
                _send(self.waiting[1], answer)
                self.waiting = None
        if self.line is not None:
            _send(self.line, answer)
            os._exit(0)


def serve(control: socket.socket) -> None:
    """Say which process this is, then fork once for every request until the grader hangs up."""
    control.send(str(os.getpid()).encode())
    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the grader's Ctrl-C: it hangs up
    server = JudgeServer(control)
    while True:
        server.collect()


def _send(line: Connection | None, answer: str) -> None:
    """Send it to the grader, unless none is waiting or it is gone."""
    if line is not None:
        with contextlib.suppress(ConnectionError):
            line.send_bytes(answer.encode())


def _asks_nobody(question: str) -> str:
    raise Died


def _asks(line: Connection) -> Ask:
    def ask(question: str) -> str:
        line.send_bytes((JudgeMessage.QUESTION + question).encode())
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
