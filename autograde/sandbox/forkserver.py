"""The fork server: it imports torch once, then forks a kernel into each sandbox.

It is run from its text, not as a part of `autograde`: the kernels inherit all that this process holds, and no
submission may see the grading package. It reads nothing but the requests of its client,
forkserver_client.py, holds no secret and starts no thread. Argument: the number of its socket.

A request is JSON. What it has to do is one of:
- "load", first of all: the texts of the grader's modules that run in a kernel;
- "import" modules; and, once, make the IPython that every kernel then has a copy of;
- "kernel": in a fork, with the kernel's folder, environment, user, limits and control groups, and with
  descriptors: a line for the reply (the kernel's process id, or a word on what failed), the kernel's own line
  and, where there is a sandbox, its first process, the system call filter, and a pipe by which it lives as
  long as its kernel.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pwd
import random
import resource
import signal
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

SHARED = ("numpy", "numpy.random", "torch")  # what every kernel needs
MAX_REQUEST_BYTES = 1 << 18  # sources of the grader's modules take about 30,000
LIBC = ctypes.CDLL(None, use_errno=True)
# of linux/sched.h: mount, cgroup, uts, ipc, net; user; pid
SPACES, USER, PIDS = 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x40000000, 0x10000000, 0x20000000
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 22, 24, 38
SECCOMP_MODE_FILTER, CAPABILITIES, CAPABILITY_VERSION = 2, 64, 0x20080522
INSTRUCTION_BYTES = 8  # of one instruction of a filter


class Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def check(result: int) -> None:
    """Raise OSError where a system call failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def import_all(modules: Iterable[str]) -> None:
    """Import the modules, those that are there."""
    for name in modules:
        with contextlib.suppress(Exception):  # it fails again in the kernel, where it counts
            importlib.import_module(name)


@contextlib.contextmanager
def missing(name: str) -> Iterator[None]:
    """Inside, as if this module were not installed."""
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop(name, None)


def load(sources: dict[str, str]) -> dict[str, ModuleType]:
    """The modules of these sources by name, executed in order; sys.modules does not keep them."""
    modules = {name: ModuleType(name) for name in (*_packages(sources), *sources)}
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        for name, module in modules.items():
            package, _, last = name.rpartition(".")
            if package:
                setattr(modules[package], last, module)
            exec(compile(sources.get(name, ""), f"<{name}>", "exec"), module.__dict__)
    finally:
        for name, old in before.items():
            del sys.modules[name]
            if old is not None:
                sys.modules[name] = old
    return modules


def _packages(sources: dict[str, str]) -> list[str]:
    """The packages that hold these modules, outer ones first."""
    names = {name.rsplit(".", depth)[0] for name in sources for depth in range(1, name.count(".") + 1)}
    return sorted(names)


def serve(control: socket.socket) -> None:
    """Do what the client asks for until it hangs up."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sources: dict[str, str] = {}
    executor = None
    while True:
        message, descriptors, *_ = socket.recv_fds(control, MAX_REQUEST_BYTES, 5)
        if not message:
            return
        request = json.loads(message)
        if request["do"] == "load":
            sources = request["sources"]
        elif request["do"] == "import":
            with missing("debugpy"):  # ipykernel would take it along, for nothing
                import_all(request["modules"])
            executor = executor or load(sources)["autograde.sandbox.cell_executor"].CellExecutor()
        else:
            gc.freeze()  # so that a fork's garbage collector leaves the shared pages alone
            if os.fork() == 0:
                control.close()
                gc.enable()
                begin(request, executor, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def begin(request: dict[str, Any], executor: Any, reply: int, line: int, *sandbox: int) -> NoReturn:
    """Become a kernel in the sandbox or, for one's own work, without."""
    os.sched_setaffinity(0, request["cores"])
    if request["isolated"]:
        enter(request, executor, reply, line, *sandbox)
    os.write(reply, str(os.getpid()).encode())
    become_kernel(request, executor, line)


def enter(
    request: dict[str, Any], executor: Any, reply: int, line: int, first: int, rules: int, alive: int
) -> NoReturn:
    """Go into the sandbox of the process `first`, fork the kernel there, hold `alive` open while it runs."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        program = os.pread(rules, os.fstat(rules).st_size, 0)
        for door in request["groups"]:
            Path(door).write_text("0")  # this process, and with it the kernel
        check_apart(request["first"])
        check(LIBC.setns(first, SPACES | PIDS | (0 if request["root"] else USER)))
        kernel = os.fork()
        if kernel == 0:
            become_kernel(request, executor, line, program)
        os.close(line)
        os.write(reply, str(kernel).encode())
        os.close(reply)
        os.waitpid(kernel, 0)
    except OSError as error:
        os.write(reply, str(error).encode())
    finally:
        os._exit(0)


def check_apart(first: int) -> None:
    """Raise OSError unless the process has files, processes and a network of its own."""
    for space in ("mnt", "pid", "net"):
        if os.readlink(f"/proc/{first}/ns/{space}") == os.readlink(f"/proc/self/ns/{space}"):
            raise OSError(f"it shares {space} with its grader")


def become_kernel(
    request: dict[str, Any], executor: Any, line: int, program: bytes | None = None
) -> NoReturn:
    """Give up every right, as bubblewrap and setpriv do for what they start, and run the kernel.

    Without a filter there is no sandbox either: it is one's own work.
    """
    try:
        os.setsid()
        line = keep_only(line)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        if program is not None:
            for name, value in request["limits"].items():
                resource.setrlimit(getattr(resource, name), (value, value))
            drop_rights(request["uid"] if request["root"] else None)
            forbid(program)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run_kernel(socket.socket(fileno=line), executor)
    finally:
        os._exit(1)


def keep_only(line: int) -> int:
    """Close every descriptor but the line, which becomes number 3."""
    os.dup2(line, 3)
    close_others(3)
    return 3


def close_others(*lines: int) -> None:
    """Close every descriptor but these; the first three lead nowhere."""
    free = 0
    for line in sorted(lines):
        os.closerange(free, line)
        free = line + 1
    os.closerange(free, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    while (nowhere := os.open("/dev/null", os.O_RDWR)) < 3:
        pass
    os.close(nowhere)


def drop_rights(uid: int | None) -> None:
    """No capability, none to be regained; as root, another user."""
    for capability in range(CAPABILITIES):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # of those that this system does not know, an error
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header, none = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    check(LIBC.capset(header, none))
    check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    check(LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))  # as after an exec: its files in /proc are its own


def forbid(program: bytes) -> None:
    """The system call filter."""
    filter_ = Program(len(program) // INSTRUCTION_BYTES, program)
    check(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter_), 0, 0))


def run_kernel(line: socket.socket, executor: Any) -> None:
    """A kernel like one that was started afresh."""
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    importlib.invalidate_caches()
    sys.argv[:] = ["ipykernel_launcher"]
    own = (number for number, path in enumerate(sys.path) if path.endswith("lib-dynload"))
    sys.path.insert(1 + max(own, default=-1), "")  # behind the standard library, as IPython has it
    executor.begin(line)
    executor.serve()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the grader's Ctrl-C: it hangs up
    with contextlib.suppress(KeyError):  # where matplotlib keeps its list of fonts
        os.environ["HOME"] = pwd.getpwuid(os.getuid()).pw_dir
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)  # the text of this program
    gc.disable()  # it would look through all that is imported, again and again
    import_all(SHARED)
    serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)  # at once: there is nothing to put away
