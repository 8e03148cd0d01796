"""Hidden tests of lesson 26_tokens_to_images. A docstring is what the learner reads when its test fails."""

import functools
import itertools

import numpy as np
import pytest
import torch
from scipy import optimize
from scipy.special import log_softmax

from autograde.checks import array, number, parts
from autograde.relations import any_level, any_unit, both_types, rows_alone, strided
from autograde.training import learned, train


def tensor(value):
    return torch.tensor(np.asarray(value), dtype=torch.float64)


def whole(value):
    return torch.tensor(np.asarray(value), dtype=torch.int64)


# --- top-k: all ordered results sum to 1; two at a time by hand; extremes in closed form ---


@pytest.mark.exercise("top-k", weight=2, returns={"log_p_ordered": "tensor like 0 (B,)"})
def test_ordered_results_sum_to_one(student, rng):
    """The probabilities of all ordered results of k places sum to 1, for every k, and each is that of drawing
    one place after the other from what is left."""
    for K, k in ((4, 2), (4, 4), (5, 3), (3, 1)):
        picked = np.array(list(itertools.permutations(range(K), k)))
        p = np.exp(log_softmax(rng.normal(size=K) * 2))
        logits = np.tile(np.log(p) + rng.normal(), (len(picked), 1))
        got = array(student.log_p_ordered(tensor(logits), whole(picked)), (len(picked),))
        assert np.exp(got).sum() == pytest.approx(1, abs=1e-9)
        wanted = [np.prod([p[j] / (1 - p[list(row[:i])].sum()) for i, j in enumerate(row)]) for row in picked]
        assert np.exp(got) == pytest.approx(np.array(wanted), rel=1e-7)


@pytest.mark.exercise("top-k", weight=2)
def test_ordered_far_apart(student, rng):
    """Logits that are hundreds apart, and a remainder far below the smallest float: the logarithm is finite
    and exact, for every k, to the last place that is left. Each row has its own logits, thousands from those
    of the others, in any memory layout; a batch of one works, and so does a single place, which is certain;
    the result has the logits' type."""
    a, b, c = rng.uniform(800, 950), rng.uniform(-1, 1), rng.uniform(-950, -800)
    logits, picked = tensor([[a, b, b + 0.5, c], [b, a, c, b + 0.5]]), whole([[0, 1, 3], [1, 0, 2]])
    wanted = -np.logaddexp(0, 0.5) + (c - (b + 0.5))
    assert array(student.log_p_ordered(logits, picked), (2,)) == pytest.approx(np.full(2, wanted), rel=1e-9)
    every, row = np.array([*itertools.permutations(range(5))]), np.array([a, b, b + 0.5, c, c + 0.3])
    for k in (1, 2, 3, 4, 5):
        falling = row[every]  # in the order in which they go, what is left at the end
        wanted = sum(falling[:, j] - np.logaddexp.reduce(falling[:, j:], axis=1) for j in range(k))
        got = student.log_p_ordered(tensor(np.tile(row, (len(every), 1))), whole(every[:, :k]))
        assert array(got, wanted.shape) == pytest.approx(wanted, rel=1e-9, abs=1e-9)
    any_level(lambda level: student.log_p_ordered(logits + level, picked), levels=(-1e5, 1e5), rel=1e-9)
    rows_alone(student.log_p_ordered, logits, picked, apart=3_000.0, rel=1e-9)
    strided(student.log_p_ordered, logits, picked, rel=1e-9)
    got = array(student.log_p_ordered(tensor([[a], [c]]), whole([[0], [0]])), (2,))
    assert got.dtype == np.float64 and got == pytest.approx(np.zeros(2), abs=1e-9)


# --- noise-behind: the two distribution functions, solved for the sum ---


def check_sums(student, logits, k, u):
    """The largest: exp(-e^(L - z)) = u. Another: e^-z = e^-top - log(u) e^-logit."""
    z = array(student.sums_given(tensor(logits), whole(k), tensor(u)), logits.shape)
    of_top, waiting = np.arange(logits.shape[1]) == k[:, None], np.log(-np.log(u))
    top = (np.logaddexp.reduce(logits, axis=1) - waiting[of_top])[:, None]
    wanted = np.where(of_top, top, -np.logaddexp(-top, waiting - logits))
    assert z == pytest.approx(wanted, rel=1e-7, abs=1e-6) and (z <= z[of_top][:, None] + 1e-9).all()


@pytest.mark.exercise("noise-behind", weight=1, returns={"sums_given": "tensor like 0 (B, K)"})
def test_inversion(student, rng):
    """Put the sums into their distribution functions, and the uniform numbers come back: at the largest, and
    at the others, cut off there; also where they are very near to 0 or to 1. Several shapes and memory
    layouts, a batch of one."""
    for B, K in ((5, 4), (1, 7), (30, 2)):
        logits, k, u = rng.normal(size=(B, K)) * 2, rng.integers(K, size=B), rng.uniform(0.02, 0.98, (B, K))
        check_sums(student, logits, k, u)
    strided(student.sums_given, tensor(logits), whole(k), tensor(u), rel=1e-7, abs=1e-6)
    u = np.tile([1e-200, 1e-4, 1 - 1e-4, 1 - 2**-50, 1 - 2**-50], (5, 1))
    check_sums(student, rng.normal(size=(5, 5)), np.arange(5), u)


@pytest.mark.exercise("noise-behind", weight=1)
def test_choice_stays(student, rng):
    """The largest sum is at the given place, also where that place is very unlikely and where logits are
    hundreds apart, in a row or between rows; all sums are finite and exact."""
    logits, u = rng.normal(size=(40, 5)) * 3, rng.uniform(0.01, 0.99, size=(40, 5))
    check_sums(student, logits, logits.argmin(1), u)
    far, u, k = np.tile([0, rng.uniform(700, 950), -800, 1], (4, 1)), u[:4, :4], np.arange(4)
    check_sums(student, far, k, u)
    rows_alone(student.sums_given, tensor(far), whole(k), tensor(u), apart=3_000.0, rel=1e-7, abs=1e-6)


# --- any-order: a network defined on the learner's side, and brute force here ---

NET = """def net(codes, words):
    import torch
    N, K, A = codes.shape[1], {K}, torch.tensor({A}, dtype=torch.float64)
    B = torch.tensor({B}, dtype=torch.float64)
    return torch.einsum("bnij,nimjk->bmk", torch.nn.functional.one_hot(codes, K + 1).double()[:, :, None]
        * torch.eye(1).double(), A) + B[words[:, 0]][:, None]
"""


def network(rng, N, K):
    """A random network (its tables) whose logits at m look at the code at every n, m itself too."""
    A, B = rng.normal(size=(N, 1, N, K + 1, K)), rng.normal(size=(3, K))
    return NET.format(K=K, A=A.tolist(), B=B.tolist()), A[:, 0], B


def by_hand(A, B, z, word, order, K):
    N, total, seen = len(z), 0.0, [K] * len(z)
    for m in order:
        logits = sum(A[n, m, seen[n]] for n in range(N)) + B[word]
        total += log_softmax(logits)[z[m]]
        seen[m] = z[m]
    return total


@pytest.mark.exercise("any-order", weight=2, returns={"log_p_any_order": "tensor (B,)"})
def test_orders_by_brute_force(student, rng):
    """For a random network, every sequence and several orders, of which one may occur twice: the mean of the
    orders' probabilities, each place guessed from those revealed before it, and each row with its caption."""
    for N, K, M in ((3, 2, 2), (2, 3, 1), (4, 2, 5)):
        source, A, B = network(rng, N, K)
        every = np.array(list(itertools.product(range(K), repeat=N)))
        there = np.roll(np.arange(N), 1)  # not its own inverse
        orders = np.array([there, there[::-1], there, np.arange(N), rng.permutation(N)])[:M]
        words = rng.integers(3, size=(len(every), 5))
        got = student.log_p_any_order(student.define(source), whole(every), whole(words), whole(orders), K)
        rows = [*zip(every, words[:, 0], strict=True)]
        wanted = [[by_hand(A, B, *row, order, K) for row in rows] for order in orders]
        wanted = np.logaddexp.reduce(wanted, axis=0) - np.log(M)
        assert array(got, (len(every),)) == pytest.approx(wanted, rel=1e-7, abs=1e-9)


@pytest.mark.exercise("any-order", weight=2)
def test_improbable_sequences(student, rng):
    """Very improbable sequences do not underflow, captions differ between rows, and one row works."""
    source = (
        "def net(codes, words):\n    import torch\n    x = torch.zeros(*codes.shape, 2).double()\n"
        "    x[..., 1] = 900.0 * words[:, :1].double()\n    return x\n"
    )
    net, orders = student.define(source), whole([[3, 1, 0, 2], [0, 1, 2, 3]])
    codes, words = whole(np.zeros((3, 4))), whole(np.eye(5)[[0, 1, 0]] * [[1], [1], [2]])
    got = array(student.log_p_any_order(net, codes, words, orders, 2), (3,))
    assert got == pytest.approx(np.array([-3600, 4 * np.log(0.5), -7200]), rel=1e-9)
    rows_alone(lambda *rows: student.log_p_any_order(net, *rows, orders, 2), codes, words, rel=1e-9)


# --- budget: the divergence at the answer, and just beyond it ---


def divergence(with_caption, without, w):
    log_p = log_softmax(without + w[:, None] * (with_caption - without), axis=1)
    return (np.exp(log_p) * (log_p - log_softmax(with_caption, axis=1))).sum(1)


@pytest.mark.exercise("budget", weight=2, returns={"budget_guidance": "tensor like 0 (B,)"})
def test_budget_is_spent(student, rng):
    """At the answer the divergence from the model's own law is the budget, in the right direction of the
    divergence, whatever constants are added to a row's logits; rows do not touch each other. A caption that
    says little takes a guidance of hundreds."""
    for B, K in ((6, 8), (1, 3), (4, 50)):
        with_caption, without = rng.normal(size=(2, B, K)) * 1.5
        budget = divergence(with_caption, without, rng.uniform(1.5, 3, size=B)).mean()
        shift = rng.normal(size=(2, B, 1)) * 20
        given = tensor(with_caption + shift[0]), tensor(without + shift[1])
        w = array(student.budget_guidance(*given, float(budget), 1e4), (B,))
        at, inside = divergence(with_caption, without, w), w < 9_999
        assert at[inside] == pytest.approx(np.full(inside.sum(), budget), rel=1e-3)
        assert (at <= budget * 1.001).all() and (w >= 1).all()
    weak = without + 0.001 * (with_caption - without)
    mixed = tensor([*with_caption[:2], *weak[:2]]), tensor(without[[0, 1, 0, 1]])  # the weak ones fit
    for relation in (strided, functools.partial(rows_alone, apart=3_000.0)):
        relation(lambda *rows: student.budget_guidance(*rows, 0.05, 20.0), *mixed, rel=1e-7, abs=2e-6)
    for goal in rng.uniform(300, 900, size=(4, 1)):
        budget = float(divergence(weak[:1], without[:1], goal)[0])
        w = array(student.budget_guidance(tensor(weak[:1]), tensor(without[:1]), budget, 1e4), (1,))
        assert w == pytest.approx(goal, rel=1e-7)


@pytest.mark.exercise("budget", weight=2)
def test_budget_limits(student, rng):
    """The guidance never leaves [1, w_max], however large w_max is: it is w_max where the budget is not used
    up there, and 1 where the budget is 0 and the caption matters. Logits far apart, and laws that put all on
    one code, give no NaN, nor does a law that guidance moves to a code as good as impossible; a law may put
    nearly all on one code and still be too far."""
    with_caption, without = rng.normal(size=(2, 5, 6))
    with_caption[1] = without[1] + 3

    def found(budget, w_max, said=with_caption, quiet=without):
        return array(student.budget_guidance(tensor(said), tensor(quiet), budget, w_max), (len(said),))

    for top in (1.0, rng.uniform(2, 6), 1e7):
        assert found(1e3, top) == pytest.approx(np.full(5, top))
    for budget, near in ((0.0, 1e-6), (1e-14, 1e-3)):
        assert np.delete(found(budget, 5.0), 1) == pytest.approx(np.ones(4), abs=near)
    assert found(1e-14, 5.0)[1] == pytest.approx(5)
    with_caption[0] = [700, 0, -700, 0, 0, 0]
    budget = float(divergence(with_caption[2:3], without[2:3], np.array([1.7]))[0])
    assert found(budget, 50.0)[2] == pytest.approx(1.7, abs=1e-4)
    for rare in (-100.0, -900.0):  # the second code: as likely as the first from a guidance of 1.5 on
        pair, goal = (np.array([[0, rare]]), np.array([[0, 3 * rare]])), 1.5 + rng.uniform(0, 0.5 / -rare, 1)
        assert found(float(divergence(*pair, goal)[0]), 50.0, *pair) == pytest.approx(goal, abs=2e-6)
    gap = rng.uniform(1, 2)  # with all on the first code the divergence is log(1 + exp(-gap)): below 1
    pair = np.array([[gap, 0.0]]), np.zeros((1, 2))
    assert found(1.0, 5e3, *pair) == pytest.approx([5e3])
    nearly = np.array([20 / gap])  # the other code is left with a share of exp(-20)
    assert found(float(divergence(*pair, nearly)[0]), 1e6, *pair) == pytest.approx(nearly, abs=2e-6)


# --- ceiling: closed forms, duality ---


def three(student, Q, A):
    return [number(value) for value in parts(student.ceilings_of(Q, A), 3)]


def tables(rng, Y, M, apart=False):
    """Q and A in which grid 1 is the best for class 0 and never occurs, and grid 2 is rare. apart: the judge
    sees in a grid other classes than those that it occurs in."""
    Q, A = rng.dirichlet(np.ones(M), size=Y) * (np.r_[:M] != 1), rng.uniform(size=(M, Y))
    if apart:
        own = (np.arange(M) + np.arange(Y)[:, None]) % 3 == 0
        Q, A = Q * (own | (np.r_[:M] == 0)), A * np.where(own.T, 0.3, 1)
    Q[:, 2:3] *= 1e-4
    A[1:2, 0] = 1
    return Q / Q.sum(1, keepdims=True), A


@pytest.mark.exercise("ceiling", weight=2)
def test_perfect_and_best(student, rng):
    """The perfect prior's accuracy is the judge's on real pictures' grids; the best prior's is that of one
    favourite for each class, also one that no real picture of that class has. More grids than classes, fewer,
    and one of either."""
    for Y, M in ((3, 7), (5, 4), (1, 3), (3, 1)):
        Q, A = tables(rng, Y, M)
        perfect, best, _ = three(student, Q, A)
        assert perfect == pytest.approx(np.mean([Q[y] @ A[:, y] for y in range(Y)]), abs=1e-6)
        assert best == pytest.approx(np.mean([A[:, y].max() for y in range(Y)]), abs=1e-6)


@pytest.mark.exercise("ceiling", weight=2)
def test_true_shares(student, rng):
    """The best with the true shares has the value of the dual programme, whatever the shares: rare ones, none
    at all, one grid only, and grids that no real picture of the class has for which they are best."""
    for Y, M, *apart in ((3, 6), (4, 1), (1, 5), (2, 8), (3, 7, True), (4, 6, True)):
        Q, A = tables(rng, Y, M, *apart)
        wants = np.concatenate([np.ones(Y), Q.sum(0)]) / Y  # the dual: prices a_y + b_m >= A_my
        limits = np.hstack([np.repeat(np.eye(Y), M, axis=0), np.tile(np.eye(M), (Y, 1))])
        dual = optimize.linprog(wants, A_ub=-limits, b_ub=-A.T.ravel(), bounds=(None, None)).fun
        assert three(student, Q, A)[2] == pytest.approx(dual, abs=1e-6)


# --- repair: row by row, by hand ---


def one_pass(said, quiet, codes, left, w, T, g, K):
    log_p = log_softmax((quiet + w * (said - quiet)) / T, axis=2)
    out = codes.copy()
    for b in range(len(codes)):
        hidden = np.flatnonzero(codes[b] == K)
        guess = (log_p[b] + g[b]).argmax(-1)
        surest = sorted(hidden, key=lambda n, b=b, guess=guess: -log_p[b, n, guess[n]])
        for n in surest[: len(hidden) - left]:
            out[b, n] = guess[n]
    return out


def check_pass(student, rng, shape, left, w, T):
    B, N, K = shape
    said, quiet = rng.normal(size=(2, *shape)) * 2
    g, codes = -np.log(rng.exponential(size=shape)), rng.integers(K, size=(B, N))
    for row in codes:
        row[rng.permutation(N)[: rng.integers(left, N + 1)]] = K
    given = tensor(said), tensor(quiet), whole(codes), left, w, T, tensor(g), K
    got = array(student.repaired_pass(*given), (B, N))
    assert (got == one_pass(said, quiet, codes, left, w, T, g, K)).all()
    return given


@pytest.mark.exercise("repair", weight=2, returns={"repaired_pass": "tensor int64 (B, N)"})
def test_pass_by_hand(student, rng):
    """A pass commits the surest guesses and leaves as many hidden as asked for, for any guidance and
    temperature, tiny and huge ones too, with some places committed before, wherever they are, even where a
    guess is certain. A batch of one, rows thousands of nats apart, any memory layout."""
    for shape, left, w, T in (((1, 4, 3), 2, 1.0, 1.0), ((6, 8, 5), 3, 0.5, 0.7), ((40, 16, 9), 5, 3.0, 1.8)):
        said, quiet, codes, *_, g, K = check_pass(student, rng, shape, left, w, T)
    any_unit(lambda c: student.repaired_pass(c * said, c * quiet, codes, left, w, c * T, g, K), rel=0)
    answer = lambda *rows: student.repaired_pass(*rows[:3], left, w, T, rows[3], K)  # noqa: E731
    strided(answer, said, quiet, codes, g, rel=0)
    rows_alone(answer, *(v[:5] for v in (said, quiet, codes, g)), apart=3_000.0, rel=0)
    codes = np.array([*itertools.permutations([2, 0, 3, 3])])
    sure = np.zeros((*codes.shape, 3))
    sure[..., 1] = 900.0
    inputs = tensor(sure), tensor(np.zeros_like(sure)), whole(codes)
    got = array(student.repaired_pass(*inputs, 1, 1.0, 1.0, tensor(np.zeros_like(sure)), 3), codes.shape)
    committed = codes != 3
    assert (got == codes)[committed].all() and (got[~committed] != 0).all() and ((got == 3).sum(1) == 1).all()


@pytest.mark.exercise("repair", weight=2)
def test_last_pass(student, rng):
    """With nothing left to hide, every hidden place gets its guess and no committed code changes; with
    nothing to commit, all comes back as it was."""
    for w, T in ((1.0, 2.5), (0.0, 0.4), (2.0, 3.0)):
        check_pass(student, rng, (10, 6, 4), 0, w, T)
    check_pass(student, rng, (3, 5, 4), 5, 2.0, 1.0)


# --- two-stage: the bound and its gradient by hand; a law of tables; training on a known law ---


def by_formula(logits, book, x, g, tau, sigma):
    """Minus the bound (B,), and its gradients at the logits and at the book, by hand."""
    log_q = log_softmax(logits, axis=2)
    hard = np.eye(len(book))[(logits + g).argmax(2)]
    s = np.exp(log_softmax((logits + g) / tau, axis=2))
    off = (hard @ book - x) / sigma**2  # the slope at what is painted
    log_p = -(((x - hard @ book) / sigma) ** 2 / 2 + np.log(sigma * np.sqrt(2 * np.pi))).sum(axis=(1, 2))
    told = (np.exp(log_q) * log_q).sum(2, keepdims=True)
    pull = off @ book.T
    at_logits = s * (pull - (s * pull).sum(2, keepdims=True)) / tau + np.exp(log_q) * (log_q - told)
    return (
        told.sum((1, 2)) + x.shape[1] * np.log(len(book)) - log_p,
        at_logits,
        np.einsum("bnk,bnd->kd", hard, off),
    )


def picture_case(rng, B, N, K, D, wide=1.5):
    """Logits with gaps of about `wide`, a book, pictures and Gumbel noise."""
    logits, g = wide * rng.normal(size=(B, N, K)), -np.log(rng.exponential(size=(B, N, K)))
    return logits, rng.normal(size=(K, D)), 2 * rng.normal(size=(B, N, D)), g


LAW = """
def law(first, after):
    def net(seen):
        t, logits = seen.shape[1], first[seen.shape[1]].expand(len(seen), -1)
        return sum((after[t, i][seen[:, i]] for i in range(t)), logits)

    return net
"""


def law(rng, N, K, wide):
    """Tables of a network whose logits at a place look at every code before it, and a function that says the
    same. wide: of how many nats it speaks."""
    first, after = wide * rng.normal(size=(N, K)), 1.5 * wide * rng.normal(size=(N, N, K, K))
    after += wide * rng.normal(size=(N, N, K, 1))  # a level that differs from row to row
    same = lambda seen: first[len(seen)] + sum(after[len(seen), i, k] for i, k in enumerate(seen))  # noqa: E731
    return (first, after), same


# B, N, K, D; tau, sigma; how far apart the logits are, in nats
PICTURES = (
    ((4, 3, 5, 2), 0.7, 0.5, 1.5),
    ((1, 2, 3, 4), 2.0, 3.0, 1.5),
    ((9, 1, 4, 1), 0.02, 1.0, 1.5),
    ((3, 4, 2, 3), 0.3, 0.005, 1.5),
    ((5, 3, 4, 2), 6.0, 200.0, 1.5),
    ((6, 3, 5, 2), 0.5, 0.8, 400.0),
)
SENTENCES = ((12, 5, 4), 1.0), ((1, 3, 3), 1.0), ((6, 1, 4), 1.0), ((5, 4, 2), 1.0), ((6, 3, 5), 1_000.0)


def pictures(rng, far):
    """Arrays, and the two numbers, of each of PICTURES; logits are at most about `far` apart."""
    for shape, tau, sigma, wide in PICTURES:
        near = rng.uniform(0.8, 1.25, size=2)
        yield picture_case(rng, *shape, min(wide, far)), (float(tau * near[0]), float(sigma * near[1]))


@pytest.mark.exercise(
    "two-stage",
    weight=3,
    returns={
        "stage_one": "like 0 (B,)",
        "stage_two": "tensor (B,)",
        "write_pictures": "tensor int64 (B, N), like 1 (B, N, D)",
    },
)
def test_both_stages_by_hand(student, rng):
    """The bound is complete: the normal law with its constant, one hard row of the book at each place, chosen
    with the noise, and the exact KL of all places; for any temperature, any sigma, logits however far apart.
    The nats of a sequence are those of all its codes, each from all before it. What is written follows the
    given noise, place after place, and the picture is the codes' rows and the noise. Each row for itself; one
    place, one picture; float32 and float64."""
    for given, numbers in pictures(rng, 400.0):
        got = array(student.stage_one(*map(tensor, given), *numbers), given[0].shape[:1])
        assert got == pytest.approx(by_formula(*given, *numbers)[0], rel=1e-6, abs=1e-6)
        check_kl(student, *given, *numbers)
    given = map(tensor, picture_case(rng, 5, 3, 4, 2))
    both_types(lambda *some: student.stage_one(*some, 0.7, 0.5), *given, rel=1e-4, abs=1e-4)
    for shape, wide in SENTENCES:
        check_sentences(student, rng, *shape, wide)


def check_kl(student, logits, book, x, g, tau, sigma):
    """The draw is by the sum of logits and noise: with the sum as noise alone, all that differs is the KL."""
    given, log_q = (tensor(book), tensor(x)), log_softmax(logits, axis=2)
    two = (logits, g), (0 * logits, logits + g)
    mine, flat = (array(student.stage_one(tensor(a), *given, tensor(b), tau, sigma)) for a, b in two)
    kl = (np.exp(log_q) * log_q).sum(axis=(1, 2)) + logits.shape[1] * np.log(logits.shape[2])
    assert mine - flat == pytest.approx(kl, abs=1e-8 + 1e-12 * np.abs(mine).max())


def check_sentences(student, rng, B, N, K, wide):
    """Nats and writing with a network that looks at every code before."""
    tables, logits_after = law(rng, N, K, wide)
    net, codes = student.define(LAW)(*map(tensor, tables)), rng.integers(K, size=(B, N))
    wanted = [-sum(log_softmax(logits_after(row[:i]))[row[i]] for i in range(N)) for row in codes]
    nats = lambda codes: student.stage_two(net, codes)  # noqa: E731
    assert array(nats(whole(codes)), (B,)) == pytest.approx(np.array(wanted), rel=1e-9)
    few = slice(min(B, 3))
    rows_alone(nats, whole(codes[few]), rel=1e-9)
    _, book, noise, g = picture_case(rng, B, N, K, 2)
    write = lambda g, noise: parts(student.write_pictures(net, tensor(book), g, noise), 2)  # noqa: E731
    found = write(tensor(g), tensor(noise))
    for row, given in zip(codes, g, strict=True):
        for i in range(N):
            row[i] = (logits_after(row[:i]) + given[i]).argmax()
    assert (array(found[0], (B, N)) == codes).all()
    assert array(found[1], noise.shape) == pytest.approx(book[codes] + noise, abs=1e-9)
    rows_alone(write, tensor(g[few]), tensor(noise[few]), rel=1e-9)
    both_types(
        lambda *some: parts(student.write_pictures(net, *some), 2),
        *map(tensor, (book, g, noise)),
        rel=1e-5,
        abs=1e-5,
    )


SLOPE = """
def slope(stage_two, first, codes):
    return stage_two(lambda seen: first[seen.shape[1]].expand(len(seen), -1), codes)
"""
TWO_STAGES = """
def two_stages(stage_one, stage_two, write_pictures, x, book, rows, sigma, g, noise):
    import torch

    enter = [torch.zeros(x.shape[2], len(book), dtype=x.dtype), torch.zeros(len(book), dtype=x.dtype)]
    learnt = [v.clone().requires_grad_() for v in (*enter, book)]
    optimizer = torch.optim.Adam(learnt, 0.1)
    for n, some in enumerate(rows):
        logits = x[some] @ learnt[0] + learnt[1]
        g_here = -torch.empty_like(logits).exponential_().log()
        loss = stage_one(logits, learnt[2], x[some], g_here, 0.4 ** (n / len(rows)), sigma).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    codes = (x @ learnt[0] + learnt[1]).detach().argmax(2)
    codes, often = torch.unique(codes, dim=0, return_counts=True)
    first, after = (torch.zeros(n, len(book), dtype=x.dtype, requires_grad=True) for n in (1, len(book)))
    net = lambda seen: after[seen[:, -1]] if seen.shape[1] else first.expand(len(seen), -1)
    optimizer = torch.optim.Adam([first, after], 0.3)
    for _ in range(40):
        optimizer.zero_grad()
        (stage_two(net, codes) * often / len(x)).sum().backward()
        optimizer.step()
    with torch.no_grad():
        _, pictures = write_pictures(net, learnt[2], g, noise)
    return pictures, learnt[2].detach()
"""


@pytest.mark.exercise("two-stage", weight=3, costly=True)
def test_gradients_of_both_stages(student, rng):
    """Backwards the choice is the relaxed draw at the given temperature, and the row that was painted gets
    the whole pull of its pictures. Each picture has its own loss, in any memory layout, whatever constant is
    added to the logits. Stage two's gradient reaches the logits of every place. Trained on pictures of two
    places whose law is a table, the book ends at the things that are shown, and the written pictures have the
    law of the table."""
    for given, numbers in pictures(rng, 60.0):
        for wrt, wanted in enumerate(by_formula(*given, *numbers)[1:]):
            got = array(student.grad(student.stage_one, wrt, *map(tensor, given), *numbers), wanted.shape)
            assert got == pytest.approx(wanted, rel=1e-6, abs=1e-8 * (1 + np.abs(wanted).max()))
    logits, book, x, g = map(tensor, picture_case(rng, 5, 3, 4, 2))
    answer = lambda logits, x, g: student.stage_one(logits, book, x, g, 0.7, 0.5)  # noqa: E731
    strided(answer, logits, x, g, rel=1e-9, abs=1e-9)
    rows_alone(answer, logits, x, g, rel=1e-9, abs=1e-9)
    any_level(lambda level: answer(logits + level, x, g), levels=(-500.0, 500.0), rel=1e-7, abs=1e-7)
    first, codes = rng.normal(size=(3, 4)), rng.integers(4, size=(5, 3))
    got = array(student.grad(student.define(SLOPE), 1, student.stage_two, tensor(first), whole(codes)))
    wanted = 5 * np.exp(log_softmax(first, axis=1)) - np.eye(4)[codes].sum(0)
    assert got == pytest.approx(wanted, abs=1e-9)
    check_known_law(student, rng)


def check_known_law(student, rng):
    """Both stages trained: where the book ends, which thing stands first, and which follows it."""
    K, N, n, sigma = 3, 2, 1_500, 0.4
    angle = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(K) / K
    centres = rng.uniform(2, 3) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    share = rng.dirichlet(np.full(K, 9))[:, None]
    table = 0.08 / K**2 + 0.92 * np.roll(np.eye(K), int(rng.integers(1, K)), axis=1) * share
    drawn = np.stack(np.divmod(rng.choice(K**2, p=table.ravel(), size=n), K), axis=1)
    x = centres[drawn] + sigma * rng.normal(size=(n, N, 2))
    start, order = centres + 0.3 * rng.normal(size=(K, 2)), rng.permutation(K)
    rows = [whole(rng.integers(n, size=50)) for _ in range(70)]
    g, noise = -np.log(rng.exponential(size=(n, N, K))), 0.2 * rng.normal(size=(n, N, 2))
    answers = student.stage_one, student.stage_two, student.write_pictures
    given = (tensor(x), tensor(start[order]), rows, sigma, tensor(g), tensor(noise))
    result = train(student, TWO_STAGES, *answers, *given, seed=int(rng.integers(2**31)), seconds=4.0)
    painted, book = (array(part) for part in parts(result, 2))
    learned(1.0, np.abs(book - centres[order]).max(), 0.3)
    thing = ((painted[:, :, None] - centres) ** 2).sum(axis=3).argmin(axis=2)
    found = np.bincount(thing[:, 0] * K + thing[:, 1], minlength=K**2).reshape(K, K) / n
    learned(np.abs(table - 1 / K**2).sum() / 2, np.abs(found - table).sum() / 2, 0.12)
