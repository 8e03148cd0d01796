"""What grading.py needs of Dask: a cluster on loopback, and a computation of where a large one saturates.

The computation takes what was measured: a submission's seconds on a worker, and the seconds of a core that it
costs the grader's side, which looks at it, records it and makes its page. It plays a class event by event:
workers judge one submission each, the grader's cores take turns, and no more submissions are on their way
than twice the workers and one.
"""

import contextlib
import heapq
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

DASK = Path(sys.executable).with_name("dask")
READY = "import sys; from distributed import Client; Client(sys.argv[1]).wait_for_workers(int(sys.argv[2]))"
QUIET = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
MISSING = "Dask is not installed (pip install -e './autograde[cluster]'): left out."


@contextlib.contextmanager
def running(workers: int, cores: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    """A scheduler and workers on these cores: its address, and the workers' processes."""
    confine = partial(os.sched_setaffinity, 0, cores)
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as folder:

        def start(*words: str) -> None:
            line = [sys.executable, str(DASK), *words, "--no-dashboard"]
            processes.append(subprocess.Popen(line, cwd=folder, preexec_fn=confine, **QUIET))

        try:
            file = Path(folder, "scheduler.json")
            start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
            while not (file.exists() and file.read_text().endswith("}")):
                time.sleep(0.1)
            for _ in range(workers):
                start("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny")
            address = file.read_text().split('"address": "')[1].split('"')[0]
            subprocess.run([sys.executable, "-c", READY, address, str(workers)], check=True, **QUIET)
            yield address, [each.pid for each in processes[1:]]
        finally:
            for each in processes[::-1]:
                each.terminate()
                each.wait()


def costs(line: list[str], root: Path) -> tuple[list[float], float]:
    """What grading by this command costs: seconds of judging, and of a core of the grader for each.

    It runs twice: the second time nothing is judged, and what that costs is not a submission's.
    """
    spent = [used()]
    for _ in range(2):
        subprocess.run(line, cwd=root, check=True, **QUIET)
        spent.append(used())
    verdicts = [json.loads(path.read_text()) for path in root.glob(".grading/autograded/*/*/*.verdict.json")]
    first, second = spent[1] - spent[0], spent[2] - spent[1]
    return [sum(each["seconds"].values()) for each in verdicts], (first - second) / len(verdicts)


def used() -> float:
    """CPU seconds of all processes that have ended below this one."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def rate(judging: Sequence[float], own: float, workers: int, cores: int) -> float:
    """Submissions a second of a class that takes these seconds to judge, and the grader `own` for each."""
    waiting, queue, ended, now = list(judging)[::-1], 0, 0, 0.0
    events: list[tuple[float, bool]] = []  # when which ends: judging, or what the grader does
    idle, free, sent = workers, cores, 0
    while ended < len(judging):
        while idle and waiting and sent < 2 * workers + 1:
            idle, sent = idle - 1, sent + 1
            heapq.heappush(events, (now + waiting.pop(), True))
        while free and queue:
            free, queue = free - 1, queue - 1
            heapq.heappush(events, (now + own, False))
        now, judged = heapq.heappop(events)
        if judged:
            idle, queue = idle + 1, queue + 1
        else:
            free, sent, ended = free + 1, sent - 1, ended + 1
    return len(judging) / now


def saturation(judging: Sequence[float], own: float, cores: int) -> str:
    """Where a class of 2,000 gains no more from workers, up to 64, and why, in a sentence."""
    seconds = [judging[number % len(judging)] for number in range(2000)]
    rates = {workers: rate(seconds, own, workers, cores) for workers in (1, 2, 4, 8, 16, 32, 64)}
    told = ", ".join(f"{workers}: {60 * each:.0f}" for workers, each in rates.items())
    enough = next(workers for workers, each in rates.items() if each > 0.9 * max(rates.values()))
    limit, mean = cores / own, sum(judging) / len(judging)
    why = f"the grader's {cores} cores take {own:.2f} s each, so {60 * limit:.0f} a minute at most"
    if rates[64] < 0.9 * limit:
        why = f"64 workers take {mean:.2f} s each, and the grader's {cores} cores could do {60 * limit:.0f}"
    return f"2,000 submissions, a minute, by workers: {told}; more than {enough} gain no tenth: {why}."
