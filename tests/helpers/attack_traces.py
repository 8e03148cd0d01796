"""What an attack leaves at the grader: processes, memory, open files."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from autograde.judging.judge_client import JUDGE_CLIENT
from autograde.sandbox.bubblewrap import kernel_uid
from autograde.sandbox.confined import CONFINEMENT
from autograde.sandbox.forkserver_client import FORK_SERVER

LEAVING_SECONDS = 60.0  # in which every process must be gone, on a busy machine too


def processes_left() -> Iterator[str]:
    """Processes of a sandbox that are still there after a while."""
    end = time.monotonic() + LEAVING_SECONDS
    while (found := list(_sandboxed())) and time.monotonic() < end:
        time.sleep(0.1)
    yield from found


def _sandboxed() -> Iterator[str]:
    """All processes below this one, but its helpers; as root, all of the sandbox's user as well."""
    helpers = [FORK_SERVER.process.pid] if FORK_SERVER.process else []
    helpers += [JUDGE_CLIENT.process] if JUDGE_CLIENT.control else []
    helpers += [CONFINEMENT.standing.bwrap.pid] if CONFINEMENT.standing else []
    parents = {os.getpid(), FORK_SERVER.process.pid if FORK_SERVER.process else os.getpid()}
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            text = path.read_text(errors="replace")  # an attack names its processes as it likes
            line = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        fields = dict(re.findall(r"^(\w+):\s+(\S+)", text, re.MULTILINE))
        below = int(fields["PPid"]) in parents and int(fields["Pid"]) not in helpers
        ours = os.getuid() == 0 and int(fields["Uid"]) == kernel_uid()
        if (below or ours) and fields["State"] != "Z":
            yield f"{fields['Pid']} {line[:60]!r}"


def memory_now() -> int:
    """Bytes this process holds now; from here on its peak is counted anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def memory_peak() -> int:
    """The most bytes that this process has held since memory_now()."""
    return _status("VmHWM")


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


def descriptors() -> int:
    """How many files, pipes and sockets this process has open."""
    return len(os.listdir("/proc/self/fd"))
