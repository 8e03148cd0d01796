"""Hidden tests of lesson 01_map. A docstring is what the learner reads when its test fails."""

import itertools
import math
import re
from collections import Counter
from contextlib import contextmanager
from types import MappingProxyType
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from autograde.checks import (
    array,
    entries,
    from_tensor,
    gradient,
    listed,
    number,
    parts,
    string,
)
from genmap import taxonomy
from genmap.taxonomy import ranking

SINGLE = {"rel": 1e-4, "abs": 2e-5}  # what float32 may lose where digits are not the point


# --- interval-mass: the oracle is scipy's distribution function of a histogram ---


def random_histogram(rng):
    """Counts, all positive, and edges of bins whose widths differ widely."""
    K = int(rng.integers(5, 12))
    widths = np.exp(rng.permutation(np.linspace(-1.5, 1.5, K)))
    return rng.integers(1, 60, K), rng.uniform(-5, 5) + np.cumsum(np.append(0, widths))


def mass(student, counts, edges, a, b):
    return number(student.interval_mass(counts, edges, float(a), float(b)))


@pytest.mark.exercise("interval-mass", weight=3)
def test_pieces_of_the_line(student, rng):
    """Cut the whole line anywhere: the masses of the pieces add up to 1. A piece may lie within one bin,
    wholly outside the edges (mass 0), or be a single point, a = b (mass 0)."""
    counts, edges = random_histogram(rng)
    in_one_bin = rng.uniform(edges[2], edges[3], 2)
    cuts = np.concatenate([edges[0] - rng.uniform(1, 9, 2), in_one_bin, edges[-1] + rng.uniform(1, 9, 2)])
    ends = [-np.inf, *np.sort(np.append(cuts, cuts)), np.inf]  # every cut twice: a piece with a = b
    pieces = [mass(student, counts, edges, a, b) for a, b in itertools.pairwise(ends)]
    assert sum(pieces) == pytest.approx(1) and min(pieces) > -1e-12
    assert mass(student, counts, edges, -np.inf, np.inf) == pytest.approx(1)
    assert [p > 1e-12 for p in pieces] == [
        a < b and b > edges[0] and a < edges[-1] for a, b in itertools.pairwise(ends)
    ]


@pytest.mark.exercise("interval-mass", weight=1)
def test_whole_bins(student, rng):
    """From one edge to another: the share of the samples between them, whatever the widths. From an edge to
    itself: 0."""
    counts, edges = random_histogram(rng)
    chosen = [sorted(rng.choice(len(edges), 2, replace=False)) for _ in range(6)]
    for i, j in (*chosen, (2, 2)):
        part = mass(student, counts, edges, edges[i], edges[j])
        assert part == pytest.approx(counts[i:j].sum() / counts.sum(), **SINGLE)


@pytest.mark.exercise("interval-mass", weight=3)
def test_within_one_bin(student, rng):
    """Both ends in the same bin: the interval has that part of the bin's mass which it covers of the bin's
    width, and none where a = b."""
    counts, edges = random_histogram(rng)
    for k in range(len(counts)):
        a, b = np.sort(rng.uniform(edges[k], edges[k + 1], 2))
        wanted = (b - a) / (edges[k + 1] - edges[k]) * counts[k] / counts.sum()
        assert mass(student, counts, edges, a, b) == pytest.approx(wanted, **SINGLE)
        assert mass(student, counts, edges, a, a) == pytest.approx(0, abs=1e-12)


@pytest.mark.exercise("interval-mass", weight=1)
def test_across_bins(student, rng):
    """An interval that starts in one bin and ends in another adds up their parts and the whole bins between
    them; it may start at -inf or end at inf, and a bin between may be empty."""
    counts, edges = random_histogram(rng)
    counts[rng.integers(1, len(counts) - 1)] = 0
    cdf = stats.rv_histogram((counts, edges), density=False).cdf
    for _ in range(6):
        a, b = rng.uniform(edges[0], edges[2]), rng.uniform(edges[-3], edges[-1])
        assert mass(student, counts, edges, a, b) == pytest.approx(cdf(b) - cdf(a), **SINGLE)
        assert mass(student, counts, edges, -np.inf, b) == pytest.approx(cdf(b), **SINGLE)
        assert mass(student, counts, edges, a, np.inf) == pytest.approx(1 - cdf(a), **SINGLE)


@pytest.mark.exercise("interval-mass", weight=2)
def test_outside_the_edges(student, rng):
    """An interval wholly outside the edges is no error: its mass is 0. One that reaches out counts only its
    part inside."""
    counts, edges = random_histogram(rng)
    low, high, share = edges[0], edges[-1], counts / counts.sum()
    for a, b in ((-np.inf, low), (low - 3, low - 1), (high, np.inf), (high + 1, high + 2)):
        assert mass(student, counts, edges, a, b) == pytest.approx(0, abs=1e-12)
    third = edges[0] + (edges[1] - edges[0]) / 3
    outside = low - rng.uniform(1, 9)
    assert mass(student, counts, edges, outside, third) == pytest.approx(share[0] / 3, **SINGLE)


@pytest.mark.exercise("interval-mass", weight=2)
def test_split_bins(student, rng):
    """Cutting a bin in two, with its count shared by width, changes no interval's mass: not of one within
    that bin, not of one across bins, not of one outside."""
    counts, edges = random_histogram(rng)
    k = int(rng.integers(len(counts)))
    finer = np.insert(edges, k + 1, (edges[k] + edges[k + 1]) / 2)
    doubled = np.insert(2 * counts, k, counts[k])
    doubled[k + 1] = counts[k]
    cdf = stats.rv_histogram((counts, edges), density=False).cdf
    ends = (
        (edges[k], edges[k + 1]),
        (edges[0], edges[-1]),
        (edges[0], edges[-1]),
        edges[-1] + np.array([1, 2]),
    )
    for low, high in ends:
        a, b = np.sort(rng.uniform(low, high, 2))
        for c, e in ((counts, edges), (doubled, finer)):
            assert mass(student, c, e, a, b) == pytest.approx(cdf(b) - cdf(a), **SINGLE)


@pytest.mark.exercise("interval-mass", weight=3)
def test_backwards(student, rng):
    """a > b raises ValueError, wherever a and b lie. a = b does not: it has mass 0."""
    counts, edges = random_histogram(rng)
    a, b = np.sort(rng.uniform(edges[0], edges[-1], 2))
    assert mass(student, counts, edges, a, b) > 0
    for point in (a, edges[1], edges[-1] + 1):
        assert mass(student, counts, edges, point, point) == pytest.approx(0, abs=1e-12)
    for start, end in ((b, a), (b, b - 1e-6), (edges[-1] + 2, edges[-1] + 1), (math.inf, -math.inf)):
        student.raises(ValueError, student.interval_mass, counts, edges, float(start), float(end))


# --- implicit: the laws of transformed normal noise are known; limits lie 6 standard deviations out ---


def largest_dependence(z):
    """The largest correlation of two draws any number of rows apart, or of two dimensions, times sqrt(n)."""
    n, dim = z.shape
    waves = np.fft.rfft(z, axis=0)
    cross = np.fft.irfft(waves[:, :, None] * waves[:, None].conj(), n, axis=0)  # (lag, dim, dim)
    cross[0][np.diag_indices(dim)] = 0
    return np.abs(cross).max() / math.sqrt(n)


def standard_draws(student, dim, seed, n=2_000):
    """Draws of the model whose g is the identity, which must be independent and standard normal."""
    model = student.Implicit(student.define("def g(z): return z"), dim)
    z = array(model.sample(n, student.generator(seed)), shape=(n, dim))
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-9
    assert largest_dependence(z) < 8  # at lag n / 2 every product counts twice: 5.7 standard deviations
    return z


def check_mass(model, inside, p, n, generator):
    """The estimate and the error of a set of probability p: from n draws, right, and stated right."""
    share, error = map(number, parts(model.mass(inside, n, generator), 2))
    assert abs(share - p) <= 7 * math.sqrt(p * (1 - p) / n)
    assert share * n == pytest.approx(round(share * n), abs=1e-2)
    assert error == pytest.approx(math.sqrt(share * (1 - share) / n), rel=1e-3, abs=1e-9)
    return share


def square_model(student, rng):
    """A model of squared noise in two dimensions, and a set, both squares below a limit, with its
    probability."""
    q = rng.uniform(0.88, 0.93)
    inside = student.define(f"def inside(x): return (x < {stats.chi2.ppf(q, 1)}).all(1)")
    return student.Implicit(student.define("def g(z): return z.square()"), 2), inside, q * q


def many(rng):
    """A number of draws that is no multiple of 2 or 5: a share of other draws is no whole number of
    these."""
    return int(rng.integers(410, 470)) * 10 + int(rng.choice([1, 3, 7, 9]))


@pytest.mark.exercise("implicit", weight=1)
def test_draws_follow_g(student, rng):
    """sample returns g(z), with z standard normal and independent from draw to draw and from dimension to
    dimension. For one seed the noise is the same whatever g is."""
    A, shift, seed = rng.normal(size=(3, 2)), rng.normal(size=2), int(rng.integers(2**31))
    source = f"def g(z):\n    import torch\n    A = torch.tensor({A.tolist()}, dtype=z.dtype)\n"
    g = student.define(source + f"    return z @ A + torch.tensor({shift.tolist()}, dtype=z.dtype)")
    x, other = (
        array(student.Implicit(g, 3).sample(2_000, student.generator(s)), shape=(2_000, 2))
        for s in (seed, seed + 1)
    )
    assert np.allclose(x, standard_draws(student, 3, seed) @ A + shift, rtol=1e-4, atol=1e-4)
    assert np.abs(x - other).max() > 0.1


@pytest.mark.exercise("implicit", weight=1)
def test_generator_decides(student, rng):
    """All noise, in every dimension, comes from the given generator: the same seed gives the same draws,
    another seed others, a second call goes on where the first stopped, and PyTorch's global generator stays
    where it is."""
    seed, dim = int(rng.integers(2**31)), int(rng.integers(2, 5))
    first = standard_draws(student, dim, seed)
    assert np.array_equal(first, standard_draws(student, dim, seed))
    assert not np.array_equal(first, standard_draws(student, dim, seed + 1))
    model, g = student.Implicit(student.define("def g(z): return z"), dim), student.generator(seed)
    one, two = (array(model.sample(1, g), shape=(1, dim)) for _ in range(2))
    assert not np.array_equal(one, two)
    probe = student.define(
        "def probe(model, g):\n    import torch\n    before = torch.get_rng_state()\n"
        "    model.sample(3, g)\n    return before, torch.get_rng_state()"
    )
    before, after = parts(probe(model, g), 2)
    assert np.array_equal(array(before), array(after))


@pytest.mark.exercise("implicit", weight=2)
def test_mass(student, rng):
    """mass counts n draws, all n and no more, made with the given generator. Its error is the formula's,
    also for a set that no draw hits, and over many calls the estimates scatter as the error says."""
    model, inside, p = square_model(student, rng)
    seed, n = int(rng.integers(2**31)), many(rng)
    one, two = (
        [check_mass(model, inside, p, n, student.generator(seed + k)) for k in range(4)] for _ in range(2)
    )
    assert one == two
    g, normal = student.generator(seed), student.Implicit(student.define("def g(z): return z"), 1)
    check_mass(model, student.define("def inside(x): return x[:, 0] < 0"), 0, n, g)
    above = student.define("def inside(x): return x[:, 0] > 0")
    shares = np.array([check_mass(normal, above, 0.5, 1_000, g) for _ in range(25)])
    assert len(set(shares)) > 1
    chi2 = 4 * 1_000 * ((shares - 0.5) ** 2).sum()
    assert stats.chi2.ppf(1e-9, 25) < chi2 < stats.chi2.isf(1e-9, 25)


@pytest.mark.exercise("implicit", weight=4)
def test_refuses(student, rng):
    """log_prob raises TypeError, no other kind, for a batch, for one point, for a single number and for the
    model's own draws. The message names sample and mass; and these two, called instead, give fresh draws and
    a right estimate each time."""
    model, inside, p = square_model(student, rng)
    g, n = student.generator(int(rng.integers(2**31))), many(rng)
    own, again = (array(model.sample(4, g), shape=(4, 2)) for _ in range(2))
    assert own.min() >= 0 and not np.array_equal(own, again)
    probe = student.define(
        "def probe(model, x):\n    try:\n        model.log_prob(x)\n"
        "    except TypeError as refusal:\n        return str(refusal)\n    return ''"
    )
    for x in (rng.normal(size=(7, 2)), rng.normal(size=(1, 2)), rng.normal(), own):
        student.raises(TypeError, model.log_prob, torch.tensor(x))
        message = probe(model, torch.tensor(x))
        assert isinstance(message, str) and "sample" in message and "mass" in message
    assert len({check_mass(model, inside, p, n, g) for _ in range(5)}) > 1
    check_mass(model, student.define("def inside(x): return x[:, 0] < 0"), 0, n, g)


# --- bandwidth: the oracle removes the points one by one ---


def loo_scores(points, candidates):
    """The leave-one-out scores, one point after the other."""
    N, D = points.shape
    kept = np.stack([((np.delete(points, i, axis=0) - x) ** 2).sum(1) for i, x in enumerate(points)])
    logs = logsumexp(-kept[:, None] / (2 * candidates[:, None] ** 2), axis=2)  # (N, H)
    return np.mean(logs, axis=0) - math.log(N - 1) - D * np.log(candidates) - D / 2 * math.log(2 * math.pi)


def check_bandwidth(student, points, candidates, rtol=1e-5):
    """Both parts of the answer for NumPy arrays or tensors; returns the scores."""
    points, candidates = torch.as_tensor(points), torch.as_tensor(candidates)
    best, scores = parts(student.loo_bandwidth(points, candidates), 2)
    scores = array(scores, shape=(len(candidates),))
    wanted = loo_scores(points.double().numpy(), candidates.double().numpy())
    assert scores == pytest.approx(wanted, rel=rtol, abs=10 * rtol)
    chosen = np.abs(candidates.double().numpy() - number(best)).argmin()
    assert number(best) == pytest.approx(candidates[chosen].item(), rel=1e-6)
    assert wanted[chosen] >= wanted.max() - 10 * rtol * (1 + abs(wanted.max()))
    return scores


def with_twins(rng, N, D):
    """N points on a coarse grid, in random order; the first ones occur twice."""
    points = rng.integers(-3, 4, size=(N, D)) / 4
    points[: N // 3] = points[N // 3 : 2 * (N // 3)]
    return rng.permutation(points)


def widths(rng, n=6):
    """Bandwidths in random order, from far too small to far too large."""
    return rng.permutation(np.geomspace(2e-3, 20, n) * rng.uniform(0.8, 1.2, n))


@pytest.mark.exercise("bandwidth", weight=2, returns={"loo_bandwidth": "any, like 0 (H,)"})
def test_each_point_left_out(student, rng):
    """The scores, in the order of the candidates, are those of models fitted N times, each time on all
    points but one: all N - 1 kernels count, each with the normaliser of D dimensions; the mean over points
    is of logarithms."""
    for D, N in ((1, rng.integers(70, 90)), (2, rng.integers(5, 30)), (5, rng.integers(70, 90))):
        check_bandwidth(student, rng.normal(size=(int(N), D)), widths(rng))


@pytest.mark.exercise("bandwidth", weight=1)
def test_two_points(student, rng):
    """With two points, each is scored under a single kernel on the other: look at N - 1 and at the
    normaliser."""
    D = int(rng.integers(2, 7))
    x, h = rng.normal(size=(2, D)), widths(rng)
    scores = check_bandwidth(student, x, h)
    wanted = [stats.multivariate_normal.logpdf(x[0], x[1], s * s * np.eye(D)) for s in h]
    assert scores == pytest.approx(wanted, rel=1e-5, abs=1e-4)


@pytest.mark.exercise("bandwidth", weight=3)
def test_twins(student, rng):
    """Points that occur more than once: only the point itself is left out, never its equals."""
    for D, N in ((1, rng.integers(9, 25)), (3, rng.integers(70, 90))):
        check_bandwidth(student, with_twins(rng, int(N), D), widths(rng))


@pytest.mark.exercise("bandwidth", weight=2)
def test_lonely_point(student, rng):
    """A point very many bandwidths away from all others gives a finite score, the right one: stay in log
    space."""
    points = np.concatenate([with_twins(rng, 12, 2), rng.normal(size=(1, 2)) + 10 ** rng.uniform(2, 5)])
    check_bandwidth(student, points, widths(rng))


@pytest.mark.exercise("bandwidth", weight=1)
def test_change_of_units(student, rng):
    """Points and bandwidths in another unit: all scores shift by D times the logarithm of the unit."""
    points, h, unit = with_twins(rng, 80, 3), widths(rng), rng.uniform(3, 50)
    scores = check_bandwidth(student, points, h)
    moved = check_bandwidth(student, unit * points + rng.normal(size=3), unit * h)
    assert moved == pytest.approx(scores - 3 * math.log(unit), rel=1e-4, abs=1e-3)


@pytest.mark.exercise("bandwidth", weight=2)
def test_dtypes(student, rng):
    """The scores keep the digits of the points: float64 points give float64 scores, never rounded to float32
    on the way. float32 works too, also where the points are not contiguous in memory, with a single
    candidate, and far from the origin, where only the difference of two points has digits left."""
    check_bandwidth(student, with_twins(rng, 20, 2), widths(rng), rtol=1e-10)
    points = torch.tensor(with_twins(rng, 20, 4), dtype=torch.float32)
    h = torch.tensor(rng.permutation([0.05, 0.2, 0.6, 2.0, 8.0]), dtype=torch.float32)
    check_bandwidth(student, points.T.contiguous().T, h)
    check_bandwidth(student, points[::2, 1:], h[:1])
    far = torch.tensor(rng.uniform(5e3, 1e4, 3) + rng.normal(size=(60, 3)), dtype=torch.float32)
    check_bandwidth(student, far, h, rtol=1e-4)


# --- log-kde: scipy's normal densities, added in log space ---


def kde_problem(rng, D, N=12, M=9):
    """Queries, the first one a point and the last one far out, points, bandwidths, weights.

    The weights are small and very unequal, one of them is 0, and they add up to anything.
    """
    points, h = 2 * rng.normal(size=(N, D)), np.exp(rng.uniform(-1.5, 0.7, N))
    x = points[rng.integers(N, size=M)] + rng.normal(size=(M, D))
    w = rng.permutation(np.geomspace(1e-8, 1, N)) * 10 ** rng.uniform(-9, -8)
    absent, on = rng.choice(N, 2, replace=False)
    w[absent], x[0] = 0, points[on]
    x[-1] += rng.choice([-1, 1], D) * rng.uniform(200, 900)
    return x, points, h, w


def log_kernels(x, points, h, w):
    """log of each term of the density: (M, N); a term of weight 0 is -inf."""
    logs = stats.norm.logpdf(x[:, None], points, h[:, None]).sum(-1)
    with np.errstate(divide="ignore"):
        return logs + np.log(w / w.sum())


def slopes(x, points, h, w):
    """The gradient of the log density at each query: (M, D)."""
    terms = log_kernels(x, points, h, w)
    share = np.exp(terms - logsumexp(terms, axis=1, keepdims=True))[:, :, None]  # (M, N, 1)
    return (share * (points - x[:, None]) / h[:, None] ** 2).sum(1)


def log_kde(student, *problem, dtype=torch.float64):
    """The answer for arrays or tensors, checked for its shape and dtype."""
    tensors = as_tensors(problem, dtype)
    return from_tensor(student.log_adaptive_kde(*tensors), (len(tensors[0]),), tensors[0].dtype)


def as_tensors(problem, dtype=torch.float64):
    return [p if isinstance(p, torch.Tensor) else torch.tensor(p, dtype=dtype) for p in problem]


def check_slopes(student, *problem, dtype=torch.float64, rel=1e-6):
    """The gradient in x against the formula; errors are measured by the largest slope."""
    tensors = as_tensors(problem, dtype)
    slope = array(gradient(student, student.log_adaptive_kde, 0, *tensors), shape=tuple(tensors[0].shape))
    wanted = slopes(*(v.double().numpy() for v in tensors))
    scale = np.linalg.norm(wanted, axis=1, keepdims=True) + 1
    assert np.abs((slope - wanted) / scale).max() < rel


def near_ten_thousand(rng, D):
    """A problem in float32 with small bandwidths, far from the origin; the first five queries are points."""
    origin = rng.choice([-1, 1], D) * rng.uniform(5e3, 1e4, D)
    points, x = (origin + rng.normal(size=(size, D)) for size in (60, 40))
    x[:5] = points[:5]
    return as_tensors((x, points, rng.uniform(0.1, 0.3, 60), rng.uniform(1, 5, 60)), torch.float32)


@pytest.mark.exercise("log-kde", weight=1, returns={"log_adaptive_kde": "tensor like 0 (M,)"})
def test_integrates_to_one(student, rng):
    """The exponential of the answer integrates to 1 over the plane, whatever the bandwidths and the weights:
    look at the normaliser of each bump and at the sum of the weights, which may be very small."""
    x, points, h, w = kde_problem(rng, 2)
    points, h = np.clip(points, -3, 3), np.clip(h, 0.5, 1.5)
    line = np.linspace(-14, 14, 141)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    assert np.exp(log_kde(student, grid, points, h, w)).sum() * (line[1] - line[0]) ** 2 == pytest.approx(1)
    assert log_kde(student, x, points, h, w)[-1] < -100


@pytest.mark.exercise("log-kde", weight=1)
def test_sum_of_normals(student, rng):
    """Near the points the answer is the logarithm of the weighted sum of normal densities in D dimensions, of
    all of them: for many queries, for one, for a single point, for hundreds of points, for any bandwidths and
    dimensions, and for tensors that are not contiguous in memory."""
    for D in (2, 3, 6):
        x, points, h, w = kde_problem(rng, D)
        wanted = logsumexp(log_kernels(x, points, h, w), axis=1)
        assert log_kde(student, x, points, h, w) == pytest.approx(wanted, rel=1e-8, abs=1e-8)
        across = [torch.tensor(np.ascontiguousarray(v.T)).T for v in (x, points)]
        apart = [torch.tensor(np.repeat(v, 2))[::2] for v in (h, w)]
        assert log_kde(student, *across, *apart) == pytest.approx(wanted, rel=1e-8, abs=1e-8)
        k = slice(np.argmax(w), np.argmax(w) + 1)
        alone = logsumexp(log_kernels(x, points[k], h[k], w[k]), axis=1)
        assert log_kde(student, x[-1:], points[k], h[k], w[k]) == pytest.approx(alone[-1:], rel=1e-8)
    x, points, h, w = kde_problem(rng, 1, N=300)
    wanted = logsumexp(log_kernels(x, points, h, w), axis=1)
    small = log_kde(student, *(1e-6 * v for v in (x, points, h)), w)
    assert small == pytest.approx(wanted - math.log(1e-6), rel=1e-8, abs=1e-8)
    x, points = 0.1 * rng.normal(size=(5, 64)), 0.1 * rng.normal(size=(7, 64))
    problem = as_tensors((x, points, np.full(7, 0.04), np.ones(7)), torch.float32)
    wanted = logsumexp(log_kernels(*(v.double().numpy() for v in problem)), axis=1)
    assert log_kde(student, *problem) == pytest.approx(wanted, rel=1e-4, abs=1e-3)


@pytest.mark.exercise("log-kde", weight=3)
def test_far_tails(student, rng):
    """Far out, where every term underflows, the answer and its gradient are finite and right, in float64 and
    in float32, in one dimension and in several: exp of a single term is already 0 there."""
    for D in (1, 2, 6):
        _, points, h, w = kde_problem(rng, D)
        x = rng.normal(size=(6, D)) * 10 ** rng.uniform(2.5, 5, size=(6, 1))
        wanted = logsumexp(log_kernels(x, points, h, w), axis=1)
        assert log_kde(student, x, points, h, w) == pytest.approx(wanted, rel=1e-8)
        single = log_kde(student, x, points, h, w, dtype=torch.float32)
        assert single == pytest.approx(wanted, rel=1e-4)
        check_slopes(student, x, points, h, w)


@pytest.mark.exercise("log-kde", weight=1)
def test_weights(student, rng):
    """Only the ratio of weights counts, however small they all are; weight 0 is absence, exactly; a point
    given twice has twice the weight. Nothing may be added to a weight, and no weight may be cut off."""
    x, points, h, w = kde_problem(rng, 3)
    x[1] = points[np.flatnonzero(w == 0)[0]]
    wanted = logsumexp(log_kernels(x, points, h, w), axis=1)
    everything, present = np.arange(len(w)), np.flatnonzero(w)
    twice, half = np.append(everything, present[0]), w.copy()
    half[present[0]] /= 2
    for keep, weights in ((everything, w * 10 ** rng.uniform(7, 12)), (present, w), (twice, half)):
        again = log_kde(student, x, points[keep], h[keep], weights[keep])
        assert again == pytest.approx(wanted, rel=1e-8, abs=1e-8)


@pytest.mark.exercise("log-kde", weight=3)
def test_far_from_origin(student, rng):
    """Points and queries near 10,000, or in two places so far apart, in float32 with small bandwidths, keep
    their digits, in the value and in the gradient: the difference of x and a point comes first, then its
    square. A query may be a point."""
    for D, apart in ((3, False), (6, False), (4, True)):
        problem = near_ten_thousand(rng, D)
        if apart:  # two clusters: moving the origin to the mean helps neither
            middle = problem[1].mean(0)
            problem = [torch.cat([v[::2], v[1::2] - middle]) for v in problem[:2]] + problem[2:]
        wanted = logsumexp(log_kernels(*(v.double().numpy() for v in problem)), axis=1)
        assert log_kde(student, *problem) == pytest.approx(wanted, rel=1e-3, abs=1e-3)
        check_slopes(student, *problem, rel=1e-2)


@pytest.mark.exercise("log-kde", weight=3)
def test_gradient(student, rng):
    """The gradient in x is finite and right: near the points, exactly on a point (a square root has no slope
    at 0), far out in the tails, and in float32 near 10,000."""
    for D in (1, 3):
        check_slopes(student, *kde_problem(rng, D))
    check_slopes(student, *near_ten_thousand(rng, 2), rel=1e-2)


# --- memorised: scipy's Mann-Whitney statistic of the distances ---


def check_copy_score(student, train, test, generated):
    """Both parts of the answer for NumPy arrays or tensors; returns them."""
    train, test, generated = (torch.as_tensor(v) for v in (train, test, generated))
    share, z = map(number, parts(student.copy_score(train, test, generated), 2))
    d_test, d_generated = (cdist(v.double(), train.double()).min(1) for v in (test, generated))
    m, n = len(generated), len(test)
    wins = stats.mannwhitneyu(d_test, d_generated).statistic / (m * n)
    assert share == pytest.approx(wins, abs=1e-6)
    assert z == pytest.approx((wins - 0.5) * math.sqrt(12 * m * n / (m + n + 1)), abs=1e-4)
    return share, z


def levels(rng, n, D, spread=1):
    """n points on whole numbers, as pixels are: equal distances are common, and so is distance 0."""
    return np.round(rng.normal(size=(n, D)) * spread)


def cloud(rng, n, D, spread=1):
    """n points without ties, in a small unit: their distances differ in late digits only."""
    return rng.normal(size=(n, D)) * spread * 1e-3


def sizes(rng):
    """Three different numbers of points: train, test, generated."""
    return int(rng.integers(30, 50)), int(rng.integers(210, 230)), int(rng.integers(240, 260))


@pytest.mark.exercise("memorised", weight=2, costly=True)
def test_every_pair_and_tie(student, rng):
    """Every generated point is compared with every held-out one, however many there are. Where two distances
    are equal, 0 included, it is half a win; where they nearly are, it is not. The share may lie on either
    side of 1/2."""
    for make in (levels, cloud):
        for D, spread in ((1, 5), (2, 0.7), (4, 2)):
            N, n, m = sizes(rng)
            train, test = make(rng, N, D, 2), make(rng, n, D, 2)
            check_copy_score(student, train, test, make(rng, m, D, spread))
    check_copy_score(student, *(levels(rng, size, 2, 9) for size in (300, 600, 620)))


@pytest.mark.exercise("memorised", weight=1)
def test_copies(student, rng):
    """Training points handed out again, exactly or with a little noise, give the largest share and z: the
    distance is that of a generated point to its nearest training point, and small is suspicious."""
    N, n, m = sizes(rng)
    train, test = 5 * rng.normal(size=(N, 6)), 5 * rng.normal(size=(n, 6))
    copies = train[rng.integers(N, size=m)]
    for noise in (0, 1e-4):
        share, z = check_copy_score(student, train, test, copies + noise * rng.normal(size=(m, 6)))
        assert share == pytest.approx(1) and z == pytest.approx(math.sqrt(3 * m * n / (m + n + 1)))


@pytest.mark.exercise("memorised", weight=1)
def test_exchange(student, rng):
    """Held-out and generated points exchanged: the share becomes 1 minus the share, z changes its sign. A
    tie, at distance 0 too, must count alike for both."""
    for make in (levels, cloud):
        N, n, m = sizes(rng)
        train, test, generated = (make(rng, size, 3) for size in (N, n, m))
        share, z = check_copy_score(student, train, test, generated)
        other, minus_z = check_copy_score(student, train, generated, test)
        assert share + other == pytest.approx(1) and z + minus_z == pytest.approx(0, abs=1e-6)


@pytest.mark.exercise("memorised", weight=1)
def test_far_away(student, rng):
    """A generator that is far from all data copies nothing: the share is 0, and z is negative."""
    N, n, m = sizes(rng)
    generated = levels(rng, m, 4) + rng.uniform(500, 900)
    share, z = check_copy_score(student, levels(rng, N, 4), levels(rng, n, 4), generated)
    assert share == 0 and z < 0


@pytest.mark.exercise("memorised", weight=1)
def test_rotation_and_scale(student, rng):
    """Turning, stretching or shrinking, and moving all data together changes nothing: distances are
    Euclidean, and only their order counts."""
    N, n, m = sizes(rng)
    data = [rng.normal(size=(size, 5)) * 0.7**k for k, size in enumerate((N, n, m))]
    share, z = check_copy_score(student, *data)
    for unit in (rng.uniform(3, 9), 1e-3):
        turn, shift = np.linalg.qr(rng.normal(size=(5, 5)))[0] * unit, unit * rng.uniform(-2, 2, 5)
        assert check_copy_score(student, *(v @ turn + shift for v in data)) == pytest.approx(
            (share, z), abs=1e-4
        )


@pytest.mark.exercise("memorised", weight=1)
def test_forms(student, rng):
    """float32, tensors that are not contiguous in memory, a single generated or held-out point."""
    N, n, m = sizes(rng)
    train, test, generated = (torch.tensor(levels(rng, size, 4), dtype=torch.float32) for size in (N, n, m))
    check_copy_score(student, train.T.contiguous().T, test.T.contiguous().T, generated[::2])
    check_copy_score(student, train, test, generated[:1])
    check_copy_score(student, train, test[:1], generated)


# --- words: the oracle counts with a dictionary; limits lie 5 standard deviations out or more ---


def counted(x, letters, k, alpha):
    """log p of each letter after each context that a word may have: a function of words (M, L)."""
    counts = Counter()
    for word in x.tolist():
        signs = [letters] * k + word
        counts.update((tuple(signs[t : t + k]), a) for t, a in enumerate(word))
    totals = Counter()
    for (context, _), n in counts.items():
        totals[context] += n

    def log_prob(words):
        result = []
        for word in words.tolist():
            signs = [letters] * k + word
            seen = [(tuple(signs[t : t + k]), a) for t, a in enumerate(word)]
            result.append(sum(math.log((counts[s] + alpha) / (totals[s[0]] + alpha * letters)) for s in seen))
        return np.array(result)

    return log_prob


def all_words(letters, length):
    return np.array(list(itertools.product(range(letters), repeat=length)))


def chain_words(rng, n, length, letters, memory):
    """n words of a chain that remembers so many letters, each context with a taste of its own."""
    taste = rng.dirichlet(np.full(letters, 0.3), size=(letters + 1,) * memory)
    words = np.full((n, memory + length), letters)
    for t in range(memory, memory + length):
        p = taste[tuple(words[:, t - back] for back in range(memory, 0, -1))].reshape(-1, letters)
        words[:, t] = (p.cumsum(1) < rng.uniform(size=(n, 1))).sum(1).clip(max=letters - 1)
    return words[:, memory:]


def check_log_prob(model, log_prob, words):
    """The answer's log p of these words (NumPy) is the oracle's; returns it."""
    found = from_tensor(model.log_prob(torch.tensor(words)), (len(words),), torch.float64)
    assert found == pytest.approx(log_prob(words), rel=1e-9, abs=1e-9)
    return found


def draw_words(model, n, length, generator):
    return from_tensor(model.sample(n, length, generator), (n, length), torch.int64)


def check_samples(student, model, log_prob, letters, length, seed, n=1_000):
    """Draws, many at once and a few at a time, follow the oracle's law over all words, and the generator
    alone decides them; words of one call have nothing to do with each other."""
    g = student.generator(seed)
    few, again, *more = (
        draw_words(model, 60, length, each) for each in (g, student.generator(seed), *[g] * 15)
    )
    assert np.array_equal(few, again) and not np.array_equal(few, more[0])
    many = draw_words(model, n, length, g)
    for one, other in ((many[: n // 2], many[n // 2 :]), (many[::2], many[1::2])):
        for a in range(letters):
            first, second = one[:, 0] == a, other[:, 0] == a
            together = (first & second).sum(), first.mean() * second.mean() * len(one)
            assert abs(together[0] - together[1]) < 6 * math.sqrt(together[1]) + 6
    drawn = np.concatenate([few, *more, many])
    assert drawn.min() >= 0 and drawn.max() < letters
    p = np.exp(log_prob(all_words(letters, length)))
    n, place = len(drawn), drawn @ letters ** np.arange(length)[::-1]
    seen, wanted, often = np.bincount(place, minlength=len(p)), n * p, n * p > 10
    assert ((seen - wanted) ** 2 / wanted)[often].sum() < stats.chi2.isf(1e-9, often.sum())
    rare = wanted[~often].sum()
    assert abs(seen[~often].sum() - rare) < 7 * math.sqrt(rare) + 12


@pytest.mark.exercise("words", weight=4)
def test_counts(student, rng):
    """log_prob adds up, over the letters of a word, what was counted with alpha in every context, the same at
    every place and with signs of their own before the first letter: for every memory from 0 to more than a
    word has, for words of other lengths than those that were counted, for a single word, for an alphabet of
    which some letters never come. p adds up to 1 over all words. With a long memory and a tiny alpha it is
    the share of each whole word, and nearly nothing for the others. fit forgets what was counted before and
    returns the model itself."""
    is_itself = student.define("def is_itself(one, other):\n    return one is other")
    for letters, k in ((2, 0), (4, 1), (3, 2), (2, 6)):
        alpha, length = float(rng.uniform(0.05, 3)), 3
        x = chain_words(rng, int(rng.integers(5, 40)), length, letters, min(k, 2))
        x = np.minimum(x, max(letters - 2, 1))
        model = student.Words(letters, k, alpha)
        model.fit(torch.tensor(x[:2]))
        assert is_itself(model.fit(torch.tensor(x)), model)
        log_prob = counted(x, letters, k, alpha)
        found = check_log_prob(model, log_prob, all_words(letters, length))
        assert np.exp(found).sum() == pytest.approx(1)
        for other in (1, length + 2):
            check_log_prob(model, log_prob, rng.integers(letters, size=(1, other)))
    x = rng.integers(3, size=(60, 3))
    for k in (2, 3):
        whole = student.Words(3, k, 1e-12).fit(torch.tensor(x))
        check_log_prob(whole, counted(x, 3, k, 1e-12), all_words(3, 3))


@pytest.mark.exercise("words", weight=1)
def test_long_memory(student, rng):
    """A context is the letters themselves, in their order, as far back as k reaches, 9 letters and more:
    words that differ in one of them have contexts of their own. The alphabet may be larger than a handful."""
    for letters, k, length in ((2, int(rng.integers(8, 11)), 24), (20, 2, 8)):
        x = rng.integers(letters, size=(30, length))
        model = student.Words(letters, k, 0.2).fit(torch.tensor(x))
        twins = x.copy()
        twins[np.arange(30), rng.integers(length - 1, size=30)] = rng.integers(letters, size=30)
        for words in (x, twins):
            check_log_prob(model, counted(x, letters, k, 0.2), words)


@pytest.mark.exercise("words", weight=3, costly=True)
def test_draws(student, rng):
    """The draws follow the model's own p over all words: each letter from the table of its context, in every
    word anew, of any length; whole numbers; the generator alone decides them, and a second call goes on."""
    for letters, k in ((3, 1), (2, 3)):
        x = chain_words(rng, 12, 5, letters, min(k, 2))
        x = np.minimum(x, max(letters - 2, 1))  # the last of three letters never comes
        alpha, seed = float(rng.uniform(0.5, 2)), int(rng.integers(2**31))
        model = student.Words(letters, k, alpha).fit(torch.tensor(x))
        check_samples(student, model, counted(x, letters, k, alpha), letters, int(rng.integers(3, 5)), seed)
        draw_words(model, 1, 9, student.generator(seed))


@pytest.mark.exercise("words", weight=5, costly=True)
def test_against_the_truth(student, rng):
    """Fitted to words of a chain that is known, the model comes to its truth, its draws follow, and a second
    fit forgets the first. Of such words best_memory finds the memory that held-out words prefer."""
    letters, length = 3, 5
    start, step = rng.dirichlet([3.0] * 3), rng.dirichlet([1.5] * 3, size=3)
    words = all_words(letters, length)
    truth = start[words[:, 0]] * step[words[:, :-1], words[:, 1:]].prod(1)
    x = words[rng.choice(len(words), 4_000, p=truth)]
    model = student.Words(letters, 1, 0.5)
    model.fit(torch.tensor(np.repeat(words, 20, axis=0)))  # which must be forgotten
    model.fit(torch.tensor(x))
    found = from_tensor(model.log_prob(torch.tensor(words)), (len(words),), torch.float64)
    assert 0 <= (truth * (np.log(truth) - found)).sum() < 0.015
    check_samples(student, model, counted(x, letters, 1, 0.5), letters, 4, int(rng.integers(2**31)))
    for memory in (0, 1, 2, 3):
        check_memory(
            student, rng, *(chain_words(rng, n, 6, letters, memory) for n in (150, 300)), letters, 0.3
        )


def check_memory(student, rng, fitted, held_out, letters, alpha, ks=(0, 1, 2, 3, 5)):
    """best_memory names the best of ks, offered in any order, and without it the second; returns the best."""
    scores = {k: counted(fitted, letters, k, alpha)(held_out).mean() for k in ks}
    best = max(scores, key=scores.get)
    for left_out in (None, best):
        offered = [int(k) for k in rng.permutation([k for k in ks if k != left_out])]
        chosen = int(
            number(student.best_memory(torch.tensor(fitted), torch.tensor(held_out), letters, alpha, offered))
        )
        assert chosen in offered
        assert scores[chosen] == pytest.approx(max(scores[k] for k in offered), abs=1e-9)
    return best


@pytest.mark.exercise("words", weight=3)
def test_best_memory(student, rng):
    """best_memory goes by the mean log p of the held-out words under models with this alpha and this
    alphabet, which may be larger than what the words show: another alpha or alphabet, another memory. It
    names one of those that are offered, in whatever order, also where the best is not among them."""
    fitted, held_out = (chain_words(rng, n, 6, 3, 2) for n in (60, 80))
    for letters, alpha in ((3, 0.3), (3, 1e-9), (12, 2.0)):
        check_memory(student, rng, fitted, held_out, letters, alpha, (0, 1, 2, 3))


# --- products: what the makers have published ---

PUBLISHED = {
    "Sora": ({"diffusion"}, {"transformer"}, ("openai.com",)),
    "ChatGPT image": ({"autoregressive"}, {"undisclosed", "transformer"}, ("openai.com",)),
}
UNPUBLISHED = {
    "Midjourney v7": ("midjourney.com",),
    "Runway Gen-3": ("runwayml.com", "runway.com"),
    "ElevenLabs": ("elevenlabs.io",),
}


def evidence(student, product, hosts):
    """Family, backbone and quote of a product, whose evidence must lie with its maker or on arXiv."""
    found = {key: string(value) for key, value in entries(student.identify(product)).items()}
    host = (urlsplit(found["url"]).hostname or "").lower()
    assert found["url"].startswith("https://")
    assert any(host == h or host.endswith(f".{h}") for h in (*hosts, "arxiv.org"))
    return found["family"], found["backbone"], found["quote"].lower()


@pytest.mark.exercise("products", weight=1)
def test_what_is_published(student, rng):
    """Where the maker has published the family or the backbone, the answer gives it, with an address of the
    maker's (or of a paper) and words from there that name it."""
    for product, (families, backbones, hosts) in PUBLISHED.items():
        family, backbone, quote = evidence(student, product, hosts)
        assert family in families and backbone in backbones
        assert all(word.lower() in quote for word in {family, backbone} - {"undisclosed"})
        assert len(quote.split()) >= 4


@pytest.mark.exercise("products", weight=1)
def test_what_is_not(student, rng):
    """Where the maker has published neither family nor backbone, the answer says so, names the maker's own
    page and quotes nothing. What other people write about a product is no evidence."""
    for product, hosts in UNPUBLISHED.items():
        assert evidence(student, product, hosts) == ("undisclosed", "undisclosed", "")


# --- triage: complete, in the learner's own words ---

TEXTS = ("modelled", "condition", "evaluation", "failure")
FIELDS = ("domain", "model", "density", "sampling", "source", *TEXTS)
EVERYDAY = r"""(image|picture|photo|photograph|video|movie|song)s?|films?|photography|speech|voices?|audio
|music|sounds?|texts?|prose|poetry|poems?|novels?|essays?|natural[ ]language|language[ ]model(s|l?ing)?"""
QUESTIONS = {
    "modelled": "what is modelled?",
    "condition": "what conditions it?",
    "evaluation": "how is it evaluated?",
    "failure": "how does that measure fail: when is it good although the model is bad?",
}
NOTHING = ("todo", "tbd", "unknown", "none", "n/a", "?", "...", "lorem ipsum", "placeholder")


CARDS = {
    "A": (1, "tractable", "serial"),
    "B": (3, "none", "one-shot"),
    "C": (1, "tractable", "one-shot"),
    "D": (2, "approximate", "one-shot"),
    "E": (4, "score", "iterative"),
    "F": (5, "tractable", "serial"),
    "G": (2, "approximate", "iterative"),
    "H": (4, "score", "iterative"),
    "I": (1, "tractable", "one-shot"),
    "J": (3, "none", "one-shot"),
}


@pytest.mark.exercise("triage", weight=1)
def test_cards(student, rng):
    """Each of the ten cards has its bucket, its density and its sampling: what is written down exactly,
    bounded or known up to a factor, known by direction, or not at all; of the data or of codes; drawn in one
    pass, in many passes over the whole, or element after element."""
    for name, (bucket, density, sampling) in CARDS.items():
        mine = parts(student.card(name), 3)
        assert (number(mine[0]), string(mine[1]), string(mine[2])) == (bucket, density, sampling)


@pytest.mark.exercise("triage", weight=1, returns={"my_triage": "str"})
def test_complete(student, rng):
    """All five questions are answered for one model of a domain of your own, which is not pictures, film,
    speech, music or text: the texts are ten words or more, say different things and more than the question
    does, density and sampling are words of the lists, domain and model a few words, and the source is an
    address."""
    mine = {field: string(student.my_triage(field)) for field in FIELDS}
    texts = [mine[field].lower().split() for field in TEXTS]
    assert all(len(words) >= 10 and len(set(words)) >= 8 for words in texts)
    said = [set(re.findall(r"[^\W\d_]+", mine[field].lower())) for field in TEXTS]
    asked = [set(re.findall(r"[^\W\d_]+", QUESTIONS[field])) for field in TEXTS]
    assert all(len(own - given) >= 5 for own, given in zip(said, asked, strict=True))
    assert not any(mine[field].strip().lower().startswith(NOTHING) for field in FIELDS if field != "density")
    for one, other in itertools.combinations(texts, 2):
        assert len(set(one) & set(other)) < 0.6 * min(len(set(one)), len(set(other)))
    assert mine["density"] in ("tractable", "approximate", "score", "none")
    assert mine["sampling"] in ("one-shot", "iterative", "serial")
    assert all(1 <= len(mine[field].split()) <= 20 for field in ("domain", "model"))
    domain = re.sub(r"thin[ -]films?|video[ -]games?", "", mine["domain"].lower())
    assert not re.search(rf"\b({EVERYDAY})\b", domain, re.VERBOSE)
    assert re.fullmatch(r"https://[\w.-]+\.[a-z]+/\S+", mine["source"])


# --- choose: the criteria, on the map as it is and as it may become ---

ATLAS = taxonomy.load()
TASKS = {
    "picture": ("text-to-image", "fast-text-to-image"),
    "face": ("faces",),
    "film": ("text-to-video",),
    "voice": ("speech",),
    "song": ("music",),
    "essay": ("text",),
    "scene": ("scenes-3d",),
    "table": ("tabular",),
    "molecule": ("molecules",),
    "protein": ("protein",),
    "robot": ("trajectories",),
}
CALLS = {"one-shot": 1, "iterative": 50, "serial": 1_000}
HOURS = {"none": 0, "fine-tune": 10, "from scratch": 1_000}
ROWS = sorted({name for names in TASKS.values() for name in names} | {"density-estimation"})
LISTED = sorted({name for row in ROWS for name in (*ATLAS.tasks[row].open, *ATLAS.tasks[row].hosted)})
FAMILIES = sorted({ATLAS.tasks[row].family for row in ROWS})
FIELDS_OF = ("permits", "gpus", "date", "retired", "openness", "density")
CHANGE = """def change(models, boards, families):
    from genmap import taxonomy
    atlas = taxonomy.load()
    for name, fields in models.items():
        for field, value in fields.items():
            object.__setattr__(atlas.models[name], field, value)
    for name, scores in boards.items():
        object.__setattr__(atlas.boards[name], "scores", dict(scores))
    for name, fields in families.items():
        for field, value in fields.items():
            object.__setattr__(atlas.families[name], field, value)"""


def change(models, boards, families):
    """The same on this side, where the oracle reads the map."""
    names = {}
    exec(CHANGE, names)
    names["change"](models, boards, families)


def another_map(rng, equal):
    """New facts of every model that a row lists, new scores, other families; of the criteria of the order the
    first `equal` say the same of all, so that the next one decides."""
    crowd = int(rng.choice([2, 8]))  # GPUs, of all that need more than one

    def fields(name):
        year, month = int(rng.integers(2018, 2027)) if equal < 3 else 2024, int(rng.integers(1, 13))
        return {
            "permits": str(rng.choice(taxonomy.PERMITS[: None if equal < 1 else 1])),
            "gpus": int(rng.choice([1, 1, crowd])) if equal < 3 else 1,
            "date": f"{year}-{month:02}" if rng.uniform() < 0.7 else f"{year}",
            "retired": "" if rng.uniform() < (0.75 if equal < 1 else 0.95) else "2026-10",
            "openness": str(rng.choice(["open weights", "code", "paper only"])),
            "density": str(rng.choice([ATLAS.models[name].density] * 4 + ["none", "tractable"])),
        }

    def scores():
        return {name: int(rng.integers(900, 1_500)) for name in LISTED if rng.uniform() < 0.5}

    boards = {board: scores() if equal < 2 else {} for board in ATLAS.boards}
    return {name: fields(name) for name in LISTED}, boards, families(rng) if equal < 1 else {}


def families(rng):
    """Half of the families can something else than today."""
    could = {"density": ("tractable", "approximate", "none"), "sampling": tuple(CALLS), "bucket": (1, 2, 5)}
    other = [name for name in FAMILIES if rng.uniform() < 0.5]
    return {name: {field: could[field][int(rng.integers(3))] for field in could} for name in other}


@contextmanager
def changed(student, models, boards, families=MappingProxyType({})):
    """While it lasts the map has other facts, for the answer and for the oracle."""
    there = student.define(CHANGE)
    before = {name: {f: getattr(ATLAS.models[name], f) for f in FIELDS_OF} for name in models}
    scores = {name: dict(ATLAS.boards[name].scores) for name in boards}
    was = {name: {f: getattr(ATLAS.families[name], f) for f in fields} for name, fields in families.items()}
    try:
        there(models, boards, dict(families))
        change(models, boards, families)
        yield
    finally:
        there(before, scores, was)
        change(before, scores, was)


def wish(rng):
    """A task with a few of its entries."""
    some = {
        "likelihood": bool(rng.uniform() < 0.5),
        "seconds": float(rng.choice([0, 0.01, 0.02, 0.5, 1.0, 5.0, 20.0, 60.0])),
        "use": str(rng.choice(taxonomy.PERMITS)),
        "one_gpu": bool(rng.uniform() < 0.6),
        "own_data": bool(rng.uniform() < 0.6),
        "gpu_hours": float(rng.choice([0, 9, 10, 999, 1_000, 5_000])),
    }
    kept = {key: value for key, value in some.items() if rng.uniform() < (0.25 if key in LIMITS else 0.5)}
    return {"domain": str(rng.choice(list(TASKS))), **kept}


LIMITS = ("seconds", "gpu_hours")


def picks(task, row, is_open):
    """The places of the models of a row that meet the criteria, by id."""
    listed, board = (row.open, row.open_board) if is_open else (row.hosted, row.hosted_board)
    alive = [ATLAS.models[name] for name in listed if not ATLAS.models[name].retired]
    if task.get("likelihood"):
        alive = [model for model in alive if is_open and model.density == "tractable"]
    if is_open:
        free = taxonomy.PERMITS[: 1 + taxonomy.PERMITS.index(task.get("use", "no licence stated"))]
        alive = [model for model in alive if model.permits in free]
        alive = [model for model in alive if model.gpus == 1 or not task.get("one_gpu")]
    return {model.id: ranking.place(ATLAS, model, board, is_open) for model in alive}


def training(task, open_ids, hosted):
    """What has to be trained where these models are named."""
    if any(ATLAS.models[name].openness == "open weights" for name in open_ids):
        return "fine-tune" if task.get("own_data") else "none"
    return "from scratch" if task.get("own_data") or not hosted else "none"


def row_for(task):
    """The row of the map that holds for a task, or None; what is named in it is for the criteria to say."""
    extra = ["density-estimation"] if task.get("likelihood") else []
    for row in (ATLAS.tasks[name] for name in (*TASKS[task["domain"]], *extra)):
        family = ATLAS.families[row.family]
        if task.get("likelihood") and (family.density != "tractable" or family.bucket == 5):
            continue
        by_place = sorted(picks(task, row, True).items(), key=lambda item: item[1])
        open_ids, hosted = [name for name, _ in by_place[:3]], picks(task, row, False)
        hours = HOURS[training(task, open_ids, hosted)]
        if 0.02 * CALLS[family.sampling] > task.get("seconds", math.inf) or not (open_ids or hosted):
            continue
        if hours <= task.get("gpu_hours", math.inf):
            return row
    return None


def check(student, task):
    """The advice on a task, or its refusal, is what the criteria say; returns the advice."""
    row = row_for(task)
    if row is None:
        student.raises(ValueError, student.choose, task)
        return None
    advice = entries(student.choose(task))
    assert string(advice["family"]) == row.family and string(advice["failure"]) == row.failure
    named = {}
    for kind in ("open", "hosted"):
        places = picks(task, row, kind == "open")
        named[kind] = listed(advice[kind], str)
        assert set(named[kind]) <= set(places) and len(set(named[kind])) == len(named[kind])
        assert [places[name] for name in named[kind]] == sorted(places.values())[:3]
    budget = entries(advice["budget"])
    wanted = training(task, named["open"], named["hosted"])
    assert string(budget["training"]) == wanted and number(budget["gpu_hours"]) == HOURS[wanted]
    assert number(budget["seconds"]) == pytest.approx(0.02 * CALLS[ATLAS.families[row.family].sampling])
    return advice


@pytest.mark.exercise("choose", weight=1)
def test_every_domain(student, rng):
    """Without a wish: the first row of the domain, the models of the map as it is in the order of the
    criteria, no training where there are open weights or a hosted model."""
    for word in TASKS:
        for more in ({}, {"one_gpu": False, "own_data": False}):
            assert check(student, {"domain": word, **more}) is not None


@pytest.mark.exercise("choose", weight=7, costly=True)
def test_criteria_on_another_map(student, rng):
    """When licences, GPUs, dates, scores, retirements, weights, densities and families change, so does the
    advice, for tasks with any wishes: what is named meets every criterion, stands in the order of section 11,
    where the first criteria do not decide by the next ones, and the first row that holds is taken, the
    second where the first one does not; where none holds, ValueError."""
    refused = 0
    for equal in range(4):
        with changed(student, *another_map(rng, equal)):
            for word in TASKS:
                check(student, {"domain": word})
            for seconds in (0.02, 1.0):
                check(student, {"domain": "picture", "seconds": seconds})
            check(student, {"domain": "essay", "likelihood": True})
            refused += sum(check(student, wish(rng)) is None for _ in range(40 if equal == 0 else 15))
    assert refused


@pytest.mark.exercise("choose", weight=1)
def test_likelihood(student, rng):
    """A likelihood is one of the data: exact, not of codes, of the domain's own family where that has it, and
    never of a hosted model."""
    for word in TASKS:
        for own in (True, False):
            advice = check(student, {"domain": word, "likelihood": True, "own_data": own})
            family = ATLAS.families[string(advice["family"])]
            assert family.density == "tractable" and family.bucket == 1
    check(student, {"domain": "essay", "likelihood": True, "seconds": 1.0})


@pytest.mark.exercise("choose", weight=1)
def test_limits(student, rng):
    """Seconds and GPU hours are limits that may be reached, not passed, 0 of them, too: a faster row is
    taken where there is one, else there is no advice."""
    for word in ("picture", "face", str(rng.choice(["voice", "song", "essay"]))):
        for seconds in (0, 0.01, 0.02, 1.0, 20.0):
            check(student, {"domain": word, "seconds": seconds})
    for word in ("table", str(rng.choice([word for word in TASKS if word != "table"]))):
        for hours in (0, 9, 10, 999, 1_000):
            check(student, {"domain": word, "own_data": True, "gpu_hours": hours})


@pytest.mark.exercise("choose", weight=2)
def test_no_guess(student, rng):
    """An unknown domain, no domain, a misspelt entry and a task with nothing left raise ValueError."""
    word = str(rng.choice(list(TASKS)))
    for task in (
        {"domain": "poem"},
        {},
        {"domain": word, "second": 3.0},
        {"domain": word, "licence": "any use"},
    ):
        student.raises(ValueError, student.choose, task)
    with changed(student, {name: {"retired": "2026-10"} for name in LISTED}, {}):
        student.raises(ValueError, student.choose, {"domain": word})


@pytest.mark.exercise("choose", weight=2)
def test_skill_file(student, rng):
    """The file has a section for each domain with its family, its open and hosted models and what each is
    ranked by (licence, score and month), the failure and the training, and a section of at least three
    refusals, the last one, each with a dash. It says what `choose` says, on a changed map, too, where an
    older file is replaced. The file's folder may be missing, several levels deep, or be there already."""
    clear = student.define("def clear(path):\n    import shutil\n    shutil.rmtree(path, ignore_errors=True)")
    clear("outputs/.made-by-the-test")
    path = "outputs/.made-by-the-test/anew/skill.md"  # not the file that the public test has made
    everything = {name: {"retired": ""} for name in LISTED}
    scores = {board: {name: 1_000 + i for i, name in enumerate(LISTED)} for board in ATLAS.boards}
    for models, boards in (({}, {}), (everything, scores)):
        with changed(student, models, boards):
            student.write_skill(path)
            text = student.read(path, 100_000).decode()
            headings = re.findall(r"^## *(.+?) *$", text, re.MULTILINE)
            assert all(headings.count(word) == 1 for word in TASKS) and headings[-1] == "Refusals"
            sections = dict(re.findall(r"^## *(.+?) *\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
            for word, names in TASKS.items():
                row, section = ATLAS.tasks[names[0]], unwrapped(sections[word])
                advice = check(student, {"domain": word})
                said = [row.family, unwrapped(row.failure), entries(advice["budget"])["training"]]
                said += listed(advice["open"], str) + listed(advice["hosted"], str)
                said += [ATLAS.models[name].permits for name in listed(advice["open"], str)]
                for kind, board in (("open", row.open_board), ("hosted", row.hosted_board)):
                    scored = [
                        n for n in listed(advice[kind], str) if board and n in ATLAS.boards[board].scores
                    ]
                    said += [str(ATLAS.boards[board].scores[name]) for name in scored]
                    said += [ATLAS.boards[board].seen for name in scored]
                assert all(part in section for part in said)
    refusals = re.findall(r"^ *- +(.+)", sections["Refusals"], re.MULTILINE)
    assert len(refusals) >= 3


def unwrapped(text):
    return " ".join(text.split())
