"""Training in a hidden test: the learner's loss, step or sampler in the test's loop, and what came of it."""

import math
from collections.abc import Sequence
from typing import Any

from autograde.checks import number
from autograde.errors import StudentError, Unusable
from autograde.judging.student import Student

STILL = 0.9  # of the error before: what ends above it has not learned
RUN = """
def run(program, seed, arguments):
    import time
    import torch

    start = time.process_time()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        result = program(*arguments)
    return time.process_time() - start, result
"""


class NotLearned(StudentError):
    """Training with the answer did not come to what it should; the reason says how it went."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def train(student: Student, program: str, *arguments: Any, seed: int, seconds: float) -> Any:
    """What a training program gives, run in one call on the learner's side.

    program: the source of one function, imports inside it, such as a loop over updates. Networks in it
        begin from `seed`, and the global random state is afterwards as it was.
    arguments: its arguments: data, and the learner's functions as handles, `student.loss`.
    seconds: CPU time that it may take. The lesson's limit `call` must be well above it, for what runs longer
        than that limit times out; let a right answer take a quarter of `seconds`.

    Returns numbers, arrays or tensors: losses, parameters, samples. Raises NotLearned where it took longer,
    and whatever a call raises.

    >>> train(student, PROGRAM, student.loss, x, seed=3, seconds=4.0)  # doctest: +SKIP
    """
    run = student.define(RUN)
    answer = run(student.define(program), int(seed), list(arguments))
    if not isinstance(answer, Sequence) or len(answer) != 2:
        raise Unusable("another number of values than the test's own program gives")
    if number(answer[0]) > seconds:
        raise NotLearned("Training with it takes too much time: each update must cost about the same.")
    return answer[1]


def learned(before: float, after: float, enough: float) -> None:
    """Hold the error after training to what is asked; the sentence tells three ways to miss it apart.

    before, after: errors against a known truth, at least 0. enough: the largest that a right answer reaches,
        with room: it is met by chance alone once in a million times.

    Raises NotLearned.
    """
    if not math.isfinite(after):
        raise NotLearned("Trained with it, the numbers do not stay finite.")
    if after <= enough:
        return
    if after > STILL * before:
        raise NotLearned("Trained with it, nothing is learned: the error is as large as before.")
    raise NotLearned("Trained with it, something is learned, but it ends too far from the truth.")
