"""Hidden tests of lesson 08_realnvp. A docstring is what the learner reads when its test fails."""

import contextlib
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from autograde.checks import array, number, parts
from autograde.judging.student import Raised
from autograde.relations import (
    any_unit,
    both_types,
    generator_decides,
    gradient_is_slope,
    rows_alone,
    strided,
)
from autograde.training import learned, train


def tensor(value):
    return torch.tensor(np.asarray(value), dtype=torch.float64)


def listed(a):
    """An array as source text, every digit kept."""
    return repr(np.asarray(a).tolist())


# --- fold: the oracle is scipy's noncentral chi-squared law ---


def mixture(student, shares, means, widths):
    """The log density of a mixture of normals, where the answer runs."""
    return student.define(
        "def log_p(z):\n    import math, torch\n    assert z.ndim == 1 and z.dtype == torch.float64\n"
        f"    w, m, s = (torch.tensor(v, dtype=z.dtype) for v in ({shares}, {means}, {widths}))\n"
        "    u = (z[..., None] - m) / s\n"
        "    return torch.logsumexp(w.log() - s.log() - 0.5 * (u**2 + math.log(2 * math.pi)), dim=-1)\n"
    )


BLOCK = """def log_p(z):  # uniform from 0 to 2
    import math, torch
    assert z.ndim == 1
    return torch.where((z - 1).abs() < 1, -math.log(2), -math.inf).to(z.dtype)
"""


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


@pytest.mark.exercise("fold", weight=1, returns={"log_p_folded": "tensor like 0 shape 0"})
def test_both_branches(student, rng):
    """Both z that lead to y contribute their density, each over its stretch; for densities of z that are not
    symmetric about c, and for one y or many. The density is asked about all of them at once, in a row."""
    for K, N, c in ((1, 20, -1), (3, 15, float(rng.uniform(0.3, 1.5))), (2, 1, float(rng.uniform(-2, -1)))):
        law, y = folding(rng, K), rng.uniform(0.02, 9, N)
        got = array(student.log_p_folded(tensor(y), mixture(student, *law), c), (N,))
        assert got == pytest.approx(folded_truth(y, c, *law), abs=1e-6)


@pytest.mark.exercise("fold", weight=1)
def test_far_near_and_below(student, rng):
    """Far out, where the density is too small for a float, and close to 0, where it grows without limit, its
    logarithm is right. Below 0, also closely below, it is -inf, and so it is where neither z has a density;
    elsewhere it is not."""
    shift, c = float(rng.uniform(1, 2)), float(rng.uniform(-1, 1))
    sizes = np.concatenate([rng.uniform(1e5, 1e7, 4), 10.0 ** rng.uniform(-14, -10, 4), [1e90, 1e-300, 0.5]])
    y = rng.permutation(np.concatenate([sizes, -sizes]))
    given = tensor(np.repeat(y, 2))[::2]
    got = array(student.log_p_folded(given, mixture(student, [1.0], [shift], [1.0]), c), (22,), finite=False)
    assert (got[y < 0] == -np.inf).all()
    both = [-0.5 * (c + sign * np.sqrt(y[y > 0]) - shift) ** 2 for sign in (1, -1)]
    wanted = np.logaddexp(*both) - 0.5 * np.log(2 * np.pi) - np.log(2) - 0.5 * np.log(y[y > 0])
    assert got[y > 0] == pytest.approx(wanted, rel=1e-9, abs=3e-7)
    y = rng.permutation([0.01, 0.5, 1.7, 2.6, 40.0, 900.0, -0.3])
    got = array(student.log_p_folded(tensor(y), student.define(BLOCK), 1.25), (7,), finite=False)
    found = sum((np.abs(1.25 + sign * np.sqrt(np.abs(y)) - 1) < 1).astype(float) for sign in (1, -1))
    with np.errstate(divide="ignore"):
        wanted = np.where(y > 0, np.log(found / 4 / np.sqrt(np.abs(y))), -np.inf)
    assert got == pytest.approx(wanted, abs=1e-6)


# --- batch-norm: the oracle is torch's own batch normalisation, and what it stretches ---


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


NORMED = {
    "batch_norm": "tensor like 0 shape 0, tensor like 0 (N,)",
    "batch_norm_inverse": "tensor like 0 shape 0",
}


def plain_statistics(rng, C):
    """Statistics of which each is 0 in one channel."""
    m, v, gamma, beta, eps = statistics(rng, C)
    m[0], v[1], gamma[2], beta[3] = 0, 0, 0, 0
    return m, v, gamma, beta, eps


@pytest.mark.exercise("batch-norm", weight=1, returns=NORMED)
def test_values_and_log_det(student, rng):
    """z is that of a batch normalisation with fixed statistics, channel by channel, and the log-determinant,
    one for each example, that of the whole map, from all numbers of a picture to all numbers; for vectors,
    for pictures that are not square, and for a batch of one; in any unit, memory layout and float type, and
    for enormous and minute gains."""
    shapes = (6, 4), (3, 2, 5, 3), (1, 3, 2, 4), (1, 1)
    cases = [(shape, statistics(rng, shape[1])) for shape in shapes]
    for shape, given in (*cases, ((3, 4), plain_statistics(rng, 4))):
        x = tensor(rng.normal(size=shape))
        z, log_det = normed(student, x, *given)
        assert z == pytest.approx(torch_norm(x, *given), abs=1e-9)
        _, v, gamma, _, eps = given
        exact = (gamma - 0.5 * np.log(v + eps)).sum() * np.prod(shape[2:])
        assert log_det == pytest.approx(np.full(shape[0], exact), abs=1e-9)
    *given, eps = statistics(rng, 3)
    given = [tensor(rng.normal(size=(4, 3, 5, 2))), *map(tensor, given)]
    for relation, rel in ((strided, 1e-9), (both_types, 1e-4)):
        relation(lambda *v: parts(student.batch_norm(*v, eps), 2), *given, rel=rel, abs=rel)
    x, m, v, *affine = given
    any_unit(
        lambda c: parts(student.batch_norm(c * x, c * m, c * c * v, *affine, c * c * eps), 2)[0],
        rel=1e-9,
        abs=1e-9,
    )
    x, (m, v, gamma, beta, eps) = tensor(rng.normal(size=(4, 3))), huge_and_tiny_gains(rng)
    without_gain = normed(student, x, m, v, gamma, beta, eps)[0] / np.exp(gamma)
    assert without_gain == pytest.approx(torch_norm(x, m, v, 0 * gamma, beta, eps), rel=1e-7, abs=1e-9)


@pytest.mark.exercise("batch-norm", weight=1)
def test_round_trip(student, rng):
    """The inverse leads from z to x, for the z of a true batch normalisation, vectors and pictures, in any
    unit, memory layout and float type, however large or small the gains."""
    shapes = (5, 3), (2, 4, 3, 2), (1, 2, 1, 1)
    special = ((5, 4), plain_statistics(rng, 4)), ((5, 3), huge_and_tiny_gains(rng))
    for shape, given in (*((s, statistics(rng, s[1])) for s in shapes), *special):
        x, (*stats_, eps) = tensor(rng.normal(size=shape)), given
        m, v, *affine = map(tensor, stats_)
        z = tensor(torch_norm(x, *given))
        assert array(student.batch_norm_inverse(z, m, v, *affine, eps), shape) == pytest.approx(x, abs=1e-9)
    any_unit(
        lambda c: student.batch_norm_inverse(z, c * m, c * c * v, *affine, c * c * eps), 1, rel=1e-7, abs=1e-9
    )
    *given, eps = statistics(rng, 3)
    given = tensor(rng.normal(size=(4, 3, 2, 5))), *map(tensor, given)
    for relation, rel in ((strided, 1e-9), (both_types, 1e-4)):
        relation(lambda *v: student.batch_norm_inverse(*v, eps), *given, rel=rel, abs=rel)


# --- conditional: the oracle is a mixture of normals in the plane, summed over the nodes in NumPy ---


def plane(student, rng, level=0.0):
    """A mixture in the plane where the answer runs, and its log density at pairs: (M,), (G,) -> (M, G)."""
    w, m1, m2 = rng.dirichlet(3 * np.ones(3)), rng.uniform(-1, 1, 3), rng.uniform(-2, 2, 3)
    slope, s1, s2 = rng.uniform(-1, 1, 3), rng.uniform(0.5, 1, 3), rng.uniform(0.4, 0.8, 3)
    log_prob = student.define(
        "def log_prob(x):\n    import math, torch\n    assert x.ndim == 2 and x.dtype == torch.float64\n"
        f"    w, m1, m2, b, s1, s2 = torch.tensor({listed([w, m1, m2, slope, s1, s2])}, dtype=x.dtype)\n"
        "    u, v = (x[:, :1] - m1) / s1, (x[:, 1:] - m2 - b * (x[:, :1] - m1)) / s2\n"
        "    parts = w.log() - 0.5 * (u**2 + v**2) - (2 * math.pi * s1 * s2).log()\n"
        f"    return torch.logsumexp(parts, dim=1) + {level}\n"
    )

    def joint(x1, t):
        first = np.log(w) + stats.norm.logpdf(x1[:, None], m1, s1)  # (M, 3)
        centre = m2 + slope * (x1[:, None] - m1)
        second = stats.norm.logpdf(t[None, :, None], centre[:, None], s2)  # (M, G, 3)
        return level + logsumexp(first[:, None] + second, axis=2)

    return log_prob, joint


def uneven(rng, G):
    """Nodes from -9 to 9, dense on one side."""
    t = np.linspace(0, 1, G) ** rng.uniform(1.3, 1.6)
    return 9 - 18 * t[::-1] if rng.random() < 0.5 else 18 * t - 9


def ask(student, log_prob, x1, t, finite=True):
    log_p1, log_p2 = parts(student.conditional(log_prob, x1, t), 2)
    return array(log_p1, (len(x1),)), array(log_p2, (len(x1), len(t)), finite)


def check_conditional(found, joint, t):
    """Both parts against the trapezoidal rule on `joint` (M, G), in logarithms."""
    with np.errstate(divide="ignore"):
        pairs = np.logaddexp(joint[:, 1:], joint[:, :-1]) + np.log(np.diff(t) / 2)
    log_p1 = logsumexp(pairs, axis=1)
    assert found[0] == pytest.approx(log_p1, rel=1e-7, abs=1e-6)
    assert found[1] == pytest.approx(joint - log_p1[:, None], rel=1e-7, abs=1e-6)


@pytest.mark.exercise(
    "conditional", weight=1, returns={"conditional": "tensor like 1 (M,), tensor like 1 (M, G)"}
)
def test_marginal_and_conditional(student, rng):
    """Both parts are right on nodes much denser on one side, for one x1 and for many, also where densities
    are too small, or too large, for a float; where there are many nodes, the marginal is the one known in
    closed form. An x1 does not feel others whose densities are thousands of nats away. The density is asked
    about pairs, in rows, in float64."""
    for M, G, level in ((7, 60, 0.0), (1, 401, 0.0), (5, 5, -20_000.0), (3, 41, 20_000.0)):
        log_prob, joint = plane(student, rng, level)
        x1, t = rng.uniform(-1.5, 1.5, M), uneven(rng, G)
        found = ask(student, log_prob, tensor(x1), tensor(t))
        check_conditional(found, joint(x1, t), t)
        if G > 400:
            fine = joint(x1, np.linspace(-15, 15, 1_001))
            assert found[0] == pytest.approx(logsumexp(fine, axis=1) + math.log(30 / 1_000), abs=2e-3)
    t = tensor(uneven(rng, 21))
    rows_alone(
        lambda x: parts(student.conditional(log_prob, x, t), 2), tensor(x1), apart=100.0, rel=1e-6, abs=1e-6
    )


@pytest.mark.exercise("conditional", weight=1)
def test_trapezoid(student, rng):
    """It is the trapezoidal rule, on nodes as few and as uneven as you like: a conditional adds up to 1 by
    it, and the marginal is its integral. The nodes may lie in memory in any way. For a uniform density it
    has no error, even with two nodes, and however wide or narrow the gaps. From node to node the density may
    change by hundreds of nats, or be 0 at some."""
    flat = student.define("def log_prob(x):\n    return 0 * x[:, 0]\n")
    for t in ([0, 1], [0, 0.1, 1], [0, 0.9, 0.999999, 1], [0, 1e-20], [0, 1e19, 1e20]):
        log_p1, log_p2 = ask(student, flat, tensor([0.2]), tensor(t))
        assert log_p1 == pytest.approx([math.log(t[-1])], rel=1e-6, abs=1e-7)
        assert log_p2 == pytest.approx(np.full((1, len(t)), -math.log(t[-1])), rel=1e-6, abs=1e-7)
    log_prob, joint = plane(student, rng)
    x1, t = rng.uniform(-1, 1, 4), np.sort(rng.uniform(-3, 3, 9))
    found = ask(student, log_prob, tensor(np.repeat(x1, 2))[::2], tensor(np.repeat(t, 3))[::3])
    check_conditional(found, joint(x1, t), t)
    assert np.trapezoid(np.exp(found[1]), t, axis=1) == pytest.approx(np.ones(4), abs=1e-6)
    for steep in (-400.0, 400.0):
        log_prob = student.define(f"def log_prob(x):\n    return {steep} * x[:, 1] + x[:, 0]\n")
        check_conditional(ask(student, log_prob, tensor(x1), tensor(t)), x1[:, None] + steep * t, t)
    for low, high in ((-9, t[2]), (t[5], 9), (t[3], t[5])):
        log_prob = student.define(
            "def log_prob(x):\n    import math\n"
            f"    outside = (x[:, 1] < {low}) | (x[:, 1] > {high})\n"
            "    return x[:, 0].masked_fill(outside, -math.inf)\n"
        )
        given = np.where((t < low) | (t > high), -np.inf, x1[:, None])
        check_conditional(ask(student, log_prob, tensor(x1), tensor(t), finite=False), given, t)


# --- monotone: the oracle is the formula in NumPy ---


def bending_net(student, rng, D_a, D_b, K, scale):
    """A net for the answer, and the same in NumPy."""
    A, B = rng.normal(size=(D_a, D_b * K)), rng.normal(size=(D_a, D_b * K))
    a, b = rng.normal(size=D_b * K), rng.uniform(-2, 2, D_b * K)
    net = student.define(
        "def net(x):\n    import torch\n    assert x.ndim == 2 and x.dtype == torch.float64\n"
        f"    values = {listed(A)}, {listed(B)}, {listed(a)}, {listed(b)}\n"
        "    A, B, a, b = (torch.tensor(v, dtype=x.dtype) for v in values)\n"
        f"    w = {scale} * torch.nn.functional.softplus(torch.tanh(x) @ A + a)\n"
        f"    return w.reshape(len(x), {D_b}, {K}), (torch.tanh(x) @ B + b).reshape(len(x), {D_b}, {K})\n"
    )

    def same(x):
        w = scale * np.log1p(np.exp(np.tanh(x) @ A + a))
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
    """D booleans of both kinds, in no order; of three and more, two or more are False."""
    return rng.permutation(np.arange(D) < rng.integers(1, max(2, D - 1)))


def bent(student, x, mask, net):
    z, log_det = parts(student.tanh_coupling(tensor(x), torch.tensor(mask), net), 2)
    return array(z, x.shape), array(log_det, (len(x),))


CASES = ((5, 4, 3, 1.0), (1, 2, 1, 3.0), (6, 5, 2, 30.0))


@pytest.mark.exercise(
    "monotone",
    weight=1,
    returns={
        "tanh_coupling": "tensor like 0 shape 0, tensor like 0 (N,)",
        "tanh_coupling_inverse": "tensor like 0 shape 0",
    },
)
def test_bend_and_log_det(student, rng):
    """What is kept stays, in both directions, and what moves is bent by the formula, wherever in the vector
    it stands; the log-determinant is that of the whole map; for one or many, several tanh, and weights of any
    size. Far out, where 1 / cosh^2 is 0, the log-determinant is 0 and finite."""
    for N, D, K, scale in CASES:
        mask = some_mask(rng, D)
        net, same = bending_net(student, rng, mask.sum(), (~mask).sum(), K, scale)
        x = 2 * rng.normal(size=(N, D))
        for found, wanted in zip(bent(student, x, mask, net), bend(x, mask, same), strict=True):
            assert found == pytest.approx(wanted, rel=1e-7, abs=1e-7)
        far = np.where(mask, x, np.sign(x) * rng.uniform(800, 5_000))
        found, log_det = bent(student, far, mask, net)
        assert found == pytest.approx(bend(far, mask, same)[0], rel=1e-7)
        assert log_det == pytest.approx(np.zeros(N), abs=1e-9)
    back = array(student.tanh_coupling_inverse(tensor(found), torch.tensor(mask), net), found.shape)
    assert (back[:, mask] == far[:, mask]).all()


def check_far_apart(student, weights, x):
    """The inverse for one tanh about 0, where the first number of x is kept; weights: (2, D_b), those of rows
    in which it is negative, and of the others."""
    net = student.define(
        f"def net(x):\n    import torch\n    w = torch.tensor({listed(weights)}, dtype=x.dtype)\n"
        "    w = w[(x[:, 0] >= 0).long()][:, :, None]\n    return w, torch.zeros_like(w)\n"
    )
    weights = weights[(x[:, 0] >= 0).astype(int)]
    z = np.concatenate([x[:, :1], x[:, 1:] + weights * np.tanh(x[:, 1:])], axis=1)
    kept = torch.arange(x.shape[1]) == 0
    back = array(student.tanh_coupling_inverse(tensor(z), kept, net), x.shape)
    assert (np.abs(back - x)[:, 1:] <= 1e-9 * (1 + np.abs(x[:, 1:]) + weights)).all()


@pytest.mark.exercise("monotone", weight=1, costly=True)
def test_inverse(student, rng):
    """The inverse finds x from z, each element as precisely as its docstring says, whether the weights are
    small or so large that z is far from x, and for z far out; an element of enormous weight, one very far
    out, or many that are known at once cost the others nothing."""
    many = [[3.0] + [0.0] * 2_000] * 2
    for weights, x in (
        ([[1e30, 2.0], [5.0, 2.0]], [[0.3, 0.4, 0.5], [-0.7, 2.0, -3.0]]),
        ([[1.0, 3.0, 2.0, 0.5]] * 2, [[0.3, 1e12, 0.4, -1e9, 2.0], [-0.7, -1e12, 0.1, 1e9, -0.6]]),
        (many, [[0.3, 0.4] + [1.0] * 2_000]),
    ):
        check_far_apart(student, np.array(weights), np.array(x))
    for (N, D, K, _), scale, width in zip(
        (*CASES, CASES[0]), (1.0, 300.0, 1e8, 3.0), (2, 1, 3, 400), strict=True
    ):
        mask = some_mask(rng, D)
        net, same = bending_net(student, rng, mask.sum(), (~mask).sum(), K, scale)
        x = width * rng.normal(size=(N, D))
        x[:, mask] = rng.normal(size=(N, mask.sum()))
        z = bend(x, mask, same)[0]
        back = array(student.tanh_coupling_inverse(tensor(z), torch.tensor(mask), net), x.shape)
        reach = 1 + np.abs(x)
        reach[:, ~mask] += same(x[:, mask])[0].sum(2)
        assert (np.abs(back - x) <= 1e-9 * reach).all()


# --- iw-bits: the oracle is a density whose cells have a mass in closed form ---


def tilted(student, a, level=0.0):
    """log p(y) = sum_d a_d y_d - log((e^a_d - 1) / a_d) + level, a density on [0, 1]^D for level 0."""
    norm = sum(math.log(math.expm1(v) / v) for v in a)
    return student.define(
        "def log_p(y):\n    import torch\n    assert y.ndim == 2 and y.dtype == torch.float64\n"
        f"    return y @ torch.tensor({listed(a)}, dtype=y.dtype) - {norm} + {level}\n"
    )


def tilted_bits(k, a, levels):
    """The exact bits per dimension of each picture, and those of the plain bound of section 6, (N,) each."""
    step = a / levels
    plain = (a * (k + 0.5) / levels - np.log(np.expm1(a) / a) - np.log(levels)).sum(1)
    exact = plain + np.log(np.sinh(step / 2) / (step / 2)).sum()
    return (-v / (k.shape[1] * math.log(2)) for v in (exact, plain))


def iw(student, k, log_p, levels, K, seed, finite=True):
    return array(student.iw_bits(tensor(k), log_p, levels, K, student.generator(seed)), (len(k),), finite)


def stairs(student, level, levels):
    """log p(y) is so many nats higher with each level of a pixel, and the same in a whole cell."""
    return student.define(f"def log_p(y):\n    return {level} * (y * {levels}).floor().sum(dim=1)\n")


@pytest.mark.exercise("iw-bits", weight=1, costly=True, returns={"iw_bits": "tensor like 0 (N,)"})
def test_from_the_plain_bound_to_the_truth(student, rng):
    """With one draw the mean is the plain bound of section 6, with a few it lies between that and the truth,
    with many the estimate reaches the true bits of each picture; for any number of levels and pixels, and for
    a batch of one. A density that is the same in a whole cell needs exactly the bits of its mass, whatever
    the draws, also where it is too small, or too large, for a float, or thousands of nats from another's.
    Draws without density count, too; where no draw has any, the bits are infinite."""
    for N, D, levels in ((3, 2, 4), (1, 3, 7), (2, 1, 2)):
        a = levels * rng.uniform(3, 4, D)
        k = rng.integers(0, levels, (N, D)).astype(float)
        exact, plain = tilted_bits(k, a, levels)
        got = iw(student, k, tilted(student, a), levels, 30_000, int(rng.integers(1 << 30)))
        assert got == pytest.approx(exact, abs=0.08) and (plain - exact).min() > 0.2
    k = np.tile(rng.integers(0, 5, (1, 2)).astype(float), (1_000, 1))
    a, seed = 5 * rng.uniform(3, 4, 2), int(rng.integers(1 << 30))
    exact, plain = (v[0] for v in tilted_bits(k, a, 5))
    means = [iw(student, k, tilted(student, a), 5, K, seed + K).mean() for K in (1, 4)]
    assert means[0] == pytest.approx(plain, abs=0.2)
    assert exact + 0.03 < means[1] < plain - 0.2
    for level, D, K in ((0.0, 1, 1), (0.0, 3, 5), (-30_000.0, 2, 3), (30_000.0, 2, 3)):
        k = np.arange(4.0)[:, None].repeat(D, 1)
        wanted = math.log2(4) - level * np.arange(4) / math.log(2)
        found = iw(student, k, stairs(student, level, 4), 4, K, seed)
        assert found == pytest.approx(wanted, rel=1e-7, abs=1e-7)
    k, half = np.array([[1.0, 2.0], [0.0, 1.0], [2.0, 0.0]]), student.define(HALF.format(levels=3))
    found = iw(student, k, half, 3, 5_000, seed, finite=False)
    assert found == pytest.approx([math.log2(3), math.inf, math.log2(3)], abs=0.1)


# The points about which the answer asks: all of them, in any order and in as many calls as it likes.
RECORD = """def record(answer, k, levels, K, generator):
    import torch
    asked = []
    def log_p(y):
        asked.append(y.clone())
        return 0 * y[:, 0]
    answer(k, log_p, levels, K, generator)
    return torch.cat(asked)
"""


def check_uniform(student, rng, N, D, levels, K):
    """K points for each of N pictures; the noise in each is uniform, no two numbers of it are related, and it
    is the same for other pictures."""
    picture, record = rng.integers(0, levels, D).astype(float), student.define(RECORD)
    seed, other = int(rng.integers(1 << 30)), (picture + 1) % levels
    y, moved = (
        array(record(student.iw_bits, tensor(k), levels, K, student.generator(seed)), (N * K, D))
        for k in (np.tile(picture, (N, 1)), np.tile(other, (N, 1)))
    )
    assert np.abs(moved - y - (other - picture) / levels).max() < 1e-9
    u = levels * y - picture
    assert u.min() > -1e-9 and u.max() < 1 + 1e-9
    even = (np.arange(N * K) + 0.5) / (N * K)
    assert np.abs(np.sort(u, axis=0) - even[:, None]).max() < 3 / math.sqrt(N * K)
    assert u.min() < 20 / u.size and u.max() > 1 - 20 / u.size  # by chance, once in a hundred million times
    for each in (u, np.abs(u - 0.5)):  # no two draws equal, nor one the mirror of another
        assert len(np.unique(each.round(9))) > 0.99 * u.size


HALF = """def log_p(y):  # uniform, but 0 in the lower half of each cell, and all over the cells of level 0
    import math, torch
    u = {levels} * y[:, 0]
    return torch.where((u % 1 < 0.5) | (u < 1), -math.inf, math.log(2)).to(y.dtype)
"""


@pytest.mark.exercise("iw-bits", weight=1)
def test_noise_of_its_own(student, rng):
    """Each picture has K draws of noise, uniform in each pixel. Equal pictures get different noise, and so do
    the pixels of one and its draws: the estimates spread as independent noise makes them. The same generator
    goes on, an equal one gives the same bits; the noise of a seed is the same for every k, which moves it by
    k over the levels."""
    for N, D, levels, K in ((40, 3, 5, 25), (1, 1, 2, 1_000), (1_000, 2, 4, 1)):
        check_uniform(student, rng, N, D, levels, K)
    a, levels, N = np.full(4, 3.0 * 3), 3, 1_000
    k = np.tile(rng.integers(0, levels, (1, 4)).astype(float), (N, 1))
    log_p, seed = tilted(student, a), int(rng.integers(1 << 30))
    found = iw(student, k, log_p, levels, 1, seed)
    assert found.std() == pytest.approx(3 * math.sqrt(4 / 12) / (4 * math.log(2)), rel=0.12)
    generator_decides(lambda g: student.iw_bits(tensor(k), log_p, levels, 1, g), student.generator, rng)
    exact, plain = (v[0] for v in tilted_bits(k, a, levels))
    several = iw(student, k, log_p, levels, 16, seed)
    assert abs(several.mean() - exact) < 0.25 * (plain - exact) + 0.02 and several.std() < 0.6 * found.std()


# --- repair: the oracle is equation 9 of the paper in NumPy ---


def masked_layers(student, rng, D, L):
    """Layers for the answer: pairs (b, net); and the same in NumPy."""
    ours, same = [], []
    for layer in range(L):
        b = some_mask(rng, D).astype(float)
        b = 1 - same[-1][0] if layer % 2 else b
        W, V = 0.6 * rng.normal(size=(D, D)), rng.normal(size=(D, D))
        p, q = 0.4 * rng.normal(size=D), rng.normal(size=D)
        net = student.define(
            "def net(x):\n    import torch\n    assert x.ndim == 2 and x.dtype == torch.float64\n"
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


PART = "def part(forward, x, layers):\n    return list(forward(x, layers))[{}]"
THERE_AND_BACK = "def both(f, g, z, layers):\n    x = g(z, layers)\n    return x, list(f(x, layers))[0]"
SIZES = ((5, 4, 4), (1, 2, 1), (3, 7, 3))


@pytest.mark.exercise(
    "repair",
    weight=1,
    returns={
        "mended_forward": "tensor like 0 shape 0, tensor like 0 (N,)",
        "mended_inverse": "tensor like 0 shape 0",
    },
)
def test_masked_forward(student, rng):
    """z is that of equation 9: scale and shift depend only on what the layer keeps; the log-determinant is
    that of the Jacobian of all layers together. For one layer and for many, and for enormous and minute
    scales. Gradients pass through z and through the log-determinant."""
    (layers, scales), x = stretching(student), rng.normal(size=(3, 3))
    assert forward(student, x, layers)[0] / scales == pytest.approx(x, abs=1e-9)
    for N, D, L in SIZES:
        layers, same = masked_layers(student, rng, D, L)
        x = rng.normal(size=(N, D))
        for found, wanted in zip(forward(student, x, layers), masked(x, same), strict=True):
            assert found == pytest.approx(wanted, abs=1e-9)
    for which in range(2):
        part = student.define(PART.format(which))
        gradient_is_slope(part, 1, student.mended_forward, tensor(x), layers, rng=rng, rel=1e-5)


@pytest.mark.exercise("repair", weight=1)
def test_masked_inverse(student, rng):
    """The inverse leads from the z of equation 9 back to x, and the same layers lead from there to z again,
    through several whose order matters, and through one whose scales are enormous and minute. Gradients pass
    through it."""
    (layers, scales), x = stretching(student), rng.normal(size=(3, 3))
    back = student.mended_inverse(tensor(x * scales), layers)
    assert array(back, x.shape) == pytest.approx(x, abs=1e-9)
    for N, D, L in SIZES:
        layers, same = masked_layers(student, rng, D, L)
        x = rng.normal(size=(N, D))
        z = masked(x, same)[0]
        both = student.define(THERE_AND_BACK)
        given = student.mended_forward, student.mended_inverse, tensor(z), layers
        for found, wanted in zip(parts(both(*given), 2), (x, z), strict=True):
            assert array(found, x.shape) == pytest.approx(wanted, abs=1e-6)
    gradient_is_slope(student.mended_inverse, 0, tensor(z), layers, rng=rng, rel=1e-5)


# --- posterior: the oracle is the layers in NumPy, and a law that the flow can reach ---


def triangular(student, rng, D, L):
    """L networks whose column d sees the columns before d, for the answer; and the same in NumPy."""
    ours, same = [], []
    for _ in range(L):
        W, V = np.triu(rng.normal(size=(2, D, D)), 1)
        p, q = rng.normal(size=(2, D))
        net = student.define(
            "def net(z):\n    import torch\n    assert z.ndim == 2 and z.dtype == torch.float64\n"
            f"    values = {listed(W)}, {listed(V)}, {listed(p)}, {listed(q)}\n"
            "    W, V, p, q = (torch.tensor(v, dtype=z.dtype) for v in values)\n"
            "    return torch.tanh(z @ W + p), torch.sin(z @ V + q)\n"
        )
        ours.append(net)
        same.append(lambda z, W=W, V=V, p=p, q=q: (np.tanh(z @ W + p), np.sin(z @ V + q)))
    return ours, same


def normal(z):
    """log N(z; 0, I) of rows, (N,)."""
    return stats.norm.logpdf(z).sum(axis=1)


def drawn(z, nets):
    """x and log q(x) by the layers, in NumPy."""
    total = normal(z)
    for net in nets:
        s, t = net(z)
        z, total = (z * np.exp(s) + t)[:, ::-1], total - s.sum(1)
    return z, total


def undone(x, nets):
    """The noise that leads to x, and log q(x), in NumPy."""
    total = np.zeros(len(x))
    for net in reversed(nets):
        x, z = x[:, ::-1], np.zeros(x.shape)
        for _ in range(x.shape[1]):  # each round settles one more column
            s, t = net(z)
            z = (x - t) * np.exp(-s)
        x, total = z, total - s.sum(1)
    return x, total + normal(x)


# Widths far apart, whose logarithms are no short numbers.
STRETCH = """def net(z):
    import torch
    s = torch.tensor([0.3, 40.1, -37.7], dtype=z.dtype).expand(len(z), 3)
    return s, 0 * s
"""
# A row moves on in a second pass, by next to nothing, and far in the third; or not at all after the first.
STEEP = """def net(z):
    import torch
    return 0 * z, torch.stack([0 * z[:, 0], -1e-9 * z[:, 0].relu(), 1e9 * z[:, 1].relu()], dim=1)
"""
AGAIN = """def again(draw_q, log_q_at, nets, z):
    found = []
    for _ in range(2):  # with the very same list of networks
        x, log_q = draw_q(nets, z)
        found += [log_q, log_q_at(nets, x)]
    return [each.detach() for each in found]
"""
Q_RESULTS = {
    "draw_q": "tensor like 1 shape 1, tensor like 1 (N,)",
    "log_q_at": "tensor like 1 (N,)",
}


def check_extremes(student, rng):
    """Widths and points of any size, and rows that need a different number of passes on the way back."""
    stretch, s = student.define(STRETCH), np.array([0.3, 40.1, -37.7])
    for far in (1, 1e5):
        z = far * rng.normal(size=(3, 3))
        x, density = parts(student.draw_q([stretch], tensor(z)), 2)
        assert array(x, (3, 3))[:, ::-1] / np.exp(s) == pytest.approx(z, rel=1e-9)
        for got in (density, student.log_q_at([stretch], tensor((z * np.exp(s))[:, ::-1].copy()))):
            assert array(got, (3,)) == pytest.approx(normal(z) - s.sum(), rel=1e-9)
    z = rng.uniform(1, 3, size=(2, 3)) * [[1, 5e-10, 1], [-1, -1, -1]]
    x, _ = parts(student.draw_q([student.define(STEEP)], tensor(z)), 2)
    density = student.log_q_at([student.define(STEEP)], tensor(x))
    assert array(density, (2,)) == pytest.approx(normal(z), abs=1e-6)


@pytest.mark.exercise("posterior", weight=1, returns=Q_RESULTS)
def test_density_both_ways(student, rng):
    """From noise to x, and from any x back, log q is what the layers give: scaled and shifted by what is
    before in the row, columns turned round after each; for one layer, several and none, one column or many, a
    batch of one, enormous and minute scales, and points far away. Rows do not feel each other, memory may lie
    in any way, what was given is the same afterwards, and gradients pass from noise to x and to its log q."""
    for N, D, L in ((6, 4, 3), (1, 2, 1), (5, 1, 2), (4, 3, 0), (3, 2, 4), (2, 12, 2)):
        nets, same = triangular(student, rng, D, L)
        z, x = rng.normal(size=(2, N, D))
        found = parts(student.draw_q(nets, tensor(z)), 2)
        for got, wanted in zip(found, drawn(z, same), strict=True):
            assert array(got, wanted.shape) == pytest.approx(wanted, abs=1e-9)
        assert array(student.log_q_at(nets, tensor(x)), (N,)) == pytest.approx(undone(x, same)[1], abs=1e-6)
    check_extremes(student, rng)
    nets, same = triangular(student, rng, 2, 3)
    z = rng.normal(size=(4, 2))
    for got in parts(student.define(AGAIN)(student.draw_q, student.log_q_at, nets, tensor(z)), 4):
        assert array(got, (4,)) == pytest.approx(drawn(z, same)[1], abs=1e-6)
    nets, _ = triangular(student, rng, 3, 2)
    z = tensor(rng.normal(size=(5, 3)))
    for answer in (lambda v: parts(student.draw_q(nets, v), 2), lambda v: student.log_q_at(nets, v)):
        rows_alone(answer, z, rel=1e-7, abs=1e-7)
        strided(answer, z, rel=1e-7, abs=1e-7)
    for which in range(2):
        part = student.define(f"def part(draw_q, nets, z):\n    return list(draw_q(nets, z))[{which}]")
        gradient_is_slope(part, 2, student.draw_q, nets, z, rng=rng, rel=1e-5)
    simple = student.define("def log_p(x):\n    return -(x**2).sum(dim=1)")
    for answer in (student.reverse_kl, student.evidence):  # what they leave as it was, and their types
        with contextlib.suppress(Raised):
            answer(nets, simple, 5, 3, student.generator(1))


# An unnormalised law, and the points about which the answer asks.
ASKED = """
def asked(answer, nets, n, D, generator, level, wall):
    import math, torch
    seen = []
    def log_p(x):
        assert type(x) is torch.Tensor and x.dtype == torch.float64 and x.shape == (n, D)
        seen.append(x.detach().clone())
        value = level - (0.4 * (x - 0.5) ** 2 + 0.05 * x**4).sum(dim=1)
        return value.masked_fill(x[:, 0] < wall, -math.inf)
    result = answer(nets, log_p, n, D, generator)
    assert len(seen) == 1
    several = not isinstance(result, torch.Tensor | float) and getattr(result, "ndim", 1) > 0
    return list(result) if several else result, seen[0]
"""
# The weights of draws by hand: q is normal, and the law is that times the weights.
GIVEN = """
def given(answer, log_w, D, generator):
    import math, torch
    def log_p(x):
        return torch.tensor(log_w, dtype=x.dtype) - 0.5 * (x.square() + math.log(2 * math.pi)).sum(dim=1)
    result = answer([], log_p, len(log_w), D, generator)
    several = not isinstance(result, torch.Tensor | float) and getattr(result, "ndim", 1) > 0
    return list(result) if several else result
"""
VALUE = """
def value(loss, W, n, seed):
    import torch
    def make(l):
        def net(z):
            one = torch.cat([z, torch.ones_like(z[:, :1])], dim=1)
            sees = torch.tensor([[0, 1], [0, 0], [1, 1]])
            return [one @ (sees * W[l, i]) for i in (0, 1)]
        return net
    log_p = lambda x: -(0.4 * (x - 0.5) ** 2 + 0.05 * x**4).sum(dim=1)
    return loss([make(l) for l in range(len(W))], log_p, n, 2, torch.Generator().manual_seed(seed))
"""
LEARN = """
def learn(loss, law, generator, updates):
    import math, torch
    m, width, a, b, c, level = law
    W = torch.zeros(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    sees = torch.tensor([[0, 1], [0, 0], [1, 1]])
    one = lambda z: torch.cat([z, torch.ones_like(z[:, :1])], dim=1)
    nets = [lambda z, l=l: [one(z) @ (sees * W[l, i]) for i in (0, 1)] for l in (0, 1)]
    normal = lambda u: -0.5 * (u**2 + math.log(2 * math.pi))
    def log_p(x):  # the first number is normal; it moves the second, and sets its width
        u = (x[:, 0] - m) / width
        s = a * u + c
        return normal(u) - math.log(width) + normal((x[:, 1] - b * u) * (-s).exp()) - s + level
    def off():
        with torch.no_grad():
            x = torch.randn(4_000, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            log_q = normal(x).sum(dim=1)
            for net in nets:
                s, t = net(x)
                x, log_q = (x * s.exp() + t).flip(1), log_q - s.sum(dim=1)
            return (log_q - log_p(x)).mean().item() + level
    before, adam = off(), torch.optim.Adam([W], 0.05)
    for n in range(updates):
        adam.param_groups[0]["lr"] = 0.05 * (1 - n / updates)
        value = loss(nets, log_p, 256, 2, generator)
        adam.zero_grad()
        value.backward()
        adam.step()
    return before, off()
"""


def target(x, level, wall):
    """The law of ASKED in NumPy."""
    value = level - (0.4 * (x - 0.5) ** 2 + 0.05 * x**4).sum(1)
    return np.where(x[:, 0] < wall, -np.inf, value)


def check_normal(z):
    """Independent standard normal rows: moments up to the fourth, no ties, no two columns or rows alike."""
    for power, mean, spread in ((1, 0, 1), (2, 1, 2), (4, 3, 96)):
        assert abs((z**power).mean() - mean) < 6 * np.sqrt(spread / z.size)
    assert len(np.unique(z.round(9))) > 0.99 * z.size
    limit = 6 / np.sqrt(len(z))
    if z.shape[1] > 1:
        assert abs((z[:, 0] * z[:, 1]).mean()) < limit
    for lag in (1, len(z) // 2):
        assert np.abs((z[lag:] * z[:-lag]).mean(0)).max() < 6 / np.sqrt(len(z) - lag)


def check_draws(student, rng, n, D, L, level, zeros):
    """Loss and evidence of a call are those of the points it asks about; a share `zeros` of them weighs 0."""
    probe, (nets, same) = student.define(ASKED), triangular(student, rng, D, L)
    first = drawn(rng.normal(size=(1_000, D)), same)[0][:, 0]
    wall = np.quantile(first, zeros) if zeros else -np.inf
    answers = {"evidence": student.evidence}
    if np.isinf(wall):
        answers["loss"] = student.reverse_kl
    for name, answer in answers.items():
        generator = student.generator(int(rng.integers(1 << 30)))
        result, x = parts(probe(answer, nets, n, D, generator, level, float(wall)), 2)
        x = array(x, (n, D))
        z, density = undone(x, same)
        if n > 100:
            check_normal(z)
        log_w = target(x, level, wall) - density
        if name == "loss":
            assert number(result) == pytest.approx(-log_w.mean(), rel=1e-7, abs=1e-6)
            continue
        log_Z, share = parts(result, 2)
        assert number(log_Z) == pytest.approx(logsumexp(log_w) - math.log(n), rel=1e-7, abs=1e-6)
        wanted = math.exp(2 * logsumexp(log_w) - logsumexp(2 * log_w)) / n
        assert number(share) == pytest.approx(wanted, rel=1e-8)


def check_weights(student, rng):
    """Loss and evidence by weights of any size and order: the first, the last or all but one are 0."""
    probe, plain, ramp = student.define(GIVEN), rng.normal(size=7), 3_000.0 * np.arange(7)
    first, last, others = np.eye(7)[[0, 6, int(rng.integers(1, 6))]] == 1
    cases = [plain + ramp, plain + ramp[::-1], plain + 1e6, plain - 1e6]
    cases += [
        np.where(none, -np.inf, plain + level) for none in (first, last, ~others) for level in (0, -1e6)
    ]
    for log_w in cases:
        given = log_w.tolist(), int(rng.integers(1, 4)), student.generator(int(rng.integers(1 << 30)))
        log_Z, share = parts(probe(student.evidence, *given), 2)
        assert number(log_Z) == pytest.approx(logsumexp(log_w) - math.log(7), rel=1e-9, abs=1e-9)
        wanted = math.exp(2 * logsumexp(log_w) - logsumexp(2 * log_w)) / 7
        assert number(share) == pytest.approx(wanted, rel=1e-7)
        loss = number(probe(student.reverse_kl, *given), finite=False)
        assert loss == pytest.approx(-log_w.mean(), rel=1e-9)


@pytest.mark.exercise(
    "posterior",
    weight=1,
    costly=True,
    returns={"reverse_kl": "tensor float64 ()", "evidence": "(), ()"},
)
def test_loss_evidence_and_learning(student, rng):
    """Loss, log Z and effective sample size are those of the n draws about which the law is asked, in one
    call: independent, standard normal before the layers, whatever the level of the law, with weights of 0
    anywhere among them (the loss is then infinite), weights thousands of nats apart, and for a single draw.
    The generator decides every draw. The gradient of the loss is its slope by the weights of the networks.
    And a flow that is trained with it comes to a law that it can reach."""
    for n, D, L, level, zeros in (
        (4_000, 3, 2, 0.0, 0),
        (3, 2, 1, 5e3, 0),
        (1, 1, 1, -5e3, 0),
        (500, 2, 3, 2.0, 0),
        (2_000, 2, 2, -5e3, 0.6),
    ):
        check_draws(student, rng, n, D, L, level, zeros)
    check_weights(student, rng)
    nets, _ = triangular(student, rng, 2, 2)
    simple = student.define("def log_p(x):\n    return -(x**2).sum(dim=1)")
    for each in (
        lambda g: student.reverse_kl(nets, simple, 20, 2, g),
        lambda g: parts(student.evidence(nets, simple, 20, 2, g), 2),
    ):
        generator_decides(each, student.generator, rng)
    generator = student.generator(int(rng.integers(1 << 30)))
    assert len({number(student.reverse_kl(nets, simple, 20, 2, generator)) for _ in range(3)}) == 3
    W, seed = tensor(0.3 * rng.normal(size=(2, 2, 3, 2))), int(rng.integers(1 << 30))
    gradient_is_slope(student.define(VALUE), 1, student.reverse_kl, W, 50, seed, rng=rng, rel=1e-5)
    law = rng.uniform((-0.7, 0.8, 0.3, 0.3, -0.3, -3), (0.7, 1.2, 0.5, 0.9, 0.3, 3))
    law[3] *= rng.choice([-1, 1])
    given = student.reverse_kl, law.tolist(), student.generator(seed), 250
    before, after = train(student, LEARN, *given, seed=seed, seconds=6.0)
    learned(abs(number(before)), abs(number(after, finite=False)), 0.05)
