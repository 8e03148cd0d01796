"""Hidden tests of lesson 24_one_step. A docstring is what the learner reads when its test fails."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch._dynamo  # an optimiser's first step imports it: once here, and not in every fork

from autograde.checks import array, gradient, number, parts
from autograde.relations import any_unit, both_types, generator_decides, rows_alone, strided
from autograde.training import learned, train

NEAR = {"rel": 1e-9, "abs": 1e-9}
SHORT = {"rel": 1e-3, "abs": 1e-3}  # of float32
SHAPES = (5,), (2, 3), (1, 4, 4), (1,)


def tensor(value, dtype=torch.float64):
    return torch.tensor(np.asarray(value), dtype=dtype)


def wide(v, x):
    """A number for each row, beside x."""
    return v.reshape(-1, *[1] * (x.ndim - 1))


# A net on both sides: an average velocity of each row from that row alone, not linear, not alike in t and s.
WAVE = """
def make(a, b):
    import torch
    def net(x, t, s):
        assert t.shape == s.shape == (len(x),)
        rise = (t + b * s * s).reshape(-1, *[1] * (x.ndim - 1))
        return a * torch.sin(x) + rise
    return net
"""


class Wave:
    """The same net here and there."""

    def __init__(self, student, rng):
        self.a, self.b = rng.uniform(0.5, 1.5), rng.uniform(0.5, 1.5)
        self.there = student.define(WAVE)(self.a, self.b)

    def land(self, x, t, s):
        """The jump from t to s."""
        return x - wide(t - s, x) * (self.a * np.sin(x) + wide(t + self.b * s**2, x))


KEPT = """
def make(v):
    return lambda x, *times: v
"""


class Kept:
    """A net here and there that gives the same tensor each time: who overwrites it changes what follows."""

    def __init__(self, student, v):
        self.v, self.there = v, student.define(KEPT)(tensor(v))

    def land(self, x, t, s):
        """The jump from t to s."""
        return x - wide(t - s, x) * self.v


# --- boundary: the oracle is the noise that x and the guess imply ---


@pytest.mark.exercise("boundary", weight=1, returns={"data_jump": "tensor like 1 shape 1"})
def test_keeps_the_noise(student, rng):
    """The landing place lies on the path of the guess and the noise that x implies, for times of each row's
    own, vectors and images, one row or many, any memory layout, float32, and x and guess in any unit."""
    for B, shape in itertools.product((1, 4), SHAPES):
        F_x, x = rng.normal(size=(2, B, *shape))
        s, t = np.sort(rng.uniform(0.05, 1, (2, B)), axis=0)
        eps = (x - wide(1 - t, x) * F_x) / wide(t, x)
        wanted = wide(1 - s, x) * F_x + wide(s, x) * eps
        found = array(student.data_jump(*map(tensor, (F_x, x, t, s))), x.shape)
        assert found == pytest.approx(wanted, **NEAR)
    F_x, x = rng.normal(size=(2, 5, 2, 3))
    s, t = np.sort(rng.uniform(0.05, 1, (2, 5)), axis=0)
    given = [*map(tensor, (F_x, x, t, s))]
    rows_alone(student.data_jump, *given, **NEAR)
    strided(student.data_jump, *given, **NEAR)
    both_types(student.data_jump, *given, **SHORT)
    any_unit(lambda c: student.data_jump(c * given[0], c * given[1], *given[2:]), 1, rel=1e-9)


@pytest.mark.exercise("boundary", weight=1)
def test_both_ends(student, rng):
    """Where t = s it is x, at 0 and at 1 and between; down to 0 it is the guess, and a third of the way a
    third of x, from however small a time; in a batch with such rows no result and no gradient is NaN."""
    F_x, x = 3 + rng.normal(size=(2, 10, 3))
    t = np.array([0.0, 1.0, 0.4, 1e-9, 1.0, 1e-30, 0.3, 3e-12, 3e-30, 1e-15])
    s = np.array([0.0, 1.0, 0.4, 0.0, 0.0, 0.0, 0.1, 1e-12, 1e-30, 1e-15])
    wanted = np.concatenate([x[:3], F_x[3:6], (x[6:9] + 2 * F_x[6:9]) / 3, x[9:]])
    assert array(student.data_jump(*map(tensor, (F_x, x, t, s))), x.shape) == pytest.approx(wanted, **NEAR)
    for row in range(len(t)):
        given = [tensor(v[row : row + 1]) for v in (F_x, x, t, s)]
        assert array(student.data_jump(*given), (1, 3)) == pytest.approx(wanted[row : row + 1], **NEAR)
    given = [*map(tensor, (F_x[[0, 6]], x[[0, 6]], t[[0, 6]], s[[0, 6]]))]
    slopes = array(gradient(student, student.data_jump, 2, *given), (2,))
    assert slopes[1] == pytest.approx((0.1 / 0.09 * (F_x[6] - x[6])).sum(), **NEAR)
    slopes = array(gradient(student, student.data_jump, 3, *given), (2,))
    assert slopes[1] == pytest.approx((x[6] - F_x[6]).sum() / 0.3, **NEAR)
    for wrt, share in ((0, [0, 2 / 3]), (1, [1, 1 / 3])):
        found = array(gradient(student, student.data_jump, wrt, *given), (2, 3))
        assert found == pytest.approx(np.repeat(share, 3).reshape(2, 3), **NEAR)


# --- trajectory-loss: the oracle is the formula in NumPy, in the form that keeps its digits ---


def huber(net, ema, x_t, x_r, t, r, s, rho):
    gap = (net.land(x_t, t, s) - ema.land(x_r, r, s)).reshape(len(t), -1)
    square = (gap**2).sum(1)
    return (square / (np.sqrt(square + rho**2) + rho) / (t - r)).mean()


def three_times(rng, B):
    """t > r >= s, apart."""
    s, r = np.sort(rng.uniform(0, 0.6, (2, B)), axis=0)
    return r + rng.uniform(0.05, 0.4, B), r, s


@pytest.mark.exercise("trajectory-loss", weight=1, returns={"trajectory_loss": "tensor like 2 ()"})
def test_loss_by_formula(student, rng):
    """The loss is that of the formula: two different nets, each at its own place and time and both to s,
    for vectors and images, one row or many, times of each row's own, s at 0 and at r, t close to r, small and
    large rho; in float32, too; and what the nets return stays as it is."""
    for B, shape in itertools.product((1, 3), SHAPES):
        net, ema = Wave(student, rng), Wave(student, rng)
        x_t, x_r = rng.normal(size=(2, B, *shape))
        t, r, s = three_times(rng, B)
        for end, late, rho in (
            (s, t, 0.03),
            (r, r + 1e-6, 0.03),
            (0 * s, t, 2.0),
            (r, t, rng.uniform(0.5, 3)),
        ):
            given = x_t, x_r, late, r, end
            found = student.trajectory_loss(net.there, ema.there, *map(tensor, given), rho)
            assert number(found) == pytest.approx(huber(net, ema, *given, rho), rel=1e-9)
    given = [*map(tensor, (rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 2, 3)), *three_times(rng, 4)))]
    loss = lambda *v: student.trajectory_loss(net.there, ema.there, *v, 0.7)  # noqa: E731
    strided(loss, *given, **NEAR)
    both_types(loss, *given, **SHORT)
    x_t, x_r = rng.normal(size=(2, 4, 2, 3))
    net, ema = Kept(student, rng.normal(size=x_t.shape)), Kept(student, rng.normal(size=x_t.shape))
    for _ in range(2):
        found = student.trajectory_loss(net.there, ema.there, tensor(x_t), tensor(x_r), *given[2:], 0.7)
        assert number(found) == pytest.approx(
            huber(net, ema, x_t, x_r, *(v.numpy() for v in given[2:]), 0.7), rel=1e-9
        )


GRADIENT = """
def slopes(loss, x_t, x_r, t, r, s, rho):
    import torch
    a, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.7, 0.4))
    x_r = x_r.clone().requires_grad_(True)
    net = lambda x, t, s: a * x
    ema = lambda x, t, s: b * x
    loss(net, ema, x_t, x_r, t, r, s, rho).backward()
    zero = torch.zeros(())
    others = [zero if v.grad is None else v.grad.abs().sum() for v in (b, x_r)]
    return [a.grad, *others]
"""


@pytest.mark.exercise("trajectory-loss", weight=1)
def test_gradient_and_digits(student, rng):
    """The gradient goes by way of net and not of ema or of its point; where both land at the same place, it
    is 0 and not NaN. Distances of any size, beside rho or with it, keep nine digits."""
    slopes = student.define(GRADIENT)
    x_t, x_r = rng.normal(size=(2, 4, 3))
    x_t[2] = x_r[2] = 0.0
    t, r, s = three_times(rng, 4)

    def here(a):
        gap = x_t * (1 - a * (t - s))[:, None] - x_r * (1 - 0.4 * (r - s))[:, None]
        return ((np.sqrt((gap**2).sum(1) + 0.25) - 0.5) / (t - r)).mean()

    found = parts(slopes(student.trajectory_loss, *map(tensor, (x_t, x_r, t, r, s)), 0.5), 3)
    assert number(found[0]) == pytest.approx((here(0.7 + 1e-5) - here(0.7 - 1e-5)) / 2e-5, rel=1e-6)
    assert number(found[1]) == number(found[2]) == 0
    still = x_t * ((1 - 0.7 * (t - s)) / (1 - 0.4 * (r - s)))[:, None]
    found = parts(slopes(student.trajectory_loss, *map(tensor, (x_t, still, t, r, s)), 0.5), 3)
    assert abs(number(found[0])) < 1e-9
    still = Kept(student, 0 * x_t)
    loss = lambda x, rho: student.trajectory_loss(  # noqa: E731
        still.there, still.there, *map(tensor, (x, 0 * x, t, r, r)), rho
    )
    for size in 10.0 ** np.arange(-12, 2, 0.5):
        lands = huber(still, still, size * x_t, 0 * x_t, t, r, r, 0.8)
        assert number(loss(size * x_t, 0.8)) == pytest.approx(lands, rel=1e-9, abs=0)
    any_unit(lambda c: loss(c * x_t, c * 0.8), 1, rel=1e-9)


# --- teacher-step: the oracle guesses both ends and mixes them ---

V_NET = """
def make(a, b):
    import torch
    def v_net(x, t):
        assert t.shape == (len(x),)
        return a * torch.sin(2 * x) + b * t[:, None]
    return v_net
"""
STEPS = """
def both(f, v_net, *given):
    import torch
    asked = []
    def watched(x, t):
        asked.append(t.clone())
        out = v_net(x, t)
        return out * torch.ones((), dtype=x.dtype, requires_grad=True)
    out = f(watched, *given)
    return torch.stack(asked), out.detach(), int(out.requires_grad)
"""


def path(t):
    return np.cos(np.pi / 2 * t)[:, None], np.sin(np.pi / 2 * t)[:, None]


def ddim(v, x, t, s):
    (a, b), (c, d) = path(t), path(s)
    return c * (a * x - b * v) + d * (b * x + a * v)


@pytest.mark.exercise("teacher-step", weight=1, returns={"distilled_v": "tensor like 1 shape 1"})
def test_lands_with_the_teacher(student, rng):
    """One DDIM step by the target lands where the teacher's two land: for times of each row's own, at both
    ends of the path, too, for r anywhere between, one row or many, in float32, and for x in any unit."""
    for B, D in ((1, 1), (1, 3), (4, 2), (3, 5)):
        a, b = rng.normal(size=2)
        v_net = student.define(V_NET)(a, b)
        x = rng.normal(size=(B, D))
        s, r, t = (np.sort(rng.uniform(0, 1, (3, B)), axis=0) + np.array([[0.0], [0.1], [0.2]])) / 1.2
        for first, last in ((t, s), (np.ones(B), s), (t, 0 * s), (np.ones(B), 0 * s)):
            y = ddim(a * np.sin(2 * x) + b * first[:, None], x, first, r)
            y = ddim(a * np.sin(2 * y) + b * r[:, None], y, r, last)
            found = array(student.distilled_v(v_net, *map(tensor, (x, first, r, last))), x.shape)
            assert ddim(found, x, first, last) == pytest.approx(y, **NEAR)
    given = [*map(tensor, (x, t, r, s))]
    both_types(lambda *v: student.distilled_v(v_net, *v), *given, **SHORT)
    rows_alone(lambda *v: student.distilled_v(v_net, *v), *given, **NEAR)
    straight = student.define("def v_net(x, t):\n    return 0.7 * x")
    any_unit(lambda c: student.distilled_v(straight, c * given[0], *given[1:]), 1, rel=1e-9)


@pytest.mark.exercise("teacher-step", weight=1)
def test_asks_twice(student, rng):
    """The teacher is asked at t and then at r, once each, and what it returns stays as it is; the target has
    no gradient; a teacher that knows the one pair of data and noise is its own student."""
    x, (s, r, t) = rng.normal(size=(3, 2)), np.sort(rng.uniform(0, 1, (3, 3)), axis=0)
    given = [*map(tensor, (x, t, r, s))]
    watched = student.define(STEPS)(student.distilled_v, student.define(V_NET)(0.3, 0.4), *given)
    asked, _, tied = parts(watched, 3)
    assert array(asked, (2, 3)) == pytest.approx(np.stack([t, r]), **NEAR)
    assert number(tied) == 0
    x_0, eps = rng.normal(size=2)
    know = student.define(
        "def make(x_0, eps):\n    import math\n    def v_net(x, t):\n"
        "        a = math.pi / 2 * t[:, None]\n"
        "        return a.cos() * eps - a.sin() * x_0 + 0 * x\n    return v_net"
    )(x_0, eps)
    (a, b), ones = path(t), np.ones((1, 2))
    found = array(student.distilled_v(know, tensor((a * x_0 + b * eps) * ones), *given[1:]), (3, 2))
    assert found == pytest.approx((a * eps - b * x_0) * ones, rel=1e-7, abs=1e-7)
    v = rng.normal(size=(3, 2))
    found = array(student.distilled_v(Kept(student, v).there, *given), (3, 2))
    assert ddim(found, x, t, s) == pytest.approx(ddim(v, ddim(v, x, t, r), r, s), **NEAR)


# --- times-faster: the oracle is NumPy's interpolation, segment by segment ---


def first_crossing(level, n, d):
    if d[0] <= level:
        return n[0]
    for j in range(1, len(n)):
        if d[j] <= level:
            x = np.interp(-np.log(level), -np.log(d[j - 1 : j + 1]), np.log(n[j - 1 : j + 1]))
            return math.exp(x)
    return math.inf


@pytest.mark.exercise("times-faster", weight=1, returns={"times_faster": "tensor float64 shape 1"})
def test_curves_that_rise_again(student, rng):
    """Each ratio is by the first crossing in logarithms, also of curves that fall, rise and fall again, of
    one number or many; whatever the unit of distance and however large or small the numbers."""
    for K, M in ((1, 1), (3, 2), (4, 6), (5, 5)):
        n_s, n_t = (np.cumsum(rng.integers(1, 9, size)).astype(float) for size in (K, M))
        for d_t in (rng.uniform(0.5, 9, M), np.sort(rng.uniform(0.5, 9, M))[::-1].copy()):
            d_s = rng.uniform(0.4, 10, K)
            wanted = np.array([first_crossing(level, n_t, d_t) for level in d_s]) / n_s
            found = student.times_faster(*map(tensor, (n_s, d_s, n_t, d_t)))
            assert array(found, (K,), finite=False) == pytest.approx(wanted, **NEAR)
    given = [*map(tensor, (n_s, np.full(5, 2.0), n_t, np.array([9.0, 3.0, 1.0, 5.0, 0.5])))]
    scaled = lambda c: student.times_faster(given[0], c * given[1], given[2], c * given[3])  # noqa: E731
    any_unit(scaled, rel=1e-9)
    n, d, N, E = given
    any_unit(lambda c: student.times_faster(n, d, c * N, E), 1, rel=1e-9)
    any_unit(lambda c: student.times_faster(c * n, d, N, E), -1, rel=1e-9)


@pytest.mark.exercise("times-faster", weight=1)
def test_edges(student, rng):
    """Never is infinity, in those rows alone; equal is reached, at the first number, at an inner one, and
    at the last, and a little above is not; a first number that is good enough is the answer, even where the
    curve rises from it or where it is the only one; a line begins at the number before, not at the best."""
    n, d = np.array([2.0, 4.0, 8.0, 16.0]), np.array([8.0, 4.0, 6.0, 1.0])
    between = [5.0, 2.0, 4.0 * (1 - 1e-9)]
    level = np.array([9.0, 8.0, 4.0, 1.0, 0.9, 1e-9, 8.0 * (1 + 1e-9), *between])
    n_s = rng.uniform(1, 5, 10)
    needed = np.array([2, 2, 4, 16, np.inf, np.inf, 2, *(first_crossing(v, n, d) for v in between)])
    found = array(student.times_faster(*map(tensor, (n_s, level, n, d))), (10,), finite=False)
    assert found == pytest.approx(needed / n_s, **NEAR)
    rising = student.times_faster(*map(tensor, ([1.0, 1.0], [3.0, 1.5], [4.0, 9.0], [2.0, 7.0])))
    assert array(rising, (2,), finite=False) == pytest.approx([4.0, np.inf])
    only = student.times_faster(*map(tensor, ([2.0, 2.0, 1.0], [5.0, 3.0, 2.9], [4.0], [3.0])))
    assert array(only, (3,), finite=False) == pytest.approx([2.0, 2.0, np.inf])
    flat = student.times_faster(*map(tensor, ([2.0], [3.0], [4.0, 9.0, 16.0], [5.0, 3.0, 3.0])))
    assert array(flat, (1,)) == pytest.approx([4.5])


# --- repair: exact jumps of data at one point, or of a Gaussian, and the noise read back ---


def follow_walk(wave, x, times, gamma, noise):
    for (t, s), z in zip(itertools.pairwise(times), noise, strict=True):
        q = (1 - gamma) * s
        x = wave.land(x, np.full(len(x), t), np.full(len(x), q))
        a = (1 - s) / (1 - q)
        x = a * x + math.sqrt(max(0, s * s - (a * q) ** 2)) * z
    return x


def draws(seed, shape, n):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g, dtype=torch.float64).numpy() for _ in range(n)]


@pytest.mark.exercise("repair", weight=1, returns={"walk_back": "tensor like 1 shape 1"})
def test_the_walk(student, rng):
    """With the noise that the generator gives, each place follows from the one before: for gamma 0, 1 and
    between, one time step or several, that end at 0 or before, one row or many. A second walk goes on with
    the generator's next noise; what the net returns stays as it is."""
    for (B, D), gamma in itertools.product(((1, 2), (4, 3)), (0.0, 1.0, rng.uniform(0.2, 0.8))):
        for times in ([1.0, 0.0], [1.0, 0.6, 0.3, 0.0], [0.9, 0.5], [1.0, 0.7, 0.2]):
            seed, wave, x = int(rng.integers(10**6)), Wave(student, rng), rng.normal(size=(B, D))
            g, n = student.generator(seed), len(times) - 1
            noise = draws(seed, (B, D), 2 * n)
            for net, some, by in ((wave, noise[:n], gamma), (Kept(student, x + 1), noise[n:], 0.5)):
                found = student.walk_back(net.there, tensor(x), times, by, g)
                wanted = follow_walk(net, x, times, by, some)
                assert array(found, (B, D)) == pytest.approx(wanted, **NEAR)
    x = tensor(rng.normal(size=(3, 2)))
    walk = lambda g: student.walk_back(wave.there, x, [1.0, 0.5, 0.2], 0.5, g)  # noqa: E731
    generator_decides(walk, student.generator, rng)


@pytest.mark.exercise("repair", weight=1)
def test_the_law_stays(student, rng):
    """With exact jumps the noise has its deviation at every time, whatever gamma; and none is left at time
    0."""
    zero = student.define("def net(x, t, s):\n    return x / t[:, None]")
    x = tensor(rng.normal(size=(100_000, 1)))
    for gamma, s in itertools.product((0.0, 0.3, 1.0), (0.2, 0.7)):
        g = student.generator(int(rng.integers(10**6)))
        found = array(student.walk_back(zero, x, [1.0, 0.9, s], gamma, g), (100_000, 1))
        assert found.std() == pytest.approx(s, rel=0.02)
    g = student.generator(int(rng.integers(10**6)))
    assert array(student.walk_back(zero, x[:9], [1.0, 0.4, 0.0], 0.6, g), (9, 1)) == pytest.approx(
        0, abs=1e-12
    )


# --- landing: a map that is linear in its weights, whose loss and slope are known; an exact map ---

LINEAR = """
def probe(loss, a, b, k, x, t, s):
    import torch
    a, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (a, b))
    tied = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    places, asked, before = [], [], []
    def net(x, t, s):
        return a * x + b * (t * s)[:, None]
    def u(x, t):
        places.append(t.detach().clone())
        asked.append(k * tied * x + t[:, None])
        before.append(asked[-1].detach().clone())
        return asked[-1]
    value = loss(net, u, x, t, s)
    value.backward()
    zero = torch.zeros(())
    last = zero if tied.grad is None else tied.grad.abs()
    changed = sum((v.detach() - w).abs().sum() for v, w in zip(asked, before))
    return [value.detach(), a.grad, b.grad, last, places[-1], changed]
"""


def linear_loss(a, b, k, x, t, s, place=None):
    """The loss for U = a x + b t s; `place`: the landing places, where they are fixed."""
    t, s = t[:, None], s[:, None]
    X = x - (t - s) * (a * x + b * t * s) if place is None else place
    return (((a * x + b * t * s) - (t - s) * b * t - k * X - s) ** 2).sum(1).mean()


@pytest.mark.exercise("landing", weight=2, returns={"landing_loss": "tensor like 2 ()"})
def test_loss_and_slope(student, rng):
    """For a map that is linear in its weights, the loss and its gradient by each weight are those of the
    formula, and u is asked at time s, and what it returns stays as it is; no gradient goes by way of u or of
    the place where it is asked. One row or many, any dimension, points far out, s = t and s = 0, too."""
    probe = student.define(LINEAR)
    for B, D, far in ((1, 1, 1), (1, 3, 1), (5, 2, 1), (64, 1, 1), (64, 2, 100)):
        a, b, k = rng.normal(size=3)
        x, (s, t) = far * rng.normal(size=(B, D)), np.sort(rng.uniform(0, 1, (2, B)), axis=0)
        for begin, end in ((t, s), (t, t), (t, 0 * s), (np.ones(B), 0 * s)):
            given = x, begin, end
            found = parts(probe(student.landing_loss, a, b, k, *map(tensor, given)), 6)
            assert number(found[0]) == pytest.approx(linear_loss(a, b, k, *given), **NEAR)
            span = (begin - end)[:, None]
            X = x - span * (a * x + b * (begin * end)[:, None])
            loss = lambda a, b: linear_loss(a, b, k, *given, place=X)  # noqa: B023, E731
            slopes = [(loss(a + h, b + i) - loss(a - h, b - i)) / 2e-4 for h, i in ((1e-4, 0), (0, 1e-4))]
            assert [number(found[1]), number(found[2])] == pytest.approx(slopes, rel=1e-6, abs=1e-7 * far**2)
            assert number(found[3]) == number(found[5]) == 0
            assert array(found[4], (B,)) == pytest.approx(end, **NEAR)


EXACT = """
def make(m, delta, off):
    import torch
    def net(x, t, s):
        t, s = t[:, None], s[:, None]
        v_t, v_s = ((1 - a) ** 2 * delta**2 + a**2 for a in (t, s))
        X = (1 - s) * m + (v_s / v_t).sqrt() * (x - (1 - t) * m)
        return (x - X) / (t - s) + off
    def u(x, t):
        t = t[:, None]
        v = (1 - t) ** 2 * delta**2 + t**2
        return -m + (t - (1 - t) * delta**2) / v * (x - (1 - t) * m)
    return net, u
"""


@pytest.mark.exercise("landing", weight=1)
def test_the_exact_map(student, rng):
    """The exact flow map of a Gaussian has no loss, in any dimension; one whose average velocity is off by
    a number has the loss that the number gives, in float32, too."""
    for D in (1, 4):
        m, delta, off = rng.normal(), rng.uniform(0.3, 2), rng.uniform(0.2, 0.6)
        x, (s, t) = (
            rng.normal(size=(6, D)),
            np.sort(rng.uniform(0, 1, (2, 6)), axis=0) + np.array([[0.0], [0.05]]),
        )
        for shift in (0.0, off):
            net, u = parts(student.define(EXACT)(m, delta, shift), 2)
            found = number(student.landing_loss(net, u, *map(tensor, (x, t, s))))
            v = (1 - s) ** 2 * delta**2 + s**2
            error = shift + (s - (1 - s) * delta**2) / v * (t - s) * shift  # dX/ds rises, u is asked lower
            assert found == pytest.approx((D * error**2).mean(), rel=1e-7, abs=1e-12)
    net, u = parts(student.define(SMOOTH)(0.6, 0.4), 2)
    both_types(lambda *v: student.landing_loss(net, u, *v), *map(tensor, (x, t, s)), **SHORT)


SMOOTH = """
def make(a, k):
    def net(x, t, s):
        return a * x * (1 + t * s**3)[:, None]
    def u(x, t):
        return k * x + t[:, None]
    return net, u
"""
STEP = """
def probe(step, smooth, x_0, generator):
    import torch
    a = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
    sgd = torch.optim.SGD([a], 0.01)
    a.grad = torch.tensor(5.0, dtype=torch.float64)
    net, u = smooth(a, a + 0.2)  # no gradient goes by way of u, to the same weight either
    value = step(net, sgd, u, x_0, generator)
    return value.detach(), int(value.requires_grad), a.detach()
"""
LEARN = """
def learn(step, u, exact, m, delta, generator):
    import torch
    w = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    def net(x, t, s):
        level = exact(0 * x, t, s)
        return w[0] * (exact(x, t, s) - level) + w[1] * level
    z = torch.linspace(-2, 2, 81, dtype=torch.float64)[:, None]
    one = torch.ones(81, dtype=torch.float64)
    def error():
        with torch.no_grad():
            return (net(z, one, 0 * one) - exact(z, one, 0 * one)).square().mean().sqrt().item()
    before = error()
    sgd = torch.optim.SGD([w], 0.2, momentum=0.5)
    for k in range(25):
        x_0 = m + delta * torch.randn(64, 1, generator=generator, dtype=torch.float64)
        step(net, sgd, u, x_0, generator)
    return before, error()
"""


@pytest.mark.exercise("landing", weight=4)
def test_the_step(student, rng):
    """The step draws the noise and then the times, of which the larger is the start; returns the loss
    before it, without gradient; and moves the weight by that loss's slope alone, whatever gradient was
    there before. The loss is that of the text, for a map that bends in s."""
    probe = lambda x_0, g: parts(  # noqa: E731
        student.define(STEP)(student.landing_step, student.define(SMOOTH), tensor(x_0), g), 3
    )
    for B, D in ((1, 2), (400, 1), (7, 3)):
        seed, x_0 = int(rng.integers(10**6)), 20 + rng.normal(size=(B, D))
        value, tied, weight = probe(x_0, student.generator(seed))
        g = torch.Generator().manual_seed(seed)
        eps = torch.randn(B, D, generator=g, dtype=torch.float64).numpy()
        s, t = np.sort(torch.rand(2, B, generator=g, dtype=torch.float64).numpy(), axis=0)
        x = (1 - t)[:, None] * x_0 + t[:, None] * eps
        U, bend = (x * v[:, None] for v in (1 + t * s**3, 3 * t * s**2))  # for a = 1
        slope, span = U - (t - s)[:, None] * bend, (t - s)[:, None]
        gap = 0.3 * slope - (x - 0.3 * span * U) / 2 - s[:, None]
        assert number(value) == pytest.approx((gap**2).sum(1).mean(), **NEAR)
        assert number(tied) == 0
        assert number(weight) == pytest.approx(0.3 - 0.01 * (2 * gap * slope).sum(1).mean(), **NEAR)
    generator_decides(lambda g: probe(x_0, g)[0], student.generator, rng)


@pytest.mark.exercise("landing", weight=1, costly=True)
def test_learns_a_gaussian(student, rng):
    """A map of two weights, of a family that holds the exact map of a Gaussian, comes by 25 of your steps
    within 0.02 of it, root mean square."""
    seed, m, delta = (
        int(rng.integers(10**6)),
        rng.choice([-1, 1]) * rng.uniform(1, 1.5),
        rng.uniform(0.5, 0.9),
    )
    net, u = parts(student.define(EXACT)(m, delta, 0.0), 2)
    given = student.landing_step, u, net, m, delta, student.generator(seed)
    before, after = train(student, LEARN, *given, seed=seed, seconds=4.0)
    learned(number(before), number(after), 0.02)
