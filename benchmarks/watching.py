"""Runs a contender's command on some cores and looks at the memory that it holds meanwhile."""

import contextlib
import os
import subprocess
from functools import partial
from pathlib import Path

import psutil


class FailedError(Exception):
    """A contender did not grade the class; the message says why."""


def watched(
    command: list[str],
    folder: Path,
    environment: dict[str, str],
    cores: list[int],
    every: float,
    others: list[int],
) -> int:
    """Run a command on some cores to its end; the peak of its bytes of memory, looked at `every` seconds.

    Those of the processes `others` count, too. Raises FailedError.
    """
    peak, quiet, log = 0, subprocess.DEVNULL, folder / "stderr.txt"
    confine = partial(os.sched_setaffinity, 0, cores)
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdin=quiet, stdout=quiet, stderr=errors, preexec_fn=confine
        ) as process,
    ):
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(every)
            peak = max(peak, sum(map(held, (process.pid, *others))))  # of one that has ended, nothing
    if process.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise FailedError(*last or [f"exit status {process.returncode}"])
    return peak


def held(pid: int) -> int:
    """Bytes of PSS of a process and all below it."""
    total = 0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total
