"""Kernels forked from the fork server: imports made, nothing of the grader's or of each other's in them."""

import contextlib
import os
import socket
from functools import partial

import pytest
from nbformat.v4 import new_code_cell

from autograde.errors import CourseError
from autograde.judging.student import Student
from autograde.sandbox.forkserver_client import ForkServerClient, kernel_environment
from autograde.sandbox.kernel_process import KernelFactory
from autograde.sandbox.limits import Limits
from autograde.sandbox.session import Session

MODULES = ("numpy", "json.tool", "no_such_module")
LOOK = """
import gc, os, random, socket, sys

import numpy as np


def look():
    own = sorted(name for name in sys.modules if "autograde" in name and not name.startswith("__editable"))
    sockets = [x for x in gc.get_objects() if isinstance(x, socket.socket)]
    held = [str(x) for x in sockets if x.type == socket.SOCK_SEQPACKET and x.fileno() != -1]
    hidden = [name for name, module in sys.modules.items() if module is None or name == "debugpy"]
    return [own, held, dict(os.environ), "json.tool" in sys.modules, sys.argv, hidden]


def shell():
    from IPython import get_ipython

    found = get_ipython()
    folders = found.ipython_dir, found.profile_dir.location, str(found.history_manager.hist_file)
    places = [found.home_dir, *map(str, found.user_ns["_dh"])]
    return [list(folders), os.path.isdir(folders[1]), places, found.user_ns["In"]]


def draw():
    return [random.random(), float(np.random.rand()), hasattr(np, "poisoned")]
"""


@pytest.fixture
def students(tmp_path, monkeypatch):
    """Two kernels, one after the other, of one parent; the first changes what they could share."""
    monkeypatch.setenv("GRADER_CANARY", "x")
    found = []
    for poison in ("np.poisoned = random.seed = None", ""):
        kernels = KernelFactory(Limits(), modules=MODULES)
        with Session(Limits(), partial(kernels.start, tmp_path)) as session:
            assert session.run(new_code_cell(LOOK)) and session.run(new_code_cell(poison))
            student = Student(session.ask)
            found.append((student.look(), student.draw(), student.shell()))
    return found


def test_a_kernel_holds_nothing_of_the_graders(students):
    for (modules, held, environment, imported, line, hidden), *_ in students:
        assert modules == ["_autograde_call_server"] and not held and imported
        assert environment.items() >= kernel_environment().items() and environment["PAGER"] == "cat"
        assert not {"GRADER_CANARY", "VIRTUAL_ENV", "IPYTHONDIR"} & set(environment)
        assert line[0] == "ipykernel_launcher" and hidden == []


def test_ipython_has_folders_of_its_own(students):
    for *_, (folders, there, places, _) in students:
        assert folders == ["/tmp/.ipython", "/tmp/.ipython/profile_default", ":memory:"] and there
        assert places == ["/tmp", "/work"]


def test_kernels_draw_different_numbers_and_share_no_change(students):
    (_, first, (*_, cells)), (_, second, (*_, others)) = students
    assert first[2] and not second[2]
    assert first[0] != second[0] and first[1] != second[1]
    assert [text.strip() for text in cells] == ["", LOOK.strip(), "np.poisoned = random.seed = None"]
    assert [text.strip() for text in others] == ["", LOOK.strip()]


def test_a_warm_process_that_has_ended_is_replaced(tmp_path, monkeypatch):
    fork_server = ForkServerClient()
    monkeypatch.setattr("autograde.sandbox.kernel_process.FORK_SERVER", fork_server)
    for _ in range(2):
        with Session(Limits(), partial(KernelFactory(Limits()).start, tmp_path)) as session:
            assert session.run(new_code_cell("1 + 1"))
        assert fork_server.process is not None
        fork_server.process.kill()
        fork_server.process.wait()
    fork_server.close()


def test_only_a_sandbox_is_entered():
    fork_server, first = ForkServerClient(), os.getpid()
    fork_server.start()
    (read, alive), process, (ours, theirs) = os.pipe(), os.pidfd_open(first), socket.socketpair()
    request = {
        "folder": "/",
        "environment": {},
        "first": first,
        "root": os.getuid() == 0,
        "limits": {},
        "groups": [],
    }
    try:
        with pytest.raises(CourseError, match=r"cannot enter its sandbox.*shares mnt"):
            fork_server.kernel(theirs, request, process, alive)
    finally:
        for descriptor in (read, alive, process):
            os.close(descriptor)
        ours.close()
        theirs.close()
        fork_server.close()


def test_it_learns_more_without_a_new_start(tmp_path, monkeypatch):
    fork_server = ForkServerClient()
    monkeypatch.setattr("autograde.sandbox.kernel_process.FORK_SERVER", fork_server)
    for modules, known in (((), False), (("this",), True)):
        kernels = KernelFactory(Limits(), modules=modules)
        with Session(Limits(), partial(kernels.start, tmp_path)) as session:
            before = fork_server.process
            session.run(new_code_cell("import sys\n\n\ndef knows():\n    return 'this' in sys.modules"))
            assert Student(session.ask).knows() is known
    assert fork_server.process is before
    fork_server.close()


def test_a_warm_process_that_has_ended_is_one_line():
    fork_server = ForkServerClient()
    fork_server.start()
    assert fork_server.process is not None
    fork_server.process.kill()
    fork_server.owner = 0  # a fork of the grader, which cannot start another
    fork_server.process.wait()
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(CourseError, match="run again"):
        fork_server.kernel(theirs, {"folder": "/", "environment": {}})


def test_a_server_that_ends_at_once_is_started_again(monkeypatch, tmp_path):
    client = ForkServerClient()
    (tmp_path / "forkserver.py").write_text("raise SystemExit")
    with monkeypatch.context() as patch:
        patch.setattr("autograde.sandbox.forkserver_client.PROGRAM", tmp_path / "forkserver.py")
        patch.setattr("autograde.sandbox.forkserver_client.PARTS", ())
        with contextlib.suppress(CourseError):
            client.start()
    assert client.process is not None
    ended = client.process.pid
    client.process.wait()
    client.learn([])
    assert client.process.pid != ended and client.process.poll() is None
    client.close()
