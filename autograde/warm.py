"""Kernels that are ready at once: forks of a process (zygote.py) that has imported what the lesson does."""

import ast
import contextlib
import fcntl
import functools
import importlib.util
import json
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from autograde.errors import CourseError
from autograde.helper import Helper
from autograde.seccomp import open_filter

PROGRAM = Path(__file__).with_name("zygote.py")
NONE = "SOURCES: dict[str, str] = {}"  # of PROGRAM: the place of
PARTS = ("wire", "runtime", "player")  # what runs in a kernel, where the grading package does not exist
PATIENCE = 120.0  # seconds for all imports and a fork
OPTIMIZER = "torch._dynamo"  # what the first optimizer imports, for more than a second
KERNEL = ("ipykernel.ipkernel", "ipykernel.debugger", "IPython.core.completerlib")


class Zygote(Helper):
    """The grader's side: a process that a kernel is forked from, whatever the submission."""

    modules: frozenset[str] = frozenset()

    def start(self, modules: Iterable[str], environment: dict[str, str]) -> None:
        """Start it unless it runs and knows the modules; it warms up meanwhile."""
        wanted = frozenset(modules)
        if self.running() and wanted <= self.modules:
            return
        own = {name: value for name, value in environment.items() if name != "MPLCONFIGDIR"}
        if sysconfig.get_config_var("Py_ENABLE_SHARED"):
            own["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")  # it may be found beside the program
        sources = {f"autograde.{name}": PROGRAM.with_name(f"{name}.py").read_text() for name in PARTS}
        with tempfile.TemporaryFile() as text, _interpreter() as program:
            text.write(PROGRAM.read_text().replace(NONE, f"{NONE[:-2]}{sources!r}", 1).encode())
            text.seek(0)
            command = [sys.executable, "-P", "-", *KERNEL, *sorted(wanted)]
            quiet, number = subprocess.DEVNULL, program.fileno()
            how = {"executable": f"/proc/self/fd/{number}", "stdin": text, "env": own}
            self.launch(command, number, stdout=quiet, stderr=quiet, **how)
        self.modules = wanted

    def kernel(self, line: socket.socket, request: dict[str, Any], *sandbox: int) -> int:
        """Fork a kernel that answers at `line`; returns its process id. Raises CourseError.

        `request` has its folder and environment. `sandbox` is empty, for one's own work, or descriptors: of
        the sandbox's first process, which `request` names as `first`, and of a pipe: the sandbox lasts until
        every copy of it is closed. Then `request` has the user and the limits, too.
        """
        try:
            answer = self._ask(line, request, *sandbox)
        except OSError as error:
            answer = str(error)
        if not answer.isdigit():
            why = answer or "its parent ended"
            raise CourseError(f"The kernel cannot enter its sandbox ({why}): run `autograde doctor`.")
        return int(answer)

    def _ask(self, line: socket.socket, request: dict[str, Any], *sandbox: int) -> str:
        assert self.control is not None
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.enter_context(ours)
            stack.enter_context(theirs)
            descriptors = [theirs.fileno(), line.fileno()]
            if sandbox:
                rules = stack.enter_context(open_filter())
                descriptors += [sandbox[0], rules.fileno(), sandbox[1]]
            message = json.dumps({**request, "isolated": bool(sandbox)})
            socket.send_fds(self.control, [message.encode()], descriptors)
            theirs.close()
            ours.settimeout(PATIENCE)
            return ours.recv(1000).decode(errors="replace")


def _interpreter() -> IO[bytes]:
    """Python as a file in memory: by /proc/self/exe a kernel reaches its program outside the sandbox."""
    file = os.fdopen(os.memfd_create("python", os.MFD_ALLOW_SEALING), "wb")
    file.write(Path(os.path.realpath(sys.executable)).read_bytes())
    file.flush()
    os.fchmod(file.fileno(), 0o555)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return file


ZYGOTE = Zygote()  # one for the whole process: every kernel of a class is forked from it


def imports(released: dict[str, Any]) -> list[str]:
    """The modules that a released notebook's cells import, and those that genmap imports for them, if late.

    A submission's own have no say.
    """
    cells = (cell for cell in released["cells"] if cell["cell_type"] == "code")
    return _imports(tuple("".join(cell["source"]) for cell in cells))


@functools.cache
def _imports(cells: tuple[str, ...]) -> list[str]:
    found = {OPTIMIZER} if any("optim" in cell for cell in cells) else set()
    sources = list(cells)
    while sources:
        new = set(_imported(sources.pop())) - found
        found |= new
        sources += [text for name in new if name.split(".")[0] == "genmap" and (text := _source(name))]
    return sorted(found)


def _source(module: str) -> str:
    """A module's own text; none for what is no module, such as a function that is imported by name."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return ""
    return Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""


def _imported(source: str) -> Iterable[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a line of IPython's, such as %pip
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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
