"""Kernels that are ready at once: forks of a process (zygote.py) that has imported what the lesson does."""

import ast
import functools
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autograde.bubblewrap import sandbox_uid
from autograde.errors import CourseError
from autograde.helper import Helper
from autograde.limits import Limits
from autograde.seccomp import open_filter

PROGRAM = Path(__file__).with_name("zygote.py")
KERNEL = (  # what every kernel imports before its first cell
    *("ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.zmqshell", "ipykernel.inprocess"),
    "ipykernel.debugger",
    *("IPython.core.completerlib", "matplotlib_inline.backend_inline"),
)


class Zygote(Helper):
    """The grader's side: a process that a kernel is forked from, whatever the submission."""

    modules: frozenset[str] = frozenset()

    def start(self, modules: Iterable[str], environment: dict[str, str]) -> None:
        """Start it unless it runs and knows the modules; it warms up meanwhile."""
        wanted = frozenset(modules)
        if self.running() and wanted <= self.modules:
            return
        own = {**environment, "HOME": os.path.expanduser("~")}  # where matplotlib keeps its list of fonts
        own.pop("MPLCONFIGDIR", None)
        with PROGRAM.open("rb") as text:
            command = [sys.executable, "-P", "-", *KERNEL, *sorted(wanted)]
            self.launch(command, stdin=text, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.modules = wanted

    def kernel(
        self, first: int, alive: int, connection: str, environment: dict[str, str], limits: Limits
    ) -> int:
        """Fork a kernel into the sandbox whose first process is `first`; returns its process id.

        The sandbox lasts until every copy of the descriptor `alive` is closed. Raises CourseError.
        """
        request = {
            "first": first,
            "environment": environment,
            "connection": connection,
            "root": os.getuid() == 0,
            "uid": sandbox_uid(),
            "limits": _resources(limits),
        }
        try:
            answer = self._ask(first, alive, request)
        except OSError as error:
            answer = str(error)
        if not answer.isdigit():
            why = answer or "its parent ended"
            raise CourseError(f"The kernel cannot enter its sandbox ({why}): run `autograde doctor`.")
        return int(answer)

    def _ask(self, first: int, alive: int, request: dict[str, Any]) -> str:
        assert self.control is not None
        ours, theirs = socket.socketpair()
        process = os.pidfd_open(first)
        with ours, theirs, os.fdopen(process, "rb"), open_filter() as rules:
            descriptors = [process, rules.fileno(), alive, theirs.fileno()]
            socket.send_fds(self.control, [json.dumps(request).encode()], descriptors)
            theirs.close()
            return ours.recv(1000).decode(errors="replace")


ZYGOTE = Zygote()  # one for the whole process: every kernel of a class is forked from it


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


def imports(released: dict[str, Any]) -> list[str]:
    """The modules that a released notebook's cells import, and those that genmap imports for them, if late.

    A submission's own have no say.
    """
    cells = (cell for cell in released["cells"] if cell["cell_type"] == "code")
    return _imports(tuple("".join(cell["source"]) for cell in cells))


@functools.cache
def _imports(cells: tuple[str, ...]) -> list[str]:
    found: set[str] = set()
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
    }
