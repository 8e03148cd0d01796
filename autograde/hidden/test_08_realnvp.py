"""Hidden tests of lesson 08_realnvp. A docstring is what the learner reads when its test fails."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from autograde.checks import array, parts


def tensor(value):
    return torch.tensor(np.asarray(value), dtype=torch.float64)


def listed(a):
    """An array as source text, every digit kept."""
    return repr(np.asarray(a).tolist())


def jacobian(f, x, h=1e-5):
    """df/dx at one x (D,) by central differences, all steps in one call: f maps (N, D) to (N, D)."""
    steps = h * np.eye(len(x))
    ends = f(np.concatenate([x + steps, x - steps]))
    return ((ends[: len(x)] - ends[len(x) :]) / (2 * h)).T


# --- fold: the oracle is scipy's noncentral chi-squared law, or the distribution function by quadrature ---


def mixture(student, shares, means, widths):
    """The log density of a mixture of normals, where the answer runs."""
    return student.define(
        "def log_p(z):\n    import math, torch\n"
        f"    w, m, s = (torch.tensor(v, dtype=z.dtype) for v in ({shares}, {means}, {widths}))\n"
        "    u = (z[..., None] - m) / s\n"
        "    return torch.logsumexp(w.log() - s.log() - 0.5 * (u**2 + math.log(2 * math.pi)), dim=-1)\n"
    )


def folded_truth(y, c, shares, means, widths):
    """log p(y) of a mixture of normals, folded at c: scaled noncentral chi-squared laws, (N,)."""
    laws = [
        math.log(w) + stats.ncx2.logpdf(y / s**2, 1, ((m - c) / s) ** 2) - 2 * math.log(s)
        for w, m, s in zip(shares, means, widths, strict=True)
    ]
    return logsumexp(laws, axis=0)


def folding(rng, K):
    return (
        rng.dirichlet(3 * np.ones(K)).tolist(),
        rng.uniform(-2, 2, K).tolist(),
        rng.uniform(0.5, 1.5, K).tolist(),
    )


@pytest.mark.exercise("fold", weight=2)
def test_both_branches(student, rng):
    """Both z that lead to y contribute their density, each over its stretch; for densities of z that are not
    symmetric about c, and for one y or many."""
    for K, N in ((1, 40), (3, 25), (2, 1)):
        law, c = folding(rng, K), float(rng.uniform(-1.5, 1.5))
        y = rng.uniform(0.02, 9, N)
        got = array(student.log_p_folded(tensor(y), mixture(student, *law), c), (N,))
        assert got == pytest.approx(folded_truth(y, c, *law), abs=1e-6)


@pytest.mark.exercise("fold", weight=1)
def test_no_negative_squares(student, rng):
    """Below 0, also closely below, the log density is -inf, and above 0 it is not."""
    law, c = folding(rng, 2), float(rng.uniform(-1, 1))
    negative = np.concatenate([-rng.uniform(0.01, 50, 9), [-1.0, -0.5, -1e-12]])
    y = rng.permutation(np.concatenate([negative, rng.uniform(0.02, 5, 9)]))
    given = tensor(np.repeat(y, 2))[::2]
    got = array(student.log_p_folded(given, mixture(student, *law), c), (21,), finite=False)
    assert (got[y < 0] == -np.inf).all()
    assert got[y > 0] == pytest.approx(folded_truth(y[y > 0], c, *law), abs=1e-6)


@pytest.mark.exercise("fold", weight=1)
def test_far_and_near(student, rng):
    """Far out, where the density is too small for a float, and close to 0, where it grows without limit, its
    logarithm is right."""
    shift, c = float(rng.uniform(1, 2)), float(rng.uniform(-1, 1))
    y = np.concatenate([rng.uniform(1e5, 1e7, 4), 10.0 ** rng.uniform(-14, -10, 4)])
    got = array(student.log_p_folded(tensor(y), mixture(student, [1.0], [shift], [1.0]), c), (8,))
    both = [-0.5 * (c + sign * np.sqrt(y) - shift) ** 2 for sign in (1, -1)]
    wanted = np.logaddexp(*both) - 0.5 * np.log(2 * np.pi) - np.log(2) - 0.5 * np.log(y)
    assert got == pytest.approx(wanted, rel=1e-9, abs=3e-7)


# --- batch-norm: the oracle is torch's own batch normalisation, and a Jacobian by differences ---


def statistics(rng, C):
    """m, v, gamma, beta, eps: variances over several orders, an eps that matters."""
    return (
        rng.normal(size=C),
        10.0 ** rng.uniform(-2, 2, C),
        rng.normal(size=C),
        rng.normal(size=C),
        float(rng.uniform(0.05, 0.5)),
    )


def normed(student, x, m, v, gamma, beta, eps):
    z, log_det = parts(student.batch_norm(x, *map(tensor, (m, v, gamma, beta)), eps), 2)
    return array(z, tuple(x.shape)), array(log_det, (len(x),))


def torch_norm(x, m, v, gamma, beta, eps):
    """What torch.nn.functional.batch_norm makes of it with fixed statistics."""
    m, v, gain, beta = map(tensor, (m, v, np.exp(gamma), beta))
    return torch.nn.functional.batch_norm(x, m, v, gain, beta, False, 0.0, eps).numpy()


def huge_and_tiny_gains(rng):
    """Statistics of three channels, one of an enormous and one of a minute gain, without offset."""
    m, v, _, _, eps = statistics(rng, 3)
    return m, v, np.array([40.0, 0.0, -40.0]), np.zeros(3), eps


def flat_norm(rows, shape, given):
    """The same for examples laid out as rows (N, D)."""
    return torch_norm(tensor(rows.reshape(-1, *shape[1:])), *given).reshape(len(rows), -1)


@pytest.mark.exercise("batch-norm", weight=2)
def test_vectors_and_pictures(student, rng):
    """z is that of a batch normalisation with fixed statistics, channel by channel, for vectors, for pictures
    that are not square, and for a batch of one, in any memory layout; for enormous and minute gains."""
    for shape in ((6, 4), (3, 2, 5, 3), (1, 3, 2, 4), (1, 1)):
        x, given = tensor(rng.normal(size=shape)), statistics(rng, shape[1])
        assert normed(student, x, *given)[0] == pytest.approx(torch_norm(x, *given), abs=1e-9)
    x, given = tensor(rng.normal(size=(4, 3, 5, 2))).transpose(2, 3), statistics(rng, 3)
    assert normed(student, x, *given)[0] == pytest.approx(torch_norm(x, *given), abs=1e-9)
    x, (m, v, gamma, beta, eps) = tensor(rng.normal(size=(4, 3))), huge_and_tiny_gains(rng)
    without_gain = normed(student, x, m, v, gamma, beta, eps)[0] / np.exp(gamma)
    assert without_gain == pytest.approx(torch_norm(x, m, v, 0 * gamma, beta, eps), rel=1e-7, abs=1e-9)


@pytest.mark.exercise("batch-norm", weight=2)
def test_log_det_is_the_jacobians(student, rng):
    """The log-determinant is that of the whole map, from all numbers of a picture to all numbers: one value
    for each example of the batch."""
    for shape in ((3, 4), (2, 2, 3, 2), (1, 3, 1, 2)):
        x, given = rng.normal(size=shape), statistics(rng, shape[1])
        log_det = normed(student, tensor(x), *given)[1]
        _, v, gamma, _, eps = given
        J = jacobian(partial(flat_norm, shape=shape, given=given), x[0].ravel())
        assert log_det == pytest.approx(np.full(shape[0], np.linalg.slogdet(J)[1]), abs=1e-6)
        exact = (gamma - 0.5 * np.log(v + eps)).sum() * np.prod(shape[2:])
        assert log_det == pytest.approx(np.full(shape[0], exact), abs=1e-9)


@pytest.mark.exercise("batch-norm", weight=2)
def test_round_trip(student, rng):
    """The inverse leads from z to x, for the z of a true batch normalisation, vectors and pictures, however
    large or small the gains."""
    shapes = (5, 3), (2, 4, 3, 2), (1, 2, 1, 1)
    for shape, given in (*((s, statistics(rng, s[1])) for s in shapes), ((5, 3), huge_and_tiny_gains(rng))):
        x, (m, v, gamma, beta, eps) = tensor(rng.normal(size=shape)), given
        back = student.batch_norm_inverse(
            tensor(torch_norm(x, *given)), *map(tensor, (m, v, gamma, beta)), eps
        )
        assert array(back, shape) == pytest.approx(x.numpy(), abs=1e-9)


# --- conditional: the oracle is a mixture of normals in the plane, whose parts are known ---


def plane(student, rng, level=0.0):
    """A mixture in the plane where the answer runs, and its truth: log p(x1) and log p(t | x1)."""
    w, m1, m2 = rng.dirichlet(3 * np.ones(3)), rng.uniform(-1, 1, 3), rng.uniform(-2, 2, 3)
    slope, s1, s2 = rng.uniform(-1, 1, 3), rng.uniform(0.5, 1, 3), rng.uniform(0.4, 0.8, 3)
    log_prob = student.define(
        "def log_prob(x):\n    import math, torch\n"
        f"    w, m1, m2, b, s1, s2 = torch.tensor({listed([w, m1, m2, slope, s1, s2])}, dtype=x.dtype)\n"
        "    u, v = (x[:, :1] - m1) / s1, (x[:, 1:] - m2 - b * (x[:, :1] - m1)) / s2\n"
        "    parts = w.log() - 0.5 * (u**2 + v**2) - (2 * math.pi * s1 * s2).log()\n"
        f"    return torch.logsumexp(parts, dim=1) + {level}\n"
    )

    def truth(x1, t):
        first = np.log(w) + stats.norm.logpdf(x1[:, None], m1, s1)  # (M, 3)
        centre = m2 + slope * (x1[:, None] - m1)
        second = stats.norm.logpdf(t[None, :, None], centre[:, None], s2)  # (M, G, 3)
        log_p1 = logsumexp(first, axis=1)
        return log_p1, logsumexp(first[:, None] + second, axis=2) - log_p1[:, None]

    return log_prob, truth


def uneven(rng, G):
    """Nodes from -9 to 9, dense on one side."""
    t = np.linspace(0, 1, G) ** rng.uniform(1.3, 1.6)
    return 9 - 18 * t[::-1] if rng.random() < 0.5 else 18 * t - 9


def ask(student, log_prob, x1, t):
    log_p1, log_p2 = parts(student.conditional(log_prob, x1, t), 2)
    return array(log_p1, (len(x1),)), array(log_p2, (len(x1), len(t)))


@pytest.mark.exercise("conditional", weight=2)
def test_marginal_and_conditional(student, rng):
    """Both parts are right where they are known in closed form, on nodes much denser on one side; for
    one x1 and for many."""
    for M, G in ((7, 1_001), (1, 1_400)):
        log_prob, truth = plane(student, rng)
        x1, t = rng.uniform(-1.5, 1.5, M), uneven(rng, G)
        got, wanted = ask(student, log_prob, tensor(x1), tensor(t)), truth(x1, t)
        assert got[0] == pytest.approx(wanted[0], abs=2e-3)
        near = wanted[1] > -20
        assert got[1][near] == pytest.approx(wanted[1][near], abs=2e-3)


@pytest.mark.exercise("conditional", weight=1)
def test_trapezoid(student, rng):
    """It is the trapezoidal rule, on nodes as few and as uneven as you like: a conditional adds up to 1 by
    it, and the marginal is its integral. The nodes may lie in memory in any way. For a uniform density it
    has no error, even with two nodes."""
    flat = student.define("def log_prob(x):\n    return 0 * x[:, 0]\n")
    for t in ([0, 1], [0, 0.1, 1], [0, 0.9, 0.999999, 1]):
        log_p1, log_p2 = ask(student, flat, tensor([0.2]), tensor(t))
        assert log_p1 == pytest.approx([0.0], abs=1e-7)
        assert log_p2 == pytest.approx(np.zeros((1, len(t))), abs=1e-7)
    log_prob, truth = plane(student, rng)
    x1, t = rng.uniform(-1, 1, 4), np.sort(rng.uniform(-3, 3, 9))
    got = ask(student, log_prob, tensor(np.repeat(x1, 2))[::2], tensor(np.repeat(t, 3))[::3])
    log_p1, log_p2 = truth(x1, t)
    joint = np.exp(log_p1[:, None] + log_p2)
    wanted = np.log(np.trapezoid(joint, t, axis=1))
    assert got[0] == pytest.approx(wanted, abs=1e-6)
    assert np.trapezoid(np.exp(got[1]), t, axis=1) == pytest.approx(np.ones(4), abs=1e-6)


@pytest.mark.exercise("conditional", weight=1)
def test_log_space(student, rng):
    """Densities too small, or too large, for a float give right logarithms."""
    for level in (-20_000.0, 20_000.0):
        log_prob, truth = plane(student, rng, level)
        x1, t = rng.uniform(-1, 1, 3), uneven(rng, 1_001)
        got, wanted = ask(student, log_prob, tensor(x1), tensor(t)), truth(x1, t)
        assert got[0] - level == pytest.approx(wanted[0], abs=2e-3)
        near = wanted[1] > -20
        assert got[1][near] == pytest.approx(wanted[1][near], abs=2e-3)


# --- monotone: the oracle is the formula in NumPy, and a Jacobian by differences of the answer's own map ---


def bending_net(student, rng, D_a, D_b, K, scale):
    """A net for the answer, and the same in NumPy."""
    A, B = rng.normal(size=(D_a, D_b * K)), rng.normal(size=(D_a, D_b * K))
    a, b = rng.normal(size=D_b * K), rng.uniform(-2, 2, D_b * K)
    net = student.define(
        "def net(x):\n    import torch\n"
        f"    values = {listed(A)}, {listed(B)}, {listed(a)}, {listed(b)}\n"
        "    A, B, a, b = (torch.tensor(v, dtype=x.dtype) for v in values)\n"
        f"    w = {scale} * torch.nn.functional.softplus(torch.tanh(x) @ A + a)\n"
        f"    return w.reshape(len(x), {D_b}, {K}), (torch.tanh(x) @ B + b).reshape(len(x), {D_b}, {K})\n"
    )

    def same(x):
        w = scale * np.logaddexp(0, np.tanh(x) @ A + a)
        return w.reshape(-1, D_b, K), (np.tanh(x) @ B + b).reshape(-1, D_b, K)

    return net, same


def bend(x, mask, net):
    """z and the log-det by the formula, in NumPy."""
    w, m = net(x[:, mask])
    u = np.abs(x[:, ~mask][:, :, None] - m)
    slope = 4 * np.exp(-2 * u) / (1 + np.exp(-2 * u)) ** 2  # 1 / cosh^2
    z = x.copy()
    z[:, ~mask] += (w * np.tanh(x[:, ~mask][:, :, None] - m)).sum(2)
    return z, np.log1p((w * slope).sum(2)).sum(1)


def some_mask(rng, D):
    """D booleans of both kinds, in no order."""
    mask = rng.permutation(np.arange(D) < rng.integers(1, D))
    return mask


def bent(student, x, mask, net):
    z, log_det = parts(student.tanh_coupling(tensor(x), torch.tensor(mask), net), 2)
    return array(z, x.shape), array(log_det, (len(x),))


CASES = ((5, 4, 3, 1.0), (1, 2, 1, 3.0), (6, 5, 2, 30.0))


@pytest.mark.exercise("monotone", weight=2)
def test_bend(student, rng):
    """What is kept stays, and what moves is bent by the formula, wherever in the vector it stands; for one
    or many, several tanh, and weights of any size."""
    for N, D, K, scale in CASES:
        mask = some_mask(rng, D)
        net, same = bending_net(student, rng, mask.sum(), (~mask).sum(), K, scale)
        x = 2 * rng.normal(size=(N, D))
        assert bent(student, x, mask, net)[0] == pytest.approx(bend(x, mask, same)[0], rel=1e-9, abs=1e-9)


@pytest.mark.exercise("monotone", weight=2)
def test_log_det(student, rng):
    """The log-determinant is that of the Jacobian of the whole map, whatever the net does; far out, where
    1 / cosh^2 is 0, it is 0 and finite."""
    for N, D, K, scale in CASES:
        mask = some_mask(rng, D)
        net, same = bending_net(student, rng, mask.sum(), (~mask).sum(), K, scale)
        x = 1.5 * rng.normal(size=(N, D))
        log_det = bent(student, x, mask, net)[1]
        assert log_det == pytest.approx(bend(x, mask, same)[1], rel=1e-7, abs=1e-7)
        J = jacobian(lambda v: bend(v, mask, same)[0], x[0])  # noqa: B023
        assert log_det[0] == pytest.approx(np.linalg.slogdet(J)[1], abs=1e-3)
        far = np.where(mask, x, np.sign(x) * rng.uniform(800, 5_000))
        assert bent(student, far, mask, net)[1] == pytest.approx(np.zeros(N), abs=1e-9)


@pytest.mark.exercise("monotone", weight=3)
def test_inverse(student, rng):
    """The inverse finds x from z to nine digits, whether the weights are small or so large that z is far from
    x, and for z far out; an element of enormous weight costs the others nothing."""
    net = student.define(
        "def net(x):\n    import torch\n"
        "    w = torch.tensor([1e30, 2.0], dtype=x.dtype).expand(len(x), 2)\n"
        "    return w[:, :, None], torch.zeros(len(x), 2, 1, dtype=x.dtype)\n"
    )
    x, weights = np.array([[0.3, 0.4, 0.5], [-0.7, 2.0, -3.0]]), np.array([1e30, 2.0])
    z = np.concatenate([x[:, :1], x[:, 1:] + weights * np.tanh(x[:, 1:])], axis=1)
    back = array(student.tanh_coupling_inverse(tensor(z), torch.tensor([True, False, False]), net), (2, 3))
    assert (np.abs(back - x)[:, 1:] <= 1e-9 * (1 + np.abs(x[:, 1:]) + weights)).all()
    for (N, D, K, _), scale, width in zip(
        CASES * 2, (1.0, 300.0, 30.0, 0.0, 3.0, 3_000.0), (2, 1, 3, 5, 400, 2), strict=True
    ):
        mask = some_mask(rng, D)
        net, same = bending_net(student, rng, mask.sum(), (~mask).sum(), K, scale)
        x = width * rng.normal(size=(N, D))
        x[:, mask] = rng.normal(size=(N, mask.sum()))
        z = bend(x, mask, same)[0]
        back = array(student.tanh_coupling_inverse(tensor(z), torch.tensor(mask), net), x.shape)
        reach = 1 + np.abs(x).max() + same(x[:, mask])[0].sum(2).max()
        assert bend(back, mask, same)[0] == pytest.approx(z, rel=1e-8, abs=1e-8 * reach)
        assert back == pytest.approx(x, rel=1e-7, abs=2e-9 * reach)


# --- iw-bits: the oracle is a density whose cells have a mass in closed form ---


def tilted(student, a, level=0.0):
    """log p(y) = sum_d a_d y_d - log((e^a_d - 1) / a_d) + level, a density on [0, 1]^D for level 0."""
    norm = sum(math.log(math.expm1(v) / v) for v in a)
    return student.define(
        "def log_p(y):\n    import torch\n"
        f"    return y @ torch.tensor({listed(a)}, dtype=y.dtype) - {norm} + {level}\n"
    )


def tilted_bits(k, a, levels):
    """The exact bits per dimension of each picture, and those of the plain bound of section 6, (N,) each."""
    step = a / levels
    plain = (a * (k + 0.5) / levels - np.log(np.expm1(a) / a) - np.log(levels)).sum(1)
    exact = plain + np.log(np.sinh(step / 2) / (step / 2)).sum()
    return (-v / (k.shape[1] * math.log(2)) for v in (exact, plain))


def iw(student, k, log_p, levels, K, seed):
    return array(student.iw_bits(tensor(k), log_p, levels, K, student.generator(seed)), (len(k),))


@pytest.mark.exercise("iw-bits", weight=2)
def test_many_draws_reach_the_truth(student, rng):
    """With many draws the estimate reaches the true bits of each picture, which lie below the plain bound of
    section 6; for any number of levels and pixels, and for a batch of one."""
    for N, D, levels in ((3, 2, 4), (1, 3, 7), (2, 1, 2)):
        a = levels * rng.uniform(3, 4, D)
        k = rng.integers(0, levels, (N, D)).astype(float)
        exact, plain = tilted_bits(k, a, levels)
        got = iw(student, k, tilted(student, a), levels, 30_000, int(rng.integers(1 << 30)))
        assert got == pytest.approx(exact, abs=0.08) and (plain - exact).min() > 0.2


@pytest.mark.exercise("iw-bits", weight=2)
def test_one_draw_is_the_plain_bound(student, rng):
    """With one draw its mean is the plain bound; with a few it lies between the plain bound and the truth.
    A uniform density needs exactly the bits of the levels, whatever the draws."""
    for D, K in ((1, 1), (3, 1), (2, 5)):
        flat = student.define("def log_p(y):\n    return 0 * y[:, 0]\n")
        assert iw(student, np.ones((2, D)), flat, 2, K, 0) == pytest.approx(np.ones(2), abs=1e-7)
    a, levels, D = 5 * rng.uniform(3, 4, 2), 5, 2
    k = np.tile(rng.integers(0, levels, (1, D)).astype(float), (1_000, 1))
    exact, plain = (v[0] for v in tilted_bits(k, a, levels))
    seed = int(rng.integers(1 << 30))
    means = [iw(student, k, tilted(student, a), levels, K, seed + K).mean() for K in (1, 4)]
    assert means[0] == pytest.approx(plain, abs=0.2)
    assert exact + 0.03 < means[1] < plain - 0.2


@pytest.mark.exercise("iw-bits", weight=2)
def test_noise_of_its_own(student, rng):
    """Equal pictures get different noise, and so do the pixels of one and its draws: the estimates spread as
    independent noise makes them. The same seed gives the same bits, another one others; the noise of a seed
    is the same for every k, which moves it by k over the levels."""
    a, levels, N = np.full(4, 3.0 * 3), 3, 1_000
    k = np.tile(rng.integers(0, levels, (1, 4)).astype(float), (N, 1))
    log_p, seed = tilted(student, a), int(rng.integers(1 << 30))
    found = iw(student, k, log_p, levels, 1, seed)
    assert found.std() == pytest.approx(3 * math.sqrt(4 / 12) / (4 * math.log(2)), rel=0.12)
    assert np.array_equal(found, iw(student, k, log_p, levels, 1, seed))
    assert np.abs(found - iw(student, k, log_p, levels, 1, seed + 1)).max() > 0.1
    first, last = (iw(student, np.full_like(k, end), log_p, levels, 1, seed) for end in (0, levels - 1))
    step = a.sum() * (levels - 1) / levels / (4 * math.log(2))
    assert first - last == pytest.approx(np.full(N, step), rel=1e-7)
    exact, plain = (v[0] for v in tilted_bits(k, a, levels))
    several = iw(student, k, log_p, levels, 16, seed)
    assert abs(several.mean() - exact) < 0.25 * (plain - exact) + 0.02 and several.std() < 0.6 * found.std()


@pytest.mark.exercise("iw-bits", weight=1)
def test_bits_in_log_space(student, rng):
    """Densities too small, or too large, for a float give finite bits."""
    a, levels = 4 * rng.uniform(3, 4, 2), 4
    k = rng.integers(0, levels, (3, 2)).astype(float)
    exact, _ = tilted_bits(k, a, levels)
    for level in (-30_000.0, 30_000.0):
        got = iw(student, k, tilted(student, a, level), levels, 20_000, int(rng.integers(1 << 30)))
        assert got + level / (2 * math.log(2)) == pytest.approx(exact, abs=0.08)


# --- repair: the oracle is equation 9 of the paper in NumPy, and a Jacobian by differences ---


def masked_layers(student, rng, D, L):
    """Layers for the answer: pairs (b, net); and the same in NumPy."""
    ours, same = [], []
    for number in range(L):
        b = some_mask(rng, D).astype(float)
        b = 1 - same[-1][0] if number % 2 else b
        W, V = 0.6 * rng.normal(size=(D, D)), rng.normal(size=(D, D))
        p, q = 0.4 * rng.normal(size=D), rng.normal(size=D)
        net = student.define(
            "def net(x):\n    import torch\n"
            f"    values = {listed(W)}, {listed(V)}, {listed(p)}, {listed(q)}\n"
            "    W, V, p, q = (torch.tensor(v, dtype=x.dtype) for v in values)\n"
            "    return torch.tanh(x @ W + p), torch.sin(x @ V + q)\n"
        )
        ours.append((tensor(b), net))
        same.append((b, lambda x, W=W, V=V, p=p, q=q: (np.tanh(x @ W + p), np.sin(x @ V + q))))
    return ours, same


def stretching(student):
    """One layer that keeps the first of three numbers and scales the others by exp(40) and exp(-40)."""
    net = student.define(
        "def net(x):\n    import torch\n"
        "    s = torch.tensor([0.0, 40.0, -40.0], dtype=x.dtype).expand(len(x), 3)\n"
        "    return s, 0 * s\n"
    )
    return [(tensor([1.0, 0.0, 0.0]), net)], np.exp([0.0, 40.0, -40.0])


def masked(x, layers):
    """z and log-det by equation 9, in NumPy."""
    log_det = np.zeros(len(x))
    for b, net in layers:
        s, t = net(b * x)
        x = b * x + (1 - b) * (x * np.exp(s) + t)
        log_det = log_det + ((1 - b) * s).sum(1)
    return x, log_det


def forward(student, x, layers):
    z, log_det = parts(student.mended_forward(tensor(x), layers), 2)
    return array(z, x.shape), array(log_det, (len(x),))


@pytest.mark.exercise("repair", weight=2)
def test_masked_forward(student, rng):
    """z is that of equation 9: scale and shift depend only on what the layer keeps. For one layer and
    for many, and for enormous and minute scales."""
    (layers, scales), x = stretching(student), rng.normal(size=(3, 3))
    assert forward(student, x, layers)[0] / scales == pytest.approx(x, abs=1e-9)
    for N, D, L in ((5, 4, 4), (1, 2, 1), (3, 7, 3)):
        layers, same = masked_layers(student, rng, D, L)
        x = rng.normal(size=(N, D))
        assert forward(student, x, layers)[0] == pytest.approx(masked(x, same)[0], abs=1e-9)


@pytest.mark.exercise("repair", weight=2)
def test_masked_log_det(student, rng):
    """The log-determinant is that of the Jacobian of all layers together."""
    for N, D, L in ((4, 4, 4), (1, 3, 1), (2, 5, 6)):
        layers, same = masked_layers(student, rng, D, L)
        x = rng.normal(size=(N, D))
        log_det = forward(student, x, layers)[1]
        J = jacobian(lambda v: masked(v, same)[0], x[0])  # noqa: B023
        assert log_det[0] == pytest.approx(np.linalg.slogdet(J)[1], abs=1e-4)
        assert log_det == pytest.approx(masked(x, same)[1], abs=1e-9)


@pytest.mark.exercise("repair", weight=2)
def test_masked_inverse(student, rng):
    """The inverse leads from the z of equation 9 back to x, through several layers whose order matters, and
    through one whose scales are enormous and minute."""
    (layers, scales), x = stretching(student), rng.normal(size=(3, 3))
    back = student.mended_inverse(tensor(x * scales), layers)
    assert array(back, x.shape) == pytest.approx(x, abs=1e-9)
    for N, D, L in ((5, 4, 4), (1, 2, 2), (3, 6, 5)):
        layers, same = masked_layers(student, rng, D, L)
        x = rng.normal(size=(N, D))
        back = student.mended_inverse(tensor(masked(x, same)[0]), layers)
        assert array(back, x.shape) == pytest.approx(x, abs=1e-6)
