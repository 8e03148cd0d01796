"""A sandbox that stands before anything runs in it: processes are forked into it, which costs far less."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from typing import IO

from autograde.errors import CourseError
from autograde.sandbox.seccomp import FOR_KERNELS, open_filter

HOLD = ["/bin/sh", "-c", "echo; read end"]  # tells that the sandbox is there, then lasts until its input ends
View = Callable[[list[str], int, int], list[str]]  # bwrap's command line for a program, filter and status


class Standing:
    """Bubblewrap's namespaces with a shell in them that waits until the pipe `waits` has no writer.

    first: the number of the first process in it. handle: a descriptor of that process, since a number may be
    another's by now. Raises CourseError, OSError.
    """

    def __init__(self, view: View, waits: IO[bytes]) -> None:
        with ExitStack() as stack:
            (told, status), (stands, ready) = (self._pipe(stack) for _ in range(2))
            with status, ready, open_filter(FOR_KERNELS) as rules:
                fds = [rules.fileno(), status.fileno()]
                self.bwrap = subprocess.Popen(
                    view(HOLD, *fds),
                    pass_fds=fds,
                    stdin=waits,
                    stdout=ready,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={"PATH": os.environ.get("PATH", "")},
                )
            first = told.readline()  # bwrap writes it as soon as the process is there
            if not first or not stands.readline():  # and the shell when all else is
                self._end()
                raise CourseError("The sandbox does not stand: run `autograde doctor`.")
        self.first = int(json.loads(first)["child-pid"])
        self.handle = os.pidfd_open(self.first)

    @staticmethod
    def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
        reads, writes = os.pipe()
        return stack.enter_context(os.fdopen(reads, "rb")), stack.enter_context(os.fdopen(writes, "wb"))

    def kill(self) -> None:
        """End every process in it. Raises OSError where it has ended."""
        signal.pidfd_send_signal(self.handle, signal.SIGKILL)

    def close(self) -> None:
        """End what is left of it."""
        os.close(self.handle)
        self._end()

    def _end(self) -> None:
        self.bwrap.kill()
        self.bwrap.wait()
