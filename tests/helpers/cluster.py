"""A Dask cluster on loopback for a test, by the commands of CLUSTER.md, and a process that grades on it."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from course_root import ROOT
from small_course import NAME

from autograde.course import Course

PAGE = ROOT / "autograde" / "CLUSTER.md"
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
DASK = Path(sys.executable).with_name("dask")
QUIET = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
PATIENCE = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "4s"}
LIMIT = 240.0  # seconds for what is waited for: the machine may be busy
# the command, with the small course's hidden tests
RUN = """
import sys
from pathlib import Path
import autograde.course
autograde.course.HIDDEN = Path("hidden").resolve()
from autograde.cli import main
main(sys.argv[1:])
"""


def until(what: Callable[[], object], *processes: subprocess.Popen) -> None:
    """Wait for something to hold, while all these processes live."""
    end = time.monotonic() + LIMIT
    while not what():
        assert time.monotonic() < end and all(each.poll() is None for each in processes), what
        time.sleep(0.02)


@dataclass
class ByHand:
    """A scheduler, and workers that the test starts. environment: of all of them."""

    folder: Path
    environment: dict[str, str]
    protocol: str
    processes: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *words: str, **more: str) -> subprocess.Popen:
        """One of Dask's commands."""
        environment = {**os.environ, **self.environment, **more}
        line = [sys.executable, str(DASK), *words]
        self.processes.append(subprocess.Popen(line, cwd=self.folder, env=environment, **QUIET))
        return self.processes[-1]

    def begin(self) -> None:
        """Start the scheduler as the page does, at any free port."""
        words = BLOCKS[2].splitlines()[0].split()[1:]
        words[words.index("--protocol") + 1], words[words.index("--port") + 1] = self.protocol, "0"
        self.file = self.folder / "scheduler.json"
        self.scheduler = self.start(*words, "--host", "127.0.0.1", "--scheduler-file", str(self.file))
        until(lambda: self.file.exists() and self.file.read_text().endswith("}"), self.scheduler)

    @property
    def address(self) -> str:
        """The scheduler's."""
        return str(json.loads(self.file.read_text())["address"])

    def worker(self, name: str, **more: str) -> subprocess.Popen:
        """Start a worker as the page does, but one, which is not started anew; its files lie in a folder."""
        (self.folder / name).mkdir(exist_ok=True)
        words = BLOCKS[2].splitlines()[1].replace("tls://HOST:8786", self.address).split()[1:]
        words[words.index("--nworkers") + 1] = "1"
        own = {"TMPDIR": str(self.folder / name), **more}
        return self.start(*words, "--no-nanny", "--name", name, **own)

    def grades(self, name: str) -> list[Path]:
        """What a worker's grader has copied for the kernel of the submission that it grades now."""
        return list((self.folder / name).glob("autograde-*/grading-*"))

    def close(self) -> None:
        """End what runs."""
        for each in self.processes[::-1]:
            each.terminate()
        for each in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.wait(20)
            each.kill()
            each.wait()


@contextlib.contextmanager
def by_hand(
    folder: Path, protocol: str = "tcp", environment: dict[str, str] | None = None
) -> Iterator[ByHand]:
    """A cluster without workers yet; skipped where there is no Dask."""
    pytest.importorskip("distributed", reason="Dask is not installed: pip install -e './autograde[cluster]'")
    folder.mkdir(exist_ok=True)
    cluster = ByHand(folder, environment or {}, protocol)
    try:
        cluster.begin()
        yield cluster
    finally:
        cluster.close()


def certificates(folder: Path) -> dict[str, str]:
    """Make them as the page does; the settings that name them."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder.mkdir(exist_ok=True)
    script = f"set -e\n{BLOCKS[0]}{BLOCKS[1]}env"
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    lines = (line.partition("=") for line in done.stdout.splitlines() if line.startswith("DASK_"))
    return {name: value for name, _, value in lines}


def begin(course: Course, *words: str, **environment: str) -> subprocess.Popen:
    """Start `autograde grade` in the course."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, "grade", NAME, "--json", *words],
        cwd=course.root,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen) -> tuple[dict, str]:
    """What it said: the lesson, {} where there is none, and the lines of its errors."""
    out, errors = process.communicate(timeout=LIMIT)
    assert "Traceback" not in errors, errors
    return (json.loads(out)[0] if out else {}), errors.strip()


def rows(lesson: dict) -> dict[str, tuple[str, float | None]]:
    """Status and points by student."""
    return {row["student"]: (row["status"], row["points"]) for row in lesson["submissions"]}
