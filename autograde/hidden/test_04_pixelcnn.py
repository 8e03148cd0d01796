"""Hidden tests of lesson 04_pixelcnn. A docstring is what the learner reads when its test fails."""

import itertools

import numpy as np
import pytest
import torch
from mpmath import exp, log, mp, mpf
from scipy.special import expit, log_softmax, logsumexp

from autograde.checks import array, booleans, from_tensor, number, parts, whole_numbers
from autograde.relations import any_level, any_order, both_types, gradient_is_slope, rows_alone, strided
from autograde.training import learned, train

NEAR = {"rel": 1e-8, "abs": 1e-8}


def tensor(value, dtype=torch.float64):
    return torch.tensor(np.asarray(value), dtype=dtype)


def whole(value):
    return torch.tensor(np.asarray(value), dtype=torch.int64)


# --- unseen: the oracle walks from pixel to pixel ---


def not_seen(masks, n, i, j):
    here = {(i, j)}
    for mask in reversed(masks):
        half = len(mask) // 2
        steps = [(int(p) - half, int(q) - half) for p, q in np.argwhere(mask)]
        here = {(a + p, b + q) for a, b in here for p, q in steps if 0 <= a + p < n and 0 <= b + q < n}
    before = [(a, b) for a in range(n) for b in range(n) if (a, b) < (i, j)]
    return {place for place in before if place not in here}


def causal(kind, k):
    place = np.arange(k * k).reshape(k, k)
    return place < k * k // 2 + (kind == "B")


def check_unseen(student, masks, n, i, j):
    got = booleans(student.unseen([torch.tensor(m) for m in masks], n, i, j), (n, n))
    assert {(int(a), int(b)) for a, b in np.argwhere(got)} == not_seen(masks, n, i, j)


@pytest.mark.exercise("unseen", weight=1, returns={"unseen": "tensor bool"})
def test_causal_stacks(student, rng):
    """For stacks of masks A and B, of kernels of 1, 3, 5 and 7, one layer to many, at places in the middle
    and at the border: what is not seen of what comes before. No layer: only the place itself is seen."""
    for sizes in ([3], [3, 3, 3], [5, 3], [3, 5, 1], [7, 3, 3], [3] * 7):
        masks = [causal("B" if n else "A", k) for n, k in enumerate(sizes)]
        for i, j in ((5, 3), (6, 6), (3, 0), tuple(rng.integers(7, size=2).tolist())):
            check_unseen(student, masks, 7, i, j)
    check_unseen(student, [], 4, 2, 1)
    check_unseen(student, [], 3, 0, 0)
    check_unseen(student, [causal("A", 3)] * 3, 6, 4, 3)
    check_unseen(student, [causal("A", 3)] * 30, 12, 9, 4)


@pytest.mark.exercise("unseen", weight=1)
def test_any_masks(student, rng):
    """Masks may be anything, also sparse or without any True, of a different size in each layer, and kernels
    larger than the picture; ways lead through later pixels, too, but not through the outside. There may be
    so many layers that the ways are more than a number holds."""
    for n in (1, 2, 4, 6):
        for _ in range(4):
            layers = int(rng.integers(1, 5))
            masks = [rng.random((k, k)) < 0.3 for k in rng.choice([1, 3, 5], layers)]
            check_unseen(student, masks, n, *rng.integers(n, size=2).tolist())
    right, back = np.zeros((3, 3), bool), np.zeros((3, 3), bool)
    right[0, 2], back[1, 0] = True, True
    for masks in ([right, back], [back, right], [back, back, right], [right, back, back]):
        for j in range(4):
            check_unseen(student, masks, 4, 2, j)
    check_unseen(student, [np.zeros((3, 3), bool)], 4, 3, 3)
    beside = np.array([[False, True, False], [True, False, True], [False, True, False]])
    check_unseen(student, [beside] * 160, 2, 1, 1)  # 2^159 ways to a pixel, of 4^160 without the border
    up_left, under = np.zeros((3, 3), bool), np.zeros((3, 3), bool)
    up_left[0, 0], under[2, 1] = True, True
    for j in range(4):
        check_unseen(student, [up_left, under], 4, 2, j)
    check_unseen(student, [np.ones((7, 7), bool), causal("B", 3)], 3, 2, 1)
    masks = [torch.tensor(causal("A", 3)), torch.tensor(rng.random((5, 5)) < 0.4)]
    strided(lambda a, b: student.unseen([a, b], 5, 3, 2).double(), *masks, rel=1e-12)


# --- class-after: the oracle is Bayes' rule, number by number ---


def after(log_each, log_prior):
    B, C, D = log_each.shape
    out = np.empty((B, D + 1, C))
    for d in range(D + 1):
        joint = log_prior + log_each[:, :, :d].sum(2)
        out[:, d] = joint - logsumexp(joint, axis=1, keepdims=True)
    return out


def check_after(student, log_each, log_prior):
    wanted = after(log_each, log_prior)
    got = array(student.class_after(tensor(log_each), tensor(log_prior)), wanted.shape, finite=False)
    assert (np.isneginf(got) == np.isneginf(wanted)).all()
    seen = np.isfinite(wanted)
    assert got[seen] == pytest.approx(wanted[seen], rel=1e-8, abs=1e-8)


def pixels(rng, B, C, D, steep=1.0):
    return -steep * rng.exponential(size=(B, C, D)), log_softmax(rng.normal(size=C))


@pytest.mark.exercise("class-after", weight=1, returns={"class_after": "tensor like 0"})
def test_bayes_rule_at_every_pixel(student, rng):
    """After each number of known pixels, none and all included, it is Bayes' rule: one picture and many, two
    classes and many, any prior. The order of the classes does not matter; rows by themselves, any memory
    layout, float32 too."""
    for B, C, D in ((3, 2, 4), (1, 10, 7), (5, 3, 1), (2, 4, 4)):
        check_after(student, *pixels(rng, B, C, D))
    log_each, prior = (tensor(v) for v in pixels(rng, 4, 4, 5))
    of = student.class_after
    any_order(lambda o: of(log_each[:, o], prior[o]), 4, rng, (2,), **NEAR)
    rows_alone(lambda x: of(x, prior), log_each, **NEAR)
    strided(of, log_each, prior, **NEAR)
    both_types(of, log_each, prior, rel=1e-4, abs=1e-4)


@pytest.mark.exercise("class-after", weight=1)
def test_ruled_out_and_far_apart(student, rng):
    """A class that rules out a level is out from there on, and not before; one that the prior rules out is
    always out; the others share what is left. Pictures, and classes, may be thousands of nats apart."""
    log_each, prior = pixels(rng, 4, 4, 5)
    log_each[0, 1, 2] = log_each[1, 2, 0] = log_each[1, 0, 4] = -np.inf
    check_after(student, log_each, prior)
    prior[3] = -np.inf
    check_after(student, log_each, log_softmax(prior))
    for steep in (100.0, 3_000.0):
        check_after(student, *pixels(rng, 5, 3, 6, steep))
    a, b = (tensor(v) for v in pixels(rng, 4, 3, 5))
    any_level(lambda c: student.class_after(a + c, b), **NEAR)
    rows_alone(lambda x: student.class_after(x, b), a, apart=3_000.0, **NEAR)


# --- laplace: the oracle is mpmath's, with 60 digits ---


def laplace_exact(outputs, x, K):
    """log p with so many digits that differences do no harm: (3 M,), a level -> a number of mpmath's."""
    mp.dps = 60
    M, total, norm = len(outputs) // 3, mpf(0), mpf(0)
    F = lambda y: exp(y) / 2 if y <= 0 else 1 - exp(-y) / 2  # noqa: E731
    top = max(mpf(v) for v in outputs[:M])
    for m in range(M):
        weight, centre = exp(mpf(outputs[m]) - top), mpf(outputs[M + m])
        scale = exp(mpf(outputs[2 * M + m]))
        b, a = (mpf(int(x)) + mpf("0.5") - centre) / scale, (mpf(int(x)) - mpf("0.5") - centre) / scale
        if x == 0:
            p = F(b)
        elif x == K - 1:
            p = F(-a)
        else:
            p = F(b) - F(a) if b <= 0 else F(-a) - F(-b)  # both small where both are far
        total, norm = total + weight * p, norm + weight
    return log(total / norm)


def laplace_by_hand(outputs, x, K):
    return float(laplace_exact([float(v) for v in outputs], x, K))


def slopes_by_hand(outputs, x, K):
    """By every number of the outputs, (3 M,)."""
    M, slopes = len(outputs) // 3, []
    for n in range(3 * M):
        step = mpf("1e-15") * (exp(mpf(outputs[M + n])) if M <= n < 2 * M else 1)  # of a centre: in scales
        ways = [[mpf(v) + (d if i == n else 0) for i, v in enumerate(outputs)] for d in (step, -step)]
        up, down = (laplace_exact(way, x, K) for way in ways)
        slopes.append(float((up - down) / (2 * step)))
    return np.array(slopes)


def all_by_hand(outputs, x, K):
    """The same for (B, 3 M, N), (B, N) -> (B, N)."""
    rows = [[laplace_by_hand(outputs[b, :, n], x[b, n], K) for n in range(x.shape[1])] for b in range(len(x))]
    return np.array(rows)


def laws(rng, B, M, N, K):
    weight, log_scale = rng.normal(size=(B, M, N)), rng.normal(size=(B, M, N)) + 0.5
    return np.concatenate([weight, rng.uniform(-1, K, size=(B, M, N)), log_scale], axis=1)


@pytest.mark.exercise("laplace", weight=1, returns={"laplace_levels": "tensor like 0 shape 1"})
def test_levels_of_a_mixture(student, rng):
    """It is the log of the mass between a level's edges, the lowest and the highest level open; over all
    levels it sums to 1. One law and several, two levels and many, one pixel and many, a constant added to
    the weights. Rows by themselves, laws in any order, any memory layout, float32; a gradient passes."""
    for B, M, N, K in ((3, 1, 4, 5), (1, 3, 6, 2), (4, 2, 1, 17), (2, 5, 3, 256)):
        outputs, x = laws(rng, B, M, N, K), rng.integers(K, size=(B, N))
        x[0, 0], x[-1, -1] = 0, K - 1
        got = from_tensor(student.laplace_levels(tensor(outputs), whole(x), K), (B, N), torch.float64)
        assert got == pytest.approx(all_by_hand(outputs, x, K), rel=3e-9, abs=3e-9)
    one = laws(rng, 1, 3, 1, 9).repeat(9, axis=2)
    got = from_tensor(student.laplace_levels(tensor(one), torch.arange(9)[None], 9), (1, 9), torch.float64)
    assert logsumexp(got) == pytest.approx(0, abs=1e-9)
    outputs, x = tensor(laws(rng, 4, 3, 5, 7)), whole(rng.integers(7, size=(4, 5)))
    of = lambda o, x: student.laplace_levels(o, x, 7)  # noqa: E731
    rows_alone(of, outputs, x, **NEAR)
    strided(of, outputs, x, **NEAR)
    both_types(of, outputs, x, rel=1e-4, abs=1e-4)
    laws_of = outputs.reshape(4, 3, 3, 5)
    any_order(lambda o: of(laws_of[:, :, o].reshape(4, 9, 5), x), 3, rng, (), **NEAR)
    any_level(lambda c: of(torch.cat([outputs[:, :3] + c, outputs[:, 3:]], dim=1), x), **NEAR)
    gradient_is_slope(student.laplace_levels, 0, outputs, x, 7, rng=rng, rel=1e-4)


SUM = """
def total(levels, outputs, x, K):
    return levels(outputs, x, K).sum()
"""


def far_cases():
    """Outputs of one law, (3,), and a level, of K = 256."""
    for centre, log_scale, x in itertools.product(
        (-5_000.0, -3.0, 0.0, 0.5, 77.5, 100.2, 255.0, 258.3, 6_000.0, 3e9),
        (-35.0, -6.9, 0.0, 3.0, 13.8, 35.0),
        (0, 1, 77, 100, 254, 255),
    ):
        if abs(x - centre) < 7e6 * np.exp(log_scale):
            yield [0.0, centre, log_scale], x


@pytest.mark.exercise("laplace", weight=1, costly=True)
def test_far_out_and_its_gradient(student, rng):
    """Thousands and millions of scales from the centre, left and right of it; levels wider than the law by
    far and narrower by far; a centre on an edge; both open ends, near and far. Laws of a mixture that are all
    far, or whose logits are far apart. The gradient is that of the formula, by centres, scales and logits,
    and finite, in all these cases. In float32 the logarithm is right to four digits, the gradient finite."""
    K, cases = 256, list(far_cases())
    columns, levels = np.array([c for c, _ in cases]).T[None], whole([[x for _, x in cases]])
    wanted = np.array([laplace_by_hand(c, x, K) for c, x in cases])
    got = from_tensor(student.laplace_levels(tensor(columns), levels, K), (1, len(cases)), torch.float64)
    assert got[0] == pytest.approx(wanted, rel=3e-9, abs=1e-12)
    total = student.define(SUM)
    slope = array(student.grad(total, 1, student.laplace_levels, tensor(columns), levels, K), columns.shape)
    for n in range(0, len(cases), 5):
        (outputs, x), s = cases[n], np.exp(cases[n][0][2])
        if abs(abs(x - outputs[1]) - 0.5) > 1e-6:  # the slope has no jump there, but its own slope has
            reach = 1e-9 + 1e-5 * np.abs(found := slopes_by_hand(outputs, x, K)) + [0, 1e-6 / s, 0]
            assert (np.abs(slope[0, :, n] - found) < reach).all()
    near, far = rng.normal(size=2), np.array([-4_000.0, 3_500.0]) + rng.normal(size=2)
    for mixture in ([0.3, -1.0, *far, 0.0, 0.2], [0.0, -2_000.0, far[0], 30 + near[0], 0.3, 0.1]):
        column = tensor(mixture)[None, :, None]
        got = from_tensor(student.laplace_levels(column, whole([[30]]), K), (1, 1), torch.float64)
        assert got[0, 0] == pytest.approx(laplace_by_hand(mixture, 30, K), rel=3e-9)
        slope = array(student.grad(total, 1, student.laplace_levels, column, whole([[30]]), K), (1, 6, 1))
        assert slope[0, :, 0] == pytest.approx(slopes_by_hand(mixture, 30, K), rel=1e-5, abs=1e-8)
    short = columns.astype(np.float32)
    got = student.laplace_levels(tensor(short, torch.float32), levels, K)
    wanted = [laplace_by_hand(short[0, :, n], x, K) for n, (_, x) in enumerate(cases)]
    got = from_tensor(got, (1, len(cases)), torch.float32)
    assert got[0] == pytest.approx(np.array(wanted), rel=1e-4, abs=1e-4)
    array(student.grad(total, 1, student.laplace_levels, tensor(short, torch.float32), levels, K))


# --- repair: the oracle is a loop over pixels ---


def layer_by_hand(v, h, W_side, W_own, W_link, first):
    (p, q), k, n = W_side.shape[2:], W_own.shape[2], v.shape[2]
    B, C2 = len(v), len(W_side)
    a, own = np.zeros((B, C2, n, n)), np.zeros((B, C2, n, n))
    for i, j in itertools.product(range(n), repeat=2):
        for r, s in itertools.product(range(p), range(q)):
            y, x = i + r - p // 2, j + s - (q - 1)
            if 0 <= y < n and x >= 0:
                a[:, :, i, j] += v[:, :, y, x] @ W_side[:, :, r, s].T
        for r in range(k):
            y = i + r - (k if first else k - 1)
            if y >= 0:
                own[:, :, i, j] += h[:, :, y, j] @ W_own[:, :, r, 0].T
    for j in range(1, n):
        own[:, :, :, j] += np.einsum("oc,bci->boi", W_link[:, :, 0, 0], a[:, :, :, j - 1])
    gated = lambda t: np.tanh(t[:, : C2 // 2]) * expit(t[:, C2 // 2 :])  # noqa: E731
    return gated(a), gated(own) if first else h + gated(own)


def layer_case(rng, B, C, c, n, p, q, k):
    shapes = (B, c, n, n), (B, c, n, n), (2 * C, c, p, q), (2 * C, c, k, 1), (2 * C, 2 * C, 1, 1)
    return [rng.normal(size=shape) for shape in shapes]


def check_layer(student, case, first):
    wanted = layer_by_hand(*case, first)
    got = parts(student.repaired_layer(*(tensor(v) for v in case), first), 2)
    for found, right in zip(got, wanted, strict=True):
        assert from_tensor(found, right.shape, torch.float64) == pytest.approx(right, **NEAR)


BOTH = """
def both(layer, *inputs):
    v, h = layer(*inputs)
    return v + 0.7 * h
"""


def check_gradients(student, case, first, rng):
    inputs = student.repaired_layer, *(tensor(v) for v in case), first
    for wrt in range(1, 6):
        gradient_is_slope(student.define(BOTH), wrt, *inputs, rng=rng, rel=1e-6)


@pytest.mark.exercise("repair", weight=1)
def test_layers_after_the_first(student, rng):
    """Both stacks are those of a loop over the pixels, in a layer that is not the first: kernels of all
    sizes, one channel and several, one picture and several, small pictures, large numbers. A gradient passes
    through both stacks, and the link between them."""
    for B, C, n, p, q, k in ((2, 3, 5, 3, 2, 2), (1, 1, 4, 5, 3, 3), (3, 2, 3, 1, 1, 1), (2, 4, 6, 3, 4, 1)):
        check_layer(student, layer_case(rng, B, C, C, n, p, q, k), False)
    check_layer(student, layer_case(rng, 1, 2, 2, 1, 3, 2, 2), False)
    case = layer_case(rng, 1, 2, 2, 2, 5, 3, 4)
    check_layer(student, case, False)
    check_layer(student, [3_000 * v for v in case[:2]] + case[2:], False)
    check_gradients(student, case, False, rng)


@pytest.mark.exercise("repair", weight=1, returns={"repaired_layer": "tensor like 0, tensor like 0"})
def test_first_layer_and_kinds(student, rng):
    """The same for the first layer: the own stack begins one row earlier, and nothing is added to it, also
    where both have equally many channels. Rows by themselves, any memory layout, float32, large numbers."""
    for B, C, c, n, p, q, k in (
        (2, 3, 2, 5, 3, 2, 2),
        (1, 1, 4, 4, 5, 3, 3),
        (3, 2, 2, 3, 1, 1, 1),
        (1, 2, 1, 1, 3, 2, 2),
        (2, 2, 1, 6, 3, 1, 4),
    ):
        case = layer_case(rng, B, C, c, n, p, q, k)
        check_layer(student, case, True)
    check_layer(student, [3_000 * v for v in case[:2]] + case[2:], True)
    for first in (True, False):
        v, h, *weights = (tensor(x) for x in layer_case(rng, 4, 2, 2, 4, 3, 2, 2))
        of = lambda v, h, *w: parts(student.repaired_layer(v, h, *(w or weights), first), 2)  # noqa: B023, E731
        rows_alone(of, v, h, **NEAR)
        strided(of, v, h, *weights, **NEAR)
        both_types(of, v, h, *weights, rel=1e-4, abs=1e-4)


# --- colours: rules, a table, and a law that is learned ---


def mask_by_hand(kind, k, G, c_in, c_out):
    mask = np.zeros((G * c_out, G * c_in, k, k), bool)
    half = k // 2
    for a, b, p, q in np.ndindex(mask.shape):
        own, other = a // c_out, b // c_in
        if (p, q) == (half, half):
            mask[a, b, p, q] = other < own or (kind == "B" and other == own)
        else:
            mask[a, b, p, q] = p < half or (p == half and q < half)
    return mask


@pytest.mark.exercise("colours", weight=1, returns={"colour_mask": "tensor bool"})
def test_masks_of_colours(student, rng):
    """Both kinds, for kernels of 1, 3, 5, one colour to four, groups of one channel and of several, as many
    in as out and not: what comes before is seen, at the centre by the order of colours."""
    check_masks(student)


def check_masks(student):
    for kind, k in itertools.product("AB", (1, 3, 5)):
        for G, c_in, c_out in ((1, 1, 1), (2, 1, 3), (3, 2, 1), (3, 2, 2), (4, 1, 2), (2, 3, 2)):
            got = booleans(student.colour_mask(kind, k, G, c_in, c_out), (G * c_out, G * c_in, k, k))
            assert (got == mask_by_hand(kind, k, G, c_in, c_out)).all()


CHAIN = """
def make(first, pull):
    import torch
    G, n, K = first.shape[0], first.shape[1], first.shape[3]
    order = [(g, i, j) for i in range(n) for j in range(n) for g in range(G)]
    def net(x):
        assert type(x) is torch.Tensor and x.dtype == torch.int64 and x.shape[1:] == (G, n, n)
        assert ((x >= 0) & (x < K)).all()
        net.calls += 1
        flat = x.permute(0, 2, 3, 1).reshape(len(x), -1)
        logits = first.permute(1, 2, 0, 3).reshape(-1, K).expand(len(x), -1, K).clone()
        for a in range(len(order)):
            for b in range(a):
                logits[:, a] += pull[a, b, flat[:, b]]
        return logits.reshape(len(x), n, n, G, K).permute(0, 3, 4, 1, 2)
    net.calls = 0
    return net
"""


class Chain:
    """A network in sub-pixel order, here and there: logits are sums of what each earlier number pulls."""

    def __init__(self, student, rng, G, n, K, dtype=torch.float64, steep=1.0, out=()):
        self.G, self.n, self.K, D = G, n, K, G * n * n
        self.first, self.pull = steep * rng.normal(size=(G, n, n, K)), steep * rng.normal(size=(D, D, K, K))
        self.first[..., list(out)] = -np.inf
        self.there = student.define(CHAIN)(tensor(self.first, dtype), tensor(self.pull, dtype))

    def log_levels(self, flat, a):
        """Of number a, from those before it, in order."""
        i, j, g = np.unravel_index(a, (self.n, self.n, self.G))
        logits = self.first[g, i, j] + sum((self.pull[a, b, flat[b]] for b in range(a)), np.zeros(self.K))
        return log_softmax(logits)

    def log_p(self, x):
        """Nats of each picture."""
        flat = x.transpose(0, 2, 3, 1).reshape(len(x), -1)
        return np.array([sum(self.log_levels(row, a)[row[a]] for a in range(len(row))) for row in flat])

    def draw(self, u):
        """Pictures by uniform numbers."""
        flat_u = u.transpose(0, 2, 3, 1).reshape(len(u), -1)
        flat = np.zeros(flat_u.shape, int)
        for row, own in zip(flat, flat_u, strict=True):
            for a in range(len(row)):
                row[a] = (np.exp(self.log_levels(row, a)).cumsum()[:-1] <= own[a]).sum()
        return self.shaped(flat)

    def shaped(self, flat):
        """Numbers in their order, as pictures."""
        return flat.reshape(len(flat), self.n, self.n, self.G).transpose(0, 3, 1, 2)

    def near_edges(self, rng, B):
        """Uniform numbers close to an edge of a level's interval, and the pictures: (B, G, n, n) both."""
        u = np.zeros((B, self.G * self.n**2))
        flat = u.astype(int)
        for row, own in zip(flat, u, strict=True):
            for a in range(len(row)):
                p = np.exp(self.log_levels(row, a))
                row[a] = k = rng.choice(np.flatnonzero(p > 1e-6))
                below = p[:k].sum()
                own[a] = below + rng.choice([3e-9, p[k] - 3e-9])
        return self.shaped(u), self.shaped(flat)


SIZES = ((3, 2, 2, 3), (1, 3, 2, 2), (4, 1, 3, 4), (2, 2, 1, 5))  # B, G, n, K


GIVEN = """
def given(log_p, logits, x):
    return log_p(lambda pictures: logits, x)
"""


def drawn(student, net, u):
    return whole_numbers(student.colour_draw(net.there, tensor(u)), u.shape, exact=True)


def check_nats(student, net, x, dtype=torch.float64, near=NEAR):
    got = from_tensor(student.colour_log_p(net.there, whole(x)), (len(x),), dtype)
    assert got == pytest.approx(net.log_p(x), **near)


def check_nats_and_draws(student, rng):
    for B, G, n, K in SIZES:
        net = Chain(student, rng, G, n, K)
        x, u = rng.integers(K, size=(B, G, n, n)), rng.random((B, G, n, n))
        check_nats(student, net, x)
        before = number(student.value(net.there.calls))
        assert (drawn(student, net, u) == net.draw(u)).all()
        assert number(student.value(net.there.calls)) == before + G * n * n
    x = rng.integers(3, size=(4, 2, 2, 2))
    check_nats(
        student, Chain(student, rng, 2, 2, 3, torch.float32), x, torch.float32, {"rel": 1e-4, "abs": 1e-4}
    )
    steep, ruled = Chain(student, rng, 2, 2, 3, steep=1e5), Chain(student, rng, 2, 3, 7, out=(0, 2))
    check_nats(student, steep, x)
    u = rng.random((4, 2, 3, 3))
    assert (drawn(student, steep, u[:, :, :2, :2]) == steep.draw(u[:, :, :2, :2])).all()
    u[:, :, 1:, 0], u[:, :, 1:, 1:] = 0.0, 1 - 2.0**-53  # P(0) is 0, too
    pictures = ruled.draw(u)
    assert (drawn(student, ruled, u) == pictures).all()
    check_nats(student, ruled, pictures)
    sharp = Chain(student, rng, 2, 2, 4, steep=4.0)
    u, wanted = sharp.near_edges(rng, 6)
    assert (drawn(student, sharp, u) == wanted).all()
    logits = tensor(rng.normal(size=(4, 2, 3, 2, 2)))
    gradient_is_slope(student.define(GIVEN), 1, student.colour_log_p, logits, whole(x), rng=rng, rel=1e-6)


@pytest.mark.exercise("colours", weight=1)
def test_nats_and_draws(student, rng):
    """The nats are the sum over all colours and pixels of the log-probability of what is there; the sampler
    draws by the given numbers, pixel by pixel and colour by colour, one call of the net for each: also by 0,
    by the largest number below 1, and by numbers close to an edge. One colour and several, two levels and
    more, one picture and several; rows by themselves, any memory layout, float32; a gradient passes. Nothing
    overflows, and a level that is ruled out is never drawn and spoils nothing."""
    check_nats_and_draws(student, rng)
    net, x = Chain(student, rng, 2, 2, 3), whole(rng.integers(3, size=(4, 2, 2, 2)))
    log_p = lambda x: student.colour_log_p(net.there, x)  # noqa: E731
    draws = lambda u: student.colour_draw(net.there, u)  # noqa: E731
    u = tensor(rng.random((4, 2, 2, 2)))
    for relation in (rows_alone, strided):
        relation(log_p, x, **NEAR)
        relation(draws, u, rel=0.0)


LEARN = """
def learn(mask, log_p, draw, pictures, law, u):
    import torch
    from torch.nn import functional as F
    G, n, K, c = 2, 2, 2, 8
    masks = [mask("A", 3, G, 1, c), mask("B", 3, G, c, c), mask("B", 1, G, c, K)]
    start = lambda m: torch.randn(m.shape).double() / m[0].sum().clamp(min=4) ** 0.5
    weights = [start(m).requires_grad_() for m in masks]
    bias = torch.zeros(1, G * K, n, n, dtype=torch.float64, requires_grad=True)
    enter = torch.zeros(1, G * c, n, n, dtype=torch.float64, requires_grad=True)
    def net(x):
        h = F.conv2d(2.0 * x.double() - 1, weights[0] * masks[0], padding=1) + enter
        h = h.tanh() + F.conv2d(h.tanh(), weights[1] * masks[1], padding=1).tanh()
        out = F.conv2d(h, weights[2] * masks[2]) + bias
        return out.reshape(len(x), G, K, n, n)
    optimizer = torch.optim.Adam([*weights, bias, enter], 0.03)
    for n_update in range(160):
        loss = -(law * log_p(net, pictures)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return log_p(net, pictures), draw(net, u)
"""


@pytest.mark.exercise("colours", weight=1, costly=True)
def test_learns_a_known_law(student, rng):
    """A network of your masks, trained with your nats on all pictures weighted by a law, comes near to its
    entropy, its probabilities sum to 1, and its draws have its means. In the law, colours of a pixel depend
    on each other. Masks, nats and draws are still those of the rules."""
    pictures = np.array(list(itertools.product(range(2), repeat=8))).reshape(-1, 2, 2, 2)
    red, green = pictures[:, 0], pictures[:, 1]
    same = (red == green).reshape(-1, 4).sum(1)
    rows, across = (red[:, 0] == red[:, 1]).sum(1), (green[:, :, 0] != green[:, :, 1]).sum(1)
    score = rng.uniform(0.8, 1.4) * same + rng.uniform(0.4, 0.8) * rows + rng.uniform(0.3, 0.6) * across
    law = np.exp(score + rng.uniform(-0.5, 0.5) * red.reshape(-1, 4).sum(1))
    law /= law.sum()
    u = rng.random((2_000, 2, 2, 2))
    answers = student.colour_mask, student.colour_log_p, student.colour_draw
    result = train(
        student,
        LEARN,
        *answers,
        whole(pictures),
        tensor(law),
        tensor(u),
        seed=int(rng.integers(2**31)),
        seconds=5.0,
    )
    found, drawn = parts(result, 2)
    log_q = array(found, (256,))
    assert logsumexp(log_q) == pytest.approx(0, abs=1e-6)
    kl = (law * (np.log(law) - log_q)).sum()
    learned((law * np.log(256 * law)).sum(), kl, 0.05)
    means = whole_numbers(drawn, u.shape).mean(0)
    wanted = (np.exp(log_q)[:, None, None, None] * pictures).sum(0)
    assert np.abs(means - wanted).max() < 0.07
    check_masks(student)
    check_nats_and_draws(student, rng)
