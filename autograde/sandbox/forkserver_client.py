"""The grader's side of the fork server (forkserver.py): kernels that are ready at once."""

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from autograde.errors import CourseError
from autograde.sandbox.seccomp import FOR_KERNELS, open_filter

PROGRAM = Path(__file__).with_name("forkserver.py")
PARTS = (
    "protocol",
    "framing",
    "wire",
    "promises",
    "call_server",
    "cell_executor",
)  # run in a kernel, in this order
ENDED = "The process that kernels are forked from has ended: run again, or `autograde doctor`"
REPLY_SECONDS = 120.0  # for all imports and a fork
KERNEL = (  # what a kernel imports at its start and with its first cell
    *("ipykernel.ipkernel", "ipykernel.debugger", "IPython.core.completerlib", "IPython.core.application"),
    *("IPython.core.oinspect", "IPython.core.logger", "sqlite3", "bdb"),
)


class ForkServerClient:
    """Starts the fork server when it is first needed, and asks it; close() or the grader's end stops it.

    Kernels are forked from one server, whatever the submission. Forks of the grader share this client.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.owner = 0
        self.known: set[str] | None = None

    def start(self) -> None:
        """Start it unless it runs; it imports torch meanwhile."""
        if self.process is not None and (self.owner != os.getpid() or self.process.poll() is None):
            return
        if self.control is not None:
            self.control.close()
        sources = {f"autograde.sandbox.{name}": PROGRAM.with_name(f"{name}.py").read_text() for name in PARTS}
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with PROGRAM.open("rb") as text, _interpreter() as program, theirs:
            keep = theirs.fileno(), program.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-", str(keep[0])],
                executable=f"/proc/self/fd/{keep[1]}",
                pass_fds=keep,
                env=server_environment(),
                cwd="/",  # not the grader's folder, which may go
                stdin=text,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self.owner, self.known = os.getpid(), None
        self._send({"do": "load", "sources": sources})

    def learn(self, modules: Iterable[str]) -> None:
        """Let it import the modules, where it has not, before its next kernel."""
        self.start()
        wanted = {*KERNEL, *modules}
        if self.known is None or not wanted <= self.known:
            request = {"do": "import", "modules": sorted(wanted - (self.known or set()))}
            self._send(request)
            self.known = (self.known or set()) | wanted

    def _send(self, request: dict[str, Any], *descriptors: int) -> None:
        """Raises CourseError where it has ended."""
        assert self.control is not None
        try:
            socket.send_fds(self.control, [json.dumps(request).encode()], descriptors)
        except OSError as error:
            raise CourseError(f"{ENDED} ({error})") from None

    def close(self) -> None:
        """End it."""
        if self.control is not None and self.process is not None:
            self.control.close()
            self.process.wait()
            self.process = self.control = None

    def kernel(self, line: socket.socket, request: dict[str, Any], *sandbox: int) -> int:
        """Fork a kernel that answers at `line`; returns its process id. Raises CourseError.

        `request` has its folder and environment. `sandbox` is empty, for one's own work, or descriptors: of
        the sandbox's first process, which `request` names as `first`, and of a pipe: the sandbox lasts until
        every copy of it is closed. Then `request` has the user and the limits, too.
        """
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.enter_context(ours)
            stack.enter_context(theirs)
            descriptors = [theirs.fileno(), line.fileno()]
            if sandbox:
                rules = stack.enter_context(open_filter(FOR_KERNELS))
                descriptors += [sandbox[0], rules.fileno(), sandbox[1]]
            cores = sorted(os.sched_getaffinity(0))
            request = {**request, "do": "kernel", "isolated": bool(sandbox), "cores": cores}
            self._send(request, *descriptors)
            theirs.close()
            ours.settimeout(REPLY_SECONDS)
            try:
                answer = ours.recv(1000).decode(errors="replace")
            except OSError as error:
                answer = str(error)
        if not answer.isdigit():
            why = answer or "its parent ended"
            raise CourseError(f"The kernel cannot enter its sandbox ({why}): run `autograde doctor`.")
        return int(answer)


def server_environment() -> dict[str, str]:
    """A server's environment variables, those of a kernel but for what a sandbox makes different."""
    own = {name: value for name, value in kernel_environment().items() if name != "MPLCONFIGDIR"}
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        own["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")  # it may be found beside the program
    return own


def _interpreter() -> IO[bytes]:
    """Python as a file in memory: by /proc/self/exe a kernel reaches its program outside the sandbox."""
    file = os.fdopen(os.memfd_create("python", os.MFD_ALLOW_SEALING), "wb")
    file.write(Path(os.path.realpath(sys.executable)).read_bytes())
    file.flush()
    os.fchmod(file.fileno(), 0o555)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return file


# One for the whole process: every kernel of a class is forked from its server.
FORK_SERVER = ForkServerClient()


def kernel_environment() -> dict[str, str]:
    """All environment variables of a grading kernel: the smoke setting, one thread, no colours."""
    return {
        "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "USER": "learner",
        "LANG": "C.UTF-8",
        "MPLCONFIGDIR": "/tmp/matplotlib",
        "GENMAP_SETTING": "smoke",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_COLOR": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
