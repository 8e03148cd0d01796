"""The parent of a confined reader: it makes kernels, has the judge begin, and turns the verdict into scores.

It knows the course's secret and the hidden tests, and reads nothing of a submission but bounded answers.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograde.errors import CourseError
from autograde.judging.judge_client import JUDGE_CLIENT, Trial
from autograde.judging.verdict import Result, Verdict, read_run
from autograde.sandbox.confined import CONFINEMENT, Reply
from autograde.sandbox.limits import Limits
from autograde.sandbox.remote import KernelHost

DIGEST = re.compile(r"[0-9a-f]{64}")
FORGED = "What reads the submission answered something that it may not: not graded."


@dataclass
class Desk:
    """Answers what a reading.Reader asks, for one submission; `result` is there once the verdict is.

    For a `with` statement. seed: of the hidden inputs, with what was handed in. exercises: those to judge;
    None for all. decide: makes the Result of a verdict and of what the reader says of its run.
    """

    kernels: KernelHost
    tests: Path
    secret: bytes
    seed: str
    limits: Limits
    exercises: Sequence[str] | None
    decide: Callable[[Verdict, Result], Result]
    trial: Trial | None = None
    result: Result | None = None

    def __enter__(self) -> "Desk":
        return self

    def __exit__(self, *error: object) -> None:
        self.kernels.stop()
        if self.trial is not None:
            self.trial.questions.close()  # a judge that waits for an answer ends

    def answer(self, request: dict[str, Any]) -> Reply:
        """Raises CourseError where there is no kernel, no verdict, or the request is none."""
        if (found := self.kernels.answer(request)) is not None:
            return found
        if request.get("ask") == "judge" and self.trial is None:
            return True, self._judge(request.get("whose"))
        if request.get("ask") == "result" and self.trial is not None and self.result is None:
            try:
                ran = read_run(request)
            except ValueError:
                raise CourseError(FORGED) from None
            self.result = self.decide(self.trial.result(), ran)
            return self.result.text(), None
        raise CourseError(FORGED)

    def _judge(self, whose: object) -> int:
        if not isinstance(whose, str) or not DIGEST.fullmatch(whose):
            raise CourseError(FORGED)
        seed, door = f"{self.seed}\0{whose}", CONFINEMENT.door()
        self.trial = JUDGE_CLIENT.begin(self.tests, self.secret, seed, self.limits, self.exercises, door)
        return self.trial.questions.fileno()
