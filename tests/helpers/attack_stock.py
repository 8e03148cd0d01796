"""What stock nbgrader makes of the attacks: it grades the same class, itself inside our sandbox.

Its lesson has the same hidden tests, where stock nbgrader has them: in the test cells, between BEGIN and END
HIDDEN TESTS. The sandbox keeps this machine safe, so what attacks only the machine is not run.
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import nbformat
import pytest
from attack_class import CANARY, FULL, GOT_IN, HONEST, HONEST_PART, NUMBERS, Attack, submit
from classroom import RIGHT, filled, hand_in
from small_course import NAME, write_course

from autograde.authoring.release import release
from autograde.cells import grade_id
from autograde.course import Course
from autograde.sandbox import seccomp
from autograde.sandbox.bubblewrap import for_kernel
from autograde.sandbox.forkserver_client import kernel_environment
from autograde.sandbox.kernel_process import usage
from autograde.sandbox.limits import Limits

DRIVER = Path(__file__).parent / "attack_stock_driver.py"
PROCESS = 2  # the driver's number in the sandbox
GRADING_SECONDS = 1500  # for the whole class
LIMITS = replace(Limits(), memory=2 << 30, disk_bytes=600 << 20, processes=200)
MACHINE = "attacks the machine"
NO_PART = "attacks what stock nbgrader does not have"
NOT_RUN = {
    MACHINE: (
        *("changes_its_program", "disk_bomb", "foreign_system_calls", "nameless_processes"),
        *("uncounted_children", "inode_bomb", "kernel_queues", "memory_bomb"),
        *("memory_without_owner", "networks", "output_bomb", "process_bomb", "sparse_file", "takes_priority"),
        *("traces_and_mounts", "unwaited_children", "takes_every_core", "memory_let_go_of", "odd_sockets"),
        *("swaps_its_folder", "empty_folders"),
    ),
    NO_PART: (
        *("answers_from_elsewhere", "broken_frames", "colliding_keys", "deep_folders", "deep_messages"),
        *("double_replies", "early_frames", "endless_numbers", "ends_in_a_message", "floods_the_line"),
        *("forged_arrays", "forged_ends", "forged_texts", "huge_references", "large_replies", "late_replies"),
        *("odd_contents", "passes_descriptors", "path_traversal", "pickled_replies", "raw_frames"),
        *("reads_no_questions", "slow_replays", "traces_the_runtime"),
    ),
}
CONFIG = """c = get_config()
for name in ("source", "submitted", "autograded", "feedback"):
    setattr(c.CourseDirectory, name + "_directory", ".grading/" + name)
c.CourseDirectory.release_directory = ".grading/released"
c.CourseDirectory.db_url = "sqlite:///.grading/gradebook.db"
"""
HIDDEN = {
    "test-weighted-mean": """
### BEGIN HIDDEN TESTS
import pytest  # canary-of-the-hidden-tests
assert weighted_mean([0.0, 48151623.0], [1.0, 3.0]) == pytest.approx(36113717.25)
x, w = np.random.default_rng().normal(size=9), np.arange(1.0, 10.0)
means = [weighted_mean(x, w), weighted_mean(x[::-1].copy(), w[::-1].copy())]
assert means == pytest.approx([x @ w / w.sum()] * 2)
### END HIDDEN TESTS""",
    "test-running-mean": """
### BEGIN HIDDEN TESTS
running = RunningMean()
running.add(1)
running.add(2)
assert running.mean == 1.5
### END HIDDEN TESTS""",
}


@dataclass
class StockClass:
    """A released lesson and the honest student, who is graded after the attack."""

    course: Course

    def outcome(self, attack: Attack) -> str:
        """What stock nbgrader makes of it, in words for the table."""
        for reason, names in NOT_RUN.items():
            if attack.name in names:
                return f"not run: {reason}"
        with tempfile.TemporaryDirectory(prefix="k-") as name:
            given = Path(name, "given")
            shutil.copytree(self.course.root, given)
            values = {"@COURSE@": "/work", "@PID@": PROCESS, "@TMP@": "/tmp"}
            submit(Course.at(given), attack, values)
            subprocess.run(["chmod", "-R", "a+rwX", str(name)], check=True)
            result = _graded(given, attack.name)
            subprocess.run(["rm", "-rf", str(given)], check=True)  # at any depth, unlike Python
            return ", ".join(_words(attack, result))


@contextmanager
def stock_class() -> Iterator[StockClass]:
    """A class in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="stock-") as folder:
        course = write_course(Path(folder))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("autograde.course.HIDDEN", course.root / "hidden")
            release(course, [NAME])
        for path in (course.grading / "released", course.root / "hidden", course.root / "lessons"):
            shutil.rmtree(path)
        (course.grading / "gradebook.db").unlink()
        source = nbformat.read(course.instructors(NAME), 4)
        for cell in source.cells:
            cell.source += HIDDEN.get(grade_id(cell) or "", "")
        nbformat.write(source, course.instructors(NAME))
        (course.root / "nbgrader_config.py").write_text(CONFIG)
        line = [sys.executable, "-m", "nbgrader", "generate_assignment", NAME, "--create"]
        subprocess.run(line, cwd=folder, env=kernel_environment(), check=True, capture_output=True)
        (course.grading / CANARY).write_text(f"{CANARY}-gradebook")
        hand_in(course, HONEST, filled(course, {**RIGHT, "why-mean": f"{CANARY}-honest-student"}))
        shutil.copy(DRIVER, course.root)
        yield StockClass(course)


def _graded(given: Path, student: str) -> dict[str, Any]:
    """What the driver printed of the class in `given`; nothing where it did not come to its end."""
    inner = [sys.executable, "-P", DRIVER.name, NAME, student]
    with _filter() as rules, tempfile.TemporaryFile() as status, tempfile.TemporaryFile() as printed:
        descriptors = [rules.fileno(), status.fileno()]
        line = for_kernel(given, kernel_environment(), [], LIMITS, inner, *descriptors)
        pipes = {"stdin": subprocess.DEVNULL, "stdout": printed, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(line, pass_fds=descriptors, **pipes)
        end = time.monotonic() + GRADING_SECONDS
        while process.poll() is None:
            if time.monotonic() > end or usage(process.pid)[0] > LIMITS.memory:
                process.kill()
            time.sleep(0.1)
        printed.seek(0)
        lines = printed.read().splitlines()
    return json.loads(lines[-1]) if process.returncode == 0 and lines else {}


def _filter() -> IO[bytes]:
    """Our filter and, for Jupyter's sockets, the family that tells of a machine's networks."""
    seccomp.program.cache_clear()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(seccomp, "FAMILIES", (*seccomp.FAMILIES, socket.AF_NETLINK))
            return seccomp.open_filter(seccomp.FOR_KERNELS)
    finally:
        seccomp.program.cache_clear()


def _words(attack: Attack, result: dict[str, Any]) -> Iterator[str]:
    if not result:
        yield "**the run did not end, nobody is graded**"
        return
    score, honest = (result["scores"].get(name) for name in (attack.name, HONEST))
    yield f"{score or 0:g} points"
    if (score or 0) > HONEST_PART:
        yield f"**{score - HONEST_PART:g} gained**"
    if honest != FULL:
        yield f"**the honest student gets {'no score' if honest is None else honest}**"
    words = (CANARY, GOT_IN, *NUMBERS)
    if any(word in result["shown"] for word in words):
        yield "**a secret read or written**"
    if result["changed"]:
        yield "**another's file changed**"
