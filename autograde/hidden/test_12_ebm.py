"""Hidden tests of lesson 12_ebm. A docstring is what the learner reads when its test fails."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp

from autograde.checks import array, from_tensor, gradient, number, parts
from autograde.relations import (
    any_level,
    any_order,
    any_unit,
    both_types,
    gradient_is_slope,
    rows_alone,
    strided,
    time_grows,
)
from autograde.training import learned, train

NEAR = {"rel": 1e-8, "abs": 1e-8}
LOOSE = {"rel": 1e-4, "abs": 1e-4}
UP = {"rel": 1e-8, "abs": 3e-5}  # nine digits of what lies 5,000 nats up, at each of four places
ROOT = {"rel": 1e-8, "abs": 3e-8}  # two roots, each to 1e-8


def tensor(value, dtype=torch.float64):
    return torch.tensor(np.asarray(value), dtype=dtype)


# --- chain: the oracle adds up all states ---


def chain_by_hand(U, P):
    """log Z of each row, all K^D states one by one."""
    _, D, K = U.shape
    found = []
    for x in itertools.product(range(K), repeat=D):
        found.append(
            sum(U[:, i, x[i]] for i in range(D)) + sum(P[:, i, x[i], x[i + 1]] for i in range(D - 1))
        )
    return logsumexp(-np.stack(found, 1), axis=1)


def chain_case(rng, B, D, K, scale=1.0):
    return scale * rng.normal(size=(B, D, K)), scale * rng.normal(size=(B, D - 1, K, K))


@pytest.mark.exercise("chain", weight=1, returns={"chain_log_Z": "tensor like 0 (B,)"})
def test_all_states(student, rng):
    """It is the logarithm of the sum over all states: chains of one to six variables, one to four states, one
    row and several; links are not symmetric and differ from place to place. Each row by itself, any layout;
    read from its other end a chain has the same Z."""
    for B, D, K in ((1, 1, 3), (3, 2, 2), (2, 5, 3), (4, 3, 4), (1, 6, 2), (2, 4, 1)):
        U, P = chain_case(rng, B, D, K)
        got = from_tensor(student.chain_log_Z(tensor(U), tensor(P)), (B,), torch.float64)
        assert got == pytest.approx(chain_by_hand(U, P), **NEAR)
        back = student.chain_log_Z(tensor(U[:, ::-1].copy()), tensor(P[:, ::-1].swapaxes(2, 3).copy()))
        assert array(back, (B,)) == pytest.approx(got, **NEAR)
    U, P = map(tensor, chain_case(rng, 3, 4, 3))
    rows_alone(student.chain_log_Z, U, P, **NEAR)
    strided(student.chain_log_Z, U, P, **NEAR)
    both_types(student.chain_log_Z, U, P, **LOOSE)
    any_order(lambda o: student.chain_log_Z(U[:, :, o], P[:, :, o][:, :, :, o]), 3, rng, (), **NEAR)


@pytest.mark.exercise("chain", weight=1)
def test_far_and_forbidden(student, rng):
    """Energies may be thousands of nats up or apart, from row to row, too; states and pairs may be forbidden
    by +inf, as long as one way through is left, also where all the others are tens of thousands up."""
    U, P = chain_case(rng, 3, 4, 3)
    for scale in (30.0, 2_000.0):
        got = array(student.chain_log_Z(tensor(scale * U), tensor(scale * P)), (3,))
        assert got == pytest.approx(chain_by_hand(scale * U, scale * P), **NEAR)
    a, b = tensor(U), tensor(P)
    any_level(lambda c: student.chain_log_Z(a + c, b), slope=-4, **UP)
    any_level(lambda c: student.chain_log_Z(a, b + c), slope=-3, **UP)
    rows_alone(student.chain_log_Z, a, b, apart=3_000.0, **NEAR)
    for _ in range(4):
        way, V, Q = rng.integers(3, size=4), U.copy(), P.copy()
        V[rng.random(V.shape) < 0.5] = np.inf
        Q[rng.random(Q.shape) < 0.6] = np.inf
        for i in range(4):
            V[:, i, way[i]] = rng.normal()
            if i < 3:
                Q[:, i, way[i], way[i + 1]] = rng.normal()
        for up in (0.0, 30_000.0, -30_000.0):
            got = array(student.chain_log_Z(tensor(V + up), tensor(Q + up)), (3,))
            assert got == pytest.approx(chain_by_hand(V + up, Q + up), **NEAR)


@pytest.mark.exercise("chain", weight=2, costly=True)
def test_long_chains_and_marginals(student, rng):
    """A thousand variables take about a hundred times as long as ten, twice as many states four times as
    long, and the number is right. The gradient is minus the marginals."""
    U, P = map(tensor, chain_case(rng, 2, 3, 3))
    gradient_is_slope(student.chain_log_Z, 0, U, P, rng=rng, rel=1e-5, abs=1e-6)
    gradient_is_slope(student.chain_log_Z, 1, U, P, rng=rng, rel=1e-5, abs=1e-6)
    marginals = -array(gradient(student, student.chain_log_Z, 0, U, P), (2, 3, 3))
    assert marginals.sum(2) == pytest.approx(np.ones((2, 3)), **NEAR)
    K, D = 3, 1_000
    u, p = rng.normal(size=(K,)), rng.normal(size=(K, K))
    row, scale = np.exp(-u), 0.0
    for _ in range(D - 1):
        row = row @ np.exp(-p) * np.exp(-u)
        scale, row = scale + np.log(row.sum()), row / row.sum()
    long = (tensor(np.tile(u, (1, D, 1))), tensor(np.tile(p, (1, D - 1, 1, 1))))
    assert number(student.chain_log_Z(*long)) == pytest.approx(scale, rel=1e-8)
    for (d, k), (D, K) in (((30, 12), (300, 12)), ((4, 30), (4, 120))):
        small, large = (map(tensor, chain_case(rng, 1, *size)) for size in ((d, k), (D, K)))
        time_grows(student.chain_log_Z, tuple(small), tuple(large), most=35)


# --- both-sides: the oracle is the equation ---


def sides(r, d_0, d_1):
    """The logarithms of the two sums of Bennett's equation."""
    shift = np.log(len(d_1) / len(d_0))
    said = lambda G: logsumexp(-np.logaddexp(0, -G))  # noqa: E731
    return said(-d_0 - r + shift), said(d_1 + r - shift)


def check_sides(student, d_0, d_1):
    r = number(student.log_ratio(tensor(d_0), tensor(d_1)))
    step = max(1e-8, 1e-9 * abs(r)) * 1.5
    above, below = sides(r - step, d_0, d_1), sides(r + step, d_0, d_1)
    assert above[0] >= above[1] and below[0] <= below[1]  # the slope changes its sign within the tolerance
    return r


@pytest.mark.exercise("both-sides", weight=1)
def test_the_slope_is_0(student, rng):
    """At r the slope of the cross-entropy of all examples is 0, for few and many draws of either side,
    equally many or not, one of each. The order of the draws does not matter. Exchanged sides change
    the sign."""
    for n_0, n_1 in ((1, 1), (3, 3), (5, 40), (200, 7), (1, 9), (60, 60)):
        d_0, d_1 = 2 * rng.normal(size=n_0) + 1, 3 * rng.normal(size=n_1) - 1
        r = check_sides(student, d_0, d_1)
        assert number(student.log_ratio(tensor(-d_1), tensor(-d_0))) == pytest.approx(-r, rel=1e-7, abs=1e-7)
    a, b = tensor(rng.normal(size=9)), tensor(rng.normal(size=4) - 1)
    any_order(lambda o: student.log_ratio(a[o], b), 9, rng, (), **ROOT)
    strided(student.log_ratio, a, b, **ROOT)
    assert isinstance(student.log_ratio(a, b), float)  # of NumPy, too


@pytest.mark.exercise("both-sides", weight=2)
def test_far_apart(student, rng):
    """Energies may differ by thousands of nats, also from draw to draw; the two laws may hardly overlap, so
    that both sides of the equation underflow; where the slope is flat the root is found as closely."""
    for n_0, n_1 in ((4, 4), (3, 11), (20, 2)):
        base_0, base_1 = rng.normal(size=n_0), rng.normal(size=n_1)
        for level in (-9_000.0, 700.0, 30_000.0):
            check_sides(student, base_0 + level, base_1 + level)
        check_sides(student, base_0 + 900.0, base_1 - 2_500.0)
        check_sides(student, 500 * np.abs(base_0) + 800.0, -500 * np.abs(base_1) - 800.0)
    for n_0, n_1 in ((80, 80), (90, 300)):
        check_sides(student, rng.uniform(-30, 30, size=n_0), rng.uniform(-30, 30, size=n_1))
    a, b = tensor(rng.normal(size=6)), tensor(rng.normal(size=5))
    any_level(lambda c: student.log_ratio(a + c, b + c), slope=-1, **UP)


@pytest.mark.exercise("both-sides", weight=1)
def test_truth_of_normals(student, rng):
    """For two normal laws with draws of both it finds the ratio of their constants, within six errors."""
    for n_0, n_1 in ((4_000, 4_000), (1_000, 6_000)):
        width, shift = rng.uniform(1.2, 2.0), rng.uniform(-1, 1)
        x_0, x_1 = rng.normal(size=n_0), shift + width * rng.normal(size=n_1)
        d = lambda x: (x - shift) ** 2 / (2 * width**2) - x**2 / 2  # noqa: E731, B023
        got = number(student.log_ratio(tensor(d(x_0)), tensor(d(x_1))))
        G = -np.concatenate([d(x_0), d(x_1)]) - np.log(width) + np.log(n_1 / n_0)
        error = np.sqrt(1 / (expit(G) * expit(-G)).sum())  # from above
        assert abs(got - np.log(width)) < 6 * error


# --- either ---


def either_by_hand(E, log_Z, w):
    with np.errstate(divide="ignore"):
        return -logsumexp(np.log(w)[:, None] - np.log(w.sum()) - log_Z[:, None] - E, axis=0)


@pytest.mark.exercise("either", weight=1, returns={"either": "tensor like 0 (B,)"})
def test_mixture(student, rng):
    """It is -log of the weighted mean of the concepts' densities, each with its own constant; for one concept
    and many, one picture and many. Only the ratio of weights counts, and concepts have no order."""
    for n, B in ((1, 3), (2, 1), (5, 4), (3, 3)):
        E, log_Z, w = 2 * rng.normal(size=(n, B)), 2 * rng.normal(size=n), rng.uniform(0.1, 3, size=n)
        got = from_tensor(student.either(tensor(E), tensor(log_Z), tensor(w)), (B,), torch.float64)
        assert got == pytest.approx(either_by_hand(E, log_Z, w), **NEAR)
        more = student.either(tensor(E), tensor(log_Z), tensor(7.5 * w))
        assert array(more, (B,)) == pytest.approx(got, **NEAR)
    E, log_Z, w = tensor(rng.normal(size=(4, 3))), tensor(rng.normal(size=4)), tensor(rng.uniform(0.1, 2, 4))
    any_order(lambda o: student.either(E[o], log_Z[o], w[o]), 4, rng, (), **NEAR)
    rows_alone(lambda e: student.either(e.mT, log_Z, w), E.mT, **NEAR)
    strided(student.either, E, log_Z, w, **NEAR)
    both_types(student.either, E, log_Z, w, **LOOSE)


@pytest.mark.exercise("either", weight=1)
def test_excluded_and_far(student, rng):
    """Weights of 0 exclude, also the lowest energy; an energy may be +inf for some concepts, or for all that
    count, and then the result is. Energies and constants may be thousands of nats up or apart."""
    E, log_Z = rng.normal(size=(4, 5)), rng.normal(size=4)
    for nil in ([0], [3], [0, 2, 3]):
        w = rng.uniform(0.2, 2, size=4)
        w[nil] = 0
        F = E.copy()
        F[nil] -= 3_000
        F[1, 1] = np.inf
        F[:, 2] = np.inf
        F[nil[0], 2] = 1.0  # allowed by what does not count
        got = array(student.either(tensor(F), tensor(log_Z), tensor(w)), (5,), finite=False)
        wanted = either_by_hand(F, log_Z, w)
        assert (np.isposinf(got) == np.isposinf(wanted)).all()
        assert got[np.isfinite(wanted)] == pytest.approx(wanted[np.isfinite(wanted)], **NEAR)
    w = rng.uniform(0.2, 2, size=4)
    for scale in (400.0, 5_000.0):
        for F, Z in ((scale * E, log_Z), (E, scale * log_Z)):
            got = array(student.either(tensor(F), tensor(Z), tensor(w)), (5,))
            assert got == pytest.approx(either_by_hand(F, Z, w), **NEAR)
    a, b, c = tensor(E), tensor(log_Z), tensor(w)
    any_level(lambda v: student.either(a + v, b, c), slope=1, **UP)
    any_level(lambda v: student.either(a, b + v, c), slope=1, **UP)
    rows_alone(lambda e: student.either(e.mT, b, c), a.mT, apart=3_000.0, **NEAR)
    tiny = tensor([1e-200, 3e-200, 1e-201, 0.0])
    got = array(student.either(a, b, tiny), (5,))
    assert got == pytest.approx(either_by_hand(E, log_Z, tiny.numpy()), **NEAR)


# --- repair: the oracle steps by formula ---

QUADRATIC = """
def make(A, m):
    def energy(x):
        away = x - m
        return ((away @ A) * away).sum(1) / 2 + (away ** 4).sum(1) / 40
    return energy
"""
TRAINABLE = """
def probe(refresh, buffer, rows, fresh, new, z, eta):
    import torch
    buffer, new = buffer.clone().requires_grad_() * 1, new.clone().requires_grad_() * 1
    W = torch.arange(4.0 * buffer.shape[1]).double().sin().reshape(-1, 4).requires_grad_()
    w = torch.arange(4.0).double().cos().requires_grad_()
    x, after = refresh(lambda v: (v @ W).tanh() @ w, buffer, rows, fresh, new, z, eta)
    hangs = sum(t.requires_grad for t in (x, after))
    same = after.data_ptr() == buffer.data_ptr()
    return hangs + 10 * sum(p.grad is not None for p in (W, w)) + 100 * same, x.detach()
"""


def refresh_case(rng, M, B, D, n, dtype=torch.float64):
    rows = torch.tensor(rng.permutation(M)[:B])
    fresh = torch.tensor(rng.random(B) < 0.5)
    draws = [tensor(rng.normal(size=s), dtype) for s in ((M, D), (B, D), (n, B, D))]
    return draws[0], rows, fresh, draws[1], draws[2]


def stepped(A, m, buffer, rows, fresh, new, z, eta):
    x = np.where(fresh[:, None], new, buffer[rows])
    for noise in z:
        away = x - m
        x = x - eta * (away @ A + away**3 / 10) + np.sqrt(2 * eta) * noise
    after = buffer.copy()
    after[rows] = x
    return x, after


def landscape(student, rng, D, dtype=torch.float64):
    half = rng.normal(size=(D, D))
    A, m = half @ half.T / D + 0.3 * np.eye(D), rng.normal(size=D)
    return student.define(QUADRATIC)(tensor(A, dtype), tensor(m, dtype)), A, m


@pytest.mark.exercise("repair", weight=2, returns={"refresh": "tensor like 1 (B, D), tensor like 1 shape 1"})
def test_chains_and_buffer(student, rng):
    """Chains step downhill with the right noise, each by its own slope, whatever the others do; new ones
    begin from their own row; all stand in their rows of a new buffer, and the other rows are as they were.
    One chain and many, none fresh and all, no step and many, slopes of 1 and of 100,000."""
    for M, B, D, n in ((5, 3, 2, 1), (4, 4, 3, 5), (6, 1, 1, 2), (7, 5, 4, 0), (9, 6, 2, 3), (8, 7, 3, 1)):
        energy, A, m = landscape(student, rng, D)
        case, eta = refresh_case(rng, M, B, D, n), float(rng.uniform(0.01, 0.1))
        if M == 8:
            case[0].mul_(100), case[3].mul_(100)
        for fresh in (case[2], torch.zeros(B, dtype=torch.bool), torch.ones(B, dtype=torch.bool)):
            given = (*case[:2], fresh, *case[3:])
            x, after = parts(student.refresh(energy, *given, eta), 2)
            wanted = stepped(A, m, *(v.numpy() for v in given), eta)
            assert from_tensor(x, (B, D), torch.float64) == pytest.approx(wanted[0], **NEAR)
            assert from_tensor(after, (M, D), torch.float64) == pytest.approx(wanted[1], **NEAR)


@pytest.mark.exercise("repair", weight=2)
def test_trains_nothing(student, rng):
    """A network's parameters get no gradient, what comes back hangs on no graph, whatever went in does, and
    the buffer is another one, also after no step; in float32, too, and in any layout."""
    for n, none in ((1, False), (4, False), (0, False), (0, True)):
        case = refresh_case(rng, 6, 3, 2, n)
        case[2].logical_and_(torch.tensor(not none))
        told, _ = parts(student.define(TRAINABLE)(student.refresh, *case, 0.05), 2)
        assert number(told) == 0
    energy, A, m = landscape(student, rng, 3, torch.float32)
    case = refresh_case(rng, 6, 4, 3, 3, torch.float32)
    x, after = parts(student.refresh(energy, *case, 0.05), 2)
    wanted = stepped(A, m, *(v.numpy() for v in case), 0.05)
    assert from_tensor(x, (4, 3), torch.float32) == pytest.approx(wanted[0], rel=1e-3, abs=1e-3)
    assert from_tensor(after, (6, 3), torch.float32) == pytest.approx(wanted[1], rel=1e-3, abs=1e-3)
    energy, _, _ = landscape(student, rng, 3)
    buffer, rows, fresh, new, z = refresh_case(rng, 6, 4, 3, 3)
    refresh = lambda p, q, r: parts(student.refresh(energy, p, rows, fresh, q, r, 0.05), 2)  # noqa: E731
    strided(refresh, buffer, new, z, **NEAR)


# --- gauss: the oracles are the sums over hidden vectors ---


def machine(rng, D, H, scale=1.0):
    """W, a, b, s."""
    return (
        scale * rng.normal(size=(D, H)),
        rng.normal(size=D),
        rng.normal(size=H),
        rng.uniform(0.4, 2.0, size=D),
    )


def hidden(H):
    return np.array(list(itertools.product((0.0, 1.0), repeat=H))).reshape(-1, H)


def free_by_hand(v, W, a, b, s):
    h = hidden(len(b))
    minus_E = -(((v - a) ** 2) / (2 * s**2)).sum(1)[:, None] + h @ b + (v / s**2) @ W @ h.T
    return -logsumexp(minus_E, axis=1)


def mixture(v, W, a, b, s):
    """log p(v) as a mixture of 2^H normals."""
    h = hidden(len(b))
    mean = a + h @ W.T
    log_pi = h @ b + ((mean**2 - a**2) / (2 * s**2)).sum(1)
    log_pi = log_pi - logsumexp(log_pi)
    z = (v[:, None] - mean) / s
    return logsumexp(log_pi - (z**2).sum(2) / 2, axis=1) - (np.log(s) + np.log(2 * np.pi) / 2).sum()


def slopes_by_hand(v, last, W, a, b, s):
    """Those of the mean of -F over v less that over `last`, for W, a and b."""
    leaf, deep = [tensor(t).requires_grad_() for t in (W, a, b)], tensor(s)

    def minus_F(x):
        drive = x / deep**2 @ leaf[0] + leaf[2]
        return torch.nn.functional.softplus(drive).sum(1) - ((x - leaf[1]) ** 2 / (2 * deep**2)).sum(1)

    (minus_F(tensor(v)).mean() - minus_F(tensor(last)).mean()).backward()
    return [t.grad.numpy() for t in leaf]


@pytest.mark.exercise("gauss", weight=4)
def test_one_machine(student, rng):
    """Free energy, density, sweep and gradient belong to one machine: with a deviation for each visible
    number, in any unit of length, with weights so large that exponentials overflow."""
    for D, H, N, M, scale, c in (
        (3, 2, 5, 4, 1, 1.0),
        (2, 3, 4, 6, 3e3, 1.0),
        (2, 2, 30, 3, 1, 1e-20),
        (2, 2, 30, 3, 1, 1e20),
    ):
        W, a, b, s = machine(rng, D, H, scale)
        v, last = rng.normal(size=(N, D)), 1 + 2 * rng.normal(size=(M, D))
        u, z = rng.random((N, H)), rng.normal(size=(N, D))
        own = [tensor(t) for t in (c * W, c * a, b, c * s)]
        got = array(student.gauss_free_energy(tensor(c * v), *own), (N,))
        assert got == pytest.approx(free_by_hand(v, W, a, b, s), **NEAR)
        got = array(student.gauss_log_p(tensor(c * v), *own), (N,)) + D * np.log(c)
        assert got == pytest.approx(mixture(v, W, a, b, s), rel=1e-8, abs=1e-6)
        got = array(student.gauss_sweep(tensor(c * v), *own, tensor(u), tensor(z)), (N, D)) / c
        h = (u < expit((v / s**2) @ W + b)).astype(float)
        assert got == pytest.approx(a + h @ W.T + s * z, **NEAR)
        steps = parts(student.gauss_gradient(tensor(c * v), tensor(c * last), *own), 3)
        for step, slope, unit in zip(steps, slopes_by_hand(v, last, W, a, b, s), (c, c, 1), strict=True):
            assert array(step, slope.shape) * unit == pytest.approx(slope, **NEAR)


@pytest.mark.exercise(
    "gauss",
    weight=1,
    returns={"gauss_free_energy": "tensor like 0 (N,)", "gauss_log_p": "tensor like 0 (N,)"},
)
def test_energies_and_densities(student, rng):
    """The free energy is minus the logarithm of the sum over hidden vectors, with a deviation for each
    visible number; the density is that of the mixture of normals. One unit and several, one number and
    several, one row and many, small deviations, any unit of length, weights so large that exponentials
    overflow. Each row by itself, any layout, float32 and float64."""
    for D, H, N, scale in ((1, 1, 4, 1.0), (3, 2, 1, 1.0), (2, 5, 6, 2.0), (4, 3, 5, 40.0), (2, 8, 3, 0.5)):
        own = machine(rng, D, H, scale)
        v = own[1] + scale * rng.normal(size=(N, D))
        given = [tensor(t) for t in (v, *own)]
        got = from_tensor(student.gauss_free_energy(*given), (N,), torch.float64)
        assert got == pytest.approx(free_by_hand(v, *own), **NEAR)
        got = from_tensor(student.gauss_log_p(*given), (N,), torch.float64)
        assert got == pytest.approx(mixture(v, *own), rel=1e-8, abs=1e-6 if scale > 9 else 1e-8)
    W, a, b, s = machine(rng, 3, 2)
    v, small = rng.normal(size=(4, 3)), 1e-2 * s
    own = [tensor(t) for t in (v, W, a, b, s)]
    for f, by_hand in ((student.gauss_free_energy, free_by_hand), (student.gauss_log_p, mixture)):
        for deep in (s, small):
            got = array(f(*own[:4], tensor(deep)), (4,))
            assert got == pytest.approx(by_hand(v, W, a, b, deep), **NEAR)
    in_unit = lambda c: (c * own[0], c * own[1], c * own[2], own[3], c * own[4])  # noqa: E731
    any_unit(lambda c: student.gauss_free_energy(*in_unit(c)), **NEAR)
    any_unit(lambda c: array(student.gauss_log_p(*in_unit(c)), (4,)) + 3 * np.log(c), **NEAR)
    for f in (student.gauss_free_energy, student.gauss_log_p):
        rows_alone(lambda x, f=f: f(x, *own[1:]), own[0], **NEAR)
        strided(f, *own, **NEAR)
        both_types(f, *own, **LOOSE)


@pytest.mark.exercise("gauss", weight=1, returns={"gauss_sweep": "tensor like 0 (N, D)"})
def test_sweep(student, rng):
    """Hidden units are on where u is below their probability given v; then v is normal, with mean and
    deviation given those. For any number of units, rows and deviations, any unit of length, weights so large
    that exponentials overflow, in both types and any layout."""
    for D, H, N, scale in (
        (1, 1, 50, 1.0),
        (3, 2, 400, 1.0),
        (3, 4, 40, 3e3),
        (2, 4, 1, 1.0),
        (4, 3, 6, 1.0),
    ):
        W, a, b, s = machine(rng, D, H, scale)
        v, u, z = rng.normal(size=(N, D)), rng.random((N, H)), rng.normal(size=(N, D))
        h = (u < expit((v / s**2) @ W + b)).astype(float)
        got = student.gauss_sweep(*(tensor(t) for t in (v, W, a, b, s, u, z)))
        assert from_tensor(got, (N, D), torch.float64) == pytest.approx(a + h @ W.T + s * z, **NEAR)
    own = [tensor(t) for t in (v, W, a, b, s, u, z)]
    rows_alone(lambda x, y, n: student.gauss_sweep(x, *own[1:5], y, n), own[0], own[5], own[6], **NEAR)
    strided(student.gauss_sweep, *own, **NEAR)
    both_types(student.gauss_sweep, *own, **LOOSE)
    any_unit(
        lambda c: student.gauss_sweep(*(c * t for t in own[:3]), own[3], c * own[4], *own[5:]), 1, **NEAR
    )


@pytest.mark.exercise(
    "gauss",
    weight=1,
    returns={"gauss_gradient": "tensor like 0 (D, H), tensor like 0 (D,), tensor like 0 (H,)"},
)
def test_gradient(student, rng):
    """It is the slope of the mean of -F over the data, less that over the chains, of which there may be
    another number; for W, a and b, with the deviations, in any unit of length, with weights so large that
    exponentials overflow, too. The order of rows does not matter."""
    for D, H, N, M, scale in (
        (1, 1, 3, 3, 1),
        (3, 2, 5, 2, 1),
        (3, 4, 9, 8, 3e3),
        (2, 4, 1, 7, 1),
        (4, 3, 6, 6, 1),
    ):
        W, a, b, s = machine(rng, D, H, scale)
        v, last = rng.normal(size=(N, D)), 1 + 2 * rng.normal(size=(M, D))
        slopes = slopes_by_hand(v, last, W, a, b, s)
        got = parts(student.gauss_gradient(*(tensor(t) for t in (v, last, W, a, b, s))), 3)
        for found, slope in zip(got, slopes, strict=True):
            assert from_tensor(found, slope.shape, torch.float64) == pytest.approx(slope, **NEAR)
    own = [tensor(t) for t in (v, last, W, a, b, s)]
    ascent = lambda *given: parts(student.gauss_gradient(*given), 3)  # noqa: E731
    any_order(lambda o: ascent(own[0][o], *own[1:]), len(v), rng, (), **NEAR)
    strided(ascent, *own, **NEAR)
    both_types(ascent, *own, **LOOSE)
    in_unit = lambda c: (*(c * t for t in own[:4]), own[4], c * own[5])  # noqa: E731
    any_unit(lambda c: ascent(*in_unit(c)), (-1, -1, 0), **NEAR)


PERSISTENT = """
def fit(sweep, gradient, x, start, s, updates, rate):
    import torch
    g = torch.Generator().manual_seed(int(torch.randint(2**31 - 1, (1,))))
    own = [start.clone(), x.mean(0), torch.zeros(start.shape[1], dtype=x.dtype)]
    last, optimizer = x.clone(), torch.optim.Adam(own, lr=rate, betas=(0.8, 0.99))
    for n in range(updates):
        u = torch.rand(len(last), len(own[2]), generator=g, dtype=x.dtype)
        z = torch.randn(last.shape, generator=g, dtype=x.dtype)
        last = sweep(last, *own, s, u, z)
        for parameter, step in zip(own, gradient(x, last, *own, s)):
            parameter.grad = -step
        optimizer.param_groups[0]["lr"] = rate * (1 - n / updates)
        optimizer.step()
    return tuple(own)
"""


@pytest.mark.exercise("gauss", weight=1, costly=True)
def test_learns_two_clouds(student, rng):
    """Trained with your sweep and gradient, by persistent chains, a machine of one hidden unit comes near the
    law of two clouds."""
    s, share = rng.uniform(0.6, 0.9, size=2), rng.uniform(0.35, 0.65)
    apart = rng.uniform(1.6, 2.0) * np.array([1.0, rng.choice([-1.0, 1.0])])
    on = (rng.random(600) < share)[:, None]
    x = rng.normal(size=2) + on * apart + s * rng.normal(size=(600, 2))
    start = 0.1 * np.sign(apart)[:, None] * rng.uniform(0.5, 1, size=(2, 1))
    centre = x - on * apart
    m = centre.mean(0)
    log_pdf = lambda y, mean: (-(((y - mean) / s) ** 2) / 2 - np.log(s) - np.log(2 * np.pi) / 2).sum(1)  # noqa: E731
    truth = np.logaddexp(np.log(share) + log_pdf(x, m + apart), np.log(1 - share) + log_pdf(x, m)).mean()
    given = [tensor(t) for t in (x, start, s)]
    seed = int(rng.integers(2**31 - 1))
    found = train(
        student,
        PERSISTENT,
        student.gauss_sweep,
        student.gauss_gradient,
        *given,
        400,
        0.2,
        seed=seed,
        seconds=4.0,
    )
    W, a, b = (array(t, finite=False) for t in parts(found, 3))
    before = truth - mixture(x, start, x.mean(0), np.zeros(1), s).mean()
    with np.errstate(all="ignore"):
        after = truth - mixture(x, W, a, b, s).mean()
    learned(float(before), float(after), 0.3)
