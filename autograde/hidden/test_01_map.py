"""Hidden tests of lesson 01_map. A docstring is what the learner reads when its test fails."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from autograde.checks import array, number


def pair(result):
    """The two parts of an answer that must be a pair."""
    assert type(result) in (tuple, list) and len(result) == 2
    return result


# --- interval-mass: the oracle is scipy's distribution function of a histogram ---


def random_histogram(rng):
    """Counts, all positive, and edges of bins whose widths differ widely."""
    K = int(rng.integers(5, 12))
    widths = np.exp(rng.permutation(np.linspace(-1.5, 1.5, K)))
    return rng.integers(1, 60, K), rng.uniform(-5, 5) + np.cumsum(np.append(0, widths))


def mass(student, counts, edges, a, b):
    return number(student.interval_mass(counts, edges, float(a), float(b)))


@pytest.mark.exercise("interval-mass", weight=1)
def test_whole_line(student, rng):
    """The whole line has mass 1, and so have two half-lines together that meet inside a bin."""
    counts, edges = random_histogram(rng)
    for a, b in ((-np.inf, np.inf), (edges[0], edges[-1]), (edges[0] - 1, np.inf)):
        assert mass(student, counts, edges, a, b) == pytest.approx(1)
    cut = rng.uniform(edges[1], edges[-2])
    left, right = mass(student, counts, edges, -np.inf, cut), mass(student, counts, edges, cut, np.inf)
    assert left + right == pytest.approx(1) and left > 0 and right > 0


@pytest.mark.exercise("interval-mass", weight=1)
def test_whole_bins(student, rng):
    """An interval from one edge to another has the share of the samples between them, whatever the widths."""
    counts, edges = random_histogram(rng)
    for _ in range(6):
        i, j = sorted(rng.choice(len(edges), 2, replace=False))
        assert mass(student, counts, edges, edges[i], edges[j]) == pytest.approx(
            counts[i:j].sum() / counts.sum()
        )


@pytest.mark.exercise("interval-mass", weight=2)
def test_within_one_bin(student, rng):
    """An interval inside a single bin has that part of the bin's mass which it covers of the bin's width."""
    counts, edges = random_histogram(rng)
    for k in range(len(counts)):
        a, b = np.sort(rng.uniform(edges[k], edges[k + 1], 2))
        share = (b - a) / (edges[k + 1] - edges[k])
        assert mass(student, counts, edges, a, b) == pytest.approx(
            share * counts[k] / counts.sum(), abs=1e-12
        )


@pytest.mark.exercise("interval-mass", weight=2)
def test_across_bins(student, rng):
    """An interval that starts in one bin, ends in another and may run to infinity adds up their parts."""
    counts, edges = random_histogram(rng)
    counts[rng.integers(1, len(counts) - 1)] = 0
    cdf = stats.rv_histogram((counts, edges), density=False).cdf
    for _ in range(6):
        a, b = rng.uniform(edges[0], edges[2]), rng.uniform(edges[-3], edges[-1])
        assert mass(student, counts, edges, a, b) == pytest.approx(cdf(b) - cdf(a))
        assert mass(student, counts, edges, -np.inf, b) == pytest.approx(cdf(b))
        assert mass(student, counts, edges, a, np.inf) == pytest.approx(1 - cdf(a))


@pytest.mark.exercise("interval-mass", weight=1)
def test_outside_the_edges(student, rng):
    """There is no mass outside the edges: an interval that reaches out counts only its part inside."""
    counts, edges = random_histogram(rng)
    low, high, share = edges[0], edges[-1], counts / counts.sum()
    for a, b in ((-np.inf, low), (low - 3, low - 1), (high, np.inf), (high + 1, high + 2)):
        assert mass(student, counts, edges, a, b) == pytest.approx(0, abs=1e-12)
    third = edges[0] + (edges[1] - edges[0]) / 3
    assert mass(student, counts, edges, low - rng.uniform(1, 9), third) == pytest.approx(share[0] / 3)


@pytest.mark.exercise("interval-mass", weight=2)
def test_split_bins(student, rng):
    """Cutting a bin in two, with its count shared by width, changes no interval's mass."""
    counts, edges = random_histogram(rng)
    k = int(rng.integers(len(counts)))
    finer = np.insert(edges, k + 1, (edges[k] + edges[k + 1]) / 2)
    doubled = np.insert(2 * counts, k, counts[k])
    doubled[k + 1] = counts[k]
    cdf = stats.rv_histogram((counts, edges), density=False).cdf
    for _ in range(4):
        a, b = np.sort(rng.uniform(edges[0], edges[-1], 2))
        for c, e in ((counts, edges), (doubled, finer)):
            assert mass(student, c, e, a, b) == pytest.approx(cdf(b) - cdf(a), abs=1e-12)


@pytest.mark.exercise("interval-mass", weight=1)
def test_backwards(student, rng):
    """An interval that ends before it starts raises ValueError; one that is a single point has mass 0."""
    counts, edges = random_histogram(rng)
    a, b = np.sort(rng.uniform(edges[0], edges[-1], 2))
    assert mass(student, counts, edges, a, b) > 0
    assert mass(student, counts, edges, a, a) == pytest.approx(0, abs=1e-12)
    student.raises(ValueError, student.interval_mass, counts, edges, float(b), float(a))
    student.raises(ValueError, student.interval_mass, counts, edges, math.inf, -math.inf)


# --- implicit: the laws of transformed normal noise are known; limits lie 6 standard deviations out ---


def standard_draws(student, dim, seed, n=2_000):
    """Draws of the model whose g is the identity, which must be standard normal."""
    model = student.Implicit(student.define("def g(z): return z"), dim)
    z = array(model.sample(n, student.generator(seed)), shape=(n, dim))
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-9
    return z


@pytest.mark.exercise("implicit", weight=1)
def test_draws_follow_g(student, rng):
    """The draws are g of standard normal noise: for one seed, the same noise whatever g is."""
    A, shift, seed = rng.normal(size=(3, 2)), rng.normal(size=2), int(rng.integers(2**31))
    source = f"def g(z):\n    import torch\n    A = torch.tensor({A.tolist()}, dtype=z.dtype)\n"
    g = student.define(source + f"    return z @ A + torch.tensor({shift.tolist()}, dtype=z.dtype)")
    x, other = (
        array(student.Implicit(g, 3).sample(2_000, student.generator(s)), shape=(2_000, 2))
        for s in (seed, seed + 1)
    )
    assert x == pytest.approx(standard_draws(student, 3, seed) @ A + shift, rel=1e-4, abs=1e-4)
    assert np.abs(x - other).max() > 0.1


@pytest.mark.exercise("implicit", weight=1)
def test_generator_decides(student, rng):
    """The same seed gives the same draws, another seed others; only the given generator moves on."""
    seed, dim = int(rng.integers(2**31)), int(rng.integers(1, 5))
    first = standard_draws(student, dim, seed)
    assert np.array_equal(first, standard_draws(student, dim, seed))
    assert not np.array_equal(first, standard_draws(student, dim, seed + 1))
    model, g = student.Implicit(student.define("def g(z): return z"), dim), student.generator(seed)
    one, two = (array(model.sample(1, g), shape=(1, dim)) for _ in range(2))
    assert not np.array_equal(one, two)
    probe = student.define(
        "def probe(model, g):\n    import torch\n    before = torch.get_rng_state()\n"
        "    model.sample(3, g)\n    return torch.equal(before, torch.get_rng_state())"
    )
    assert probe(model, g) is True


@pytest.mark.exercise("implicit", weight=2)
def test_mass(student, rng):
    """The mass of a set comes from n draws, is right within its standard error, and states that error."""
    p, n = rng.uniform(0.1, 0.9), int(rng.integers(2_000, 3_000))
    inside = student.define(f"def inside(x): return x[:, 0] < {stats.chi2.ppf(p, 1)}")
    model = student.Implicit(student.define("def g(z): return z.square()"), 2)
    seeds = rng.integers(2**31, size=6)
    answers = [pair(model.mass(inside, n, student.generator(seed))) for seed in (*seeds, seeds[0])]
    found = [tuple(map(number, answer)) for answer in answers]
    for share, error in found:
        assert abs(share - p) < 7 * math.sqrt(p * (1 - p) / n)
        assert share * n == pytest.approx(round(share * n), abs=0.01)
        assert error == pytest.approx(math.sqrt(share * (1 - share) / n), rel=1e-3)
    assert found[0] == found[-1] and len(set(found)) > 1


@pytest.mark.exercise("implicit", weight=2)
def test_refuses(student, rng):
    """log_prob raises TypeError for any input: a batch, one point, and the model's own draws."""
    dim = int(rng.integers(1, 5))
    model = student.Implicit(student.define("def g(z): return z"), dim)
    own = array(model.sample(4, student.generator(0)), shape=(4, dim))
    for x in (rng.normal(size=(7, dim)), rng.normal(size=(1, dim)), own):
        student.raises(TypeError, model.log_prob, torch.tensor(x))


@pytest.mark.exercise("implicit", weight=2)
def test_explains(student, rng):
    """The message of the TypeError names the two methods that can be called instead."""
    probe = student.define(
        "def probe(model, x):\n    try:\n        model.log_prob(x)\n"
        "    except TypeError as refusal:\n        return str(refusal)\n    return ''"
    )
    model = student.Implicit(student.define("def g(z): return z.exp()"), 2)
    message = probe(model, torch.tensor(rng.normal(size=(3, 2))))
    assert isinstance(message, str) and "sample" in message and "mass" in message


# --- bandwidth: the oracle removes the points one by one ---


def loo_scores(points, candidates):
    """The leave-one-out scores, in the slowest way."""
    D, scores = points.shape[1], []
    for h in candidates:
        kept = [((np.delete(points, i, axis=0) - x) ** 2).sum(1) for i, x in enumerate(points)]
        logs = [logsumexp(-d2 / (2 * h * h)) - math.log(len(d2)) for d2 in kept]
        scores.append(np.mean(logs) - D * math.log(h) - D / 2 * math.log(2 * math.pi))
    return np.array(scores)


def check_bandwidth(student, points, candidates, rtol=1e-9):
    """Both parts of the answer for NumPy arrays or tensors; returns the scores."""
    points, candidates = torch.as_tensor(points), torch.as_tensor(candidates)
    best, scores = pair(student.loo_bandwidth(points, candidates))
    scores = array(scores, shape=(len(candidates),))
    wanted = loo_scores(points.double().numpy(), candidates.double().numpy())
    assert scores == pytest.approx(wanted, rel=rtol, abs=10 * rtol)
    chosen = np.abs(candidates.double().numpy() - number(best)).argmin()
    assert number(best) == pytest.approx(candidates[chosen].item(), rel=1e-6)
    assert wanted[chosen] >= wanted.max() - 100 * rtol * np.abs(wanted).max()
    return scores


def with_twins(rng, N, D):
    """N points on a coarse grid, in random order; the first ones occur twice."""
    points = rng.integers(-3, 4, size=(N, D)) / 4
    points[: N // 3] = points[N // 3 : 2 * (N // 3)]
    return rng.permutation(points)


def widths(rng, n=6):
    """Bandwidths in random order, from far too small to far too large."""
    return rng.permutation(np.geomspace(2e-3, 20, n) * rng.uniform(0.8, 1.2, n))


@pytest.mark.exercise("bandwidth", weight=2)
def test_each_point_left_out(student, rng):
    """The scores are those of models fitted N times, each time without one point, in several dimensions."""
    for D in (1, 2, 5):
        check_bandwidth(student, rng.normal(size=(int(rng.integers(5, 30)), D)), widths(rng))


@pytest.mark.exercise("bandwidth", weight=1)
def test_two_points(student, rng):
    """With two points, each is scored under a single kernel on the other."""
    D = int(rng.integers(2, 7))
    x, h = rng.normal(size=(2, D)), widths(rng)
    scores = check_bandwidth(student, x, h)
    assert scores == pytest.approx(
        [stats.multivariate_normal.logpdf(x[0], x[1], s * s * np.eye(D)) for s in h]
    )


@pytest.mark.exercise("bandwidth", weight=3)
def test_twins(student, rng):
    """Points that occur more than once: only the point itself is left out, never its equals."""
    for D in (1, 3):
        check_bandwidth(student, with_twins(rng, int(rng.integers(9, 25)), D), widths(rng))


@pytest.mark.exercise("bandwidth", weight=2)
def test_lonely_point(student, rng):
    """A point very many bandwidths away from all others gives a finite score, the right one."""
    points = np.concatenate([with_twins(rng, 12, 2), rng.normal(size=(1, 2)) + 10 ** rng.uniform(2, 5)])
    check_bandwidth(student, points, widths(rng))


@pytest.mark.exercise("bandwidth", weight=1)
def test_change_of_units(student, rng):
    """Points and bandwidths in another unit: all scores shift by D times the logarithm of the unit."""
    points, h, unit = with_twins(rng, 15, 3), widths(rng), rng.uniform(3, 50)
    scores = check_bandwidth(student, points, h)
    moved = check_bandwidth(student, unit * points + rng.normal(size=3), unit * h)
    assert moved == pytest.approx(scores - 3 * math.log(unit), rel=1e-6)


@pytest.mark.exercise("bandwidth", weight=1)
def test_forms(student, rng):
    """float32, points that are not contiguous in memory, and a single candidate."""
    points = torch.tensor(with_twins(rng, 20, 4), dtype=torch.float32)
    h = torch.tensor(rng.permutation([0.05, 0.2, 0.6, 2.0, 8.0]), dtype=torch.float32)
    check_bandwidth(student, points.T.contiguous().T, h, rtol=1e-5)
    check_bandwidth(student, points[::2, 1:], h[:1], rtol=1e-5)


# --- log-kde: scipy's normal densities, added in log space ---


def kde_problem(rng, D, N=12, M=9):
    """Queries, the last one far out, points, bandwidths, and weights, not normalised and one of them 0."""
    points, h = 2 * rng.normal(size=(N, D)), np.exp(rng.uniform(-1.5, 0.7, N))
    x = points[rng.integers(N, size=M)] + rng.normal(size=(M, D))
    x[-1] += rng.choice([-1, 1], D) * rng.uniform(200, 900)
    w = rng.exponential(size=N) * 7 + 0.1
    w[rng.integers(N)] = 0
    return x, points, h, w


def log_kernels(x, points, h, w):
    """log of each term of the density: (M, N); a term of weight 0 is -inf."""
    D = points.shape[1]
    logs = [stats.multivariate_normal.logpdf(x, p, s * s * np.eye(D)) for p, s in zip(points, h, strict=True)]
    with np.errstate(divide="ignore"):
        return np.stack([np.atleast_1d(log) for log in logs], axis=1) + np.log(w / w.sum())


def log_kde(student, *problem, dtype=torch.float64):
    """The answer for arrays or tensors, checked for its shape and dtype."""
    tensors = [p if isinstance(p, torch.Tensor) else torch.tensor(p, dtype=dtype) for p in problem]
    result = student.log_adaptive_kde(*tensors)
    assert isinstance(result, torch.Tensor) and result.dtype == tensors[0].dtype
    return array(result, shape=(len(tensors[0]),))


@pytest.mark.exercise("log-kde", weight=1)
def test_integrates_to_one(student, rng):
    """The exponential of the answer integrates to 1 over the plane, whatever the bandwidths and weights."""
    x, points, h, w = kde_problem(rng, 2)
    points, h = np.clip(points, -3, 3), np.clip(h, 0.5, 1.5)
    line = np.linspace(-14, 14, 141)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    assert np.exp(log_kde(student, grid, points, h, w)).sum() * (line[1] - line[0]) ** 2 == pytest.approx(1)
    assert log_kde(student, x, points, h, w)[-1] < -100


@pytest.mark.exercise("log-kde", weight=2)
def test_sum_of_normals(student, rng):
    """Near the points the answer is the logarithm of the weighted sum of normal densities, for several D."""
    for D in (2, 3, 6):
        problem = kde_problem(rng, D)
        x = problem[0][:-1]
        wanted = logsumexp(log_kernels(x, *problem[1:]), axis=1)
        assert log_kde(student, x, *problem[1:]) == pytest.approx(wanted, rel=1e-8, abs=1e-8)


@pytest.mark.exercise("log-kde", weight=3)
def test_far_tails(student, rng):
    """Far out, where every term underflows, the answer is finite and right, in float64 and in float32."""
    for D in (1, 2, 4):
        _, points, h, w = kde_problem(rng, D)
        x = rng.normal(size=(6, D)) * 10 ** rng.uniform(2.5, 5, size=(6, 1))
        wanted = logsumexp(log_kernels(x, points, h, w), axis=1)
        assert log_kde(student, x, points, h, w) == pytest.approx(wanted, rel=1e-8)
        single = log_kde(student, x, points, h, w, dtype=torch.float32)
        assert single == pytest.approx(wanted, rel=1e-4)


@pytest.mark.exercise("log-kde", weight=1)
def test_weights(student, rng):
    """Only the ratio of weights counts, weight 0 is absence, a point given twice has twice the weight."""
    x, points, h, w = kde_problem(rng, 3)
    wanted = logsumexp(log_kernels(x, points, h, w), axis=1)
    everything, present = np.arange(len(w)), np.flatnonzero(w)
    twice, half = np.append(everything, present[0]), w.copy()
    half[present[0]] /= 2
    for keep, weights in ((everything, w * rng.uniform(2, 9)), (present, w), (twice, half)):
        again = log_kde(student, x, points[keep], h[keep], weights[keep])
        assert again == pytest.approx(wanted, rel=1e-8, abs=1e-8)


@pytest.mark.exercise("log-kde", weight=2)
def test_far_from_origin(student, rng):
    """Points and queries far from the origin, in float32 with small bandwidths, keep their digits."""
    origin = rng.choice([-1, 1], 3) * rng.uniform(5e3, 1e4, 3)
    points = torch.tensor(origin + rng.normal(size=(60, 3)), dtype=torch.float32)
    x = torch.tensor(origin + rng.normal(size=(40, 3)), dtype=torch.float32)
    h, w = (torch.tensor(v, dtype=torch.float32) for v in (rng.uniform(0.1, 0.3, 60), rng.uniform(1, 5, 60)))
    wanted = logsumexp(log_kernels(*(v.double().numpy() for v in (x, points, h, w))), axis=1)
    assert log_kde(student, x, points, h, w) == pytest.approx(wanted, rel=1e-3, abs=1e-3)


@pytest.mark.exercise("log-kde", weight=1)
def test_gradient(student, rng):
    """The gradient in x is finite and right, near the points and far out."""
    x, points, h, w = kde_problem(rng, 3)
    terms = log_kernels(x, points, h, w)
    share = np.exp(terms - logsumexp(terms, axis=1, keepdims=True))[:, :, None]  # (M, N, 1)
    pull = (points - x[:, None]) / h[:, None] ** 2  # (M, N, D)
    tensors = [torch.tensor(v, dtype=torch.float64) for v in (x, points, h, w)]
    slope = array(student.grad(student.log_adaptive_kde, 0, *tensors), shape=x.shape)
    assert slope == pytest.approx((share * pull).sum(1), rel=1e-6, abs=1e-6)


@pytest.mark.exercise("log-kde", weight=1)
def test_shapes(student, rng):
    """One query, one point, and tensors that are not contiguous in memory."""
    x, points, h, w = kde_problem(rng, 4)
    wanted = logsumexp(log_kernels(x, points, h, w), axis=1)
    assert log_kde(student, x[-1:], points, h, w) == pytest.approx(wanted[-1:], rel=1e-8)
    across = [torch.tensor(np.ascontiguousarray(v.T)).T for v in (x, points)]
    apart = [torch.tensor(np.repeat(v, 2))[::2] for v in (h, w)]
    assert log_kde(student, *across, *apart) == pytest.approx(wanted, rel=1e-8, abs=1e-8)
    one = np.argmax(w)
    alone = stats.multivariate_normal.logpdf(x, points[one], h[one] ** 2 * np.eye(4))
    assert log_kde(student, x, points[one : one + 1], h[one : one + 1], w[one : one + 1]) == pytest.approx(
        alone
    )


# --- memorised: scipy's Mann-Whitney statistic of the distances ---


def check_copy_score(student, train, test, generated):
    """Both parts of the answer for NumPy arrays or tensors; returns them."""
    train, test, generated = (torch.as_tensor(v) for v in (train, test, generated))
    share, z = map(number, pair(student.copy_score(train, test, generated)))
    d_test, d_generated = (cdist(v.double(), train.double()).min(1) for v in (test, generated))
    m, n = len(generated), len(test)
    wins = stats.mannwhitneyu(d_test, d_generated).statistic / (m * n)
    assert share == pytest.approx(wins, abs=1e-6)
    assert z == pytest.approx((wins - 0.5) * math.sqrt(12 * m * n / (m + n + 1)), abs=1e-4)
    return share, z


def levels(rng, n, D, spread=3):
    """n points on whole numbers, as pixels are: equal distances are common."""
    return np.round(rng.normal(size=(n, D)) * spread)


def sizes(rng):
    """Three different numbers of points: train, test, generated."""
    return int(rng.integers(30, 50)), int(rng.integers(12, 20)), int(rng.integers(21, 30))


@pytest.mark.exercise("memorised", weight=2)
def test_every_pair_and_tie(student, rng):
    """Every generated point is compared with every held-out one; where distances are equal, half a win."""
    for D in (1, 2, 4):
        N, n, m = sizes(rng)
        check_copy_score(student, levels(rng, N, D, 5), levels(rng, n, D, 5), levels(rng, m, D, 4))


@pytest.mark.exercise("memorised", weight=1)
def test_copies(student, rng):
    """Training points handed out again, exactly or with a little noise, give the largest share and z."""
    N, n, m = sizes(rng)
    train, test = 5 * rng.normal(size=(N, 6)), 5 * rng.normal(size=(n, 6))
    copies = train[rng.integers(N, size=m)]
    for noise in (0, 1e-4):
        share, z = check_copy_score(student, train, test, copies + noise * rng.normal(size=(m, 6)))
        assert share == pytest.approx(1) and z == pytest.approx(math.sqrt(3 * m * n / (m + n + 1)))


@pytest.mark.exercise("memorised", weight=1)
def test_exchange(student, rng):
    """Held-out and generated points exchanged: the share becomes 1 minus the share, z changes its sign."""
    N, n, m = sizes(rng)
    train, test, generated = (levels(rng, size, 3) for size in (N, n, m))
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
    """Turning, stretching and moving all data together changes nothing."""
    N, n, m = sizes(rng)
    data = [rng.normal(size=(size, 5)) * 0.7**k for k, size in enumerate((N, n, m))]
    share, z = check_copy_score(student, *data)
    turn, shift = np.linalg.qr(rng.normal(size=(5, 5)))[0] * rng.uniform(3, 9), rng.uniform(-5, 5, 5)
    moved = check_copy_score(student, *(v @ turn + shift for v in data))
    assert moved == pytest.approx((share, z), abs=1e-4)


@pytest.mark.exercise("memorised", weight=1)
def test_batch_of_one(student, rng):
    """float32, tensors that are not contiguous in memory, a single generated or held-out point."""
    N, n, m = sizes(rng)
    train, test, generated = (
        torch.tensor(levels(rng, size, 4, 2), dtype=torch.float32) for size in (N, n, m)
    )
    check_copy_score(student, train.T.contiguous().T, test.T.contiguous().T, generated[::2])
    check_copy_score(student, train, test, generated[:1])
    check_copy_score(student, train, test[:1], generated)
