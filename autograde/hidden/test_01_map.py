"""Hidden tests of lesson 01_map. A docstring is what the learner reads when its test fails."""

import itertools
import math
import re
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from autograde.checks import array, entries, from_tensor, gradient, number, parts, string
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


@pytest.mark.exercise("memorised", weight=2)
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
EVERYDAY = ("image", "picture", "photo", "film", "video", "speech", "music", "text")


@pytest.mark.exercise("triage", weight=1, returns={"my_triage": "str"})
def test_complete(student, rng):
    """All five questions are answered for one model of a domain of your own: the texts are ten words or
    more and say different things, density and sampling are words of the lists, and the source is an
    address."""
    mine = {field: string(student.my_triage(field)) for field in FIELDS}
    texts = [mine[field].lower().split() for field in TEXTS]
    assert all(len(words) >= 10 and len(set(words)) >= 8 for words in texts)
    for one, other in itertools.combinations(texts, 2):
        assert len(set(one) & set(other)) < 0.6 * min(len(set(one)), len(set(other)))
    assert mine["density"] in ("tractable", "approximate", "score", "none")
    assert mine["sampling"] in ("one-shot", "iterative", "serial")
    assert mine["domain"].strip() and mine["model"].strip()
    assert not any(word in mine["domain"].lower().split() for word in EVERYDAY)
    assert re.fullmatch(r"https://[\w.-]+\.[a-z]+/\S+", mine["source"])


# --- choose: the rules of the chooser, on briefs in fresh words ---

ATLAS = taxonomy.load()
TASKS = {
    "picture": "text-to-image",
    "face": "faces",
    "film": "text-to-video",
    "voice": "speech",
    "song": "music",
    "essay": "text",
    "scene": "scenes-3d",
    "table": "tabular",
    "molecule": "molecules",
    "protein": "protein",
    "robot": "trajectories",
}
FRAMES = (
    "We need a {} for a customer.",
    "Please make one {}.",
    "Our team wants many {}s next month.",
    "A machine that makes a {}, or two {}s.",
)
DECOYS = (
    "The surface must be suitable, and unforeseeable things happen.",  # holds face, table and see
    "It is a notable, acceptable and songlike invoice.",  # not, table, song, voice within words
    "Robotics and filmstrips are not our trade.",
)
LIKELIHOOD = (
    "We must know the likelihood of each.",
    "Say how probable each one is.",
    "Its likelihood decides.",
)
SPEED = ("It has to run in real time.", "Real time is a must!")
OWN = ("We have a thousand of our own.", "Train it on my own collection.")
DENIED = {
    "likelihood": (
        "No likelihood is needed.",
        "We do not ask how probable they are.",
        "It works without a likelihood.",
    ),
    "speed": ("This is not for real time.", "There is no need for real time."),
    "own": ("There is no data of our own.", "It is done without my own data."),
}


def brief(rng, word, *needs, denied=()):
    """A brief in fresh words, in any case: the domain, a decoy, the needs and denials of other needs."""
    sentences = [str(rng.choice(FRAMES)).format(word, word), str(rng.choice(DECOYS))]
    sentences += [str(rng.choice(need)) for need in needs]
    sentences += [str(rng.choice(DENIED[need])) for need in denied]
    text = " ".join(sentences[i] for i in rng.permutation(len(sentences)))
    return [text, text.upper(), text.lower()][rng.integers(3)]


def advised(student, text):
    """The chooser's advice on a brief."""
    return entries(student.choose(text))


def check_picks(picks, task, is_open, retired):
    """The picks are what stands first by the criteria among what the map lists for a task, in their order."""
    row = ATLAS.tasks[task]
    listed, board = (row.open, row.open_board) if is_open else (row.hosted, row.hosted_board)
    places = {
        name: ranking.place(ATLAS, ATLAS.models[name], board, is_open)
        for name in listed
        if not ATLAS.models[name].retired and name not in retired
    }
    picks = list(picks)
    assert set(picks) <= set(places) and len(set(picks)) == len(picks) == min(3, len(places))
    assert [places[name] for name in picks] == sorted(places.values())[: len(picks)]


def check(advice, task, training, retired=()):
    """The advice is what the map has for this task, by the criteria, with this training."""
    row, budget = ATLAS.tasks[task], entries(advice["budget"])
    assert advice["family"] == row.family
    check_picks(advice["open"], task, True, retired)
    check_picks(advice["hosted"], task, False, retired)
    assert len(string(advice["failure"]).split()) >= 5
    assert budget["training"] == training and 0 < number(budget["seconds"]) <= 3_600
    assert training != "fine-tune" or number(budget["gpu_hours"]) <= 1_000
    assert (number(budget["gpu_hours"]) > 0) == (training != "none") and number(budget["gpu_hours"]) >= 0
    return number(budget["gpu_hours"]), number(budget["seconds"])


def trained(task, retired=()):
    """How a model for this task is trained on own data, where these are retired."""
    alive = [ATLAS.models[name] for name in ATLAS.tasks[task].open if name not in retired]
    return "fine-tune" if any(model.openness == "open weights" for model in alive[:3]) else "from scratch"


def unwrapped(text):
    return " ".join(text.split())


@pytest.mark.exercise("choose", weight=1)
def test_domains(student, rng):
    """A brief that names a domain and no need, or denies the needs that it names, gets the map's family and
    the models that stand first by the criteria for that domain, in their order, and no training. Words that
    only contain a domain's word name no domain."""
    failures = {}
    for word, task in TASKS.items():
        denied = rng.permutation(list(DENIED))[: rng.integers(1, 4)]
        advice = advised(student, brief(rng, word, denied=denied))
        check(advice, task, "none")
        failures.setdefault(ATLAS.tasks[task].family, set()).add(advice["failure"])
    for one, other in itertools.combinations(failures.values(), 2):
        assert not one & other  # two families do not fail in the same way


RETIRE = """def retire(names, month):
    from genmap import taxonomy
    for name in names:
        object.__setattr__(taxonomy.load().models[name], "retired", month)"""


@contextmanager
def retired(student, rng, *tasks):
    """While it lasts one open and one hosted model of each task are retired on the learner's side, though the
    tasks still list them; their ids.
    """
    place, retire = int(rng.integers(3)), student.define(RETIRE)
    rows = [ATLAS.tasks[task] for task in tasks]
    names = [name for row in rows for ids in (row.open, row.hosted) for name in ids[place : place + 1]]
    try:
        retire(names, "2026-12")
        yield names
    finally:
        retire(names, "")


@pytest.mark.exercise("choose", weight=1)
def test_retired(student, rng):
    """When a model is retired after the map was last changed, so that its task still lists it, the chooser no
    longer names it: the next one moves up, and the rest keeps its order."""
    for word in rng.permutation(list(TASKS))[:6]:
        with retired(student, rng, TASKS[word]) as names:
            check(advised(student, brief(rng, word)), TASKS[word], "none", names)
        check(advised(student, brief(rng, word)), TASKS[word], "none")


@pytest.mark.exercise("choose", weight=7)
def test_likelihood(student, rng):
    """Where a likelihood is needed the family computes p(x) and so do the open models, whatever the domain
    and whatever else is needed: no GAN, no score. The other rules hold on, also that on what is retired."""
    task = "density-estimation"
    words = (*rng.choice(list(TASKS), 4, replace=False), "face", "picture")
    for word, own in itertools.product(words, (True, False)):
        others, denied = ([OWN, SPEED], []) if own else ([], ["own"])
        with retired(student, rng, task, TASKS[word]) as names:
            advice = advised(student, brief(rng, word, LIKELIHOOD, *others, denied=denied))
            without = advised(student, brief(rng, word))
        check(advice, task, trained(task, names) if own else "none", names)
        check(without, TASKS[word], "none", names)
        assert advice["failure"] != without["failure"]
        assert ATLAS.families[advice["family"]].density == "tractable"
        assert all(ATLAS.models[model].density == "tractable" for model in advice["open"])


@pytest.mark.exercise("choose", weight=1)
def test_real_time(student, rng):
    """Pictures in real time take a family of few passes and a tenth of a second at most, no autoregression
    over pixels and no dozens of steps. Other domains keep their family."""
    for own in (True, False):
        text = brief(rng, "picture", SPEED, *[OWN] * own, denied=["likelihood"])
        task = "fast-text-to-image"
        assert check(advised(student, text), task, trained(task) if own else "none")[1] <= 0.1
    for word in rng.choice([word for word in TASKS if word != "picture"], 4, replace=False):
        check(advised(student, brief(rng, word, SPEED)), TASKS[word], "none")


@pytest.mark.exercise("choose", weight=1)
def test_training(student, rng):
    """On own data an open model is fine-tuned where its weights are open, and trained from scratch only
    where none of the three is; from scratch costs more than fine-tuning."""
    hours = {"fine-tune": [], "from scratch": []}
    for word, task in TASKS.items():
        advice = advised(student, brief(rng, word, OWN, denied=["likelihood", "speed"]))
        hours[trained(task)].append(check(advice, task, trained(task))[0])
    assert max(hours["fine-tune"]) < min(hours["from scratch"])


@pytest.mark.exercise("choose", weight=1)
def test_no_guess(student, rng):
    """A brief that names no domain, or two, raises ValueError."""
    one, other = rng.choice(list(TASKS), 2, replace=False)
    student.raises(ValueError, student.choose, str(rng.choice(DECOYS)))
    student.raises(ValueError, student.choose, f"{rng.choice(LIKELIHOOD)} {rng.choice(SPEED)}")
    student.raises(ValueError, student.choose, f"{brief(rng, one)} {rng.choice(FRAMES).format(other, other)}")


@pytest.mark.exercise("choose", weight=2)
def test_skill_file(student, rng):
    """The file has a section for each domain with its family, its open and hosted models, a failure and a
    budget, and a section of at least three refusals: a GAN for likelihoods, pixels in real time, training
    from scratch. The file's folder may be missing, several levels deep, or be there already."""
    clear = student.define("def clear(path):\n    import shutil\n    shutil.rmtree(path, ignore_errors=True)")
    clear("outputs/.made-by-the-test")
    path = "outputs/.made-by-the-test/anew/skill.md"  # not the file that the public test has made
    for _ in range(2):
        student.write_skill(path)
    text = student.read(path, 100_000).decode()
    sections = dict(re.findall(r"^## *(.+?) *\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    for word, task in TASKS.items():
        row, section = ATLAS.tasks[task], sections[word]
        assert all(name in section for name in (row.family, *row.hosted[:3]))
        assert sum(model in section for model in row.open) >= 3
        assert "failure" in section.lower() and "budget" in section.lower()
        advice = advised(student, brief(rng, word))
        assert all(part in unwrapped(section) for part in (unwrapped(advice["failure"]), "none"))
    refusals = re.findall(r"^ *[-*] +(.+)", sections["Refusals"], re.MULTILINE)
    assert len(refusals) >= 3
    for word in ("likelihood", "real time", "scratch"):
        assert any(word in refusal.lower() for refusal in refusals)
