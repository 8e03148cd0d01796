"""Hidden tests of lesson 25_vqvae. A docstring is what the learner reads when its test fails."""

import itertools
import math

import numpy as np
import pytest
import torch

from autograde.checks import array, from_tensor, gradient, listed, number, parts, whole_numbers
from autograde.relations import any_unit, rows_alone, strided, within_memory
from autograde.training import learned, train


def tensor(value, dtype=torch.float64):
    return torch.tensor(np.asarray(value), dtype=dtype)


def whole(value):
    return tensor(value, torch.int64)


# --- message: the oracle builds a word for each code and adds up the lengths, one code at a time ---


def lengths(train, K, a):
    counts = [sum(1 for k in np.ravel(train) if k == code) for code in range(K)]
    with np.errstate(divide="ignore"):
        return -np.log2((np.array(counts) + a) / (len(np.ravel(train)) + a * K))


def check_message(student, train, test, K, a):
    bits, above = (number(v) for v in parts(student.message_bits(whole(train), whole(test), K, a), 2))
    assert bits == pytest.approx(lengths(train, K, a)[np.ravel(test)].mean(), rel=1e-5)
    own = lengths(test, K, 0)[np.ravel(test)].mean()
    assert above == pytest.approx(bits - own, rel=1e-4, abs=1e-5)
    return bits, above


@pytest.mark.exercise("message", weight=1)
@pytest.mark.parametrize(
    ("K", "shape", "a"), [(5, (40,), 1.0), (30, (6, 4, 4), 0.25), (2, (1,), 3.0), (3, (), 0.5)]
)
def test_lengths_add_up(student, rng, K, shape, a):
    """The cost is the mean length of the words of the test codes, with words made from the training
    codes, for any a, and codes that come as a list, as pictures of codes or alone, in any memory layout."""
    train, test = rng.integers(K, size=(5, 10)), rng.integers(K, size=shape)
    check_message(student, train, test, K, a)
    bits = lambda *codes: parts(student.message_bits(*codes, K, a), 2)  # noqa: E731
    strided(bits, whole(train), whole(test), rel=1e-5, abs=1e-5)


@pytest.mark.exercise("message", weight=1)
def test_missing_codes(student, rng):
    """Words made for this very message cost its entropy, to the digits of a short message of one code or two;
    words made for another cost more, never less. Codes that nobody uses change nothing when a is 0. A test
    code that training never showed then costs infinitely many bits, and finitely many else, however small a
    is."""
    for codes, entropy in (([2], 0), ([0, 3], 1)):
        assert check_message(student, codes, codes, 5, 0.0) == pytest.approx((entropy, 0), abs=1e-7)
    test = rng.choice(12, size=400, p=rng.dirichlet(np.ones(12)))
    _, above = check_message(student, np.repeat(test, 3), test, 40, 0.0)
    assert abs(above) < 1e-5
    train = np.concatenate([test, rng.integers(12, size=300), np.full(200, 3)])
    _, above = check_message(student, train, test, 12, 0.0)
    assert above > 0
    train, test = rng.integers(3, size=30), np.append(rng.integers(3, size=10), 4)
    both = parts(student.message_bits(whole(train), whole(test), 6, 0.0), 2)
    assert [number(bits, finite=False) for bits in both] == [math.inf, math.inf]
    for a in (0.01, 1e-60):
        check_message(student, train, test, 6, a)


# --- product: the oracle lists every combination ---


def combinations(books):
    return np.array([np.concatenate(choice) for choice in itertools.product(*books)])


def product(student, z, books, exact=False):
    k, q = parts(student.product_nearest(tensor(z), [tensor(b) for b in books]), 2)
    return whole_numbers(k, (len(z),), exact), array(q, z.shape)


@pytest.mark.exercise("product", weight=1, costly=True, returns={"product_nearest": "int64 (N,), (N, D)"})
@pytest.mark.parametrize("sizes", [((3, 2), (5, 1), (2, 3)), ((4, 2), (1, 1), (3, 2)), ((6, 1),)])
def test_nearest_of_all_combinations(student, rng, sizes):
    """The combination is the nearest of all, and its number its place in the list of all, for books of
    unequal sizes and widths, in any unit and memory layout, and for one vector. Books whose widths do not add
    up to that of the vectors are refused with ValueError, too few and too many."""
    books = [3 * rng.normal(size=size) * rng.uniform(0.2, 2, size=(size[0], 1)) for size in sizes]
    z = 2 * rng.normal(size=(20, sum(D for _, D in sizes)))
    every = combinations(books)
    wanted = ((z[:, None] - every) ** 2).sum(axis=2).argmin(axis=1)
    k, q = product(student, z, books)
    assert (k == wanted).all()
    assert q == pytest.approx(every[wanted], rel=1e-6)
    z, *books = map(tensor, (z, *books))
    answer = lambda z, *books: parts(student.product_nearest(z, list(books)), 2)  # noqa: E731
    strided(answer, z, *books, rel=1e-6)
    rows_alone(lambda z: answer(z, *books), z, rel=1e-6)
    any_unit(lambda c: answer(c * z, *(c * book for book in books)), (0, 1), rel=1e-6)
    for other in (z[:, 1:], torch.cat([z, z[:, :1]], dim=1)):
        student.raises(ValueError, student.product_nearest, other, books)


@pytest.mark.exercise("product", weight=1)
def test_too_many_to_list(student, rng):
    """Seven books of 450 codes make more combinations than memory holds; the digits of the number lead
    back to the codes that were put together."""
    books = [rng.normal(size=(450, 2)) for _ in range(7)]
    chosen = rng.integers(450, size=(6, 7))
    z = np.concatenate([book[chosen[:, m]] for m, book in enumerate(books)], axis=1)
    k, q = product(student, z + 1e-9 * rng.normal(size=z.shape), books, exact=True)
    assert q == pytest.approx(z, abs=1e-6)
    assert k.tolist() == [sum(int(d) * 450 ** (6 - m) for m, d in enumerate(row)) for row in chosen]


# --- fsq-number: the oracle draws the levels, and counts the first coordinate fastest ---

LARGE = (1_000, 7, 999, 900, 101, 8, 1_000, 99)  # more points than memory, or a float, holds
GRIDS = pytest.mark.parametrize(
    "levels", [(3,), (4,), (4, 3), (3, 4, 5), (8, 6, 5), (5, 3, 3, 6), (7, 5, 5, 5, 5), LARGE]
)
SHAPES = (), (1,), (200,), (2, 3, 4)


def places(rng, levels, shape):
    """Points of the grid (*shape, d) and their numbers."""
    digits = [rng.integers(L, size=shape) for L in levels]
    points = [(digit - L // 2) / (L // 2) for digit, L in zip(digits, levels, strict=True)]
    number = sum(digit * math.prod(levels[:i]) for i, digit in enumerate(digits))
    return np.stack(points, axis=-1), np.asarray(number)


@pytest.mark.exercise("fsq-number", weight=1, returns={"fsq_number": "int64", "fsq_point": "float64"})
@GRIDS
def test_grid_to_numbers(student, rng, levels):
    """The grid's points in order, the first coordinate fastest, have the numbers 0, 1, 2 and so on, to the
    last digit: for odd and even and mixed levels and grids with far more points than memory holds, for one
    point, a batch, or pictures of them, off by a millionth, in float32 and float64, in any memory layout."""
    for shape in SHAPES:
        points, k = places(rng, levels, shape)
        off = points + rng.uniform(-1e-6, 1e-6, size=points.shape)
        for dtype in (torch.float32, torch.float64):
            found = whole_numbers(student.fsq_number(tensor(off, dtype), levels), shape)
            assert (found == k).all()
    strided(lambda q: student.fsq_number(q, levels), tensor(off), rel=0)


@pytest.mark.exercise("fsq-number", weight=1, costly=True)
@GRIDS
def test_numbers_to_grid(student, rng, levels):
    """Numbers lead back to their points, for odd and even and mixed levels and very large grids, in any shape
    and memory layout, to the digits of float64. A number below 0, or as large as the number of points,
    anywhere in the batch, is refused with ValueError. The largest that there is, is not."""
    size = math.prod(levels)
    for shape in SHAPES:
        points, k = places(rng, levels, shape)
        k[(-1,) * k.ndim], points[(-1,) * k.ndim] = size - 1, [(L - 1 - L // 2) / (L // 2) for L in levels]
        found = array(student.fsq_point(whole(k), levels), points.shape)
        assert found == pytest.approx(points, abs=1e-12)
        for bad in (-1, size, size + int(rng.integers(1, 100))):
            k[(0,) * k.ndim] = bad
            student.raises(ValueError, student.fsq_point, whole(k), levels)
    strided(lambda k: student.fsq_point(k, levels), whole(k % size), rel=0)


# --- rotation: the oracle builds R from a basis of the plane ---


def turned_back(z, q, pull):
    """The transpose of lambda R times pull: R turns z to q in their plane, and is the identity elsewhere."""
    a = z / np.linalg.norm(z)
    across = q - (q @ a) * a
    size = np.linalg.norm(across)
    if size > 1e-12 * np.linalg.norm(q):
        b = across / size
        cos, sin = (q @ a) / np.linalg.norm(q), size / np.linalg.norm(q)
        at_a, at_b = a @ pull, b @ pull
        pull = pull + ((cos - 1) * at_a + sin * at_b) * a + ((cos - 1) * at_b - sin * at_a) * b
    return np.linalg.norm(q) / np.linalg.norm(z) * pull


def nearly_opposite(rng, z):
    """A vector of z's length whose direction is 2e-4 to 4e-4 from the opposite of z's."""
    away = rng.normal(size=z.shape)
    away -= (away @ z) / (z @ z) * z
    return rng.uniform(2e-4, 4e-4) * np.linalg.norm(z) / np.linalg.norm(away) * away - z


PULLED = """
def pulled(z, q, pull, answer):
    import torch
    with torch.enable_grad():
        given = [v.clone().requires_grad_() for v in (z, q)]
        loss = (answer(*given) * pull).sum()
        return torch.autograd.grad(loss, given, allow_unused=True, materialize_grads=True)
"""
MOST = 9  # rows that are compared


def check_rotation(student, z, q, pull, wanted):
    """The value, and the gradients at z and at q, when that at the result is `pull`."""
    rotate, given = student.rotate_through, [*map(tensor, (z, q, pull))]
    value = from_tensor(rotate(*given[:2]), z.shape)
    off, size_z, size_q = (np.linalg.norm(v, axis=1) for v in (value - q, z, q))
    assert (off <= 1e-6 * size_q + 1e-14 * size_z).all()
    at_z, at_q = parts(within_memory(student.define(PULLED), *given, rotate, megabytes=300), 2)
    assert not array(at_q, z.shape).any()
    off = np.linalg.norm((array(at_z, z.shape) - wanted)[:MOST], axis=1)
    assert (off <= 1e-6 * np.linalg.norm(wanted[:MOST], axis=1)).all()


@pytest.mark.exercise("rotation", weight=1, returns={"rotate_through": "(N, D)"})
@pytest.mark.parametrize(("N", "D"), [(6, 2), (1, 3), (9, 7), (2, 12_000), (12_000, 2)])
def test_gradient_is_turned(student, rng, N, D):
    """The gradient is that at q, turned back by the rotation that takes the direction of z to that of q, and
    scaled by the ratio of the lengths; none reaches q; forwards the value is q. In two and more dimensions,
    one vector and many, also where the two are nearly opposite, or one is very short or very long, within
    memory that grows like N D."""
    z, q, pull = rng.normal(size=(3, N, D)) * np.exp(rng.normal(size=(3, N, 1)))
    cos = (z * q).sum(axis=1) / (np.linalg.norm(z, axis=1) * np.linalg.norm(q, axis=1))
    q[cos < -0.999] *= -1
    q[0] = nearly_opposite(rng, z[0])
    z *= 10.0 ** np.resize([0, -20, 0, 0, -20, -20], (N, 1))
    q *= 10.0 ** np.resize([0, 0, -20, 20, -20, 20], (N, 1))
    rows = zip(z[:MOST], q[:MOST], pull[:MOST], strict=True)
    check_rotation(student, z, q, pull, np.resize([turned_back(*row) for row in rows], (N, D)))


@pytest.mark.exercise("rotation", weight=1)
def test_no_rotation(student, rng):
    """Where z or q is 0, or they point in opposite ways, however long each is, the gradient goes straight
    through, for these rows only. Where they point the same way it is scaled by the ratio of the lengths.
    Nothing is NaN, and the memory layout does not matter."""
    z = rng.integers(1, 5, size=(6, 3)).astype(float)
    q = np.stack([z[0] * 0, -2 * z[1], 3 * z[2], z[3] + 1, z[4], 0 * z[5]])
    z[4:] = 0
    pull = rng.normal(size=(6, 3))
    wanted = np.stack([pull[0], pull[1], 3 * pull[2], turned_back(z[3], q[3], pull[3]), *pull[4:]])
    check_rotation(student, z, q, pull, wanted)
    gradients = lambda *v: parts(student.define(PULLED)(*v, student.rotate_through), 2)  # noqa: E731
    strided(gradients, *map(tensor, (z, q, pull)), rel=1e-6, abs=1e-6)
    z = rng.integers(1, 100, size=(MOST, 3)).astype(float)  # of these -3 times has no rounding
    pull = rng.normal(size=z.shape)
    check_rotation(student, z, -rng.choice([3, 5, 7], size=(MOST, 1)) * z, pull, pull)


# --- beam: the oracles are the greedy search, the exhaustive search, and for two stages a list ---


def left_over(z, books, k):
    """|z - q|^2 of the spellings k (N, S)."""
    q = sum(book[k[:, s]] for s, book in enumerate(books))
    return ((z - q) ** 2).sum(axis=1)


def beam(student, z, books, width):
    k, error = parts(student.beam_rvq(tensor(z), tensor(books), width), 2)
    k, error = whole_numbers(k, (len(z), len(books))), array(error, (len(z),))
    assert ((k >= 0) & (k < books.shape[1])).all()
    assert error == pytest.approx(left_over(z, books, k), rel=1e-6, abs=1e-9)
    return k, error


def search(z, books, width):
    """Numbers of the best spelling of one vector, by a list that is sorted at every stage."""
    kept = [((), z)]
    for book in books:
        longer = [((*k, j), rest - code) for k, rest in kept for j, code in enumerate(book)]
        kept = sorted(longer, key=lambda pair: (pair[1] ** 2).sum())[:width]
    return kept[0][0]


WIDTHS = [((5, 3, 4, 2), 1), ((1, 2, 6, 3), 1), ((4, 1, 5, 1), 1), *(((12, 4, 5, 2), w) for w in (2, 3, 7))]


@pytest.mark.exercise("beam", weight=1, costly=True, returns={"beam_rvq": "int64 (N, S), (N,)"})
@pytest.mark.parametrize(("shape", "width"), WIDTHS)
def test_any_width(student, rng, shape, width):
    """The spelling is the one that survives when the best so far are kept at every stage, for widths below
    and above the size of a book; with a width of 1 it is the residual quantisation of section 6. The error is
    that of the spelling. The unit and the memory layout do not matter, nor do other vectors."""
    N, S, K, D = shape
    z, books = 2 * rng.normal(size=(N, D)), rng.normal(size=(S, K, D))
    k, _ = beam(student, z, books, width)
    assert k.tolist() == [list(search(row, books, width)) for row in z]
    z, books = tensor(z), tensor(books)
    answer = lambda z, books: parts(student.beam_rvq(z, books, width), 2)  # noqa: E731
    any_unit(lambda c: answer(c * z, c * books), (0, 2), rel=1e-6, abs=1e-9)
    rows_alone(lambda z: answer(z, books), z, rel=1e-6, abs=1e-9)
    strided(answer, z, books, rel=1e-6, abs=1e-9)


@pytest.mark.exercise("beam", weight=1)
def test_wide_is_exhaustive(student, rng):
    """A beam as wide as there are spellings, or wider, finds the best of all; its error is nowhere
    above the greedy one, and below it somewhere. One that is a little narrower than it would have to be
    misses a spelling that looks the worst of 40 till its last code."""
    z, books = 2 * rng.normal(size=(60, 2)), rng.normal(size=(3, 4, 2))
    every = np.array(list(itertools.product(range(4), repeat=3)))
    sums = sum(books[s][every[:, s]] for s in range(3))
    best = ((z[:, None] - sums) ** 2).sum(axis=2)
    for width in (16, 1_000):
        k, error = beam(student, z, books, width)
        assert error == pytest.approx(best.min(axis=1))
        assert k.tolist() == every[best.argmin(axis=1)].tolist()
    greedy = left_over(z, books, np.array([search(row, books, 1) for row in z]))
    assert (error <= greedy + 1e-9).all() and (error < greedy - 1e-6).any()
    z, books, ranked = late(rng, 40)
    for width in (9, 17, 33, 39, 40, 41):
        k, _ = beam(student, z, books, width)
        assert k.tolist() == [[ranked[min(width, 40) - 1], 0]]


def late(rng, K):
    """One vector, two books, the first one's codes from near to far: the last, then code 0, is best."""
    z, step, ranked = rng.normal(size=(1, 2)), rng.normal(size=2), rng.permutation(K)
    first, second = np.empty((K, 2)), 1e3 + rng.normal(size=(K, 2))
    first[ranked] = z + step * np.arange(1, K + 1)[:, None]
    second[0] = -K * step
    return z, np.stack([first, second]), ranked


# --- repair: a decoder of one layer, of which every gradient has a closed form ---


DECODER = """
def decoder(W, together):
    import torch
    return lambda q: torch.tanh((q.flatten() if together else q) @ W)
"""
LOSS = (
    "def loss_at(z, codes, W, x, beta, decoder, together, answer):\n    import torch\n"
    "    with torch.enable_grad():\n        return answer(x, z, codes, decoder(W, together), beta)"
)


def case(rng, N, K, D, E, together):
    """Vectors, codes of very unequal lengths, decoder, target, beta. together: of all vectors one row."""
    codes = rng.normal(size=(K, D)) * np.exp(rng.normal(size=(K, 1)))
    z = codes[rng.integers(K, size=N)] + 0.7 * rng.normal(size=(N, D))
    W = rng.normal(size=(N * D if together else D, E))
    return z, codes, W, rng.normal(size=(E,) if together else (N, E)), float(rng.uniform(0.1, 2))


def expected(z, codes, W, x, beta):
    """The loss, and its gradients with respect to z, codes and W."""
    k = ((z[:, None] - codes) ** 2).sum(axis=2).argmin(axis=1)
    q, (N, D) = codes[k], z.shape
    seen = q.reshape(-1, len(W))
    said = np.tanh(seen @ W)
    inner = 2 * (said - x) / x.size * (1 - said**2)
    loss = ((said - x) ** 2).mean() + (1 + beta) * ((z - q) ** 2).mean()
    at_codes = np.zeros_like(codes)
    np.add.at(at_codes, k, 2 * (q - z) / (N * D))
    return loss, (inner @ W.T).reshape(N, D) + beta * 2 * (z - q) / (N * D), at_codes, seen.T @ inner


def check_repair(student, rng, shape, which):
    given, together = case(rng, *shape), shape[-1]
    wanted = expected(*given)
    *tensors, beta = *map(tensor, given[:4]), given[4]
    z, codes, W, x = tensors
    decoder, loss = student.define(DECODER), student.define(LOSS)
    value = student.repaired_loss(x, z, codes, decoder(W, together), beta)
    assert number(value) == pytest.approx(wanted[0], rel=1e-6)
    rest = beta, decoder, together, student.repaired_loss
    for i in which:
        found = gradient(student, loss, i, *tensors, *rest)
        assert array(found, wanted[i + 1].shape) == pytest.approx(wanted[i + 1], rel=1e-6, abs=1e-9)
    strided(lambda *v: loss(*v, *rest), *tensors, rel=1e-6)


ROW_BY_ROW = (6, 4, 3, 2), (1, 3, 2, 5), (30, 8, 2, 1), (4, 1, 1, 1)
CASES = pytest.mark.parametrize("shape", [*((*shape, False) for shape in ROW_BY_ROW), (8, 5, 2, 3, True)])


@pytest.mark.exercise("repair", weight=1, returns={"repaired_loss": "tensor ()"})
@CASES
def test_what_the_encoder_feels(student, rng, shape):
    """The loss has its value, computed with the nearest codes, in any memory layout, also for a decoder that
    makes one row of all vectors; the encoder's vectors feel the decoder's error straight through the
    rounding, and beta times the pull towards their codes."""
    check_repair(student, rng, shape, (0,))


@pytest.mark.exercise("repair", weight=1)
@CASES
def test_what_codes_and_decoder_feel(student, rng, shape):
    """The codes feel the code book term alone: the pull of the vectors that chose them, whatever beta is, and
    nothing of the decoder. A code that nobody chose feels nothing. The decoder learns from the rounded
    vectors, as it will meet them later, with codes of very unequal lengths."""
    check_repair(student, rng, shape, (1, 2))


# --- sphere: the oracle normalises, measures angles and takes steps by formulas of its own ---

SPHERE = """
def train(step, data, enter, leave, codes, m, beta, decay, rate, rows, adam):
    import torch
    from torch import nn

    def linear(weight):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(weight)
        return layer

    model = nn.Module()
    model.encode, model.decode = linear(enter), linear(leave)
    model.codes, model.m = codes.clone(), m.clone()
    optimizer = (torch.optim.Adam if adam else torch.optim.SGD)(model.parameters(), rate)
    for weight in model.parameters():  # what somebody left there
        weight.grad = torch.ones_like(weight)
    losses, kept = [], True
    for some in rows:
        old = model.codes, model.m
        was = [v.clone() for v in old]
        losses.append(step(model, optimizer, data[some], beta, decay))
        kept &= all(torch.equal(a, b) for a, b in zip(old, was))
    grown = [not torch.is_tensor(v) or v.requires_grad for v in (*losses, model.codes, model.m)]
    single = all(torch.is_tensor(loss) and loss.shape == () for loss in losses)
    with torch.no_grad():
        z = model.encode(data)
        copy = model.decode(model.codes[(z / z.norm(dim=1, keepdim=True) @ model.codes.T).argmax(dim=1)])
    state = [v.detach() for v in (model.encode.weight, model.decode.weight, model.codes, model.m)]
    return [float(loss) for loss in losses], [any(grown), not single, not kept], *state, copy
"""
PULL = """
def pull(round, z, codes, at_q, at_commitment):
    import torch

    z, codes = z.clone().requires_grad_(), codes.clone().requires_grad_()
    q, _, commitment = round(z, codes)
    loss = (q * at_q).sum() + at_commitment * commitment
    at_z, at_codes = torch.autograd.grad(loss, (z, codes), allow_unused=True)
    return at_z, torch.zeros_like(codes) if at_codes is None else at_codes
"""
UNITS = 1e-6, 1e6
ROUND = {"sphere_round": "tensor like 0 shape 0, int64 (N,), tensor like 0 ()"}
FOLLOW = {"sphere_follow": "tensor float64 shape 1, tensor float64 shape 1"}


def unit(z):
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def sphere_case(rng, N=40, K=5, D=3):
    """Vectors of lengths from 0.01 to 100, codes, and for each vector the code at the smallest angle."""
    codes = unit(rng.normal(size=(K, D)))
    z = unit(rng.normal(size=(N, D))) * 10 ** rng.uniform(-2, 2, size=(N, 1))
    return z, codes, (unit(z) @ codes.T).argmax(axis=1)


def along(z, g):
    """The gradient at z of what has the gradient g at z / |z|."""
    return (g - (g * unit(z)).sum(axis=1, keepdims=True) * unit(z)) / np.linalg.norm(z, axis=1, keepdims=True)


@pytest.mark.exercise("sphere", weight=1, returns=ROUND)
def test_nearest_direction(student, rng):
    """The code is the one at the smallest angle, whatever the vector's length; the value is that code, and
    the commitment is the mean over all numbers of the squared difference to the normalised vector."""
    for shape in ((40, 5, 3), (1, 4, 2), (7, 1, 6), (300, 30, 8)):
        z, codes, k = sphere_case(rng, *shape)
        q, found, commitment = parts(student.sphere_round(tensor(z), tensor(codes)), 3)
        assert (whole_numbers(found, (len(z),)) == k).all()
        assert array(q) == pytest.approx(codes[k], abs=1e-9)
        assert number(commitment) == pytest.approx(((unit(z) - codes[k]) ** 2).mean(), rel=1e-7, abs=1e-15)
    strided(lambda z, e: parts(student.sphere_round(z, e), 3), tensor(z), tensor(codes), rel=1e-9, abs=1e-12)
    z, codes = tensor(z), tensor(codes)
    any_unit(lambda c: parts(student.sphere_round(c * z, codes), 3), units=UNITS, rel=1e-7, abs=1e-12)


@pytest.mark.exercise("sphere", weight=1)
def test_gradient_of_directions(student, rng):
    """The gradient goes straight through the rounding to the normalised vector, and from there to the vector
    by the derivative of the normalisation; that of the commitment goes the same way; the codes get none."""
    for shape in (40, 5, 3), (1, 4, 2), (6, 3, 9):
        check_pull(student, rng, shape)


def check_pull(student, rng, shape):
    """The gradients of the value, the commitment and both at the vectors; none at the codes."""
    z, codes, k = sphere_case(rng, *shape)
    at_q, at_commitment = rng.normal(size=z.shape), rng.uniform(1, 3) * z.size
    length, pull = np.linalg.norm(z, axis=1, keepdims=True), student.define(PULL)
    for a, b in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        at_z, at_codes = parts(
            pull(student.sphere_round, tensor(z), tensor(codes), tensor(a * at_q), b * at_commitment), 2
        )
        wanted = along(z, a * at_q + b * at_commitment * 2 * (unit(z) - codes[k]) / z.size)
        assert array(at_z) * length == pytest.approx(wanted * length, rel=1e-6, abs=1e-8)
        assert not array(at_codes).any()


def followed(codes, m, z, k, decay):
    total = np.zeros_like(m)
    np.add.at(total, k, unit(z))
    m = decay * m + (1 - decay) * total
    length = np.linalg.norm(m, axis=1, keepdims=True)
    return np.where(length > 0, m / np.where(length > 0, length, 1), codes), m


@pytest.mark.exercise("sphere", weight=1, returns=FOLLOW)
def test_codes_follow_directions(student, rng):
    """The sums are of normalised vectors, of those that chose the code, with the old sums by the memory; a
    new code has length 1 and the direction of its sum, however short that is; without a sum it stays."""
    check_followed(student, rng)
    z, codes, k = sphere_case(rng, 3, 6, 4)
    m = np.zeros_like(codes)
    e, m = (
        array(v) for v in parts(student.sphere_follow(tensor(codes), tensor(m), tensor(z), whole(k), 0.9), 2)
    )
    free = ~np.isin(np.arange(6), k)
    assert e[free] == pytest.approx(codes[free], abs=1e-15) and not m[free].any()
    z, codes, m = tensor(z), tensor(codes), tensor(rng.normal(size=m.shape))
    any_unit(
        lambda c: parts(student.sphere_follow(codes, m, c * z, whole(k), 0.9), 2),
        units=UNITS,
        rel=1e-7,
        abs=1e-12,
    )


def check_followed(student, rng):
    """Old sums of any length; with coordinates that are 0, or add up to 0; any numbers of codes."""
    cases = ((40, 5, 3), 0.9, 1.0), ((1, 4, 2), 0.5, 1e-9), ((3, 9, 4), 0.9, 1e-15), ((200, 3, 2), 0.99, 1e2)
    for shape, decay, scale in cases:
        z, codes, _ = sphere_case(rng, *shape)
        k, m = rng.integers(len(codes), size=len(z)), scale * rng.normal(size=codes.shape)
        if len(z) < len(codes):  # some are chosen by none
            m = flat(rng, scale, *codes.shape)
        found = parts(student.sphere_follow(tensor(codes), tensor(m), tensor(z), whole(k), decay), 2)
        for mine, theirs in zip(followed(codes, m, z, k, decay), found, strict=True):
            assert array(theirs, mine.shape) == pytest.approx(mine, rel=1e-6, abs=1e-12 * np.abs(mine).max())


def flat(rng, scale, K, D):
    """Sums with two coordinates that are not 0 and add up to 0; in two dimensions every second has one."""
    m = np.zeros((K, D))
    for row, sum_ in enumerate(m):
        one, other = rng.permutation(D)[:2]
        sum_[one] = scale * rng.choice([-1, 1])
        sum_[other] = -sum_[one] if D > 2 or row % 2 else 0
    return m


def stepped(x, enter, leave, codes, m, beta, decay, rate):
    """One update by formulas: the loss before it, and the four new arrays."""
    z = x @ enter.T
    k = (unit(z) @ codes.T).argmax(axis=1)
    q, off = codes[k], codes[k] @ leave.T - x
    loss = (off**2).mean() + beta * ((unit(z) - q) ** 2).mean()
    at_copy = 2 * off / off.size
    at_z = along(z, at_copy @ leave + beta * 2 * (unit(z) - q) / q.size)
    codes, m = followed(codes, m, z, k, decay)
    return loss, enter - rate * at_z.T @ x, leave - rate * at_copy.T @ q, codes, m


@pytest.mark.exercise("sphere", weight=4)
def test_updates_in_turn(student, rng):
    """Updates one after the other: each moves both networks by the gradient of its own loss, squared error
    plus beta times commitment, as means; then the book follows the vectors of that update, and codes that
    nobody chose go by what is left behind them, however short. Each function alone does what it says, too,
    for vectors of any length and any numbers of codes. The losses come back, each a tensor of no dimension.
    The old book stays as it was, and gradients that were there before count for nothing."""
    check_pull(student, rng, (9, 4, 3))
    check_followed(student, rng)
    for N, D, inner, beta, size in ((30, 5, 3, 0.25, 1.0), (12, 4, 2, 2.0, 1.0), (20, 4, 3, 1.0, 1e-5)):
        x, leave = rng.normal(size=(N, D)), rng.normal(size=(D, inner))
        enter = size * rng.normal(size=(inner, D))
        codes, m = unit(rng.normal(size=(8, inner))), flat(rng, 1e-15, 8, inner)
        m[:4] = 0  # of 8 codes at least one has nothing behind it and is not chosen by a batch of 3
        rows, decay, rate = [rng.integers(N, size=n) for n in (3, 6, N, N)], 0.8, 0.5 * size**2
        result = train(
            student,
            SPHERE,
            student.sphere_step,
            *(tensor(v) for v in (x, enter, leave, codes, m)),
            *(beta, decay, rate, [whole(r) for r in rows], False),
            seed=0,
            seconds=4.0,
        )
        losses, broken, *found, _ = parts(result, 7)
        state, wanted = (enter, leave, codes, m), []
        for some in rows:
            loss, *state = stepped(x[some], *state, beta, decay, rate)
            wanted.append(loss)
        assert array(losses) == pytest.approx(wanted, rel=1e-6)
        grown, shaped, changed = listed(broken, bool)
        assert not grown, "what comes back and the book carry no gradients"
        assert not shaped, "a loss is a tensor of no dimension"
        assert not changed, "codes and sums are replaced, not overwritten"
        for mine, theirs in zip(state, found, strict=True):
            assert array(theirs, mine.shape) == pytest.approx(mine, rel=1e-5, abs=1e-7)


@pytest.mark.exercise("sphere", weight=1, costly=True)
def test_a_circle_is_learned(student, rng):
    """Trained on points around a circle in more dimensions, the networks and the book come close to the least
    error that so many codes allow, and not below it."""
    K, D, N = 5, 6, 4_000
    plane = np.linalg.qr(rng.normal(size=(D, 2)))[0]
    angle = rng.uniform(0, 2 * np.pi, size=N)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) @ plane.T
    start = 2 * np.pi * (np.arange(K) + rng.uniform(-0.3, 0.3, size=K)) / K
    codes = np.stack([np.cos(start), np.sin(start)], axis=1)
    enter = plane.T + 0.2 * rng.normal(size=(2, D))
    rows = [whole(rng.integers(N, size=200)) for _ in range(250)]
    result = train(
        student,
        SPHERE,
        student.sphere_step,
        *(tensor(v) for v in (x, enter, np.zeros((D, 2)), codes, codes)),
        *(0.25, 0.9, 0.02, rows, True),
        seed=int(rng.integers(2**31)),
        seconds=4.0,
    )
    error = ((array(parts(result, 7)[6], x.shape) - x) ** 2).sum(axis=1).mean()
    best = 1 - (np.sin(np.pi / K) / (np.pi / K)) ** 2
    assert error > 0.9 * best
    learned(1.0, error, 1.15 * best)
