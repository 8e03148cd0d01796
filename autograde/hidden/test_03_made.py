"""Hidden tests of lesson 03_made. A docstring is what the learner reads when its test fails."""

import itertools

import numpy as np
import pytest
import torch
import torch._dynamo  # an optimiser's first step imports it: once here, and not in every fork
from scipy.special import log_softmax, logsumexp

from autograde.checks import array, booleans, from_tensor, number, parts, whole_numbers
from autograde.relations import any_level, any_order, both_types, rows_alone, strided
from autograde.training import learned, train

NEAR = {"rel": 1e-8, "abs": 1e-8}


def tensor(value, dtype=torch.float64):
    return torch.tensor(np.asarray(value), dtype=dtype)


def whole(value):
    return torch.tensor(np.asarray(value), dtype=torch.int64)


# --- block-masks: the oracle multiplies the masks ---


def check_ways(student, block, widths):
    """Ways from pixel to pixel exactly where the blocks say; no idle hidden number."""
    D, sizes = len(block), [len(block), *widths, len(block)]
    found = parts(student.block_masks(whole(block), list(widths)), len(widths) + 1)
    layers = [booleans(m, (sizes[n + 1], sizes[n])).astype(float) for n, m in enumerate(found)]
    fore, aft = [np.eye(D)], [np.eye(D)]
    for m in layers:
        fore.append(np.minimum(m @ fore[-1], 1))
    for m in layers[::-1]:
        aft.append(np.minimum(aft[-1] @ m, 1))
    block = np.asarray(block)
    assert ((fore[-1] > 0) == (block[None, :] < block[:, None])).all()
    if len(np.unique(block)) > 1:
        for n in range(1, len(widths) + 1):
            assert fore[n].any(1).all() and aft[len(layers) - n].any(0).all()


@pytest.mark.exercise("block-masks", weight=1)
def test_ways_through_all_layers(student, rng):
    """The product of the masks is open exactly from earlier blocks to later ones, for blocks in any order and
    of any size, for orders of single pixels, and for one, two and three hidden layers, as narrow as there are
    blocks or wider. Masks are bool, (out, in). Every hidden number is of use."""
    for D, T, layers in ((5, 3, 1), (8, 4, 2), (6, 6, 3), (12, 3, 2), (2, 2, 1)):
        block = rng.permutation(np.concatenate([np.arange(T), rng.integers(T, size=D - T)]))
        for extra in (0, int(rng.integers(1, 9))):
            check_ways(student, block, [T + extra + n for n in range(layers)])
    block = rng.permutation(7) * int(rng.integers(2, 6)) - 9  # single pixels, with gaps
    check_ways(student, block, [7, 9])
    check_ways(student, np.repeat([40, -3, 11], 2), [3, 4])


HUGE = [2**60 + 1, 2**60, -(2**60), 1 - 2**60]  # int64 tells them apart; float64 and int32 do not


@pytest.mark.exercise("block-masks", weight=1)
def test_any_numbers(student, rng):
    """Blocks are numbered by anybody: negative, with gaps, far apart, huge and yet neighbours. One block
    alone, and one pixel alone, see nothing. The order in which pixels are listed, and how the numbers lie in
    memory, do not matter."""
    for block in ([-7, 1_000, -7, 3, 1_000], HUGE, [5, 4, 3, 2, 1, 0], [0, 9, 9, 9]):
        for widths in ([6], [6, 7], [7, 6, 8]):
            check_ways(student, rng.permutation(block), widths)
    for alone in ([4, 4, 4], [-2], [0, 0]):
        for widths in ([1], [3, 2]):
            check_ways(student, alone, widths)
    block = whole(rng.integers(-5, 5, size=6))
    strided(lambda b: [m.double() for m in parts(student.block_masks(b, [7, 8]), 3)], block, rel=1e-12)


# --- ensemble-next: the oracle is the definition of a conditional probability ---


def next_by_hand(log_known, logits):
    joint = log_known[:, :, None] + log_softmax(logits, axis=2)
    return logsumexp(joint, axis=0) - logsumexp(log_known, axis=0)[:, None]


def of_rows(student):
    """The answer, of inputs whose first axis is the rows."""
    return lambda known, logits: student.ensemble_next(known.mT, logits.transpose(0, 1))


def check_next(student, log_known, logits):
    with np.errstate(divide="ignore"):
        wanted = next_by_hand(log_known, logits)
    got = array(student.ensemble_next(tensor(log_known), tensor(logits)), wanted.shape, finite=False)
    assert (np.isneginf(got) == np.isneginf(wanted)).all()
    seen = np.isfinite(wanted)
    assert got[seen] == pytest.approx(wanted[seen], rel=1e-9, abs=1e-9)


@pytest.mark.exercise("ensemble-next", weight=1, returns={"ensemble_next": "tensor like 1"})
def test_conditional_of_the_mean(student, rng):
    """It is the probability of the known pixels with the next one over that of the known pixels, both of the
    mean of the members: one member and several, two levels and many, one row and many. A constant added to
    a member's logits changes nothing; nor does the order of the members. Each row by itself."""
    for M, B, K in ((1, 3, 2), (2, 1, 4), (5, 4, 17), (3, 2, 2)):
        log_known, logits = 2 * rng.normal(size=(M, B)) - 9, 2 * rng.normal(size=(M, B, K))
        check_next(student, log_known, logits)
        shift = rng.normal(size=(M, B, 1))
        check_next(student, log_known, logits + 30 * shift)
    known, logits = tensor(rng.normal(size=(4, 3))), tensor(rng.normal(size=(4, 3, 5)))
    of = student.ensemble_next
    any_order(lambda o: of(known[o], logits[o]), 4, rng, (), rel=1e-9, abs=1e-9)
    rows_alone(of_rows(student), known.mT, logits.transpose(0, 1), rel=1e-9, abs=1e-9)
    strided(of, known, logits, rel=1e-9, abs=1e-9)


def without_a_say(known, logits):
    """Level 1 is allowed by member 0 alone, which has ruled out what is known."""
    known, logits = known.copy(), logits.copy()
    known[0], logits[1:, :, 1] = -np.inf, -np.inf
    return known, logits


@pytest.mark.exercise("ensemble-next", weight=1)
def test_members_far_apart(student, rng):
    """Members may be thousands of nats apart, all of them thousands of nats down, or have ruled out what is
    known; levels may be thousands of nats apart, too, or ruled out by some members or by all, or by
    all that have not ruled out what is known. Then too it is the definition's value. Rows
    far apart do not disturb each other; float32 in and out."""
    M, B, K = 4, 3, 3
    logits = rng.normal(size=(M, B, K))
    for spread in (50.0, 900.0, 4_000.0):
        check_next(student, spread * rng.normal(size=(M, B)), logits)
        check_next(student, rng.normal(size=(M, B)), spread * logits)
    known = 3 * rng.normal(size=(M, B))
    gone = known.copy()
    gone[rng.integers(M), :] = -np.inf
    gone[:-1, 1] = -np.inf
    gone[-1, 1] = -3.0
    check_next(student, gone, logits)
    barred = logits.copy()
    barred[0, :, 1] = -np.inf
    barred[:, 2, 0] = -np.inf
    check_next(student, known, barred)
    lead = known.copy()
    lead[0] += 2_000.0  # what the leading member has ruled out, the others still allow
    check_next(student, lead, barred)
    check_next(student, *without_a_say(known, logits))
    a, b = tensor(known), tensor(logits)
    any_level(lambda c: student.ensemble_next(a + c, b), rel=1e-8, abs=1e-8)
    any_level(lambda c: student.ensemble_next(a, b + c), rel=1e-8, abs=1e-8)
    rows_alone(of_rows(student), a.mT, b.transpose(0, 1), apart=3_000.0, rel=1e-8, abs=1e-8)
    both_types(student.ensemble_next, a, b, rel=1e-4, abs=1e-4)


# --- confident-law: the oracle goes through all states, too ---


def confident(table, per_pass):
    """The law of the sampler, by states: dicts of what is visible."""
    K, D = table.shape[0], table.ndim
    states, q = {(None,) * D: 1.0}, np.zeros(table.shape)
    while states:
        later = {}
        for state, weight in states.items():
            hidden = [i for i in range(D) if state[i] is None]
            if not hidden:
                q[state] += weight
                continue
            rest = table[tuple(slice(None) if v is None else v for v in state)]
            each = {}
            for a, i in enumerate(hidden):
                own = rest.sum(axis=tuple(c for c in range(len(hidden)) if c != a))
                each[i] = own / own.sum() if own.sum() > 0 else np.full(K, 1 / K)
            chosen = sorted(hidden, key=lambda i: (-round(float(each[i].max()), 9), i))[:per_pass]
            for levels in itertools.product(range(K), repeat=len(chosen)):
                new, p = list(state), weight
                for i, level in zip(chosen, levels, strict=True):
                    new[i], p = level, p * each[i][level]
                if p > 0:
                    later[tuple(new)] = later.get(tuple(new), 0.0) + p
        states = later
    return q


def check_law(student, table, per_pass):
    got = from_tensor(student.confident_law(tensor(table), per_pass), table.shape, torch.float64)
    assert got == pytest.approx(confident(table, per_pass), rel=1e-8, abs=1e-10)


def turned(rng, K, D):
    """A table the same when the pixels are turned in a ring: all are equally sure, but for rounding."""
    table = rng.dirichlet(np.full(K**D, 0.7)).reshape((K,) * D)
    axes = [np.roll(np.arange(D), n) for n in range(D)]
    return sum(np.transpose(table, a) for a in axes) / D


def nearly_equal(rng, more):
    """Pixel 1 is as sure as pixel 2, or `more` less; pixel 0, surer than both, depends on pixel 1 alone."""
    p, last = 0.6, 0.6 + more
    first = np.array([[0.25, 0.15], [0.02, 0.58]]) + rng.uniform(0, 0.01) * np.array([[-1, 1], [1, -1]])
    assert np.isclose(first.sum(1)[1], p)
    joint = first.T[:, :, None] * np.array([1 - last, last])
    return joint / joint.sum()


@pytest.mark.exercise("confident-law", weight=1, returns={"confident_law": "tensor float64 shape 0"})
def test_law_of_any_table(student, rng):
    """For tables of two, three and four levels, of one to five pixels, and any number of pixels a pass, it is
    the law of what the sampler draws; one pixel a pass gives the table itself. Some pictures may be
    impossible, also after what is visible; pixels may be equally sure. How likely the other levels are does
    not count."""
    for K, D in ((2, 3), (3, 3), (2, 4), (4, 2), (3, 1), (2, 5), (2, 5)):
        table = rng.dirichlet(np.full(K**D, 0.7)).reshape((K,) * D)
        for per_pass in range(1, D + 2):
            check_law(student, table, per_pass)
    for _ in range(6):
        check_law(student, rng.dirichlet(np.full(27, 0.7)).reshape(3, 3, 3), 2)
    check_law(student, sparse(rng), 2)
    for _ in range(4):
        check_law(student, turned(rng, 2, 4), 2)
    for second, third in (([0.5, 0.26, 0.24], [0.48, 0.48, 0.04]), ([0.5, 0.45, 0.05], [0.45, 0.28, 0.27])):
        check_law(student, nearly_alone(rng, [0.8, 0.1, 0.1], second, third), 2)


def nearly_alone(rng, *laws):
    """Three pixels with these laws, levels and pixels in any order; two pairs depend a little."""
    a, b, c = (rng.permutation(law) for law in laws)
    away = rng.normal(size=(4, 3))
    away -= away.mean(1, keepdims=True)
    away *= 0.03 / np.abs(away).max(1, keepdims=True)
    outer = "i,j,k->ijk"
    table = np.einsum(outer, a, b, c) + np.einsum(outer, *away[:2], c) + np.einsum(outer, away[2], b, away[3])
    return table.transpose(rng.permutation(3))


def sparse(rng):
    """Four pixels, of which the first two and the last two are equal: half of what two pixels a pass draw
    may be impossible."""
    table = np.zeros((2, 2, 2, 2))
    for i, j in itertools.product(range(2), repeat=2):
        table[i, i, j, j] = rng.uniform(0.2, 1)
    return table / table.sum()


def nearly_sparse(rng):
    """Five pixels, of which the first two are the surest and equal, but for once in 10^18 pictures."""
    table = 1e-18 * rng.uniform(0.2, 1, size=(2, 2, 2, 2, 2))
    for i, share in enumerate((0.95, 0.05)):
        table[i, i] += share * (rng.dirichlet(np.ones(8)) + 0.2).reshape(2, 2, 2)
    return table / table.sum()


@pytest.mark.exercise("confident-law", weight=1)
def test_impossible_and_equal(student, rng):
    """Where what is visible has probability 0, everything hidden is uniform, and nothing of the law is lost;
    where it is only very improbable, the conditionals are the table's.
    Of equally sure pixels the lower goes first, also where only rounding tells them apart. What is certain is
    drawn first. Any memory layout."""
    for _ in range(3):
        for per_pass in (2, 3):
            check_law(student, sparse(rng), per_pass)
            check_law(student, nearly_sparse(rng), per_pass)
        for shape in ((2, 3), (3, 3), (2, 4), (2, 5)):
            check_law(student, turned(rng, *shape), 2)
        check_law(student, turned(rng, 2, 4), 3)
        table = rng.dirichlet(np.full(27, 0.15)).reshape(3, 3, 3)
        table[table < 1e-3] = 0
        for per_pass in (1, 2):
            check_law(student, table / table.sum(), per_pass)
    check_law(student, np.full((2, 2, 2), 1 / 8), 2)
    for more in (4e-9, 4e-10):  # the one is more than rounding, the other is not
        check_law(student, nearly_equal(rng, more), 2)
    table = tensor(rng.dirichlet(np.full(27, 0.7)).reshape(3, 3, 3))
    strided(lambda t: student.confident_law(t, 2), table, rel=1e-8, abs=1e-10)


# --- repair: the oracle fills pixel by pixel ---

RASTER = """
def make(first, pull):
    import torch
    D, K = first.shape
    def net(x):
        assert type(x) is torch.Tensor and x.dtype == torch.int64 and x.shape[1:] == (D,)
        assert ((x >= 0) & (x < K)).all()
        logits = first.expand(len(x), D, K).clone()
        for i in range(D):
            for j in range(i):
                logits[:, i] += pull[i, j, x[:, j]]
        return logits
    return net
"""


class Raster:
    """A network in raster order, here and there."""

    def __init__(self, student, rng, D, K, dtype=torch.float64, steep=1.5):
        self.first, self.pull = steep * rng.normal(size=(D, K)), steep * rng.normal(size=(D, D, K, K))
        self.there = student.define(RASTER)(tensor(self.first, dtype), tensor(self.pull, dtype))

    def log_p(self, before):
        """Of the pixel behind `before`, a list of levels."""
        i = len(before)
        return log_softmax(self.first[i] + sum(self.pull[i, j, level] for j, level in enumerate(before)))

    def fill(self, x, known, g):
        """The filled pictures, and log w."""
        out, log_w = x.copy(), np.zeros(len(x))
        for b in range(len(x)):
            for i in range(x.shape[1]):
                log_p = self.log_p(list(out[b, :i]))
                if known[b, i]:
                    log_w[b] += log_p[out[b, i]]
                else:
                    out[b, i] = (log_p + g[b, i]).argmax()
        return out, log_w


def gap_case(rng, B, D, K, share):
    """Levels where known, else numbers that are none; and Gumbel noise."""
    known = rng.random((B, D)) < share
    x = np.where(known, rng.integers(K, size=(B, D)), rng.choice([-9, 99], (B, D)))
    return x, known, -np.log(rng.exponential(size=(B, D, K)))


def check_fill(student, net, x, known, g):
    result = student.repaired_fill(net.there, whole(x), torch.tensor(known), tensor(g))
    filled, log_w = parts(result, 2)
    out, wanted = net.fill(x, known, g)
    assert (whole_numbers(filled, x.shape, exact=True) == out).all()
    assert from_tensor(log_w, (len(x),), torch.float64) == pytest.approx(wanted, **NEAR)


@pytest.mark.exercise("repair", weight=1)
def test_filled_and_weighed(student, rng):
    """Known pixels stay as they are; the unknown ones are drawn from the conditionals given all pixels
    before, known or drawn; the weight is the sum of the nats of the known ones, each row's own. Other
    pixels are known in each row; few are, or many; two levels and more, however improbable."""
    for B, D, K, share in ((4, 5, 2, 0.5), (1, 4, 3, 0.5), (6, 6, 3, 0.2), (5, 4, 4, 0.8)):
        net = Raster(student, rng, D, K)
        case = gap_case(rng, B, D, K, share)
        check_fill(student, net, *case)
    x, known, g = gap_case(rng, 3, 4, 2, 0.5)
    known[:] = [True, False, True, False]
    check_fill(student, Raster(student, rng, 4, 2), np.where(known, abs(x) % 2, -9), known, g)
    check_fill(student, Raster(student, rng, 5, 3, steep=900.0), *gap_case(rng, 6, 5, 3, 0.7))


@pytest.mark.exercise("repair", weight=1)
def test_all_none_and_kinds(student, rng):
    """All known: the weight is the picture's log-probability. None known: log 1, and the picture is a draw.
    Each row by itself, any memory layout, float32 weights from a float32 network, whatever the
    noise; the mean weight over all ways to fill the gaps is what the known pixels have as probability."""
    for share in (0.0, 1.1, 0.5):
        for B, D, K in ((3, 4, 3), (1, 1, 2)):
            check_fill(student, Raster(student, rng, D, K), *gap_case(rng, B, D, K, share))
    net, (x, known, g) = Raster(student, rng, 4, 3), gap_case(rng, 5, 4, 3, 0.5)
    known[0], known[:, 0] = [True, False, False, True], [True, False, True, False, True]
    x = np.where(known, np.abs(x) % 3, -9)
    rows = lambda x, k, g: parts(student.repaired_fill(net.there, x, k, g), 2)  # noqa: E731
    given = whole(x), torch.tensor(known), tensor(g)
    rows_alone(rows, *given, **NEAR)
    strided(rows, *given, **NEAR)
    short = Raster(student, rng, 4, 3, torch.float32)
    out, wanted = short.fill(x, known, g.astype(np.float32))
    for dtype in (torch.float32, torch.float64):  # of the noise; the weights have the type of the logits
        result = student.repaired_fill(short.there, whole(x), torch.tensor(known), tensor(g, dtype))
        filled, log_w = parts(result, 2)
        assert (whole_numbers(filled, x.shape) == out).all()
        assert from_tensor(log_w, (5,), torch.float32) == pytest.approx(wanted, rel=1e-4, abs=1e-4)


# --- any-clock: formulas, and a law that is learned ---

STATES = """
def make(theta, K):
    import torch
    def net(x):
        assert type(x) is torch.Tensor and x.dtype == torch.int64 and ((x >= 0) & (x <= K)).all()
        net.calls += 1
        place = (K + 1) ** torch.arange(x.shape[1])
        return theta[(x * place).sum(1)]
    net.calls = 0
    return net
"""


class States:
    """A network that is a table: logits for each state of visible and hidden pixels."""

    def __init__(self, student, rng, D, K, dtype=torch.float64, steep=1.5):
        self.K, self.place = K, (K + 1) ** np.arange(D)
        self.theta = steep * rng.normal(size=((K + 1) ** D, D, K))
        self.there = student.define(STATES)(tensor(self.theta, dtype), K)

    def __call__(self, x):
        """As the one there."""
        return self.theta[(x * self.place).sum(1)]

    def loss(self, x, alpha, slope, u):
        """The bound's term of each row."""
        hidden = u >= alpha[:, None]
        log_each = log_softmax(self(np.where(hidden, self.K, x)), axis=2)
        nats = -np.take_along_axis(log_each, x[:, :, None], axis=2)[:, :, 0]
        return -slope / (1 - alpha) * (nats * hidden).sum(1)

    def step(self, x, t, s, u, g):
        """One step of the sampler."""
        now = (x == self.K) & (u < (s - t) / (1 - t))
        return np.where(now, (self(x) + g).argmax(2), x)


def noise(rng, *shape):
    return -np.log(rng.exponential(size=shape))


def check_loss(student, rng, B, D, K, steep=1.5):
    net, x, u = States(student, rng, D, K, steep=steep), rng.integers(K, size=(B, D)), rng.random((B, D))
    alpha, slope = rng.uniform(0.1, 0.9, B), -rng.uniform(0.3, 3, B)
    if B > 1 and steep < 2:  # not times what rounding leaves of a level that is certain
        alpha[1], u[1, 0] = 1 - 2.0**-20, 1 - 2.0**-21  # hardly hidden, and weighs a million times
    alpha[0] = u[0, 0] = rng.choice([0.0, 0.5])  # hidden, just so
    given = [whole(x), K, tensor(alpha), tensor(slope), tensor(u)]
    got = from_tensor(student.diffusion_loss(net.there, *given), (B,), torch.float64)
    assert got == pytest.approx(net.loss(x, alpha, slope, u), **NEAR)
    assert number(student.value(net.there.calls)) == 1
    return net, given


def check_steps(student, rng, B, D, K, n):
    net = States(student, rng, D, K)
    x = np.where(rng.random((B, D)) < 0.6, K, rng.integers(K, size=(B, D)))
    t, s = np.sort(rng.uniform(0, 0.9, 2))
    u, g = rng.random((n, B, D)), noise(rng, n, B, D, K)
    for late in (s, 1.0):
        got = student.diffusion_step(net.there, whole(x), float(t), float(late), tensor(u[0]), tensor(g[0]))
        assert (whole_numbers(got, (B, D), exact=True) == net.step(x, t, late, u[0], g[0])).all()
    assert number(student.value(net.there.calls)) == 2
    u[0, 0, 0], x[0, 0] = 0.25, K  # just not below
    for left in (0.5, 2.0**-20):
        t_late, s_late = 1 - left, 1 - 0.75 * left
        got = student.diffusion_step(net.there, whole(x), t_late, s_late, tensor(u[0]), tensor(g[0]))
        assert (whole_numbers(got, (B, D)) == net.step(x, t_late, s_late, u[0], g[0])).all()
    calls = 4
    u[:, 0, 0] = 1 - 2.0**-30  # hidden to the last step, and not longer
    alphas = np.array([0.0, *np.sort(rng.uniform(0.05, 0.95, n - 1)), 1.0])
    got = student.write(net.there, alphas.tolist(), tensor(u), tensor(g))
    wanted = np.full((B, D), K)
    for i in range(n):
        wanted = net.step(wanted, alphas[i], alphas[i + 1], u[i], g[i])
    assert (whole_numbers(got, (B, D), exact=True) == wanted).all()
    assert number(student.value(net.there.calls)) == calls + n
    return net, (x, float(t), float(s), u, g)


SLOPE = """
def sloped(theta, loss, K, place, x, alpha, slope, u):
    return loss(lambda x: theta[(x * place).sum(1)], x, K, alpha, slope, u)
"""


@pytest.mark.exercise("any-clock", weight=1, returns={"diffusion_step": "tensor int64 shape 1"})
def test_loss_of_any_clock(student, rng):
    """It is the rate at which a hidden pixel would just have been hidden, times the nats of all hidden
    pixels, given the visible ones and nothing else; the net is asked once. From all hidden to next to
    none, any clock, each row with its own; two levels and more. Its gradient reaches the logits of what is
    hidden, and no others. Each row by itself, any memory layout, float32 from a float32 network."""
    for B, D, K in ((5, 3, 2), (1, 2, 4), (4, 4, 3)):
        net, given = check_loss(student, rng, B, D, K)
        rows = lambda x, a, s, u: student.diffusion_loss(net.there, x, K, a, s, u)  # noqa: B023, E731
        rows_alone(rows, given[0], *given[2:], **NEAR)
        strided(rows, given[0], *given[2:], **NEAR)
    check_loss(student, rng, 6, 4, 4, steep=900.0)
    x, _, alpha, slope, u = given
    sloped = student.define(SLOPE)
    args = student.diffusion_loss, 3, whole(net.place), x, alpha, slope, u
    got = array(student.grad(sloped, 0, tensor(net.theta), *args), net.theta.shape)
    hidden = u.numpy() >= alpha.numpy()[:, None]
    wanted, state = np.zeros_like(net.theta), (np.where(hidden, 3, x) * net.place).sum(1)
    p = np.exp(log_softmax(net.theta[state], axis=2)) - np.eye(3)[x.numpy()]
    weight = -slope.numpy() / (1 - alpha.numpy())
    np.add.at(wanted, state, weight[:, None, None] * p * hidden[:, :, None])
    assert got == pytest.approx(wanted, **NEAR)
    short = States(student, rng, 3, 2, torch.float32)
    x, alpha, slope, u = rng.integers(2, size=(4, 3)), np.full(4, 0.5), np.full(4, -1.5), rng.random((4, 3))
    floats = [tensor(v, torch.float32) for v in (alpha, slope, u)]
    got = from_tensor(student.diffusion_loss(short.there, whole(x), 2, *floats), (4,), torch.float32)
    assert got == pytest.approx(short.loss(x, alpha, slope, u), rel=1e-4, abs=1e-4)


@pytest.mark.exercise("any-clock", weight=1)
def test_steps_and_pictures(student, rng):
    """A step reveals hidden pixels with the probability that the clock gives, short step or long, draws
    their levels from the net's law, and leaves the visible ones; one call a step. The sampler begins with
    all hidden, goes over the given shares with fresh noise in each step, and ends with none hidden. Each
    row by itself, any memory layout."""
    for B, D, K, n in ((5, 3, 2, 4), (1, 2, 4, 1), (4, 4, 3, 6), (6, 3, 3, 2)):
        net, (x, t, s, u, g) = check_steps(student, rng, B, D, K, n)
    step = lambda x, u, g: student.diffusion_step(net.there, x, t, s, u, g)  # noqa: E731
    for relation in (rows_alone, strided):
        relation(step, whole(x), tensor(u[0]), tensor(g[0]), rel=0.0)
    clock = [0.0, 0.3, 1.0]
    written = lambda *v: student.write(net.there, clock, *(part.transpose(0, 1) for part in v))  # noqa: E731
    rows_alone(written, tensor(u).transpose(0, 1), tensor(g).transpose(0, 1), rel=0.0)


LEARN = """
def learn(loss, write, K, pictures, share, clock, u_train, alphas, u, g):
    import torch
    D, r = pictures.shape[1], clock
    theta = torch.zeros((K + 1) ** D, D, K, dtype=share.dtype, requires_grad=True)
    place = (K + 1) ** torch.arange(D)
    net = lambda x: theta[(x * place).sum(1)]
    optimizer = torch.optim.Adam([theta], 0.2)
    for n, fresh in enumerate(u_train):
        t = fresh[:, -1].clamp(min=1e-3)
        found = loss(net, pictures, K, 1 - t**r, -r * t ** (r - 1), fresh[:, :-1])
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - n / len(u_train)) + 0.01
        optimizer.zero_grad()
        (share * found).sum().backward()
        optimizer.step()
    with torch.no_grad():
        return write(net, alphas, u, g)
"""


@pytest.mark.exercise("any-clock", weight=1, costly=True)
def test_learns_a_known_law(student, rng):
    """A network that is a table, trained with the loss on all pictures of three pixels weighted by a law,
    writes pictures by that law, whatever the clock; after it, loss and steps are still those of the
    formulas."""
    D, K, n, B = 3, 3, 40, 3_000
    law = 0.9 * rng.dirichlet(np.full(K**D, 0.3)) + 0.1 / K**D
    pictures = np.array(list(itertools.product(range(K), repeat=D)))
    four = np.tile(pictures, (4, 1))
    u_train = rng.random((100, len(four), D + 1))
    alphas = (np.arange(n + 1) / n) ** float(rng.uniform(0.8, 1.4))
    given = K, whole(four), tensor(np.tile(law, 4) / 4), float(rng.uniform(1, 2)), tensor(u_train)
    drawn = alphas.tolist(), tensor(rng.random((n, B, D))), tensor(noise(rng, n, B, D, K))
    answers = student.diffusion_loss, student.write
    result = train(student, LEARN, *answers, *given, *drawn, seed=int(rng.integers(2**31)), seconds=5.0)
    found = np.bincount((whole_numbers(result, (B, D)) * [9, 3, 1]).sum(1), minlength=27)[:27] / B
    learned(np.abs(law - 1 / 27).sum() / 2, np.abs(found - law).sum() / 2, 0.15)
    for shape in ((4, 3, 2), (2, 2, 3)):
        check_loss(student, rng, *shape)
        check_steps(student, rng, *shape, 3)
