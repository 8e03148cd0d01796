"""Relations that results of a right answer keep: one line of a hidden test tries a whole kind of fault.

Each calls the answer several times and compares what comes back. An answer is a Handle such as `student.f`,
or a lambda that calls it and binds what stays the same; its result is a number, an array or tensor, or a
tuple of these, looked at as checks.py does. A relation that does not hold raises AssertionError or, like
checks.py, Unusable, with no value inside. NaN never passes; an infinity equals itself. `rel` and `abs`, of
which the larger counts, are what the exercise's statement leaves to rounding.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from autograde.checks import array, gradient, number
from autograde.errors import Unusable
from autograde.judging.student import Handle

Answer = Callable[..., Any]
Tensor = torch.Tensor
Numbers = float | Sequence[float]  # one for all parts of a result, or one for each
WAYS = 2  # along which a gradient is compared
STEP = 1e-5  # of differences, for inputs and curvatures of about 1
ROUNDS = 3  # of measuring time: a burst of others' work lasts for one


def rows_alone(answer: Answer, *inputs: Tensor, apart: float = 0.0, rel: float, abs: float = 0.0) -> None:
    """N rows together give what each gives alone, in a batch of one.

    inputs: of N rows each. apart: so much more is added to the first input from row to row; with thousands of
    nats, what is right for one row overflows or vanishes in the others.
    Finds one maximum, scale or angle for all rows, means over the batch, a batch of one that loses its axis.
    """
    first, *others = inputs
    if apart:
        place = torch.arange(len(first), dtype=first.dtype) - len(first) // 2
        first = first + apart * place.reshape(-1, *[1] * (first.ndim - 1))
    together = _arrays(answer(first, *others))
    assert all(part.shape[:1] == (len(first),) for part in together), "another number of rows"
    for i in range(len(first)):
        alone = _arrays(answer(*(v[i : i + 1] for v in (first, *others))))
        _same(alone, [part[i : i + 1] for part in together], rel, abs)


def any_order(
    answer: Answer,
    n: int,
    rng: np.random.Generator,
    axes: Sequence[int] = (0,),
    *,
    rel: float,
    abs: float = 0.0,
) -> None:
    """Rows, channels or classes in another order give results in that order.

    answer: of an order, n numbers by which it indexes its inputs. axes: those of every part of the result
    that move with it; none where the order does not matter.
    Finds what is mixed along an axis, taken for sorted, or has a role for its place: the first, the last.
    """
    usual = _arrays(answer(np.arange(n)))
    assert all(part.shape[axis : axis + 1] == (n,) for part in usual for axis in axes), "another shape"
    for order in (np.arange(n)[::-1].copy(), rng.permutation(n)):
        moved = usual
        for axis in axes:
            moved = [np.take(part, order, axis) for part in moved]
        _same(_arrays(answer(order)), moved, rel, abs)


def any_unit(
    answer: Answer,
    degree: Numbers = 0,
    units: Sequence[float] = (1e-20, 1e20),
    *,
    rel: float,
    abs: float = 0.0,
) -> None:
    """Inputs in another unit give the result in that unit: f(c x) = c^degree f(x).

    answer: of the factor c, by which it multiplies what has the unit.
    Finds epsilons, floors, clamps and thresholds, a bracket or a first guess of fixed size.
    """
    plain = _arrays(answer(1.0))
    for unit in units:
        found = _arrays(answer(unit))
        _same([part / unit**d for part, d in _each(found, degree)], plain, rel, abs)


def any_level(
    answer: Answer,
    slope: Numbers = 0,
    levels: Sequence[float] = (-5_000.0, 5_000.0),
    *,
    rel: float,
    abs: float = 0.0,
) -> None:
    """So many nats more in the inputs are `slope` times as many in the result: f(x + c) = f(x) + slope c.

    answer: of the level c, which it adds to what is in nats.
    Finds probabilities outside log space, a finite number in the place of -inf, clamped exponents.
    """
    plain = _arrays(answer(0.0))
    for level in levels:
        found = _arrays(answer(level))
        _same([part - d * level for part, d in _each(found, slope)], plain, rel, abs)


def both_types(answer: Answer, *inputs: Tensor, rel: float, abs: float = 0.0) -> None:
    """In float32 it gives what the same numbers give in float64, each time in the type of the inputs.

    rel, abs: the precision of float32, as far as the problem allows. A Python number has no type to keep.
    Finds what works for one type only, constants and noise of the default type, epsilons below float32's.
    """
    results = []
    for dtype in (torch.float32, torch.float64):
        value = answer(*(v.float().to(dtype) if v.is_floating_point() else v for v in inputs))
        results.append(_arrays(value))
        for part in _parts(value):
            own = str(getattr(part, "dtype", dtype)).removeprefix("torch.")
            if "float" in own and own != str(dtype).removeprefix("torch."):
                raise Unusable(f"values of type {own} where those of its arguments' type were expected")
    _same(results[0], results[1], rel, abs)


def strided(answer: Answer, *inputs: Tensor, rel: float, abs: float = 0.0) -> None:
    """Inputs that are not contiguous in memory give the same: transposed, and every second number of more.

    Finds `.view` where `.reshape` is needed, and what reads memory in the order in which it lies.
    """
    plain = _arrays(answer(*(v.contiguous() for v in inputs)))
    for layout in (_transposed, _every_second):
        _same(_arrays(answer(*map(layout, inputs))), plain, rel, abs)


def gradient_is_slope(
    function: Handle, wrt: int, *inputs: Any, rng: np.random.Generator, rel: float, abs: float = 0.0
) -> None:
    """The gradient by the argument at position `wrt` is the slope of the result's sum, in several directions.

    function: student.f or what student.define gave; the input at `wrt`: float64, of about 1. `rel` is of a
    direction's length. That the result itself is right, another test says.
    Finds detach, no_grad, a way over NumPy, NaN from the branch not taken, a wrong gradient of one's own.
    """
    before, start, after = inputs[:wrt], inputs[wrt], inputs[wrt + 1 :]
    slope = array(gradient(function._student, function, wrt, *inputs), tuple(start.shape))
    for _ in range(WAYS):
        way = rng.normal(size=slope.shape)
        steps = [sign * STEP * torch.from_numpy(np.asarray(way)) for sign in (1, -1)]
        up, down = (array(function(*before, start + step, *after)).sum() for step in steps)
        reach = max(abs, rel * float(np.linalg.norm(slope * way)))
        _same([np.asarray((slope * way).sum())], [np.asarray((up - down) / (2 * STEP))], 0.0, reach)


def generator_decides(answer: Answer, generator: Callable[[int], Handle], rng: np.random.Generator) -> None:
    """Two calls with one generator differ, and so do two seeds; equal generators agree to the last digit.

    answer: of a generator. generator: student.generator.
    Finds global noise, a seed of its own, a generator that is copied or seeded again.
    """
    seed = int(rng.integers(2**31 - 1))
    given = generator(seed)
    first, *others = (_arrays(answer(each)) for each in (given, given, generator(seed + 1)))
    _same(_arrays(answer(generator(seed))), first, 0.0, 0.0)
    assert not any(all(map(np.array_equal, first, other)) for other in others), "the same again"


LIMITED = r"""
def limited(function, megabytes, *inputs):
    import pathlib, re, resource
    status = pathlib.Path("/proc/self/status")
    held = re.search(r"VmData:\s+(\d+) kB", status.read_text()) if status.exists() else None
    before = resource.getrlimit(resource.RLIMIT_DATA)
    if held is not None:
        resource.setrlimit(resource.RLIMIT_DATA, ((int(held[1]) + 1024 * megabytes) << 10, before[1]))
    try:
        return function(*inputs)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
"""


def within_memory(function: Handle, *inputs: Any, megabytes: int) -> Any:
    """Its result for inputs so large that what grows too fast would take several times the megabytes.

    More is not given, so none is used up to find out; where there is no /proc nothing is limited. Leave a
    hundred for caches and threads.
    Finds a table of all pairs, a D x D matrix, copies of the inputs that add up.
    """
    return function._student.define(LIMITED)(function, megabytes, *inputs)


# The thread's time: of a process with a limit on its CPU time, Linux tells what it used by ticks of a clock.
CLOCK = """
def clock(function, *inputs):
    import time
    start = time.thread_time()
    function(*inputs)
    return time.thread_time() - start
"""


def time_grows(function: Handle, small: Sequence[Any], large: Sequence[Any], most: float) -> None:
    """The inputs `large` take at most `most` times the CPU time of `small`, in one of a few rounds.

    Let `most` be several times what is right, and what grows too fast take several times `most`. A call that
    takes too long times out, as everywhere.
    Finds slow loops over pairs, prefixes computed again and again, recursion over more than 1,000 items.
    """
    clock = function._student.define(CLOCK)
    for _ in range(ROUNDS):
        few, many = (number(clock(function, *inputs)) for inputs in (small, large))
        if many <= most * few:
            return
    raise AssertionError("the time grows faster")


def _parts(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _arrays(value: Any) -> list[np.ndarray]:
    return [array(part, finite=False) for part in _parts(value)]


def _each(parts: list[np.ndarray], numbers: Numbers) -> list[tuple[np.ndarray, float]]:
    """Each part with its number."""
    own = [numbers] * len(parts) if isinstance(numbers, int | float) else numbers
    assert len(parts) == len(own), "another number of parts"
    return list(zip(parts, own, strict=True))


def _same(found: list[np.ndarray], wanted: list[np.ndarray], rel: float, abs: float) -> None:
    """Raise AssertionError where they differ: floats by more than the tolerance, other values at all."""
    assert [part.shape for part in found] == [part.shape for part in wanted], "another shape"
    for one, other in zip(found, wanted, strict=True):
        equal = one == other
        if other.dtype.kind in "fc":
            with np.errstate(invalid="ignore"):  # the difference of two infinities
                near = np.abs(one - other) <= np.maximum(rel * np.abs(other), abs)
            equal |= near & np.isfinite(other)
        assert equal.all(), "another value"


def _transposed(v: Tensor) -> Tensor:
    """The same values, laid out in memory with the axes in the opposite order."""
    axes = tuple(range(v.ndim))[::-1]
    return v.permute(axes).contiguous().permute(axes)


def _every_second(v: Tensor) -> Tensor:
    """The same values, every second number of a row in memory."""
    return torch.stack([v, v], dim=-1)[..., 0]
