"""Hidden tests of lesson 18_score. A docstring is what the learner reads when its test fails."""

import math

import numpy as np
import pytest
import torch
import torch._dynamo  # an optimiser's first step imports it: once here, and not in every fork
from numpy.polynomial import Chebyshev, Polynomial
from scipy.special import logsumexp, ndtr

from autograde.checks import array, booleans, from_tensor, number, parts
from autograde.relations import any_unit, both_types, generator_decides, rows_alone, strided
from autograde.training import learned, train

NEAR = {"rel": 1e-8, "abs": 1e-8}
SHORT = {"rel": 2e-3, "abs": 2e-3}  # of float32
SHAPES = (4, 3), (1, 2), (3, 1), (3, 2, 1, 2)


def tensor(value, dtype=torch.float64):
    return torch.tensor(np.asarray(value), dtype=dtype)


# --- log-ratio: the oracle is the log density itself ---

# A score on both sides; it counts the points that it is asked for.
SCORE = """
def make(kind, a, b, c):
    import torch
    def score(x):
        score.points += len(x)
        assert type(x) is torch.Tensor
        if kind == "clouds":  # a (K, D) centres, b (K,) widths, c (K,) log shares
            flat = x.flatten(1).double()
            apart = a - flat[:, None]
            var = b**2
            r = (c - flat.shape[1] / 2 * var.log() - apart.square().sum(2) / (2 * var)).softmax(1)
            said = (r[:, :, None] * apart / var[:, None]).sum(1).reshape(x.shape).to(x.dtype)
        else:  # the derivative of a polynomial, of every coordinate
            said = sum(k * a[k] * x ** (k - 1) for k in range(1, len(a))) + 0 * x
        score.kept.append((said, said.clone()))
        return said
    score.points, score.kept = 0, []
    return score
"""
KEPT = "def kept(score):\n    import torch\n    return all(torch.equal(a, b) for a, b in score.kept)"


def log_clouds(x, centres, widths, log_shares):
    flat, var = x.reshape(len(x), -1), widths**2
    apart = ((flat[:, None] - centres) ** 2).sum(2)
    return logsumexp(log_shares - flat.shape[1] / 2 * np.log(var) - apart / (2 * var), axis=1)


def mixed(student, rng, a, b):
    """Clouds that the statement allows for all lines from a to b, here and there."""
    length = np.sqrt(((b - a) ** 2).reshape(len(a), -1).sum(1)).max()
    centres = (a[rng.integers(len(a), size=3)]).reshape(3, -1) + length * rng.uniform(
        -0.2, 0.2, (3, a[0].size)
    )
    given = centres, length * rng.uniform(0.3, 0.8, 3), np.log(rng.uniform(0.2, 1, 3))
    return given, student.define(SCORE)("clouds", *map(tensor, given))


def ways(rng, shape):
    """Lines from one place to others, so that the same clouds are near to all of them."""
    a = np.repeat(rng.normal(size=(1, *shape[1:])), shape[0], axis=0)
    return a, a + rng.normal(size=shape)


@pytest.mark.exercise("log-ratio", weight=1, returns={"log_ratio": "tensor like 1 (B,)"})
def test_log_densities_differ_by_it(student, rng):
    """It is the difference of log densities: for mixtures of clouds, in one dimension and more, for
    pictures, one row or many, also with clouds as narrow and as far off as the statement allows; for
    polynomials up to its degree, of any size, also such as turn often; with at most 500 points a row."""
    for shape in SHAPES:
        a, b = ways(rng, shape)
        given, score = mixed(student, rng, a, b)
        want = log_clouds(b, *given) - log_clouds(a, *given)
        got = from_tensor(student.log_ratio(score, tensor(a), tensor(b)), shape[:1], torch.float64)
        assert got == pytest.approx(want, rel=1.1e-6, abs=1.1e-6)
        assert number(student.value(score.points)) <= 500 * shape[0]
        assert student.define(KEPT)(score)
    for D in (1, 2, 3):  # a switch from cloud to cloud, somewhere along the line
        a, b = np.zeros((2, 1, D))
        b[0, 0] = float(rng.uniform(0.1, 10))
        centres = b[0, 0] * np.array([[-0.8], [1.8]]) * np.eye(D)[0]
        given = centres, b[0, 0] * np.full(2, 0.26), np.log(rng.uniform(0.2, 1, 2))
        score = student.define(SCORE)("clouds", *map(tensor, given))
        want = log_clouds(b, *given) - log_clouds(a, *given)
        got = array(student.log_ratio(score, tensor(a), tensor(b)), (1,))
        assert got == pytest.approx(want, rel=1.1e-6, abs=1.1e-6)
    for degree, size in ((1, 1e6), (2, 1.0), (5, 1e3), (13, 1.0), (20, 1.0)):
        factors = size * rng.normal(size=degree + 1) / np.arange(1, degree + 2)
        check_polynomial(student, factors, *rng.uniform(-1.1, 1.1, (2, 4, 2)))
    turns = Chebyshev.basis(20).convert(kind=Polynomial).coef  # at most 1 between -1 and 1, steep at the ends
    check_polynomial(student, turns, rng.uniform(-0.2, 0.2, (4, 1)), rng.choice([-1.0, 1.0], (4, 1)))


def check_polynomial(student, factors, a, b):
    score = student.define(SCORE)("polynomial", tensor(factors), 0, 0)
    want = (Polynomial(factors)(b) - Polynomial(factors)(a)).sum(1)
    got = array(student.log_ratio(score, tensor(a), tensor(b)), (len(a),))
    assert got == pytest.approx(want, rel=1.1e-6, abs=1.1e-6)


@pytest.mark.exercise("log-ratio", weight=1)
def test_there_and_back(student, rng):
    """From a to itself it is 0; back it has the other sign; over a third place it adds up. Rows by
    themselves, any memory layout, float32 in and out, any unit of length."""
    for shape in ((4, 3), (3, 2, 1, 2)):
        a, b = ways(rng, shape)
        _, score = mixed(student, rng, a, b)
        answer = lambda a, b: student.log_ratio(score, a, b)  # noqa: B023, E731
        for relation in (rows_alone, strided):
            relation(answer, tensor(a), tensor(b), rel=2e-6, abs=2e-6)
        both_types(answer, tensor(a), tensor(b), **SHORT)
        there, back, none = (array(answer(tensor(p), tensor(q))) for p, q in ((a, b), (b, a), (a, a)))
        assert back == pytest.approx(-there, rel=3e-6, abs=3e-6) and none == pytest.approx(0 * none, abs=1e-6)
    a, b, c = rng.normal(size=(3, 5, 2))
    cubic = student.define(SCORE)("polynomial", tensor([0.0, 1.0, -0.5, 0.2]), 0, 0)
    one, two, both = (
        array(student.log_ratio(cubic, tensor(p), tensor(q))) for p, q in ((a, b), (b, c), (a, c))
    )
    assert one + two == pytest.approx(both, rel=1e-5, abs=1e-5)
    for unit in (1e-20, 1e20):
        normal = student.define(SCORE)("polynomial", tensor([0.0, 1.0 / unit, -0.5 / unit**2]), 0, 0)
        got = array(student.log_ratio(normal, tensor(unit * a), tensor(unit * b)), (5,))
        assert got == pytest.approx((b - a - (b**2 - a**2) / 2).sum(1), rel=1e-6, abs=1e-6)


# --- denoiser-covariance: the oracle is the posterior of a mixture, and a matrix ---

DENOISER = """
def make(kind, a, b, c):
    import torch
    def denoise(x, sigma):
        assert type(x) is torch.Tensor
        if kind == "linear":
            return x @ a.T.to(x.dtype) + 0.5
        if kind == "still":
            return 0 * x + 0.5
        flat, var = x.double(), b**2 + sigma**2
        apart = flat[:, None] - a
        r = (c - flat.shape[1] / 2 * var.log() - apart.square().sum(2) / (2 * var)).softmax(1)
        return (r[:, :, None] * (a + (b**2 / var)[:, None] * apart)).sum(1).to(x.dtype)
    return denoise
"""

LEARNED = """
def without_gradient(covariance, x):
    import torch
    weight = torch.ones(3, 3, dtype=x.dtype, requires_grad=True)
    return not covariance(lambda x, sigma: torch.tanh(x / sigma @ weight), x, 2.0).requires_grad
"""


def posterior(x, sigma, centres, widths, log_shares):
    """The covariance of x_0 given x, of a mixture of clouds: within and between."""
    var, D = widths**2 + sigma**2, x.shape[1]
    apart = x[:, None] - centres
    log_r = log_shares - D / 2 * np.log(var) - (apart**2).sum(2) / (2 * var)
    r = np.exp(log_r - logsumexp(log_r, axis=1, keepdims=True))
    best = centres + (widths**2 / var)[:, None] * apart
    off = best - (r[:, :, None] * best).sum(1, keepdims=True)
    within = (r * widths**2 * sigma**2 / var).sum(1)
    return within[:, None, None] * np.eye(D) + np.einsum("bk,bki,bkj->bij", r, off, off)


@pytest.mark.exercise(
    "denoiser-covariance", weight=1, returns={"posterior_covariance": "tensor like 1 (B, D, D)"}
)
def test_posterior_of_a_mixture(student, rng):
    """For a mixture of clouds it is the covariance of all that may stand behind x, within the clouds and
    between them: in one dimension and more, one row or many, at little noise and at much."""
    for B, D in ((4, 3), (1, 2), (3, 1), (2, 6)):
        given = rng.normal(size=(3, D)), rng.uniform(0.2, 0.8, 3), np.log(rng.uniform(0.2, 1, 3))
        denoise = student.define(DENOISER)("clouds", *map(tensor, given))
        for sigma in (0.1, float(rng.uniform(0.3, 2)), 20.0):
            x = rng.normal(size=(B, D)) * np.hypot(1, sigma)
            got = student.posterior_covariance(denoise, tensor(x), sigma)
            got = from_tensor(got, (B, D, D), torch.float64)
            assert got == pytest.approx(posterior(x, sigma, *given), rel=1e-8, abs=1e-9 * sigma**2)


@pytest.mark.exercise("denoiser-covariance", weight=1)
def test_symmetric_part(student, rng):
    """Of a learned denoiser, whose Jacobian is no symmetric matrix, it is the symmetric part, times what
    Tweedie's formula says, wherever x lies; a guess that never moves leaves nothing open. Each row by itself,
    any memory layout, float32 in and out; no gradient hangs on what comes back."""
    for D in (1, 2, 5):
        A, sigma = rng.normal(size=(D, D)), float(rng.uniform(0.3, 3))
        linear, x = student.define(DENOISER)("linear", tensor(A), 0, 0), 1e6 * rng.normal(size=(3, D))
        got = array(student.posterior_covariance(linear, tensor(x), sigma), (3, D, D))
        assert got == pytest.approx(np.broadcast_to(sigma**2 * (A + A.T) / 2, (3, D, D)), **NEAR)
    still = student.define(DENOISER)("still", 0, 0, 0)
    assert array(student.posterior_covariance(still, tensor(x), 2.0), (3, 5, 5)) == pytest.approx(
        np.zeros((3, 5, 5))
    )
    given = rng.normal(size=(3, 3)), rng.uniform(0.3, 0.8, 3), np.log(rng.uniform(0.2, 1, 3))
    denoise, x = student.define(DENOISER)("clouds", *map(tensor, given)), rng.normal(size=(4, 3))
    answer = lambda x: student.posterior_covariance(denoise, x, 0.7)  # noqa: E731
    for relation in (rows_alone, strided):
        relation(answer, tensor(x), **NEAR)
    both_types(answer, tensor(x), **SHORT)
    assert student.define(LEARNED)(student.posterior_covariance, tensor(x))


# --- ladder: the oracle counts ---


def overlap(gamma, D):
    way = math.sqrt(2 * D) * (gamma - 1)
    return ndtr(way + 3 * gamma) - ndtr(way - 3 * gamma)


def check_ladder(student, high, low, D, share):
    levels = array(student.overlap_ladder(high, low, D, share))
    n = len(levels)
    assert (
        levels.ndim == 1
        and levels[0] == pytest.approx(high, rel=1e-9)
        and levels[-1] == pytest.approx(low, rel=1e-9)
    )
    if n == 1:
        assert high == low
        return n
    gamma = (high / low) ** (1 / (n - 1))
    assert levels[:-1] / levels[1:] == pytest.approx(np.full(n - 1, gamma), rel=1e-9)
    assert overlap(gamma, D) >= share - 1e-9
    assert n == 2 or overlap((high / low) ** (1 / (n - 2)), D) < share + 1e-9
    return n


@pytest.mark.exercise("ladder", weight=1, returns={"overlap_ladder": "tensor float64 (N,)"})
def test_fewest_levels(student, rng):
    """Equal ratios from end to end; neighbours share as much as asked; with one level fewer they would
    not. From eight numbers to a hundred thousand, for shares small and large, for ladders of two levels
    and of a thousand, in any unit."""
    for D in (8, 30, 64, 256, 3_072, 100_000):
        for share in (0.02, 0.5, 0.99, float(rng.uniform(0.1, 0.9))):
            low = float(rng.uniform(0.01, 0.5))
            check_ladder(student, low * float(rng.uniform(3, 20)), low, D, share)
    assert 1_000 < check_ladder(student, float(rng.uniform(8, 12)), 1.0, 100_000, 0.99) < 5_000
    high, low = float(rng.uniform(5, 9)), float(rng.uniform(0.1, 1))
    any_unit(lambda c: student.overlap_ladder(c * high, c * low, 100, 0.4), 1, rel=1e-9)


@pytest.mark.exercise("ladder", weight=1)
def test_ends_and_refusals(student, rng):
    """Where both ends are one, one level, at any size; ends near each other are two levels. What the
    statement refuses, each by itself, raises ValueError, and what lies just inside does not."""
    for level in (1e-12, float(rng.uniform(0.5, 3)), 1e12):
        for share, D in ((0.99, 8), (0.3, 900)):
            assert check_ladder(student, level, level, D, share) == 1
            assert check_ladder(student, 1.0001 * level, level, D, share) == 2
    wrong = (1.0, 1.5), (1.0, 0.0), (1.0, -1.0), (-1.0, -1.0), (0.0, 0.0)
    for high, low in (*wrong, (math.inf, 1.0), (math.inf, math.inf), (1.0, math.nan), (math.nan, 1.0)):
        student.raises(ValueError, student.overlap_ladder, high, low, 64, 0.5)
    for share in (0.0, -0.1, 0.991, 1.0, 2.0, math.nan):
        student.raises(ValueError, student.overlap_ladder, 2.0, 1.0, 64, share)
        student.raises(ValueError, student.overlap_ladder, 2.0, 2.0, 64, share)
    for D in (7, 1, 0, -8):
        student.raises(ValueError, student.overlap_ladder, 2.0, 1.0, D, 0.5)
        student.raises(ValueError, student.overlap_ladder, 2.0, 2.0, D, 0.5)
    check_ladder(student, 3.0, 0.5, 8, 0.99)


# --- repair: the oracle sweeps by hand, with the same score ---

PULL = """
def make(a, b):
    import torch
    def score(x, sigma):
        level = torch.as_tensor(sigma, dtype=torch.float64)
        assert type(x) is torch.Tensor and level.shape == ()
        near = (x.flatten(1)[:, :1] >= 0).to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))  # other rows have none
        said = near * (a * torch.sin(x + b) / level**1.5).to(x.dtype)
        score.kept.append((said, said.clone()))
        return said
    score.kept = []
    return score
"""


class Pull:
    """The same score here and there; rows that begin below 0 have none."""

    def __init__(self, student, rng):
        self.a, self.b = rng.uniform(0.5, 1.5), rng.normal()
        self.there = student.define(PULL)(self.a, self.b)

    def __call__(self, x, sigma):
        """As the one there."""
        near = (x.reshape(len(x), -1)[:, :1] >= 0).reshape(-1, *[1] * (x.ndim - 1))
        return near * self.a * np.sin(x + self.b) / sigma**1.5

    def swept(self, x, sigmas, r, z):
        """The sweep by hand, row by row."""
        for sigma, noise in zip(sigmas, z, strict=True):
            g = self(x, sigma)
            for i in range(len(x)):
                if np.any(g[i]):
                    h = 2 * (r * np.linalg.norm(noise[i]) / np.linalg.norm(g[i])) ** 2
                    x = x.copy()
                    x[i] += h * g[i] + np.sqrt(2 * h) * noise[i]
        return x + sigmas[-1] ** 2 * self(x, sigmas[-1])


def walkers(rng, shape):
    """Half of the rows without a score to begin with."""
    x = rng.normal(size=shape)
    first = x.reshape(len(x), -1)[:, 0]
    first[:] = np.abs(first) + 0.5
    first[1::2] *= -1
    return x


@pytest.mark.exercise("repair", weight=1, returns={"repaired_sweep": "tensor like 1 shape 1"})
def test_sweep_by_hand(student, rng):
    """One step a level in the order given, each row's length by its own norms, noise and drift in the
    given ratio; at the end the denoiser of the last level. A row without a score stays. Vectors,
    pictures, one row or many; one level or several, in any order. What the score returned stays as it is."""
    for shape, n in zip(((4, 3), (1, 2), (5, 1), (3, 2, 1, 2), (3, 2)), (1, 3, 5, 2, 4), strict=True):
        pull, x, z = Pull(student, rng), walkers(rng, shape), rng.normal(size=(n, *shape))
        sigmas, r = rng.uniform(0.3, 2, n), float(rng.uniform(0.05, 0.3))
        if n == 1:
            sigmas[:] = 1.9
        want = pull.swept(x, sigmas, r, z)
        got = student.repaired_sweep(pull.there, tensor(x), tensor(sigmas), r, tensor(z))
        assert array(got, shape) == pytest.approx(want, rel=1e-7, abs=1e-7)
        assert student.define(KEPT)(pull.there)


SHARE = "def share(x, sigma):\n    return -0.5 * x / sigma**2"
AT_SOME = "def score(x, sigma):\n    return (sigma < 1) * (0.5 - x) / (1 + sigma**2)"


@pytest.mark.exercise("repair", weight=1)
def test_kinds_of_rows(student, rng):
    """Each row by itself, also rows a billion times as large as others; any memory layout, float32 in and
    out, any unit of length. A row of zeros, which has no score, stays there, among others and alone. A level
    at which there is no score changes nothing, now or later."""
    sigmas, z, share = tensor([1.5, 0.6]), rng.normal(size=(2, 4, 2, 3)), student.define(SHARE)
    sweep = lambda x, z: student.repaired_sweep(share, x, sigmas, 0.2, z.transpose(0, 1))  # noqa: E731
    x, z = tensor(rng.normal(size=(4, 2, 3))), tensor(np.swapaxes(z, 0, 1))
    for relation in (rows_alone, strided):
        relation(sweep, x, z, **NEAR)
    both_types(sweep, x, z, **SHORT)
    sizes = tensor([1e-9, 1.0, 1e9, 1.0])[:, None, None]
    once = lambda x, z: student.repaired_sweep(share, x, sigmas[:1], 0.2, z.transpose(0, 1))  # noqa: E731
    rows_alone(once, sizes * x, z[:, :1], rel=1e-8)
    unit = lambda c: student.repaired_sweep(share, c * x, c * sigmas[:1], 0.2, z[:, :1].transpose(0, 1))  # noqa: E731
    any_unit(unit, 1, rel=1e-8)
    x[2] = 0
    for rows in (slice(None), slice(2, 3)):
        got = array(student.repaired_sweep(share, x[rows], sigmas[:1], 0.2, z[rows, :1].transpose(0, 1)))
        assert (got[-2 if len(got) > 1 else 0] == 0).all()
    pull = Pull(student, rng)
    x, z = walkers(rng, (4, 3)), rng.normal(size=(2, 4, 3))
    got = array(student.repaired_sweep(pull.there, tensor(x), sigmas, 0.1, tensor(z)), (4, 3))
    assert (got[1::2] == x[1::2]).all()
    x, z, some = tensor(x), tensor(rng.normal(size=(4, 4, 3))), student.define(AT_SOME)
    for n, kept in ((4, [1, 3]), (2, [1])):
        levels = tensor([1.5, 0.6, 1.2, 0.7])
        all_of_them = array(student.repaired_sweep(some, x, levels[:n], 0.1, z[:n]), (4, 3))
        want = array(student.repaired_sweep(some, x, levels[kept], 0.1, z[kept]), (4, 3))
        assert all_of_them == pytest.approx(want, **NEAR)


# --- mala: the oracle decides by hand ---

TARGET = """
def make(kind, a, beyond):
    import math, torch
    def log_p(x):
        assert type(x) is torch.Tensor
        flat = x.flatten(1)
        if kind == "wall":  # exponential, beyond a wall nothing
            return torch.where((flat > 0).all(1), -a * flat.sum(1), -math.inf)
        return -a * flat.square().sum(1) / 2 + torch.cos(flat).sum(1) + beyond
    def score(x):
        assert type(x) is torch.Tensor
        if kind == "wall":
            said = torch.where(x > 0, -a * torch.ones_like(x), beyond)
        else:
            said = -a * x - torch.sin(x)
        score.kept.append((said, said.clone()))
        return said
    score.kept = []
    return log_p, score
"""


def by_hand(x, h, z, u, a):
    score = lambda x: -a * x - np.sin(x)  # noqa: E731
    flat = lambda v: v.reshape(len(v), -1)  # noqa: E731
    log_p = lambda x: (-a * flat(x) ** 2 / 2 + np.cos(flat(x))).sum(1)  # noqa: E731
    log_q = lambda to, start: -(flat(to - start - h * score(start)) ** 2).sum(1) / (4 * h)  # noqa: E731
    y = x + h * score(x) + np.sqrt(2 * h) * z
    log_a = log_p(y) + log_q(x, y) - log_p(x) - log_q(y, x)
    accepted = u < np.exp(np.minimum(log_a, 0))
    return np.where(accepted.reshape(-1, *[1] * (x.ndim - 1)), y, x), accepted, log_a


@pytest.mark.exercise("mala", weight=1, returns={"mala_step": "tensor like 2 shape 2, tensor bool (B,)"})
def test_steps_by_hand(student, rng):
    """The proposal, the decision and what comes of it are right for each row: vectors, pictures, one row
    or many; steps from tiny to large; uniform numbers anywhere, on either side of the ratio, and 0; a
    log density up to a constant of any size. Each row by itself, any memory layout, float32 in and out. What
    the score returned stays as it is."""
    for shape, h in zip(
        (*SHAPES, (30, 2), (30, 4), (40, 1)), (0.3, 0.01, 1.0, 0.5, 0.8, 0.6, 2.0), strict=True
    ):
        a = float(rng.uniform(0.5, 2))
        log_p, score = parts(student.define(TARGET)("waves", a, float(rng.choice([-5e3, 5e3]))), 2)
        x, z, u = 1.5 * rng.normal(size=shape), rng.normal(size=shape), rng.uniform(size=shape[0])
        *_, log_a = by_hand(x, h, z, u, a)
        ratio = np.exp(np.minimum(log_a, 0))
        for u in (u, 0 * u, (1 - 1e-7) * ratio, np.minimum((1 + 1e-7) * ratio, 0.9999)):  # noqa: B020
            new, accepted, _ = by_hand(x, h, z, u, a)
            got, ok = parts(student.mala_step(log_p, score, tensor(x), h, tensor(z), tensor(u)), 2)
            assert (booleans(ok, shape[:1]) == accepted).all()
            assert array(got, shape) == pytest.approx(new, **NEAR)
        assert student.define(KEPT)(score)
    step = lambda x, z, u: parts(student.mala_step(log_p, score, x, 0.4, z, u), 2)  # noqa: E731
    x, z = rng.normal(size=(2, 6, 2, 3))
    given = tensor(x), tensor(z), tensor([0.0, 0.0, 1e-9, 0.3, 0.6, 0.9])
    for relation in (rows_alone, strided):
        relation(step, *given, **NEAR)
    both_types(lambda x, z: step(x, z, 0 * z[:, 0, 0])[0], *given[:2], **SHORT)


@pytest.mark.exercise("mala", weight=1)
def test_walls(student, rng):
    """A proposal beyond a wall is rejected whatever the score is there, a number, infinite or NaN, for u = 0,
    too, and x stays as it is, one row or many; before the wall a row decides as ever."""
    a = float(rng.uniform(0.5, 2))
    for D, beyond in ((1, math.nan), (3, math.nan), (2, -a), (1, 0.0), (2, math.inf), (1, -math.inf)):
        log_p, score = parts(student.define(TARGET)("wall", a, beyond), 2)
        x, z, h = rng.uniform(0.1, 1, (6, D)), rng.normal(size=(6, D)), 0.3
        z[::2, -1], z[1::2] = -9.0, np.abs(z[1::2]) + 1
        u = np.array([0.0, 0.0, 0.5, 0.3, 1e-12, 0.9])
        y = x - h * a + np.sqrt(2 * h) * z
        back = x - y + h * a
        log_a = -a * (y - x).sum(1) + (z**2 / 2 - back**2 / (4 * h)).sum(1)
        want = (y > 0).all(1) & (np.log(np.maximum(u, 1e-300)) < log_a)
        for rows in (slice(None), slice(0, 1), slice(1, 2)):
            given = tensor(x[rows]), h, tensor(z[rows]), tensor(u[rows])
            new, ok = parts(student.mala_step(log_p, score, *given), 2)
            assert (booleans(ok, u[rows].shape) == want[rows]).all() and want[1] and not want[::2].any()
            assert array(new, x[rows].shape) == pytest.approx(
                np.where(want[rows, None], y[rows], x[rows]), **NEAR
            )


# --- circle: what the network was shown, the walk from call to call, and a training ---

WATCH = """
def make(a, b):
    import torch
    def net(seen, sigma):
        assert type(seen) is torch.Tensor and seen.shape == (len(sigma), 2) and seen.dtype == sigma.dtype
        said = a * torch.sin(torch.atan2(seen[:, 1], seen[:, 0]) + b) / sigma
        net.asked.append((seen.clone(), sigma.clone(), said, said.clone()))
        return said
    net.asked = []
    return net
"""
ASKED = """
def asked(net):
    import torch
    assert all(torch.equal(a, b) for *_, a, b in net.asked)
    return [torch.stack(part) for part in list(zip(*net.asked))[:3]]
"""


def watched(student, rng):
    """A network that keeps what it is asked, and what gives that: (calls, B, 2), (calls, B), (calls,
    B)."""
    net = student.define(WATCH)(float(rng.uniform(3, 5)), float(rng.normal()))

    def asked():
        seen, sigma, said = (array(v) for v in parts(student.define(ASKED)(net), 3))
        assert np.abs((seen**2).sum(2) - 1).max() < 1e-9
        return np.arctan2(seen[..., 1], seen[..., 0]), sigma, said

    return net, asked


def turned(angle):
    """The same angle between -pi and pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


@pytest.mark.exercise("circle", weight=1, costly=True, returns={"circle_loss": "tensor like 1 ()"})
def test_loss_of_what_was_shown(student, rng):
    """The network sees one noisy angle a row, at that row's level, and pays for the noise that was put there:
    the mean of (sigma s + eps)^2 over rows. The noise is normal, fresh in each row and call, from the
    generator. Angles of many turns, one row or many; float32 and float64. A small network that is
    trained with it comes near to the true score of two clouds on the circle, and what is drawn with that
    network has the clouds' shares."""
    eps = []
    for B in (1, 7, 20_000):
        net, asked = watched(student, rng)
        theta, sigma = rng.uniform(-20, 20, B), rng.uniform(0.05, 0.4, B)
        got = number(
            student.circle_loss(net, tensor(theta), tensor(sigma), student.generator(int(rng.integers(1e9))))
        )
        noisy, level, said = asked()
        assert level == pytest.approx(sigma[None], rel=1e-12)
        own = turned(noisy[0] - theta) / sigma  # so little noise makes no turn
        assert got == pytest.approx(np.mean((sigma * said[0] + own) ** 2), rel=1e-8)
        eps = own
    n = len(eps)
    normal(eps[None])
    short = tensor(theta, torch.float32), tensor(sigma, torch.float32)
    got = student.circle_loss(watched(student, rng)[0], *short, student.generator(5))
    from_tensor(got, (), torch.float32)
    plain = student.define(STEADY)
    loss = lambda g: student.circle_loss(plain, tensor(theta[:9]), tensor(sigma[:9] + 2), g)  # noqa: E731
    generator_decides(loss, student.generator, rng)
    big = number(student.circle_loss(plain, tensor(theta), tensor(0 * sigma + 5), student.generator(3)))
    assert abs(big - 2) < 6 * np.sqrt(6 / n)  # it pays 1 + (5 * 0.2)^2; the noise is not wrapped
    check_training(student, rng)


def normal(z):
    """Normal noise of variance 1, z (steps, n), fresh for each step and place."""
    n, size = z.shape[1], np.sqrt(z.size)
    assert abs(z.mean()) < 6 / size and abs((z**2).mean() - 1) < 6 * np.sqrt(2) / size
    assert abs((z**4).mean() - 3) < 8 * np.sqrt(96) / size
    assert z.size < 20_000 or np.abs(z).max() > 3.2
    assert np.abs(z @ z.T / n - np.eye(len(z))).max() < 9 / np.sqrt(n)  # no noise comes again
    for places in (1, n // 2):
        assert abs((z * np.roll(z, places, 1)).mean()) < 9 / size


FREE = "def net(seen, sigma):\n    return 0 * sigma"
GRADIENT = """
def without_gradient(draw, ladder, g):
    import torch
    weight = torch.ones(2, dtype=ladder.dtype, requires_grad=True)
    return not draw(lambda seen, sigma: seen @ weight / sigma, 5, ladder, 2, 0.2, g).requires_grad
"""
STEADY = "def net(seen, sigma):\n    return 0 * sigma + 0.2"


@pytest.mark.exercise("circle", weight=1, returns={"circle_draw": "tensor float64 (N,)"})
def test_walk_from_call_to_call(student, rng):
    """It begins uniformly; at each level, in order, it takes so many steps of c sigma^2 along the score
    with normal noise of the right size, fresh for each angle and step, from the generator; it ends with
    the last level's denoising, between -pi and pi, without a gradient. One angle or many. Without a score
    they stay uniform, in many turns, too."""
    starts = []
    for n, steps, sigmas, c in (
        (4_000, 3, [0.5, 0.3, 0.2], 0.08),
        (1, 2, [0.4, 0.1], 0.2),
        (4_000, 1, [0.3], 0.1),
    ):
        net, asked = watched(student, rng)
        given = net, n, tensor(sigmas), steps, c, student.generator(int(rng.integers(1e9)))
        ends = array(student.circle_draw(*given), (n,))
        theta, level, said = asked()
        sigma = np.repeat(sigmas, steps)
        assert theta.shape == (len(sigma) + 1, n) and ((ends >= -np.pi) & (ends < np.pi)).all()
        assert level == pytest.approx(np.repeat(np.append(sigma, sigmas[-1])[:, None], n, 1), rel=1e-12)
        assert turned(ends - theta[-1] - sigmas[-1] ** 2 * said[-1]) == pytest.approx(np.zeros(n), abs=1e-9)
        drift = (c * sigma**2)[:, None] * said[:-1]
        z = turned(theta[1:] - theta[:-1] - drift) / (np.sqrt(2 * c) * sigma[:, None])
        if n == 1:
            continue
        normal(z)
        pull = sigma[:, None] * said[:-1]  # of which the noise knows nothing
        assert abs((z * pull).mean()) < 6 * np.sqrt((pull**2).mean() / z.size)
        starts.append(theta[0])
    for angle in (starts[0], starts[1], starts[0] - starts[1], starts[0] + starts[1]):
        for turns in (1, 2):
            assert abs(np.exp(1j * turns * angle).mean()) < 6 / np.sqrt(len(angle))
    check_free(student, rng)
    draw = lambda g: student.circle_draw(student.define(STEADY), 5, tensor([2.0, 0.5]), 2, 0.2, g)  # noqa: E731
    generator_decides(draw, student.generator, rng)


def check_free(student, rng):
    """Without a score they stay uniform; no gradient hangs on what comes back."""
    given = student.define(FREE), 4_000, tensor([2.0, 0.5]), 5, 0.3, student.generator(int(rng.integers(1e9)))
    ends = array(student.circle_draw(*given), (4_000,))
    for turns in (1, 2, 3):
        assert abs(np.exp(1j * turns * ends).mean()) < 6 / np.sqrt(len(ends))
    assert student.define(GRADIENT)(student.circle_draw, tensor([2.0, 0.5]), student.generator(3))


TRAIN = """
def train(loss, draw, theta, low, high, at, levels, ladder):
    import torch
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 48), torch.nn.SiLU(), torch.nn.Linear(48, 48), torch.nn.SiLU(),
        torch.nn.Linear(48, 1),
    ).double()
    def score(seen, sigma):
        return net(torch.cat([seen, sigma.log()[:, None]], 1))[:, 0] / sigma
    g = torch.Generator().manual_seed(int(torch.randint(2**31, ()).item()))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, 250)
    for _ in range(250):
        rows = torch.randint(len(theta), (256,), generator=g)
        sigma = low * (high / low) ** torch.rand(256, generator=g, dtype=torch.float64)
        now = loss(score, theta[rows], sigma, g)
        optimizer.zero_grad()
        now.backward()
        optimizer.step()
        rate.step()
    with torch.no_grad():
        said = score(torch.stack([at.cos(), at.sin()], 1), levels)
    return said, draw(score, 400, ladder, 5, 0.3, g)
"""
WRAPS = 2 * np.pi * np.arange(-4, 5)


def circle_score(theta, sigma, means, widths, shares):
    """The score of wrapped normal clouds, by a sum over turns; and their density: (N,), (N,)."""
    var = (widths**2)[None, :, None] + (sigma**2)[:, None, None]
    gap = theta[:, None, None] - means[None, :, None] + WRAPS
    weight = shares[None, :, None] * np.exp(-(gap**2) / (2 * var)) / np.sqrt(2 * np.pi * var)
    total = weight.sum((1, 2))
    return -(weight * gap / var).sum((1, 2)) / total, total


def check_training(student, rng):
    """A small network that is trained with it comes near to the true score of two clouds on the circle."""
    means, widths, shares = (
        np.array([-2.9, 0.4]) + rng.uniform(-0.2, 0.2),
        np.array([0.3, 0.3]),
        np.array([0.3, 0.7]),
    )
    which = rng.choice(2, size=5_000, p=shares)
    theta = means[which] + widths[which] * rng.normal(size=5_000)
    at, levels = (v.ravel() for v in np.meshgrid(np.linspace(-3.1, 3.1, 40), np.array([0.2, 0.5, 1.0])))
    given = student.circle_loss, student.circle_draw, tensor(theta), 0.1, 3.0, tensor(at), tensor(levels)
    seed, ladder = int(rng.integers(2**31)), tensor(np.geomspace(3, 0.1, 8))
    said, ends = parts(train(student, TRAIN, *given, ladder, seed=seed, seconds=3.0), 2)
    true, density = circle_score(at, levels, means, widths, shares)
    weight = density * levels**2
    before = np.average(true**2, weights=weight)
    learned(1.0, float(np.average((array(said, at.shape) - true) ** 2, weights=weight) / before), 0.2)
    near = np.abs(turned(array(ends, (400,)) - means[1])) < 1.5
    assert abs(near.mean() - 0.7) < 0.25
