"""Hidden tests of lesson 13_gan. A docstring is what the learner reads when its test fails."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from autograde.checks import array, from_tensor, number, parts
from autograde.relations import (
    any_level,
    any_order,
    any_unit,
    both_types,
    generator_decides,
    gradient_is_slope,
    rows_alone,
    strided,
)
from autograde.training import learned, train


def tensor(value, dtype=torch.float64):
    return torch.tensor(np.asarray(value), dtype=dtype)


# --- coverage: the oracle measures distances with the inverse of each covariance ---


def modes(rng, K, D):
    """Means, Cholesky factors of very different shapes and scales, and uneven shares."""
    mu = rng.normal(size=(K, D)) * 8
    L = np.tril(rng.normal(size=(K, D, D))) * np.exp(rng.normal(size=(K, 1, 1)))
    L[:, range(D), range(D)] = np.exp(0.7 * rng.normal(size=(K, D)))
    return mu, L, rng.dirichlet(np.full(K, 2.0)) * 0.9 + 0.1 / K


def points(rng, mu, L, n):
    """Points of a few modes only, and strays."""
    k = rng.integers(max(1, len(mu) // 2), size=n)
    x = mu[k] + np.einsum("nij,nj->ni", L[k], rng.normal(size=(n, mu.shape[1])))
    return np.where(rng.random((n, 1)) < 0.15, rng.normal(size=x.shape) * 12, x)


def report(x, mu, L, pi, radius):
    inverse = np.array([np.linalg.inv(factor @ factor.T) for factor in L])
    away = x[:, None] - mu
    distance = np.sqrt(np.einsum("nki,kij,nkj->nk", away, inverse, away))
    good = distance.min(1) <= radius
    if not good.any():
        return 0, 0.0, np.inf
    share = np.bincount(distance.argmin(1)[good], minlength=len(mu)) / good.sum()
    kl = sum(a * math.log(a / due) for a, due in zip(share, pi, strict=True) if a)
    return (2 * share >= pi).sum(), good.mean(), kl


def check_report(student, x, mu, L, pi, radius):
    found = parts(student.mode_report(*map(tensor, (x, mu, L, pi)), radius), 3)
    wanted = report(x, mu, L, pi, radius)
    assert number(found[0]) == wanted[0]
    assert number(found[1]) == pytest.approx(wanted[1], abs=1e-6)
    assert number(found[2], finite=False) == pytest.approx(wanted[2], abs=1e-6)


@pytest.mark.exercise("coverage", weight=1)
def test_any_mixture(student, rng):
    """Modes of any shape, size and share, in any dimension and unit, modes and points in any order, in any
    memory layout, also as many points as modes and dimensions: the distance is that of each mode's
    covariance, and a point counts only for the mode from which it is least distant."""
    for K, D, n in ((3, 1, 150), (1, 4, 150), (20, 2, 150), (4, 4, 4), (8, 3, 150)):
        mu, L, pi = modes(rng, K, D)
        x, radius = points(rng, mu, L, n), float(rng.uniform(1, 2.5))
        check_report(student, x, mu, L, pi, radius)
    check_report(student, np.roll(mu, 1, axis=0), mu, L, pi, radius)
    found = lambda *given: parts(student.mode_report(*given, radius), 3)  # noqa: E731
    x, mu, L, pi = map(tensor, (x, mu, L, pi))
    any_unit(lambda c: found(c * x, c * mu, c * L, pi), rel=1e-6)
    any_order(lambda k: found(x, mu[k], L[k], pi[k]), K, rng, (), rel=1e-6, abs=1e-6)
    any_order(lambda k: found(x[k], mu, L, pi), n, rng, (), rel=1e-6, abs=1e-6)
    strided(found, x, mu, L, pi, rel=1e-6)


@pytest.mark.exercise("coverage", weight=1)
def test_uneven_shares(student, rng):
    """A mode is covered when it has half of what is due to it among the good points, exactly half included,
    and KL compares their shares with the mixture's: strays change neither. A point exactly at the radius is
    good, a billionth further, in float64, it is not. Without a good point no mode is covered, no point is
    good, and KL is infinite; one good point is enough for numbers."""
    K = 6
    mu, L = 100.0 * np.arange(K)[:, None] * np.ones((K, 2)), np.tile(np.eye(2), (K, 1, 1))
    pi = rng.permutation([0.4, 0.3, 0.15, 0.09, 0.04, 0.02]) * np.exp(0.1 * rng.normal(size=K))  # no ties
    pi /= pi.sum()
    for counts in (
        rng.integers(0, 30, K),
        rng.multinomial(300, pi),
        200 * np.eye(K, dtype=int)[rng.integers(K)],
    ):
        inside = np.repeat(mu, counts, axis=0) + rng.uniform(-0.5, 0.5, (counts.sum(), 2))
        strays = rng.uniform(-90, -40, (int(rng.integers(50, 300)), 2))
        check_report(student, rng.permutation(np.concatenate([inside, strays])), mu, L, pi, 2.0)
    mu, L = np.array([[0.0, 0.0], [64.0, 0.0]]), np.tile(2 * np.eye(2), (2, 1, 1))
    for others, due in ((3, 0.5), (3, 0.5 + 1e-7), (4, 0.5)):  # half of it, a hair less, two fifths of it
        for at_radius in (4.0, 4.0 * (1 + 1e-9)):
            x = np.concatenate([[[at_radius, 0.0]], np.tile(mu[1:], (others, 1))])
            check_report(student, x, mu, L, np.array([due, 1 - due]), 2.0)
    mu, L, pi = modes(rng, 4, 3)
    check_report(student, mu + 1e5, mu, L, pi, 3.0)
    check_report(student, np.concatenate([mu[2:3], mu + 1e5]), mu, L, pi, 3.0)


# --- prejudice: the oracle builds the best discriminator from known densities, then asks for them back ---


def best_logit(log_r, n_p, n_q, s):
    """The logit of the best discriminator, from its formula in p and q."""
    r = np.exp(log_r)
    D = (1 - s) * n_p * r / (n_p * r + n_q)
    return np.log(D) - np.log1p(-D)


def check_ratio(student, logit, n_p, n_q, s, wanted, abs=1e-6):
    """inf where it is wanted, finite numbers elsewhere."""
    found = array(student.log_ratio(tensor(logit), n_p, n_q, s), np.shape(logit), finite=False)
    wanted = np.asarray(wanted, dtype=float)
    assert (np.isinf(found) == np.isinf(wanted)).all()
    assert found[np.isinf(wanted)] == pytest.approx(wanted[np.isinf(wanted)])
    assert found[np.isfinite(wanted)] == pytest.approx(wanted[np.isfinite(wanted)], abs=abs)


@pytest.mark.exercise("prejudice", weight=1, returns={"log_ratio": "tensor like 0 shape 0"})
def test_known_ratio(student, rng):
    """From the logit of the best discriminator of two known densities comes their log ratio, exactly: for any
    numbers of real and made samples, one included, with and without smoothing, of any strength, however
    little, for logits of any shape and memory layout, each for itself. Logits of hundreds and thousands, of
    either sign, lose nothing. At the ceiling, and a little or far above it, the answer is inf, never NaN."""
    for s in (0.0, 0.1, float(rng.uniform(0.02, 0.3)), 0.99):
        for shape, most in (((7,), 500), ((), 500), ((1,), 500), ((3, 4), 2)):
            n_p, n_q = int(rng.integers(1, most)), int(rng.integers(1, 500))
            log_r = np.asarray(rng.uniform(-6, 4, shape))
            logit = best_logit(log_r, n_p, n_q, s)
            check_ratio(student, logit, n_p, n_q, s, log_r, abs=1e-8)
    strided(lambda v: student.log_ratio(v, n_p, n_q, s), tensor(logit), rel=0, abs=1e-8)
    far = np.concatenate([-rng.uniform(300, 3_000, 5), rng.uniform(300, 3_000, 5)])
    n_p, n_q, s = 20, int(rng.integers(30, 90)), float(rng.uniform(0.05, 0.3))
    shift = math.log(n_q / n_p)
    any_level(lambda c: student.log_ratio(tensor(far + c), n_p, n_q, 0.0), 1, rel=0, abs=1e-6)
    for smoothing in (0.0, s):
        rows_alone(lambda v: student.log_ratio(v, n_p, n_q, smoothing), tensor(far[3:7]), rel=0, abs=1e-6)  # noqa: B023
    check_ratio(student, far, n_p, n_q, 0.0, far + shift)
    check_ratio(student, far, n_p, n_q, s, np.where(far < 0, far - math.log(1 - s) + shift, np.inf))
    for smoothing, step in ((s, 1e-3), (1e-4, 1e-3), (1e-9, 1.0), (0.5, 1e-3)):
        ceiling, below = math.log((1 - smoothing) / smoothing), math.log(-math.expm1(-step))
        wanted = ceiling - step - math.log(1 - smoothing) - below + shift
        check_ratio(student, [ceiling - step, ceiling + step], n_p, n_q, smoothing, [wanted, np.inf])
    check_ratio(student, [0.0, 0.0], n_p, n_q, 0.5, [np.inf, np.inf])  # D is 1/2, the ceiling itself


@pytest.mark.exercise("prejudice", weight=1, returns={"probability_real": "tensor like 0 shape 0"})
def test_posterior(student, rng):
    """The probability that a picture is real follows Bayes' rule for the share at hand, to the digits of
    float64, whatever shares the discriminator was trained with: log ratios of any shape and memory layout, of
    float32, too, huge or infinite ones, each for itself."""
    for shape, fake in (((6,), 0.3), ((2, 3), 1e-9), ((1, 2, 3), 0.999), ((1, 6), float(rng.uniform()))):
        p, q = (rng.dirichlet(np.ones(6)).reshape(shape) for _ in range(2))
        log_r = tensor(np.log(p / q))
        found = array(student.probability_real(log_r, fake), shape)
        assert found == pytest.approx((1 - fake) * p / ((1 - fake) * p + fake * q), rel=1e-9)
        both_types(lambda v: student.probability_real(v, fake), log_r, rel=1e-4)  # noqa: B023
    strided(lambda v: student.probability_real(v, 0.3), tensor(rng.normal(size=(3, 4))), rel=1e-9)
    assert number(student.probability_real(tensor(math.log(3)), 0.5)) == pytest.approx(0.75, rel=1e-9)
    ends = array(student.probability_real(tensor([np.inf, -np.inf, 5e3, -5e3, 0.0]), 0.3), (5,))
    assert ends[:4].tolist() == [1, 0, 1, 0] and ends[4] == pytest.approx(0.7, rel=1e-9)


# --- f-gan: the oracle is the divergence of two counts, which the samples realise exactly ---


DIVERGENCES = {
    "kl": lambda u: u * np.log(u),
    "reverse kl": lambda u: -np.log(u),
    "pearson": lambda u: (u - 1) ** 2,
    "hellinger": lambda u: (np.sqrt(u) - 1) ** 2,
}


SLOPES = {
    "kl": lambda u: 1 + np.log(u),
    "reverse kl": lambda u: -1 / u,
    "pearson": lambda u: 2 * (u - 1),
    "hellinger": lambda u: 1 - 1 / np.sqrt(u),
}


def counted(rng):
    """Counts of real and of made samples over some outcomes, with their ratio: the divergences' exact inputs.

    Made ones are more; then the two exchanged.
    """
    K = int(rng.integers(3, 7))
    n_p, n_q = rng.integers(1, 12, K), rng.integers(1, 12, K)
    n_q[0] += n_p.sum()
    r = (n_p / n_p.sum()) / (n_q / n_q.sum())
    return (n_p, n_q, r), (n_q, n_p, 1 / r)


def bound(student, name, v, n_p, n_q):
    """The student's bound where v holds a guess of the log ratio for each outcome."""
    found = student.f_bound(name, tensor(np.repeat(v, n_p)), tensor(np.repeat(v, n_q)))
    return number(found)


JOINED = """
def joined(bound, name, v, n):
    return bound(name, v[:n], v[n:])
"""
OTHERS = (
    "total variation",
    "",
    "KL",
    "Pearson",
    "reverse",
    "reverse_kl",
    "kl ",
    "pears",
    "hellinger distance",
)


@pytest.mark.exercise("f-gan", weight=1, returns={"f_bound": "tensor like 1"})
def test_bound(student, rng):
    """At the true log ratio the bound is the divergence itself, for all four judges, and for more real than
    made samples and fewer; in float32, too, and in any memory layout. Any other guess gives less, by exactly
    what the conjugate says: with T = f'(e^v) it is the mean of T over the real samples less the mean of f*(T)
    over the made ones, however far off the guess is. It can be climbed: its gradients by the outputs on real
    samples and on made ones are those of finite differences. A name that is none of the four, be it close to
    one of them, raises ValueError."""
    tight_at_the_true_ratio(student, rng)
    less_elsewhere(student, rng)


def tight_at_the_true_ratio(student, rng):
    for (name, f), (n_p, n_q, r) in itertools.product(DIVERGENCES.items(), counted(rng)):
        wanted = (n_q / n_q.sum() * f(r)).sum()
        assert bound(student, name, np.log(r), n_p, n_q) == pytest.approx(wanted, abs=1e-9)
    outputs = [tensor(np.repeat(np.log(r), n)) for n in (n_p, n_q)]
    for name in DIVERGENCES:
        both_types(lambda *v: student.f_bound(name, *v), *outputs, rel=1e-4, abs=1e-4)  # noqa: B023
        strided(lambda *v: student.f_bound(name, *v), *outputs, rel=1e-9, abs=1e-9)  # noqa: B023
    for name in OTHERS:
        student.raises(ValueError, student.f_bound, name, *outputs)


def less_elsewhere(student, rng):
    for (name, f), (n_p, n_q, r) in zip(DIVERGENCES.items(), 2 * counted(rng), strict=True):
        v = np.log(r) + rng.normal(size=len(r))
        u, step = np.exp(v), 1e-5
        T = (f(u * (1 + step)) - f(u * (1 - step))) / (2 * step * u)
        wanted = (n_p * T).sum() / n_p.sum() - (n_q * (u * T - f(u))).sum() / n_q.sum()
        found = bound(student, name, v, n_p, n_q)
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-5)
        best = (n_q / n_q.sum() * f(r)).sum()
        for shift in (0.0, 0.3, -0.3):
            below = best - bound(student, name, np.log(r) + shift, n_p, n_q)
            assert below > 1e-6 if shift else abs(below) < 1e-9
        highest = 36.0 if name == "hellinger" else 300.0  # where f* can be found as it is defined
        for v_p, v_q in ((-300.0, 36.0), (300.0, -300.0), (36.0, highest), (-36.0, -36.0)):
            u, T = np.exp(v_q), SLOPES[name](np.exp([v_p, v_q]))
            found = number(student.f_bound(name, tensor([v_p]), tensor([v_q])))
            assert found == pytest.approx(T[0] - (u * T[1] - f(u)), rel=1e-6)
        outputs = tensor(np.concatenate([np.repeat(np.log(r) + 0.3, n) for n in (n_p, n_q)]))
        given = student.f_bound, name, outputs, int(n_p.sum())
        gradient_is_slope(student.define(JOINED), 2, *given, rng=rng, rel=1e-6)


# --- f-gan, the step: the oracle takes f' and f* as they are, and torch's optimizers ---


PARTS = {
    "kl": (lambda u: 1 + u.log(), lambda u: u),
    "reverse kl": (lambda u: -1 / u, lambda u: u.log() - 1),
    "pearson": (lambda u: 2 * (u - 1), lambda u: u**2 - 1),
    "hellinger": (lambda u: 1 - u**-0.5, lambda u: u**0.5 - 1),
}
PLAYERS = """
    import torch

    class Upright(torch.nn.Module):
        def __init__(self, m, log_s):
            super().__init__()
            self.m, self.log_s = (torch.nn.Parameter(v.clone()) for v in (m, log_s))

        def forward(self, z):
            return self.m + self.log_s.exp() * z

    class Quadratic(torch.nn.Module):
        def __init__(self, w):
            super().__init__()
            self.w = torch.nn.Parameter(w.clone())

        def forward(self, x):
            a, b = x.T
            return torch.stack([0 * a + 1, a, b, a * a - 1, b * b - 1, a * b], dim=1) @ self.w
"""
GAME = """
def game(step, name, m, log_s, w, x, z, optimizer, options):
    {players}
    G, judge = Upright(m, log_s), Quadratic(w)
    make = getattr(torch.optim, optimizer)
    opts = [make(net.parameters(), **option) for net, option in zip((G, judge), options)]
    bounds, weights = [], [G.m, G.log_s, judge.w]
    for real, noise in zip(x, z):
        for weight in weights:  # what is left over from somebody else
            weight.grad = torch.full_like(weight, 3.0)
        bounds.append(float(step(name, G, judge, *opts, real, noise)))
    ready = [float(net.training) for net in (G, judge)] + [float(weight.requires_grad) for weight in weights]
    return [bounds, *[weight.detach() for weight in weights], ready]
""".replace("{players}", PLAYERS.strip())
ONE_STEP = """
def one(step, name, x, m, log_s, w):
    {players}
    G, judge = Upright(m, log_s), Quadratic(w)
    opts = [torch.optim.SGD(net.parameters(), 0.1) for net in (G, judge)]
    bound = step(name, G, judge, *opts, x, x)
    return float(bound.requires_grad), bound
""".replace("{players}", PLAYERS.strip())
LEARN_GAN = """
def learn(step, names, lean, m, log_s, steps):
    {players}
    ends = []
    for name in names:
        G, judge = Upright(m, log_s), Quadratic(torch.zeros(6, dtype=torch.float64))
        rates = ((G, 1e-2), (judge, 2e-2))
        opts = [torch.optim.Adam(net.parameters(), lr, betas=(0.5, 0.99)) for net, lr in rates]
        mean = 0.0
        for n in range(steps):
            x, z = torch.randn(2, 384, 2, dtype=torch.float64)
            step(name, G, judge, *opts, x @ lean.T, z)
            mean = mean + torch.cat([G.m, G.log_s.exp()]).detach() * (2 * n >= steps)
        ends.append(mean / sum(2 * n >= steps for n in range(steps)))
    return torch.stack(ends)
""".replace("{players}", PLAYERS.strip())


def oracle_step(name, G, judge, opt_G, opt_judge, x, z):
    """The bound by f' and f* of the ratio; the judge by autograd first, then the generator."""
    slope, conjugate = PARTS[name]

    def bound():
        return slope(judge(x).exp()).mean() - conjugate(judge(G(z)).exp()).mean()

    before = bound()
    for net, optimizer, sign in ((judge, opt_judge, -1), (G, opt_G, 1)):
        weights = list(net.parameters())
        for weight, gradient in zip(weights, torch.autograd.grad(sign * bound(), weights), strict=True):
            weight.grad = gradient
        optimizer.step()
    return before.detach()


KINDS_OF_DESCENT = (
    ("SGD", [{"lr": 0.05}, {"lr": 0.02}]),
    ("SGD", [{"lr": 0.02, "momentum": 0.6}, {"lr": 0.02, "momentum": 0.4}]),
    ("Adam", [{"lr": 0.02}, {"lr": 0.03}]),
)


def games(rng):
    """Each judge, each kind of descent and each pair of sizes, and points of a thousandth and a thousand.

    Yields name, optimizer, its options for either net, sizes of x and z, unit.
    """
    kinds, sizes = [*rng.permutation(3), rng.integers(3)], rng.permutation([(7, 5), (4, 6), (1, 3), (5, 1)])
    for name, kind, size in zip(PARTS, kinds, sizes.tolist(), strict=True):
        yield name, *KINDS_OF_DESCENT[kind], size, 1.0
    for unit, rates in ((1e-3, (5e-8, 2e-2)), (1e3, (5e-2, 2e-14))):
        yield rng.choice(list(PARTS)).item(), "SGD", [{"lr": rate} for rate in rates], (5, 6), unit


def players(rng, unit):
    """Weights of an `Upright` and a `Quadratic` for points of about this size: m, log s and w."""
    m, log_s, w = (rng.choice([-1, 1], n) * rng.uniform(0.1, 0.3, n) for n in (2, 2, 6))
    w[1:3] /= unit
    w[3:] *= unit**-2 * (unit >= 1)
    return tensor(unit * m), tensor(log_s + math.log(unit)), tensor(w)


def rounds(rng, N, M, unit):
    """Three rounds of real points of about this size, and of noise."""
    x, z = (0.5 * rng.normal(size=(3, n, 2)) + 0.3 for n in (N, M))
    return tensor(unit * x), tensor(z)


@pytest.mark.exercise("f-gan", weight=1, costly=True)
def test_step_and_training(student, rng):
    """A step moves the judge up the bound, then the generator down it, against the judge that has moved, each
    by its own optimizer, whatever it is, and by nothing else: gradients that were there before do not count.
    It returns the bound before either moved, a number of the networks' type, and leaves both networks ready
    for the next step. It works for all four judges, for more real than made samples and fewer, for one of
    either, and whatever the size of weights, points and gradients: none is cut. Trained with it, a generator
    that cannot lean comes to the variances of the data with KL, and to those of each coordinate given the
    other with reverse KL."""
    scope = {}
    exec(GAME, scope)
    game = student.define(GAME)
    for name, optimizer, options, (N, M), unit in games(rng):
        given = (name, *players(rng, unit), *rounds(rng, N, M, unit), optimizer, options)
        wanted = scope["game"](oracle_step, *given)
        found = parts(game(student.f_gan_step, *given), 5)
        for got, true in zip(found, wanted, strict=True):
            assert array(got, np.shape(true)) == pytest.approx(np.array(true), rel=1e-9, abs=1e-11)
    one = [tensor(v) for v in ([0.1, 0.2], [0.1, -0.2], [0, 0.3, 0.1, 0.2, -0.1, 0.2])]
    again = student.define(ONE_STEP)(student.f_gan_step, "kl", tensor(rng.normal(size=(4, 2))), *one)
    has_gradient, value = parts(again, 2)
    assert number(has_gradient) == 0
    from_tensor(value, (), torch.float64)
    rho = float(rng.choice([-1, 1]) * rng.uniform(0.5, 0.56))
    lean = tensor([[1.0, 0.0], [rho, math.sqrt(1 - rho**2)]])
    m, log_s = tensor(rng.choice([-0.5, 0.5], 2)), tensor(rng.permutation([0.35, 0.2]))
    name, s = [("kl", 1.0), ("reverse kl", math.sqrt(1 - rho**2))][rng.integers(2)]
    given = student.f_gan_step, [name], lean, m, log_s, 250
    end = train(student, LEARN_GAN, *given, seed=int(rng.integers(2**31)), seconds=6.0)
    truth = np.array([[0, 0, s, s]])
    before = np.abs(np.concatenate([m.numpy(), np.exp(log_s.numpy())]) - truth).max()
    learned(before, float(np.abs(array(end, (1, 4), finite=False) - truth).max()), 0.08)


# --- penalty: critics whose slope is known ---


PLANES = """
def critic(x, y):
    import torch
    directions = torch.tensor({directions}, dtype=torch.{kind})
    return (x.flatten(1)[:, None] @ directions[y][:, :, None]).flatten()
"""
PICTURES = (9, (1, 4, 4)), (1, (2, 1, 1)), (6, (3, 2, 5))
BOWL = """
def critic(x, y):
    import torch
    return 0.5 * torch.tensor({steep}, dtype=torch.float64)[y] * x.flatten(1).square().sum(dim=1)
"""
ROUGH = """  # its slope is 0 where all pixels are equal
def critic(x, y):
    pixels = x.flatten(1)
    return 1e6 * (pixels - pixels.mean(dim=1, keepdim=True)).square().sum(dim=1)
"""
LEARN = """
def learn(scale, penalty, real, fake, y, generator):
    import torch
    weight = torch.tensor(scale, dtype=real.dtype, requires_grad=True)
    critic = lambda x, c: weight[c] * x.flatten(1).square().sum(dim=1) / 2
    penalty(critic, real, fake, y, generator).backward()
    return weight.grad
"""


@pytest.mark.exercise("penalty", weight=1, returns={"one_sided_penalty": "tensor like 1"})
def test_planes(student, rng):
    """A critic that is a plane for each class has the slope of its class everywhere: only what is above 1 is
    punished, by its square, however steep, and the mean is over all pictures. Pictures of any shape and
    memory layout, of float64, to its digits, and float32, a batch of one. Its gradient by the critic's
    weights is right, for each class its own, and 0, not NaN, where the slope is 0 or below 1, also of one
    picture among others; it alone is what reaches the weights."""
    for (B, shape), (kind, rel) in itertools.product(PICTURES, (("float64", 1e-9), ("float32", 1e-4))):
        norms = rng.permutation([rng.uniform(0.2, 0.9), rng.uniform(1.1, 1.4), rng.uniform(30, 60)])
        directions = rng.normal(size=(3, math.prod(shape)))
        directions *= norms[:, None] / np.linalg.norm(directions, axis=1, keepdims=True)
        critic = student.define(PLANES.format(directions=directions.tolist(), kind=kind))
        y, g = torch.tensor(rng.permutation(np.arange(B) % 3)), student.generator(rng.integers(2**31))
        found = lambda *v: student.one_sided_penalty(critic, *v, y, g)  # noqa: B023, E731
        pictures = [tensor(v, getattr(torch, kind)) for v in rng.normal(size=(2, B, *shape))]
        wanted = (np.maximum(norms[y] - 1, 0) ** 2).mean()
        assert number(found(*pictures)) == pytest.approx(wanted, rel=rel, abs=rel / 1_000)
    strided(lambda *v: number(found(*v)), *pictures, rel=1e-4, abs=1e-7)
    x, y = rng.normal(size=(4, 1, 3, 3)), np.array([0, 1, 1, 0])
    x[0] = 0
    norm = np.linalg.norm(x.reshape(4, -1), axis=1)
    steep = rng.uniform(2, 3, 2) / norm[1:].min()
    for scale in (0 * steep, np.full(2, 0.5 / norm.max()), steep, steep * [0, 1]):
        excess = np.maximum(scale[y] * norm - 1, 0)
        given = student.one_sided_penalty, tensor(x), tensor(x), torch.tensor(y), student.generator(1)
        slope = array(student.define(LEARN)(scale.tolist(), *given), (2,))
        wanted = [(2 * norm * excess)[y == c].sum() / 4 for c in range(2)]
        assert slope == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@pytest.mark.exercise("penalty", weight=1)
def test_between(student, rng):
    """The slope is taken on the line from made to real, evenly along it, one place for each picture, the same
    for all of its pixels and channels, all from the generator: on a bowl the penalty follows from where the
    places lie. Made and real themselves are not enough. Each picture is judged as one of its own class."""
    B, steep, u = 3_000, float(rng.uniform(2, 4)), rng.normal(size=(1, 2, 4, 4))
    a, b = float(rng.uniform(0.9, 1.5)), -float(rng.uniform(0.1, 0.6))
    line = [tensor(end * u.repeat(B, 0) / np.linalg.norm(u)) for end in (a, b)]
    bowl, y = student.define(BOWL.format(steep=[steep])), torch.zeros(B, dtype=torch.long)
    got = number(student.one_sided_penalty(bowl, *line, y, student.generator(rng.integers(2**31))))
    eps = (np.arange(10_000) + 0.5) / 10_000
    values = np.maximum(steep * np.abs(eps * a + (1 - eps) * b) - 1, 0) ** 2
    assert got == pytest.approx(values.mean(), abs=6 * values.std() / math.sqrt(B))
    few = [v[:100] for v in (*line, y)]
    generator_decides(lambda g: student.one_sided_penalty(bowl, *few, g), student.generator, rng)
    even = [torch.full((5, 2, 3, 4), end, dtype=torch.float64) for end in (1.0, -1.0)]
    rough = student.one_sided_penalty(student.define(ROUGH), *even, y[:5], student.generator(1))
    assert number(rough) == pytest.approx(0, abs=1e-9)
    x, y, steep = rng.normal(size=(5, 2, 2, 3)), np.array([0, 1, 2, 2, 1]), rng.uniform(1, 9, 3)
    given = tensor(x), tensor(x), torch.tensor(y), student.generator(1)
    excess = np.maximum(steep[y] * np.linalg.norm(x.reshape(5, -1), axis=1) - 1, 0)
    got = number(student.one_sided_penalty(student.define(BOWL.format(steep=steep.tolist())), *given))
    assert got == pytest.approx((excess**2).mean(), rel=1e-9)


# --- conv-norm: the oracle writes the layer as a matrix, column by column, and takes its singular values ---


def dense_norm(weight, side, stride, padding):
    C = weight.shape[1]
    basis = torch.eye(C * side**2, dtype=torch.float64).view(-1, C, side, side)
    columns = F.conv2d(basis, tensor(weight), stride=stride, padding=padding).flatten(1)
    return torch.linalg.matrix_norm(columns, 2).item()


def check_norm(student, rng, weight, side, stride, padding, rounds=100, slack=0.05):
    got = number(
        student.conv_norm(
            tensor(weight), side, stride, padding, rounds, student.generator(rng.integers(2**31))
        )
    )
    wanted = dense_norm(weight, side, stride, padding)
    assert (1 - slack) * wanted < got < (1 + 1e-6) * wanted


def lone_pixels(*gains):
    """A kernel that multiplies each channel by a number: the layer's singular values are these."""
    weight = np.zeros((len(gains), len(gains), 3, 3))
    weight[range(len(gains)), range(len(gains)), 1, 1] = gains
    return weight


@pytest.mark.exercise("conv-norm", weight=1, costly=True)
def test_overlapping_kernels(student, rng):
    """The norm is that of the layer as a matrix from pictures to pictures, the border of zeros included:
    kernels of one, three and four pixels, channels of any number, in any memory layout. It is of degree one,
    from tiny to huge weights, and not negative for negative ones. A wide gap makes it exact in a few rounds,
    a narrow one in a hundred or two, and a single round gives no more than the norm."""
    for C_out, C_in, k, side, padding in ((3, 2, 3, 6, 1), (1, 1, 4, 7, 0), (2, 3, 1, 5, 0), (2, 1, 3, 5, 2)):
        weight = rng.normal(size=(C_out, C_in, k, k)) + 0.7
        check_norm(student, rng, weight, side, 1, padding)
    norm = lambda w: student.conv_norm(w, side, 1, padding, 20, student.generator(1))  # noqa: E731
    strided(norm, tensor(weight), rel=1e-6)
    for scale in (-1.0, 1e-60, 1e60, float(rng.uniform(-9, -2))):
        check_norm(student, rng, scale * lone_pixels(1.0, 0.01), 5, 1, 1, rounds=12, slack=1e-6)
    check_norm(student, rng, lone_pixels(0.97, 1.0), 5, 1, 1, rounds=150, slack=1e-6)
    check_norm(student, rng, 1e-6 * lone_pixels(1.0, 0.01), 5, 1, 1, rounds=1, slack=1.0)


@pytest.mark.exercise("conv-norm", weight=1, costly=True)
def test_strides(student, rng):
    """With a stride the transpose must return to the size that the picture had, whichever of the sizes that
    shrink to the same one it was, also where the kernel is larger than the picture, or sees few pixels of it.
    The noise has all directions in it, in every call anew: kernels that take differences, along rows, along
    columns or between channels, lose none of their norm."""
    for k, side, stride, padding in ((4, 8, 2, 1), (3, 8, 2, 1), (3, 7, 2, 1), (3, 9, 3, 0), (2, 7, 3, 0)):
        check_norm(student, rng, rng.normal(size=(2, 2, k, k)) + 0.5, side, stride, padding)
    for k, side, stride, padding in ((5, 2, 3, 2), (3, 2, 2, 1)):  # one place alone: each pixel counts
        check_norm(student, rng, np.ones((1, 1, k, k)), side, stride, padding)
    pick = np.array([[0.0, 0.0], [0.0, 1.0]])
    check_norm(student, rng, pick[None, None], 5, 2, 0, rounds=20)
    for difference in ([[1.0, -1.0], [0.0, 0.0]], [[1.0, 0.0], [-1.0, 0.0]]):
        check_norm(student, rng, np.array([[difference]]), 5, 1, 0)
    check_norm(student, rng, np.stack([pick, -pick])[None], 5, 2, 0, rounds=20)
    for gains in ((1.0, 0.01), (0.01, 1.0)):  # the second call has no use for where the first one ended
        check_norm(student, rng, lone_pixels(*gains), 4, 1, 1)


# --- repair: the oracle is the algebra of two linear players ---


RATES, MOMENTUM = [0.3, 0.5], [0.6, 0.8]
RUN = """
def run(step, start, x, z, rates, momentum):
    import torch
    G, D = torch.nn.Linear(2, 2).to(x.dtype), torch.nn.Linear(2, 1).to(x.dtype)
    with torch.no_grad():
        for weight, value in zip([*G.parameters(), *D.parameters()], start):
            weight.copy_(value)
    opts = [torch.optim.SGD(net.parameters(), lr, m) for net, lr, m in zip((G, D), rates, momentum)]
    losses = [[float(v) for v in step(G, D, *opts, x[i], z[i])] for i in range(len(x))]
    weights = [*G.parameters(), *D.parameters()]
    ready = [float(net.training) for net in (G, D)] + [float(weight.requires_grad) for weight in weights]
    return [losses, *[weight.detach() for weight in weights], ready]
"""
READY = np.ones(6)  # both nets to be trained, and all four of their weights


def sigmoid(v):
    return np.exp(-np.logaddexp(0, -v))


def gradients(A, b, w, c, real, noise):
    """The two losses, and the slope of each player's own by its weights, written out."""
    fake = noise @ A.T + b
    l_p, l_q = real @ w.T + c, fake @ w.T + c  # (B, 1)
    losses = np.logaddexp(0, -l_p).mean() + np.logaddexp(0, l_q).mean(), np.logaddexp(0, -l_q).mean()
    g_p, g_q = -sigmoid(-l_p) / len(real), sigmoid(l_q) / len(fake)
    g_x = -sigmoid(-l_q) / len(fake) @ w  # (B, 2)
    return losses, [g_x.T @ noise, g_x.sum(0), g_p.T @ real + g_q.T @ fake, g_p.sum(0) + g_q.sum(0)]


def play(start, x, z, momentum):
    """The steps of descent with momentum."""
    weights, moving, losses = start, [np.zeros_like(v) for v in start], []
    for real, noise in zip(x, z, strict=True):
        loss, slopes = gradients(*weights, real, noise)
        moving = [m * v + g for m, v, g in zip(np.repeat(momentum, 2), moving, slopes, strict=True)]
        weights = [w - rate * v for rate, w, v in zip(np.repeat(RATES, 2), weights, moving, strict=True)]
        losses.append(loss)
    return losses, *weights, READY


def a_game(rng, steps, B, scale=1.0):
    """Weights to start from, that of the discriminator times `scale`; real points and noise for each step."""
    A, b, w, c = (rng.normal(size=s) for s in ((2, 2), (2,), (1, 2), (1,)))
    return [A, b, scale * w, c], rng.normal(size=(steps, B, 2)) + 1, rng.normal(size=(steps, B, 2))


def played(student, momentum, x, z, *start):
    run = student.define(RUN)
    return parts(run(student.simultaneous_step, [*start], x, z, RATES, momentum), 6)


def check_play(student, start, x, z, momentum=(0.0, 0.0), abs=1e-9):
    found = played(student, list(momentum), *map(tensor, (x, z, *start)))
    for got, wanted in zip(found, play(start, x, z, momentum), strict=True):
        assert array(got, np.shape(wanted)) == pytest.approx(np.array(wanted), rel=1e-7, abs=abs)


@pytest.mark.exercise("repair", weight=1, changes=["torch-random"])
def test_one_step(student, rng):
    """One step moves each player by the gradient of its own loss alone, both at the weights before either
    moved. The losses are means, in nats. In float32, too, and in any memory layout. Logits of thousands, of
    either sign, give finite losses and the right steps."""
    for B in (1, 7, 64):
        check_play(student, *a_game(rng, 1, B))
    start, x, z = a_game(rng, 1, 5)
    for relation, rel in ((both_types, 1e-4), (strided, 1e-9)):
        relation(lambda *v: played(student, [0, 0], *v), *map(tensor, (x, z, *start)), rel=rel, abs=rel)
    (A, b, w, c), x, z = a_game(rng, 1, 8, scale=2_000.0)
    for sign in (1, -1):
        check_play(student, [A, b, sign * w, c], x, z, abs=1e-6)


@pytest.mark.exercise("repair", weight=1)
def test_many_steps(student, rng):
    """Step after step nothing is left over: no gradient of an earlier step or of the other player's loss, no
    network that is not ready to be trained. Each player is moved by its own optimizer, with momentum, too."""
    for B, momentum in ((5, (0.0, 0.0)), (16, MOMENTUM)):
        check_play(student, *a_game(rng, 6, B), momentum)
