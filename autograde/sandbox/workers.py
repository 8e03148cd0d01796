"""Work in forked processes: each item in a copy of this process, bounded in time, apart from the rest."""

import ctypes
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from autograde.errors import CourseError, Died, StudentError, TimedOut, UsageError

PR_SET_PDEATHSIG = 1  # of linux/prctl.h


@dataclass
class _Running:
    index: int
    process: Any
    line: Connection
    deadline: float
    core: int | None


def forked(work: Callable[[], Any], limit: float) -> Any:
    """The JSON result of `work()` from a fork. Raises its CourseError, Died, or TimedOut after `limit` s."""
    ((_, outcome),) = forked_map(lambda _: work(), [None], limit, jobs=1)
    if isinstance(outcome, StudentError):
        raise outcome
    return outcome


def forked_map(
    work: Callable[[Any], Any], items: Sequence[Any], limit: float, jobs: int, pinned: bool = False
) -> Iterator[tuple[int, Any]]:
    """Yield (index, JSON result, or Died or TimedOut) for each item as it ends, `jobs` at a time.

    A CourseError in a fork is raised here, and the other forks are ended. A `pinned` fork keeps to one core,
    with all that it starts: for processes that take turns, since every change of the core costs time.
    Needs a process without threads of its own: set torch to one thread before the first fork.
    """
    waiting, running = list(enumerate(items))[::-1], list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(work, *waiting.pop(), limit, _free_core(running) if pinned else None))
            soonest = min(each.deadline for each in running) - time.monotonic()
            ready = wait([each.line for each in running], timeout=max(0, soonest))
            for each in list(running):
                if each.line in ready or time.monotonic() > each.deadline:
                    running.remove(each)
                    yield each.index, _collect(each)
    finally:
        for each in running:
            _end(each)


def _free_core(running: list[_Running]) -> int:
    """The core that the fewest forks keep to."""
    taken = [each.core for each in running]
    return min(sorted(os.sched_getaffinity(0)), key=taken.count)


def _start(
    work: Callable[[Any], Any], index: int, item: Any, limit: float, core: int | None = None
) -> _Running:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    parent = os.getpid()

    def child() -> None:
        ours.close()
        if core is not None:
            os.sched_setaffinity(0, [core])
        die_with(parent)
        try:
            outcome = {"result": work(item)}
        except CourseError as error:
            outcome = {"error": str(error), "status": error.exit_code}
        theirs.send_bytes(json.dumps(outcome).encode())

    process = context.Process(target=child)
    process.start()
    theirs.close()
    return _Running(index, process, ours, time.monotonic() + limit, core)


def die_with(parent: int) -> None:
    """Have this process, a fork of that one, end with it. Who becomes another user has to say it again."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def _collect(each: _Running) -> Any:
    try:
        if not each.line.poll():
            return TimedOut()
        outcome = json.loads(each.line.recv_bytes())
    except EOFError:
        return Died()
    finally:
        _end(each)
    if "error" in outcome:
        raise UsageError(outcome["error"]) if outcome["status"] == 2 else CourseError(outcome["error"])
    return outcome["result"]


def _end(each: _Running) -> None:
    """End a fork that has answered, died, run out of time or is no longer wanted."""
    each.process.kill()
    each.process.join()
    each.line.close()
