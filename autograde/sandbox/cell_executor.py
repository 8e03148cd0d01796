"""Runs cells in the learner's process: IPython as a Jupyter kernel has it, its messages sent over one line.

The source text of this file runs in the kernel, behind those of the files that it imports: forkserver.py
loads them. It is not trusted: the grader checks whatever comes over the line.
"""

import asyncio
import functools
import io
import json
import logging
import os
import socket
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ipykernel.compiler import XCachingCompiler
from ipykernel.ipkernel import IPythonKernel
from IPython.core import pylabtools
from jupyter_client.jsonutil import json_default
from jupyter_client.session import Session
from traitlets.config import Config

from autograde.sandbox import framing
from autograde.sandbox.call_server import CallServer
from autograde.sandbox.protocol import KernelMessage

MIN_CHARACTERS, MAX_CHARACTERS = 8192, 1 << 20  # of printed text that are sent at once


class ChannelSession(Session):
    """The kernel's messages to its one client, who is at the other end of the line."""

    executor: "CellExecutor"

    def send(
        self, stream: Any, msg_or_type: Any, content: Any = None, *given: Any, **named: Any
    ) -> dict[str, Any]:
        """Send one; only its kind and content count."""
        message = msg_or_type if isinstance(msg_or_type, dict) else self.msg(msg_or_type, content)
        kind = message["header"]["msg_type"]
        body = {"msg_type": kind, "content": message["content"]}
        self.executor.flush()
        self.executor.tell(KernelMessage.OUTPUT, json.dumps(body, default=json_default))
        return message


class Compiler(XCachingCompiler):
    """Names cells by IPython's digest: Jupyter's own, in Python, takes as long as many a cell."""

    def get_code_name(self, raw_code: str, code: str, number: int) -> str:
        """The name of a cell as a file."""
        name: str = super(XCachingCompiler, self).get_code_name(raw_code, code, number)
        return name


class OutputStream(io.TextIOBase):
    """Standard output, or error, of the cells."""

    encoding = "utf-8"

    def __init__(self, executor: "CellExecutor", name: str, number: int) -> None:
        self.executor, self.name, self.number = executor, name, number
        self.kept: list[str] = []
        self.size = 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        """The number of the process's own stream, which leads nowhere."""
        return self.number

    def write(self, text: str) -> int:
        """Keep the text until there is enough of it."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text)}")
        if os.getpid() == self.executor.process:  # a child of it says nothing
            with self.executor.lock:
                self.executor.turn(self)
                self.kept.append(text)
                self.size += len(text)
                if self.size > MIN_CHARACTERS:
                    self.flush()
        return len(text)

    def flush(self) -> None:
        """Send what is kept."""
        if os.getpid() != self.executor.process:
            return
        with self.executor.lock:
            text, self.kept, self.size = "".join(self.kept), [], 0
        for start in range(0, len(text), MAX_CHARACTERS):
            content = {"name": self.name, "text": text[start : start + MAX_CHARACTERS]}
            self.executor.tell(KernelMessage.OUTPUT, json.dumps({"msg_type": "stream", "content": content}))


class CellExecutor:
    """Does what comes over the line: runs cells, answers questions.

    It is made in the process that kernels are forked from, where it says nothing, and begins in a kernel.
    """

    line: socket.socket
    process = 0

    def __init__(self) -> None:
        self.lock, self.count = threading.RLock(), 0
        sys.stdout, sys.stderr = OutputStream(self, "stdout", 1), OutputStream(self, "stderr", 2)
        self.last = sys.stdout
        session = ChannelSession()
        session.executor = self
        own = Config({"HistoryManager": {"hist_file": ":memory:"}})
        log = logging.getLogger("kernel")
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # until it begins
            os.environ["IPYTHONDIR"] = folder
            self.kernel = IPythonKernel.instance(
                session=session, log=log, config=own, compiler_class=Compiler
            )
            del os.environ["IPYTHONDIR"]
        # cells that await ask for it: they run in the only thread
        self.kernel.shell_channel_thread = SimpleNamespace(parent_thread=None)
        shell: Any = self.kernel.shell
        shell.ask_exit = lambda: None  # exit() in a cell ends the cell's work, not the kernel
        self.twice = {name: getattr(shell, name) for name in ("transform_cell", "should_run_async")}
        self.call_server = CallServer(shell.user_ns)

    def begin(self, line: socket.socket) -> None:
        """What is of this process alone: the line, folders, environment variables, the event loop."""
        self.line, self.process = line, os.getpid()
        shell: Any = self.kernel.shell
        shell.init_ipython_dir(None)
        shell.init_profile_dir(None)
        shell.init_environment()
        shell.init_pushd_popd_magic()
        shell.history_manager.dir_hist[:] = [Path.cwd()]
        if "matplotlib" in sys.modules:  # imported before there was a shell, it shows nothing by itself
            from matplotlib_inline.backend_inline import configure_inline_support

            backend = os.environ["MPLBACKEND"]
            pylabtools.activate_matplotlib(backend)
            configure_inline_support(shell, backend)
        sys.modules["_autograde_call_server"] = self.call_server  # type: ignore[assignment]
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)

    def tell(self, kind: str, body: str) -> None:
        """Send a message of one kind; a child of this process says nothing."""
        if os.getpid() == self.process:
            with self.lock:
                framing.send(self.line, kind + body)

    def turn(self, stream: OutputStream) -> None:
        """Before a stream takes text: what the other one holds came first."""
        if self.last is not stream:
            self.flush()
            self.last = stream

    def flush(self) -> None:
        """Send the text that cells printed."""
        self.last.flush()

    def serve(self) -> None:
        """Until the grader hangs up; it waits for the first message."""
        self.tell(KernelMessage.ENDED, "")
        while True:
            request = framing.receive(self.line.recv).decode()
            kind, body = request[:1], request[1:]
            if kind == KernelMessage.QUESTION:
                self.tell(KernelMessage.ANSWER, self.call_server.answer(body))
            else:
                self.run(json.loads(body))

    def run(self, source: str) -> None:
        """Run a cell and say that it has ended."""
        self.count += 1
        shell: Any = self.kernel.shell
        for name, method in self.twice.items():  # IPython calls it twice for each cell
            setattr(shell, name, functools.lru_cache(1)(method))
        self.kernel.set_parent([], {"header": {"msg_id": str(self.count)}, "content": {"silent": False}})
        try:
            done = self.loop.run_until_complete(self.kernel.do_execute(source, False, True, {}, False))
        except BaseException:  # of hooks: IPython keeps those of the cell itself
            done = {}
        self.flush()
        self.tell(KernelMessage.ENDED, json.dumps(done.get("execution_count")))
