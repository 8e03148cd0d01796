"""Hidden tests of lesson 20_samplers. A docstring is what the learner reads when its test fails."""

import itertools

import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial

from autograde.checks import array, number, parts
from autograde.relations import any_unit, both_types, rows_alone, strided

NEAR = {"rel": 1e-8, "abs": 1e-8}
SHORT = {"rel": 1e-3, "abs": 1e-3}  # of float32, where a step multiplies rounding
SHAPES = (5,), (4, 3), (2, 1, 4, 4), (1, 2)


def tensor(value, dtype=torch.float64):
    return torch.tensor(np.asarray(value), dtype=dtype)


# A denoiser on both sides: not linear in x, and it moves with the level, by a known law.
WAVE = """
def make(a, b, c):
    import torch
    def denoise(x, sigma):
        level = torch.as_tensor(sigma, dtype=torch.float64)
        assert type(x) is torch.Tensor and level.shape == ()
        return a * torch.sin(x + b) + (c * level.log()).to(x.dtype)
    return denoise
"""
# Calls f with a denoiser that keeps what it was asked and what it said.
PROBE = """
def probe(f, denoise, *args):
    import torch
    asked, levels, kept = [], [], []
    def watched(x, sigma):
        asked.append(x.clone())
        levels.append(torch.as_tensor(sigma, dtype=torch.float64).clone().reshape(()))
        out = denoise(x, sigma)
        kept.append((out, out.clone()))
        return out
    result = f(watched, *args)
    assert all(torch.equal(out, before) for out, before in kept)
    return torch.stack(asked), torch.stack(levels), result
"""


class Wave:
    """The same denoiser here and there; numbers are fresh."""

    def __init__(self, student, rng):
        self.a, self.b, self.c = rng.uniform(0.3, 0.9), rng.normal(), rng.uniform(0.2, 0.6)
        self.there = student.define(WAVE)(self.a, self.b, self.c)
        self.probe = student.define(PROBE)

    def __call__(self, x, sigma):
        """As the one there."""
        return self.a * np.sin(x + self.b) + self.c * np.log(sigma)

    def watched(self, f, calls, x, *args):
        """What f gives for x and args, with where it asked; it must ask `calls` times."""
        asked, levels, result = parts(self.probe(f, self.there, tensor(x), *args), 3)
        return array(asked, (calls, *x.shape)), array(levels, (calls,)), result


# --- straight-path: the velocity of a normal cloud, whose denoiser has a closed form ---

FLOW = """
def make(m, w):
    import torch
    def u(x, t):
        assert type(t) is torch.Tensor and t.shape == (len(x),) and t.dtype == x.dtype
        u.calls += 1
        assert all(torch.equal(said, before) for said, before in u.kept)
        t = t.reshape(-1, *[1] * (x.ndim - 1))
        gap, var = x - (1 - t) * m.to(x.dtype), ((1 - t) * w) ** 2 + t**2
        said = t / var * gap - m.to(x.dtype) - (1 - t) * w**2 / var * gap
        u.kept.append((said, said.clone()))
        return said
    u.calls, u.kept = 0, []
    return u
"""


def flow(student, rng, shape, unit=1.0):
    m, w = unit * rng.normal(size=shape[1:]), unit * float(rng.uniform(0.3, 2))
    return student.define(FLOW)(tensor(m), w), lambda x, sigma: m + w**2 / (w**2 + sigma**2) * (x - m)


@pytest.mark.exercise("straight-path", weight=1)
def test_picture_at_every_level(student, rng):
    """For a normal cloud it is the cloud's best guess, at every noise level from nearly none to ten
    thousand: numbers, vectors and pictures, one row or many. One function serves all levels, in any order.
    Pictures a million times as small or as large have noise of their size."""
    for shape in SHAPES:
        u, exact = flow(student, rng, shape)
        denoise = student.denoiser_of(u)
        for sigma in (0.5, 1e4, 1.0, 1e-4, *np.exp(rng.uniform(-3, 3, 3))):
            x = rng.normal(size=shape) * np.hypot(1, sigma)
            got = array(denoise(tensor(x), tensor(sigma)), shape)
            assert got == pytest.approx(exact(x, sigma), rel=1e-8, abs=1e-8)
    for unit in (1e-6, 1e6):
        u, exact = flow(student, rng, (4, 3), unit)
        for sigma in unit * np.exp(rng.uniform(-1, 1, 3)):
            x = np.hypot(unit, sigma) * rng.normal(size=(4, 3))
            got = array(student.denoiser_of(u)(tensor(x), tensor(sigma)), x.shape)
            assert got == pytest.approx(exact(x, sigma), rel=1e-7, abs=1e-8 * unit)


@pytest.mark.exercise("straight-path", weight=1)
def test_kinds_of_batches(student, rng):
    """Each row by itself, any memory layout, float32 in and out; one call of u for one of denoise, and what
    u said stays as it is; two functions of two velocities do not mix."""
    for shape in ((4, 3), (3, 1, 2, 2)):
        (u, exact), (other, _) = flow(student, rng, shape), flow(student, rng, shape)
        denoise, sigma, x = student.denoiser_of(u), float(rng.uniform(0.3, 3)), rng.normal(size=shape)
        student.denoiser_of(other)
        answer = lambda x: denoise(x, tensor(sigma))  # noqa: B023, E731
        for relation in (rows_alone, strided):
            relation(answer, tensor(x), **NEAR)
        both_types(answer, tensor(x), **SHORT)
        before = number(student.value(u.calls))
        assert array(answer(tensor(x)), shape) == pytest.approx(exact(x, sigma), **NEAR)
        assert number(student.value(u.calls)) == before + 1


# --- any-frame: the oracle is what the three numbers are for ---


def frame(student, alpha, sigma, sd):
    found = parts(student.any_frame(tensor(alpha), tensor(sigma), sd), 3)
    return [array(v, alpha.shape) for v in found]


def check_frame(student, alpha, sigma, sd):
    skip, out, into = frame(student, alpha, sigma, sd)
    size = alpha**2 * sd**2 + sigma**2
    assert (
        into**2 * size == pytest.approx(np.ones_like(size), rel=1e-9)
        and (into > 0).all()
        and (out >= 0).all()
    )
    need = lambda c: (1 - alpha * c) ** 2 * sd**2 + c**2 * sigma**2  # noqa: E731
    assert out**2 == pytest.approx(need(skip), rel=1e-8, abs=1e-14)
    assert out == pytest.approx(sigma * sd / np.sqrt(size), rel=1e-8, abs=1e-12 * sd * (sigma == 0).any())
    assert skip == pytest.approx(alpha * sd**2 / size, rel=1e-9)  # where the parabola has no slope


@pytest.mark.exercise("any-frame", weight=1, returns={"any_frame": "(B,), (B,), (B,)"})
def test_variance_and_least_error(student, rng):
    """Input and target have variance 1, and c_out is the smallest that this allows, for every row's own
    path: where signal and noise are of one size and where one is a million times the other, whatever the
    pictures' size. For lesson 19's path and pictures of size 1 it is v."""
    for B in (1, 7):
        alpha, sigma, sd = *np.exp(rng.uniform(-3, 3, (2, B))), float(np.exp(rng.uniform(-2, 2)))
        check_frame(student, alpha, sigma, sd)
        skip, out, _ = frame(student, alpha / np.hypot(alpha, sigma), sigma / np.hypot(alpha, sigma), 1.0)
        assert np.hypot(skip, out) == pytest.approx(np.ones(B), rel=1e-9)
    far = np.array([1e-6, 1.0, 1e6, 1.0])
    check_frame(student, far, np.roll(far, 1), sd)
    given = tensor(alpha), tensor(sigma)
    for relation in (rows_alone, strided):
        relation(lambda *v: parts(student.any_frame(*v, sd), 3), *given, rel=1e-9)


@pytest.mark.exercise("any-frame", weight=1)
def test_ends_and_units(student, rng):
    """No signal and no noise are no special cases, in one row or alone; and the unit of the pictures, or of
    the path, is anybody's, and each row's."""
    sd, alpha, sigma = float(rng.uniform(0.3, 2)), np.array([0, 0.7, 1.3]), np.array([0.8, 0, 0.4])
    check_frame(student, alpha, sigma, sd)
    for i in (0, 1):
        check_frame(student, alpha[i : i + 1], sigma[i : i + 1], sd)
    skip, out, _ = frame(student, alpha, sigma, sd)
    assert [skip[0], out[1]] == pytest.approx([0, 0], abs=1e-12)
    assert [out[0], skip[1]] == pytest.approx([sd, 1 / 0.7], rel=1e-12)
    a, s = tensor(alpha), tensor(sigma)
    of = lambda *v: parts(student.any_frame(*v), 3)  # noqa: E731
    close = {"rel": 1e-9, "abs": 1e-12}
    any_unit(lambda c: of(a, c * s, c * sd), (0, 1, -1), **close)
    any_unit(lambda c: of(c * a, c * s, sd), (-1, 0, -1), **close)
    any_unit(lambda c: of(c * a, s, sd / c), (-1, -1, 0), **close)
    unit = np.array([1e-20, 1.0, 1e20])
    plain, found = (frame(student, c * 0.6, c * 0.7, sd) for c in (np.ones(3), unit))
    for one, other, power in zip(plain, found, (1, 0, 1), strict=True):
        assert other * unit**power == pytest.approx(one, rel=1e-9)


# --- two-stage: the oracle does the step by hand, with the same denoiser ---

RATIOS = (0.02, 0.25, 0.5, 0.8, 1.0)


@pytest.mark.exercise("two-stage", weight=1, returns={"two_stage": "tensor like 1 shape 1"})
@pytest.mark.parametrize("ratio", RATIOS)
def test_step_by_hand(student, rng, ratio):
    """Two calls: at the beginning, and where a DDIM step leads after the given share of the way in the
    logarithm of the level. What comes out is a step with the line's value in the middle, for a guess that
    depends on the place and on the level; for steps short and long, for numbers, vectors and pictures."""
    for shape, longer in zip(SHAPES, (1.05, 3.0, 1e6, 40.0), strict=True):
        wave, x, s = Wave(student, rng), 3 * rng.normal(size=shape), float(rng.uniform(0.1, 2))
        t = longer * s
        m, D = t * (s / t) ** ratio, wave(x, t)
        there = D + m / t * (x - D)
        middle = D + (wave(there, m) - D) / (2 * ratio)
        asked, levels, got = wave.watched(student.two_stage, 2, x, tensor(t), tensor(s), ratio)
        assert levels == pytest.approx(np.array([t, m]), rel=1e-9)
        assert asked == pytest.approx(np.stack([x, there]), **NEAR)
        assert array(got, shape) == pytest.approx(middle + s / t * (x - middle), **NEAR)


@pytest.mark.exercise("two-stage", weight=1)
def test_to_zero_and_kinds(student, rng):
    """A step to 0 ends on the first guess, at any ratio, and asks once. Each row by itself, any memory
    layout, float32 in and out, any unit of length."""
    for shape, ratio in ((4, 3), 0.1), ((3, 1, 2, 2), 0.8), ((1, 2), 1.0):
        wave, x, t = Wave(student, rng), 2 * rng.normal(size=shape), float(rng.uniform(0.5, 5))
        *_, got = wave.watched(student.two_stage, 1, x, tensor(t), tensor(0.0), ratio)
        assert array(got, shape) == pytest.approx(wave(x, t), **NEAR)
        for s in (t / 3, 0.0):
            answer = lambda x: student.two_stage(wave.there, x, tensor(t), tensor(s), ratio)  # noqa: B023, E731
            for relation in (rows_alone, strided):
                relation(answer, tensor(x), **NEAR)
            both_types(answer, tensor(x), **SHORT)
    share = student.define("def share(x, sigma):\n    return 0.3 * x")
    answer = lambda c: student.two_stage(share, tensor(c * x), tensor(c * t), tensor(c * t / 4), 0.7)  # noqa: E731
    any_unit(answer, 1, rel=1e-8)


# --- no-truth: the oracle makes three answers of a truth, or takes any three ---


def told(student, factor, *three):
    order, limit = parts(student.without_truth(*map(tensor, three), factor), 2)
    return number(order), array(limit, three[0].shape)


@pytest.mark.exercise("no-truth", weight=1, returns={"without_truth": "any, shape 0"})
def test_order_and_limit(student, rng):
    """Where errors shrink as a power of the steps, the power and the limit come out: orders of a half to
    four, steps doubled or multiplied by something else. Of any three answers, the order is that of the root
    mean squares over all entries, though single ones grow; the limit is what it says of the two finest."""
    for shape, factor in itertools.product(SHAPES, (2, 3, 1.5)):
        for p in (0.5, 1.0, float(rng.uniform(1.2, 3)), 4.0):
            truth, C = rng.normal(size=(2, *shape))
            order, limit = told(student, factor, *(truth + C * factor ** (-p * k) for k in range(3)))
            assert order == pytest.approx(p, rel=1e-6) and limit == pytest.approx(truth, abs=1e-6)
        fine = rng.normal(size=shape)
        apart = rng.choice([-1, 1], (2, *shape)) * rng.uniform(0.4, 1.2, (2, *shape))
        apart[0].flat[0] = 0  # one entry's difference grows, not the mean square
        first, second = np.sqrt(np.mean(apart**2, axis=tuple(range(1, apart.ndim))))
        apart[1] *= 0.6 * first / second
        second, middle = 0.6 * first, fine - apart[1]
        coarse = middle - apart[0]
        order, limit = told(student, factor, coarse, middle, fine)
        assert order == pytest.approx(np.log(first / second) / np.log(factor), rel=1e-8)
        assert limit == pytest.approx(fine + (fine - middle) / (first / second - 1), **NEAR)


@pytest.mark.exercise("no-truth", weight=1)
def test_nothing_to_tell(student, rng):
    """Where differences are equal, grow, or are none, ValueError; where they shrink ever so little or all at
    once, or all three differ by next to nothing or hugely, an answer. float32 and any memory layout do."""
    a, d = rng.normal(size=(4, 3)), rng.uniform(0.5, 1, (4, 3)) * rng.choice([-1, 1], (4, 3))
    exact = np.round(8 * a) / 8  # so that differences are exact
    for three in (
        (exact, exact + 0.5, exact + 1.0),
        (exact, exact + 0.5, exact),
        (a, a + d, a - d),
        (a, a, a),
        (a + d, a, a),
        (a, a, a + d),
        (a, a + 0.1 * d, a + d),
    ):
        student.raises(ValueError, student.without_truth, *map(tensor, three), 2)
    for more in (1.0 + 1e-6, 1.001, 1e12):
        order, limit = told(student, 2, (1 + 1 / more) * d, d / more, 0 * d)
        assert order == pytest.approx(np.log2(more), rel=1e-6)
        assert limit == pytest.approx(-d / more / (more - 1), rel=1e-6)
    of = lambda *v: parts(student.without_truth(*v, 2), 2)  # noqa: E731
    three = [tensor(v) for v in (5.0 * d, d + 0.1, 0 * d)]
    any_unit(lambda c: of(*(c * v for v in three)), (0, 1), rel=1e-8)
    strided(of, *three, rel=1e-8, abs=1e-8)
    both_types(lambda *v: of(*v)[1], *three, rel=1e-3, abs=1e-3)
    assert number(of(*(v.float() for v in three))[0]) == pytest.approx(number(of(*three)[0]), rel=1e-3)


# --- repair: the oracle does the step by hand; and the noise of a known picture has the level's size ---


def stochastic(student, denoise, t, s, old=None):
    """The step from t to s, of what changes from row to row."""

    def step(x, z, *guess):
        pair = None if old is None else (guess[0], tensor(old))
        x, kept = parts(student.repaired_step(denoise, x, tensor(t), tensor(s), pair, z), 2)
        return x, parts(kept, 2)[0]

    return step


def check_repaired(student, rng, shape, t, s, old=None):
    wave, (x, z, before) = Wave(student, rng), rng.normal(size=(3, *shape))
    D, r2 = wave(x, t), (s / t) ** 2
    M = D if old is None else D + np.log(t / s) / (2 * np.log(old / t)) * (D - before)
    pair = None if old is None else (tensor(before), tensor(old))
    asked, levels, result = wave.watched(student.repaired_step, 1, x, tensor(t), tensor(s), pair, tensor(z))
    got, kept = parts(result, 2)
    guess, level = parts(kept, 2)
    assert asked[0] == pytest.approx(x) and levels[0] == pytest.approx(t)
    assert array(got, shape) == pytest.approx(r2 * x + (1 - r2) * M + s * np.sqrt(1 - r2) * z, **NEAR)
    assert array(guess, shape) == pytest.approx(D, **NEAR) and number(level) == pytest.approx(t)
    return wave, [tensor(v) for v in (x, z, *([] if old is None else [before]))]


@pytest.mark.exercise("repair", weight=1)
@pytest.mark.parametrize("old", [1.1, 2.0, 30.0])
def test_later_steps(student, rng, old):
    """With a guess remembered, from a level near or far: the step goes by the line's value in the middle of
    the step, and remembers the guess of this step and its level. Steps short and long; each row by itself,
    any memory layout, float32 in and out, any unit of length."""
    for shape, longer in zip(SHAPES, (1.05, 2.5, 1e4, 40.0), strict=True):
        s = float(rng.uniform(0.2, 2))
        t = longer * s
        wave, given = check_repaired(student, rng, shape, t, s, old * t)
        if len(shape) == 1 or shape[0] == 1:
            continue
        answer = stochastic(student, wave.there, t, s, old * t)
        both_types(answer, *given, **SHORT)
        for relation in (rows_alone, strided):
            relation(answer, *given, rel=1e-7, abs=1e-7)
    share, (x, z, guess) = student.define("def share(x, sigma):\n    return 0.3 * x"), given
    step = lambda c: stochastic(student, share, 2 * c, c, 2 * old * c)(c * x, z, c * guess)  # noqa: E731
    any_unit(step, 1, rel=1e-8)


@pytest.mark.exercise("repair", weight=1)
def test_first_and_last_step(student, rng):
    """With nothing remembered the step is ancestral sampling, DDIM with eta = 1: a known picture under
    noise of one level lies under noise of the next. A step to 0 ends on the guess, without noise and
    without the line, and remembers like all others. Each row by itself, any memory layout, float32 in and
    out."""
    for shape, longer in zip(SHAPES, (1.05, 2.5, 1e4, 40.0), strict=True):
        s = float(rng.uniform(0.2, 2))
        wave, given = check_repaired(student, rng, shape, longer * s, s)
        answer = stochastic(student, wave.there, longer * s, s)
        both_types(answer, *given, **SHORT)
        strided(answer, *given, **NEAR)
    still = student.define("def still(x, sigma):\n    return 0 * x")
    eps, z = rng.normal(size=(2, 4_000, 1))
    got = array(stochastic(student, still, 2.0, 1.5)(tensor(2 * eps), tensor(z))[0], eps.shape)
    assert abs(np.std(got) / 1.5 - 1) < 6 / np.sqrt(2 * 4_000) and abs(got.mean()) < 6 * 1.5 / np.sqrt(4_000)
    for shape, old in zip(SHAPES, (None, 3.0, 3.0, None), strict=True):
        check_last(student, rng, shape, old)


def check_last(student, rng, shape, old):
    """A step to 0, in both types."""
    wave, (x, z, before), t = Wave(student, rng), rng.normal(size=(3, *shape)), float(rng.uniform(0.02, 1))
    pair = None if old is None else (tensor(before), tensor(old * t))
    given = tensor(x), tensor(t), tensor(0.0), pair, tensor(z)
    got, kept = parts(student.repaired_step(wave.there, *given), 2)
    guess, level = parts(kept, 2)
    for found in (got, guess):
        assert array(found, shape) == pytest.approx(wave(x, t), **NEAR)
    assert number(level) == pytest.approx(t)
    answer = stochastic(student, wave.there, t, 0.0, None if old is None else old * t)
    both_types(answer, tensor(x), tensor(z), *([] if old is None else [tensor(before)]), **SHORT)


# --- exact-inverse: the oracle takes the step down again ---

TURN = """
def make(kind, c):
    import torch
    def denoise(x, sigma):
        if kind == "linear":
            return c * x
        if kind == "one":  # the last number moves against x, all others with it
            last = torch.arange(x.numel()).reshape(x.shape) == x.numel() - 1
            return torch.where(last, -x, x)
        if kind == "turn":  # from all numbers alike to the first of them, and back with a minus; -x elsewhere
            even = torch.full_like(x, x.shape[-1] ** -0.5)
            first = torch.nn.functional.one_hot(torch.tensor(0), x.shape[-1]).to(x) - even * even[0, 0]
            first = first / first.norm(dim=-1, keepdim=True)
            a, b = ((x * way).sum(-1, keepdim=True) for way in (even, first))
            return a * first - b * even - (x - a * even - b * first)
        if kind == "wave":
            return torch.sin(x + 5 * sigma) + c
        return torch.tanh(x.flip(-1) + c) * torch.cos(sigma)
    return denoise
"""
PAIR = """
def pair(undo, denoise, x_s, t, s):
    import torch
    calls = [0]
    def watched(x, sigma):
        assert x.shape == x_s.shape and torch.as_tensor(sigma).shape == ()
        calls[0] += 1
        return denoise(x, sigma)
    x = undo(watched, x_s, t, s)
    D = denoise(x, t)
    return x, D + s / t * (x - D), calls[0]
"""


def undone(student, denoise, x_s, t, s):
    given = student.undo_step, denoise, tensor(x_s), tensor(t), tensor(s)
    x, again, calls = parts(student.define(PAIR)(*given), 3)
    assert number(calls) <= 200
    assert np.abs(array(again, x_s.shape) - x_s).max() <= 1.001e-9 * np.abs(x_s).max()
    return array(x, x_s.shape)


@pytest.mark.exercise("exact-inverse", weight=1, returns={"undo_step": "tensor float64 shape 1"})
def test_step_down_leads_back(student, rng):
    """A DDIM step from what comes out lands where it should, in every entry, with at most 200 calls: for
    guesses that move with x or against it, as far as x or less, that bend, that mix coordinates; for short
    steps and steps of a half; numbers, vectors and pictures; also where the picture is tiny or huge, and
    where one number of a thousand takes longest, or the largest miss grows before it falls."""
    kinds = ("linear", 1.0), ("mix", -0.2), ("wave", 0.3), ("linear", -1.0), ("linear", 0.4), ("wave", -0.6)
    for shape, (kind, c) in zip((*SHAPES, (4, 3), (3,)), kinds, strict=True):
        s = float(rng.uniform(0.05, 2))
        for longer in (1.5, rng.uniform(1.01, 1.4)):
            x_s = rng.normal(size=shape)
            x_s.flat[::2] *= 1e-13  # what is allowed is of the largest
            undone(student, student.define(TURN)(kind, c), x_s, longer * s, s)
    many = rng.choice([-1, 1], (2, 500)) * rng.uniform(0.9, 1, (2, 500))
    undone(student, student.define(TURN)("one", 0.0), many, 0.6, 0.4)
    turned = np.full((1, 25), 0.2 - 0.04 / 0.96**0.5)  # from here the largest miss grows before it falls
    turned[0, 0] += 1 / 0.96**0.5
    undone(student, student.define(TURN)("turn", 0.0), turned, 0.6, 0.4)
    for c, unit in ((0.9, 1e-20), (-0.8, 1e20)):
        x_s = unit * rng.normal(size=(3, 2))
        undone(student, student.define(TURN)("linear", c), x_s, 0.6, 0.45)
        x = student.undo_step(student.define(TURN)("linear", c), tensor(x_s), tensor(0.6), tensor(0.45))
        assert array(x, x_s.shape) == pytest.approx(x_s / (c + 0.75 * (1 - c)), rel=1e-7)


COUNT = """
def count(undo, x_s, t, s):
    n = [0]
    def denoise(x, sigma):
        n[0] += 1
        return -2 * x
    try:
        undo(denoise, x_s, t, s)
    except ValueError:
        pass
    return n[0]
"""
STUCK = """
def make(row):
    import torch
    def denoise(x, sigma):
        slope = torch.where(torch.arange(len(x)) == row, -2.0, 0.5).to(x)
        return slope.reshape(-1, *[1] * (x.ndim - 1)) * x
    return denoise
"""


@pytest.mark.exercise("exact-inverse", weight=1)
def test_no_way_back(student, rng):
    """Where nothing leads to a point, ValueError: in all rows or in one of them, whichever it is; where the
    search runs away to infinity, and where it goes to and fro. Rows that leave next to nothing to find are
    found."""
    t, s = tensor(0.6), tensor(0.4)  # a guess of -2 x leads to 0 from anywhere
    for rows, row in ((1, 0), (4, 0), (4, 3), (4, 1)):
        x_s = tensor(rng.uniform(0.5, 1, (rows, 3)))
        student.raises(ValueError, student.undo_step, student.define(STUCK)(row), x_s, t, s)
    away = student.define(
        "def away(x, sigma):\n    return -x * x"
    )  # leads to 1/3 at most, and the search to -inf
    for x_s in ([[1.0]], [[0.1, 0.2], [0.1, 1.0]]):
        student.raises(ValueError, student.undo_step, away, tensor(x_s), t, s)
    leap = student.define(
        "def leap(x, sigma):\n    return 2.0 * x.sign()"
    )  # leads over 0.5, and the search to and fro
    student.raises(ValueError, student.undo_step, leap, tensor([[0.5], [2.0]]), t, s)
    x_s = tensor(rng.uniform(0.5, 1, (4, 3)))
    clear = undone(student, student.define(STUCK)(9), np.array([[1.0], [1e-6], [-3.0]]), 0.6, 0.4)
    assert clear == pytest.approx(np.array([[1.0], [1e-6], [-3.0]]) * 1.2, abs=1e-8)
    calls = student.define(COUNT)
    assert number(calls(student.undo_step, x_s, t, s)) <= 200


# --- adams: the oracle integrates polynomials; then the exact solution for a normal cloud ---


def any_levels(rng, n, last=None):
    """n + 1 falling levels with steps of unequal length."""
    steps = rng.uniform(0.3, 1.5, n + 1)
    levels = np.cumsum(steps)[::-1].copy()
    levels[-1] = levels[-1] if last is None else last
    return levels


def by_hand(wave, x, levels, order):
    """The method, with numpy's polynomials; the places at which it asks, and the end."""
    places, slopes = [], []
    for i, (t, s) in enumerate(itertools.pairwise(levels)):
        places.append(x)
        slopes.append((x - wave(x, t)) / t)
        n, change = min(order, i + 1), 0
        nodes = levels[i + 1 - n : i + 1]
        for j in range(n):  # Lagrange
            basis = Polynomial([1.0])
            for k in set(range(n)) - {j}:
                basis *= Polynomial([-nodes[k], 1.0]) / (nodes[j] - nodes[k])
            area = basis.integ()
            change = change + (area(s) - area(t)) * slopes[i + 1 - n + j]
        x = x + change
    return np.stack(places), x


ORDERS = pytest.mark.parametrize("order", [1, 2, 3, 4])


@pytest.mark.exercise("adams", weight=1, returns={"adams": "tensor like 1 shape 1"})
@ORDERS
def test_polynomials_through_slopes(student, rng, order):
    """Each step integrates the polynomial through the last slopes, as many as the order asks for and as
    there are, over levels of unequal distance, be it slightly or by factors of ten and more, down to 0 or to
    a level above; one call a step, where the step begins, with a tensor for the level. For few steps and
    many; numbers, vectors and pictures; each row by itself, in any memory layout, in float32, too."""
    for shape, n, last in zip((*SHAPES, (3,)), (7, 4, 3, 2, 1), (0.0, None, 0.0, 0.0, None), strict=True):
        check_adams(student, rng, shape, any_levels(rng, n, last), order)
    for levels in ((80.0, 4.0, 0.1, 0.003, 1e-5, 0.0), (6.0, 5.95, 5.4, 0.4)):
        check_adams(student, rng, (3, 2), np.array(levels), order)
    wave, x, levels = Wave(student, rng), tensor(rng.normal(size=(2, 3, 2))), tensor(any_levels(rng, 4, 0.0))
    answer = lambda x: student.adams(wave.there, x, levels, order)  # noqa: E731
    for relation in (rows_alone, strided):
        relation(answer, x, rel=1e-7, abs=1e-7)
    both_types(answer, x, **SHORT)
    share = student.define("def share(x, sigma):\n    return 0.3 * x + 0 * sigma.square().to(x.dtype)")
    any_unit(lambda c: student.adams(share, c * x, c * levels, order), 1, rel=1e-7)


def check_adams(student, rng, shape, levels, order):
    """Where it asks, and where it ends."""
    n, wave, x = len(levels) - 1, Wave(student, rng), 3 * rng.normal(size=shape)
    places, end = by_hand(wave, x, levels, order)
    asked, at, got = wave.watched(student.adams, n, x, tensor(levels), order)
    assert at == pytest.approx(levels[:-1], rel=1e-9)
    assert asked == pytest.approx(places, rel=1e-7, abs=1e-7)
    assert array(got, shape) == pytest.approx(end, rel=1e-7, abs=1e-7)


CLOUD = """
def make(m, w):
    def denoise(x, sigma):
        return m + w**2 / (w**2 + sigma**2) * (x - m)
    return denoise
"""


@pytest.mark.exercise("adams", weight=1, costly=True)
@ORDERS
def test_order_of_convergence(student, rng, order):
    """For a normal cloud the exact solution is known. The error falls with the steps as the order says, on
    a grid of equal ratios, and is small in the end: a distribution goes where it should."""
    m, w, x = rng.normal(), rng.uniform(0.5, 1.0), 4 * rng.normal(size=(9, 2))
    denoise, errors = student.define(CLOUD)(m, w), []
    for n in (40, 80):
        levels = np.geomspace(4.0, 0.3, n + 1)
        exact = m + (x - m) * np.sqrt((w**2 + levels[-1] ** 2) / (w**2 + levels[0] ** 2))
        got = array(student.adams(denoise, tensor(x), tensor(levels), order), x.shape)
        errors.append(np.sqrt(np.mean((got - exact) ** 2)))
    found = np.log2(errors[0] / errors[1])
    assert found > min(order, 2) - 0.35 and errors[1] < (5e-2, 5e-3, 5e-3, 5e-3)[order - 1]
