"""Starts the kernel of a submission inside bubblewrap, with limits: the one seam where isolation is decided."""

import contextlib
import importlib.util
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.provisioning import LocalProvisioner

from autograde.bubblewrap import command, sandbox_uid, secrets
from autograde.errors import CourseError
from autograde.limits import Limits
from autograde.seccomp import write_filter

PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
EVERY = 0.25  # seconds between two looks at what a submission uses


class SandboxedKernel(LocalProvisioner):
    """A kernel that sees the system, Python and genmap, owns three small folders in memory, and nobody hears."""

    limits = Limits()
    hidden: tuple[Path, ...] = ()
    child: int | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Wrap the kernel's command; the folder it was to start in becomes a copy inside."""
        kwargs = await super().pre_launch(**kwargs)
        given, sockets = Path(kwargs.pop("cwd")), Path(self.parent.connection_file).parent
        self._hand_over(sockets)
        os.chmod(given, 0o755)
        filter_file = tempfile.TemporaryFile()
        write_filter(filter_file)
        filter_file.seek(0)
        self.status, theirs = os.pipe()
        self.inherited = [filter_file, os.fdopen(theirs, "wb")]
        descriptors = [file.fileno() for file in self.inherited]
        kwargs["cmd"] = command(
            kwargs["cmd"], given, sockets, kwargs["env"], secrets(*self.hidden), self.limits, *descriptors
        )
        return {**kwargs, "pass_fds": descriptors, "cwd": "/", "env": {"PATH": os.environ.get("PATH", "")}}

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start it, and a watch over what all its processes use together."""
        try:
            info = await super().launch_kernel(cmd, **kwargs)
        finally:
            for file in self.inherited:
                file.close()
        with os.fdopen(self.status) as status:
            line = status.readline()  # bwrap writes it once the sandbox stands
        self.child = json.loads(line)["child-pid"] if line else None
        if self.child is not None:
            threading.Thread(target=self._watch, args=(self.child,), daemon=True).start()
        return info

    async def cleanup(self, restart: bool = False) -> None:
        """End the watch with the kernel."""
        self.child = None
        await super().cleanup(restart)

    def _hand_over(self, sockets: Path) -> None:
        """The sandbox's user owns the folder of the sockets."""
        if os.getuid() == 0:
            for path in (sockets, *sockets.iterdir()):
                os.chown(path, sandbox_uid(), sandbox_uid())

    def _watch(self, child: int) -> None:
        """Kill the sandbox, through its first process, when its processes together use too much."""
        sockets = Path(self.parent.connection_file).parent
        while self.child == child:
            memory, cpu, count = usage(child)
            filled = sum(path.lstat().st_size for path in sockets.iterdir()) if sockets.exists() else 0
            over = memory > self.limits.memory or cpu > self.limits.cpu or count > self.limits.processes
            if over or filled > self.limits.file_bytes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                return
            time.sleep(EVERY)


def usage(process: int) -> tuple[int, float, int]:
    """Memory in bytes, CPU seconds and number of a process and all below it, the dead ones' CPU included."""
    memory, cpu, count = 0, 0.0, 0
    for pid in _family(process):
        with contextlib.suppress(OSError, IndexError, ValueError):
            resident, shared = map(int, Path(f"/proc/{pid}/statm").read_text().split()[1:3])
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            memory += (resident - shared) * PAGE
            cpu += sum(map(int, fields[11:15])) / TICKS
            count += int(fields[17])
    return memory, cpu, count


def _family(process: int) -> Iterator[int]:
    yield process
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))


class GradingKernels(KernelSpecManager):
    """Knows one kernel, this Python's own, whatever is installed on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The grading kernel under the provisioner of this module. Raises CourseError without ipykernel."""
        if importlib.util.find_spec("ipykernel") is None:
            raise CourseError("There is no Python kernel here: run `make setup` (it installs ipykernel).")
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="grading",
            language="python",
            metadata={"kernel_provisioner": {"provisioner_name": "genmap-sandbox"}},
        )


def kernel_environment() -> dict[str, str]:
    """The environment variables of a grading kernel, and no others: the smoke setting, one thread, no colours."""
    return {
        "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
        "HOME": "/work",
        "USER": "learner",
        "LANG": "C.UTF-8",
        "MPLCONFIGDIR": "/tmp/matplotlib",
        "GENMAP_SETTING": "smoke",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_COLOR": "1",
    }
