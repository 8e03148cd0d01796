"""Hidden tests of lesson 19_ddpm. A docstring is what the learner reads when its test fails."""

import numpy as np
import pytest
import torch
from scipy import optimize

from autograde.checks import array, entries, parts

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


def check_two(student, four, pair, alpha, sigma):
    known = {name: tensor(four[name]) for name in pair}
    found = entries(student.any_two(known, tensor(alpha), tensor(sigma)))
    assert set(found) == set(NAMES)
    for name in NAMES:
        assert array(found[name], four[name].shape) == pytest.approx(four[name], rel=1e-7, abs=1e-7)


@pytest.mark.exercise("any-two", weight=2)
def test_every_pair(student, rng):
    """Each of the six pairs gives all four, in either order, with a time of its own for each row, for batches
    of numbers and of pictures."""
    for shape in ((5, 3), (1, 4), (3, 1, 4, 4)):
        alpha, sigma = rng.permutation(np.stack(any_schedule(rng, shape[0])), axis=1)
        four = quantities(rng.normal(size=shape), rng.normal(size=shape), alpha, sigma)
        for pair in [(p, q) for p in NAMES for q in NAMES if p != q]:
            check_two(student, four, pair, alpha, sigma)


@pytest.mark.exercise("any-two", weight=1)
def test_not_variance_preserving(student, rng):
    """x_t and v give the others where alpha^2 + sigma^2 is far from 1, above and below."""
    for scale in (0.05, 20.0):
        alpha, sigma = scale * np.abs(rng.normal(size=(2, 4))) + 0.01
        four = quantities(rng.normal(size=(4, 2)), rng.normal(size=(4, 2)), alpha, sigma)
        check_two(student, four, ("x_t", "v"), alpha, sigma)
        check_two(student, four, ("v", "eps"), alpha, sigma)


@pytest.mark.exercise("any-two", weight=1)
def test_ends_and_refusals(student, rng):
    """At the ends of a schedule, alpha = 0 or sigma = 0, and close to them, the pairs that still determine
    everything work, and the others raise ValueError. So do no name, one, three and all four, and a name that
    is none of the four."""
    alpha, sigma = np.array([0.7, 0.0]), np.array([0.9, 1.2])
    four = quantities(rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), alpha, sigma)
    given = {name: tensor(value) for name, value in four.items()}
    for pair in (("x_t", "v"), ("x_t", "x_0"), ("v", "eps")):
        check_two(student, four, pair, alpha, sigma)
    for pair in (("x_t", "eps"), ("x_0", "v")):
        student.raises(ValueError, student.any_two, {p: given[p] for p in pair}, tensor(alpha), tensor(sigma))
        clean = quantities(four["x_0"], four["eps"], sigma, alpha)
        check_two(student, clean, pair, sigma, alpha)
    near = quantities(four["x_0"], four["eps"], np.array([1.0, 1e-4]), np.array([1e-4, 1.0]))
    for pair in (("x_t", "x_0"), ("x_t", "eps"), ("x_t", "v")):
        check_two(student, near, pair, np.array([1.0, 1e-4]), np.array([1e-4, 1.0]))
    for keys in ((), ("x_t",), ("x_t", "eps", "v"), NAMES):
        student.raises(ValueError, student.any_two, {p: given[p] for p in keys}, tensor(sigma), tensor(sigma))
    wrong = {"x_t": given["x_t"], "score": given["v"]}
    student.raises(ValueError, student.any_two, wrong, tensor(sigma), tensor(sigma))


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


def check_covariance(student, alpha, sigma, order):
    M = mixing(alpha, sigma)
    wanted = (M @ M.T)[np.ix_(order, order)]
    got = array(student.path_covariance(tensor(alpha[order]), tensor(sigma[order])), wanted.shape)
    assert got == pytest.approx(wanted, rel=1e-8, abs=1e-10)


@pytest.mark.exercise("two-times", weight=1)
def test_covariance_of_any_schedule(student, rng):
    """The covariance is that of a path to which each step adds its own noise, for schedules that preserve the
    variance and for others, one time or many."""
    for n in (1, 2, 6):
        alpha, sigma = any_schedule(rng, n)
        check_covariance(student, alpha, sigma, np.arange(n))
        scale = np.hypot(alpha, sigma)
        check_covariance(student, alpha / scale, sigma / scale, np.arange(n))


@pytest.mark.exercise("two-times", weight=1)
def test_covariance_in_any_order(student, rng):
    """The times may come in any order: rows and columns move with them. Later is where SNR is smaller,
    whatever sigma alone says."""
    alpha, sigma = any_schedule(rng, 5)
    for order in (np.arange(5)[::-1], rng.permutation(5), rng.permutation(5)):
        check_covariance(student, alpha, sigma, order)
    check_covariance(student, np.array([5.0, 0.1]), np.array([1.0, 0.2]), np.array([1, 0]))


@pytest.mark.exercise("two-times", weight=2)
def test_covariance_at_the_ends(student, rng):
    """A clean time covaries with nothing, and so does pure noise with all others; nothing becomes NaN."""
    alpha, sigma = any_schedule(rng, 3)
    alpha, sigma = np.concatenate([[1.3], alpha, [0]]), np.concatenate([[0], sigma, [rng.uniform(0.5, 2)]])
    for order in (np.arange(5), np.arange(5)[::-1], rng.permutation(5)):
        check_covariance(student, alpha, sigma, order)


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


@pytest.mark.exercise("zero-terminal", weight=3)
def test_roots_on_a_line(student, rng):
    """From k = 1 on, the square roots of the new table are those of the old one, shifted and stretched: the
    first stays, the last is exactly 0. The clean end stays 1."""
    for T, last in ((2, 0.5), (7, 0.8), (50, 0.07)):
        check_table(student, falling_table(rng, T, last))


@pytest.mark.exercise("zero-terminal", weight=2)
def test_betas_give_the_table_back(student, rng):
    """The product of 1 - beta up to k is the new table; the last beta is 1, and the first is what it was."""
    for T in (3, 30):
        table = falling_table(rng, T, rng.uniform(0.05, 0.5))
        new, beta = check_table(student, table)
        assert np.cumprod(1 - beta) == pytest.approx(new[1:], abs=1e-10)
        assert beta[-1] == 1 and beta[0] == pytest.approx(1 - table[1], rel=1e-9)


@pytest.mark.exercise("zero-terminal", weight=1)
def test_again_changes_nothing(student, rng):
    """A table that already ends at 0 comes back as it was."""
    table = falling_table(rng, 12, 0.0)
    new, _ = check_table(student, table)
    assert new == pytest.approx(table, abs=1e-9)


# --- min-snr: the oracle is that the three losses of one and the same guess are equal ---


@pytest.mark.exercise("min-snr", weight=1)
def test_same_loss(student, rng):
    """For one guess of the picture, the weighted squared errors in the picture, in the noise and in v are one
    number, min(SNR, gamma) times the picture's: on both sides of gamma, for gamma above and below 1."""
    for gamma in (5.0, 0.3, float(rng.uniform(1, 3))):
        log_snr = np.concatenate([rng.uniform(-4, 5, 12), np.log(gamma) + np.array([-0.1, 0.1])])
        alpha, sigma = np.sqrt(1 / (1 + np.exp(-log_snr))), np.sqrt(1 / (1 + np.exp(log_snr)))
        off = rng.normal(size=len(log_snr))  # of the picture; then the noise is off by -alpha off / sigma
        errors = {"x_0": off, "eps": -alpha * off / sigma, "v": -(alpha**2 / sigma + sigma) * off}
        wanted = np.minimum(np.exp(log_snr), gamma) * off**2
        for kind, error in errors.items():
            weight = array(student.min_snr_weight(tensor(log_snr), kind, gamma), log_snr.shape)
            assert weight * error**2 == pytest.approx(wanted, rel=1e-8)


@pytest.mark.exercise("min-snr", weight=2)
def test_far_ends(student, rng):
    """At the ends of a schedule log SNR is hundreds or infinite, and every weight is finite and the limit of
    those before it."""
    gamma = float(rng.uniform(2, 8))
    far = np.array([-np.inf, -800.0, 800.0, np.inf])
    for kind, wanted in (("x_0", [0, 0, gamma, gamma]), ("eps", [1, 1, 0, 0]), ("v", [0, 0, 0, 0])):
        got = array(student.min_snr_weight(tensor(far), kind, gamma), (4,))
        assert got == pytest.approx(np.array(wanted), abs=1e-12)
        near = array(student.min_snr_weight(tensor([-40.0, 40.0]), kind, gamma), (2,))
        exact = {"x_0": [-40, np.log(gamma)], "eps": [0, np.log(gamma) - 40], "v": [-40, np.log(gamma) - 40]}
        assert np.log(near) == pytest.approx(np.array(exact[kind]), abs=1e-6)


@pytest.mark.exercise("min-snr", weight=1)
def test_unknown_kind(student, rng):
    """A kind that is none of the three raises ValueError. With a gamma above every SNR a network that says
    eps has weight 1."""
    log_snr = rng.uniform(-5, 5, 6)
    student.raises(ValueError, student.min_snr_weight, tensor(log_snr), "score", 5.0)
    assert array(student.min_snr_weight(tensor(log_snr), "eps", 1e6), (6,)) == pytest.approx(np.ones(6))


# --- best-variance: the oracle integrates the KL and searches the minimum ---


def mean_kl(rho2, b, c, m):
    """E KL(N(0, c^2) || N(b e, rho^2)), e^2 = m on average, by Gauss-Hermite quadrature."""
    u, weight = np.polynomial.hermite_e.hermegauss(12)
    ratio = 0.5 * np.log(rho2 / c**2) + 0.5 * ((c * u - b * np.sqrt(m)) ** 2 / rho2 - u**2)
    return weight @ ratio / weight.sum()


def answer(student, b, c, m):
    rho2, saved = parts(student.best_variance(tensor(b), tensor(c), tensor(m)), 2)
    return array(rho2, b.shape), array(saved, b.shape)


@pytest.mark.exercise("best-variance", weight=2)
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
    mean that is off. It is never below the posterior's, and the saving is never negative."""
    b, c, m = rng.uniform(0.2, 1, 6), rng.uniform(0.05, 2, 6), rng.uniform(0, 3, 6)
    rho2, saved = answer(student, b, c, m)
    for i in range(6):
        off = b[i] * np.sqrt(m[i]) * np.array([-1, 1])  # two pixels whose squared errors average to m
        second = np.mean([off**2 + c[i] ** 2])
        assert rho2[i] == pytest.approx(second, rel=1e-9)
    assert (rho2 >= c**2 - 1e-12).all() and (saved >= -1e-12).all()


@pytest.mark.exercise("best-variance", weight=1)
def test_extreme_pictures(student, rng):
    """A perfect picture saves nothing; a hopeless one saves nearly all; a very small posterior deviation does
    not overflow."""
    b, c, m = np.ones(3), np.array([0.3, 1e-8, 1e-3]), np.array([0.0, 1.0, 1e4])
    rho2, saved = answer(student, b, c, m)
    assert rho2 == pytest.approx(np.array([0.09, 1.0, 1e4]), rel=1e-6)
    assert saved[0] == pytest.approx(0, abs=1e-12)
    assert saved[1:] == pytest.approx(
        np.array([0.5e16 - 0.5 * np.log(1e16), 0.5e10 - 0.5 * np.log(1e10)]), rel=1e-9
    )


# --- repair: Bayes' rule on the joint normal of x_{k-1} and x_k; a network that knows the noise ---


def table_of(rng, T):
    return np.concatenate([[1.0], np.cumprod(1 - rng.uniform(0.02, 0.4, T))])


def bayes(table, k, x_k, x_0):
    """Mean and deviation of q(x_{k-1} | x_k, x_0) from the covariance of the two."""
    before, now = table[k - 1], table[k]
    cov = np.sqrt(now / before) * (1 - before)
    mean = np.sqrt(before) * x_0 + cov / (1 - now) * (x_k - np.sqrt(now) * x_0)
    return mean, np.sqrt(max(0.0, 1 - before - cov**2 / (1 - now)))


def step(student, x_k, eps_y, eps_none, w, k, table, z):
    arguments = (tensor(v) for v in (x_k, eps_y, eps_none))
    return array(student.repaired_step(*arguments, w, k, tensor(table), tensor(z)), x_k.shape)


def check_step(student, rng, shape, w, k, table):
    x_k, eps_y, eps_none, z = rng.normal(size=(4, *shape))
    noise = np.sqrt(1 - table[k])
    x_k = noise * x_k  # so that a step shows where there is little noise
    eps = (1 - w) * eps_none + w * eps_y
    x_0 = (x_k - noise * eps) / np.sqrt(table[k])
    mean, deviation = bayes(table, k, x_k, x_0)
    got = step(student, x_k, eps_y, eps_none, w, k, table, z)
    assert got == pytest.approx(mean + deviation * z, rel=1e-4, abs=1e-4 * noise)


@pytest.mark.exercise("repair", weight=2)
def test_posterior_step(student, rng):
    """Without guidance, one step is a draw of Bayes' posterior with the network's picture in it: its mean and
    its deviation, at any k, for any table: also one with almost no noise, and one that adds nearly all of it
    in one step."""
    for shape, T in (((4, 3), 8), ((1, 5), 3), ((2, 1, 4, 4), 30)):
        table = table_of(rng, T)
        for k in {2, T, int(rng.integers(2, T + 1))}:
            check_step(student, rng, shape, 1.0, k, table)
    for table in ([1, 1 - 5e-9, 1 - 1e-8], [1, 0.5, 1e-8]):
        check_step(student, rng, (4, 3), 1.0, 2, np.array(table))


@pytest.mark.exercise("repair", weight=2)
def test_guided_step(student, rng):
    """With guidance w the noise lies on the line from the answer without label, at w = 0, through the answer
    with it, at w = 1, and beyond."""
    table = table_of(rng, 9)
    for w in (0.0, 2.0, float(rng.uniform(0.2, 5)), -1.0):
        check_step(student, rng, (3, 4), w, int(rng.integers(2, 10)), table)


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
        x = step(student, x, eps, rng.normal(size=x.shape), 1.0, k, table, rng.normal(size=x.shape))
    assert abs(x.mean() - mean) < 6 * np.sqrt(expected / n)
    assert abs(x.std() / np.sqrt(expected) - 1) < 6 / np.sqrt(2 * n)


@pytest.mark.exercise("repair", weight=2)
def test_walk_back(student, rng):
    """A walk from k = T to 0 with a network that knows the data, one normal distribution, ends at data of the
    right mean and spread; the last step adds no noise."""
    for width in (0.4, 0.1):
        walk(student, rng, 0.7, width)
    table, (x_0, eps) = table_of(rng, 4), rng.normal(size=(2, 3, 2))
    first = np.sqrt(table[1]) * x_0 + np.sqrt(1 - table[1]) * eps
    assert step(student, first, eps, eps, 2.0, 1, table, 9 + eps) == pytest.approx(x_0, abs=1e-4)


# --- bridge: the oracle conditions the joint normal of the three times, with any x_0 ---


def condition(alpha, sigma):
    """a, b, c of x_s given x_r and x_t, from their covariance given x_0 (the chain of `mixing`)."""
    M = mixing(alpha, sigma)
    C = M @ M.T
    outer = [0, 2]
    weights = np.linalg.lstsq(C[np.ix_(outer, outer)], C[outer, 1], rcond=None)[0]
    return *weights, np.sqrt(max(0.0, C[1, 1] - weights @ C[outer, 1]))


def check_bridge(student, alpha, sigma):
    found = [array(v, (len(alpha),)) for v in parts(student.bridge(tensor(alpha), tensor(sigma)), 3)]
    for i, (row, noise) in enumerate(zip(alpha, sigma, strict=True)):
        wanted = np.array(condition(row, noise))
        assert np.array([v[i] for v in found]) == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    return found


@pytest.mark.exercise("bridge", weight=3)
def test_conditional_of_three(student, rng):
    """a, b and c are those of the joint normal distribution of the three times, conditioned on the outer two,
    for schedules that preserve the variance and for others; each row has its own times."""
    for B in (1, 5):
        alpha, sigma = (np.stack(v) for v in zip(*[any_schedule(rng, 3) for _ in range(B)], strict=True))
        a, b, _ = check_bridge(student, alpha, sigma)
        assert alpha[:, 1] == pytest.approx(a * alpha[:, 0] + b * alpha[:, 2])  # x_0 must not matter
        scale = np.hypot(alpha, sigma)
        check_bridge(student, alpha / scale, sigma / scale)


def ends_of(rng):
    inner = any_schedule(rng, 2)
    alpha = np.array([[1.0, inner[0][0], inner[0][1]], [inner[0][0], inner[0][1], 0.0]])
    sigma = np.array([[0.0, inner[1][0], inner[1][1]], [inner[1][0], inner[1][1], 1.5]])
    return alpha, sigma


@pytest.mark.exercise("bridge", weight=1)
def test_bridge_ends(student, rng):
    """A clean first time and a last one of pure noise are no special cases: nothing becomes NaN, and pure
    noise tells nothing."""
    alpha, sigma = ends_of(rng)
    a, b, c = (array(v, (2,)) for v in parts(student.bridge(tensor(alpha), tensor(sigma)), 3))
    M = mixing(alpha[0], sigma[0])
    to_s, to_t = alpha[0, 1] / alpha[0, 0], alpha[0, 2] / alpha[0, 1]
    keep = M[2, 2] ** 2 / (M[2, 2] ** 2 + (to_t * sigma[0, 1]) ** 2)
    assert a[0] == pytest.approx(to_s * keep) and c[0] == pytest.approx(sigma[0, 1] * np.sqrt(keep))
    assert b[0] == pytest.approx((alpha[0, 1] - a[0]) / alpha[0, 2])
    plain = alpha[1, 1] / alpha[1, 0]
    assert b[1] == pytest.approx(0, abs=1e-12) and a[1] == pytest.approx(plain)
    assert c[1] == pytest.approx(np.sqrt(sigma[1, 1] ** 2 - (plain * sigma[1, 0]) ** 2))


@pytest.mark.exercise("bridge", weight=1)
def test_bridge_keeps_the_law(student, rng):
    """Walking from r to t and then filling in s gives the law of s that walking directly gives: the same
    variance, and the same covariance with both ends."""
    alpha, sigma = (v[None] for v in any_schedule(rng, 3))
    a, b, c = (array(v, (1,))[0] for v in parts(student.bridge(tensor(alpha), tensor(sigma)), 3))
    M = mixing(alpha[0], sigma[0])
    C = M @ M.T
    assert a * C[0, 0] + b * C[0, 2] == pytest.approx(C[0, 1])
    assert a * C[0, 2] + b * C[2, 2] == pytest.approx(C[1, 2])
    assert a**2 * C[0, 0] + b**2 * C[2, 2] + 2 * a * b * C[0, 2] + c**2 == pytest.approx(C[1, 1])
