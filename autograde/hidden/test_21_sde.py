"""Hidden tests of lesson 21_sde. A docstring is what the learner reads when its test fails."""

import itertools

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from autograde.checks import array, number, parts, whole_numbers
from autograde.relations import any_unit, generator_decides, rows_alone, strided

NEAR = {"rel": 1e-8, "abs": 1e-9}


def tensor(value, dtype=torch.float64):
    return torch.tensor(np.asarray(value), dtype=dtype)


# --- any-schedule: schedules whose f and g^2 are known by hand ---

SCHEDULES = {
    "power": """
def make(a, b, c):
    return (lambda t: (1 + a * t) ** -b), (lambda t: c * t**b)
""",
    "exponential": """
def make(a, b, c):
    import torch
    return (lambda t: torch.exp(-a * t)), (lambda t: c * torch.exp(b * t))
""",
    "constant signal": """
def make(a, b, c):
    return (lambda t: a + 0 * t), (lambda t: b + c * t)
""",
    "constant noise": """
def make(a, b, c):
    return (lambda t: 1 / (a + b * t)), (lambda t: c + 0 * t)
""",
}


def known(kind, a, b, c, t):
    """f, g^2 by hand."""
    if kind == "power":
        f, s, slope = -a * b / (1 + a * t), c * t**b, b * c * t ** (b - 1)
    elif kind == "exponential":
        f, s, slope = -a + 0 * t, c * np.exp(b * t), b * c * np.exp(b * t)
    elif kind == "constant signal":
        f, s, slope = 0 * t, b + c * t, c + 0 * t
    else:
        f, s, slope = -b / (a + b * t), c + 0 * t, 0 * t
    return f, 2 * s * slope - 2 * f * s**2


def asked(student, kind, abc, t):
    alpha, sigma = parts(student.define(SCHEDULES[kind])(*abc), 2)
    return parts(student.coefficients(alpha, sigma, t), 2)


def test_schedule(student, rng, kind):
    for n in (1, 7):
        a, b, c = (float(v) for v in rng.uniform(0.3, 2.0, 3))
        t = rng.uniform(0.05, 1.5, n)
        f, g2 = (array(v, (n,)) for v in asked(student, kind, (a, b, c), tensor(t)))
        wanted_f, wanted_g2 = known(kind, a, b, c, t)
        assert f == pytest.approx(wanted_f, rel=1e-8, abs=1e-12)
        assert g2 == pytest.approx(wanted_g2, rel=1e-8, abs=1e-12)


test_schedule.__test__ = False


@pytest.mark.exercise(
    "any-schedule", weight=1, returns={"coefficients": "tensor float64 (N,), tensor float64 (N,)"}
)
@pytest.mark.parametrize("kind", list(SCHEDULES))
def test_any_schedule(student, rng, kind):
    """f and g^2 are those of the schedule: powers, exponentials, a signal or a noise that stays the
    same; for one time and for several, in any order and any memory layout, each time by itself; for any
    unit of the noise and of the signal; without gradients."""
    test_schedule(student, rng, kind)
    abc = tuple(float(v) for v in rng.uniform(0.3, 2.0, 3))
    t = tensor(rng.uniform(0.05, 1.5, 4))
    alpha, sigma = parts(student.define(SCHEDULES[kind])(*abc), 2)
    assert not any(student.define(NEEDS)(student.coefficients, alpha, sigma, t))
    for relation in (rows_alone, strided):
        relation(lambda t: asked(student, kind, abc, t), t, rel=1e-8, abs=1e-12)
    if kind in ("power", "exponential"):
        any_unit(
            lambda c: asked(student, kind, (*abc[:2], c * abc[2]), t),
            (0, 2),
            (1e-9, 1e9),
            rel=1e-8,
            abs=1e-30,
        )


NEEDS = """
def needs(f, alpha, sigma, t):
    return [bool(v.requires_grad) for v in f(alpha, sigma, t)]
"""
RISING = """
def make(a, b, size=1.0):
    import torch
    return (lambda t: torch.exp(a * t)), (lambda t: size * torch.exp(b * t))
"""


@pytest.mark.exercise("any-schedule", weight=1)
def test_no_sde(student, rng):
    """ValueError where the noise per signal falls, at all of the times, at one of them, fast or slowly;
    none where signal and noise rise alike, or the noise a little faster, or the clock runs slowly. What
    counts as falling is a part of the noise's own square, at each time; what is less stays as it is."""
    t = tensor(rng.uniform(0.1, 1.0, 4))
    make = student.define(RISING)
    for a, b in ((1.0, 0.5), (1.0, 1.0 - 1e-6), (2.0, -1.0), (0.0, -1e-5)):
        alpha, sigma = parts(make(a, b), 2)
        student.raises(ValueError, student.coefficients, alpha, sigma, t)
    for a, size in itertools.product((0.5, -1.0), (1e-6, 1.0, 1e6)):
        alpha, sigma = parts(make(a, a - 1e-9, size), 2)
        student.raises(ValueError, student.coefficients, alpha, sigma, t)
        alpha, sigma = parts(make(a, a - 3e-10, size), 2)
        g2 = array(parts(student.coefficients(alpha, sigma, t), 2)[1], (4,))
        assert g2 / (size * np.exp(a * array(t))) ** 2 == pytest.approx(np.full(4, -6e-10), abs=3e-10)
    for a, b in ((1.0, 1.0), (1.0, 1.0 + 1e-6), (-1.0, -0.5), (0.0, 1e-5), (-3.0, 2.0)):
        alpha, sigma = parts(make(a, b), 2)
        f, g2 = (array(v, (4,)) for v in parts(student.coefficients(alpha, sigma, t), 2))
        assert f == pytest.approx(np.full(4, a), rel=1e-8, abs=1e-12)
        exact = 2 * (b - a) * np.exp(2 * b * array(t))
        assert g2 == pytest.approx(exact, rel=1e-8, abs=1e-8 * np.exp(2 * b))
    for hump in ("(1 + (t - 1) ** 2)", "((t - 1) ** 2).exp()"):  # times of noise alike, and very different
        make = f"def make(s):\n    return (lambda t: 1 + 0 * t), (lambda t: s * {hump})"
        alpha, sigma = parts(student.define(make)(float(rng.uniform(1e-6, 1))), 2)
        late = tensor([1.2, 1.5, 5.0])
        array(parts(student.coefficients(alpha, sigma, late), 2)[1], (3,))
        for i in range(2):
            mixed = late.clone()
            mixed[i] = 0.5
            for order in ([0, 1, 2], [2, 1, 0], [i]):
                student.raises(ValueError, student.coefficients, alpha, sigma, mixed[order])


# --- gaussian-flow: the oracle is by NumPy's eigenvectors; and the flow's own laws ---


def covariance(rng, D, flat=0):
    basis = np.linalg.qr(rng.normal(size=(D, D)))[0]
    values = np.exp(rng.uniform(-3, 1, D))
    values[:flat] = 0
    return basis * values @ basis.T, basis, values


def flowed(student, x, m, C, begin, end):
    z, log_det = parts(student.gaussian_flow(tensor(x), tensor(m), tensor(C), begin, end), 2)
    return array(z, x.shape), number(log_det)


def pair(rng):
    return tuple(float(v) for v in np.exp(rng.uniform(-2, 1, 2)))


GAUSSIAN = {"gaussian_flow": "tensor float64 shape 0, tensor float64 ()"}


@pytest.mark.exercise("gaussian-flow", weight=1, returns=GAUSSIAN)
def test_arrival(student, rng):
    """Points arrive where the flow takes them, around the mean and along the axes of the covariance,
    each by its own factor: in one dimension and in many, one point or several, forwards and backwards,
    on any path. In hundreds of dimensions volumes grow by factors that no float holds, their logarithm
    is a number all the same."""
    for D, B in ((1, 4), (2, 1), (5, 3)):
        C, basis, values = covariance(rng, D)
        m, x = rng.normal(size=D), 2 * rng.normal(size=(B, D))
        for begin, end in ((pair(rng), pair(rng)), ((1.0, 0.0), pair(rng)), (pair(rng), (1.3, 0.0))):
            grown = np.sqrt((end[0] ** 2 * values + end[1] ** 2) / (begin[0] ** 2 * values + begin[1] ** 2))
            exact = end[0] * m + (x - begin[0] * m) @ (basis * grown) @ basis.T
            z, log_det = flowed(student, x, m, C, begin, end)
            assert z == pytest.approx(exact, **NEAR)
            assert log_det == pytest.approx(np.log(grown).sum(), **NEAR)
    C, _, values = covariance(rng, 200)
    m, x = rng.normal(size=200), rng.normal(size=(2, 200))
    for begin, end in (((1.0, 40.0), (1.0, 0.0)), ((1.0, 0.0), (1.0, 40.0))):
        change = np.log((end[0] ** 2 * values + end[1] ** 2) / (begin[0] ** 2 * values + begin[1] ** 2)) / 2
        assert flowed(student, x, m, C, begin, end)[1] == pytest.approx(change.sum(), **NEAR)


@pytest.mark.exercise("gaussian-flow", weight=1)
def test_laws_of_a_flow(student, rng):
    """Two stretches are one after the other, and there and back is where it began; covariances may have
    eigenvalues of 0, where there is noise; the density that comes out is the normal one. Each row by
    itself, any memory layout, any unit."""
    for D, flat in ((3, 0), (3, 2), (2, 2)):
        C, _, _ = covariance(rng, D, flat)
        m, x, one, two, three = rng.normal(size=D), rng.normal(size=(4, D)), pair(rng), pair(rng), pair(rng)
        y, first = flowed(student, x, m, C, one, two)
        z, second = flowed(student, y, m, C, two, three)
        straight, both = flowed(student, x, m, C, one, three)
        assert z == pytest.approx(straight, **NEAR) and first + second == pytest.approx(both, **NEAR)
        gap = x - one[0] * m
        before, after = (a**2 * C + s**2 * np.eye(D) for a, s in (one, three))
        moved = straight - three[0] * m
        size = np.einsum("bi,ij,bj->b", gap, np.linalg.inv(before), gap)
        assert np.einsum("bi,ij,bj->b", moved, np.linalg.inv(after), moved) == pytest.approx(size, rel=1e-6)
        log_volume = (np.linalg.slogdet(after)[1] - np.linalg.slogdet(before)[1]) / 2
        assert both == pytest.approx(log_volume, rel=1e-7, abs=1e-7)
        answer = lambda x: parts(student.gaussian_flow(x, tensor(m), tensor(C), one, three), 2)[0]  # noqa: B023, E731
        for relation in (rows_alone, strided):
            relation(answer, tensor(x), **NEAR)
    for unit in (1e-6, 1e6):
        scaled = [(a, unit * s) for a, s in (one, three)]
        z, log_det = flowed(student, unit * x, unit * m, unit**2 * C, *scaled)
        assert z / unit == pytest.approx(straight, **NEAR) and log_det == pytest.approx(both, **NEAR)


# --- shaped-probes: probes whose second moment is exactly M, so that the estimate is the trace ---

FIELD = """
def make(A, b):
    import torch
    def field(x):
        field.calls += 1
        return torch.sin(x @ A.T + b) + x * x.square().sum(1, keepdim=True)
    field.calls = 0
    return field
"""


def true_trace(A, b, x):
    own = (np.cos(x @ A.T + b) * np.diag(A)).sum(1)
    return own + (x.shape[1] + 2) * (x**2).sum(1)


def turn(rng, D):
    return np.linalg.qr(rng.normal(size=(D, D)))[0]


def moment(rng, D):
    root = turn(rng, D) * np.exp(rng.uniform(-1.5, 1.5, D)) @ turn(rng, D)
    return root @ root.T, root


def lengthy(rng, D, B, root):
    """2 D probes for each of B rows, long and short, of the mean second moment root root^T: (n, B, D)."""
    tight = [np.linalg.qr(rng.normal(size=(2 * D, D)))[0] for _ in range(B)]
    return np.sqrt(2 * D) * np.stack(tight, axis=1) @ root.T


@pytest.mark.exercise("shaped-probes", weight=1, returns={"shaped_trace": "tensor float64 (B,)"})
def test_exact_probes(student, rng):
    """With probes whose mean second moment is exactly the given one, the estimate is the trace of each
    row's own Jacobian: in one dimension and in many, for scales that differ and probes that are
    correlated, long and short, in any unit. What comes back needs no gradient."""
    for D, B, unit in ((1, 3, 1.0), (2, 1, 1e3), (4, 5, 1e-4), (3, 2, 1.0)):
        A, b, x = rng.normal(size=(D, D)), rng.normal(size=D), rng.normal(size=(B, D))
        M, root = moment(rng, D)
        probes = unit * lengthy(rng, D, B, root)
        field = student.define(FIELD)(tensor(A), tensor(b))
        got = array(student.shaped_trace(field, tensor(x), tensor(probes), tensor(unit**2 * M)), (B,))
        assert got == pytest.approx(true_trace(A, b, x), rel=1e-8, abs=1e-8)
        assert number(student.value(field.calls)) == 1
    plain = student.define("def plain(f, *args):\n    return not f(*args).requires_grad")
    assert plain(student.shaped_trace, field, tensor(x), tensor(probes), tensor(M)) is True


@pytest.mark.exercise("shaped-probes", weight=1)
def test_random_probes(student, rng):
    """With probes drawn at random the mean estimate is the trace, within chance; more of them are a
    mean, not a sum; others make another estimate. Each row by itself, in any memory layout."""
    D, B, n = 3, 4, 4_000
    A, b, x = rng.normal(size=(D, D)), rng.normal(size=D), rng.normal(size=(B, D))
    M, root = moment(rng, D)
    probes = rng.normal(size=(200, B, D)) @ root.T
    field = student.define(FIELD)(tensor(A), tensor(b))
    single = [
        array(student.shaped_trace(field, tensor(x), tensor(p[None]), tensor(M)), (B,)) for p in probes[:20]
    ]
    twenty = array(student.shaped_trace(field, tensor(x), tensor(probes[:20]), tensor(M)), (B,))
    assert twenty == pytest.approx(np.mean(single, axis=0), rel=1e-8, abs=1e-8)
    assert (np.std(single, axis=0) > 1e-3).all()
    row = np.repeat(x[:1], n, axis=0)
    got = array(
        student.shaped_trace(field, tensor(row), tensor(rng.normal(size=(1, n, D)) @ root.T), tensor(M)), (n,)
    )
    assert abs(got.mean() - true_trace(A, b, x[:1])[0]) < 6 * got.std() / np.sqrt(n)
    few = tensor(probes[:3])
    answer = lambda x, p: student.shaped_trace(field, x, p.transpose(0, 1), tensor(M))  # noqa: E731
    for relation in (rows_alone, strided):
        relation(answer, tensor(x), few.transpose(0, 1).contiguous(), **NEAR)


# --- repair: the oracle is the formula in NumPy; and a cloud whose density is known ---

BITS = {"repaired_bits": "tensor float64 (B,)"}


def bits(student, z, times, div, *rest):
    return array(student.repaired_bits(tensor(z), tensor(times), tensor(div), *rest), (len(z),))


def ran(rng, B, D, n):
    times = np.cumsum(rng.exponential(size=n)) * 0.3 + rng.uniform(-1, 1)
    return rng.normal(size=(B, D)), times, rng.normal(size=(n, B)) * D


@pytest.mark.exercise("repair", weight=1, returns=BITS)
def test_each_part(student, rng):
    """The noise's density, the integral over uneven times, the width of a cell, the dimensions and the
    unit of bits each count as they should, for any numbers of them, one step or many, a thousand
    dimensions."""
    for B, D, n, levels in ((3, 4, 5, 256), (1, 7, 2, 17), (4, 1, 9, 2), (2, 1_000, 3, 256)):
        z, times, div = ran(rng, B, D, n)
        sigma, low = float(np.exp(rng.uniform(-1, 2))), float(rng.normal())
        high = low + float(np.exp(rng.uniform(-1, 2)))
        log_noise = -(z**2 / (2 * sigma**2) + np.log(sigma) + np.log(2 * np.pi) / 2).sum(1)
        integral = (np.diff(times)[:, None] * (div[1:] + div[:-1]) / 2).sum(0)
        log_P = log_noise + integral + D * np.log((high - low) / levels)
        exact = -log_P / (D * np.log(2))
        assert bits(student, z, times, div, sigma, levels, low, high) == pytest.approx(exact, **NEAR)


@pytest.mark.exercise("repair", weight=1)
def test_known_cloud(student, rng):
    """For a normal cloud that grows evenly the bits are those of its own density, at every size, also
    where a density above 1 makes them negative; and pixels in another unit, with another noise, have the
    same bits. Each row by itself, in any memory layout."""
    D, B, levels = 3, 4, 64
    for start in (0.01, 3.0):
        x = start * rng.normal(size=(B, D))
        rate, span = float(rng.uniform(0.5, 2)), float(rng.uniform(0.5, 2))
        end = start * np.exp(rate * span)
        times = np.sort(np.append(rng.uniform(0, span, 3), [0.0, span])) + 0.3
        div = np.full((5, B), rate * D)
        got = bits(student, x * end / start, times, div, float(end), levels, -2.0, 6.0)
        log_p = -(x**2 / (2 * start**2) + np.log(start) + np.log(2 * np.pi) / 2).sum(1)
        assert got == pytest.approx(-(log_p / D + np.log(8 / levels)) / np.log(2), **NEAR)
        ends = x * end / start
        answer = lambda c: bits(student, c * ends, times, div, c * float(end), levels, -2.0 * c, 6.0 * c)  # noqa: B023, E731
        any_unit(answer, 0, (1e-9, 5.0, 1e9), **NEAR)
    z, times, div = ran(rng, B, D, 6)
    answer = lambda z, d: student.repaired_bits(z, tensor(times), d.T, 1.5, 10, 0.0, 1.0)  # noqa: E731
    for relation in (rows_alone, strided):
        relation(answer, tensor(z), tensor(div.T), **NEAR)


# --- measurement: the oracle differentiates the joint density of x_t and y, cloud by cloud ---

MEASURED = {"measured_score": "tensor float64 shape 0"}


def joint_score(x, means, widths, shares, A, y, s_y, alpha, sigma):
    D, M = x.shape[1], len(y)
    logs, pulls = [], []
    for mu, w, share in zip(means, widths, shares, strict=True):
        cov = np.block(
            [
                [(alpha**2 * w**2 + sigma**2) * np.eye(D), alpha * w**2 * A.T],
                [alpha * w**2 * A, w**2 * A @ A.T + s_y**2 * np.eye(M)],
            ]
        )
        gap = np.concatenate([x - alpha * mu, np.broadcast_to(y - A @ mu, (len(x), M))], axis=1)
        solved = np.linalg.solve(cov, gap.T).T
        logs.append(np.log(share) - ((gap * solved).sum(1) + np.linalg.slogdet(cov)[1]) / 2)
        pulls.append(-solved[:, :D])
    logs = np.array(logs)
    weight = np.exp(logs - logs.max(0))
    return ((weight / weight.sum(0))[:, :, None] * np.array(pulls)).sum(0)


def problem(rng, B, D, K, M, far=1.0):
    means, widths = far * rng.normal(size=(K, D)), np.exp(rng.uniform(-1, 0.5, K))
    shares, A = rng.dirichlet(np.ones(K)) + 0.05, rng.normal(size=(M, D))
    y = A @ means[0] + rng.normal(size=M)
    return rng.normal(size=(B, D)) * far, means, widths, shares / shares.sum(), A, y


def told(student, x, *rest):
    there = [v if isinstance(v, float) else tensor(v) for v in rest]
    return array(student.measured_score(tensor(x), *there), x.shape)


@pytest.mark.exercise("measurement", weight=1, returns=MEASURED)
@pytest.mark.parametrize("sizes", [(4, 1, 2, 1), (1, 2, 3, 1), (3, 4, 5, 2), (2, 2, 1, 3), (3, 3, 4, 3)])
def test_exact_score(student, rng, sizes):
    """It is the gradient of log p(x_t | y), for points and clouds in one dimension and in many, for one
    measured number, several, and more than there are dimensions; at little noise and at much."""
    for alpha, sigma in ((1.0, 0.2), (0.3, 0.9), (1.0, 6.0), (0.01, 1.0)):
        given = problem(rng, *sizes)
        s_y = float(np.exp(rng.uniform(-2, 1)))
        exact = joint_score(*given, s_y, alpha, sigma)
        assert told(student, *given, s_y, alpha, sigma) == pytest.approx(exact, rel=1e-8, abs=1e-8)


@pytest.mark.exercise("measurement", weight=1)
def test_far_clouds_and_kinds(student, rng):
    """Clouds so far apart that most have no share left; shares that need not be equal; a measurement
    that tells next to nothing leaves the plain score. Each row by itself, any memory layout; any unit
    of length, in dozens of dimensions, too."""
    given = problem(rng, 4, 3, 4, 2, far=60.0)
    exact = joint_score(*given, 0.7, 0.8, 0.6)
    assert told(student, *given, 0.7, 0.8, 0.6) == pytest.approx(exact, rel=1e-6, abs=1e-6)
    x, means, widths, shares, A, y = problem(rng, 4, 3, 4, 2)
    free = joint_score(x, means, widths, shares, np.zeros((1, 3)), np.zeros(1), 1.0, 0.8, 0.6)
    got = told(student, x, means, widths, shares, A, y, 1e9, 0.8, 0.6)
    assert got == pytest.approx(free, rel=1e-6, abs=1e-7)
    rest = [tensor(v) for v in (means, widths, shares, A, y)]
    answer = lambda x: student.measured_score(x, *rest, 0.4, 0.8, 0.6)  # noqa: E731
    for relation in (rows_alone, strided):
        relation(answer, tensor(x), **NEAR)
    for sizes in ((4, 3, 4, 2), (2, 40, 2, 36)):
        x, means, widths, shares, A, y = (tensor(v) for v in problem(rng, *sizes))
        answer = lambda c: student.measured_score(  # noqa: E731
            *(c * x, c * means, c * widths, shares, A, c * y, c * 0.4, 0.8, c * 0.6)  # noqa: B023
        )
        any_unit(answer, -1, (1e-5, 1e5), rel=1e-7)


# --- rates: the truth is the matrix exponential and Bayes' rule ---


def chain(rng, K):
    """Rates of at most 3, some of them 0, and probabilities above 0.04."""
    Q = rng.uniform(0, 3 / max(1, K - 1), (K, K)) * (rng.uniform(size=(K, K)) < 0.8)
    Q[np.arange(K), (np.arange(K) + 1) % K] = rng.uniform(0.3, 3 / K, K)
    np.fill_diagonal(Q, 0)
    p = 0.05 + rng.dirichlet(0.7 * np.ones(K)) * (1 - 0.05 * K)
    return Q - np.diag(Q.sum(1)), p


def drained(rng, K):
    """Nearly all begin in one state and are drawn to another: the rates backwards change by much."""
    Q, _ = chain(rng, K)
    full, drain = rng.choice(K, size=2, replace=False)
    Q[:, drain] = 2.0
    np.fill_diagonal(Q, 0)
    Q *= 3 / Q.sum(1).max()
    p = np.full(K, 0.05)
    p[full] = 1.05 - 0.05 * K
    return Q - np.diag(Q.sum(1)), p


@pytest.mark.exercise("rates", weight=2, returns={"reverse_rates": "tensor float64 (K, K)"})
def test_reverse_rates(student, rng):
    """A jump backwards has the rate of the jump forwards that it undoes, by Bayes' rule; rows sum to 0,
    and the density moves backwards as it moved forwards. Two states and many; rates of 0; a state
    without mass has a row of zeros, wherever it stands, and little mass is not none."""
    for K in (2, 3, 6):
        Q, p = chain(rng, K)
        none = p.copy()
        none[rng.integers(K)] = 0
        little, least = p.copy(), p.copy()
        little[rng.integers(K)] = 1e-12
        least[rng.integers(K)] = 1e-200
        for at in (p, none / none.sum(), little / little.sum(), least / least.sum()):
            with np.errstate(divide="ignore", invalid="ignore"):
                exact = np.where(at[:, None] > 0, Q.T * at / at[:, None], 0)
            np.fill_diagonal(exact, 0)
            exact -= np.diag(exact.sum(1))
            got = array(student.reverse_rates(tensor(Q), tensor(at)), (K, K))
            assert got == pytest.approx(exact, rel=1e-8, abs=1e-12)
        strided(student.reverse_rates, tensor(Q), tensor(p), **NEAR)


def walked(student, Q, p, times, start, seed):
    generator = student.generator(seed)
    got = student.walk_back(tensor(Q), tensor(p), tensor(times), tensor(start, torch.int64), generator)
    states = whole_numbers(got, (len(times), len(start)))
    assert (states[0] == start).all() and ((states >= 0) & (states < len(p))).all()
    return states


def within(found, exact, n):
    """Frequencies, beyond 6 deviations of chance."""
    return (np.abs(found - exact) < 0.02 + 6 * np.sqrt(exact * (1 - exact) / n)).all()


def joint_holds(states, Q, p, stops, first):
    """Whether each pair of stops has its joint frequencies, of walkers that begin with the shares `first`."""
    marginal = [expm(t * Q.T) @ p for t in stops]
    back = lambda i, j: (marginal[j][:, None] * expm((stops[i] - stops[j]) * Q)).T / marginal[i][:, None]  # noqa: E731
    for i, j in itertools.combinations(range(len(stops)), 2):
        exact = (first @ back(0, i))[:, None] * back(i, j)  # by state at i and at j
        found = np.zeros(exact.shape)
        np.add.at(found, (states[i], states[j]), 1 / states.shape[1])
        if not within(found, exact, states.shape[1]):
            return False
    return True


WALK = {"walk_back": "int64 (M, N)"}


@pytest.mark.exercise("rates", weight=1, costly=True, returns=WALK)
@pytest.mark.parametrize("K", [2, 3, 6])
def test_joint_law(student, rng, K):
    """From noise back to the data, each pair of stops has its joint frequencies, and the last row those
    of the data: few stops and uneven ones, two states and many, walkers that begin in all states and in
    one."""
    Q, p = chain(rng, K)
    n = 5_000
    for stops in (np.array([2.0, 0.8, 0.6, 0.0]), np.array([float(rng.uniform(0.3, 1.5)), 0.0])):
        first = expm(stops[0] * Q.T) @ p
        start = rng.choice(K, size=n, p=first / first.sum())
        states = walked(student, Q, p, stops, start, int(rng.integers(2**31)))
        assert joint_holds(states, Q, p, stops, first)
    only = int(rng.integers(K))
    states = walked(student, Q, p, stops, np.full(n, only), int(rng.integers(2**31)))
    assert joint_holds(states, Q, p, stops, np.eye(K)[only])


@pytest.mark.exercise("rates", weight=1)
def test_walkers(student, rng):
    """One walker will do; walkers from one state arrive as they should, and do not share their luck; the
    generator decides, and no other chance; where nothing can jump nobody moves."""
    Q, p = drained(rng, 4)
    stops = np.array([2.0, 0.6, 0.5, 0.0])
    walked(student, Q, p, stops, np.array([2]), 3)
    states = walked(student, Q, p, stops, np.full(5_000, 1), int(rng.integers(2**31)))
    assert joint_holds(states, Q, p, stops, np.eye(4)[1])
    shares = np.bincount(states[-1], minlength=4) / 5_000
    for apart in (1, 2_500):  # neighbours, and one half and the other: as often alike as by chance
        alike = (states[-1, :2_500] == states[-1, apart : apart + 2_500]).mean()
        assert abs(alike - (shares**2).sum()) < 0.09
    start = rng.integers(4, size=500)
    generator_decides(
        lambda g: student.walk_back(tensor(Q), tensor(p), tensor(stops), tensor(start, torch.int64), g),
        student.generator,
        rng,
    )
    states = walked(student, 0 * Q, p, stops, start, 5)
    assert (states == start).all()
