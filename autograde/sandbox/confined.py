"""Work on what nobody has read, in a fork that can compute and answer, and no more.

It has no network, no right, no program to start, no process but its own, and no file to write: what it may
see is read-only, and neither gradebook nor hidden tests are there. As root it is a user of its own. What it
finds out goes to its parent as bounded JSON, which is checked there, and a text, which is only stored.
"""

import contextlib
import json
import multiprocessing
import os
import re
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import Any

from autograde.errors import CourseError, Died, UsageError
from autograde.sandbox.bubblewrap import for_reading, own_uid
from autograde.sandbox.forkserver import (
    LIBC,
    SPACES,
    USER,
    check,
    check_apart,
    close_others,
    drop_rights,
    forbid,
)
from autograde.sandbox.kernel_process import sandbox_problem
from autograde.sandbox.limits import Limits
from autograde.sandbox.seccomp import FOR_READERS, program
from autograde.sandbox.standing import Standing
from autograde.sandbox.workers import die_with

MAX_REPORT_BYTES = 1 << 20  # of JSON, which as objects is up to a hundred times as large
MAX_ERROR_CHARACTERS = 2000
MAX_TEXT_BYTES = 256 << 20  # of a text, which is stored as it is
TOO_LARGE = "It takes too much memory to read or to show: have its outputs cleared, or cells left out."
QUESTION, TEXT, RESULT, ERROR = b"?", b"+", b"=", b"!"

Reply = tuple[Any, int | None]  # what is answered, as JSON has it, and a descriptor that goes along
Answer = Callable[[dict[str, Any]], Reply]


class Confinement:
    """The sandbox that all share, made when it is first needed; close() or the grader's end ends it."""

    def __init__(self) -> None:
        self.standing: Standing | None = None
        self.alive: int | None = None
        self.owner = 0

    def start(self) -> Standing:
        """Make it unless it stands. Raises CourseError."""
        if self.standing is None or (self.owner == os.getpid() and self.standing.bwrap.poll() is not None):
            if reason := sandbox_problem():
                raise CourseError(f"What students handed in is not read without the sandbox. {reason}")
            self.close()
            waits, self.alive = os.pipe()
            with os.fdopen(waits, "rb") as reader:
                self.standing, self.owner = Standing(for_reading, reader), os.getpid()
        return self.standing

    def door(self) -> "Door":
        """For a fork of this process. Raises CourseError."""
        standing = self.start()
        return Door(standing.first, standing.handle)

    def close(self) -> None:
        """End it."""
        if self.standing is not None and self.alive is not None and self.owner == os.getpid():
            os.close(self.alive)
            self.standing.close()
            self.standing = self.alive = None


CONFINEMENT = Confinement()  # one for the whole process: nothing in it can be changed


@dataclass(frozen=True)
class Door:
    """What a fork needs to go in: the first process of the sandbox, by number and by descriptor."""

    first: int
    handle: int

    def enter(self, limits: Limits, rules: bytes, parent: int, *lines: int) -> None:
        """Go in for good, a fork of `parent`: keep no descriptor but the lines, no right. Raises OSError."""
        root = os.getuid() == 0
        check_apart(self.first)
        # not of process ids: it would have no threads any more, and it may make no process
        check(LIBC.setns(self.handle, SPACES | (0 if root else USER)))
        os.chdir("/")
        close_others(*lines)
        for name in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
            resource.setrlimit(name, (0, 0))
        if root:  # where it is a user of its own, whose threads are counted
            resource.setrlimit(resource.RLIMIT_NPROC, (limits.processes, limits.processes))
        drop_rights(own_uid() if root else None)
        die_with(parent)
        forbid(rules)


class Host:
    """A confined process's end of the line to its parent."""

    def __init__(self, line: Connection) -> None:
        self.line = line

    def ask(self, what: str, **given: Any) -> Any:
        """What the parent answers, as JSON has it."""
        self.line.send_bytes(QUESTION + json.dumps({"ask": what, **given}).encode())
        return json.loads(self.line.recv_bytes())

    def take(self) -> int:
        """The descriptor that comes with an answer."""
        return int(recv_handle(self.line))

    def give(self, text: str) -> None:
        """Hand over a text, to be stored as it is."""
        self.line.send_bytes(TEXT + text.encode(errors="replace"))


class Confined:
    """A fork that does `work`; `run` returns what it found out, `end` ends it in the midst of its work, too.

    text: the text that it gave, in UTF-8.
    """

    def __init__(self, work: Callable[[Host], Any], limits: Limits) -> None:
        door, rules = CONFINEMENT.door(), program(FOR_READERS)
        context = multiprocessing.get_context("fork")
        self.line, theirs = context.Pipe()
        self.text, parent = b"", os.getpid()

        def child() -> None:
            try:
                _bound_memory(limits)
                door.enter(limits, rules, parent, theirs.fileno())
                outcome = _outcome(work, Host(theirs))
            except OSError as error:
                outcome = _error(f"It cannot be read in the sandbox ({error}): run `autograde doctor`.")
            theirs.send_bytes(outcome)
            os._exit(0)

        self.process = context.Process(target=child)
        self.process.start()
        theirs.close()

    @cached_property
    def pid(self) -> int:
        """Its process id."""
        assert self.process.pid is not None
        return self.process.pid

    def end(self) -> None:
        """Kill it, where it has not ended."""
        self.process.kill()
        self.process.join()
        self.line.close()

    def run(self, seconds: float, answer: Answer | None = None) -> Any:
        """What the work returned, as JSON has it; `answer` hears what it asks for meanwhile.

        Raises the work's CourseError, and CourseError where it did not end, or not in `seconds`.
        """
        end = time.monotonic() + seconds
        while True:
            asks, found = self.next(end - time.monotonic())
            if not asks:
                return found
            self.reply(*answer(found) if answer is not None else ({}, None))

    def next(self, seconds: float) -> tuple[bool, Any]:
        """What it says next: whether that is a question, which waits for a `reply`, and which, or the result.

        Raises as `run` does.
        """
        if not self.line.poll(max(0.0, seconds)):
            raise CourseError("It took too long to read: run again.")
        try:
            kind, found = self._message()
        except (EOFError, OSError, ValueError, LookupError, TypeError, RecursionError):
            raise CourseError(f"What reads it was stopped ({Died.reason}): run again.") from None
        if kind == ERROR:
            raise (UsageError if found["status"] == UsageError.exit_code else CourseError)(found["error"])
        return kind == QUESTION, found

    def reply(self, found: Any, descriptor: int | None = None) -> None:
        """Answer a question."""
        with contextlib.suppress(ConnectionError):  # it has ended: seen at the next look
            self.line.send_bytes(json.dumps(found).encode())
            if descriptor is not None:
                send_handle(self.line, descriptor, self.pid)

    def _message(self) -> tuple[bytes, Any]:
        """The kind and content of the next but for texts, which are kept. Raises ValueError and others."""
        kind = TEXT
        while kind == TEXT:
            found = self.line.recv_bytes(MAX_TEXT_BYTES)
            kind, body = found[:1], found[1:]
            if kind == TEXT:
                self.text = body
        if len(body) > MAX_REPORT_BYTES:
            raise ValueError
        content = json.loads(body)
        if kind == ERROR:
            content = {"error": str(content["error"]), "status": content["status"]}
        if kind not in (RESULT, ERROR) and not (kind == QUESTION and isinstance(content, dict)):
            raise ValueError
        return kind, content


def _outcome(work: Callable[[Host], Any], host: Host) -> bytes:
    """What became of the work, as a message."""
    try:
        return RESULT + json.dumps(work(host)).encode()
    except CourseError as error:
        return _error(str(error), error.exit_code)
    except MemoryError:
        return _error(TOO_LARGE)
    except Exception as error:
        return _error(str(error) if " " in str(error) else f"{type(error).__name__}: nbgrader failed on it.")


def _error(said: str, status: int = CourseError.exit_code) -> bytes:
    return ERROR + json.dumps({"error": said[:MAX_ERROR_CHARACTERS], "status": status}).encode()


def _bound_memory(limits: Limits) -> None:
    """From here on this process may gain no more than `limits.grader` bytes: MemoryError comes instead."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    held = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if held is not None:
        most = (int(held[1]) << 10) + limits.grader
        resource.setrlimit(resource.RLIMIT_DATA, (most, before[1]))
