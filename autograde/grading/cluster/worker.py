"""What runs in a Dask worker: whether it may judge, and the grader beside it that does.

A Dask worker has threads, and a process with threads must not fork: so the grader is a process of its own. It
is started with the first submission, with what that lesson needs, and waits for the next.
"""

import atexit
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from typing import Any

from distributed import get_worker

from autograde.errors import CourseError
from autograde.grading.cluster import fitness
from autograde.grading.cluster.kit import UNFIT, write_kit
from autograde.grading.in_progress import sweep_temporary, temporary

RESOURCE = "autograde"  # of Dask: a worker that may judge has one, and a submission takes it
STOP_SECONDS = 5.0  # for a grader to end


class GraderEndedError(CourseError):
    """The process that judged it has ended, and why is not known: too much memory, perhaps."""


class Grader:
    """The process that judges for this worker, with a lesson's kit. Raises OSError."""

    def __init__(self, kit: bytes, number: int) -> None:
        self.kit, self.folder = kit, temporary(os.getpid())
        try:
            write_kit(kit, self.folder)
            ours, theirs = socket.socketpair()
            with theirs:
                words = (self.folder, theirs.fileno(), os.getpid(), number)
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "autograde.grading.cluster.grader", *map(str, words)],
                    pass_fds=[theirs.fileno()],
                    cwd="/",
                    start_new_session=True,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
        except OSError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.line = Connection(ours.detach())

    def judge(self, task: bytes) -> bytes:
        """What came of a submission. Raises GraderEndedError."""
        try:
            self.line.send_bytes(task)
            return self.line.recv_bytes()
        except (EOFError, OSError):
            raise GraderEndedError("Its grader was stopped.") from None

    def serves(self, kit: bytes) -> bool:
        """Whether it judges with this kit and has not ended."""
        return self.kit == kit and self.process.poll() is None

    def close(self) -> None:
        """End it, and wipe what it had."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self.process.kill()
        self.process.wait()
        self.line.close()
        shutil.rmtree(self.folder, ignore_errors=True)


_graders: dict[str, Grader] = {}  # by the worker's id: there may be several in a process
_numbers: dict[str, int] = {}  # which of the workers of its machine a worker is


def try_once(dask_scheduler: Any = None) -> None:
    """Have a scheduler say of each task whose worker is lost that it is; else it tries four."""
    dask_scheduler.allowed_failures = 0


async def take(expected: dict[str, str], number: int, dask_worker: Any = None) -> str | None:
    """Have a worker judge from now on; returns why it may not, and what to do, where that is so."""
    reason = fitness.problem(expected)
    _numbers[dask_worker.id] = number
    await dask_worker.set_resources(**{RESOURCE: 0 if reason else 1})
    return reason


async def leave(dask_worker: Any = None) -> None:
    """Have a worker judge no more, and wipe what it had for that."""
    await dask_worker.set_resources(**{RESOURCE: 0})
    _close(dask_worker.id)


def hold(kit: bytes) -> bytes:
    """A lesson's kit, as a task: so Dask brings it to whom a submission goes, and nowhere else."""
    return kit


def judge(kit: bytes, task: bytes) -> bytes:
    """What came of a submission, behind one of the marks above. Raises GraderEndedError."""
    worker = get_worker()
    try:
        if worker.id not in _graders or not _graders[worker.id].serves(kit):
            _close(worker.id)
            sweep_temporary()
            _graders[worker.id] = Grader(kit, _numbers.get(worker.id, 0))
    except OSError as error:
        reason = fitness.room_problem() or f"cannot start its grader ({error.strerror})"
        return UNFIT + json.dumps({"worker": worker.address, "why": reason}).encode()
    try:
        found = _graders[worker.id].judge(task)
    except GraderEndedError:
        _close(worker.id)
        raise
    if found[:1] == UNFIT:
        return UNFIT + json.dumps({"worker": worker.address, "why": found[1:].decode()}).encode()
    return found


def _close(worker: str) -> None:
    if grader := _graders.pop(worker, None):
        grader.close()


@atexit.register
def _close_all() -> None:
    for worker in list(_graders):
        _close(worker)
