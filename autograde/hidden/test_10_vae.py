"""Hidden tests of lesson 10_vae. A docstring is what the learner reads when its test fails."""

import itertools
import math

import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from autograde.checks import array, from_tensor, gradient, number, parts
from autograde.relations import any_level, any_unit, both_types, gradient_is_slope, rows_alone, strided


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


@pytest.mark.exercise("kl-normals", weight=2, returns={"kl_normals": "(N,)"})
def test_full_covariances(student, rng):
    """The divergence of any two normals with full covariances, in one dimension and in more, for one pair and
    for many; which of the two is q matters."""
    for N, D in ((1, 1), (7, 3), (1, 6), (4, 2)):
        pair = normal_pair(rng, N, D)
        assert kl(student, pair) == pytest.approx(kl_reference(*pair), rel=1e-8, abs=1e-8)


@pytest.mark.exercise("kl-normals", weight=1)
def test_change_of_units(student, rng):
    """The divergence of equal normals is 0, and a change of units, the same for both, changes nothing; also
    where the determinants leave the range of floats."""
    for D in (3, 40):
        mu_q, L_q, mu_p, L_p = normal_pair(rng, 3, D)
        L_q, L_p = (0.02 * np.tril(L, -1) + np.eye(D) * np.exp(0.1 * rng.normal(size=D)) for L in (L_q, L_p))
        for pair in ((mu_q, L_q, mu_p, L_p), (mu_q, L_q, mu_q, L_q)):
            assert kl(student, pair) == pytest.approx(kl_reference(*pair), rel=1e-6, abs=1e-6)
            any_unit(lambda c: student.kl_normals(*(tensor(c * v) for v in pair)), rel=1e-6, abs=1e-6)  # noqa: B023


@pytest.mark.exercise("kl-normals", weight=1)
def test_memory_layout(student, rng):
    """Means and factors that are not contiguous in memory give the same, and so does each pair alone."""
    pair = normal_pair(rng, 4, 3)
    assert kl(student, pair) == pytest.approx(kl_reference(*pair), rel=1e-8)
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
    check_laplace(student, mu, np.repeat([-300.0, -40, 40, 300], 3), u)


@pytest.mark.exercise("laplace", weight=1)
def test_tails(student, rng):
    """The tails are not cut off: u may be tiny, down to the smallest numbers, or very close to 1."""
    u = np.concatenate([10.0 ** -rng.uniform(20, 300, 6), 1 - 10.0 ** -rng.uniform(9, 15, 6), [0.5, 1e-12]])
    mu, s, _ = laplace_problem(rng, len(u))
    check_laplace(student, mu, s, u)


WEIGHED = "def weighed(f, mu, s, u, g, part):\n    return g * list(f(mu, s, u))[part]"


@pytest.mark.exercise("laplace", weight=2)
def test_gradients(student, rng):
    """Gradients reach the centre and the width through z, as finite differences say, and the width
    through log q."""
    problem = laplace_problem(rng, 20)
    check_laplace(student, *problem)
    given, g = [*map(tensor, problem)], tensor(rng.normal(size=20))
    for found in parts(student.draw_laplace(*given), 2):
        from_tensor(found, (20,))
    for wrt, part in ((1, 0), (2, 0), (2, 1)):
        weighed = student.define(WEIGHED)
        gradient_is_slope(weighed, wrt, student.draw_laplace, *given, g, part, rng=rng, rel=1e-6)


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


@pytest.mark.exercise("grey-levels", weight=1)
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


def check_jackknife(student, log_w):
    got = array(student.jackknife(tensor(log_w)), (log_w.shape[1],))
    wanted = [slow_jackknife(column) for column in log_w.T]
    assert got == pytest.approx(np.array(wanted), rel=1e-9, abs=1e-7)


@pytest.mark.exercise("jackknife", weight=2, returns={"jackknife": "(N,)"})
def test_leave_one_out(student, rng):
    """It is k times the bound of all, less k - 1 times the mean of the bounds without one; each column for
    itself, for two draws and for many."""
    for k, N in ((2, 5), (3, 1), (25, 4)):
        check_jackknife(student, rng.normal(size=(k, N)) * rng.uniform(0.5, 3, N))


@pytest.mark.exercise("jackknife", weight=2)
def test_one_weight_dominates(student, rng):
    """One weight may outweigh all others by hundreds of nats, and all may be huge or tiny; some may be 0. A
    column does not feel the others, thousands of nats away. The memory layout may be any."""
    log_w = rng.normal(size=(7, 6))
    log_w[rng.integers(7), :3] += rng.uniform(60, 900, 3)
    log_w[rng.integers(7), 3:] += 40
    check_jackknife(student, log_w)
    any_level(lambda c: student.jackknife(tensor(log_w + c)), 1, rel=1e-9, abs=1e-7)
    rows_alone(lambda w: student.jackknife(w.T), tensor(log_w.T), apart=3_000.0, rel=1e-9, abs=1e-7)
    strided(student.jackknife, tensor(log_w), rel=1e-9, abs=1e-7)
    log_w[rng.integers(7), 4:] = -np.inf
    check_jackknife(student, log_w)


@pytest.mark.exercise("jackknife", weight=1)
def test_no_weights(student, rng):
    """Where all weights of a column are 0 the answer is -inf, where all but one are, inf, and other columns
    do not feel it."""
    log_w = rng.normal(size=(5, 4))
    log_w[:, 0], log_w[:, 2] = -np.inf, -np.inf
    log_w[rng.integers(5), 2] = rng.normal() * 100
    got = array(student.jackknife(tensor(log_w)), (4,), finite=False)
    assert got[0] == -np.inf and got[2] == np.inf
    assert got[[1, 3]] == pytest.approx(np.array([slow_jackknife(log_w[:, i]) for i in (1, 3)]), rel=1e-9)


# --- slerp: laws of angles and lengths, measured with arctan of norms, which sees small angles ---


def angle(u, v):
    """The angle between rows, exact near 0 and near pi."""
    u, v = (w / np.linalg.norm(w, axis=1, keepdims=True) for w in (u, v))
    return 2 * np.arctan2(np.linalg.norm(u - v, axis=1), np.linalg.norm(u + v, axis=1))


def arc(student, a, b, t):
    return array(student.slerp_batch(tensor(a), tensor(b), tensor(t)), a.shape)


def check_arc(student, a, b, t, rel=1e-7):
    got = arc(student, a, b, t)
    length = (1 - t) * np.linalg.norm(a, axis=1) + t * np.linalg.norm(b, axis=1)
    whole = angle(a, b)
    assert np.linalg.norm(got, axis=1) == pytest.approx(length, rel=1e-6)
    assert angle(a, got) == pytest.approx(t * whole, rel=rel, abs=1e-14)
    assert angle(got, b) == pytest.approx((1 - t) * whole, rel=rel, abs=1e-14)


@pytest.mark.exercise("slerp", weight=2, returns={"slerp_batch": "(N, D)"})
def test_even_pace(student, rng):
    """The angle to a grows evenly with t and that to b falls evenly; the length changes linearly; each row
    has its own t, and vectors have different lengths, tiny or huge; in any memory layout."""
    for N, D in ((1, 2), (20, 3), (10, 16)):
        a, b = (rng.normal(size=(N, D)) * rng.uniform(0.1, 30, (N, 1)) for _ in range(2))
        t = rng.uniform(0.02, 0.98, N)
        check_arc(student, a, b, t)
        assert arc(student, a, b, np.zeros(N)) == pytest.approx(a, rel=1e-9, abs=1e-9)
        assert arc(student, a, b, np.ones(N)) == pytest.approx(b, rel=1e-9, abs=1e-9)
    a, b, t = map(tensor, (a, b, t))
    any_unit(lambda c: student.slerp_batch(c * a, c * b, t), 1, (1e-90, 1e90), rel=1e-9, abs=1e-9)
    for relation in (strided, rows_alone):
        relation(student.slerp_batch, a, b, t, rel=1e-9, abs=1e-9)


@pytest.mark.exercise("slerp", weight=1)
def test_nearly_parallel(student, rng):
    """For nearly parallel vectors the small angle is still divided evenly, also where only vectors along an
    axis are exact enough to show it; for parallel ones the direction stays and the length changes."""
    a = rng.normal(size=(12, 5))
    turn = rng.normal(size=(12, 5))
    turn -= a * (turn * a).sum(1, keepdims=True) / (a * a).sum(1, keepdims=True)
    b = 3 * (a + 10.0 ** -rng.uniform(4, 10, (12, 1)) * turn)
    t = rng.uniform(0.1, 0.9, 12)
    check_arc(student, a, b, t, rel=1e-3)
    assert arc(student, a, 3 * a, t) == pytest.approx(a * (1 + 2 * t)[:, None], rel=1e-9, abs=1e-9)
    for tiny in (1e-13, 1e-14):
        along, beside = np.tile([[1.0, 0, 0]], (12, 1)), np.tile([[1.0, 0, tiny]], (12, 1))
        slope = arc(student, along, beside, t)[:, 2]
        assert slope / tiny == pytest.approx(t, rel=1e-3)


def directions(D):
    """Every axis, up and down, and every diagonal."""
    return np.concatenate([np.eye(D), -np.eye(D), [*itertools.product((1.0, -1.0), repeat=D)]])


@pytest.mark.exercise("slerp", weight=1)
def test_opposite_and_zero(student, rng):
    """Opposite vectors are joined by a half circle at an even pace, also along an axis, up or down, and along
    a diagonal; a zero vector takes the other's direction, however short that is, and two give zero. Rows
    beside them do not feel it."""
    for D in (2, 3, 4):
        a = np.concatenate([rng.normal(size=(2, D)), directions(D)])
        b = np.concatenate([rng.normal(size=(1, D)), -2 * a[1:]])
        check_arc(student, a, b, rng.uniform(0.2, 0.8, len(a)))
    (a, b), t = rng.normal(size=(2, 7, 4)), rng.uniform(0.2, 0.8, (7, 1))
    a[:3], b[2:5] = 0, 0  # both of them in the row between
    size = np.array([1.0, 1e-90, 1, 1e-90, 1, 1, 1])[:, None]
    got = arc(student, size * a, size * b, t[:, 0]) / size
    assert got[:5] == pytest.approx(((1 - t) * a + t * b)[:5], abs=1e-14) and (got[2] == 0).all()
    rows_alone(student.slerp_batch, *map(tensor, (a, b, t[:, 0])), rel=1e-9, abs=1e-9)


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
