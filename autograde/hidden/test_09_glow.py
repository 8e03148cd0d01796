"""Hidden tests of lesson 09_glow. A docstring is what the learner reads when its test fails."""

import math

import numpy as np
import pytest
import torch

from autograde.checks import array, from_tensor, number, parts
from autograde.relations import (
    any_order,
    both_types,
    generator_decides,
    gradient_is_slope,
    rows_alone,
    strided,
    time_grows,
    within_memory,
)
from autograde.training import learned, train

NEAR = {"rel": 1e-8, "abs": 1e-8}
SHORT = {"rel": 1e-3, "abs": 1e-3}
TURN = 2 * math.pi


def tensor(value, dtype=torch.float64):
    return torch.tensor(np.asarray(value), dtype=dtype)


# --- repair: the oracle goes from recording to recording ---


def recordings(rng, N, C, T, lengths, size=1.0):
    """Channels with means and deviations of their own; a valid place of zeros; padding that is anything."""
    x = np.asarray(size).reshape(-1, 1) * (rng.normal(size=(N, C, T)) * rng.uniform(0.5, 2, (1, C, 1)) + 3)
    x[0, :, 0] = 0
    for n, length in enumerate(lengths):
        x[n, :, length:] = rng.choice([-1e300, 0.0, 77.0], size=(C, T - length))
    return x


def step_by_hand(x, lengths, W):
    channels = np.concatenate([x[n, :, :length] for n, length in enumerate(lengths)], axis=1)
    b, s = channels.mean(1), channels.std(1)
    z = np.zeros_like(x)
    for n, length in enumerate(lengths):
        z[n, :, :length] = W @ ((x[n, :, :length] - b[:, None]) / s[:, None])
    return z, (np.linalg.slogdet(W)[1] - np.log(s).sum()) * np.asarray(lengths), b, s


def check_step(student, x, lengths, W, rows=1.0):
    """The four results, and exact zeros behind each recording; rows: what W's were multiplied by."""
    found = parts(student.mended_step(tensor(x), tensor(lengths, torch.int64), tensor(W)), 4)
    for n, (got, wanted) in enumerate(zip(found, step_by_hand(x, lengths, W), strict=True)):
        got = from_tensor(got, wanted.shape, torch.float64)
        got, wanted = (v / np.reshape(rows, (-1, 1)) if n == 0 else v for v in (got, wanted))
        reach = np.maximum(1e-8 * np.abs(wanted), 0 if wanted.shape == W.shape[:1] else 1e-8)
        assert (np.abs(got - wanted) <= reach).all()
    z = array(found[0])
    assert all((z[n, :, length:] == 0).all() for n, length in enumerate(lengths))


CASES = (
    (3, 2, 5, [5, 2, 1]),
    (1, 3, 6, [4]),
    (2, 2, 4, [4, 4]),
    (4, 1, 3, [1, 3, 2, 1]),
    (2, 4, 1, [1, 1]),
)


@pytest.mark.exercise("repair", weight=1)
def test_valid_places_alone(student, rng):
    """Mean and deviation of a channel are those over the valid places of all recordings; z and W as in
    sections 1 and 2; each recording's log-det counts its own places. Padding comes out as 0 and changes
    nothing else, whatever it was. One recording and several, none padded and all."""
    for N, C, T, lengths in CASES:
        W = rng.normal(size=(C, C)) + 2 * np.eye(C)[rng.permutation(C)]
        check_step(student, recordings(rng, N, C, T, lengths), lengths, W)
        check_step(student, recordings(rng, N, C, T, lengths), lengths, -W)


@pytest.mark.exercise("repair", weight=1)
def test_sizes_and_kinds(student, rng):
    """Channels and rows of W of very different size, down to 1e-20 and up to 1e20, and means far from 0, also
    with twenty channels, whose sizes have no product; recordings in another order give the same in that
    order; any memory layout; float32 gives float32."""
    N, C, T, lengths = 4, 3, 6, [6, 3, 1, 5]
    W = rng.normal(size=(C, C)) + 2 * np.eye(C)
    for size in ([1e-20, 1.0, 1e20], [1e20] * 20, [1e-20] * 20):
        x = recordings(rng, N, len(size), T, lengths, np.array(size))
        wide, rows = rng.normal(size=(len(size),) * 2) + 9 * np.eye(len(size)), rng.permutation(size)
        check_step(student, x, lengths, rows[:, None] * wide, rows)
    far = recordings(rng, N, C, T, lengths) + 1e5 * np.array([[-1.0], [0.0], [1.0]])
    check_step(student, far, lengths, W)
    x, n = tensor(recordings(rng, N, C, T, lengths)), tensor(lengths, torch.int64)
    step = lambda x, W: parts(student.mended_step(x, n, W), 4)  # noqa: E731
    strided(step, x, tensor(W), **NEAR)
    mild = x.clone()
    mild[mild.abs() > 50] = 0
    both_types(step, mild, tensor(W), **SHORT)
    turned = lambda o: parts(student.mended_step(x[o], n[o], tensor(W)), 4)[:2]  # noqa: E731
    any_order(turned, N, rng, (0,), **NEAR)


# --- ring-conv: the oracle rolls the picture, and has the whole Jacobian ---


def kernel(rng, C, a, b, size=1.0):
    """One place where it is a mixing of channels, and little elsewhere: far from singular."""
    K = 0.25 * rng.normal(size=(C, C, a, b)) / math.sqrt(C * a * b)
    K[:, :, rng.integers(a), rng.integers(b)] += np.linalg.qr(rng.normal(size=(C, C)))[0]
    return size * K


def conv_by_hand(x, K):
    z = np.zeros_like(x)
    for p in range(K.shape[2]):
        for q in range(K.shape[3]):
            z += np.einsum("ij,njhw->nihw", K[:, :, p, q], np.roll(x, (-p, -q), (2, 3)))
    return z


def log_det_by_hand(shape, K):
    units = np.eye(math.prod(shape)).reshape(-1, *shape)
    return np.linalg.slogdet(conv_by_hand(units, K).reshape(len(units), -1))[1]


def check_conv(student, rng, N, C, H, W, a, b, size=1.0):
    x, K = rng.normal(size=(N, C, H, W)), kernel(rng, C, a, b, size)
    z, log_det = parts(student.ring_conv(tensor(x), tensor(K)), 2)
    assert from_tensor(z, x.shape, torch.float64) / size == pytest.approx(conv_by_hand(x, K) / size, **NEAR)
    assert from_tensor(log_det, (), torch.float64) == pytest.approx(log_det_by_hand((C, H, W), K), **NEAR)
    back = from_tensor(student.ring_inverse(tensor(conv_by_hand(x, K)), tensor(K)), x.shape, torch.float64)
    assert back == pytest.approx(x, **NEAR)


@pytest.mark.exercise("ring-conv", weight=1)
def test_every_shape(student, rng):
    """z is the sum of the formula, the log-det that of the whole Jacobian, and the inverse leads back: for
    square pictures and others, odd and even sides, kernels of one pixel, of a row, as large as the
    picture; one channel and several; kernels of any size. Gradients reach picture and kernel, by both
    results. Each picture by itself, any memory layout, float32 in and out."""
    for case in (
        (2, 1, 4, 4, 1, 3),
        (1, 3, 3, 5, 3, 2),
        (3, 2, 5, 2, 2, 2),
        (2, 4, 1, 1, 1, 1),
        (1, 2, 3, 3, 3, 3),
        (1, 2, 1, 5, 1, 4),
    ):
        check_conv(student, rng, *case)
    for size in (1e20, 1e-20):
        check_conv(student, rng, 2, 2, 2, 4, 2, 3, size=size)
    conv_gradients_and_kinds(student, rng)


BOTH = """
def both(f, flat, size, kernel):
    import math
    x, K = flat.split([math.prod(size), math.prod(kernel)])
    z, log_det = f(x.reshape(size), K.reshape(kernel))
    return (z**2).sum() + log_det
"""


def conv_gradients_and_kinds(student, rng):
    x, K = tensor(rng.normal(size=(2, 2, 3, 4))), tensor(kernel(rng, 2, 2, 3))
    both, flat = student.define(BOTH), torch.cat([x.flatten(), K.flatten()])
    gradient_is_slope(both, 1, student.ring_conv, flat, [*x.shape], [*K.shape], rng=rng, rel=1e-5, abs=1e-6)
    rows_alone(lambda x: [parts(student.ring_conv(x, K), 2)[0], student.ring_inverse(x, K)], x, **NEAR)
    answer = lambda x, K: [*parts(student.ring_conv(x, K), 2), student.ring_inverse(x, K)]  # noqa: E731
    strided(answer, x, K, **NEAR)
    both_types(answer, x, K, **SHORT)


@pytest.mark.exercise("ring-conv", weight=1, costly=True)
def test_large_pictures(student, rng):
    """Eight channels of 32 x 32 pixels: without the whole Jacobian, and without a product that overflows."""
    x, K = rng.normal(size=(2, 8, 32, 32)), kernel(rng, 8, 3, 3, 30.0)
    z, log_det = parts(within_memory(student.ring_conv, tensor(x), tensor(K), megabytes=220), 2)
    wanted = conv_by_hand(x, K)
    assert array(z, x.shape) == pytest.approx(wanted, rel=1e-7, abs=1e-7)
    back = within_memory(student.ring_inverse, tensor(wanted), tensor(K), megabytes=220)
    assert array(back, x.shape) == pytest.approx(x, rel=1e-7, abs=1e-7)
    waves = np.fft.fft2(K, s=(32, 32)).transpose(2, 3, 0, 1)
    assert number(log_det) == pytest.approx(np.linalg.slogdet(waves)[1].sum(), rel=1e-8)
    for case in ((2, 2, 3, 4, 2, 3), (1, 1, 4, 1, 2, 1)):
        check_conv(student, rng, *case)


# --- circle: the oracle is the formula, bin by bin ---


def ring_knots(rng, K):
    """K rising angles within less than a turn, beginning anywhere."""
    gaps = rng.dirichlet(np.full(K, 3.0)) * 0.7 + 0.3 / K
    return rng.uniform(-9, 9) + TURN * np.concatenate([[0.0], gaps.cumsum()[:-1]])


def bump(rng, K):
    return ring_knots(rng, K), ring_knots(rng, K), rng.uniform(0.2, 3, K)


def hard_rings(rng):
    """Rings with straight bins alone, with slopes far from 1, and with a narrow bin."""
    at = ring_knots(rng, 3)
    yield np.array([0.0, 1.0, 2.5]), np.array([0.0, 1.0, 2.5]), np.ones(3)
    yield at, at + rng.uniform(-4, 4), np.ones(3)
    yield at[:1], ring_knots(rng, 1), np.ones(1)
    yield at, ring_knots(rng, 3), rng.permutation([1e-4, 1.0, 1e3])
    narrow = np.cumsum([rng.uniform(-3, 3), 1.0, 3e-4, 2.0])
    yield narrow, narrow + np.array([1.0, 2.0, 2.0002, 1.5]), rng.permutation([0.1, 0.4, 3.0, 9.0])


def in_each_bin(rng, at):
    return at + rng.uniform(0.2, 0.8, len(at)) * np.diff(at, append=at[0] + TURN)


def curve_by_hand(x, at, to, slope):
    """y without its turns, and log dy/dx, for one angle."""
    a, b, d = np.append(at, at[0] + TURN), np.append(to, to[0] + TURN), np.append(slope, slope[0])
    u = (x - a[0]) % TURN + a[0]
    k = max(n for n in range(len(at)) if a[n] <= u)
    w, h = a[k + 1] - a[k], b[k + 1] - b[k]
    s, xi = h / w, (u - a[k]) / w
    q = s + (d[k] + d[k + 1] - 2 * s) * xi * (1 - xi)
    y = b[k] + h * (s * xi**2 + d[k] * xi * (1 - xi)) / q
    rise = s**2 * (d[k + 1] * xi**2 + 2 * s * xi * (1 - xi) + d[k] * (1 - xi) ** 2) / q**2
    return y, math.log(rise)


def near_angles(got, wanted, reach=2e-8):
    """Angles of one turn, and equal but for whole turns."""
    assert (got >= -1e-9).all() and (got <= TURN + 1e-9).all()
    apart = (got - wanted + math.pi) % TURN - math.pi
    assert (np.abs(apart) <= reach).all()


def check_circle(student, x, at, to, slope):
    given = tensor(at), tensor(to), tensor(slope)
    y, log_slope = np.array([curve_by_hand(v, at, to, slope) for v in x]).T
    got, log_got = (
        from_tensor(v, x.shape, torch.float64) for v in parts(student.circle_spline(tensor(x), *given), 2)
    )
    near_angles(got, y)
    assert log_got == pytest.approx(log_slope, **NEAR)
    back, log_back = (
        from_tensor(v, x.shape, torch.float64)
        for v in parts(student.circle_spline(tensor(y), *given, back=True), 2)
    )
    near_angles(back, x)
    assert log_back == pytest.approx(-log_slope, **NEAR)


@pytest.mark.exercise("circle", weight=1)
def test_curve_and_inverse(student, rng):
    """Both directions and both logarithms are those of the formula, for one knot and for several that begin
    anywhere, in the first bin and in the last one, which ends a turn after the first knot; where bins are
    straight, where one is narrow, where slopes are far from 1; whole turns of what goes in do not count;
    what comes out is an angle of one turn."""
    for K in (1, 2, 3, 6):
        for _ in range(2):
            at, to, slope = bump(rng, K)
            x = np.concatenate(
                [rng.uniform(-25, 25, 12), at[-1] + np.array([0.01, 0.1]), at[0] - [0.01, 0.1]]
            )
            check_circle(student, x, at, to, slope)
    check_circle(student, rng.uniform(0, TURN, 1), *bump(rng, 4))
    for at, to, slope in hard_rings(rng):
        check_circle(student, in_each_bin(rng, at), at, to, slope)


WAVES = """
def waves(f, flat, sizes, back):
    y, log_slope = f(*flat.split(sizes), back)
    return y.sin() + log_slope
"""


def waves_of(found):
    """What does not jump at a whole turn."""
    return [found[0].cos(), found[0].sin(), found[1]]


@pytest.mark.exercise("circle", weight=1)
def test_geometry_and_kinds(student, rng):
    """Turn the angles and their knots, and nothing changes; turn what the knots go to, and all turns.
    Gradients reach angles, knots and slopes. Each angle by itself, any memory layout, float32 in and
    out. On the knots, the knots' values and slopes."""
    at, to, slope = bump(rng, 4)
    x = rng.uniform(at[0] + 0.1, at[0] + 6.0, 7)
    given = tensor(at), tensor(to), tensor(slope)
    plain = [array(v) for v in parts(student.circle_spline(tensor(x), *given), 2)]
    a, b = rng.uniform(-4, 4, 2)
    moved = [
        array(v)
        for v in parts(student.circle_spline(tensor(x + a), tensor(at + a), tensor(to + b), given[2]), 2)
    ]
    near_angles(moved[0], plain[0] + b)
    assert moved[1] == pytest.approx(plain[1], **NEAR)
    flat = rng.permutation([1e-4, 0.3, 1.0, 2.0])
    on = [array(v) for v in parts(student.circle_spline(given[0] + 1e-13, *given[:2], tensor(flat)), 2)]
    near_angles(on[0], to)
    assert on[1] == pytest.approx(np.log(flat), rel=0, abs=1e-7)
    for back, u in ((False, x), (True, np.array([curve_by_hand(v, at, to, slope)[0] for v in x]))):
        answer = lambda x, *g, back=back: waves_of(parts(student.circle_spline(x, *g, back=back), 2))  # noqa: E731
        rows_alone(lambda x: answer(x, *given), tensor(u), **NEAR)  # noqa: B023
        strided(answer, tensor(u), *given, **NEAR)
        both_types(answer, tensor(u), *given, **SHORT)
        flat, sizes = torch.cat([tensor(u), *given]), [len(u), 4, 4, 4]
        args = student.circle_spline, flat, sizes, back
        gradient_is_slope(student.define(WAVES), 1, *args, rng=rng, rel=1e-4, abs=1e-5)
    check_circle(student, x, at, to, slope)


# --- roulette: the oracle multiplies Jacobians ---

FIELD = """
def make(A):
    import torch
    def f(x):
        return torch.tanh(x @ A.T)
    return f
"""


LEFT = """
def left(answer, x, *more):
    import torch
    p = torch.nn.Parameter(torch.full_like(x[0], 0.4))
    found = answer(lambda x: (p * x).sin(), x.clone().requires_grad_(), *more)
    return found.requires_grad, p.grad is None
"""


def jacobians(A, x):
    return (1 - np.tanh(x @ A.T) ** 2)[:, :, None] * A


def mild(rng, D):
    A = rng.normal(size=(D, D))
    return 0.5 * A / np.linalg.norm(A, 2)


def wild(rng, D):
    """Whose powers are long in vanishing."""
    return 0.95 * np.linalg.qr(rng.normal(size=(D, D)))[0]


def roulette_by_hand(A, x, probes, terms, alive):
    total = np.zeros(len(x))
    for v, count in zip(probes, terms, strict=True):
        w = v
        for k in range(1, count + 1):
            w = np.einsum("bij,bj->bi", jacobians(A, x), w)
            total += (-1) ** (k + 1) * (v * w).sum(1) / (k * alive[k - 1])
    return total / len(probes)


def check_roulette(student, rng, B, D, terms, alive, matrix=mild):
    A, x, probes = matrix(rng, D), 0.3 * rng.normal(size=(B, D)), rng.normal(size=(len(terms), B, D))
    f = student.define(FIELD)(tensor(A))
    args = tensor(x), tensor(probes), tensor(terms, torch.int64), tensor(alive)
    got = from_tensor(student.roulette_log_det(f, *args), (B,), torch.float64)
    assert got == pytest.approx(roulette_by_hand(A, x, probes, terms, alive), **NEAR)
    return f, args


@pytest.mark.exercise("roulette", weight=1)
def test_terms_of_each_probe(student, rng):
    """It is the sum of the formula, each probe with its own number of terms, each term divided by the
    probability of getting so far, and the mean over probes: one row and several, one number a row and
    several, one term and many. The probabilities need not be those of a geometric law, may be small, and
    there may be more of them than terms. With probes that find traces without chance, the mean over all
    numbers of terms is the log-determinant. Each row by itself, any memory layout, float32 in and out; the
    result has no gradient, also where x has one, and those of parameters stay as they were."""
    for B, D, terms in ((3, 4, [1, 3, 2]), (1, 2, [5]), (2, 1, [4, 1]), (4, 3, [1]), (2, 3, [2, 7, 1, 1])):
        alive = np.sort(rng.uniform(0.1, 1, max(terms) + int(rng.integers(3))))[::-1].copy()
        check_roulette(student, rng, B, D, terms, alive)
    check_roulette(student, rng, 2, 3, [25, 14], 0.6 ** np.arange(25), wild)
    roulette_mean_and_kinds(student, rng)


def roulette_mean_and_kinds(student, rng):
    D, B, q = 2, 1, 0.6
    A, x = mild(rng, D), rng.normal(size=(B, D))
    f = student.define(FIELD)(tensor(A))
    basis = math.sqrt(D) * np.eye(D)[:, None].repeat(B, 1)
    alive, mean = q ** np.arange(12), np.zeros(B)
    for count in range(1, 13):
        p = alive[count - 1] * (1 - q if count < 12 else 1)
        args = tensor(x), tensor(basis), tensor([count] * D, torch.int64), tensor(alive)
        mean += p * array(student.roulette_log_det(f, *args), (B,))
    assert mean == pytest.approx(np.linalg.slogdet(np.eye(D) + jacobians(A, x))[1], rel=1e-3, abs=1e-3)
    f, (x, probes, terms, alive) = check_roulette(
        student, rng, 4, 3, [2, 5, 1], np.array([1.0, 0.7, 0.4, 0.3, 0.1])
    )
    rows = lambda x, v: student.roulette_log_det(f, x, v.transpose(0, 1), terms, alive)  # noqa: E731
    rows_alone(rows, x, probes.transpose(0, 1), **NEAR)
    strided(lambda x, v, a: student.roulette_log_det(f, x, v, terms, a), x, probes, alive, **NEAR)
    cubes = student.define("def f(x):\n    return 0.1 * x**3")
    both_types(lambda x, v, a: student.roulette_log_det(cubes, x, v, terms, a), x, probes, alive, **SHORT)
    seen = student.define(LEFT)(student.roulette_log_det, x, probes, terms, alive)
    assert tuple(seen) == (False, True)


@pytest.mark.exercise("roulette", weight=1, costly=True)
def test_cost_of_terms(student, rng):
    """The time grows like the number of terms, and there is no memory for a whole Jacobian."""
    f, (x, probes, _, _) = check_roulette(student, rng, 2, 3, [2], np.array([1.0, 0.5]))
    small, large = (
        (f, x, probes, tensor([n], torch.int64), torch.ones(n, dtype=torch.float64)) for n in (30, 600)
    )
    time_grows(student.roulette_log_det, small, large, most=70)
    x, probes = tensor(rng.normal(size=(2, 9_000))), tensor(rng.normal(size=(1, 2, 9_000)))
    sines, J = student.define("def f(x):\n    return 0.5 * x.sin()"), 0.5 * x.cos()
    args = tensor([2], torch.int64), tensor([1.0, 0.5])
    got = within_memory(student.roulette_log_det, sines, x, probes, *args, megabytes=220)
    assert array(got, (2,)) == pytest.approx(((J - J**2) * probes[0] ** 2).sum(1).numpy(), **NEAR)
    check_roulette(student, rng, 3, 2, [1, 4], np.array([1.0, 0.6, 0.5, 0.2]))


# --- sequences: the oracle walks through the cells ---

CELL = """
def make(R, A, b, M, L):
    import torch
    def cell(state, before):
        assert type(before) is torch.Tensor and before.ndim == 2 and before.shape[1] == A.shape[0]
        cell.calls += 1
        state = torch.zeros(len(before), len(R), dtype=before.dtype) if state is None else state
        state = torch.tanh(state @ R + before @ A + b)
        return state @ M, 0.5 * torch.tanh(state @ L), state
    cell.calls = 0
    return cell
"""


class Cell:
    """A recurrent cell, here and there."""

    def __init__(self, student, rng, D, width=3, dtype=torch.float64):
        shapes = (width, width), (D, width), (width,), (width, D), (width, D)
        self.weights = [0.8 * rng.normal(size=shape) for shape in shapes]
        self.there = student.define(CELL)(*(tensor(w, dtype) for w in self.weights))

    def step(self, state, before):
        """As the one there."""
        R, A, b, M, L = self.weights
        state = np.tanh(state @ R + before @ A + b)
        return state @ M, 0.5 * np.tanh(state @ L), state

    def begin(self, N):
        """The state at the beginning."""
        return np.zeros((N, len(self.weights[0])))


def forward_by_hand(cells, x):
    log_det = np.zeros(len(x))
    for n, cell in enumerate(cells):
        x = x[:, ::-1] if n % 2 else x
        z, state, before = np.empty_like(x), cell.begin(len(x)), np.zeros_like(x[:, 0])
        for t in range(x.shape[1]):
            mu, alpha, state = cell.step(state, before)
            before = x[:, t]
            z[:, t] = (before - mu) * np.exp(-alpha)
            log_det -= alpha.sum(1)
        x = z[:, ::-1].copy() if n % 2 else z
    return x, log_det


def log_p_by_hand(cells, x):
    z, log_det = forward_by_hand(cells, x)
    return -0.5 * (z**2 + math.log(TURN)).sum((1, 2)) + log_det


def calls(student, cells):
    return [number(student.value(cell.there.calls)) for cell in cells]


def there(cells):
    return [cell.there for cell in cells]


def check_steep(student, rng):
    """A cell that scales by e^32 and by e^-32."""
    steep = student.define("def cell(state, before):\n    return before, 32 * (9 * before).tanh(), None")
    x = rng.normal(size=(2, 4, 1))
    before = np.concatenate([np.zeros((2, 1, 1)), x[:, :-1]], axis=1)
    alpha = 32 * np.tanh(9 * before)
    z, log_det = parts(student.sequence_forward([steep], tensor(x)), 2)
    assert array(z, x.shape) * np.exp(alpha) == pytest.approx(x - before, **NEAR)
    assert array(log_det, (2,)) == pytest.approx(-alpha.sum((1, 2)), **NEAR)
    drawn = student.sequence_draw([steep], tensor((x - before) * np.exp(-alpha)))
    assert array(drawn, x.shape) == pytest.approx(x, rel=1e-7, abs=1e-7)


def check_four(student, rng):
    """All four functions once: three cells, called no more than they must be, and noise."""
    check_steep(student, rng)
    cells, x, seed = (
        [Cell(student, rng, 2) for _ in range(3)],
        rng.normal(size=(3, 3, 2)),
        int(rng.integers(2**31)),
    )
    eps = torch.randn(3, 3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()
    z, change = forward_by_hand(cells, x)
    found, log_det = parts(student.sequence_forward(there(cells), tensor(x)), 2)
    assert array(found, x.shape) == pytest.approx(z, **NEAR)
    assert array(log_det, (3,)) == pytest.approx(change, **NEAR)
    before, drawn = calls(student, cells), student.sequence_draw(there(cells), tensor(z))
    assert array(drawn, x.shape) == pytest.approx(x, rel=1e-7, abs=1e-7)
    assert calls(student, cells) == [count + 3 for count in before] == [6] * 3
    got = number(student.sequence_loss(there(cells), tensor(x), 0.6, student.generator(seed)))
    assert got == pytest.approx(-log_p_by_hand(cells, x + 0.6 * eps).mean() / 6, **NEAR)
    way, step = rng.normal(size=x.shape), 1e-5
    score = (log_p_by_hand(cells, x + step * way) - log_p_by_hand(cells, x - step * way)) / (2 * step)
    pull = array(student.sequence_clean(there(cells), tensor(x), 0.6), x.shape) - x
    assert (pull * way).sum((1, 2)) == pytest.approx(0.36 * score, rel=1e-5, abs=1e-5)


@pytest.mark.exercise("sequences", weight=1, returns={"sequence_draw": "tensor like 1 shape 1"})
def test_forward_and_draw(student, rng):
    """z and the log-det are the formula's, and what is drawn leads back to its noise: for no cell, for one
    and for several that read in turns, for sequences of one step and of more, of one number a step and of
    several. Each cell is called once for a step, in either direction. Each sequence by itself, any
    memory layout, float32 in and out. All four functions fit together, also where cells scale by e^32."""
    for count, N, T, D in (
        (0, 2, 3, 2),
        (1, 3, 4, 1),
        (2, 2, 5, 2),
        (3, 1, 3, 3),
        (2, 4, 1, 2),
    ):
        cells, x = [Cell(student, rng, D) for _ in range(count)], rng.normal(size=(N, T, D))
        z, log_det = parts(student.sequence_forward(there(cells), tensor(x)), 2)
        wanted, change = forward_by_hand(cells, x)
        assert from_tensor(z, x.shape, torch.float64) == pytest.approx(wanted, **NEAR)
        assert from_tensor(log_det, (N,), torch.float64) == pytest.approx(change, **NEAR)
        assert calls(student, cells) == [T] * count
        drawn = from_tensor(student.sequence_draw(there(cells), tensor(wanted)), x.shape, torch.float64)
        assert drawn == pytest.approx(x, rel=1e-7, abs=1e-7)
        assert calls(student, cells) == [2 * T] * count
    cells, x = [Cell(student, rng, 2) for _ in range(2)], tensor(rng.normal(size=(3, 4, 2)))
    for answer in (
        lambda x: parts(student.sequence_forward(there(cells), x), 2),
        lambda z: student.sequence_draw(there(cells), z),
    ):
        rows_alone(answer, x, **NEAR)
        strided(answer, x, **NEAR)
    free = student.define("def cell(state, before):\n    return before.sin(), 0.3 * before.cos(), None")
    both_types(lambda x: parts(student.sequence_forward([free, free], x), 2), x, **SHORT)
    both_types(lambda x: student.sequence_draw([free, free], x), x, **SHORT)
    check_four(student, rng)


SLOPED = """
def sloped(weights, loss, x, sigma, seed):
    import torch
    def cell(state, before):
        alpha = 0.5 * torch.tanh(before @ weights[2] + weights[3, 0])
        return before @ weights[0] + weights[1, 0], alpha, None
    return loss([cell, cell], x, sigma, torch.Generator().manual_seed(seed))
"""


@pytest.mark.exercise("sequences", weight=1)
def test_loss(student, rng):
    """It is minus the mean of log p of the noisy sequences, divided by the numbers of one, with one draw of
    noise from the generator; without noise, that of the sequences themselves. Its gradient reaches the
    cells. All four functions fit together."""
    for count, N, T, D, sigma in ((1, 3, 4, 1, 0.3), (2, 2, 3, 2, 1.5), (2, 4, 2, 3, 0.0)):
        cells, x, seed = (
            [Cell(student, rng, D) for _ in range(count)],
            rng.normal(size=(N, T, D)),
            int(rng.integers(2**31)),
        )
        eps = torch.randn(N, T, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()
        got = student.sequence_loss(there(cells), tensor(x), sigma, student.generator(seed))
        wanted = -log_p_by_hand(cells, x + sigma * eps).mean() / (T * D)
        assert from_tensor(got, (), torch.float64) == pytest.approx(wanted, **NEAR)
    noisy = lambda g: student.sequence_loss(there(cells), tensor(x), 0.5, g)  # noqa: E731
    generator_decides(noisy, student.generator, rng)
    short = Cell(student, rng, 2, dtype=torch.float32)
    x, seed = rng.normal(size=(2, 3, 2)).astype(np.float32), int(rng.integers(2**31))
    eps = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(seed)).numpy()
    got = student.sequence_loss([short.there], tensor(x, torch.float32), 0.4, student.generator(seed))
    wanted = -log_p_by_hand([short], (x + 0.4 * eps).astype(float)).mean() / 6
    assert from_tensor(got, (), torch.float32) == pytest.approx(wanted, rel=1e-3, abs=1e-3)
    sloped, weights = student.define(SLOPED), tensor(0.5 * rng.normal(size=(4, 2, 2)))
    args = student.sequence_loss, tensor(rng.normal(size=(3, 4, 2))), 0.3, seed
    gradient_is_slope(sloped, 0, weights, *args, rng=rng, rel=1e-5, abs=1e-6)
    check_four(student, rng)


CHAIN = """
def make(a, s):
    import math, torch
    def cell(state, before):
        return a * before, torch.full_like(before, math.log(s)), None
    return cell
"""
WATCHED = """
def watched(clean, y, sigma):
    import torch
    p = torch.nn.Parameter(torch.tensor(0.4, dtype=y.dtype))
    cell = lambda state, before: (p * before, 0 * before + p, None)
    found = clean([cell, cell], y, sigma)
    return found.requires_grad, p.grad is None, y.requires_grad
"""


@pytest.mark.exercise("sequences", weight=1, returns={"sequence_clean": "tensor like 1 shape 1"})
def test_cleaning(student, rng):
    """For a normal chain it is the mean of the clean sequence given the noisy one, by the normal law's
    formula; for other cells it follows the slope of the log-density. Gradients of parameters stay as
    they were, and the result has none. Each sequence by itself, any memory layout, float32 in and out.
    All four functions fit together."""
    for T, D in ((1, 1), (5, 1), (4, 2)):
        a, s, sigma = rng.uniform(-0.9, 0.9), rng.uniform(0.6, 1.5), rng.uniform(0.1, 0.5)
        y, chain = rng.normal(size=(3, T, D)), student.define(CHAIN)(float(a), float(s))
        inverse = np.linalg.inv(np.eye(T) - a * np.eye(T, k=-1))
        cov = s**2 * inverse @ inverse.T  # of the noisy chain; the clean one has cov - sigma^2
        wanted = np.einsum("ts,nsd->ntd", (cov - sigma**2 * np.eye(T)) @ np.linalg.inv(cov), y)
        got = from_tensor(student.sequence_clean([chain], tensor(y), float(sigma)), y.shape, torch.float64)
        assert got == pytest.approx(wanted, **NEAR)
    cells, y, sigma, step = [Cell(student, rng, 2) for _ in range(2)], rng.normal(size=(2, 3, 2)), 0.7, 1e-5
    got = array(student.sequence_clean(there(cells), tensor(y), sigma), y.shape)
    for index in np.ndindex(3, 2):
        bit = np.zeros_like(y)
        bit[(slice(None), *index)] = step
        score = (log_p_by_hand(cells, y + bit) - log_p_by_hand(cells, y - bit)) / (2 * step)
        assert got[(slice(None), *index)] == pytest.approx(
            y[(slice(None), *index)] + sigma**2 * score, rel=1e-6, abs=1e-6
        )
    clean = lambda y: student.sequence_clean(there(cells), y, sigma)  # noqa: E731
    rows_alone(clean, tensor(y), **NEAR)
    strided(clean, tensor(y), **NEAR)
    seen = student.define(WATCHED)(student.sequence_clean, tensor(y), 0.3)
    assert tuple(seen) == (False, True, False)
    free = student.define("def cell(state, before):\n    return before.sin(), 0.3 * before.cos(), None")
    both_types(lambda y: student.sequence_clean([free, free], y, 0.5), tensor(y), **SHORT)
    check_four(student, rng)


LEARN = """
def learn(loss, draw, x, z, sigma, updates):
    import torch
    p = torch.zeros(2, 2, dtype=x.dtype, requires_grad=True)
    def cell_of(row):
        return lambda state, before: (row[0] * before, row[1] + 0 * before, None)
    cells = [cell_of(p[0])]
    optimizer, g = torch.optim.Adam([p], 0.05), torch.Generator().manual_seed(1)
    for n in range(updates):
        found = loss(cells, x, sigma, g)
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - n / updates) + 1e-3
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
    with torch.no_grad():
        return p[0], draw(cells, z)
"""


@pytest.mark.exercise("sequences", weight=1, costly=True)
def test_learns_a_chain(student, rng):
    """A cell of two numbers, trained with the loss on sequences of a normal chain, finds the chain's pull and
    noise, and draws by them. All four functions fit together."""
    a, s, T = float(rng.choice([-1, 1]) * rng.uniform(0.5, 0.8)), float(rng.uniform(0.4, 0.7)), 6
    eps, x = rng.normal(size=(1_000, T, 1)), np.zeros((1_000, T, 1))
    for t in range(T):
        x[:, t] = (a * x[:, t - 1] if t else 0) + s * eps[:, t]
    z = rng.normal(size=(2, T, 1))
    answers = student.sequence_loss, student.sequence_draw
    result = train(student, LEARN, *answers, tensor(x), tensor(z), 0.0, 120, seed=3, seconds=4.0)
    p, drawn = parts(result, 2)
    p = array(p, (2,))
    learned(abs(a) + abs(math.log(s)), abs(p[0] - a) + abs(p[1] - math.log(s)), 0.3)
    wanted = np.zeros_like(z)
    for t in range(T):
        wanted[:, t] = (p[0] * wanted[:, t - 1] if t else 0) + math.exp(p[1]) * z[:, t]
    assert array(drawn, z.shape) == pytest.approx(wanted, rel=1e-7, abs=1e-7)
    cells, x = [Cell(student, rng, 1) for _ in range(2)], rng.normal(size=(2, 3, 1))
    got = student.sequence_loss(there(cells), tensor(x), 0.0, student.generator(1))
    assert number(got) == pytest.approx(-log_p_by_hand(cells, x).mean() / 3, **NEAR)
    check_four(student, rng)
