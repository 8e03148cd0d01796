"""Hidden tests of lesson 19_ddpm. A docstring is what the learner reads when its test fails."""

import itertools

import numpy as np
import pytest
import torch
from scipy import optimize

from autograde.checks import array, entries, number, parts, whole_numbers
from autograde.relations import (
    any_order,
    any_unit,
    both_types,
    generator_decides,
    gradient_is_slope,
    rows_alone,
    strided,
)
from autograde.training import learned, train

NAMES = "x_t", "x_0", "eps", "v"


def tensor(value):
    return torch.tensor(np.asarray(value), dtype=torch.float64)


def any_schedule(rng, n):
    """alpha and sigma (n,) of a schedule that does not preserve the variance; SNR falls along it."""
    half_log_snr = np.sort(rng.uniform(-3, 3, n))[::-1] + np.linspace(0.2, -0.2, n)
    sigma = rng.uniform(0.3, 3, n)
    return sigma * np.exp(half_log_snr), sigma


# --- any-two: the oracle makes the four from x_0 and eps, and asks for them back ---


def quantities(x_0, eps, alpha, sigma):
    a, s = (v.reshape(-1, *[1] * (x_0.ndim - 1)) for v in (alpha, sigma))
    return {"x_t": a * x_0 + s * eps, "x_0": x_0, "eps": eps, "v": a * eps - s * x_0}


def all_four(student, known, alpha, sigma):
    found = entries(student.any_two(known, alpha, sigma))
    assert set(found) == set(NAMES)
    return [found[name] for name in NAMES]


def check_two(student, four, pair, alpha, sigma):
    known = {name: tensor(four[name]) for name in pair}
    for name, found in zip(NAMES, all_four(student, known, tensor(alpha), tensor(sigma)), strict=True):
        assert array(found, four[name].shape) == pytest.approx(four[name], rel=1e-7, abs=1e-7)


@pytest.mark.exercise("any-two", weight=1)
@pytest.mark.parametrize("shape", [(5,), (5, 3), (1, 4), (3, 1, 4, 4)])
def test_every_pair(student, rng, shape):
    """Each of the six pairs gives all four, in either order, with a time of its own for each row, for batches
    of numbers, of vectors and of pictures, in any memory layout."""
    alpha, sigma = rng.permutation(np.stack(any_schedule(rng, shape[0])), axis=1)
    four = quantities(*rng.normal(size=(2, *shape)), alpha, sigma)
    for pair in itertools.permutations(NAMES, 2):
        check_two(student, four, pair, alpha, sigma)
    given = map(tensor, (four["x_t"], four["v"], alpha, sigma))
    strided(lambda x, v, *at: all_four(student, {"x_t": x, "v": v}, *at), *given, rel=1e-7, abs=1e-7)


NEEDS = {  # which of alpha (0) and sigma (1) must not be 0: one of them at least
    **dict.fromkeys([("x_t", "eps"), ("x_0", "v")], (0,)),
    **dict.fromkeys([("x_t", "x_0"), ("eps", "v")], (1,)),
    ("x_t", "v"): (0, 1),
}


@pytest.mark.exercise("any-two", weight=1)
@pytest.mark.parametrize("end", [(0.0, 1.2), (0.7, 0.0), (0.0, 0.0)])
def test_ends_and_refusals(student, rng, end):
    """At the ends of a schedule, where alpha or sigma is 0, or both are, the pairs that still determine
    everything work, and the others raise ValueError, in one row or in all. So do no name, one, three and all
    four, and a name that is none of the four. Close to the ends, and where alpha and sigma are both huge or
    tiny, all pairs work."""
    alpha, sigma = np.array([(0.7, 0.9), end, end]).T
    four = quantities(*rng.normal(size=(2, 3, 2)), alpha, sigma)
    given = {name: tensor(value) for name, value in four.items()}
    check_two(student, four, ("x_0", "eps"), alpha, sigma)
    for pair, needs in NEEDS.items():
        if any(end[i] for i in needs):
            check_two(student, four, pair, alpha, sigma)
            continue
        for rows in (slice(2), slice(1, 3)):
            known = {name: given[name][rows] for name in pair}
            student.raises(ValueError, student.any_two, known, tensor(alpha[rows]), tensor(sigma[rows]))
    for keys in ((), ("x_t",), ("x_t", "eps", "v"), NAMES):
        student.raises(ValueError, student.any_two, {k: given[k] for k in keys}, *tensor(np.ones((2, 3))))
    wrong = {"x_t": given["x_t"], "score": given["v"]}
    student.raises(ValueError, student.any_two, wrong, *tensor(np.ones((2, 3))))
    alpha, sigma = np.array([(1, 1e-6), (1e-6, 1), (2e-20, 1e-20), (1e20, 2e20)]).T
    four = quantities(*rng.normal(size=(2, 4, 2)), alpha, sigma)
    for pair in NEEDS:
        check_two(student, four, pair, alpha, sigma)


# --- two-times: the oracle writes each time as a sum of independent noises, and multiplies out ---


def mixing(alpha, sigma):
    """The matrix M with x_i - alpha_i x_0 = sum_j M_ij z_j, for rising times: each step adds one noise."""
    n = len(alpha)
    M = np.zeros((n, n))
    M[0, 0] = sigma[0]
    for i in range(1, n):
        ratio = alpha[i] / alpha[i - 1]
        M[i] = ratio * M[i - 1]
        M[i, i] = np.sqrt(sigma[i] ** 2 - (ratio * sigma[i - 1]) ** 2)
    return M


def check_covariance(student, rng, alpha, sigma):
    """Times in order, and then in others, with which rows and columns move."""
    M, alpha, sigma = mixing(alpha, sigma), tensor(alpha), tensor(sigma)
    assert array(student.path_covariance(alpha, sigma), M.shape) == pytest.approx(
        M @ M.T, rel=1e-8, abs=1e-10
    )
    covariance = lambda order: student.path_covariance(alpha[order], sigma[order])  # noqa: E731
    any_order(covariance, len(M), rng, (0, 1), rel=1e-8, abs=1e-10)


@pytest.mark.exercise("two-times", weight=1, returns={"path_covariance": "(n, n)"})
@pytest.mark.parametrize("n", [1, 2, 6])
def test_covariance_of_any_schedule(student, rng, n):
    """The covariance is that of a path to which each step adds its own noise, for schedules that preserve the
    variance and for others, one time or many, in any order: rows and columns move with the times. Later is
    where SNR is smaller, whatever alpha alone or sigma alone says."""
    alpha, sigma = any_schedule(rng, n)
    steps, scale = np.arange(1.0, n + 1), np.hypot(alpha, sigma)
    for unit in (1, 1 / scale, steps / alpha, 1 / steps / sigma):  # then alpha rises, then sigma falls
        check_covariance(student, rng, unit * alpha, unit * sigma)


@pytest.mark.exercise("two-times", weight=1)
def test_covariance_at_the_ends(student, rng):
    """A clean time covaries with nothing, and so does pure noise with all others; nothing becomes NaN. Close
    to the ends, where alpha or sigma is tiny or huge, every digit is there."""
    steps = np.arange(1.0, 4)
    later = steps * np.exp(np.sort(rng.uniform(-1, 3, 3)))  # alpha rises, SNR falls
    check_covariance(student, rng, np.array([2, 1.3, *steps]), np.array([0, 0, *later]))  # two clean times
    alpha, sigma = np.array([1.3, *steps, 0]), np.array([0, *later, rng.uniform(0.5, 2)])
    check_covariance(student, rng, alpha, sigma)
    alpha, sigma = tensor(alpha), tensor(sigma)
    any_unit(lambda c: student.path_covariance(c * alpha, sigma), rel=1e-8, abs=1e-10)
    any_unit(lambda c: student.path_covariance(alpha, c * sigma), 2, rel=1e-8, abs=1e-10)


# --- zero-terminal: the oracle is that the roots are mapped by one straight line ---


def falling_table(rng, T, last):
    root = np.sort(rng.uniform(last, 1, T + 1))[::-1]
    root[0], root[-1] = 1, last
    return root**2


def check_table(student, table):
    new, beta = parts(student.zero_terminal(tensor(table)), 2)
    new, beta = array(new, table.shape), array(beta, (len(table) - 1,))
    assert new[0] == 1 and new[-1] == 0
    assert new[1] == pytest.approx(table[1], rel=1e-9)
    line = np.polyfit(np.sqrt(table[[1, -1]]), [np.sqrt(table[1]), 0], 1)
    assert np.sqrt(new[1:].clip(0)) == pytest.approx(np.polyval(line, np.sqrt(table[1:])), abs=1e-7)
    return new, beta


TABLES = pytest.mark.parametrize(("T", "last"), [(2, 0.5), (7, 0.8), (50, 0.07), (1_000, 1e-6), (12, 0.0)])


@pytest.mark.exercise("zero-terminal", weight=1, returns={"zero_terminal": "(N,), (T,)"})
@TABLES
def test_roots_on_a_line(student, rng, T, last):
    """From k = 1 on, the roots of the new table are those of the old one, shifted and stretched: the first
    stays, the last is exactly 0, however small it was. The clean end stays 1; one that ends at 0 stays."""
    check_table(student, falling_table(rng, T, last))


@pytest.mark.exercise("zero-terminal", weight=1)
@TABLES
def test_betas_give_the_table_back(student, rng, T, last):
    """The product of 1 - beta up to k is the new table, however small the steps; the last beta is 1, and the
    first is what it was."""
    table = falling_table(rng, T, last)
    new, beta = check_table(student, table)
    assert np.cumprod(1 - beta) == pytest.approx(new[1:], abs=1e-10)
    assert beta[-1] == 1 and beta[0] == pytest.approx(1 - table[1], rel=1e-9, abs=1e-12)


# --- min-snr: the oracle is that the three losses of one and the same guess are equal ---


@pytest.mark.exercise("min-snr", weight=1, returns={"min_snr_weight": "(B,)"})
def test_same_loss(student, rng):
    """For one guess of the picture, the weighted squared errors in the picture, in the noise and in v are one
    number, min(SNR, gamma) times the picture's: on both sides of gamma, for gamma above and below 1. A kind
    that is none of the three raises ValueError."""
    for kind in ("score", "x_t", "x0", "epsilon", "EPS", "V", ""):
        student.raises(ValueError, student.min_snr_weight, tensor(rng.normal(size=3)), kind, 5.0)
    for gamma in (5.0, 0.3, float(rng.uniform(1, 3)), 1e6):
        log_snr = np.concatenate([rng.uniform(-4, 5, 12), np.log(gamma) + np.array([-0.1, 0.1])])
        alpha, sigma = np.sqrt(1 / (1 + np.exp(-log_snr))), np.sqrt(1 / (1 + np.exp(log_snr)))
        off = rng.normal(size=len(log_snr))  # of the picture; then the noise is off by -alpha off / sigma
        errors = {"x_0": off, "eps": -alpha * off / sigma, "v": -(alpha**2 / sigma + sigma) * off}
        wanted = np.minimum(np.exp(log_snr), gamma) * off**2
        for kind, error in errors.items():
            weight = array(student.min_snr_weight(tensor(log_snr), kind, gamma), log_snr.shape)
            assert weight * error**2 == pytest.approx(wanted, rel=1e-8)


@pytest.mark.exercise("min-snr", weight=1)
def test_far_ends(student, rng):
    """At the ends of a schedule log SNR is hundreds or infinite, and every weight is finite and the limit of
    those before it."""
    gamma = float(rng.uniform(2, 8))
    far, cap = np.array([-np.inf, -800.0, 800.0, np.inf]), np.log(gamma)
    for kind, wanted in (("x_0", [0, 0, gamma, gamma]), ("eps", [1, 1, 0, 0]), ("v", [0, 0, 0, 0])):
        got = array(student.min_snr_weight(tensor(far), kind, gamma), (4,))
        assert got == pytest.approx(np.array(wanted), abs=1e-12)
        for x in (40.0, 300.0):
            near = array(student.min_snr_weight(tensor([-x, x]), kind, gamma), (2,))
            exact = {"x_0": [-x, cap], "eps": [0, cap - x], "v": [-x, cap - x]}
            assert np.log(near) == pytest.approx(np.array(exact[kind]), abs=1e-6)


# --- best-variance: the oracle integrates the KL and searches the minimum ---


def mean_kl(rho2, b, c, m):
    """E KL(N(0, c^2) || N(b e, rho^2)), e^2 = m on average, by Gauss-Hermite quadrature."""
    u, weight = np.polynomial.hermite_e.hermegauss(12)
    ratio = 0.5 * np.log(rho2 / c**2) + 0.5 * ((c * u - b * np.sqrt(m)) ** 2 / rho2 - u**2)
    return weight @ ratio / weight.sum()


def answer(student, b, c, m):
    rho2, saved = parts(student.best_variance(tensor(b), tensor(c), tensor(m)), 2)
    return array(rho2, b.shape), array(saved, b.shape)


@pytest.mark.exercise("best-variance", weight=1, returns={"best_variance": "(n,), (n,)"})
def test_minimum(student, rng):
    """The variance is where the KL divergence is smallest, and the nats saved are those between it and the
    posterior's own variance."""
    b, c, m = rng.uniform(0.1, 1, 4), rng.uniform(0.05, 0.8, 4), rng.uniform(0.01, 0.5, 4)
    rho2, saved = answer(student, b, c, m)
    for i in range(4):
        best = optimize.minimize_scalar(
            lambda log_rho2, i=i: mean_kl(np.exp(log_rho2), b[i], c[i], m[i]),
            bracket=(np.log(c[i] ** 2), np.log(c[i] ** 2 + 1)),
        )
        assert np.log(rho2[i]) == pytest.approx(best.x, abs=1e-3)
        assert saved[i] == pytest.approx(mean_kl(c[i] ** 2, b[i], c[i], m[i]) - best.fun, rel=1e-4, abs=1e-6)


@pytest.mark.exercise("best-variance", weight=1)
def test_moments(student, rng):
    """The best variance is what the draws really have around the model's mean: the posterior's, and that of a
    mean that is off. The saving is never negative. A perfect picture saves nothing; a hopeless one saves
    nearly all; a tiny posterior deviation does not overflow, and the unit does not matter."""
    b, c, m = rng.uniform(0.2, 1, 6), rng.uniform(0.05, 2, 6), rng.uniform(0, 3, 6)
    rho2, saved = answer(student, b, c, m)
    assert rho2 == pytest.approx(c**2 + b**2 * m, rel=1e-9) and (saved >= -1e-12).all()
    b, c, m = map(tensor, (b, c, m))
    any_unit(lambda u: parts(student.best_variance(b, u * c, u * u * m), 2), (2, 0), rel=1e-9, abs=1e-9)
    rho2, saved = answer(student, np.ones(3), np.array([0.3, 1e-8, 1e-3]), np.array([0.0, 1.0, 1e4]))
    assert rho2 == pytest.approx(np.array([0.09, 1.0, 1e4]), rel=1e-6)
    hopeless = [(excess - np.log(excess)) / 2 for excess in (1e16, 1e10)]
    assert saved == pytest.approx(np.array([0, *hopeless]), rel=1e-9, abs=1e-12)


# --- repair: Bayes' rule on the joint normal of x_{k-1} and x_k; a network that knows the noise ---


def table_of(rng, T):
    return np.concatenate([[1.0], np.cumprod(1 - rng.uniform(0.02, 0.4, T))])


def bayes(table, k, x_k, x_0):
    """Mean and deviation of q(x_{k-1} | x_k, x_0) from the covariance of the two."""
    before, now = table[k - 1], table[k]
    cov = np.sqrt(now / before) * (1 - before)
    mean = np.sqrt(before) * x_0 + cov / (1 - now) * (x_k - np.sqrt(now) * x_0)
    return mean, np.sqrt(max(0.0, 1 - before - cov**2 / (1 - now)))


def step(student, w, k, table):
    """One step, of what changes from row to row; the table is of the type of x_k."""
    return lambda x_k, eps_y, eps_none, z: student.repaired_step(
        x_k, eps_y, eps_none, w, k, tensor(table).to(x_k.dtype), z
    )


def check_step(student, rng, shape, w, k, table):
    x_k, eps_y, eps_none, z = rng.normal(size=(4, *shape))
    noise = np.sqrt(1 - table[k])
    x_k = noise * x_k  # so that a step shows where there is little noise
    eps = (1 - w) * eps_none + w * eps_y
    x_0 = (x_k - noise * eps) / np.sqrt(table[k])
    mean, deviation = bayes(table, k, x_k, x_0)
    given, near = [*map(tensor, (x_k, eps_y, eps_none, z))], {"rel": 1e-4, "abs": 1e-4 * noise}
    got = array(step(student, w, k, table)(*given), x_k.shape)
    assert got == pytest.approx(mean + deviation * z, **near)
    any_unit(lambda c: step(student, w, k, table)(*(c * v for v in given)), 1, **near)
    return given, near


def check_kinds(student, rng, shape, w, k, table):
    given, near = check_step(student, rng, shape, w, k, table)
    for relation in (rows_alone, strided, both_types):
        relation(step(student, w, k, table), *given, **near)


STEEP_AND_FLAT = np.array([[1, 1 - 5e-9, 1 - 1e-8], [1, 0.5, 1e-8]])


@pytest.mark.exercise("repair", weight=2, returns={"repaired_step": "shape 0"})
def test_posterior_step(student, rng):
    """Without guidance, one step is a draw of Bayes' posterior with the network's picture in it: its mean and
    its deviation, at any k, for any table: also one with almost no noise, and one that adds nearly all of it
    in one step. Nothing is clipped, and numbers may be float32 and in any memory layout."""
    for shape, T in (((4, 3), 8), ((5,), 3), ((2, 1, 4, 4), 30)):
        table = table_of(rng, T)
        for k in {1, 2, T, int(rng.integers(2, T + 1))}:
            check_kinds(student, rng, shape, 1.0, k, table)
    for table in STEEP_AND_FLAT:
        check_step(student, rng, (4, 3), 1.0, 2, table)


@pytest.mark.exercise("repair", weight=2)
def test_guided_step(student, rng):
    """With guidance w the noise lies on the line from the answer without label, at w = 0, through the answer
    with it, at w = 1, and beyond, at every k, the last step included, in float32, too."""
    table = table_of(rng, 9)
    for w, k in itertools.product(
        (0.0, 2.0, float(rng.uniform(0.2, 5)), -1.0), (1, int(rng.integers(2, 10)))
    ):
        check_kinds(student, rng, (3, 4), w, k, table)
    for table in STEEP_AND_FLAT:
        check_step(student, rng, (4, 3), 2.0, 2, table)


def walk(student, rng, mean, width, T=8, n=400):
    """Walk n samples of N(mean, width^2) back from k = T with a perfect network, and look at their law."""
    table = np.concatenate([[1.0], np.cumprod(1 - np.linspace(0.02, 0.6, T))])
    expected = table[-1] * width**2 + 1 - table[-1]  # the variance, which each step changes linearly
    x = np.sqrt(expected) * rng.normal(size=(n, 1)) + np.sqrt(table[-1]) * mean
    for k in range(T, 0, -1):
        total = table[k] * width**2 + 1 - table[k]
        eps = np.sqrt(1 - table[k]) * (x - np.sqrt(table[k]) * mean) / total
        slope, deviation = bayes(table, k, 1.0, np.sqrt(table[k]) * width**2 / total)
        expected = slope**2 * expected + deviation**2
        given = map(tensor, (x, eps, *rng.normal(size=(2, *x.shape))))
        x = array(step(student, 1.0, k, table)(*given), x.shape)
    assert abs(x.mean() - mean) < 6 * np.sqrt(expected / n)
    assert abs(x.std() / np.sqrt(expected) - 1) < 6 / np.sqrt(2 * n)


@pytest.mark.exercise("repair", weight=2)
def test_walk_back(student, rng):
    """A walk from k = T to 0 with a network that knows the data, one normal distribution, ends at data of the
    right mean and spread; the last step adds no noise, and is guided like all others."""
    for width in (0.4, 0.1):
        walk(student, rng, 0.7, width)
    table, (x_0, eps, other) = table_of(rng, 4), rng.normal(size=(3, 3, 2))
    first = np.sqrt(table[1]) * x_0 + np.sqrt(1 - table[1]) * eps
    given = map(tensor, (first, (eps + other) / 2, other, 9 + eps))  # on the way to eps at w = 2
    assert array(step(student, 2.0, 1, table)(*given), x_0.shape) == pytest.approx(x_0, abs=1e-4)


# --- bridge: the oracle conditions the joint normal of the three times, with any x_0 ---


def condition(alpha, sigma):
    """a, b, c of x_s given x_r and x_t, from their covariance given x_0 (the chain of `mixing`)."""
    M = mixing(alpha, sigma)
    C = M @ M.T
    outer = [0, 2]
    weights = np.linalg.lstsq(C[np.ix_(outer, outer)], C[outer, 1], rcond=None)[0]
    a = (alpha[1] - weights[1] * alpha[2]) / alpha[0]  # x_0 must not matter, also where r is clean
    return a, weights[1], np.sqrt(max(0.0, C[1, 1] - weights @ C[outer, 1]))


def bridge(student):
    return lambda alpha, sigma: parts(student.bridge(alpha, sigma), 3)


def check_bridge(student, alpha, sigma):
    found = [array(v, (len(alpha),)) for v in bridge(student)(tensor(alpha), tensor(sigma))]
    for i, (row, noise) in enumerate(zip(alpha, sigma, strict=True)):
        wanted = np.array(condition(row, noise))
        assert np.array([v[i] for v in found]) == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def three_times(rng, B):
    return (np.stack(v) for v in zip(*[any_schedule(rng, 3) for _ in range(B)], strict=True))


@pytest.mark.exercise("bridge", weight=1, returns={"bridge": "(B,), (B,), (B,)"})
def test_conditional_of_three(student, rng):
    """a, b and c are those of the joint normal distribution of the three times, conditioned on the outer two,
    for schedules that preserve the variance and for others, in any unit and memory layout; each row has its
    own times."""
    alpha, sigma = three_times(rng, 5)
    check_bridge(student, alpha, sigma)
    scale = np.hypot(alpha, sigma)
    check_bridge(student, alpha / scale, sigma / scale)
    answer, alpha, sigma = bridge(student), tensor(alpha), tensor(sigma)
    for relation in (rows_alone, strided):
        relation(answer, alpha, sigma, rel=1e-6, abs=1e-9)
    any_unit(lambda c: answer(c * alpha, sigma), rel=1e-6, abs=1e-9)
    any_unit(lambda c: answer(alpha, c * sigma), (0, 0, 1), rel=1e-6, abs=1e-9)


@pytest.mark.exercise("bridge", weight=1)
@pytest.mark.parametrize(("clean", "noise"), [(True, False), (False, True), (True, True)])
def test_bridge_ends(student, rng, clean, noise):
    """A clean first time and a last one of pure noise are no special cases, nor are both in one row: nothing
    becomes NaN, and pure noise tells nothing."""
    alpha, sigma = three_times(rng, 3)
    if clean:
        sigma[1, 0] = 0
    if noise:
        alpha[1, 2] = 0
    check_bridge(student, alpha, sigma)
    check_bridge(student, alpha[1:2], sigma[1:2])


# --- plane: networks that err in a known way, so that each step's mean error is known; a training; a law ---

NET = """
def make(g, h):
    def net(x, k):
        return g[k][:, None] * x + h[k]
    return net
"""
FOLLOW = """
def follow(draw, net, n, alpha, sigma, generator):
    import torch
    seen, kept = [], []
    def asked(x, k):
        assert type(x) is type(k) is torch.Tensor and x.dtype == torch.float64 and k.dtype == torch.int64
        assert x.shape == (n, 2) and k.shape == (n,)
        seen.append((x.clone(), k.clone()))
        out = net(x, k)
        kept.append((out, out.clone(), out is x))
        return out
    end = draw(asked, n, alpha, sigma, generator)
    assert all(same or torch.equal(out, before) for out, before, same in kept)
    return torch.stack([x for x, _ in seen] + [end]), torch.stack([k for _, k in seen])
"""
NOISES = """
def noises(loss, x, alpha, sigma, generator, times):
    import torch
    found = []
    def net(x_t, k):
        assert type(x_t) is type(k) is torch.Tensor and x_t.dtype == torch.float64 and k.dtype == torch.int64
        assert x_t.shape == x.shape and k.shape == (len(x),)
        found.append((((x_t - alpha[k, None] * x) / sigma[k, None]).clone(), k.clone()))
        return torch.zeros_like(x_t)
    for _ in range(times):
        loss(net, x, alpha, sigma, generator)
    return torch.cat([eps for eps, _ in found]), torch.cat([k for _, k in found])
"""
STARTS = """
def starts(draw, alpha, sigma, generator, times):
    import torch
    found = []
    def net(x, k):
        found.append(x[0].clone())
        return torch.zeros_like(x)
    for _ in range(times):
        draw(net, 1, alpha, sigma, generator)
    return torch.stack(found).reshape(times, -1, 2)
"""
VALUE = """
def value(loss, g, h, x, alpha, sigma, seed):
    import torch
    net = lambda x_t, k: g[k][:, None] * x_t + h[k]
    return loss(net, x, alpha, sigma, torch.Generator().manual_seed(seed))
"""
ITSELF = "def net(x, k):\n    return x\n"
TRAINING = """
def training(loss, exact, x, alpha, sigma, generator, updates):
    import torch
    spread, level = (alpha**2 * 0.5 + sigma**2).sqrt(), (sigma / alpha).clamp(min=1e-3).log()
    body = torch.nn.Sequential(torch.nn.Linear(3, 48), torch.nn.Tanh(), torch.nn.Linear(48, 2)).double()
    net = lambda x_t, k: body(torch.cat([x_t / spread[k, None], level[k, None]], dim=1))
    order = torch.randint(len(x), (updates, 128), generator=torch.Generator().manual_seed(0))
    k = torch.arange(len(x)) % (len(alpha) - 2) + 2
    x_t = alpha[k, None] * x + sigma[k, None] * torch.randn(x.shape, dtype=x.dtype)
    def error():
        with torch.no_grad():
            return (net(x_t, k) - exact(x_t, alpha[k], sigma[k])).square().sum(1).mean().sqrt().item()
    before, adam = error(), torch.optim.Adam(body.parameters(), lr=0.02)
    for n, rows in enumerate(order):
        adam.param_groups[0]["lr"] = 0.02 * (1 - n / updates)
        adam.zero_grad()
        loss(net, x[rows], alpha, sigma, generator).backward()
        adam.step()
    return before, error()
"""
EXACT = """
def exact(x, alpha, sigma):
    import torch
    mode, width = torch.tensor([0.8, -0.5], dtype=x.dtype), 0.2
    alpha, var = alpha[:, None], ((alpha * width) ** 2 + sigma**2)[:, None]
    side = torch.tanh(alpha * (x @ mode)[:, None] / var)
    return mode * side + alpha * width**2 / var * (x - alpha * mode * side)
"""


def clean_schedule(rng, T):
    """Any schedule of T steps, behind clean data: alpha and sigma (T + 1,)."""
    return (np.concatenate([[end], v]) for end, v in zip((1, 0), any_schedule(rng, T), strict=True))


def step_weights(alpha, sigma):
    """Of the squared error at k = 2, ..., T, by the posterior's mean and variance; 0 before."""
    weight = np.zeros(len(alpha))
    for k in range(2, len(alpha)):
        ratio = alpha[k] / alpha[k - 1]
        new = sigma[k] ** 2 - (ratio * sigma[k - 1]) ** 2
        b, var = alpha[k - 1] * new / sigma[k] ** 2, (sigma[k - 1] / sigma[k]) ** 2 * new
        weight[k] = b**2 / (2 * var)
    return weight


def mean_loss(student, rng, x, g, h, alpha, sigma, n=20_000):
    """The loss of the network g[k] x + h[k] for n rows of the one point x."""
    net = student.define(NET)(tensor(g), tensor(h))
    rows = tensor(np.broadcast_to(x, (n, 2)).copy())
    generator = student.generator(int(rng.integers(2**31)))
    return number(student.bound_loss(net, rows, tensor(alpha), tensor(sigma), generator))


@pytest.mark.exercise(
    "plane",
    weight=1,
    costly=True,
    returns={"bound_loss": "tensor float64 ()", "draw": "tensor float64 (n, D)"},
)
def test_loss(student, rng):
    """The mean of the loss is the sum of the bound's steps: for a network whose picture is off by a given
    amount at all steps, at one of them alone, or by a share of the noise; for any schedule, T = 2 and pure
    noise at the end included, and for points of their own in each row. Each row has a step and a normal noise
    of its own, in any unit; both are drawn anew in every call, and the generator decides each. The gradient
    is the slope. And a small network that is trained with it learns the mean of the points that could lie
    under the noise."""
    n, x = 20_000, rng.normal(size=2)
    for T, pure in ((2, False), (3, False), (3, True), (int(rng.integers(5, 9)), False)):
        alpha, sigma = clean_schedule(rng, T)
        alpha[-1] *= not pure
        weight = step_weights(alpha, sigma)
        off = np.zeros((T + 1, 2))
        off[2:] = rng.normal(size=2) / np.sqrt(weight[2:, None])
        none = np.zeros(T + 1)
        total = (T - 1) * weight[-1] * (off[-1] ** 2).sum()
        assert mean_loss(student, rng, x, none, x + off, alpha, sigma) == pytest.approx(total, rel=1e-5)
        for j in {2, T}:
            alone = np.where(np.arange(T + 1)[:, None] == j, off, 0)
            near = 6 * np.sqrt((T - 2) / n)  # of the share of rows that drew the step j
            found = mean_loss(student, rng, x, none, x + alone, alpha, sigma)
            assert found == pytest.approx(total / (T - 1), rel=near + 1e-5)
        g = np.zeros(T + 1)
        g[2:] = 1 / (sigma[2:] * np.sqrt(2 * weight[2:]))  # then each step's error is half of chi^2 of 2
        found = mean_loss(student, rng, x, g, (1 - g * alpha)[:, None] * x, alpha, sigma)
        assert found == pytest.approx(T - 1, rel=6 / np.sqrt(n))
    check_rows(student, rng, alpha, sigma)
    check_draws(student, rng)
    check_slopes_and_units(student, rng, alpha, sigma)
    check_training(student, rng)


def check_draws(student, rng):
    """Steps and noises of the loss, in one call for many rows and in many calls for one."""
    T, seed = 30, int(rng.integers(2**31 - 1))
    alpha, sigma = map(tensor, clean_schedule(rng, T))
    probe, x = student.define(NOISES), tensor(rng.normal(size=(12_000, 2)))

    def drawn(rows, seed, times=1):
        given = student.bound_loss, rows, alpha, sigma, student.generator(seed), times
        eps, k = parts(probe(*given), 2)
        size = times * len(rows)
        return array(eps, (size, 2)), whole_numbers(k, (size,))

    for rows, times in ((x, 1), (x[:1], 600)):
        eps, k = drawn(rows, seed, times)
        assert k.min() >= 2 and k.max() <= T
        counts, usual = np.bincount(k, minlength=T + 1)[2:], len(k) / (T - 1)
        assert (np.abs(counts - usual) < 6 * np.sqrt(usual)).all()
        check_normal(eps, 1.0)
        for lag in (1, len(k) // 2):
            apart = (k[lag:] - k.mean()) * (k[:-lag] - k.mean())
            assert abs(apart.mean()) < 6 * k.var() / np.sqrt(len(apart))
    again, other = drawn(x[:50], seed), drawn(x[:50], seed + 1)
    assert all((a[:50] != b).any() for a, b in zip(other, again, strict=True))
    assert all((a == b).all() for a, b in zip(drawn(x[:50], seed), again, strict=True))


def check_normal(z, deviation):
    """Rows (n, 2) of independent normal numbers: moments up to the fourth, tails, no ties, no pairs."""
    z, n = z / deviation, z.size
    for power, mean, spread in ((1, 0, 1), (2, 1, 2), (4, 3, 96)):
        assert abs((z**power).mean() - mean) < 6 * np.sqrt(spread / n)
    assert n < 8_000 or np.abs(z).max() > 3.2
    assert len(np.unique(z)) == n
    for lag in (1, len(z) // 2):
        assert np.abs((z[lag:] * z[:-lag]).mean(0)).max() < 6 / np.sqrt(len(z) - lag)


def check_slopes_and_units(student, rng, alpha, sigma):
    """The gradient by what the network says; and another unit of length, where alpha is 1."""
    T, seed, value = len(alpha) - 1, int(rng.integers(2**31)), student.define(VALUE)
    g, h, x = (tensor(rng.normal(size=size)) for size in ((T + 1,), (T + 1, 2), (40, 2)))
    given = x, tensor(alpha), tensor(sigma), seed
    gradient_is_slope(value, 1, student.bound_loss, g, h, *given, rng=rng, rel=1e-5)
    gradient_is_slope(value, 2, student.bound_loss, g, h, *given, rng=rng, rel=1e-5)
    ones, sigma = tensor(np.ones(T + 1)), tensor(np.append(0, np.geomspace(0.2, 5, T)))
    any_unit(lambda c: value(student.bound_loss, g, c * h, c * x, ones, c * sigma, seed), rel=1e-9)
    net = lambda c: student.define(NET)(g / 9, c * h)  # noqa: E731
    points = lambda c: student.draw(net(c), 5, ones, c * sigma, student.generator(seed))  # noqa: E731
    any_unit(points, 1, rel=1e-9)


def check_rows(student, rng, alpha, sigma):
    """Rows of their own, a batch of one, and the generator."""
    net = student.define(NET)(tensor(0 * alpha), tensor(np.zeros((len(alpha), 2))))
    alpha, sigma, x = tensor(alpha), tensor(sigma), tensor(rng.normal(size=(20_000, 2)))
    generator, weight = student.generator(int(rng.integers(2**31))), step_weights(array(alpha), array(sigma))
    each = (len(alpha) - 2) * weight[2:] * (array(x) ** 2).sum(1)[:, None]  # by row and step
    spread = np.sqrt((each**2).mean() - each.mean() ** 2)
    found = number(student.bound_loss(net, x, alpha, sigma, generator))
    assert abs(found - each.mean()) < 6 * spread / np.sqrt(len(x))
    few = x[:1]
    options = (len(alpha) - 2) * weight[2:] * float((array(few) ** 2).sum())
    one = number(student.bound_loss(net, few, alpha, sigma, generator))
    assert np.isclose(options, one, rtol=1e-5).any()
    noisy = student.define(NET)(alpha, tensor(np.zeros((len(alpha), 2))))
    generator_decides(
        lambda given: student.bound_loss(noisy, x[:50], alpha, sigma, given), student.generator, rng
    )


def check_training(student, rng):
    """Two clouds, noise that only adds up: the mean under the noise has a closed form."""
    sigma = np.concatenate([[0], np.geomspace(0.15, 2.5, 12)])
    side = rng.choice([-1, 1], size=(2_000, 1))
    x = tensor(side * np.array([0.8, -0.5]) + 0.2 * rng.normal(size=(2_000, 2)))
    alpha, seed = tensor(np.ones(13)), int(rng.integers(2**31))
    before, after = train(
        student,
        TRAINING,
        student.bound_loss,
        student.define(EXACT),
        x,
        alpha,
        tensor(sigma),
        student.generator(seed),
        400,
        seed=seed,
        seconds=6.0,
    )
    learned(number(before), number(after, finite=False), 0.3)


@pytest.mark.exercise("plane", weight=1, costly=True)
def test_sampler(student, rng):
    """From step to step, and at the end, the points have the mean, the variance and the covariance with the
    step before that the posterior gives, for networks that say a share of the noisy point and more; for any
    schedule, pure noise at the end included. The noise is normal and independent, between points, coordinates
    and steps. The network is asked once a step, for all points, from T down to 1, and what it says stays as
    it is; a network that knows the point ends there. One point is enough; the generator decides each draw."""
    for T, n in ((2, 4_000), (int(rng.integers(4, 8)), 8_000)):
        alpha, sigma = clean_schedule(rng, T)
        g, h = rng.uniform(0, 0.7, T + 1) / alpha, rng.normal(size=(T + 1, 2))
        check_law(student, rng, n, g, h, alpha, sigma)
    check_law(student, rng, 4_000, 0 * g, h, np.ones(T + 1), np.append(0, np.geomspace(0.2, 5, T)))
    check_falling(student, rng, h)
    known = student.define(NET)(tensor(0 * g), tensor(np.broadcast_to(h[0], h.shape).copy()))
    alpha, sigma = tensor(alpha), tensor(sigma)
    for n in (1, 3):
        found = array(student.draw(known, n, alpha, sigma, student.generator(n)), (n, 2))
        assert found == pytest.approx(np.broadcast_to(h[0], (n, 2)), rel=1e-12, abs=1e-12)
    net = student.define(NET)(tensor(g), tensor(h))
    generator_decides(lambda given: student.draw(net, 20, alpha, sigma, given), student.generator, rng)
    check_generator(student, rng, known, alpha, sigma)


def check_falling(student, rng, h):
    """A schedule whose sigma falls and that ends in pure noise; and single points, many times."""
    falling = np.array([1, 0.5, 0.2, 0]), np.array([0, 1, 0.5, 0.8])
    check_law(student, rng, 20_000, np.zeros(4), h[:4], *falling)
    check_law(student, rng, 4_000, np.ones(4), 0 * h[:4], *falling, net=student.define(ITSELF))
    given = student.draw, *map(tensor, falling), student.generator(int(rng.integers(2**31))), 600
    lone = array(student.define(STARTS)(*given), (600, 3, 2))
    check_normal(lone[:, 0], falling[1][-1])
    ratio = falling[0][2] / falling[0][1]
    new = np.sqrt(falling[1][2] ** 2 - (ratio * falling[1][1]) ** 2)
    slope = ratio * (falling[1][1] / falling[1][2]) ** 2
    check_normal(lone[:, 2] - slope * lone[:, 1], falling[1][1] / falling[1][2] * new)


def check_generator(student, rng, known, alpha, sigma):
    """The start and each step's noise differ between seeds and between calls."""
    follow = student.define(FOLLOW)

    def way(generator):
        """Each step's own noise shows only there: the network says 0."""
        return parts(follow(student.draw, known, 20, alpha, sigma, generator), 2)[0]

    seed = int(rng.integers(2**31 - 1))
    first, other = (array(way(student.generator(n))) for n in (seed, seed + 1))
    twice = student.generator(seed)
    second = [array(way(twice)) for _ in range(2)][1]
    steps = fresh_noise(first, array(alpha), array(sigma))
    for another in (other, second):
        for a, b in zip(steps, fresh_noise(another, array(alpha), array(sigma)), strict=True):
            assert (np.abs(a - b) > 1e-9).all()


def fresh_noise(path, alpha, sigma):
    """Of a way (T + 1, n, 2): the start, and what each step but the last adds, for networks that say h[0]."""
    T, found = len(alpha) - 1, [path[0]]
    for i, k in enumerate(range(T, 1, -1)):
        ratio = alpha[k] / alpha[k - 1]
        found.append(path[i + 1] - ratio * (sigma[k - 1] / sigma[k]) ** 2 * path[i])
    return found


def check_law(student, rng, n, g, h, alpha, sigma, net=None):
    """Means and covariances along the way, by the recursion of a linear network."""
    T, net = len(alpha) - 1, student.define(NET)(tensor(g), tensor(h)) if net is None else net
    generator = student.generator(int(rng.integers(2**31)))
    given = (student.draw, net, n, tensor(alpha), tensor(sigma), generator)
    path, steps = parts(student.define(FOLLOW)(*given), 2)
    path = array(path, (T + 1, n, 2))
    assert (whole_numbers(steps, (T, n)) == np.arange(T, 0, -1)[:, None]).all()
    mean, var, near, before = np.zeros(2), sigma[-1] ** 2, 6 / np.sqrt(n), []
    check_moments(path[0], mean, var, near)
    check_normal(path[0], sigma[-1])
    for i, k in enumerate(range(T, 0, -1)):
        ratio = alpha[k] / alpha[k - 1]
        new = max(0.0, sigma[k] ** 2 - (ratio * sigma[k - 1]) ** 2)
        b = alpha[k - 1] * new / sigma[k] ** 2
        slope = ratio * (sigma[k - 1] / sigma[k]) ** 2 + b * g[k]
        own = new * (sigma[k - 1] / sigma[k]) ** 2
        mean, var = slope * mean + b * h[k], slope**2 * var + own
        check_moments(path[i + 1], mean, var, near)
        fresh = path[i + 1] - slope * path[i] - b * h[k]  # of the step alone
        check_moments(fresh, np.zeros(2), own, near)
        assert abs((fresh * (path[i] - path[i].mean(0))).mean()) <= near * np.sqrt(own) * path[i].std() + 1e-5
        if k > 1:
            check_normal(fresh, np.sqrt(own))
            assert all(abs((fresh * old).mean()) < near * fresh.std() * old.std() for old in before)
            before.append(fresh)


def check_moments(x, mean, var, near):
    """Of n points with independent coordinates, within `near`, six standard errors of a mean."""
    floor = 1e-5 * (1 + np.abs(mean).max())
    centred = x - mean
    assert (np.abs(centred.mean(0)) <= near * np.sqrt(var) + floor).all()
    assert (np.abs((centred**2).mean(0) - var) <= 1.5 * near * var + floor).all()
    assert abs((centred[:, 0] * centred[:, 1]).mean()) <= near * var + floor
