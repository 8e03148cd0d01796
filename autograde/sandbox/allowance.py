"""How long cells and calls may take: by the CPU time they use, so that a busy machine costs nobody a point.

What sleeps uses none and is held to wall time; far off, wall time bounds everything.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SLEEPS_BELOW = 0.02  # of a core: a process that gets less is asleep; a busy machine leaves it more
A_CORE = 0.9  # of a core, or more: nobody was in its way
FAR = 10  # times the limit of a cell or call, in wall time: where it ends, whatever was used
FAR_TOGETHER = 3  # and times the limit of all together
LOOK_SECONDS = 0.1  # between two looks at what was used


class Allowance:
    """The time of one cell or call: `seconds` of the CPU time that `cpu` tells, from now on."""

    def __init__(self, seconds: float, cpu: Callable[[], float], lives: Callable[[], bool]) -> None:
        self.seconds, self.cpu, self.lives = seconds, cpu, lives
        self.start = self.looked = time.monotonic()
        self.before: float | None = None  # the CPU time at the first look: most calls are over before one
        self.unseen = 0.0  # seconds before it

    @property
    def used(self) -> float:
        """Seconds used so far: of CPU time, or of wall time where there was next to none."""
        wall = time.monotonic() - self.start
        if self.before is None:
            return wall
        cpu = self.cpu() - self.before
        return self.unseen + cpu if cpu > SLEEPS_BELOW * (wall - self.unseen) else wall

    @property
    def delayed(self) -> bool:
        """Whether it was left less than a core: then the machine, or sleep, may be why it is used up."""
        wall = time.monotonic() - self.start
        return self.before is None or self.unseen + self.cpu() - self.before < A_CORE * wall

    def check(self) -> None:
        """Raise TimeoutError when it is used up, EOFError when the kernel is dead."""
        now = time.monotonic()
        if now - self.looked < min(LOOK_SECONDS, self.seconds):
            return
        self.looked = now
        if self.before is None:
            self.before, self.unseen = self.cpu(), now - self.start
        if not self.lives():
            raise EOFError
        if self.used > self.seconds or now - self.start > FAR * self.seconds:
            raise TimeoutError


class Budget:
    """The time of many cells, or calls, together: what each used is taken off."""

    def __init__(self, seconds: float) -> None:
        self.seconds = self.left = seconds
        self.wall = FAR_TOGETHER * seconds  # left at most

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self.left <= 0 or self.wall <= 0

    @contextmanager
    def spend(self, limit: float, cpu: Callable[[], float], lives: Callable[[], bool]) -> Iterator[Allowance]:
        """An allowance of at most `limit` seconds, for a `with` statement at whose end it is paid."""
        allowance = Allowance(min(limit, max(self.left, 0.0)), cpu, lives)
        try:
            yield allowance
        finally:
            self.left -= allowance.used
            self.wall -= time.monotonic() - allowance.start
