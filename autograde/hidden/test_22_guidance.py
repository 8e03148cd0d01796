"""Hidden tests of lesson 22_guidance. A docstring is what the learner reads when its test fails."""

import numpy as np
import pytest
import torch

from autograde.checks import array, from_tensor, parts, whole_numbers
from autograde.relations import any_unit, both_types, generator_decides, rows_alone, strided

NEAR = {"rel": 1e-8, "abs": 1e-8}
SHORT = {"rel": 1e-3, "abs": 1e-3}  # of float32
SHAPES = (5,), (4, 3), (2, 1, 4, 4), (1, 2)


def tensor(value, dtype=torch.float64):
    return torch.tensor(np.asarray(value), dtype=dtype)


# --- nested: the oracle adds up row by row ---


@pytest.mark.exercise("nested", weight=1, returns={"nested": "tensor like 0"})
@pytest.mark.parametrize("K", [0, 1, 2, 12])
def test_each_condition_has_its_weight(student, rng, K):
    """Each condition adds its weight times what it changes in the guess before it, for none to twelve
    conditions, for numbers, vectors and pictures, one row or many. Weights may be 0, 1, negative or large."""
    for shape in SHAPES:
        D, w = rng.normal(size=(K + 1, *shape)), rng.choice([0.0, 1.0, -2.0, 7.5], (K, shape[0]))
        w = w + rng.normal(size=w.shape) * (w > 1)
        wanted = np.stack(
            [D[0, b] + sum(w[k, b] * (D[k + 1, b] - D[k, b]) for k in range(K)) for b in range(shape[0])]
        )
        got = array(student.nested(tensor(D), tensor(w)), shape)
        assert got == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@pytest.mark.exercise("nested", weight=1)
def test_rows_and_types_of_guesses(student, rng):
    """Each row by itself, any memory layout, float32 in and out, guesses of any size."""
    for shape in ((4, 3), (3, 1, 2, 2)):
        D, w = rng.normal(size=(shape[0], 3, *shape[1:])), rng.normal(size=(shape[0], 2))
        answer = lambda D, w: student.nested(D.transpose(0, 1), w.transpose(0, 1))  # noqa: E731
        for relation in (rows_alone, strided):
            relation(answer, tensor(D), tensor(w), **NEAR)
        both_types(answer, tensor(D), tensor(w), **SHORT)
        any_unit(lambda c, D=D, w=w, answer=answer: answer(tensor(c * D), tensor(w)), 1, **NEAR)
        wanted = D[:, 0] + np.einsum("bk,bk...->b...", w, np.diff(D, axis=1))
        assert array(answer(tensor(D), tensor(w)), shape) == pytest.approx(wanted, **NEAR)


# --- hidden-labels: the oracle walks the shares ---


def hide(labels, none, patterns, shares, u):
    out = labels.copy()
    for b, number in enumerate(u):
        used = [p for p in range(len(shares)) if shares[p] > 0]
        ends = np.cumsum(shares[used])
        p = next((p for p, end in zip(used, ends, strict=True) if number < end), used[-1])
        out[b, patterns[p]] = none[patterns[p]]
    return out


def hidden(student, labels, none, patterns, shares, u):
    whole, flags = (lambda v: torch.tensor(v, dtype=torch.int64)), torch.tensor(patterns)
    found = student.hidden_labels(whole(labels), whole(none), flags, tensor(shares), tensor(u))
    return whole_numbers(found, labels.shape)


def drawn(rng, B, K, P, size=1):
    labels, none = size * rng.integers(0, 50, (B, K)) + 1, size * rng.integers(60, 90, K) + 1
    patterns = (np.arange(P)[:, None] >> np.arange(K)) % 2 == 1
    return labels, none, patterns[rng.permutation(P)]


@pytest.mark.exercise("hidden-labels", weight=1, returns={"hidden_labels": "tensor int64 shape 0"})
def test_the_number_chooses_the_pattern(student, rng):
    """Every row gets the pattern into whose share its number falls, for one to three conditions. A number at
    the end of a share belongs to the next, the number just below does not. Each pattern hides its own
    conditions and no others. Rows have nothing to do with each other."""
    for B, K, P in ((1, 1, 2), (9, 2, 4), (40, 3, 8)):
        labels, none, patterns = drawn(rng, B, K, P)
        shares = rng.dirichlet(np.ones(P))
        u = rng.uniform(size=B)
        whole, order = hide(labels, none, patterns, shares, u), rng.permutation(B)
        assert (hidden(student, labels, none, patterns, shares, u) == whole).all()
        assert (hidden(student, labels[order], none, patterns, shares, u[order]) == whole[order]).all()
        one = slice(order[0], order[0] + 1)
        assert (hidden(student, labels[one], none, patterns, shares, u[one]) == whole[one]).all()
    labels, none, patterns = drawn(rng, 16, 3, 8, 1 << 40)  # more than float32 holds
    narrow = 2.0**-30  # float64 adds these shares up without rounding, float32 does not
    shares = np.array([narrow, 0.25 - narrow / 2, 0.125 - narrow / 2, *[0.125] * 5])
    ends = np.cumsum(shares)
    u = np.concatenate([[0], ends[:-1], np.nextafter(ends, 0)])
    assert (
        hidden(student, labels, none, patterns, shares, u) == hide(labels, none, patterns, shares, u)
    ).all()


@pytest.mark.exercise("hidden-labels", weight=1)
def test_shares_of_zero_and_refusals(student, rng):
    """A pattern of share 0 is never chosen: the first, one in the middle, several in a row, the last, also
    for the smallest number, one at the end of a share, and the largest one below 1, and also where rounding
    leaves the sum of the shares a little below 1. Shares below 0, and shares that do not add up, are refused;
    a sum that is off by less than a millionth is not."""
    labels, none, patterns = drawn(rng, 5, 3, 4)
    u = np.array([0.0, 0.25, 0.5, 0.75, np.nextafter(1, 0)])
    for shares in ([0, 0.5, 0, 0.5], [0.25, 0, 0, 0.75], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0.75, 0.25, 0]):
        for off in (0, -5e-7, 5e-7):
            s = np.array(shares, dtype=float)
            s[np.flatnonzero(s)[-1]] += off
            got = hidden(student, labels, none, patterns, s, u)
            assert (got == hide(labels, none, patterns, s, u)).all()
    given = torch.tensor(labels), torch.tensor(none), torch.tensor(patterns)
    for shares in (
        [0.5, 0.5, 0.5, -0.5],
        [0.2, 0.2, 0.2, 0.2],
        [0.5, 0.5, 0.5, 0.5],
        [0.25, 0.25, 0.25, 0.25000105],
        [0.25, 0.25, 0.25, 0.24999895],
        [0.5, 0.5, 1e-9, -1e-9],
    ):
        student.raises(ValueError, student.hidden_labels, *given, tensor(shares), tensor(u))


# --- exact-measurement: what a nearest point is ---

LOOSE = {"rel": 1e-6, "abs": 1e-6}


def measurement(rng, D, rank, M):
    """A matrix of this rank whose singular values are at most a factor of 1,000 apart."""
    left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (M, D))
    sizes = rng.uniform(0.5, 2, rank) * np.geomspace(1, 4e-3, rank)
    return left[:, :rank] * sizes @ right[:rank]


@pytest.mark.exercise("exact-measurement", weight=1, returns={"keep_measured": "tensor like 0 shape 0"})
@pytest.mark.parametrize("rows", ["fewer", "one", "dependent", "more", "all", "zero", "repeated"])
def test_agrees_and_is_nearest(student, rng, rows):
    """The result has the measurement, and what was changed is a combination of the measurement's rows, so
    that nothing nearer has it: for one row, fewer rows than numbers, as many, more, rows that depend on each
    other, also the first ones, and a measurement that is always 0."""
    for D, B in ((4, 1), (9, 6)):
        rank, M = {
            "fewer": (D // 2, D // 2), "one": (1, 1), "dependent": (2, 3),
            "more": (D - 1, D + 3), "all": (D, D), "zero": (0, 2), "repeated": (D // 2, D // 2),
        }[rows]  # fmt: skip
        A, x, other = measurement(rng, D, rank, M), rng.normal(size=(B, D)), rng.normal(size=(B, D))
        if rows == "repeated":
            first, last = np.linalg.qr(rng.normal(size=(D, D)))[0][:2]
            A = np.stack([0 * first, first, -2 * first, last])
        y = other @ A.T
        got = array(student.keep_measured(tensor(x), tensor(A), tensor(y)), (B, D))
        assert got @ A.T == pytest.approx(y, rel=1e-7, abs=1e-7)
        seen = np.linalg.pinv(A, rcond=1e-9) @ A  # onto what A sees
        assert (got - other) @ seen == pytest.approx(0 * x, abs=1e-6)
        assert (got - x) @ (np.eye(D) - seen) == pytest.approx(0 * x, abs=1e-7)


@pytest.mark.exercise("exact-measurement", weight=1)
def test_units_of_a_measurement(student, rng):
    """The unit of the measurement is anybody's, and so is that of the pictures; rows alone give what they
    give together, in any memory layout; what agrees already stays."""
    A, x, other = measurement(rng, 6, 2, 4), rng.normal(size=(5, 6)), rng.normal(size=(5, 6))
    y = other @ A.T
    any_unit(lambda c: student.keep_measured(tensor(x), tensor(c * A), tensor(c * y)), 0, **LOOSE)
    any_unit(lambda c: student.keep_measured(tensor(c * x), tensor(A), tensor(c * y)), 1, rel=1e-6)
    for relation in (rows_alone, strided):
        relation(lambda x, y: student.keep_measured(x, tensor(A), y), tensor(x), tensor(y), **LOOSE)
    got = array(student.keep_measured(tensor(x), tensor(A), tensor(y)), x.shape)
    assert got == pytest.approx(x + (other - x) @ A.T @ np.linalg.pinv(A, rcond=1e-9).T, **LOOSE)
    again = array(student.keep_measured(tensor(x), tensor(A), tensor(x @ A.T)), x.shape)
    assert again == pytest.approx(x, **LOOSE)


# --- two-views: Bayes' rule for normal data of any mean and width ---


def weights(t):
    return np.cos(t * np.pi / 2), np.sin(t * np.pi / 2)


def both(student, x, t, c, s):
    point, time = parts(student.two_views(tensor(x), tensor(t), tensor(c), tensor(s)), 2)
    return array(point, x.shape), array(time, t.shape)


@pytest.mark.exercise("two-views", weight=1, returns={"two_views": "tensor like 0 shape 0, tensor shape 1"})
def test_posterior_mean(student, rng):
    """For normal data of any mean and width the guess at the one view is the mean of x_0 given both, for
    numbers, vectors and pictures; with nearly all noise in one view and nearly none in the other, or
    nearly none in both; at two times or at the same; and the squares of signal to noise add up."""
    for shape in SHAPES:
        B = shape[0]
        for t, s in (
            rng.uniform(0.05, 0.95, (2, B)),
            np.tile(rng.uniform(0.1, 0.9, B), (2, 1)),
            (np.full(B, 0.01), rng.uniform(0.1, 0.999, B)),
            (rng.uniform(0.9, 0.999, B), np.full(B, 0.02)),
            rng.uniform(0.99, 0.9999, (2, B)),
            rng.uniform(1e-6, 1.2e-6, (2, B)),
        ):
            x, c = rng.normal(size=(2, *shape))
            point, time = both(student, x, t, c, s)
            along = lambda v: v.reshape(-1, *[1] * (x.ndim - 1))  # noqa: B023, E731
            (a, b), (a_s, b_s), (a_2, b_2) = weights(t), weights(s), weights(time)
            assert (a_2 / b_2) ** 2 == pytest.approx((a / b) ** 2 + (a_s / b_s) ** 2, rel=1e-8)
            for mean, width in ((0.7, 0.5), (-2.0, 3.0)):
                seen = 1 / width**2 + (a / b) ** 2 + (a_s / b_s) ** 2
                wanted = mean / width**2 + along(a / b**2) * x + along(a_s / b_s**2) * c
                guess = mean + along(a_2 * width**2 / ((a_2 * width) ** 2 + b_2**2)) * (
                    point - along(a_2) * mean
                )
                assert guess == pytest.approx(wanted / along(seen), rel=1e-7, abs=1e-8)


@pytest.mark.exercise("two-views", weight=1)
def test_nothing_but_noise(student, rng):
    """A view at time 1 adds nothing, whichever of the two it is; rows of one batch may differ in this. The
    order of the views does not matter; each row is by itself, in any memory layout."""
    for shape in ((4, 3), (3, 1, 2, 2), (1, 2)):
        B = shape[0]
        x, c = rng.normal(size=(2, *shape))
        t, s = rng.uniform(0.1, 0.9, (2, B))
        s[0] = 1.0
        point, time = both(student, x, t, c, s)
        assert time[0] == pytest.approx(t[0], rel=1e-9) and point[0] == pytest.approx(x[0], **NEAR)
        swapped, same = both(student, c, s, x, t)
        assert swapped == pytest.approx(point, **NEAR) and same == pytest.approx(time, rel=1e-9)
        for relation in (rows_alone, strided):
            answer = lambda *v: parts(student.two_views(*v), 2)  # noqa: E731
            relation(answer, *map(tensor, (x, t, c, s)), **NEAR)
        times = tensor(t), tensor(s)

        def scaled(k, x=x, c=c, times=times):
            return parts(student.two_views(tensor(k * x), times[0], tensor(k * c), times[1]), 2)[0]

        any_unit(scaled, 1, rel=1e-8)


# --- repair: the oracle does the step by hand ---

WAVE = """
def make(k):
    import torch
    def denoise(x, t, y):
        assert type(x) is torch.Tensor and y.shape == (len(x),)
        level = torch.as_tensor(t, dtype=x.dtype)
        y = y.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        said = torch.sin(x * (1 + y)) * (0.4 + 0.1 * y) + k * level * y
        denoise.kept = [*denoise.kept[-2:], (said, said.clone())]
        assert all(torch.equal(one, before) for one, before in denoise.kept)
        return said
    denoise.kept = []
    return denoise
"""


def wave(k, x, t, y):
    y = y.reshape(-1, *[1] * (x.ndim - 1))
    return np.sin(x * (1 + y)) * (0.4 + 0.1 * y) + k * t * y


def right_step(k, x, t, s, y, none, w, low, high, share):
    D = wave(k, x, t, y)
    if low <= t <= high:
        plain = wave(k, x, t, none)
        D = plain + w * (D - plain)
    q = np.maximum(np.quantile(np.abs(D).reshape(len(D), -1), share, axis=1), 1)
    q = q.reshape(-1, *[1] * (x.ndim - 1))
    D = np.clip(D, -q, q) / q
    (a, b), (a_s, b_s) = weights(t), weights(s)
    return a_s * D + b_s / b * (x - a * D)


def repaired(student, denoise, x, t, s, y, none, *numbers):
    labels = (torch.tensor(v, dtype=torch.int64) for v in (y, none))
    return array(student.repaired_step(denoise, tensor(x), tensor(t), tensor(s), *labels, *numbers), x.shape)


@pytest.mark.exercise("repair", weight=1, returns={"repaired_step": "tensor like 1 shape 1"})
def test_guided_step_by_hand(student, rng):
    """Guided inside the interval, its two ends included, by the time at which the step begins, and not guided
    outside; weights below 0, 0, 1 and above; each row has labels of its own; the noise is what is left of x
    with the guess that the step uses, large or small, near time 0, too; a step to 0 ends on the guess."""
    for shape in SHAPES[1:3]:
        k, B = rng.uniform(0.2, 0.5), shape[0]
        denoise = student.define(WAVE)(k)
        x, y, none = 10 * rng.normal(size=shape), rng.integers(1, 6, B), rng.permutation(4)[:B] + 6
        pairs = (-1.0, 1.0), (0.0, 0.5), (1.0, 0.9), (4.0, 0.8)
        cases = (
            (0.5, 0.25, 0.3, 0.6), (0.5, 0.25, 0.5, 0.7), (0.5, 0.25, 0.2, 0.5),
            (0.5, 0.25, 0.2, 0.3), (0.5, 0.45, 0.6, 0.9), (0.75, 0.0, 0.2, 0.8),
            (0.5, 0.25, 0.2, 0.5 - 1e-6), (0.5, 0.25, 0.5 + 1e-6, 0.7), (0.004, 0.001, 0.0, 1.0),
        )  # fmt: skip
        for i, (t, s, low, high) in enumerate(cases):
            for w, share in pairs[i % 2 :: 2]:
                got = repaired(student, denoise, x, t, s, y, none, w, low, high, share)
                assert got == pytest.approx(right_step(k, x, t, s, y, none, w, low, high, share), **NEAR)


@pytest.mark.exercise("repair", weight=1)
def test_threshold_of_each_picture(student, rng):
    """Each picture has its own threshold, never below 1: pictures that overshoot stand beside pictures that
    do not, guided or not, at any share from 0 to 1. Each row by itself, any memory layout, float32 in and
    out."""
    for shape in ((4, 9), (3, 2, 4, 4)):
        k, B = rng.uniform(0.5, 0.9), shape[0]
        denoise = student.define(WAVE)(k)
        x, none = rng.normal(size=shape), np.zeros(B, dtype=np.int64)
        y = np.array([0, 9, 2, 5])[:B]
        for low, share in ((0.0, 0.0), (0.9, 0.7), (0.0, 0.9), (0.0, 1.0)):
            rest = (2.5, low, 1.0, share)
            got = repaired(student, denoise, x, 0.6, 0.3, y, none, *rest)
            assert got == pytest.approx(right_step(k, x, 0.6, 0.3, y, none, *rest), **NEAR)
        rest = (2.5, 0.0, 1.0, 0.8)

        def answer(x, denoise=denoise, rest=rest):
            labels = torch.full((len(x),), 3), torch.zeros(len(x), dtype=torch.int64)
            return student.repaired_step(denoise, x, tensor(0.6), tensor(0.3), *labels, *rest)

        for relation in (rows_alone, strided):
            relation(answer, tensor(x), **NEAR)
        both_types(answer, tensor(x), **SHORT)


# --- tilted-sampler: the law of the steps for normal clouds, which is normal, too ---

NORMAL = """
def make(m, v):
    def D(x, sigma):
        assert sigma.shape == ()
        return m + (v / (v + sigma**2)).to(x.dtype) * (x - m)
    return D
"""


WEIGHTS = -0.5, 0.0, 1.0, 2.5, 6.0


def law(m_0, v_0, m, v, w, levels, rounds, r, start):
    """Mean and deviation after the steps, from a start that is a number: (B, 1)."""
    mean, var = start, 0.0
    for sigma in levels:
        h = r * sigma**2
        a, b = (1 - w) / (v_0 + sigma**2), w / (v + sigma**2)
        for _ in range(rounds):
            mean = mean + h / 2 * (a * (m_0 - mean) + b * (m - mean))
            var = (1 - h / 2 * (a + b)) ** 2 * var + h
    return mean, var**0.5


@pytest.mark.exercise("tilted-sampler", weight=2, returns={"tilted_sampler": "tensor like 3 shape 3"})
def test_noise_by_noise(student, rng):
    """Step by step it is what the formula says with the same noise: one level or several, one round or more,
    weights below 0, 0, 1 and above; levels in the order in which they are given, each with steps of its own
    length, long and short ones. One generator goes on from call to call. Without rounds, or without levels,
    x stays. float32 in, float32 out."""
    cases = (
        ([0.7], 1, 0.3), ([3.0, 1.0, 0.2], 2, 0.1), ([40.0, 1e-5], 2, 1.5),
        ([0.1], 12, 5.0), (np.geomspace(9, 0.1, 24), 1, 0.4), ([0.4, 0.1], 0, 0.5), ([], 3, 0.5),
    )  # fmt: skip
    for (v_0, v), shape in zip(((0.0, 0.0), (2.0, 0.5)) * 2, SHAPES, strict=True):
        m_0, m = rng.normal(size=2)
        D, D_y = student.define(NORMAL)(m_0, v_0), student.define(NORMAL)(m, v)
        seed = int(rng.integers(1 << 30))
        given, g = student.generator(seed), torch.Generator().manual_seed(seed)  # one for all calls
        for (levels, rounds, r), w in zip(cases, [*rng.permutation(WEIGHTS), 3.0, 3.0], strict=True):
            x, w = 30 * rng.normal(size=shape), float(w)
            got = student.tilted_sampler(D, D_y, w, tensor(x), tensor(levels), rounds, r, given)
            wanted = x
            for sigma in levels:
                for _ in range(rounds):
                    z = torch.randn(shape, generator=g, dtype=torch.float64).numpy()
                    slope = (1 - w) * (m_0 - wanted) / (v_0 + sigma**2) + w * (m - wanted) / (v + sigma**2)
                    wanted = wanted + r * sigma**2 / 2 * slope + r**0.5 * sigma * z
            assert array(got, shape) == pytest.approx(wanted, **NEAR)
        short = student.tilted_sampler(D, D_y, 0.5, tensor(x).float(), tensor([0.5]), 1, 0.5, given)
        from_tensor(short, shape, torch.float32)


@pytest.mark.exercise("tilted-sampler", weight=1, costly=True)
def test_tilted_density(student, rng):
    """With many levels down to little noise, the draws have mean and deviation of the tilted density, for
    weight 2 and more, which guidance alone misses."""
    for w in (2.0, 3.5):
        m, v, n = rng.uniform(0.5, 1.5), rng.uniform(0.2, 0.5), 4_000
        D, D_y = student.define(NORMAL)(0.0, 1.0), student.define(NORMAL)(m, v)
        levels, seed = np.geomspace(8, 0.06, 24), int(rng.integers(1 << 30))
        x = tensor(8 * rng.normal(size=(n, 1)))
        got = student.tilted_sampler(D, D_y, w, x, tensor(levels), 12, 0.4, student.generator(seed))
        got = array(got, (n, 1))
        precision = (1 - w) + w / v
        mean, width = w * m / v / precision, precision**-0.5
        by_law = law(0.0, 1.0, m, v, w, levels, 12, 0.4, 0.0)
        assert (
            abs(got.mean() - by_law[0]) < 6 * width / n**0.5
            and abs(got.std() / by_law[1] - 1) < 6 / (2 * n) ** 0.5
        )
        assert abs(got.mean() - mean) < 0.15 and abs(got.std() / width - 1) < 0.25


@pytest.mark.exercise("tilted-sampler", weight=1)
def test_generator_and_types(student, rng):
    """The generator decides every draw; float32 in, float32 out; any memory layout; any unit of length."""
    D, D_y = student.define(NORMAL)(0.0, 1.0), student.define(NORMAL)(0.8, 0.3)
    levels, x = tensor([2.0, 0.5]), tensor(rng.normal(size=(4, 3)))
    answer = lambda g: student.tilted_sampler(D, D_y, 2.0, x, levels, 3, 0.2, g)  # noqa: E731
    generator_decides(answer, student.generator, rng)
    seed = int(rng.integers(1 << 30))
    of = lambda x: student.tilted_sampler(D, D_y, 2.0, x, levels, 0, 0.2, student.generator(seed))  # noqa: E731
    both_types(of, x, **SHORT)
    found = student.tilted_sampler(D, D_y, 2.0, x.float(), levels, 2, 0.2, student.generator(seed))
    from_tensor(found, x.shape, torch.float32)
    many = lambda x: student.tilted_sampler(D, D_y, 2.0, x, levels, 2, 0.2, student.generator(seed))  # noqa: E731
    strided(many, x, **NEAR)
    zero = student.define("def zero(x, sigma):\n    return 0 * x")
    any_unit(
        lambda c: student.tilted_sampler(zero, zero, 2.0, c * x, c * levels, 2, 0.2, student.generator(seed)),
        1,
        rel=1e-8,
    )
