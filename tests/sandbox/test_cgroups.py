"""Control groups: a real one where this system lets us, and what is written where it has version 2."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell

from autograde.sandbox import cgroups
from autograde.sandbox.kernel_process import KernelFactory, usage
from autograde.sandbox.limits import Limits
from autograde.sandbox.session import Session

SMALL = replace(Limits(), memory=500 << 20, processes=20)
V2 = "30 23 0:26 / {place} rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "{n} 31 0:3{n} / {place}/{name} rw,relatime - cgroup cgroup rw,{name}\n"


@pytest.fixture
def real():
    """A group of this system."""
    if cgroups.mounted() is None:
        pytest.skip("no control groups here, or not ours to make")
    made = cgroups.group(SMALL)
    yield made
    made.remove()


def test_what_is_in_a_group_is_held_to_its_memory(real):
    hold = "import sys; sys.stdin.readline(); held = b'x' * (700 << 20); print('held')"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1, text=True) as process:
        real.take(process.pid)
        assert "held" not in process.communicate("\n")[0] and process.returncode < 0


def test_what_is_in_a_group_is_held_to_its_processes(real):
    fork = "import os, sys\nsys.stdin.readline()\nfor n in range(60):\n"
    fork += "    os.fork() or sys.stdin.read() or os._exit(0)\nprint('all')"
    with subprocess.Popen([sys.executable, "-c", fork], stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        real.take(process.pid)
        printed, errors = process.communicate("\n")
    assert "all" not in printed and "BlockingIOError" in errors


def test_a_group_goes_when_its_processes_have(real):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as process:
        real.take(process.pid)
        process.communicate(b"\n")
    real.remove()
    assert not any(folder.exists() for folder in real.folders)


def test_groups_of_graders_that_have_ended_go(real):
    left = [folder.with_name(f"{cgroups.PREFIX}{2**22 + 1}-0") for folder in real.folders]
    for folder in left:
        folder.mkdir()
    cgroups._sweep(cgroups.mounted())
    assert not any(folder.exists() for folder in left) and all(folder.exists() for folder in real.folders)


def test_a_kernel_and_all_its_children_are_in_one(real, tmp_path):
    cell = new_code_cell("!cat /proc/self/cgroup\nprint(open('/proc/self/cgroup').read())")
    with Session(SMALL, partial(KernelFactory(SMALL).start, tmp_path)) as session:
        assert session.run(cell)
    assert cell.outputs[0].text.count(cgroups.PREFIX) >= len(real.folders)
    ours = {folder.name for folder in real.folders}
    left = {one.name for folder in real.folders for one in folder.parent.glob(f"*{os.getpid()}-*")}
    assert left == ours, "it is gone when the kernel is"


UNCOUNTED = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for n in range(5):
    if os.fork() == 0:
        start = time.process_time()
        while time.process_time() < start + 0.2:
            pass
        os._exit(0)
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        pass
"""


def test_children_that_nobody_waited_for_are_charged(real, tmp_path):
    with Session(Limits(), partial(KernelFactory(Limits()).start, tmp_path)) as session:
        before, seen = session.kernel.cpu(), usage(*session.kernel._processes)[1]
        assert session.run(new_code_cell(UNCOUNTED))
        assert session.kernel.cpu() - before > 0.9 > usage(*session.kernel._processes)[1] - seen


def test_without_groups_nothing_is_done_and_doctor_says_what_to_type(monkeypatch):
    monkeypatch.setattr(cgroups, "mounted", lambda: None)
    group = cgroups.group(SMALL)
    group.take(os.getpid())
    group.remove()
    assert group.cpu() is None
    assert group.doors == [] and cgroups.advice()
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert "systemd-run --user --scope -p Delegate=yes" in cgroups.advice()


@pytest.fixture
def version_2(tmp_path):
    """A folder like one of version 2 that was delegated, with two processes in it."""
    place = tmp_path / "v2"
    own = place / "user.slice" / "run-1.scope"
    own.mkdir(parents=True)
    (place / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    files = {"controllers": "cpu memory pids", "subtree_control": "", "procs": "11\n12", "type": "domain"}
    for name, text in files.items():
        (own / f"cgroup.{name}").write_text(text)
    return place, own


def test_of_a_delegated_group_processes_move_down_and_controllers_are_handed_on(version_2, monkeypatch):
    place, own = version_2
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    found = cgroups._version_2(V2.format(place=place), "0::/user.slice/run-1.scope\n")
    assert found == cgroups.Mounted(2, dict.fromkeys(cgroups.NEEDED, own))
    assert (own / "autograde-graders" / "cgroup.procs").read_text() == "12", "the last of the two that moved"
    assert (own / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    made = found.group(SMALL)
    (folder,) = made.folders
    assert folder.parent == own and made.doors == [f"{folder}/cgroup.procs"]
    written = {path.name: path.read_text() for path in folder.iterdir()}
    assert written == {
        "memory.max": str(500 << 20),
        "memory.oom.group": "1",
        "pids.max": "28",
        "cpu.weight": "100",
    }


def test_a_grader_that_was_moved_down_finds_the_group_above(version_2, monkeypatch):
    place, own = version_2
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    (own / "cgroup.subtree_control").write_text("cpu memory pids")
    (own / "autograde-graders").mkdir()
    found = cgroups._version_2(V2.format(place=place), "0::/user.slice/run-1.scope/autograde-graders\n")
    assert found.folders["memory"] == own


@pytest.mark.parametrize("controllers", ["cpu memory", ""])
def test_a_version_2_without_a_controller_is_none(version_2, controllers):
    place, _ = version_2
    (place / "cgroup.controllers").write_text(controllers)
    assert cgroups._version_2(V2.format(place=place), "0::/\n") is None


def test_version_1_is_taken_where_our_own_group_is(tmp_path):
    for name in cgroups.NEEDED_1:
        (tmp_path / name / "grader").mkdir(parents=True)
    mounts = "".join(V1.format(n=n, place=tmp_path, name=name) for n, name in enumerate(cgroups.NEEDED_1))
    own = "".join(f"{n}:{name}:/grader\n" for n, name in enumerate(cgroups.NEEDED_1))
    assert cgroups._version_1(mounts, own) == cgroups.Mounted(
        1, {name: tmp_path / name / "grader" for name in cgroups.NEEDED_1}
    )
    assert cgroups._version_1(mounts, "1:memory:/\n") is None
    assert cgroups._version_1("", own) is None


def test_a_group_that_cannot_be_made_is_an_error_and_leaves_nothing(tmp_path):
    folders = {name: tmp_path / name for name in cgroups.NEEDED}
    folders["memory"].mkdir()
    with pytest.raises(OSError):
        cgroups.Mounted(1, folders).group(SMALL)
    assert list(Path(tmp_path / "memory").iterdir()) == []
