"""The process between the grader and Dask: it hands submissions to workers and brings back what came of it.

It is one of its own, for Dask needs threads, and the grader forks. The two speak in datagrams of JSON; what
is large lies in files: of a task, and in its place of what was judged. Run by connection.py.
"""

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import dask.config
from dask.utils import parse_timedelta
from distributed import Client, Future, KilledWorker, LocalCluster, Security
from distributed.client import FutureCancelledError

from autograde.errors import CourseError
from autograde.grading.cluster import address, fitness, worker
from autograde.grading.cluster.address import Address
from autograde.grading.cluster.kit import JUDGED, REFUSED, UNFIT, kit_text
from autograde.grading.cluster.worker import RESOURCE, GraderEndedError

LOOK_SECONDS = 0.5  # between two looks at who is there
LEAVE_SECONDS = 10.0  # for workers to wipe what they had
TRIES = 2  # for a submission: with the second worker that is lost it is given up
DATAGRAM_BYTES = 1 << 16
GAVE_UP = "Given up: two workers were lost while they graded it. Look at what it does, then run again."
NO_CERTIFICATES = (
    "Name its certificates in Dask's settings: distributed.comm.tls.ca-file, client.cert, client.key."
)


class Dispatcher:
    """Serves one grader: `line` leads to it, `client` to the cluster."""

    def __init__(self, line: socket.socket, client: Client, kit: bytes, name: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.line, self.client, self.name = line, client, name
        self.fit: set[str] = set()
        self.unfit: set[str] = set()
        self.met: dict[str, int] = {}  # by host, how many of its workers were taken
        self.told: int | None = None  # how many may judge
        self.kit: Future | None = None
        self.running, self.turn = 0, asyncio.Condition()
        self.tasks: set[asyncio.Task[None]] = set()
        self.over: asyncio.Future[None] = self.loop.create_future()
        self.raw = kit
        self.nobody: asyncio.Future[None] = self.loop.create_future()  # done once nobody is left

    async def say(self, **said: Any) -> None:
        """Tell the grader."""
        await self.loop.sock_sendall(self.line, json.dumps(said).encode())

    async def serve(self) -> None:
        """Hand out what comes, until the grader has hung up. Raises CourseError where the cluster is lost."""
        try:
            self.start(self.watch())
            self.start(self.read())
            await self.over
        finally:
            for task in list(self.tasks):
                task.cancel()
            await self.leave()

    def start(self, part: Coroutine[Any, Any, None]) -> None:
        """Do a part beside the others; its error ends all."""
        task = asyncio.create_task(part)
        self.tasks.add(task)
        task.add_done_callback(self.ended)

    def ended(self, task: asyncio.Task[None]) -> None:
        """Of a part."""
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not self.over.done():
            self.over.set_exception(error)

    async def read(self) -> None:
        """Take what the grader sends."""
        while message := await self.loop.sock_recv(self.line, DATAGRAM_BYTES):
            given = json.loads(message)
            self.start(self.work(given["index"], Path(given["file"])))
        if not self.over.done():
            self.over.set_result(None)

    async def watch(self) -> None:
        """Look who comes and goes. Raises CourseError where for a while nobody is there who may judge."""
        patience = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
        last = time.monotonic()
        while True:
            try:
                await self.look()
            except (OSError, TimeoutError):
                raise self.lost() from None
            if self.told != len(self.fit):
                self.told = len(self.fit)
                await self.say(workers=self.told)
                async with self.turn:
                    self.turn.notify_all()
            if self.fit:
                last = time.monotonic()
            elif time.monotonic() - last > patience:
                raise CourseError(f"No worker of {self.name} can grade: see to them, then run again.")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Ask those who are new whether they may judge. Raises OSError, TimeoutError, CourseError."""
        if self.client.status != "running" or self.client.scheduler is None:
            raise self.lost()
        found = (await self.client.scheduler.identity(n_workers=-1))["workers"]
        self.unfit &= set(found)
        self.gone(self.fit - {each for each in found if found[each]["resources"].get(RESOURCE)})
        new = found.keys() - self.fit - self.unfit
        await asyncio.gather(*(self.ask(each, found[each]["host"]) for each in new))

    def gone(self, workers: set[str]) -> None:
        """These may judge no more. With the last of them all goes back that is on its way.

        Dask would keep it for workers that may judge at once, and those who come are asked first.
        """
        if self.fit and self.fit <= workers:
            self.nobody.set_result(None)
        self.fit -= workers

    def come(self, each: str) -> None:
        """This one may judge; to the first the kit goes anew."""
        if not self.fit:
            self.nobody = self.loop.create_future()
            self.kit = self.submit(worker.hold, self.raw)
        self.fit.add(each)

    def submit(self, step: Callable[..., bytes], *given: Any) -> Future:
        """Have Dask do it, on a worker that may judge and is idle."""
        how = {"resources": {RESOURCE: 1}, "pure": False}
        return self.client.submit(step, *given, key=f"autograde-{uuid.uuid4()}", **how)

    async def ask(self, each: str, host: str) -> None:
        """Have a worker judge, if it may."""
        if not address.is_safe(each):
            return await self.refuse(each, f"has no TLS: {address.PLAIN}")
        number = self.met[host] = self.met.get(host, -1) + 1
        answers = await self.client.run(
            worker.take, fitness.versions(), number, workers=[each], on_error="return"
        )
        reason = answers.get(each, "")
        if isinstance(reason, ImportError | AttributeError):
            reason = f"has no autograde like this one ({reason}): install it there"
        if reason is None:
            self.come(each)
        elif reason and not isinstance(reason, OSError):  # else it has gone meanwhile
            await self.refuse(each, str(reason))

    async def refuse(self, each: str, reason: str) -> None:
        """Have a worker judge no more, and say why."""
        self.gone({each})
        if each not in self.unfit:
            self.unfit.add(each)
            await self.say(unfit=each, why=reason)
            await self.client.run(worker.leave, workers=[each], on_error="ignore")

    async def work(self, index: int, file: Path) -> None:
        """Have a submission judged when it is its turn: one for each worker, so that none waits there."""
        async with self.turn:
            await self.turn.wait_for(lambda: self.running < len(self.fit))
            self.running += 1
        try:
            await self.say(index=index, **await self.judged(file))
        except OSError as error:
            await self.say(index=index, error=f"{error.filename or 'file system'}: {error.strerror}.")
        finally:
            async with self.turn:
                self.running -= 1
                self.turn.notify_all()

    async def judged(self, file: Path) -> dict[str, str]:
        """What to say of a submission; what was judged is then in the file. Raises CourseError, OSError."""
        task = file.read_bytes()
        while (found := await self.sent(task))[:1] == UNFIT:
            told = json.loads(found[1:])
            await self.refuse(told["worker"], told["why"])
        if found[:1] == JUDGED:
            file.write_bytes(found[1:])
            return {}
        said: dict[str, str] = json.loads(found[1:])
        return said

    async def sent(self, task: bytes) -> bytes:
        """A worker's answer, of two at most that are lost. Raises CourseError where the cluster is lost."""
        for _ in range(TRIES):
            async with self.turn:
                await self.turn.wait_for(lambda: bool(self.fit))
            if (answer := await self.answer(task)) is not None:
                return answer
        return REFUSED + json.dumps({"error": GAVE_UP}).encode()

    async def answer(self, task: bytes) -> bytes | None:
        """What a worker says; None where it was lost. Raises CourseError where the cluster is lost."""
        if self.kit is None or self.kit.status == "error":  # it was on its way to a worker that was lost
            self.kit = self.submit(worker.hold, self.raw)
        future, nobody = self.submit(worker.judge, self.kit, task), self.nobody
        await asyncio.wait({asyncio.ensure_future(future), nobody}, return_when=asyncio.FIRST_COMPLETED)
        if nobody.done() and not future.done():
            await future.cancel()
            return None
        try:
            return bytes(await future)
        except (KilledWorker, GraderEndedError):
            return None
        except FutureCancelledError:
            raise self.lost() from None

    def lost(self) -> CourseError:
        """The error to raise where the scheduler does not answer."""
        return CourseError(f"The scheduler of {self.name} is gone. What was recorded stays: run again.")

    async def leave(self) -> None:
        """Have all workers wipe what they had."""
        if self.fit and self.client.status == "running":
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                left = self.client.run(worker.leave, workers=sorted(self.fit), on_error="ignore")
                await asyncio.wait_for(left, LEAVE_SECONDS)


async def run(line: socket.socket, where: Address, folder: str) -> None:
    """Connect, and serve the grader; what ends that is said in a line."""
    loop = asyncio.get_running_loop()
    try:
        async with connected(where, folder) as client:
            await client.run_on_scheduler(worker.try_once)
            if begin := await loop.sock_recv(line, DATAGRAM_BYTES):
                kit = kit_text(**json.loads(begin)).encode()
                await Dispatcher(line, client, kit, where.url).serve()
    except Exception as error:
        with contextlib.suppress(OSError):
            await loop.sock_sendall(line, json.dumps({"stop": reason(error, where)}).encode())


@contextlib.asynccontextmanager
async def connected(where: Address, folder: str) -> AsyncIterator[Client]:
    """A client of the cluster; of one of this machine, all of it, with certificates made for it."""
    async with contextlib.AsyncExitStack() as stack:
        target: LocalCluster | str = where.url
        security = Security()
        if where.workers:
            security = Security.temporary()
            made = LocalCluster(
                n_workers=where.workers,
                threads_per_worker=1,
                memory_limit=0,  # what takes memory is the grader beside a worker
                protocol="tls://",
                security=security,
                dashboard_address=None,
                local_directory=folder,
                asynchronous=True,
                silence_logs=logging.CRITICAL,
            )
            target = await stack.enter_async_context(made)
        elif where.url.startswith("tls:") and not security.get_connection_args("client")["ssl_context"]:
            raise CourseError(NO_CERTIFICATES)
        how = {"security": security, "asynchronous": True, "set_as_default": False}
        yield await stack.enter_async_context(Client(target, **how))


def reason(error: Exception, where: Address) -> str:
    """Why there is no cluster any more, in a line."""
    said = (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
    if isinstance(error, CourseError):
        return str(error)
    if isinstance(error, OSError | asyncio.TimeoutError):
        return f"Cannot reach {where.url}: {said}. Are address and certificates those of the cluster?"
    if isinstance(error, ImportError | AttributeError):
        return f"The scheduler of {where.url} has no autograde like this one ({said}): install it there."
    return f"The cluster at {where.url} failed: {type(error).__name__}: {said}."


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the grader's Ctrl-C: it hangs up
    with socket.socket(fileno=int(sys.argv[1])) as own:
        own.setblocking(False)
        asyncio.run(run(own, address.read(sys.argv[2]), sys.argv[3]))
