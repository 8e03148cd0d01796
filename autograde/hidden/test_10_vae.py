"""Hidden tests of lesson 10_vae. A docstring is what the learner reads when its test fails."""

import math

import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from autograde.checks import array, from_tensor, gradient, number, parts
from autograde.relations import (
    any_level,
    any_unit,
    both_types,
    generator_decides,
    gradient_is_slope,
    rows_alone,
    strided,
)
from autograde.training import learned, train


def tensor(value):
    return torch.tensor(np.asarray(value, dtype=np.float64))


# --- kl-normals: the oracle is the formula, one pair at a time, in NumPy; and laws that need none ---


def factors(rng, N, D, spread=1.0):
    """Cholesky factors of strongly correlated covariances, (N, D, D)."""
    L = np.tril(rng.normal(size=(N, D, D)), -1)
    L[:, range(D), range(D)] = np.exp(spread * rng.normal(size=(N, D)))
    return L


def normal_pair(rng, N, D):
    mu_q, mu_p = rng.normal(size=(2, N, D))
    return mu_q, factors(rng, N, D), mu_p, factors(rng, N, D, 0.3)


def wide_pair(rng, D, narrow):
    """One pair in many dimensions; the logarithm of a narrow one's determinant is below -1,000."""
    mu_q, mu_p = 0.1 * rng.normal(size=(2, 1, D))
    L_q, L_p = (factors(rng, 1, D, 0.2) * (0.1 / math.sqrt(D)) for _ in range(2))
    for L, small in ((L_q, narrow != 1), (L_p, narrow != 0)):
        L[:, range(D), range(D)] *= 10 * math.sqrt(D)
        L *= 0.05 if small else 1
    return mu_q, L_q, mu_p, L_p


def kl_reference(mu_q, L_q, mu_p, L_p):
    """By systems of linear equations, pair by pair."""
    found = []
    for m, L, n, K in zip(mu_q, L_q, mu_p, L_p, strict=True):
        both = np.linalg.solve(K, np.column_stack([L, m - n]))  # never K K^T: it is far worse conditioned
        logs = np.log(np.diag(K)).sum() - np.log(np.diag(L)).sum()
        found.append(0.5 * ((both**2).sum() - len(m)) + logs)
    return np.array(found)


def kl(student, pair):
    return array(student.kl_normals(*map(tensor, pair)), (len(pair[0]),))


@pytest.mark.exercise("kl-normals", weight=2, costly=True, returns={"kl_normals": "(N,)"})
def test_full_covariances(student, rng):
    """The divergence of any two normals with full covariances, in one dimension and in hundreds, where no
    float holds a determinant, for one pair and for many; which of the two is q matters."""
    for N, D in ((1, 1), (7, 3), (1, 6), (4, 2)):
        pair = normal_pair(rng, N, D)
        assert kl(student, pair) == pytest.approx(kl_reference(*pair), rel=1e-8, abs=1e-8)
    for narrow in (0, 1, 2):  # q alone, p alone, both
        pair = wide_pair(rng, 400, narrow)
        assert kl(student, pair) == pytest.approx(kl_reference(*pair), rel=1e-8)


@pytest.mark.exercise("kl-normals", weight=2)
def test_change_of_units(student, rng):
    """The divergence of equal normals is 0; a change of units, the same for both, changes nothing; each pair
    counts for itself, and means and factors that are not contiguous in memory give the same."""
    for N, D in ((3, 3), (1, 5)):
        pair = normal_pair(rng, N, D)
        for some in (pair, (*pair[:2], *pair[:2])):
            assert kl(student, some) == pytest.approx(kl_reference(*some), rel=1e-8, abs=1e-8)
            units = lambda c: student.kl_normals(*(tensor(c * v) for v in some))  # noqa: B023, E731
            any_unit(units, units=(1e-3, 1e3), rel=1e-7, abs=1e-7)
        for relation in (strided, rows_alone):
            relation(student.kl_normals, *map(tensor, pair), rel=1e-8, abs=1e-8)


# --- laplace: the oracle is the inverse of the distribution function, with sixty digits ---


def deviations(u):
    """Of the standard Laplace distribution, the numbers below which it has the masses u: it is symmetric,
    and its tails fall off exponentially."""
    with mp.workdps(60):
        below = [mp.log(2 * mpf(v)) if v < 0.5 else -mp.log(2 * (1 - mpf(v))) for v in map(float, u.ravel())]
    return np.array(below, dtype=float).reshape(u.shape)


def laplace_problem(rng, n):
    return rng.normal(size=n) * 3, rng.normal(size=n), rng.uniform(0.01, 0.99, n)


def check_laplace(student, mu, s, u):
    z, log_q = parts(student.draw_laplace(tensor(mu), tensor(s), tensor(u)), 2)
    t = deviations(u)
    assert array(z, mu.shape) == pytest.approx(mu + np.exp(s) * t, rel=1e-8, abs=1e-8)
    assert array(log_q, mu.shape) == pytest.approx(-np.abs(t) - s - math.log(2), rel=1e-8, abs=1e-8)


@pytest.mark.exercise("laplace", weight=2, returns={"draw_laplace": "shape 0, shape 0"})
def test_inverse_of_the_distribution_function(student, rng):
    """z is the number below which the Laplace distribution has the mass u, for every centre and width, and
    log q is its log density there; in any shape and memory layout."""
    for n in (1, 50):
        check_laplace(student, *laplace_problem(rng, n))
    mu, s, u = laplace_problem(rng, 12)
    grid = [v.reshape(3, 4) for v in (mu, s, u)]
    check_laplace(student, *grid)
    strided(lambda *v: parts(student.draw_laplace(*v), 2), *map(tensor, grid), rel=1e-8, abs=1e-8)
    check_laplace(student, mu, s, np.repeat([0.001, 0.3, 0.5, 0.999], 3))
    check_laplace(student, mu, rng.permutation(np.linspace(-8, 8, 12)), u)


WEIGHED = "def weighed(f, mu, s, u, g, part):\n    return g * list(f(mu, s, u))[part] + 0 * mu"


@pytest.mark.exercise("laplace", weight=2)
def test_gradients(student, rng):
    """Gradients reach the centre and the width through z, as finite differences say, and the width
    through log q; the density at z does not change where the centre moves, for z moves with it."""
    problem = laplace_problem(rng, 20)
    check_laplace(student, *problem)
    given, g = [*map(tensor, problem)], tensor(rng.normal(size=20))
    for found in parts(student.draw_laplace(*given), 2):
        from_tensor(found, (20,))
    for wrt, part in ((1, 0), (1, 1), (2, 0), (2, 1)):
        weighed = student.define(WEIGHED)
        gradient_is_slope(weighed, wrt, student.draw_laplace, *given, g, part, rng=rng, rel=1e-6, abs=1e-6)


# --- grey-levels: the oracle is the definition, with sixty digits or more ---


def exact_level(x, m, s, K):
    """log P(x) by mpmath, from the definition."""
    with mp.workdps(1500 if abs(x - m) * math.exp(-s) > 100 else 80):
        below = lambda v: 1 / (1 + mp.exp(-(mpf(v) - mpf(m)) * mp.exp(-mpf(s))))  # noqa: E731
        upper = mpf(1) if x == K - 1 else below(x + 0.5)
        lower = mpf(0) if x == 0 else below(x - 0.5)
        return float(mp.log(upper - lower))


def check_levels(student, x, m, s, K):
    got = array(student.log_levels(tensor(x), tensor(m), tensor(s), K), np.shape(x))
    wanted = [exact_level(*map(float, v), K) for v in zip(*map(np.ravel, (x, m, s)), strict=True)]
    assert got.ravel() == pytest.approx(np.array(wanted), rel=1e-7, abs=1e-9)


@pytest.mark.exercise("grey-levels", weight=2, returns={"log_levels": "shape 0"})
def test_levels_add_up(student, rng):
    """The probabilities of all levels add up to 1, for any number of levels from two on, and wherever the
    mean lies; each is the mass between its two edges."""
    for K in (2, 3, 17, int(rng.integers(30, 256))):
        x = np.arange(K, dtype=float)
        for m in (rng.uniform(0, K - 1), -3.0, K + 2.0):
            s = np.full(K, rng.uniform(-1, 2))
            got = array(student.log_levels(tensor(x), tensor(np.full(K, m)), tensor(s), K), (K,))
            assert np.exp(got).sum() == pytest.approx(1)
            some = rng.choice(K, min(K, 5), replace=False)
            check_levels(student, x[some], np.full(len(some), m), s[some], K)


@pytest.mark.exercise("grey-levels", weight=1, costly=True)
def test_far_and_wide(student, rng):
    """Hundreds of scales from the mean, on either side and at either end, for scales a billion levels wide
    and far wider, and for scales a millionth of a level wide, the logarithm is finite and has its digits."""
    K = 256
    x = np.array([0.0, 255.0, 17.0, 200.0, 100.0, 100.0, 0.0, 255.0])
    m = np.array([250.0, 3.0, 240.0, 20.0, 90.0, 110.0, 300.0, -300.0]) + rng.uniform(-1, 1, 8)
    for s in (-1.0, 0.0, rng.uniform(18, 22), 40.0, 100.0):
        check_levels(student, x, m, np.full(8, s), K)
    s = np.array([-7.2, -8.2, -11.0, -14.0])
    check_levels(student, np.full(4, 100.0), 100.5 + rng.uniform(2, 20, 4) * np.exp(s), s, K)


@pytest.mark.exercise("grey-levels", weight=2)
def test_gradient_is_finite(student, rng):
    """The gradient in mean and scale is that of finite differences, and finite far out in the tails; the
    shape may be any, and so may the memory layout."""
    K = 17
    x = rng.integers(0, K, (4, 5)).astype(float)
    x[0, :2] = 0, K - 1
    given = [*map(tensor, (x, rng.uniform(0, K, (4, 5)), rng.uniform(-0.5, 1.5, (4, 5))))]
    check_levels(student, *(v.numpy() for v in given), K)
    strided(lambda *v: student.log_levels(*v, K), *given, rel=1e-7, abs=1e-9)
    far = np.array([0.0, 16, 8, 8]), np.array([2e3, -2e3, 2e3, -2e3]) + rng.uniform(-1, 1, 4), np.zeros(4)
    distance = far[0] + np.array([0.5, -0.5, 0.5, -0.5]) - far[1]
    for wrt, wanted in ((1, np.sign(distance)), (2, np.abs(distance))):
        gradient_is_slope(student.log_levels, wrt, *given, K, rng=rng, rel=1e-5)
        steep = array(gradient(student, student.log_levels, wrt, *map(tensor, far), K), (4,))
        exact = slice(2 if wrt == 2 else 4)  # between the ends the scale has a slope of its own
        assert steep[exact] == pytest.approx(wanted[exact], rel=1e-6)


# --- jackknife: the oracle leaves out one after the other, with exact exponents ---


def slow_jackknife(column):
    """One column by mpmath: k L_k - (k - 1) times the mean of the L_{k-1}."""
    with mp.workdps(60):
        w = [mp.exp(mpf(float(v))) if v > -np.inf else mpf(0) for v in column]
        k = len(w)
        rest = [mp.log(sum(w[:i] + w[i + 1 :]) / (k - 1)) for i in range(k)]
        return float(k * mp.log(sum(w) / k) - (k - 1) * sum(rest) / k)


def one_above(rng, k):
    """Columns in each of which one log weight is the largest, exactly 10 above the smallest."""
    log_w = rng.uniform(0, 0.5, (k, k))
    log_w[(np.arange(k) + 1) % k, range(k)] = 0
    log_w[range(k), range(k)] = 10
    return log_w


def check_jackknife(student, log_w):
    got = array(student.jackknife(tensor(log_w)), (log_w.shape[1],))
    wanted = [slow_jackknife(column) for column in log_w.T]
    assert got == pytest.approx(np.array(wanted), rel=1e-9, abs=1e-7)


@pytest.mark.exercise("jackknife", weight=2, returns={"jackknife": "(N,)"})
def test_leave_one_out(student, rng):
    """It is k times the bound of all, less k - 1 times the mean of the bounds without one; each column for
    itself, for two draws and for many, also where one weight is far above the others."""
    for k, N in ((2, 5), (3, 1), (25, 4)):
        check_jackknife(student, rng.normal(size=(k, N)) * rng.uniform(0.3, 1, N))
    for k in (2, 3, 7):
        check_jackknife(student, one_above(rng, k))


@pytest.mark.exercise("jackknife", weight=2)
def test_log_space(student, rng):
    """All weights of a picture may be tiny or huge, thousands of nats away from those of the others, and one
    may be ten nats above the rest. The memory layout may be any."""
    log_w = rng.normal(size=(7, 6))
    log_w[rng.integers(7), :3] += rng.uniform(2, 4, 3)
    check_jackknife(student, log_w - 5_000)
    check_jackknife(student, one_above(rng, 5))
    any_level(lambda c: student.jackknife(tensor(log_w + c)), 1, (-2e4, 2e4), rel=1e-9, abs=1e-7)
    rows_alone(lambda w: student.jackknife(w.T), tensor(log_w.T), apart=3_000.0, rel=1e-9, abs=1e-7)
    strided(student.jackknife, tensor(log_w), rel=1e-9, abs=1e-7)


# --- slerp: laws of angles and lengths, measured with arctan of norms, which sees small angles ---


def angle(u, v):
    """The angle between rows, exact near 0 and near pi."""
    u, v = (w / np.linalg.norm(w, axis=1, keepdims=True) for w in (u, v))
    return 2 * np.arctan2(np.linalg.norm(u - v, axis=1), np.linalg.norm(u + v, axis=1))


def arc(student, a, b, t):
    return array(student.slerp_batch(tensor(a), tensor(b), tensor(t)), a.shape)


def arc_problem(rng, N, D):
    """Vectors of different lengths, and a t for each pair."""
    a, b = (rng.normal(size=(N, D)) * rng.uniform(0.1, 30, (N, 1)) for _ in range(2))
    return a, b, rng.uniform(0.02, 0.98, N)


def check_arc(student, a, b, t):
    got = arc(student, a, b, t)
    length = (1 - t) * np.linalg.norm(a, axis=1) + t * np.linalg.norm(b, axis=1)
    whole = angle(a, b)
    assert np.linalg.norm(got, axis=1) == pytest.approx(length, rel=1e-7)
    assert angle(a, got) == pytest.approx(t * whole, rel=1e-5, abs=1e-7)
    assert angle(got, b) == pytest.approx((1 - t) * whole, rel=1e-5, abs=1e-7)


def check_small(student, rng, D, least, opposite):
    """Pairs that are nearly parallel, or nearly opposite: by so much, 0.5 at most, on a known circle."""
    N = 24
    off = np.exp(rng.uniform(math.log(least), math.log(0.5), N))
    off[:2] = 3 * least, 0.1
    u, side = rng.normal(size=(2, N, D))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    for _ in range(2):  # once more, for the digits that the first time loses
        side -= u * (u * side).sum(1, keepdims=True)
        side /= np.linalg.norm(side, axis=1, keepdims=True)
    t = np.where(rng.random(N) < 0.5, rng.uniform(0.1, 0.35, N), rng.uniform(0.65, 0.9, N))
    size_a, size_b = rng.uniform(0.5, 3, (2, N))
    whole = math.pi - off if opposite else off
    end = np.cos(off) * (-1 if opposite else 1)
    b = size_b[:, None] * (end[:, None] * u + np.sin(off)[:, None] * side)
    got = arc(student, size_a[:, None] * u, b, t) / ((1 - t) * size_a + t * size_b)[:, None]
    wanted = np.cos(t * whole)[:, None] * u + np.sin(t * whole)[:, None] * side
    assert got == pytest.approx(wanted, rel=0, abs=1e-8)
    assert (got * side).sum(1) == pytest.approx(np.sin(t * whole), rel=1e-6)


@pytest.mark.exercise("slerp", weight=1, returns={"slerp_batch": "(N, D)"})
def test_even_pace(student, rng):
    """The angle to a grows evenly with t and that to b falls evenly, also where the vectors are nearly
    parallel or nearly opposite; the length changes linearly; each row has its own t and its own lengths."""
    for D in (2, 3):
        check_small(student, rng, D, 1e-7, False)
        check_small(student, rng, D, 1e-4, True)
    for N, D in ((1, 2), (20, 3), (10, 16)):
        a, b, t = arc_problem(rng, N, D)
        check_arc(student, a, b, t)
        assert arc(student, a, b, np.zeros(N)) == pytest.approx(a, rel=1e-7, abs=1e-7)
        assert arc(student, a, b, np.ones(N)) == pytest.approx(b, rel=1e-7, abs=1e-7)


@pytest.mark.exercise("slerp", weight=1)
def test_parallel_rows(student, rng):
    """For parallel vectors the direction stays and the length changes, and rows beside them, at small angles
    or large ones, keep an even pace; each row alone gives the same, in any unit and any memory layout."""
    a, b, t = arc_problem(rng, 9, 5)
    b[:3] = a[:3] * np.array([[0.5], [1], [4]])  # exactly parallel, as rounding leaves them
    b[3:6] = 3 * a[3:6] + 0.01 * rng.normal(size=(3, 5))
    wanted = a[:3] + t[:3, None] * (b[:3] - a[:3])
    assert arc(student, a, b, t)[:3] == pytest.approx(wanted, rel=1e-7, abs=1e-7)
    check_arc(student, a[3:], b[3:], t[3:])
    a, b, t = map(tensor, (a, b, t))
    any_unit(lambda c: student.slerp_batch(c * a, c * b, t), 1, (1e-3, 1e3), rel=1e-7, abs=1e-7)
    for relation in (strided, rows_alone):
        relation(student.slerp_batch, a, b, t, rel=1e-7, abs=1e-7)


# --- repair: the oracle is Bernoulli and normal by NumPy, in float64 ---

DECODER = (
    "def decode_with(loss, x, mu, log_var, W, eps):\n    import torch\n"
    "    return loss(x, mu, log_var, lambda z: (z @ W).reshape(len(z), *x.shape[1:]), eps)"
)


def loss_problem(rng, shape, D):
    x = rng.integers(0, 2, shape).astype(float)
    mu, log_var, eps = rng.normal(size=(3, shape[0], D))
    return x, mu, log_var, rng.normal(size=(D, int(np.prod(shape[1:])))), eps


def wanted_loss(x, mu, log_var, W, eps):
    logits = ((mu + np.exp(log_var / 2) * eps) @ W).reshape(len(x), -1)
    cost = np.logaddexp(0, np.where(x.reshape(len(x), -1) == 1, -logits, logits)).sum(1)
    rate = 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).sum(1)
    return (cost + rate).mean()


def check_loss(student, problem):
    decode_with = student.define(DECODER)
    got = decode_with(student.vae_loss, *map(tensor, problem))
    assert number(got) == pytest.approx(wanted_loss(*problem), rel=1e-8, abs=1e-8)


@pytest.mark.exercise("repair", weight=2)
def test_value(student, rng):
    """The loss is the mean over the batch of -ELBO: sums over all pixels and all coordinates, and z drawn
    with the deviation that the log variance says, however small or large it is; for one picture and for many,
    flat or not, in any memory layout, and in float32, too."""
    for shape, D in (((1, 5), 2), ((6, 1, 4, 4), 3), ((4, 30), 1)):
        check_loss(student, loss_problem(rng, shape, D))
    problem = [*map(tensor, loss_problem(rng, (6, 1, 4, 4), 3))]
    loss = lambda *v: number(student.define(DECODER)(student.vae_loss, *v))  # noqa: E731
    strided(loss, *problem, rel=1e-8)
    both_types(loss, *problem, rel=1e-5)
    x, mu, log_var, W, eps = loss_problem(rng, (3, 5), 2)
    for v in (-70.0, 40, 70):  # the decoder is as steep as the deviation is small
        check_loss(student, (x, 0 * mu, np.full_like(log_var, v), math.exp(-v / 2) * W, eps))


@pytest.mark.exercise("repair", weight=1)
def test_sure_decoders(student, rng):
    """Logits of a thousand, right or wrong, give a finite loss of the right size."""
    x, mu, log_var, W, eps = loss_problem(rng, (5, 12), 2)
    for scale in (50, 500):
        check_loss(student, (x, mu, log_var, scale * W, eps))


@pytest.mark.exercise("repair", weight=1)
def test_descends(student, rng):
    """Its gradient in mean and log variance is that of finite differences."""
    problem = loss_problem(rng, (3, 8), 2)
    check_loss(student, problem)
    from_tensor(student.define(DECODER)(student.vae_loss, *map(tensor, problem)))
    for wrt in (2, 3):
        loss = student.define(DECODER)
        gradient_is_slope(loss, wrt, student.vae_loss, *map(tensor, problem), rng=rng, rel=1e-5)


# --- counts: the oracles are the Poisson density, the mean of a log-normal number, and a grid for z ---

LINEAR = """
def linear(elbo, x, V, v, W, w, eps, centre=0.0):
    encoder = lambda x: (x - centre * x.mean(0)) @ V + v
    return elbo(x, encoder, lambda z: (z - centre * z.mean(0)) @ W + w, eps)
"""
PLAIN = (
    "def encoder(x):\n    return 0 * x[:, :2]\n",
    "def decoder(z):\n    return z.expand(-1, 3)\n",
)
SIZES = (0, 2, 25, 200, 1_000, 100_000)  # of counts


def count_problem(rng, N, D, K):
    """Counts of several sizes, and linear networks whose rates and variances are moderate."""
    x = rng.poisson(rng.uniform(0.2, 4, D), (N, D)).astype(float)
    V, v = 0.05 * rng.normal(size=(D, 2 * K)), 0.3 * rng.normal(size=2 * K)
    return x, V, v, 0.5 * rng.normal(size=(K, D)), 0.5 * rng.normal(size=D), rng.normal(size=(N, K))


def large_problem(rng):
    """Rows of counts of each size, for which the encoder is as flat as the counts are large."""
    _, V, *others, _ = count_problem(rng, 1, 3, 2)
    sizes = np.repeat(SIZES, 4)[:, None]
    x = np.round(sizes * rng.uniform(0.9, 1.1, (len(sizes), 3)))
    return x, V / max(SIZES), *others, rng.normal(size=(len(x), 2))


def steep_problem(rng, level):
    """All log variances at a level; a decoder as steep as the deviation is small, and rates of all sizes."""
    x, V, v, W, _, eps = count_problem(rng, 6, 4, 2)
    v = np.array([0, 0, level, level])
    w = rng.permutation([-28.0, -9.0, 4.0, 6.5])
    return x + 1, 0 * V, v, 0.5 * math.exp(-level / 2) * W, w, np.clip(eps, -1.5, 1.5)


def log_factorials(x):
    return np.vectorize(math.lgamma)(x + 1)


def wanted_elbo(x, V, v, W, w, eps, centre=0.0):
    """By NumPy: the Poisson density at the draw, less the divergence."""
    mu, log_var = np.split((x - centre * x.mean(0)) @ V + v, 2, axis=1)
    z = mu + np.exp(log_var / 2) * eps
    log_rate = (z - centre * z.mean(0)) @ W + w
    rate = 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).sum(1)
    return (x * log_rate - np.exp(log_rate) - log_factorials(x)).sum(1) - rate


def expected_elbo(x, V, v, W, w):
    """Its mean over eps: log rates are normal, so that the mean of a rate is that of a log-normal number."""
    mu, log_var = np.split(x @ V + v, 2, axis=1)
    mean = mu @ W + w
    rates = np.exp(mean + 0.5 * np.exp(log_var) @ W**2)
    rate = 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).sum(1)
    return (x * mean - rates - log_factorials(x)).sum(1) - rate


def log_p_counts(x, log_rates, z):
    """log p(x) of one hidden number by the sum over an even grid: (N, D), (G, D), (G,) -> (N,)."""
    joint = x @ log_rates.T - np.exp(log_rates).sum(1) - 0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    top = joint.max(1, keepdims=True)
    total = top[:, 0] + np.log(np.exp(joint - top).sum(1) * (z[1] - z[0]))
    return total - log_factorials(x).sum(1)


def gap_of_guess(x, V, v, W, w, log_p):
    """KL(q || posterior) for one hidden number, by the sum over a grid around each row's own q: (N,)."""
    mu, log_var = np.split(x @ V + v, 2, axis=1)
    t = np.linspace(-25, 25, 5001)  # wide: a mean rate may come from far out
    sigma = np.exp(log_var / 2)
    z = mu + sigma * t  # (N, G)
    log_q = -0.5 * t**2 - 0.5 * log_var - 0.5 * math.log(2 * math.pi)
    log_rates = z[:, :, None] @ W + w
    log_joint = (x[:, None] * log_rates - np.exp(log_rates)).sum(2) - log_factorials(x).sum(1)[:, None]
    log_joint = log_joint - 0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    mean = (np.exp(log_q) * (log_q - log_joint)).sum(1) * (t[1] - t[0]) * sigma[:, 0]
    return mean + log_p


def elbo_of(student, *problem):
    return student.define(LINEAR)(student.count_elbo, *problem)


def check_bounds(student, rng):
    """Draws' bounds against the formula, with all kinds of counts and networks."""
    problems = [count_problem(rng, *sizes) for sizes in ((1, 6, 1), (5, 3, 2), (7, 1, 3))]
    problems += [large_problem(rng), *(steep_problem(rng, v) for v in (-40.0, -20, -10, -4, 3, 8))]
    problems.append((*count_problem(rng, 5, 3, 2), 1.0))  # networks that subtract the mean of the batch
    for problem in problems:
        got = array(elbo_of(student, *map(tensor, problem)), (len(problem[0]),))
        assert got == pytest.approx(wanted_elbo(*problem), rel=1e-8, abs=1e-8)
    ordinary = map(tensor, count_problem(rng, 6, 4, 2))
    both_types(lambda *v: elbo_of(student, *v), *ordinary, rel=1e-4, abs=1e-4)


@pytest.mark.exercise("counts", weight=3, returns={"count_elbo": "like 0 (N,)"})
def test_bound_of_a_draw(student, rng):
    """A draw's bound is the log probability of the counts under the Poisson rates that the decoder gives for
    that draw, less the divergence, for each row by itself: for one hidden number and for several, for one row
    and for many, for counts of 0 and of a hundred thousand, for tiny and large variances and rates, for
    networks that look at the whole batch, in any memory layout and in float32, too."""
    check_bounds(student, rng)
    x, *networks, eps = map(tensor, count_problem(rng, 6, 4, 2))
    bound = lambda x, eps: elbo_of(student, x, *networks, eps)  # noqa: E731
    for relation in (strided, rows_alone):
        relation(bound, x, eps, rel=1e-8, abs=1e-8)
    x, eps = rng.poisson(2, (5, 3)).astype(float), rng.normal(size=(5, 1))
    found = array(student.count_elbo(tensor(x), *map(student.define, PLAIN), tensor(eps)), (5,))
    nothing = np.zeros((3, 2)), np.zeros(2), np.ones((1, 3)), np.zeros(3)
    assert found == pytest.approx(wanted_elbo(x, *nothing, eps), rel=1e-8)


@pytest.mark.exercise("counts", weight=1, costly=True)
def test_mean_of_draws_is_a_bound(student, rng):
    """Each draw's bound is right, and the mean over the noise is what the law of the rates says, in closed
    form; it lies below the exact log probability of the counts, by no more than the guess is off; and its
    gradient in the weights of the encoder and of the decoder is its slope."""
    check_bounds(student, rng)
    x, V, v, W, w, _ = count_problem(rng, 8, 6, 1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    bounds = [array(elbo_of(student, *map(tensor, (x, V, v, W, w, np.full((8, 1), n)))), (8,)) for n in nodes]
    mean = (weights / weights.sum()) @ np.array(bounds)
    assert mean == pytest.approx(expected_elbo(x, V, v, W, w), rel=1e-6, abs=1e-6)
    z = np.linspace(-12, 12, 4001)
    log_p = log_p_counts(x, z[:, None] @ W + w, z)
    gap = gap_of_guess(x, V, v, W, w, log_p)
    assert (mean <= log_p + 1e-6).all()
    assert mean + gap == pytest.approx(log_p, rel=1e-5, abs=1e-5)
    problem = [*map(tensor, count_problem(rng, 4, 3, 2))]
    for wrt in (2, 3, 4, 5):
        bound = student.define(LINEAR)
        gradient_is_slope(bound, wrt, student.count_elbo, *problem, rng=rng, rel=1e-5)


# The last result is 1 at every weight, unless the bound that came back has a gradient of its own.
STEP = """
def step(count_step, x, V, v, W, w, generator, rates, momentum, left, steps, centre):
    import torch
    weights = [p.clone().requires_grad_() for p in (V, v, W, w)]
    V, v, W, w = weights
    groups = [dict(params=[V, v], lr=rates[0]), dict(params=[W, w], lr=rates[1])]
    optimiser, bounds = torch.optim.SGD(groups, lr=1.0, momentum=momentum), []
    encoder = lambda x: (x - centre * x.mean(0)) @ V + v
    decoder = lambda z: (z - centre * z.mean(0)) @ W + w
    for _ in range(steps):
        if left:
            for p in weights:
                p.grad = torch.full_like(p, left)
        bound = count_step(x, encoder, decoder, optimiser, generator)
        bounds.append(torch.as_tensor(bound, dtype=x.dtype).reshape(()))
    total = sum(bounds) + sum(p.sum() for p in weights)
    own = torch.cat([g.ravel() for g in torch.autograd.grad(total, weights)])
    return [torch.stack(bounds).detach(), *(p.detach() for p in weights), own]
"""


TINY = 1e-30  # in the imaginary direction, where nothing is lost by subtraction


def slopes(problem):
    """The gradient of the mean bound in the four weights, by complex steps."""
    found = []
    for at in (1, 2, 3, 4):
        slope = np.empty_like(problem[at])
        for place in np.ndindex(slope.shape):
            moved = [*problem]
            moved[at] = problem[at].astype(complex)
            moved[at][place] += TINY * 1j
            slope[place] = wanted_elbo(*moved).mean().imag / TINY
        found.append(slope)
    return found


def two_steps(problem, draws, rates, momentum, centre):
    """The mean bounds before two steps by hand up the slope, and the four weights after them."""
    x, *weights = (v.copy() for v in problem)
    speeds, bounds = [np.zeros_like(v) for v in weights], []
    for eps in draws:
        now = [x, *weights, eps, centre]
        bounds.append(wanted_elbo(*now).mean())
        for i, slope in enumerate(slopes(now)):
            speeds[i] = momentum * speeds[i] + slope
            weights[i] = weights[i] + rates[i // 2] * speeds[i]
    return bounds, weights


def check_step(student, rng, N, D, K, dtype=torch.float64, rel=1e-8):
    """Two steps with one generator, a rate for each network, momentum, and what is left in the gradients."""
    *problem, _ = count_problem(rng, N, D, K)
    problem[0][0] += 20  # for slopes that are not small
    seed, centre = int(rng.integers(2**31 - 1)), float(N > 1)
    g = torch.Generator().manual_seed(seed)
    draws = [torch.randn(N, K, generator=g, dtype=dtype).double().numpy() for _ in range(2)]
    given = [tensor(v).to(dtype) for v in problem]
    steepest = max(np.abs(slope).max() for slope in slopes([*problem, draws[0], centre]))
    rate = 1e-3 * rng.uniform(0.5, 1) / steepest  # no weight moves far
    rates = [float(v) for v in rng.permutation([rate, rate * rng.uniform(2, 4)])]
    for momentum, left in ((0.0, 0.0), (0.9, float(steepest * rng.uniform(0.5, 1)))):
        wanted, weights = two_steps(problem, draws, rates, momentum, centre)
        more = rates, momentum, left, 2, centre
        found = student.define(STEP)(student.count_step, *given, student.generator(seed), *more)
        bounds, *moved, own = parts(found, 6)
        assert array(bounds, (2,)) == pytest.approx(np.array(wanted), rel=rel)
        for after, value in zip(moved, weights, strict=True):
            assert array(after, value.shape) == pytest.approx(value, rel=rel, abs=rel)
        assert (array(own) == 1).all()


def check_steps(student, rng):
    check_step(student, rng, 5, 3, 4)
    check_step(student, rng, 1, 4, 1)
    check_step(student, rng, 9, 2, 2, torch.float32, 1e-5)


@pytest.mark.exercise("counts", weight=4, costly=True)
def test_one_step(student, rng):
    """A step moves every weight as the optimiser says, by the rate of its group times the slope of the mean
    bound, with momentum where the optimiser has it; the noise comes from the generator, in the type of the
    counts, once a step; what lies in the gradients from earlier does not count; and the bound before the step
    comes back, without a gradient."""
    check_steps(student, rng)
    given = [*map(tensor, count_problem(rng, 5, 3, 2)[:5])]
    still = [0.0, 0.0], 0.0, 0.0, 1, 0.0
    run = lambda g: student.define(STEP)(student.count_step, *given, g, *still)[0]  # noqa: E731
    generator_decides(run, student.generator, rng)


TRAIN = """
def fit(count_step, x, batches, generator, z):
    import torch
    make = lambda *sizes: torch.nn.Linear(*sizes, dtype=x.dtype)
    encoder = torch.nn.Sequential(make(x.shape[1], 16), torch.nn.Tanh(), make(16, 2))
    decoder = make(1, x.shape[1])
    with torch.no_grad():
        before = decoder(z)
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.Adam(weights, lr=0.02)
    for rows in batches:
        bound = count_step(x[rows], encoder, decoder, optimiser, generator)
    with torch.no_grad():
        return before, decoder(z)
"""


@pytest.mark.exercise("counts", weight=1, costly=True)
def test_training_finds_the_law(student, rng):
    """With a bound and steps that are right, trained on counts whose law is known, the model's exact log
    probability of other counts comes near that law's."""
    check_bounds(student, rng)
    check_steps(student, rng)
    W, w = rng.choice([-1.0, 1.0], 6) * rng.uniform(0.5, 0.8, 6), rng.uniform(0.6, 1.4, 6)
    draw = lambda n: rng.poisson(np.exp(rng.normal(size=(n, 1)) * W + w)).astype(float)  # noqa: E731
    x, held, z = draw(1_000), draw(1_000), np.linspace(-6, 6, 401)
    batches = torch.as_tensor(rng.integers(1_000, size=(500, 64)))
    given = tensor(x), batches, student.generator(int(rng.integers(2**31 - 1))), tensor(z[:, None])
    seed = int(rng.integers(2**31 - 1))
    found = train(student, TRAIN, student.count_step, *given, seed=seed, seconds=16.0)
    before, after = found
    truth = log_p_counts(held, z[:, None] * W + w, z).mean()
    first, last = (truth - log_p_counts(held, array(v, (401, 6)), z).mean() for v in (before, after))
    learned(abs(first), abs(last), 0.25)
