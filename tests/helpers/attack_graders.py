"""Graders that attempt attacks side by side: processes with a class of their own, perhaps an ordinary user's.

As a script it is one of them: it reads the names of attacks and answers each with a line of JSON.
"""

import json
import os
import queue
import select
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from attack_class import HONEST, classroom, load
from ordinary_user import ordinary_user

ATTEMPT_SECONDS = 1200  # for one attempt, on a machine that is busy with other things
ENDING_SECONDS = 300  # that a grader without work may take to end


class Grader:
    """One process. `every`: how many attacks it attempts between two gradings of the honest student."""

    def __init__(self, ordinary: bool, every: int) -> None:
        user = ordinary_user() if ordinary else []
        self.line = [*user, sys.executable, "-W", "ignore", __file__, str(every)]
        self._start()

    def _start(self) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        # in /, for the folder it is started in may not be the ordinary user's to enter
        self.process = subprocess.Popen(self.line, text=True, cwd="/", **pipes)

    def attempt(self, name: str) -> dict[str, Any]:
        """What came of an attack: its `points`, None without a score, and the `problems` in words."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(name, file=self.process.stdin, flush=True)
        came, _, _ = select.select([self.process.stdout], [], [], ATTEMPT_SECONDS)
        answer = self.process.stdout.readline() if came else ""
        if answer:
            return json.loads(answer)
        self.process.kill()
        self.leave()
        self.close()
        self._start()
        return {"points": None, "problems": ["the grader ended" if came else "the grader hangs"]}

    def leave(self) -> None:
        """Tell the process that there is no more to attempt."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def close(self) -> None:
        """Wait for the process's end, and not for long."""
        assert self.process.stdout is not None
        try:
            self.process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Graders:
    """So many graders side by side; attempts are given out in order. Use it as a context manager."""

    def __init__(self, count: int, ordinary: bool, every: int) -> None:
        self.all = [Grader(ordinary, every) for _ in range(count)]
        self.idle: queue.SimpleQueue[Grader] = queue.SimpleQueue()
        for grader in self.all:
            self.idle.put(grader)
        self.pool = ThreadPoolExecutor(count)

    def __enter__(self) -> "Graders":
        return self

    def attempt(self, name: str) -> Future[dict[str, Any]]:
        """Begin an attempt when a grader is idle."""
        return self.pool.submit(self._attempt, name)

    def _attempt(self, name: str) -> dict[str, Any]:
        grader = self.idle.get()
        try:
            return grader.attempt(name)
        finally:
            self.idle.put(grader)

    def honest(self) -> list[Future[dict[str, Any]]]:
        """What each grader, once all attempts are over, gives to the honest student."""
        return [self.pool.submit(grader.attempt, HONEST) for grader in self.all]

    def __exit__(self, *error: object) -> None:
        """Wait for the attempts that have begun, then end the processes."""
        self.pool.shutdown(cancel_futures=True)
        for grader in self.all:
            grader.leave()
        for grader in self.all:
            grader.close()


def _serve(every: int) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is no answer
    attacks = {attack.name: attack for attack in load()}
    with classroom(every) as made:
        for line in sys.stdin:
            name = line.strip()
            problems = made.attempt(attacks[name]) if name != HONEST else []
            points = made.grade_honest() if name == HONEST else made.score(name)
            print(json.dumps({"points": points, "problems": problems}), file=answers, flush=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
