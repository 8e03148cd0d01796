"""What a confined process can do when what it reads has taken it over: compute, and answer its parent."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from course_root import ROOT
from ordinary_user import ordinary_user

from autograde.errors import CourseError, UsageError
from autograde.sandbox import confined
from autograde.sandbox.confined import CONFINEMENT, Confined, Host
from autograde.sandbox.forkserver_client import FORK_SERVER
from autograde.sandbox.kernel_process import ended
from autograde.sandbox.limits import Limits
from autograde.sandbox.workers import forked

LIMITS = Limits()
LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH = 16


def run(work, limits=LIMITS, seconds=60.0, answer=None):
    """What the work returns from a confined process."""
    child = Confined(work, limits)
    try:
        return child.run(seconds, answer)
    finally:
        child.end()


def refused(attempt):
    """Whether the attempt raises, and nothing else comes of it."""
    try:
        attempt()
    except (OSError, ValueError):
        return True
    return False


def system_call(name, *arguments):
    """By the C library's own function; OSError where it fails."""

    def call():
        if getattr(LIBC, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    return call


def test_it_returns_what_it_found_out_and_a_text():
    def work(host: Host):
        host.give("a text, ä")
        return {"found": [1, 2.5, None, host.ask("double", x=21)]}

    child = Confined(work, LIMITS)
    assert child.run(60, lambda request: (2 * request["x"], None)) == {"found": [1, 2.5, None, 42]}
    assert child.text.decode() == "a text, ä"
    child.end()


def test_it_has_no_network_no_other_process_and_no_program(tmp_path):
    parent = os.getpid()
    attempts = {
        "a socket": socket.socket,
        "a pair of sockets": socket.socketpair,
        "a packet socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "a fork": os.fork,
        "a program": lambda: os.execv("/bin/true", ["true"]),
        "a signal": lambda: os.kill(parent, 0),
        "a handle": lambda: os.pidfd_open(parent),
        "memory of others": system_call("ptrace", PTRACE_ATTACH, parent, 0, 0),
        "a name space": system_call("unshare", 0x10000000),
        "limits of others": system_call("prlimit64", parent, 7, 0, 0),
        "another user": lambda: os.setuid(0) if os.getuid() else None,
        "a mount": system_call("mount", b"none", b"/tmp", b"tmpfs", 0, 0),
    }
    found = run(lambda host: {name: refused(attempt) for name, attempt in attempts.items()})
    assert found == dict.fromkeys(attempts, True)


def test_it_sees_no_file_of_the_course_and_writes_none(tmp_path):
    (tmp_path / "gradebook.db").write_text("x")
    hidden, places = ROOT / "autograde" / "hidden", ["/tmp", "/dev/shm", "/work", "/", "/usr", str(ROOT)]

    def work(host: Host):
        seen = [str(path) for path in (tmp_path, ROOT / "solutions", ROOT / ".grading") if path.exists()]
        written = [place for place in places if not refused(partial(Path(place, "x").write_text, ""))]
        made = [place for place in places if not refused(partial(os.mkdir, f"{place}/y"))]
        return [seen, list(map(str, hidden.glob("*"))), written, made]

    assert run(work) == [[], [], [], []]


def test_it_holds_no_descriptor_but_its_line():
    FORK_SERVER.start()
    inherited = os.open("/etc/hostname", os.O_RDONLY)

    def work(host: Host):
        def is_open(number):
            return not refused(lambda: os.fstat(number))

        return [number for number in range(1024) if is_open(number)], host.line.fileno()

    found, line = run(work)
    os.close(inherited)
    assert found == sorted({0, 1, 2, line})


def test_as_root_it_is_a_user_of_its_own_without_rights():
    status = run(lambda host: [os.getuid(), os.getgid(), os.getgroups(), os.getpid()])
    if os.getuid() == 0:
        assert status[0] == status[1] >= confined.own_uid() - 2168 > 60000 and status[2] == []
    else:
        assert status[0] == os.getuid()


@pytest.mark.parametrize("size", [50 << 20, 400 << 20])
def test_its_memory_is_bounded(size):
    def work(host: Host):
        return len(bytearray(size))

    if size < 100 << 20:
        assert run(work, replace(LIMITS, grader=200 << 20)) == size
    else:
        with pytest.raises(CourseError, match="takes too much memory"):
            run(work, replace(LIMITS, grader=200 << 20))


def says(message: bytes):
    """Work that sends this message, and no result."""

    def work(host: Host):
        host.line.send_bytes(message)
        time.sleep(60)

    return work


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"=",
        b"={",
        b"X1",
        b"?[]",
        b"?" + b"[" * 100_000,
        b'!{"error": 1}',
        b"=" + b"0" * (confined.MAX_REPORT_BYTES + 1),
    ],
    ids=["empty", "no body", "half", "unknown", "a list", "deep", "an error without status", "too long"],
)
def test_what_it_may_not_say_is_an_error(message):
    with pytest.raises(CourseError, match="What reads it was stopped"):
        run(says(message))


def test_an_error_of_the_work_is_raised_by_its_parent():
    def work(host: Host):
        raise UsageError("That file is damaged.")

    with pytest.raises(UsageError, match=r"That file is damaged\."):
        run(work)
    with pytest.raises(CourseError, match="KeyError: nbgrader failed on it"):
        run(lambda host: {}["missing"])


def test_one_that_dies_or_hangs_is_an_error():
    with pytest.raises(CourseError, match="stopped"):
        run(lambda host: os._exit(0))
    with pytest.raises(CourseError, match="too long"):
        run(lambda host: time.sleep(60), seconds=0.2)


def test_it_dies_with_its_parent():
    def parent():
        child = Confined(lambda host: time.sleep(600), LIMITS)
        print(child.pid)
        return child.pid

    pid = forked(parent, 60)
    end = time.monotonic() + 30
    while not ended(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert ended(pid)


def test_the_sandbox_is_made_anew_once_it_has_ended():
    assert run(lambda host: 1) == 1
    before = CONFINEMENT.start()
    os.kill(before.first, signal.SIGKILL)
    before.bwrap.wait()
    assert run(lambda host: 2) == 2 and CONFINEMENT.start() is not before


PROBE = """
import json, os, socket
from autograde.sandbox.confined import Confined
from autograde.sandbox.limits import Limits

def work(host):
    found = []
    for attempt in (socket.socket, os.fork, lambda: open("/tmp/x", "w"), lambda: os.kill(os.getppid(), 0)):
        try:
            attempt()
        except OSError:
            found.append("refused")
    return found + [os.getuid()]

child = Confined(work, Limits())
print(json.dumps(child.run(60)))
child.end()
"""


def test_it_works_as_an_ordinary_user():
    if os.getuid() != 0:
        pytest.skip("the other tests of this file ran as an ordinary user")
    line = [*ordinary_user(), sys.executable, "-c", PROBE]
    done = subprocess.run(line, capture_output=True, text=True, cwd="/tmp")
    assert done.stdout, done.stderr
    assert json.loads(done.stdout) == [*["refused"] * 4, 65534]
