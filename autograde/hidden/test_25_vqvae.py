"""Hidden tests of lesson 25_vqvae. A docstring is what the learner reads when its test fails."""

import itertools
import math

import numpy as np
import pytest
import torch

from autograde.checks import array, from_tensor, gradient, number, parts, whole_numbers


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


@pytest.mark.exercise("message", weight=2)
def test_lengths_add_up(student, rng):
    """The cost is the mean length of the words of the test codes, with words made from the training
    codes, for any a, and codes that come as a list, as pictures of codes, or in a non-contiguous
    tensor."""
    for K, shape, a in ((5, (40,), 1.0), (30, (6, 4, 4), 0.25), (2, (1,), 3.0)):
        train, test = rng.integers(K, size=(50,)), rng.integers(K, size=shape)
        check_message(student, train, test, K, a)
    train, test = rng.integers(9, size=(8, 30)), rng.integers(9, size=(10, 16))
    bits, _ = parts(student.message_bits(whole(train).T, whole(test).T, 9, 0.5), 2)
    assert number(bits) == pytest.approx(np.mean(lengths(train, 9, 0.5)[test]), rel=1e-5)


@pytest.mark.exercise("message", weight=1)
def test_never_below_its_own_entropy(student, rng):
    """Words made for this very message cost its entropy, to the digits of a short message of one code or two;
    words made for another cost more, never less. Codes that nobody uses change nothing when a is 0."""
    for codes, entropy in (([2], 0), ([0, 3], 1)):
        assert check_message(student, codes, codes, 5, 0.0) == pytest.approx((entropy, 0), abs=1e-7)
    test = rng.choice(12, size=400, p=rng.dirichlet(np.ones(12)))
    _, above = check_message(student, np.repeat(test, 3), test, 40, 0.0)
    assert abs(above) < 1e-5
    train = np.concatenate([test, rng.integers(12, size=300), np.full(200, 3)])
    _, above = check_message(student, train, test, 12, 0.0)
    assert above > 0


@pytest.mark.exercise("message", weight=1)
def test_unseen_codes(student, rng):
    """A test code that training never showed costs infinitely many bits if a is 0, and finitely many else,
    however small a is."""
    train, test = rng.integers(3, size=30), np.append(rng.integers(3, size=10), 4)
    bits, above = parts(student.message_bits(whole(train), whole(test), 6, 0.0), 2)
    assert number(bits, finite=False) == math.inf and number(above, finite=False) == math.inf
    for a in (0.01, 1e-60):
        check_message(student, train, test, 6, a)


# --- product: the oracle lists every combination ---


def combinations(books):
    return np.array([np.concatenate(choice) for choice in itertools.product(*books)])


def product(student, z, books, exact=False):
    k, q = parts(student.product_nearest(tensor(z), [tensor(b) for b in books]), 2)
    return whole_numbers(k, (len(z),), exact), array(q, z.shape)


@pytest.mark.exercise("product", weight=2)
def test_nearest_of_all_combinations(student, rng):
    """The combination is the nearest of all, and its number its place in the list of all, for books of
    unequal sizes and widths."""
    for N, sizes in ((7, ((3, 2), (5, 1), (2, 3))), (1, ((4, 2), (3, 2))), (20, ((6, 1),))):
        books = [3 * rng.normal(size=size) * rng.uniform(0.2, 2, size=(size[0], 1)) for size in sizes]
        z = 2 * rng.normal(size=(N, sum(D for _, D in sizes)))
        every = combinations(books)
        wanted = ((z[:, None] - every) ** 2).sum(axis=2).argmin(axis=1)
        k, q = product(student, z, books)
        assert (k == wanted).all()
        assert q == pytest.approx(every[wanted], rel=1e-6)


@pytest.mark.exercise("product", weight=1)
def test_too_many_to_list(student, rng):
    """Seven books of 250 codes make more combinations than memory holds; the digits of the number lead
    back to the codes that were put together."""
    books = [rng.normal(size=(250, 2)) for _ in range(7)]
    chosen = rng.integers(250, size=(6, 7))
    z = np.concatenate([book[chosen[:, m]] for m, book in enumerate(books)], axis=1)
    k, q = product(student, z + 1e-9 * rng.normal(size=z.shape), books, exact=True)
    assert q == pytest.approx(z, abs=1e-6)
    assert k.tolist() == [sum(int(d) * 250 ** (6 - m) for m, d in enumerate(row)) for row in chosen]


@pytest.mark.exercise("product", weight=1)
def test_widths_must_fit(student, rng):
    """Books whose widths do not add up to that of the vectors are refused with ValueError, too few and
    too many; books that fit are not."""
    books = [rng.normal(size=(4, 2)), rng.normal(size=(3, 3))]
    for D in (4, 6):
        student.raises(
            ValueError, student.product_nearest, tensor(rng.normal(size=(3, D))), [tensor(b) for b in books]
        )
    chosen = rng.integers(3, size=5)
    z = np.concatenate([books[0][chosen], books[1][chosen]], axis=1)
    assert product(student, z, books)[0].tolist() == (3 * chosen + chosen).tolist()


# --- fsq-number: the oracle lists the whole grid, the first coordinate fastest ---


def grid(levels):
    axes = [np.array([(i - L // 2) / (L // 2) for i in range(L)]) for L in levels]
    return np.array([point[::-1] for point in itertools.product(*axes[::-1])])


LEVELS = ((3,), (4,), (4, 3), (3, 4, 5), (8, 6, 5), (5, 3, 3, 6))


@pytest.mark.exercise("fsq-number", weight=3)
def test_grid_to_numbers(student, rng):
    """The grid's points in order, the first coordinate fastest, have the numbers 0, 1, 2 and so on, for
    odd and even and mixed levels, one point or a batch of pictures, in float32 that is off by a
    millionth."""
    for levels in LEVELS:
        points = grid(levels)
        order = rng.permutation(len(points))
        off = points[order] + rng.uniform(-1e-6, 1e-6, size=points.shape)
        found = whole_numbers(student.fsq_number(tensor(off, torch.float32), levels), (len(points),))
        assert (found == order).all()
    points = grid((4, 5, 3))
    pick = rng.integers(60, size=(2, 3, 4))
    assert (whole_numbers(student.fsq_number(tensor(points[pick]), (4, 5, 3)), pick.shape) == pick).all()


@pytest.mark.exercise("fsq-number", weight=2)
def test_numbers_to_grid(student, rng):
    """Numbers lead back to their points, for odd and even and mixed levels, in any shape, to the digits of
    float64."""
    for levels in LEVELS:
        points = grid(levels)
        found = array(student.fsq_point(whole(np.arange(len(points))), levels), points.shape)
        assert found == pytest.approx(points, abs=1e-12)
    pick = rng.integers(60, size=(3, 1, 5))
    found = array(student.fsq_point(whole(pick), (4, 5, 3)), (3, 1, 5, 3))
    assert found == pytest.approx(grid((4, 5, 3))[pick], abs=1e-6)


@pytest.mark.exercise("fsq-number", weight=1)
def test_outside_the_grid(student, rng):
    """A number below 0, or as large as the number of points, anywhere in the batch, is refused with
    ValueError. The largest that there is, is not."""
    for levels in ((3,), (4, 5), (7, 5, 5, 5, 5)):
        size = math.prod(levels)
        for bad in (-1, size, size + int(rng.integers(1, 100))):
            k = rng.integers(size, size=(2, 3))
            k[rng.integers(2), rng.integers(3)] = bad
            student.raises(ValueError, student.fsq_point, whole(k), levels)
        last = array(student.fsq_point(whole([size - 1]), levels), (1, len(levels)))
        assert last == pytest.approx(np.array([[(L - 1 - L // 2) / (L // 2) for L in levels]]))


@pytest.mark.exercise("fsq-number", weight=1)
def test_large_grids(student, rng):
    """Numbers are right to the last digit, there and back, also on a grid with far more points than memory
    holds."""
    levels = (1_000, 7, 999, 900, 101, 8)
    digits = np.stack([rng.integers(L, size=20) for L in levels])
    half = np.array(levels) // 2
    points = (digits.T - half) / half
    k = [sum(int(d) * math.prod(levels[:i]) for i, d in enumerate(row)) for row in digits.T]
    off = tensor(points + rng.uniform(-1e-6, 1e-6, size=points.shape), torch.float32)
    assert whole_numbers(student.fsq_number(off, levels), (20,)).tolist() == k
    assert array(student.fsq_point(whole(k), levels), (20, 6)) == pytest.approx(points, abs=1e-9)


# --- rotation: the oracle builds R from a basis of the plane ---


def rotation(z, q):
    """lambda R as a matrix: turns z to q in their plane, the identity elsewhere."""
    a = z / np.linalg.norm(z)
    across = q - (q @ a) * a
    size = np.linalg.norm(across)
    R = np.eye(len(z))
    if size > 1e-12 * np.linalg.norm(q):
        b = across / size
        cos, sin = (q @ a) / np.linalg.norm(q), size / np.linalg.norm(q)
        R += (cos - 1) * (np.outer(a, a) + np.outer(b, b)) + sin * (np.outer(b, a) - np.outer(a, b))
    return np.linalg.norm(q) / np.linalg.norm(z) * R


WEIGHED = (
    "def weighed(z, q, pull, answer):\n    import torch\n    with torch.enable_grad():\n"
    "        return answer(z, q) * pull + 0 * q"
)


def pulled(student, z, q, pull, wrt=0):
    """The gradient with respect to z (or, wrt=1, to q), when that at q is `pull`."""
    from_tensor(student.rotate_through(tensor(z), tensor(q)), z.shape)
    return student.grad(
        student.define(WEIGHED), wrt, tensor(z), tensor(q), tensor(pull), student.rotate_through
    )


@pytest.mark.exercise("rotation", weight=3)
def test_gradient_is_turned(student, rng):
    """The gradient is that at q, turned back by the rotation that takes the direction of z to that of
    q, and scaled by the ratio of the lengths; forwards the value is q. In two and more dimensions, one
    vector and many, also where the two are nearly opposite, or z is very short."""
    for N, D in ((6, 2), (1, 3), (9, 7)):
        z, q, pull = rng.normal(size=(3, N, D)) * np.exp(rng.normal(size=(3, N, 1)))
        q[0] = 1e-3 * q[0] - z[0]
        z[1:2] *= 1e-6
        assert array(student.rotate_through(tensor(z), tensor(q)), (N, D)) == pytest.approx(
            q, rel=1e-6, abs=1e-12
        )
        wanted = np.stack(
            [rotation(*pair).T @ g for pair, g in zip(zip(z, q, strict=True), pull, strict=True)]
        )
        assert array(pulled(student, z, q, pull), (N, D)) == pytest.approx(wanted, rel=1e-6, abs=1e-5)


@pytest.mark.exercise("rotation", weight=1)
def test_nothing_reaches_the_code(student, rng):
    """No gradient reaches q, and that at z does depend on where z lies in the cell: two vectors with
    one code feel one pull differently."""
    z, q, pull = rng.normal(size=(2, 4)), np.repeat(rng.normal(size=(1, 4)), 2, axis=0), np.ones((2, 4))
    assert not array(pulled(student, z, q, pull, wrt=1), (2, 4)).any()
    at_z = array(pulled(student, z, q, pull), (2, 4))
    wanted = np.stack([rotation(a, b).T @ g for a, b, g in zip(z, q, pull, strict=True)])
    assert at_z == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@pytest.mark.exercise("rotation", weight=4)
def test_no_rotation(student, rng):
    """Where z or q is 0, or they point in opposite ways, the gradient goes straight through, for these
    rows only. Where they point the same way it is scaled by the ratio of the lengths. Nothing is
    NaN."""
    z = rng.integers(1, 5, size=(5, 3)).astype(float)
    q = np.stack([z[0] * 0, -2 * z[1], 3 * z[2], z[3] + 1, z[4]])
    z[4] = 0
    pull = rng.normal(size=(5, 3))
    assert array(student.rotate_through(tensor(z), tensor(q)), (5, 3)) == pytest.approx(q, abs=1e-12)
    got = array(pulled(student, z, q, pull), (5, 3))
    wanted = np.stack([pull[0], pull[1], 3 * pull[2], rotation(z[3], q[3]).T @ pull[3], pull[4]])
    assert got == pytest.approx(wanted, rel=1e-6, abs=1e-9)


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


@pytest.mark.exercise("beam", weight=1)
def test_one_is_greedy(student, rng):
    """With a width of 1 it is the residual quantisation of section 6, and the error is that of the
    spelling."""
    for N, S, K, D in ((5, 3, 4, 2), (1, 2, 6, 3), (4, 1, 5, 1)):
        z, books = 2 * rng.normal(size=(N, D)), rng.normal(size=(S, K, D))
        k, _ = beam(student, z, books, 1)
        assert k.tolist() == [list(search(row, books, 1)) for row in z]


@pytest.mark.exercise("beam", weight=2)
def test_widths_between(student, rng):
    """With any width, the spelling is the one that survives when the best so far are kept at every
    stage: for widths below and above the size of a book."""
    for width in (2, 3, 7):
        z, books = 2 * rng.normal(size=(12, 2)), rng.normal(size=(4, 5, 2))
        k, _ = beam(student, z, books, width)
        assert k.tolist() == [list(search(row, books, width)) for row in z]


@pytest.mark.exercise("beam", weight=2)
def test_wide_is_exhaustive(student, rng):
    """A beam as wide as there are spellings, or wider, finds the best of all; its error is nowhere
    above the greedy one, and below it somewhere."""
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


# --- repair: a linear decoder, of which every gradient has a closed form ---


LOSS = (
    "def loss_at(z, codes, W, x, beta, answer):\n    import torch\n    with torch.enable_grad():\n"
    "        return answer(x, z, codes, lambda q: torch.tanh(q @ W), beta)"
)


def case(rng, N, K, D, E):
    """Vectors, codes of very unequal lengths, decoder, target, beta."""
    codes = rng.normal(size=(K, D)) * np.exp(rng.normal(size=(K, 1)))
    z = codes[rng.integers(K, size=N)] + 0.7 * rng.normal(size=(N, D))
    return z, codes, rng.normal(size=(D, E)), rng.normal(size=(N, E)), float(rng.uniform(0.1, 2))


def expected(z, codes, W, x, beta):
    """The loss, and its gradients with respect to z, codes and W."""
    k = ((z[:, None] - codes) ** 2).sum(axis=2).argmin(axis=1)
    q, (N, D) = codes[k], z.shape
    said = np.tanh(q @ W)
    inner = 2 * (said - x) / x.size * (1 - said**2)
    loss = ((said - x) ** 2).mean() + (1 + beta) * ((z - q) ** 2).mean()
    at_codes = np.zeros_like(codes)
    np.add.at(at_codes, k, 2 * (q - z) / (N * D))
    return loss, inner @ W.T + beta * 2 * (z - q) / (N * D), at_codes, q.T @ inner


def check_repair(student, rng, shape, which):
    given = case(rng, *shape)
    wanted = expected(*given)
    z, codes, W, x = (tensor(v) for v in given[:4])
    loss = number(student.define(LOSS)(z, codes, W, x, given[4], student.repaired_loss))
    assert loss == pytest.approx(wanted[0], rel=1e-6)
    for i in which:
        got = array(
            gradient(student, student.define(LOSS), i, z, codes, W, x, given[4], student.repaired_loss),
            wanted[i + 1].shape,
        )
        assert got == pytest.approx(wanted[i + 1], rel=1e-6, abs=1e-9)


SHAPES = ((6, 4, 3, 2), (1, 3, 2, 5), (30, 8, 2, 1))


@pytest.mark.exercise("repair", weight=2)
def test_what_the_encoder_feels(student, rng):
    """The loss has its value, computed with the nearest codes; the encoder's vectors feel the decoder's
    error straight through the rounding, and beta times the pull towards their codes."""
    for shape in SHAPES:
        check_repair(student, rng, shape, (0,))


@pytest.mark.exercise("repair", weight=2)
def test_what_the_codes_feel(student, rng):
    """The codes feel the code book term alone: the pull of the vectors that chose them, whatever beta
    is, and nothing of the decoder. A code that nobody chose feels nothing."""
    for shape in SHAPES:
        check_repair(student, rng, shape, (1,))


@pytest.mark.exercise("repair", weight=2)
def test_what_the_decoder_feels(student, rng):
    """The decoder learns from the rounded vectors, as it will meet them later, with codes of very unequal
    lengths."""
    for shape in SHAPES:
        check_repair(student, rng, shape, (2,))
