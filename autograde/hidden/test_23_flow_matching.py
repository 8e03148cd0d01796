"""Hidden tests of lesson 23_flow_matching. A docstring is what the learner reads when its test fails."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.special import logsumexp
from scipy.stats import norm

from autograde.checks import array, number, parts
from autograde.errors import Unusable
from autograde.relations import (
    any_level,
    any_unit,
    both_types,
    generator_decides,
    gradient_is_slope,
    strided,
)
from autograde.training import learned, train


def tensor(value, dtype=torch.float64):
    return torch.tensor(np.asarray(value), dtype=dtype)


# --- path-ends: the oracle is the pair that the point was made of ---


def some_path(rng, B, shape):
    """Ends, and a path of each example's own that keeps them apart: x_0, eps and four (B,)."""
    x_0, eps = rng.normal(size=(2, B, *shape))
    angle, turn = rng.uniform(0, 2 * np.pi, (2, B))
    size, speed = rng.uniform(0.5, 2, (2, B))
    turn = angle + np.pi / 2 + rng.uniform(-1, 1, B) + np.pi * rng.integers(0, 2, B)
    return x_0, eps, size * np.cos(angle), size * np.sin(angle), speed * np.cos(turn), speed * np.sin(turn)


def check_ends(student, x_0, eps, *path, abs=1e-9):
    a, s, da, ds = (v.reshape(-1, *[1] * (x_0.ndim - 1)) for v in path)
    given = [*map(tensor, (a * x_0 + s * eps, da * x_0 + ds * eps, *path))]
    for found, wanted in zip(parts(student.path_ends(*given), 2), (x_0, eps), strict=True):
        assert array(found, wanted.shape) == pytest.approx(wanted, abs=abs)
    return given


@pytest.mark.exercise(
    "path-ends", weight=1, returns={"path_ends": "tensor like 0 shape 0, tensor like 0 shape 0"}
)
def test_any_path(student, rng):
    """Made into a point and a velocity again, the two ends give those that came in: for each example's own
    path, at both of its ends, where alpha or sigma is 0, where one of them does not change; on a clock a
    billion times as slow or as fast, for vectors and images in any memory layout, one example or many, and in
    float32, too."""
    for B, shape in ((1, (1, 4, 4)), (4, (2, 3)), (3, (3,)), (6, ())):
        check_ends(student, *some_path(rng, B, shape))
    x_0, eps, *path = some_path(rng, 4, (3, 2))
    zero, one, any_ = np.zeros(4), rng.uniform(0.5, 2, 4), rng.normal(size=4)
    ends = (zero, one, -one, any_), (one, zero, any_, one), (one, any_, zero, -one), (zero, -one, one, zero)
    for each in (path, *ends):
        x, u, a, s, da, ds = check_ends(student, x_0, eps, *each)
        clocks = lambda c: parts(student.path_ends(x, c * u, a, s, c * da, c * ds), 2)  # noqa: B023, E731
        any_unit(clocks, units=(1e-9, 1e9), rel=1e-7, abs=1e-7)
    mixed = np.choose(range(4), [np.stack(each) for each in ends])  # each example at another end
    given = check_ends(student, x_0, eps, *mixed)
    for relation in (strided, both_types):
        relation(lambda *v: parts(student.path_ends(*v), 2), *given, rel=1e-3, abs=1e-3)


@pytest.mark.exercise("path-ends", weight=1)
def test_no_answer_is_said(student, rng):
    """One example whose point and velocity tell the same, or nothing of one end, is enough to raise
    ValueError, wherever it stands, also when it is the only one; and so are all of them. Others do not,
    however close they are to it."""
    x_0, eps, a, s, *_ = some_path(rng, 4, (3,))
    check_ends(student, x_0, eps, a, s, -2 * a, -2 * s * (1 + 1e-6), abs=1e-5)
    for B, same in ((4, [0]), (4, [3]), (4, [0, 1, 2, 3]), (1, [0])):
        x_0, eps = rng.normal(size=(2, B, 3))
        path = rng.integers(1, 5, (2, B)).astype(float)
        path = np.concatenate([path, [2 * path[0], 2 * path[1] + 1]])
        x, u, *_ = check_ends(student, x_0, eps, *path)
        a, s = path[:2, same]
        for each in (
            (a, s, 2 * a, 2 * s),
            (a, s, -a, -s),
            (a, 0 * s, a, 0 * s),
            (0 * a, s, 0 * a, -s),
            [0 * a] * 4,
        ):
            path[:, same] = each
            student.raises(ValueError, student.path_ends, x, u, *map(tensor, path))


# --- mixture-velocity: the oracle is a sum in the slowest way ---


def some_mixture(rng, K, D):
    """log pi, mu and c."""
    return np.log(rng.dirichlet(2 * np.ones(K))), 1.5 * rng.normal(size=(K, D)), rng.uniform(0.1, 1.0, (K, D))


def slow_velocity(x, t, log_pi, mu, c):
    """The mean over components, by sums in log space, one point at a time."""
    out = []
    for point in x:
        v = (1 - t) ** 2 * c + t**2
        log_p = log_pi + norm.logpdf(point, (1 - t) * mu, np.sqrt(v)).sum(1)
        x_0 = mu + (1 - t) * c / v * (point - (1 - t) * mu)
        eps = t / v * (point - (1 - t) * mu)
        out.append(np.exp(log_p - logsumexp(log_p)) @ (eps - x_0))
    return np.array(out)


def velocity(student, x, t, *mixture):
    return array(student.mixture_velocity(tensor(x), t, *map(tensor, mixture)), x.shape)


@pytest.mark.exercise("mixture-velocity", weight=1, returns={"mixture_velocity": "tensor float64 shape 0"})
def test_any_dimension(student, rng):
    """Velocity and density agree in several dimensions, with different variances in each coordinate and
    different shares of the components; one point or many, in one dimension, too. If data and x move ten
    million further, so does the mean of the data."""
    for B, K, D in ((5, 2, 1), (1, 4, 5), (3, 1, 3), (4, 4, 4), (7, 3, 2)):
        mixture, x = some_mixture(rng, K, D), 1.5 * rng.normal(size=(B, D))
        for t in (1, rng.uniform(0.05, 0.95)):
            assert velocity(student, x, t, *mixture) == pytest.approx(slow_velocity(x, t, *mixture), abs=1e-8)
    x, log_pi, mu, c = map(tensor, (x, *mixture))
    moved = lambda m: student.mixture_velocity(x + 0.7 * m, 0.3, log_pi, mu + m, c)  # noqa: E731
    any_level(moved, -1, levels=(-1e7, 1e7), rel=1e-6, abs=1e-6)
    x = rng.normal(size=(5, 3))
    assert velocity(student, x, 0, *some_mixture(rng, 2, 3)) == pytest.approx(-x, abs=1e-8)


@pytest.mark.exercise("mixture-velocity", weight=1)
def test_points_and_many_dimensions(student, rng):
    """Components may be points without variance, or have no share, not even where the others are far, or a
    tiny one, which is all that counts there; x may lie far from all of them, in more than a thousand
    dimensions, and t close to 0; nothing overflows."""
    log_pi, mu, c = some_mixture(rng, 3, 1_500)
    x = np.stack([0.5 * mu[0] + rng.normal(size=1_500), 300 + rng.normal(size=1_500)])
    assert velocity(student, x, 0.5, log_pi, mu, c) == pytest.approx(
        slow_velocity(x, 0.5, log_pi, mu, c), abs=1e-6
    )
    log_pi, mu, c = some_mixture(rng, 4, 2)
    log_pi[3] = -np.inf
    x = 2 * rng.normal(size=(5, 2))
    tiny = np.array([-50.0, 0.0]), np.array([[0.0, 1.0], [40.0, -40.0]]), np.ones((2, 2))
    assert velocity(student, x, 0.5, *tiny) == pytest.approx(slow_velocity(x, 0.5, *tiny), abs=1e-8)
    for points, t in itertools.product((2, 3), (0.2, 0.02, 1e-10, 1.0)):
        c[:points] = 0
        wanted = slow_velocity(x, t, log_pi[:3], mu[:3], c[:3])
        assert velocity(student, x, t, log_pi, mu, c) == pytest.approx(wanted, rel=1e-8, abs=1e-8)


# --- butcher: the oracle is the formula in NumPy, and the places and times at which it asks u ---


def one_step(f, x, t, h, A, b, c):
    """The slopes as arrays, stage by stage: where the step ends, and what f was asked, a row a stage."""
    k, asked = np.zeros((len(b), *x.shape)), []
    for i in range(len(b)):
        y, time = x + h * np.tensordot(np.array(A[i], float), k, 1), t + c[i] * h
        k[i] = f(y, time)
        asked.append([time, *y.ravel()])
    return x + h * np.tensordot(np.array(b, float), k, 1), asked


def slope(x, t):
    return x * x * t - 0.3 * x + t


def some_table(rng, s):
    b, c = rng.normal(size=(2, s))
    return np.tril(rng.normal(size=(s, s)), -1).tolist(), b, c.tolist()


@pytest.mark.exercise("butcher", weight=1, returns={"rk_step": "tensor like 1 shape 1"})
def test_any_table(student, rng):
    """A table with random numbers below the diagonal, in A, b and c, gives what its formula says, for batches
    of vectors and images and steps of both signs, whichever of the weights is 0, at any time, for many
    stages, and in float32, too."""
    u = student.define("def u(x, t):\n    return x * x * t - 0.3 * x + t")
    for s, shape in ((1, (4,)), (4, (2, 3)), (10, (1, 1, 2, 2))):
        A, b, c = some_table(rng, s)
        x, t = rng.normal(size=shape), rng.uniform(1.5, 2)
        A = (np.array(A) / s).tolist()
        for h, without in itertools.product((0.1, -0.15), (0, s // 2, s)):
            weights = np.where(np.arange(s) == without, 0, b).tolist()
            wanted, _ = one_step(slope, x, t, h, A, weights, c)
            found = array(student.rk_step(u, tensor(x), t, h, A, weights, c), shape)
            assert found == pytest.approx(wanted, rel=1e-5, abs=1e-5)
        both_types(lambda x: student.rk_step(u, x, t, h, A, b.tolist(), c), tensor(x), rel=1e-4, abs=1e-4)  # noqa: B023


@pytest.mark.exercise("butcher", weight=1)
def test_stages_and_refusals(student, rng):
    """Every stage asks u once, at its own place and time, also one whose weight is 0, and what u returned
    stays as it is. A table with a number on or above the diagonal, be it small or negative, raises
    ValueError, also a table of one stage."""
    record = student.define(
        "def record(step, x, t, h, A, b, c):\n    asked, kept = [], []\n"
        "    def u(x, t):\n        asked.append([float(t), *x.tolist()])\n"
        "        kept.append(x * x * t - 0.3 * x + t)\n        kept.append(kept[-1].clone())\n"
        "        return kept[-2]\n"
        "    step(u, x, t, h, A, b, c)\n"
        "    return asked, sum(int((one != copy).sum()) for one, copy in zip(kept[::2], kept[1::2]))"
    )
    x, t, h = rng.normal(size=2), rng.uniform(0.5, 1), -rng.uniform(0.1, 0.2)
    for without in range(4):
        A, b, c = some_table(rng, 4)
        b[without] = 0
        asked, changed = parts(record(student.rk_step, tensor(x), t, h, A, b.tolist(), c), 2)
        asked = array(asked, (4, 3))
        assert number(changed) == 0, "what u returned is its own"
        wanted = np.array(one_step(slope, x, t, h, A, b, c)[1])
        assert asked[asked[:, 0].argsort()] == pytest.approx(wanted[wanted[:, 0].argsort()], abs=1e-5)
    u = student.define("def u(x, t):\n    return x")
    above = [(s, [(i, j)]) for s in (1, 2, 3) for i in range(s) for j in range(i, s)]
    for s, places in (*above, (3, [(0, 1), (1, 2)]), (3, [(0, 0), (1, 1)])):
        A = np.tril(np.ones((s, s)), -1)
        A[places[-1]], A[places[0]] = 0.25, -0.25
        given = [1 / s] * s, [0, 1, 1][:s]
        student.raises(ValueError, student.rk_step, u, tensor([1.0]), 0.0, 0.1, A.tolist(), *given)
        A[places[-1]], A[places[0]] = -1e-12, 1e-12
        student.raises(ValueError, student.rk_step, u, tensor([1.0]), 0.0, 0.1, A.tolist(), *given)


# --- entropic-plan: sums of rows and columns, the form of the best plan alone, and rounds in another form ---


def some_transport(rng, n, m):
    return rng.uniform(0, 2, (n, m)), rng.dirichlet(2 * np.ones(n)), rng.dirichlet(2 * np.ones(m))


def plan(student, C, a, b, rho, rounds):
    return array(student.entropic_plan(tensor(C), tensor(a), tensor(b), rho, rounds), C.shape)


def plan_by_hand(C, a, b, rho, rounds):
    """Its rows, then its columns scaled to their sums, again and again, in logarithms."""
    log_P = -C / rho
    for _ in range(rounds):
        log_P = log_P + (np.log(a) - np.logaddexp.reduce(log_P, axis=1))[:, None]
        log_P = log_P + np.log(b) - np.logaddexp.reduce(log_P, axis=0)
    return np.exp(log_P)


@pytest.mark.exercise(
    "entropic-plan", weight=1, costly=True, returns={"entropic_plan": "tensor float64 shape 0"}
)
def test_the_best_plan(student, rng):
    """Rows and columns have their sums, and log P + C / rho is a number for each row plus a number for each
    column, for as many rows as columns or not, and for weights whose sum is not 1. Each round sets the rows
    right and then the columns, once, for as many rounds as are asked for. In other units of cost and weight
    the plan is the same."""
    for n, m, scale in ((4, 4, 1.0), (3, 6, rng.uniform(2, 5)), (5, 2, 0.1), (1, 3, 1.0)):
        C, a, b = some_transport(rng, n, m)
        rho = rng.uniform(0.3, 1.0)
        best = plan(student, C, scale * a, scale * b, rho, 150)
        wanted = plan_by_hand(C, scale * a, scale * b, rho, 150)
        assert best == pytest.approx(wanted, rel=1e-9, abs=1e-12)
        assert best.sum(1) == pytest.approx(scale * a, abs=1e-7)
        assert best.sum(0) == pytest.approx(scale * b, abs=1e-7)
        form = np.log(np.maximum(best, 1e-300)) + C / rho
        assert form - form[:1] - form[:, :1] + form[0, 0] == pytest.approx(np.zeros((n, m)), abs=1e-6)
    C, a, b = some_transport(rng, 3, 4)
    for rounds in (1, 2, 3, 7):
        wanted = plan_by_hand(C, a, b, 0.05, rounds)
        assert plan(student, C, a, b, 0.05, rounds) == pytest.approx(wanted, rel=1e-8, abs=1e-12)
    C, a, b = map(tensor, (C, a, b))
    any_unit(lambda c: student.entropic_plan(c * C, c * a, c * b, c * 0.3, 3), 1, rel=1e-8)


@pytest.mark.exercise("entropic-plan", weight=1)
def test_small_entropy_and_no_weight(student, rng):
    """With little entropy and large costs the plan is the best assignment, with no NaN and nothing lost; what
    is added to all costs, to a row's or to a column's, changes nothing, even where all rows then compete for
    a column. Rows and columns of weight 0 are 0; the others are as if those were not there, even where only
    those were cheap."""
    n = 5
    order = rng.permutation(n)
    C = rng.uniform(1.5, 2, (n, n))
    C[np.arange(n), order] = rng.uniform(0.5, 0.9, n)  # far cheaper than any other
    fair, wanted = np.full(n, 1 / n), np.eye(n)[order] / n
    for shift in (0.0, 12.0, 500 * rng.permutation(n)[:, None]):
        assert plan(student, C + shift, fair, fair, 5e-4, 100) == pytest.approx(wanted, abs=1e-6)
    C = C + 5 * rng.permutation(n)
    competing = plan(student, C, fair, fair, 5e-4, 130)
    assert competing == pytest.approx(wanted, abs=0.01)  # it settles slowly, by 1 in the number of rounds
    assert competing == pytest.approx(plan_by_hand(C, fair, fair, 5e-4, 130), rel=1e-6, abs=1e-12)
    given = 1e3 * (1 - np.eye(2)), np.array([0.0, 1.0]), np.array([0.5, 0.5])
    assert plan(student, *given, 1e-3, 1) == pytest.approx(np.array([[0, 0], [0.5, 0.5]]), abs=1e-9)
    C, a, b = some_transport(rng, 5, 4)
    i, j = rng.integers(0, 5), rng.integers(0, 4)
    a[i] = b[j] = 0
    a, b = a / a.sum(), b / b.sum()
    P = plan(student, C, a, b, 0.5, 100)
    assert (P[i] == 0).all() and (P[:, j] == 0).all()
    smaller = plan(
        student, *(np.delete(np.delete(C, i, 0), j, 1), np.delete(a, i), np.delete(b, j)), 0.5, 100
    )
    assert np.delete(np.delete(P, i, 0), j, 1) == pytest.approx(smaller, abs=1e-7)


# --- straightness: a slow sum, and what must not matter ---


def wasted(student, places, times):
    return array(student.wasted_action(tensor(places), tensor(times)), (places.shape[1],))


def uneven_times(rng, K):
    times = np.sort(rng.uniform(0, 1, K + 1))
    times[[0, -1]] = 0, 1
    return times


@pytest.mark.exercise("straightness", weight=1, returns={"wasted_action": "tensor like 0 (B,)"})
def test_slow_sum(student, rng):
    """For random paths at uneven moments the answer is that of sums in the slowest way, path by path, and
    falling times give the same as rising ones, also where one or all rest for a while, and to the digits of
    float64 where next to nothing is wasted. The straight walk at constant speed wastes nothing, a walk there
    and back everything."""
    for K, B, D in ((6, 4, 2), (1, 3, 5), (9, 1, 1)):
        places, times = rng.normal(size=(K + 1, B, D)), 3 * uneven_times(rng, K) - 1
        if K > 1:
            places[1, 0], places[4] = places[2, 0], places[3]
        wanted = []
        for path in range(B):
            action = sum(
                ((places[k + 1, path] - places[k, path]) ** 2).sum() / (times[k + 1] - times[k])
                for k in range(K)
            )
            wanted.append(1 - ((places[-1, path] - places[0, path]) ** 2).sum() / 3 / action)
        for one, other in ((places, times), (places[::-1].copy(), times[::-1].copy()), (places, -times)):
            assert wasted(student, one, other) == pytest.approx(np.array(wanted), abs=1e-12)
    beside = np.array([[[0.0, 0.0]], [[0.5, 1e-4]], [[1.0, 0.0]]])
    assert wasted(student, beside, np.array([0.0, 0.5, 1.0])) == pytest.approx([4e-8 / (1 + 4e-8)], abs=1e-12)
    times, way = uneven_times(rng, 12), rng.normal(size=(3, 4))
    for walked, share in ((times, 0), (np.minimum(times, 1 - times), 1)):
        assert wasted(student, walked[:, None, None] * way, times) == pytest.approx(
            np.full(3, share), abs=1e-12
        )


@pytest.mark.exercise("straightness", weight=1)
def test_what_does_not_matter(student, rng):
    """Units of length and time, however small, shifts, and moments put in between on the straight pieces
    change nothing. A path that rests wastes 0, also among others that move."""
    places, times = rng.normal(size=(8, 3, 2)), uneven_times(rng, 7)
    base = wasted(student, places, times)
    assert base.min() > 0.01 and base.max() < 1
    x, t = tensor(places), tensor(times)
    any_unit(lambda c: student.wasted_action(c * x, t), units=(1e-30, 1e30), rel=1e-6)
    any_unit(lambda c: student.wasted_action(x, c * t), units=(1e-30, 1e30), rel=1e-6)
    ticks = tensor(rng.integers(1, 99, 8).cumsum())  # that fit at the end of a float64's digits
    any_level(lambda c: student.wasted_action(x, c + ticks * 2.0**-40), levels=(3.0, -99.0), rel=1e-6)
    finer = np.sort(np.append(times, rng.uniform(0, 1, 9)))
    pieces = np.stack(
        [np.stack([np.interp(finer, times, places[:, i, d]) for d in range(2)], 1) for i in range(3)], 1
    )
    assert wasted(student, pieces, finer) == pytest.approx(base, rel=1e-6)
    places[:, 1] = rng.normal(size=2)
    found = wasted(student, places, times)
    assert found[1] == 0 and found[[0, 2]] == pytest.approx(base[[0, 2]])


# --- hutchinson: linear flows, whose answer is known for each probe, and an outside solver ---


def linear(student, A):
    """The velocity x A^T on the learner's side."""
    return student.define(
        f"def u(x, t):\n    import torch\n    return x @ torch.tensor({A.T.tolist()}, dtype=x.dtype)"
    )


def log_p(student, u, x, v, steps):
    return array(student.log_p_hutchinson(u, tensor(x), tensor(v), steps), v.shape[:2])


OFF = """def off(f, *given):
    import torch
    with torch.no_grad():
        out = f(*given)
        on = torch.is_grad_enabled()
    return out, bool(out.requires_grad or f(*given).requires_grad), on"""
CURVED = """def u(x, t):  # the same all along a path, and so is its Jacobian
    import math, torch
    y = x[:, 1:]
    return torch.cat([math.log(2 * math.pi) * (y + y * y), 0 * y], dim=1)"""


@pytest.mark.exercise(
    "hutchinson", weight=1, costly=True, returns={"log_p_hutchinson": "tensor float64 (M, B)"}
)
def test_each_probe_of_a_linear_flow(student, rng):
    """For a velocity that is linear in x every probe's estimate is known in closed form, also of probes of
    any length, one or many, in one dimension or several. Where velocity and Jacobian are the same along a
    path, one step is exact, to the digits of float64. It is the same with gradients switched off, which it
    leaves off, and asks for no gradient itself."""
    x, off, curved = np.array([[0.0, 0.0], [1.0, -0.4]]), student.define(OFF), student.define(CURVED)
    trace = math.log(2 * math.pi) * (1 + 2 * x[:, 1])
    end = x + math.log(2 * math.pi) * np.stack([x[:, 1] + x[:, 1] ** 2, np.zeros(2)], axis=1)
    for length, steps in itertools.product((1.0, 3.0), (1, 4)):  # at length 1 density and trace cancel
        v = np.full((1, 2, 2), length)
        wanted = norm.logpdf(end).sum(1) + length**2 * trace
        assert log_p(student, curved, x, v, steps)[0] == pytest.approx(wanted, rel=1e-8, abs=1e-8)
    found, gradient, on = parts(off(student.log_p_hutchinson, curved, tensor(x), tensor(v), 4), 3)
    if gradient:
        raise Unusable("a tensor that requires a gradient where one without was expected")
    assert array(found, (1, 2))[0] == pytest.approx(wanted, rel=1e-8) and not on
    for M, B, D in ((3, 4, 3), (1, 2, 5), (4, 1, 1), (2, 2, 2)):
        A, x = 0.4 / math.sqrt(D) * rng.normal(size=(D, D)), rng.normal(size=(B, D))
        v, u = rng.normal(size=(M, B, D)), linear(student, A)
        end = x @ expm(A).T
        wanted = norm.logpdf(end).sum(1) + np.einsum("mbi,ij,mbj->mb", v, A, v)
        assert log_p(student, u, x, v, 40) == pytest.approx(wanted, abs=2e-2)
    growing = student.define("def u(x, t):\n    return t * x\n")
    wanted = norm.logpdf(x * np.exp(0.5)).sum(1) + 0.5 * (v**2).sum(2)
    assert log_p(student, growing, x, v, 40) == pytest.approx(wanted, abs=2e-2)


def bent(rng, D):
    """A velocity W tanh(V x + t c): its source on the learner's side, and a function of (t, x) with its
    Jacobian."""
    W, V, c = (
        0.7 / math.sqrt(D) * rng.normal(size=(D, D)),
        rng.normal(size=(D, D)) / math.sqrt(D),
        rng.normal(size=D),
    )
    source = (
        f"def u(x, t):\n    import torch\n    W, V, c = (torch.tensor(a, dtype=x.dtype) for a in "
        f"({W.tolist()}, {V.tolist()}, {c.tolist()}))\n    return torch.tanh(x @ V.T + t * c) @ W.T"
    )

    def both(t, x):
        h = np.tanh(V @ x + t * c)
        return W @ h, W * (1 - h**2) @ V

    return source, both


def by_solver(both, x, v):
    """One point's estimate with one probe, by an outside solver at a high precision."""

    def rates(t, state):
        u, J = both(t, state[:-1])
        return np.append(u, v @ J @ v)

    end = solve_ivp(rates, (0, 1), np.append(x, 0.0), rtol=1e-9, atol=1e-10).y[:, -1]
    return norm.logpdf(end[:-1]).sum() + end[-1]


COUNT = """def count(f, x, v, steps):
    asked = []
    def u(x, t):
        asked.append(t)
        return t * x
    f(u, x, v, steps)
    return len(asked)"""


@pytest.mark.exercise("hutchinson", weight=1)
def test_order(student, rng):
    """For a velocity that depends on place and time, each probe, kept along the whole path, gives what an
    outside solver finds. Four times the steps ask for about four times as many velocities, be they few or
    many, and shrink the error as a method of order two does, place and probe alike."""
    source, both = bent(rng, 2)
    u, x, v = student.define(source), rng.normal(size=(3, 2)), rng.normal(size=(2, 3, 2))
    exact = np.array([[by_solver(both, x[b], v[m, b]) for b in range(3)] for m in range(2)])
    coarse, fine = (np.sqrt(((log_p(student, u, x, v, n) - exact) ** 2).mean()) for n in (6, 24))
    assert coarse < 0.5 and fine < max(coarse / 7, 1e-5)
    count = student.define(COUNT)
    x, v = tensor(x[:1]), tensor(v[:1, :1])
    one, two, three, few, some, many = (
        number(count(student.log_p_hutchinson, x, v, n)) for n in (1, 2, 3, 6, 24, 48)
    )
    assert one < two < three < few and some > 3 * few and many > 1.8 * some


# --- repair: Euler's steps written out here, with a net that shows place, time and class ---

NET = """def net(x, t, y):
    assert t.shape == y.shape == x.shape[:1] and not y.is_floating_point()
    t = t[:, None] @ x.new_ones(1, 1)  # which a layer refuses where the types differ
    shift, label = (v.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1)) for v in (t, y))
    return {a} * x * shift + {b} * label * (1 + shift * shift) - {c} * shift"""


KEEPING = """def keeping(answer, net, *given):
    kept = []
    def keeps(x, t, y):
        kept.append(net(x, t, y))
        kept.append(kept[-1].clone())
        return kept[-2]
    found = answer(keeps, *given)
    return found, sum(int((one != copy).sum()) for one, copy in zip(kept[::2], kept[1::2]))"""


def euler_pairs(numbers, x, y, w, span, steps, classes):
    """Where the guided flow of NET ends."""
    a, b, c = numbers
    y = y.reshape(-1, *[1] * (x.ndim - 1)).astype(float)
    for k in range(steps):
        t = 1 - k / steps
        by_class, without = (
            a * x * t + b * label * (1 + t * t) - c * t for label in (y, np.full_like(y, classes))
        )
        factor = w if span[0] <= t <= span[1] else 1.0
        x = x - (without + factor * (by_class - without)) / steps
    return x


def check_pairs(student, rng, w, span, steps, shape, single=True):
    numbers, classes = rng.uniform(0.3, 1.0, 3), int(rng.integers(4, 9))
    a, b, c = numbers
    x, y = rng.normal(size=shape).astype(np.float32), rng.integers(0, classes, shape[0])
    y[1:2] = classes
    net = student.define(NET.format(a=a, b=b, c=c))
    wanted = euler_pairs(numbers, x.astype(float), y, w, span, steps, classes)
    rest = torch.tensor(y), w, span, steps, classes
    keeping = student.define(KEEPING)
    pairs, changed = parts(keeping(student.guided_pairs, net, tensor(x), *rest), 2)
    assert number(changed) == 0, "what the net returned is its own"
    found = [(pairs, 1e-8)]
    if single:
        found.append((student.guided_pairs(net, tensor(x, torch.float32), *rest), 1e-4))
    for each, rel in found:
        x_0, x_1 = parts(each, 2)
        assert array(x_0, shape) == pytest.approx(wanted, rel=rel, abs=rel)
        assert array(x_1, shape) == pytest.approx(x, abs=0)


@pytest.mark.exercise(
    "repair", weight=1, returns={"guided_pairs": "tensor like 1 shape 1, tensor like 1 shape 1"}
)
def test_guidance(student, rng):
    """With guidance 1 the pairs hold the noise as it came, and where Euler's steps of the class's velocity
    carry it, each step at its own time; guidance of any strength, 0 included, goes from no class through the
    class. In one step or many, for vectors and images, in float32 and float64, which is the times' type, too.
    The net is asked with a time and a label, a whole number, for each example, who may have no class."""
    for steps, shape in ((1, (3, 2)), (2, (1, 4)), (7, (4, 1, 2, 2))):
        check_pairs(student, rng, 1.0, (0.0, 1.0), steps, shape)
    for w, shape in ((0.0, (4, 3)), (rng.uniform(1.5, 3), (1, 2)), (5.0, (2, 1, 2, 3)), (-1.0, (2, 3))):
        check_pairs(student, rng, w, (0.0, 1.0), int(rng.integers(2, 6)), shape)


@pytest.mark.exercise("repair", weight=1)
def test_guidance_in_an_interval(student, rng):
    """Guidance acts in the steps that start in the interval, its ends included, and in no other."""
    strengths = itertools.cycle((rng.uniform(2, 4), -1.5, 0.0))
    for (low, high), (steps, later) in itertools.product(
        ((0.0, 0.3), (0.6, 1.0), (0.25, 0.75), (0.4, 0.45)), ((8, 0.0), (12, 0.03))
    ):
        span = low + later, high + later
        check_pairs(student, rng, next(strengths), span, steps, (4, 3), single=False)


# --- bridge: networks that err in a known way, training towards a closed form, and the noise of each step ---

ANSWERS = """
def make(a, p, q, b, r):
    def net(x, t):
        return a * x + p + q * t[:, None], b * x + r
    return net
"""
SEEN = """
def seen(loss, net, x_0, x_1, c, generator, times):
    import torch
    found, kept = [], []
    def asked(x, t):
        assert type(x) is type(t) is torch.Tensor and x.dtype == t.dtype == torch.float64
        assert x.shape == x_0.shape and t.shape == x_0.shape[:1]
        found.append((x.clone(), t.clone()))
        out = net(x, t)
        kept.extend((part, part.clone()) for part in out)
        return out
    for call in range(times):
        loss(asked, x_0, x_1, c, generator)
        del found[call + 1 :]  # whoever asks again asks for the same
    assert all(torch.equal(part, before) for part, before in kept)
    return torch.cat([x for x, _ in found]), torch.cat([t for _, t in found])
"""
DRAWS = """
def draws(loss, n, generator):
    import torch
    seen = []
    def asked(x, t):
        seen.append((x.clone(), t.clone()))
        return 0 * x, 0 * x
    loss(asked, torch.zeros(n, 2).double(), torch.zeros(n, 2).double(), 1.0, generator)
    x, t = seen[0]
    return t, x / (t * (1 - t))[:, None]
"""
FOLLOW = """
def follow(carry, net, x, steps, c, eta, generator, back):
    import torch
    seen, kept = [], []
    def asked(x, t):
        assert type(x) is type(t) is torch.Tensor and x.dtype == t.dtype == torch.float64
        seen.append((x.clone(), t.clone()))
        out = net(x, t)
        kept.extend((part, part.clone()) for part in out)
        return out
    given = (asked, x, steps, c, eta, generator)
    end = carry(*given, back) if back else carry(*given)
    assert all(torch.equal(part, before) for part, before in kept)
    return torch.stack([x for x, _ in seen] + [end]), torch.stack([t for _, t in seen])
"""
LONE = """
def lone(carry, net, x, steps, c, eta, generator, times):
    import torch
    ways = []
    for _ in range(times):
        seen = []
        end = carry(lambda x, t: seen.append(x.clone()) or net(x, t), x, steps, c, eta, generator)
        ways.append(torch.cat([*seen, end]))
    return torch.stack(ways)
"""
VALUE = """
def value(loss, a, p, q, b, r, x_0, x_1, c, seed):
    import torch
    net = lambda x, t: (a * x + p + q * t[:, None], b * x + r)
    return loss(net, x_0, x_1, c, torch.Generator().manual_seed(seed))
"""
LEARN = """
def learn(loss, exact, x_0, x_1, c, generator, updates):
    import torch
    body = torch.nn.Sequential(torch.nn.Linear(3, 48), torch.nn.Tanh(), torch.nn.Linear(48, 4)).double()
    net = lambda x, t: body(torch.cat([x, t[:, None]], dim=1)).chunk(2, dim=1)
    order = torch.randint(len(x_0), (updates, 128), generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0, 1, len(x_0)).double()
    s = t[:, None]
    x = (1 - s) * x_0 + s * x_1 + c * s * (1 - s) * torch.randn(x_0.shape).double()
    wanted = torch.cat(exact(x, t), dim=1)
    def error():
        with torch.no_grad():
            return (torch.cat(net(x, t), dim=1) - wanted).square().mean().sqrt().item()
    before, adam = error(), torch.optim.Adam(body.parameters(), lr=0.02)
    for n, rows in enumerate(order):
        adam.param_groups[0]["lr"] = 0.02 * (1 - n / updates)
        adam.zero_grad()
        loss(net, x_0[rows], x_1[rows], c, generator).backward()
        adam.step()
    return before, error()
"""
EXACT = """
def make(m_0, m_1, s_0, s_1, c):
    def exact(x, t):  # two independent Gaussians: both answers are lines
        t = t[:, None]
        gamma, slope = c * t * (1 - t), c * (1 - 2 * t)
        v = ((1 - t) * s_0) ** 2 + (t * s_1) ** 2 + gamma**2
        off = x - (1 - t) * m_0 - t * m_1
        return m_1 - m_0 + (t * s_1**2 - (1 - t) * s_0**2 + gamma * slope) / v * off, gamma / v * off
    return exact
"""


def some_answers(rng):
    """a, p, q, b, r of ANSWERS, as numbers and arrays (2,)."""
    return rng.uniform(-1, 1), *rng.normal(size=(2, 2)), rng.uniform(-1, 1), rng.normal(size=2)


def answers(student, given):
    return student.define(ANSWERS)(*(tensor(v) if np.ndim(v) else float(v) for v in given))


def row_losses(given, x_0, x_1, c, t, z):
    """The loss of each row, (n,), at times t (n,) and z (n, 2)."""
    a, p, q, b, r = given
    t = t[:, None]
    x = (1 - t) * x_0 + t * x_1 + c * t * (1 - t) * z
    errors = a * x + p + q * t - (x_1 - x_0) - c * (1 - 2 * t) * z, b * x + r - z
    return sum((e**2).sum(1) for e in errors)


def mean_row_loss(given, x_0, x_1, c):
    """Its mean over t and z, for one pair: quadrature in t, and the variance of what z moves."""
    a, p, q, b, r = given
    node, weight = np.polynomial.legendre.leggauss(20)
    t, weight = (node[:, None] + 1) / 2, weight / 2
    middle, gamma = (1 - t) * x_0 + t * x_1, c * t * (1 - t)
    first = ((a * middle + p + q * t - (x_1 - x_0)) ** 2 + (a * gamma - c * (1 - 2 * t)) ** 2).sum(1)
    second = ((b * middle + r) ** 2 + (b * gamma - 1) ** 2).sum(1)
    return weight @ (first + second)


def check_normal(z):
    """Rows (n, 2) of independent standard normal numbers: moments up to the fourth, no ties, no pairs."""
    n = z.size
    for power, mean, spread in ((1, 0, 1), (2, 1, 2), (4, 3, 96)):
        assert abs((z**power).mean() - mean) < 6 * np.sqrt(spread / n)
    assert len(np.unique(z)) == n
    assert abs((z[:, 0] * z[:, 1]).mean()) < 6 / np.sqrt(len(z))
    for lag in (1, len(z) // 2):
        assert np.abs((z[lag:] * z[:-lag]).mean(0)).max() < 6 / np.sqrt(len(z) - lag)


@pytest.mark.exercise(
    "bridge",
    weight=1,
    costly=True,
    returns={"bridge_loss": "tensor float64 ()", "carry": "tensor float64 (n, D)"},
)
def test_loss(student, rng):
    """The mean of the loss is what times and noises give it, for networks whose two answers are off in a
    known way: for the same pair in all rows and for rows of their own, many and one, near and far apart, for
    any c, 0 included. Each row has a time of its own, uniform from end to end and independent of the others',
    and a normal noise of its own, drawn anew in every call; the generator decides each. What the network
    returned stays as it is. The gradient is the slope. And a small network that is trained with it learns
    both answers for two Gaussians."""
    n = 20_000
    for c in (0.0, 0.5, float(rng.uniform(1, 3))):
        given, (x_0, x_1) = some_answers(rng), rng.normal(size=(2, 1, 2))
        tries = row_losses(given, x_0, x_1, c, rng.uniform(size=n), rng.normal(size=(n, 2)))
        rows = (tensor(np.broadcast_to(x, (n, 2)).copy()) for x in (x_0, x_1))
        generator = student.generator(int(rng.integers(2**31)))
        found = number(student.bridge_loss(answers(student, given), *rows, c, generator))
        assert abs(found - mean_row_loss(given, x_0, x_1, c)) < 7 * tries.std() / np.sqrt(n)
    seed = int(rng.integers(2**31 - 1))
    check_own_draws(student, rng, given, c, seed)
    check_many_draws(student, seed)
    x_0, x_1 = (tensor(rng.normal(size=(40, 2))) for _ in range(2))
    net = answers(student, given)
    generator_decides(lambda g: student.bridge_loss(net, x_0, x_1, c, g), student.generator, rng)
    value, slopes = student.define(VALUE), [tensor(v) for v in given]
    for which in (1, 2, 4, 5):
        gradient_is_slope(value, which, student.bridge_loss, *slopes, x_0, x_1, c, seed, rng=rng, rel=1e-5)
    check_learning(student, rng, seed)


def check_own_draws(student, rng, given, c, seed):
    """The times and noises of one call for many rows, and of many calls for one; the value is theirs."""
    net, probe = answers(student, given), student.define(SEEN)
    x_0, x_1 = rng.normal(size=(2, 12_000, 2))
    for rows, times in ((slice(None), 1), (slice(1), 600)):
        ends = x_0[rows], x_1[rows]
        given_to = net, *map(tensor, ends), c
        x, t = parts(probe(student.bridge_loss, *given_to, student.generator(seed), times), 2)
        size = times * len(ends[0])
        x, t = array(x, (size, 2)), array(t, (size,))
        assert t.min() >= 0 and t.max() <= 1 and len(np.unique(t)) > 0.99 * size  # of float32 a few agree
        counts, near = np.histogram(t, 10, (0, 1))[0], 6 * np.sqrt(size / 10)
        assert (np.abs(counts - size / 10) < near).all()
        s, pairs = t[:, None], [np.broadcast_to(end, (size, 2)) for end in ends]
        inside = (t > 0.01) & (t < 0.99)  # there the noise can be read from the point
        z = ((x - (1 - s) * pairs[0] - s * pairs[1])[inside]) / (c * s * (1 - s))[inside]
        check_normal(z)
        apart = (t[inside] - 0.5)[:, None] * z
        assert (np.abs(apart.mean(0)) < 6 * apart.std(0) / np.sqrt(len(z))).all()
        if times == 1:
            exact = (x - (1 - s) * pairs[0] - s * pairs[1]) / np.maximum(c * s * (1 - s), 1e-12)
            check_values(student, given, pairs, c, seed, t, exact)
    t_again, other = (
        array(parts(probe(student.bridge_loss, *given_to, student.generator(k), 1), 2)[1], (1,))
        for k in (seed, seed + 1)
    )
    assert t_again[0] == t[0] != other[0]


def check_values(student, given, ends, c, seed, t, z):
    """The loss of the times and noises that a call with this seed draws, also for ends far apart."""
    for far in (1, 1e3):
        pairs = [far * end for end in ends]
        found = student.bridge_loss(answers(student, given), *map(tensor, pairs), c, student.generator(seed))
        assert number(found) == pytest.approx(row_losses(given, *pairs, c, t, z).mean(), rel=1e-3)


def check_many_draws(student, seed, n=100_000):
    """Times from end to end, each by itself: not spread evenly, not in pairs; and the tails of the noise."""
    t, z = parts(student.define(DRAWS)(student.bridge_loss, n, student.generator(seed)), 2)
    t, z = array(t, (n,)), array(z, (n, 2), finite=False)
    z = np.where(((t > 0.01) & (t < 0.99))[:, None], z, 0.0)  # there it can be read from the point
    assert t.min() < 2e-4 and t.max() > 1 - 2e-4 and np.abs(z).max() > 3.9
    for lag in (1, n // 2):
        near = 6 / np.sqrt(n - lag)
        assert abs(((t[lag:] - 0.5) * (t[:-lag] - 0.5)).mean()) < near / 12
        assert (np.abs((z[lag:] * z[:-lag]).mean(0)) < near).all()
    empty = 1 - len(np.unique(np.floor(t * n))) / n
    assert abs(empty - math.exp(-1)) < 6 * 0.32 / np.sqrt(n)


def check_learning(student, rng, seed):
    """Two Gaussians, paired at random."""
    m, s, c = np.array([[-1.0, 0.5], [1.0, 0.0]]), np.array([0.5, 0.8]), 1.0
    x_0, x_1 = (tensor(m[i] + s[i] * rng.normal(size=(2_000, 2))) for i in (0, 1))
    exact = student.define(EXACT)(tensor(m[0]), tensor(m[1]), float(s[0]), float(s[1]), c)
    given = student.bridge_loss, exact, x_0, x_1, c, student.generator(seed), 400
    before, after = train(student, LEARN, *given, seed=seed, seconds=6.0)
    learned(number(before), number(after, finite=False), 0.25)


@pytest.mark.exercise("bridge", weight=1, costly=True)
def test_sampler(student, rng):
    """Each step adds to the point its velocity, the push and a normal noise of the variance that belongs to
    its time, independent between points, coordinates and steps, and nothing where there is none to add:
    with and without noise, on the way and back, in one step or many, near and far away. The network is asked
    once a step, at its start, for all points; what it returned stays as it is. One point is enough; the
    generator decides each draw."""
    for steps, eta, back in itertools.product((1, 5), (0.0, 0.4, 2.0), (False, True)):
        check_walk(student, rng, 3_000, steps, eta, back)
    check_walk(student, rng, 3_000, 5, 0.4, False, far=1e4)
    net, x = answers(student, some_answers(rng)), tensor(rng.normal(size=(20, 2)))
    generator_decides(lambda g: student.carry(net, x, 4, 1.0, 0.5, g), student.generator, rng)
    check_lone_points(student, rng)
    seed = int(rng.integers(2**31 - 1))
    for one, other in ((seed, seed + 1), (seed, None)):
        generator = student.generator(one)
        first = check_walk(student, np.random.default_rng(1), 30, 5, 1.0, False, generator)
        generator = student.generator(other) if other else generator
        second = check_walk(student, np.random.default_rng(1), 30, 5, 1.0, False, generator)
        assert (np.abs(first - second) > 1e-9).all()


def check_lone_points(student, rng):
    """One point many times: the noises of all steps but the first, which has none."""
    (a, p, q, b, r), c, steps, times = some_answers(rng), 1.3, 3, 600
    net, x = answers(student, (a, p, q, b, r)), tensor(rng.normal(size=(1, 2)))
    generator = student.generator(int(rng.integers(2**31)))
    way = student.define(LONE)(student.carry, net, x, steps, c, 1.0, generator, times)
    way, rest = array(way, (times, steps + 1, 2)), []
    for k in (1, 2):
        time = k / steps
        step = (a * way[:, k] + p + q * time - b * way[:, k] - r) / steps
        rest.append((way[:, k + 1] - way[:, k] - step) / np.sqrt(2 * c * time * (1 - time) / steps))
        check_normal(rest[-1])
    assert (np.abs((rest[0] * rest[1]).mean(0)) < 6 / np.sqrt(times)).all()


def check_walk(student, rng, n, steps, eta, back, generator=None, far=1.0):
    """Follow a way and return what its steps added by chance, in units of its deviation: (m, 2)."""
    (a, p, q, b, r), c, x = some_answers(rng), rng.uniform(0.5, 2), far * rng.normal(size=(n, 2))
    net, h, rest = answers(student, (a, p, q, b, r)), (-1 if back else 1) / steps, []
    generator = student.generator(int(rng.integers(2**31))) if generator is None else generator
    given = student.carry, net, tensor(x), steps, c, eta, generator, back
    way, t = parts(student.define(FOLLOW)(*given), 2)
    way, t = array(way, (steps + 1, n, 2)), array(t, (steps, n))
    clock = np.arange(steps) / steps
    assert t == pytest.approx(np.broadcast_to((1 - clock if back else clock)[:, None], (steps, n)), abs=1e-9)
    assert way[0] == pytest.approx(x, abs=0)
    for k, time in enumerate(t[:, 0]):
        push = -abs(h) * eta * (b * way[k] + r)
        added = way[k + 1] - way[k] - h * (a * way[k] + p + q * time) - push
        deviation = np.sqrt(max(0.0, 2 * eta * c * time * (1 - time) * abs(h)))
        if deviation < 1e-6:
            assert added == pytest.approx(np.zeros((n, 2)), abs=1e-7)
            continue
        rest.append(added / deviation)
        if n > 100:
            check_normal(rest[-1])
            mixed = rest[-1] * (way[k] - way[k].mean(0))
            assert (np.abs(mixed.mean(0)) < 6 * mixed.std(0) / np.sqrt(n)).all()
    for one, other in itertools.combinations(rest if n > 100 else [], 2):
        assert (np.abs((one * other).mean(0)) < 6 / np.sqrt(n)).all()
    return np.concatenate(rest) if rest else np.zeros((0, 2))
