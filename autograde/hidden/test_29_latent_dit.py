"""Hidden tests of lesson 29_latent_dit. A docstring is what the learner reads when its test fails."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from autograde.checks import array, gradient, number, parts
from autograde.relations import any_order, any_unit, both_types, gradient_is_slope, rows_alone, strided
from autograde.training import learned, train

NEAR = {"rel": 1e-9, "abs": 1e-9}
SHORT = {"rel": 1e-4, "abs": 1e-4}  # of float32


def tensor(value, dtype=torch.float64):
    return torch.tensor(np.asarray(value), dtype=dtype)


# --- patches: the oracle is a loop over patches ---

SIZES = (
    (4, 6, 2, 3),
    (4, 6, 3, 2),
    (5, 7, 2, 3),
    (3, 3, 5, 4),
    (1, 9, 1, 2),
    (7, 1, 3, 1),
    (4, 4, 4, 4),
    (2, 5, 1, 1),
    (6, 4, 9, 2),
)


def cut(x, ph, pw):
    B, C, H, W = x.shape
    rows, shares = [], []
    for top in range(0, H, ph):
        for left in range(0, W, pw):
            patch = np.zeros((B, C, ph, pw))
            part = x[:, :, top : top + ph, left : left + pw]
            patch[:, :, : part.shape[2], : part.shape[3]] = part
            rows.append(patch.reshape(B, -1))
            shares.append(part.shape[2] * part.shape[3] / (ph * pw))
    return np.stack(rows, 1), np.array(shares)


@pytest.mark.exercise("patches", weight=3, returns={"to_patches": "like 0, like 0", "from_patches": "like 0"})
def test_cuts(student, rng):
    """Tokens and shares are those of the pictures cut by hand, and tokens put together give the picture,
    whatever stands in the filling: patches that divide the sides and that do not, oblong ones, larger than
    the picture, of one pixel; one picture or several, one channel or several; black pixels are no filling."""
    for H, W, ph, pw in SIZES:
        for B, C in ((1, 1), (3, 2)):
            x = rng.normal(size=(B, C, H, W))
            x[:, :, ::2, ::2] = 0
            tokens, shares = cut(x, ph, pw)
            found = parts(student.to_patches(tensor(x), ph, pw), 2)
            assert array(found[0], tokens.shape) == pytest.approx(tokens, **NEAR)
            assert array(found[1], shares.shape) == pytest.approx(shares, **NEAR)
            filled = np.pad(x, ((0, 0), (0, 0), (0, -H % ph), (0, -W % pw)), constant_values=np.nan)
            found = student.from_patches(tensor(cut(filled, ph, pw)[0]), ph, pw, C, H, W)
            assert array(found, x.shape) == pytest.approx(x, **NEAR)


FIRST = """
def first(to_patches, x, ph, pw):
    return to_patches(x, ph, pw)[0]
"""


@pytest.mark.exercise("patches", weight=1)
def test_patches_rows(student, rng):
    """Pictures together give what each gives alone, in any memory layout; float32 stays float32; a gradient
    flows both ways."""
    x = tensor(rng.normal(size=(3, 2, 5, 4)))
    tokens = tensor(cut(array(x, (3, 2, 5, 4)), 2, 3)[0])
    first = lambda v: parts(student.to_patches(v, 2, 3), 2)[0]  # noqa: E731
    back = lambda h: student.from_patches(h, 2, 3, 2, 5, 4)  # noqa: E731
    for call, given in ((first, x), (back, tokens)):
        rows_alone(call, given, **NEAR)
        strided(call, given, **NEAR)
        both_types(call, given, **SHORT)
    both_types(lambda v: parts(student.to_patches(v, 2, 3), 2)[1], x, **SHORT)
    gradient_is_slope(student.define(FIRST), 1, student.to_patches, x, 2, 3, rng=rng, rel=1e-6)
    gradient_is_slope(student.from_patches, 0, tokens, 2, 3, 2, 5, 4, rng=rng, rel=1e-6)


# --- fold: the oracle is the unfolded layer ---


def layer(rng, m, d, size=1.0):
    names = ((m, d), (m,), (d,), (d,), (m,))
    return [size * rng.normal(size=shape) for shape in names]


@pytest.mark.exercise("fold", weight=1, returns={"folded": "like 0, like 0"})
def test_folds(student, rng):
    """The folded layer gives what modulation, layer and gate give, for wide and tall layers, one input or
    output, gates and scales of 0, below 0 and large."""
    for m, d in ((3, 5), (6, 2), (1, 4), (4, 1), (5, 5)):
        for kind in ("usual", "large", "closed", "off"):
            W, b, shift, scale, gate = layer(rng, m, d, 50.0 if kind == "large" else 1.0)
            gate = 0 * gate if kind == "closed" else gate
            scale = 0 * scale - 1 if kind == "off" else scale
            n = rng.normal(size=(4, d))
            wanted = gate * (((1 + scale) * n + shift) @ W.T + b)
            found = parts(student.folded(*map(tensor, (W, b, shift, scale, gate))), 2)
            W_new, b_new = array(found[0], (m, d)), array(found[1], (m,))
            assert n @ W_new.T + b_new == pytest.approx(
                wanted, rel=1e-9, abs=1e-9 * np.abs(wanted).max() + 1e-12
            )


@pytest.mark.exercise("fold", weight=1)
def test_folds_kinds(student, rng):
    """Outputs and inputs in another order, weights in another unit, float32, any memory layout."""
    m, d = 4, 5
    W, b, shift, scale, gate = map(tensor, layer(rng, m, d))
    call = lambda *weights: parts(student.folded(*weights), 2)  # noqa: E731
    any_order(lambda i: call(W[i], b[i], shift, scale, gate[i]), m, rng, (0,), **NEAR)
    any_order(lambda i: call(W[:, i], b, shift[i], scale[i], gate)[0], d, rng, (1,), **NEAR)
    any_unit(lambda c: call(c * W, c * b, shift, scale, gate), 1, **NEAR)
    both_types(call, W, b, shift, scale, gate, **SHORT)
    strided(call, W, b, shift, scale, gate, **NEAR)


# --- weighted-words: the oracle repeats words ---


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attended(q, k, v, n):
    """Attention, whole numbers n by repetition; zeros where no word is left."""
    out = np.zeros((*q.shape[:3], v.shape[3]))
    for b in range(len(q)):
        i = np.repeat(np.arange(n.shape[1]), n[b].astype(int))
        for h in range(q.shape[1] if len(i) else 0):
            out[b, h] = softmax(q[b, h] @ k[b, h][i].T / math.sqrt(q.shape[3])) @ v[b, h][i]
    return out


def words(rng, B=3, heads=2, N=4, M=5, dh=6, dv=3, size=1.0):
    q, k = size * rng.normal(size=(B, heads, N, dh)), size * rng.normal(size=(B, heads, M, dh))
    n = rng.integers(0, 4, size=(B, M)).astype(float)
    n[np.arange(B), rng.integers(M, size=B)] = 2.0
    if B > 1:
        n[-1] = 0  # a picture without words
    return q, k, rng.normal(size=(B, heads, M, dv)), n


@pytest.mark.exercise("weighted-words", weight=2, returns={"weighted_attention": "like 0"})
def test_words_repeat(student, rng):
    """A word that counts n times weighs as n copies of it: several shapes, one head, one word, one picture
    token, logits of ones and of hundreds. Only weights relative to each other matter; no word gives 0."""
    for shape in ({}, {"B": 1, "M": 1}, {"heads": 1, "N": 1}, {"dh": 1, "dv": 1}, {"M": 9, "dv": 7}):
        for size in (1.0, 25.0):
            q, k, v, n = words(rng, size=size, **shape)
            for factor in (1.0, 0.37):
                found = student.weighted_attention(*map(tensor, (q, k, v, factor * n)))
                assert array(found, (*q.shape[:3], v.shape[3])) == pytest.approx(attended(q, k, v, n), **NEAR)


@pytest.mark.exercise("weighted-words", weight=2)
def test_words_fractions(student, rng):
    """Fractions: only the words' weights relative to each other matter, and they are factors of the softmax;
    tiny and huge weights are weights. Order does not matter."""
    q, k, v, n = words(rng)
    call = lambda weights: student.weighted_attention(*map(tensor, (q, k, v, weights)))  # noqa: E731
    shape = (*q.shape[:3], v.shape[3])
    for factor in (0.37, 1 / 3, 1e-12, 1e12):
        assert array(call(factor * n), shape) == pytest.approx(attended(q, k, v, n), **NEAR)
    for drawn_n in (rng.uniform(0.05, 3, size=n.shape), 10.0 ** rng.uniform(-9, 3, size=n.shape)):
        n = drawn_n
        share = n[:, None, None] * np.exp(np.einsum("bhnd,bhmd->bhnm", q, k) / math.sqrt(q.shape[3]))
        wanted = share / share.sum(-1, keepdims=True) @ v
        assert array(call(n), shape) == pytest.approx(wanted, **NEAR)
    q, k, v, n = words(rng, B=1, heads=1, N=1, size=6.0)
    n = np.exp(-(q @ np.swapaxes(k, 2, 3))[:, 0, 0] / math.sqrt(q.shape[3]))  # makes up for the logits
    found = student.weighted_attention(*map(tensor, (q, k, v, n)))
    assert array(found, (1, 1, 1, v.shape[3])) == pytest.approx(v.mean(2, keepdims=True), **NEAR)
    q, k, v, n = words(rng)
    any_unit(lambda c: call(c * n), 0, (1e-100, 1e100), **NEAR)
    any_unit(lambda c: student.weighted_attention(*map(tensor, (q, k, c * v, n))), 1, **NEAR)
    any_order(
        lambda i: student.weighted_attention(*map(tensor, (q, k[:, :, i], v[:, :, i], n[:, i]))),
        5,
        rng,
        (),
        **NEAR,
    )


@pytest.mark.exercise("weighted-words", weight=3)
def test_words_absent(student, rng):
    """Absent words may hold anything, inf and NaN, and have no part, also where their logit would be the
    largest; a picture without words gets zeros; gradients by the queries stay finite in both, also where
    logits are hundreds."""
    for junk, size in ((np.nan, 1.0), (np.inf, 25.0), (-np.inf, 1.0), (1e6, 25.0)):
        q, k, v, n = words(rng, size=size)
        n[0], n[1, 2] = 0, 0
        wanted = attended(q, k, v, n)
        gone = n == 0
        k, v = (np.where(gone[:, None, :, None], junk, a) for a in (k, v))
        found = student.weighted_attention(*map(tensor, (q, k, v, n)))
        assert array(found, wanted.shape) == pytest.approx(wanted, **NEAR)
        assert (array(found, wanted.shape)[0] == 0).all()
        slope = gradient(student, student.weighted_attention, 0, *map(tensor, (q, k, v, n)))
        assert np.isfinite(array(slope, q.shape)).all()
    q, k, v, n = words(rng, N=1)
    n[0], n[:, 0] = 2, 0
    k[:, :, 1:] = -900 * q / np.square(q).sum(3, keepdims=True) * math.sqrt(q.shape[3])  # logits of -900
    found = student.weighted_attention(*map(tensor, (q, k, v, n)))
    assert array(found, (*q.shape[:3], v.shape[3])) == pytest.approx(attended(q, k, v, n), **NEAR)
    q, k, v, n = words(rng)
    n[:, 0] = 0
    k[:, :, 0] = 900 * q[:, :, 0]
    found = student.weighted_attention(*map(tensor, (q, k, v, n)))
    assert array(found, (*q.shape[:3], v.shape[3])) == pytest.approx(attended(q, k, v, n), **NEAR)


@pytest.mark.exercise("weighted-words", weight=1)
def test_words_rows(student, rng):
    """Pictures together give what each gives alone, in any memory layout; float32 gives what float64 gives;
    the gradient is the slope."""
    q, k, v, n = map(tensor, words(rng))
    rows_alone(student.weighted_attention, q, k, v, n, **NEAR)
    strided(student.weighted_attention, q, k, v, n, **NEAR)
    both_types(student.weighted_attention, q, k, v, n, **SHORT)
    for wrt in (0, 1, 2):
        gradient_is_slope(student.weighted_attention, wrt, q, k, v, n, rng=rng, rel=1e-6, abs=1e-8)


# --- other-unit: the oracle is the closed form for Gaussian data, and a point ---

UNIT = """
def make(mean, variance):
    def u(z, t):
        assert z.shape == (len(z), len(mean)) and t.shape == (len(z),), "z (B, D) and times (B,)"
        t = t[:, None]
        v = (1 - t) ** 2 * variance + t**2
        return -mean + (t - (1 - t) * variance) / v * (z - (1 - t) * mean)
    return u
"""


def gaussian(y, t, mean, variance):
    """E[eps - y_0 | y_t = y] for y_0 ~ N(mean, variance)."""
    t = t[:, None]
    v = (1 - t) ** 2 * variance + t**2
    return -mean + (t - (1 - t) * variance) / v * (y - (1 - t) * mean)


@pytest.mark.exercise("other-unit", weight=3, returns={"raw_velocity": "like 1"})
def test_unit_gaussian(student, rng):
    """For normal data, of another deviation in every number, it is the closed form of the raw data: small and
    large s, any m, all times from noise to data, also a hair from their ends."""
    for s in (1.0, 0.3, 5.5, 1e-3, 1e3):
        for B, D in ((6, 3), (1, 1)):
            mean, variance, m = rng.normal(size=D), rng.uniform(0.2, 2, size=D), s * rng.normal(size=D)
            t = (
                np.concatenate([rng.uniform(0.02, 0.98, size=B - 4), [0.0, 1e-9, 1 - 1e-9, 1.0]])
                if B > 4
                else rng.uniform(0.1, 0.9, 1)
            )
            y = s * rng.normal(size=(B, D)) + rng.normal(size=(B, D))
            u = student.define(UNIT)(tensor(mean), tensor(variance))
            found = array(student.raw_velocity(u, tensor(y), tensor(t), s, tensor(m)), (B, D))
            wanted = gaussian(y, t, s * mean + m, s**2 * variance)
            assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9 * max(1.0, s))


MIXED = """
def make(a, rows):
    asked = []
    def u(z, t):
        assert len(z) == rows and t.shape == (rows,) and not asked, "all rows at once, and once"
        asked.append(1)
        return (z @ a) * t[:, None] + (z * z) * 0.1 - t[:, None] ** 2
    return u
"""
SAME = """
def u(z, t):
    return z
"""


@pytest.mark.exercise("other-unit", weight=2)
def test_unit_any(student, rng):
    """For any u, also one that mixes the numbers, u is asked at the right point and time, and what it says is
    turned into raw units; s = 1 and m = 0 change nothing. It is asked once, for all rows; what it gives,
    which may be the very z that it was given, is not written over."""
    a = rng.normal(size=(3, 3))
    make, same = student.define(MIXED), student.define(SAME)
    y, t = rng.normal(size=(5, 3)), rng.uniform(0.05, 0.95, size=5)
    for s, m in (
        (1.0, np.zeros(3)),
        (1.001, np.zeros(3)),
        (2.5, rng.normal(size=3)),
        (0.2, rng.normal(size=3)),
    ):
        odds = t / (1 - t) / s
        time = (odds / (1 + odds))[:, None]
        z = (y - (1 - t[:, None]) * m) / (s * (1 - t[:, None]) + t[:, None])
        v = (z @ a) * time + 0.1 * z * z - time**2
        wanted = (z + (1 - time) * v) - s * (z - time * v) - m
        found = student.raw_velocity(make(tensor(a), 5), tensor(y), tensor(t), s, tensor(m))
        assert array(found, (5, 3)) == pytest.approx(wanted, **NEAR)
        wanted = z + (1 - time) * z - s * (z - time * z) - m
        found = student.raw_velocity(same, tensor(y), tensor(t), s, tensor(m))
        assert array(found, (5, 3)) == pytest.approx(wanted, **NEAR)


@pytest.mark.exercise("other-unit", weight=1)
def test_unit_rows(student, rng):
    """Rows together give what each gives alone, each with its own time, in any memory layout; float32 gives
    what float64 gives. s may be a whole number."""
    mean, variance, m = (
        tensor(rng.normal(size=3)),
        tensor(rng.uniform(0.5, 2, size=3)),
        tensor(rng.normal(size=3)),
    )
    y, t = tensor(rng.normal(size=(4, 3))), tensor(rng.uniform(0.1, 0.9, size=4))
    make = student.define(UNIT)
    u = make(mean, variance)
    rows_alone(lambda y, t: student.raw_velocity(u, y, t, 2, m), y, t, **NEAR)
    strided(lambda y, t: student.raw_velocity(u, y, t, 2.0, m), y, t, **NEAR)
    both_types(
        lambda y, t, m, a, b: student.raw_velocity(make(a, b), y, t, 2.0, m), y, t, m, mean, variance, **SHORT
    )


# --- repair: the oracle is Euler in NumPy, for a linear net ---

LINEAR = """
def make(a, b):
    def net(z, t, condition):
        assert t.shape == (len(z),) == condition.shape[:1]
        told = (condition * condition.new_tensor(range(1, 1 + condition.shape[1]))).sum(1)
        t, told = (v.reshape(-1, *[1] * (z.ndim - 1)) for v in (t, told))
        return a * z + b * told + t * (1 + 0.5 * z)
    return net
"""
DECODER = """
def make():
    def decoder(y):
        return y * y + y
    return decoder
"""


def walked(a, b, eps, c, w, steps, s, m):
    z = eps
    told = (c * np.arange(1, 1 + c.shape[1])).sum(1).reshape(-1, *[1] * (z.ndim - 1))
    for t in 1 - np.arange(steps) / steps:
        rest = a * z + t * (1 + 0.5 * z)
        z = z - (rest + w * b * told) / steps
    y = s * z + m
    return y * y + y


@pytest.mark.exercise("repair", weight=2, returns={"repaired": "like 2"})
def test_repaired(student, rng):
    """The pictures are those of Euler's steps from t = 1 with guidance, decoded from raw latents: one step
    and many, w of 0, 1, below and above, any s and m, one picture or several, latents of two axes and of
    four, conditions of another shape, numbers of ones and of thousands."""
    decoder = student.define(DECODER)()
    for shape, E in (((4, 3), 3), ((1, 1), 1), ((2, 3, 2, 4), 5)):
        for w in (0.0, 1.0, 0.4, 3.5):
            for steps in (1, 2, 7):
                a, b, s, m = rng.uniform(-1, 1), rng.normal(), rng.uniform(0.2, 5), rng.normal()
                size = 1e3 if steps == 2 else 1.0
                eps, c = size * rng.normal(size=shape), size * rng.normal(size=(shape[0], E))
                net = student.define(LINEAR)(a, b)
                found = student.repaired(net, decoder, tensor(eps), tensor(c), w, steps, s, m)
                assert array(found, shape) == pytest.approx(walked(a, b, eps, c, w, steps, s, m), **NEAR)


@pytest.mark.exercise("repair", weight=1)
def test_repaired_rows(student, rng):
    """Pictures together give what each gives alone, and float32 gives what float64 gives."""
    net, decoder = student.define(LINEAR)(0.3, -0.8), student.define(DECODER)()
    eps, c = tensor(rng.normal(size=(4, 3))), tensor(rng.normal(size=(4, 3)))
    call = lambda e, c: student.repaired(net, decoder, e, c, 2.0, 5, 1.7, 0.4)  # noqa: E731
    rows_alone(call, eps, c, **NEAR)
    both_types(call, eps, c, **SHORT)
    strided(call, eps, c, **NEAR)


# --- prior: normal embeddings given a caption, whose best guess is known ---

GUESS = """
def make(A, variance):
    import torch
    def f(e, t, y):
        assert e.ndim == 2 and t.shape == (len(e),) and len(y) == len(e)
        t, mean = t[:, None], y @ A.T
        v = (1 - t) ** 2 * variance + t**2
        return mean + (1 - t) * variance / v * (e - (1 - t) * mean)
    return f
"""


BENT = """
def make(A):
    def f(e, t, y):
        return 0.3 * e + t.cos()[:, None] * (y @ A.T) - 1
    return f
"""


def bent(A, e, t, y):
    """No best guess, of which another step at t = 0 would change nothing."""
    return 0.3 * e + np.cos(t)[:, None] * (y @ A.T) - 1


def guess(A, variance, e, t, y):
    t, mean = t[:, None], y @ A.T
    v = (1 - t) ** 2 * variance + t**2
    return mean + (1 - t) * variance / v * (e - (1 - t) * mean)


def case(rng, B=6, D=3, C=2):
    e, eps, y = rng.normal(size=(B, D)), rng.normal(size=(B, D)), rng.normal(size=(B, C))
    return rng.normal(size=(D, C)), rng.uniform(0.2, 2), e, eps, y, rng.uniform(0.05, 0.95, size=B)


def drawn(guess, y, eps, K, w):
    e = eps
    for i in range(K):
        t = np.full(len(e), 1 - i / K)
        plain = guess(e, t, 0 * y)
        clean = plain + w * (guess(e, t, y) - plain)
        noise = (e - (1 - t[:, None]) * clean) / t[:, None]
        e = e - (noise - clean) / K
    return e


def best_ones(e, y):
    return e[(e * y).sum(2).argmax(0), np.arange(len(y))]


def across(y):
    """Vectors at right angles to y (B, D), D > 1, to the last digit for whole numbers."""
    return np.concatenate([y[:, 1:2], -y[:, :1], 0 * y[:, 2:]], 1)


@pytest.mark.exercise(
    "prior",
    weight=5,
    returns={"prior_loss": "tensor like 1 ()", "prior_draw": "like 2", "prior_choice": "like 0"},
)
def test_prior_formulas(student, rng):
    """Loss, draws and choice are those of the formulas. The loss: no, some and all captions dropped, times 0
    and 1, a batch of one, one number. Draws: one step and many, guidance of 0, 1 and above, the best net and
    another. The choice: one candidate or many, products that are all below 0, equal ones, of which the first
    counts, and nearly equal ones."""
    for B, D, C in ((6, 3, 2), (1, 1, 1), (5, 1, 4), (1, 4, 2)):
        A, variance, e, eps, y, t = case(rng, B, D, C)
        f = student.define(GUESS)(tensor(A), variance)
        nets = (f, partial(guess, A, variance)), (student.define(BENT)(tensor(A)), partial(bent, A))
        for dropped in (np.zeros(B, bool), np.ones(B, bool), rng.random(B) < 0.5):
            t[0] = rng.choice([0.0, 1.0])
            found = student.prior_loss(f, *map(tensor, (e, y, t, eps)), torch.tensor(dropped))
            e_t = (1 - t[:, None]) * e + t[:, None] * eps
            wanted = ((guess(A, variance, e_t, t, y * ~dropped[:, None]) - e) ** 2).sum(1).mean()
            assert number(found) == pytest.approx(wanted, rel=1e-9)
        for K in (1, 2, 9):
            for w in (0.0, 1.0, 2.5):
                for f, best in nets:
                    found = student.prior_draw(f, tensor(y), tensor(eps), K, w)
                    assert array(found, (B, D)) == pytest.approx(drawn(best, y, eps, K, w), **NEAR)
        for n in (1, 4):
            candidates, y = rng.normal(size=(n, B, D)), rng.normal(size=(B, D))
            below = np.where((candidates * y).sum(2, keepdims=True) > 0, -candidates, candidates)
            for given in (candidates, below):
                found = array(student.prior_choice(tensor(given), tensor(y)), (B, D))
                assert found == pytest.approx(best_ones(given, y), **NEAR)
    y = np.round(4 * rng.normal(size=(5, 3)))
    tied = y - across(y) * rng.permutation(7)[:4, None, None]  # all have the product |y|^2
    assert array(student.prior_choice(tensor(tied), tensor(y)), (5, 3)) == pytest.approx(tied[0], **NEAR)
    y = 1 + rng.random((5, 3))
    ahead = np.argsort(rng.random((4, 5)), 0)[:, :, None]  # the product: |y|^2, and as many times 1e-9
    near = y * (1 + 1e-9 * ahead) - across(y) * rng.permutation(7)[:4, None, None]
    found = array(student.prior_choice(tensor(near), tensor(y)), (5, 3))
    assert found == pytest.approx(best_ones(near, y), **NEAR)


@pytest.mark.exercise("prior", weight=1)
def test_prior_rows(student, rng):
    """Captions together give what each gives alone, in any memory layout and any unit; float32 gives what
    float64 gives; the loss's gradient is its slope."""
    A, variance, e, eps, y, t = case(rng, 4, 3, 2)
    make, dropped = student.define(GUESS), torch.tensor([False, True, False, False])
    f, y, eps, e, t = make(tensor(A), variance), *map(tensor, (y, eps, e, t))
    rows_alone(lambda y, eps: student.prior_draw(f, y, eps, 5, 1.5), y, eps, **NEAR)
    any_unit(lambda c: student.prior_draw(f, c * y, c * eps, 5, 1.5), 1, **NEAR)
    any_unit(lambda c: student.prior_loss(f, c * e, c * y, t, c * eps, dropped), 2, **NEAR)
    strided(lambda y, eps: student.prior_draw(f, y, eps, 5, 1.5), y, eps, **NEAR)
    both_types(
        lambda a, y, eps: student.prior_draw(make(a, variance), y, eps, 5, 1.5), tensor(A), y, eps, **SHORT
    )
    both_types(
        lambda a, e, y, t, eps: student.prior_loss(make(a, variance), e, y, t, eps, dropped),
        *(tensor(A), e, y, t, eps),
        **SHORT,
    )
    strided(lambda e, y, eps: student.prior_loss(f, e, y, t, eps, dropped), e, y, eps, **NEAR)
    gradient_is_slope(student.prior_loss, 2, f, e, y, t, eps, dropped, rng=rng, rel=1e-6)
    candidates, text = tensor(rng.normal(size=(5, 4, 3))), tensor(rng.normal(size=(4, 3)))
    strided(student.prior_choice, candidates, text, **NEAR)
    both_types(student.prior_choice, candidates, text, **SHORT)
    any_order(lambda i: student.prior_choice(candidates[:, i], text[i]), 4, rng, (0,), **NEAR)
    below = torch.where((candidates * text).sum(2, keepdim=True) > 0, -candidates, candidates)
    any_unit(lambda c: student.prior_choice(c * below, text), 1, **NEAR)


GRADIENT = """
def keeps(draw, make, A, variance, y, eps):
    A, y, eps = (v.clone().requires_grad_(True) for v in (A, y, eps))
    return bool(draw(make(A, variance), y, eps, 3, 1.5).requires_grad)
"""


@pytest.mark.exercise("prior", weight=1)
def test_prior_moments(student, rng):
    """Draws of many steps have the mean and the deviation of the embeddings of their caption; no gradient is
    kept, neither by captions and noise nor by the net."""
    A, variance = rng.normal(size=(2, 2)), rng.uniform(0.3, 1.5)
    y = np.repeat(rng.normal(size=(1, 2)), 4_000, 0)
    make = student.define(GUESS)
    f = make(tensor(A), variance)
    found = array(student.prior_draw(f, tensor(y), tensor(rng.normal(size=(4_000, 2))), 200, 1.0), (4_000, 2))
    deviation = math.sqrt(variance)
    assert found.mean(0) == pytest.approx(y[0] @ A.T, abs=6 * deviation / math.sqrt(4_000) + 0.02)
    assert found.std(0) == pytest.approx(deviation, rel=0.1)
    few = tensor(y[:3])
    assert student.define(GRADIENT)(student.prior_draw, make, tensor(A), variance, few, few) is False


PROGRAM = """
def program(loss, draw, A, deviation, test_y, test_eps):
    import torch
    D, C = A.shape
    # The best guess for a time is linear in e_t and y: a table of matrices for 8 bins of time.
    W = torch.zeros(8, D, D + C, dtype=A.dtype, requires_grad=True)
    def f(e, t, y):
        bins = (t * 8).long().clamp(max=7)
        return (W[bins] @ torch.cat([e, y], 1)[:, :, None])[:, :, 0]
    adam = torch.optim.Adam([W], 0.05)
    cycle = torch.optim.lr_scheduler.LambdaLR(adam, lambda k: 1 - k / 150)
    for _ in range(150):
        y = torch.randn(256, C, dtype=A.dtype)
        e = y @ A.T + deviation * torch.randn(256, D, dtype=A.dtype)
        t, eps = torch.rand(256, dtype=A.dtype), torch.randn(256, D, dtype=A.dtype)
        value = loss(f, e, y, t, eps, torch.zeros(256, dtype=torch.bool))
        adam.zero_grad()
        value.backward()
        adam.step()
        cycle.step()
    found = draw(f, test_y, test_eps, 16, 1.0)
    return (found - test_y @ A.T).mean(0)
"""


@pytest.mark.exercise("prior", weight=2, costly=True)
def test_prior_learns(student, rng):
    """A small net trained with the loss draws embeddings about the right mean for their caption."""
    A, y = rng.normal(size=(2, 2)), rng.normal(size=(1, 2))
    y = 2 * y / np.linalg.norm(y)
    A = A / np.linalg.norm(A @ y[0]) * 2
    rest = tensor(np.repeat(y, 1_000, 0)), tensor(rng.normal(size=(1_000, 2)))
    seed = int(rng.integers(2**31))
    off = array(
        train(
            student,
            PROGRAM,
            student.prior_loss,
            student.prior_draw,
            tensor(A),
            0.5,
            *rest,
            seed=seed,
            seconds=4.0,
        ),
        (2,),
    )
    learned(float(np.linalg.norm(A @ y[0])), float(np.linalg.norm(off)), 0.4)
