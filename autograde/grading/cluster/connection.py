"""The grader's end of a cluster: submissions go to the dispatcher's process, and come back judged."""

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autograde.course import Course, hidden_tests
from autograde.errors import CourseError
from autograde.grading.cluster.address import Address

DATAGRAM_BYTES = 1 << 16
STOP_SECONDS = 20.0  # for the dispatcher to end: workers wipe what they had
ENDED = "What speaks with the cluster has ended: run again."


class Cluster:
    """A cluster that judges, for a `with` statement; `folder` is for files of this run.

    unfit: why workers may not judge, by their address.
    """

    def __init__(self, where: Address, folder: Path) -> None:
        self.unfit: dict[str, str] = {}
        self.workers: int | None = None  # None until some are known
        self.waiting: list[dict[str, Any]] = []
        self.stopped = ""
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = (str(theirs.fileno()), where.url, str(folder))
            self.dispatcher = subprocess.Popen(
                [sys.executable, "-P", "-m", "autograde.grading.cluster.dispatcher", *words],
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *error: object) -> None:
        self.line.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.dispatcher.wait(STOP_SECONDS)
        self.dispatcher.kill()
        self.dispatcher.wait()

    def begin(self, course: Course, lesson: str, modules: Sequence[str]) -> None:
        """Say what is judged with: hidden tests and secret are read by the dispatcher, not here."""
        files = {
            "released": str(course.released(lesson)),
            "tests": str(hidden_tests(lesson)),
            "secret": str(course.grading / "secret"),
        }
        self._send(lesson=lesson, modules=list(modules), **files)

    def room(self, most: int) -> int:
        """How many submissions may be on their way, so that no worker has to wait. Raises CourseError."""
        while self.workers is None:
            self._hear()
        return min(most, 2 * self.workers + 1)

    def send(self, index: int, file: str) -> None:
        """Have a task judged."""
        self._send(index=index, file=file)

    def back(self, wait: bool) -> list[dict[str, Any]]:
        """What came back by now; with `wait`, at least one. Raises CourseError where the cluster is lost."""
        while wait and not self.waiting:
            self._hear()
        self.line.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while not self.stopped:
                self._take()
        found, self.waiting = self.waiting, []
        return found

    def _send(self, **what: Any) -> None:
        with contextlib.suppress(ConnectionError):  # why it has ended is heard
            self.line.setblocking(True)
            self.line.send(json.dumps(what).encode())

    def _hear(self) -> None:
        """Wait for the next word. Raises CourseError."""
        if self.stopped:
            refused = [f"Worker {name} {why}." for name, why in self.unfit.items()]
            raise CourseError(" ".join([self.stopped, *refused]))
        self.line.setblocking(True)
        self._take()

    def _take(self) -> None:
        try:
            message = self.line.recv(DATAGRAM_BYTES)
        except ConnectionError:  # of what it had not read; what it said last still comes
            message = self.line.recv(DATAGRAM_BYTES)
        found = json.loads(message or json.dumps({"stop": ENDED}))
        if "stop" in found:
            self.stopped = found["stop"]
        elif "workers" in found:
            self.workers = found["workers"]
        elif "unfit" in found:
            self.unfit[found["unfit"]] = found["why"]
        else:
            self.waiting.append(found)
