"""Limits that the system itself holds a submission to: a control group for each sandbox, where it lets us.

Version 2 where it is delegated to the grader (`systemd-run --user --scope -p Delegate=yes`) or the grader is
root; version 1 where that is mounted and the grader is root. Elsewhere the watch in kernel_process.py is all.
Sources: cgroups(7); the Linux kernel's documentation, admin-guide/cgroup-v1 and admin-guide/cgroup-v2.
"""

import contextlib
import functools
import itertools
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from autograde.sandbox.limits import Limits

NEEDED = ("memory", "pids", "cpu")
NEEDED_1 = (*NEEDED, "cpuacct")  # which counts the time that version 2 counts in any group
PREFIX = "autograde-"  # of a group's name; the number of the grader's process follows
OURS = 8  # processes that are ours in a group: the sandbox's first, a shell, who waits for the kernel
REMOVE_SECONDS = 5.0  # for a group to become empty once its processes were killed
POLL_SECONDS = 0.002
COUNTER = itertools.count()


@dataclass(frozen=True)
class Mounted:
    """Where groups can be made: version 1 has a folder for each controller, version 2 one for all."""

    version: int
    folders: dict[str, Path]

    def group(self, limits: Limits) -> "Group":
        """A new group with these limits. Raises OSError."""
        name = f"{PREFIX}{os.getpid()}-{next(COUNTER)}"
        made = Group([folder / name for folder in dict.fromkeys(self.folders.values())])
        try:
            for folder in made.folders:
                folder.mkdir()
            for controller, values in _values(self.version, limits).items():
                for file, value in values.items():
                    _set(self.folders[controller] / name / file, value)
        except OSError:
            made.remove()
            raise
        return made


@dataclass
class Group:
    """The control group of one sandbox; without folders, where there are none, it does nothing."""

    folders: list[Path] = field(default_factory=list)

    @property
    def doors(self) -> list[str]:
        """The files that a process writes its number to, or "0", to be in the group with all its children."""
        return [str(folder / "cgroup.procs") for folder in self.folders]

    def take(self, process: int) -> None:
        """Put a process into it. Raises OSError."""
        for door in self.doors:
            Path(door).write_text(str(process))

    def cpu(self) -> float | None:
        """CPU seconds of all that is or was in it, waited for or not; None where nobody counts."""
        for folder in self.folders:
            with contextlib.suppress(OSError, ValueError):
                return int((folder / "cpuacct.usage").read_text()) / 1e9
            with contextlib.suppress(OSError, ValueError, LookupError):
                words = (folder / "cpu.stat").read_text().split()
                return int(words[words.index("usage_usec") + 1]) / 1e6
        return None

    def remove(self) -> None:
        """Take it away, once its processes have ended; what stays is taken away by a later grader."""
        end = time.monotonic() + REMOVE_SECONDS
        for folder in self.folders:
            while not _removed(folder) and time.monotonic() < end:
                time.sleep(POLL_SECONDS)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _values(version: int, limits: Limits) -> dict[str, dict[str, int]]:
    """What stands in the files of a group, by controller. All weigh the same, and as much as one process."""
    memory, processes = limits.memory, limits.processes + OURS
    if version == 1:
        most = {"memory.limit_in_bytes": memory, "memory.memsw.limit_in_bytes": memory}
        return {"memory": most, "pids": {"pids.max": processes}, "cpu": {"cpu.shares": 1024}, "cpuacct": {}}
    most = {"memory.max": memory, "memory.swap.max": 0, "memory.oom.group": 1}
    return {"memory": most, "pids": {"pids.max": processes}, "cpu": {"cpu.weight": 100}}


def _set(file: Path, value: int) -> None:
    """Write it, where this kernel has such a file: limits on swap are not built into every one."""
    if "sw" not in file.name or file.exists():
        file.write_text(str(value))


@functools.cache
def mounted() -> Mounted | None:
    """Where this process may make groups, None where it may not; groups that nobody needs any more go."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text()
        own = Path("/proc/self/cgroup").read_text()
        found = _version_2(mounts, own) or _version_1(mounts, own)
    except OSError:
        return None
    if found is not None:
        _sweep(found)
    return found


def group(limits: Limits) -> Group:
    """A new group for a sandbox. Raises OSError."""
    found = mounted()
    return found.group(limits) if found is not None else Group()


def advice() -> str:
    """What to type so that there are groups; "" where there are."""
    if mounted() is not None:
        return ""
    if os.getuid() == 0:
        return "grade where control groups are mounted and writable (not in a container without them)"
    return "start graders by: systemd-run --user --scope -p Delegate=yes autograde grade LESSON"


def _version_1(mounts: str, own: str) -> Mounted | None:
    """Version 1: each controller is mounted, and the folder of our own group there is ours to write to."""
    paths = {name: path for _, names, path in _lines(own) for name in names.split(",")}
    folders = {}
    for name in NEEDED_1:
        places = [point for kind, point, how in _mounts(mounts) if kind == "cgroup" and name in how]
        if not places or name not in paths:
            return None
        inner = places[0] / paths[name].lstrip("/")
        # in a container its own group may be the first that it sees
        folders[name] = inner if inner.is_dir() else places[0]
    return Mounted(1, folders) if all(os.access(each, os.W_OK) for each in folders.values()) else None


def _version_2(mounts: str, own: str) -> Mounted | None:
    """Version 2: our own group, or the system's first one as root; its processes move into a group within."""
    place = next((point for kind, point, _ in _mounts(mounts) if kind == "cgroup2"), None)
    path = next((path for number, names, path in _lines(own) if number == "0" and not names), None)
    if place is None or path is None or not set(NEEDED) <= _words(place / "cgroup.controllers"):
        return None
    base = place if os.getuid() == 0 else place / path.lstrip("/")
    base = base.parent if base.name == f"{PREFIX}graders" else base
    if not os.access(base / "cgroup.subtree_control", os.W_OK) or not os.access(base, os.W_OK):
        return None
    if not set(NEEDED) <= _words(base / "cgroup.subtree_control"):
        if (base / "cgroup.type").exists():  # the first group of all has none, and need not be empty
            _move(base)
        (base / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in NEEDED))
    return Mounted(2, dict.fromkeys(NEEDED, base))


def _move(base: Path) -> None:
    """Only a group without processes of its own hands its controllers on: they go one level down."""
    inner = base / f"{PREFIX}graders"
    inner.mkdir(exist_ok=True)
    for process in (base / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            (inner / "cgroup.procs").write_text(process)


def _sweep(found: Mounted) -> None:
    """Take away the groups of graders that have ended."""
    for folder in dict.fromkeys(found.folders.values()):
        for left in folder.glob(f"{PREFIX}[0-9]*-*"):
            if not Path("/proc", left.name.removeprefix(PREFIX).split("-")[0]).exists():
                _removed(left)


def _mounts(text: str) -> list[tuple[str, Path, list[str]]]:
    """Kind, place and options of each file system (proc(5), mountinfo)."""
    halves = [line.split(" - ") for line in text.splitlines() if " - " in line]
    return [(rest.split()[0], Path(front.split()[4]), rest.split()[-1].split(",")) for front, rest in halves]


def _lines(text: str) -> list[tuple[str, str, str]]:
    """Number, controllers and path of each line of /proc/self/cgroup."""
    return [
        (number, names, path) for number, names, path in (line.split(":", 2) for line in text.splitlines())
    ]


def _words(file: Path) -> set[str]:
    return set(file.read_text().split()) if file.exists() else set()
