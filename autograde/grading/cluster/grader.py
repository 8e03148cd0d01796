"""The process beside a Dask worker that judges, each submission in a fork, as grading on one machine does.

Run as `python -m autograde.grading.cluster.grader FOLDER LINE PARENT NUMBER`: the folder of the kit, which
goes with it; the descriptor of the line to the worker; the worker's process; which one of its machine it is.
"""

import ctypes
import json
import os
import shutil
import signal
import sys
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from autograde.errors import CourseError, StudentError
from autograde.grading import prestart
from autograde.grading.cluster import fitness
from autograde.grading.cluster.kit import JUDGED, REFUSED, RELEASE, REST, SECRET, UNFIT
from autograde.grading.in_progress import orderly_end, scratch
from autograde.judging.judge_client import JUDGE_CLIENT
from autograde.sandbox import cgroups
from autograde.sandbox.workers import PR_SET_PDEATHSIG, forked

if TYPE_CHECKING:  # it imports nbgrader, for seconds, while what is below starts
    from autograde.grading.judged import Kit

IDLE_SECONDS = 600.0  # without a submission; then it ends, and the hidden tests are wiped


def main(folder: Path, line: Connection, parent: int, number: int) -> None:
    """Judge what comes, until nothing does any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with orderly_end(), scratch(), prestart.running():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it has ended already
            return
        kit = _warm(folder, number)
        while line.poll(IDLE_SECONDS) and _served(kit, line):
            prestart.start(kit.modules)  # should one have ended, the next submissions have another


def _warm(folder: Path, number: int) -> "Kit":
    """The kit, with all that it needs imported. From here on this process keeps to a core of its own."""
    rest = json.loads((folder / REST).read_text())
    lesson, modules = rest["lesson"], rest["modules"]
    tests = folder / f"test_{lesson}.py"
    JUDGE_CLIENT.prepare(tests)
    prestart.start(modules)
    cgroups.mounted()  # it is looked for once, before there are forks
    from autograde.grading.judged import Kit
    from autograde.notebooks import read_notebook

    released = read_notebook(folder / RELEASE)
    prestart.settled(released)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, [cores[number % len(cores)]])
    return Kit(lesson, released, tests, (folder / SECRET).read_bytes, modules, [folder])


def _served(kit: "Kit", line: Connection) -> bool:
    """Have a fork take a submission and answer: nothing of it is where the next one is forked from.

    False where there is no more, or the fork did not end well: then the line ends, and it is done again.
    """
    from autograde.grading.judged import SUBMISSION_SECONDS

    try:
        return bool(forked(partial(_serve, kit, line), 2 * SUBMISSION_SECONDS))
    except StudentError:
        return False


def _serve(kit: "Kit", line: Connection) -> bool:
    try:
        task = line.recv_bytes()
    except EOFError:
        return False
    line.send_bytes(_judged(kit, task))
    return True


def _judged(kit: "Kit", text: bytes) -> bytes:
    """What came of a submission, behind its mark."""
    from autograde.grading.cluster.parcels import read_task
    from autograde.grading.judged import judge
    from autograde.grading.submission import copies_of

    try:
        task, beside = read_task(text)
        with copies_of(beside) as files:
            return JUDGED + judge(kit, task, files).text().encode()
    except CourseError as error:
        return REFUSED + json.dumps({"error": str(error)}).encode()
    except OSError as error:
        if reason := fitness.room_problem():
            return UNFIT + reason.encode()
        said = f"{error.filename or 'file system'}: {error.strerror}, on a worker."
        return REFUSED + json.dumps({"error": said}).encode()


if __name__ == "__main__":
    own = Path(sys.argv[1])
    try:
        main(own, Connection(int(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4]))
    finally:
        shutil.rmtree(own, ignore_errors=True)
