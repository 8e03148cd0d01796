"""Hidden tests of lesson 26_tokens_to_images. A docstring is what the learner reads when its test fails."""

import itertools

import numpy as np
import pytest
import torch
from scipy import optimize

from autograde.checks import array, number, parts


def tensor(value):
    return torch.tensor(np.asarray(value), dtype=torch.float64)


def whole(value):
    return torch.tensor(np.asarray(value), dtype=torch.int64)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def strided(x):
    """The same numbers, in a tensor that is not contiguous."""
    return torch.stack([x, x], dim=-1)[..., 0]


# --- top-k: all ordered results sum to 1; two at a time by hand; extremes in closed form ---


@pytest.mark.exercise("top-k", weight=2)
def test_ordered_results_sum_to_one(student, rng):
    """The probabilities of all ordered results of k places sum to 1, for every k, and each is that of drawing
    one place after the other from what is left."""
    for K, k in ((4, 2), (4, 4), (5, 3), (3, 1)):
        picked = np.array(list(itertools.permutations(range(K), k)))
        p = np.exp(log_softmax(rng.normal(size=K) * 2))
        logits = np.tile(np.log(p) + rng.normal(), (len(picked), 1))
        got = array(student.log_p_ordered(strided(tensor(logits)), whole(picked)), (len(picked),))
        assert np.exp(got).sum() == pytest.approx(1, abs=1e-9)
        wanted = [np.prod([p[j] / (1 - p[list(row[:i])].sum()) for i, j in enumerate(row)]) for row in picked]
        assert np.exp(got) == pytest.approx(np.array(wanted), rel=1e-7)


@pytest.mark.exercise("top-k", weight=2)
def test_ordered_far_apart(student, rng):
    """Logits that are hundreds apart, and a remainder far below the smallest float: the logarithm is finite
    and exact, and each row has its own logits. A batch of one works, and so does a single place, which is
    certain; the result has the type of the logits."""
    a, b, c = rng.uniform(300, 900), rng.uniform(-1, 1), rng.uniform(-900, -300)
    logits, picked = tensor([[a, b, b + 0.5, c], [b, a, c, b + 0.5]]), whole([[0, 1, 3], [1, 0, 2]])
    wanted = -np.logaddexp(0, 0.5) + (c - (b + 0.5))
    assert array(student.log_p_ordered(logits, picked), (2,)) == pytest.approx(np.full(2, wanted), rel=1e-9)
    got = array(student.log_p_ordered(tensor([[c, a]]), whole([[0, 1]])), (1,))
    assert got[0] == pytest.approx(c - a, rel=1e-9)
    got = array(student.log_p_ordered(tensor([[a], [c]]), whole([[0], [0]])), (2,))
    assert got.dtype == np.float64 and got == pytest.approx(np.zeros(2), abs=1e-9)


# --- noise-behind: the two distribution functions, at the answer, are the uniform numbers ---


def check_sums(student, logits, k, u):
    z = array(student.sums_given(strided(tensor(logits)), whole(k), tensor(u)), logits.shape)
    rows = np.arange(len(k))
    top, location = z[rows, k], np.logaddexp.reduce(logits, axis=1)
    assert np.exp(-np.exp(location - top)) == pytest.approx(u[rows, k], abs=1e-7)
    for i in range(len(k)):
        for j in set(range(logits.shape[1])) - {k[i]}:
            exponent = np.exp(logits[i, j] - z[i, j]) - np.exp(logits[i, j] - top[i])
            assert exponent == pytest.approx(-np.log(u[i, j]), rel=1e-5)
    return z


@pytest.mark.exercise("noise-behind", weight=2)
def test_inversion(student, rng):
    """Put the sums into their distribution functions, and the uniform numbers come back: at the largest, and
    at the others, cut off there. Several shapes, a batch of one."""
    for B, K in ((5, 4), (1, 7), (30, 2)):
        logits, u = rng.normal(size=(B, K)) * 2, rng.uniform(0.02, 0.98, size=(B, K))
        check_sums(student, logits, rng.integers(K, size=B), u)


@pytest.mark.exercise("noise-behind", weight=1)
def test_choice_stays(student, rng):
    """The largest sum is at the given place, also where that place is very unlikely and where logits are
    hundreds apart; all sums are finite."""
    logits = rng.normal(size=(40, 5)) * 3
    k, u = logits.argmin(1), rng.uniform(0.01, 0.99, size=(40, 5))
    z = array(student.sums_given(tensor(logits), whole(k), tensor(u)), (40, 5))
    assert (z.argmax(1) == k).all()
    z = array(student.sums_given(tensor([[800.0, 0, -800.0]]), whole([2]), tensor([[0.3, 0.4, 0.5]])), (1, 3))
    assert z[0, 2] == pytest.approx(800 - np.log(-np.log(0.5)), rel=1e-9)
    assert z[0, 1] == pytest.approx(-np.log(-np.log(0.4)), rel=1e-6) and z[0, 0] <= z[0, 2]


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


@pytest.mark.exercise("any-order", weight=2)
def test_orders_by_brute_force(student, rng):
    """For a random network, every sequence and several orders: the mean of the orders' probabilities, each
    place guessed from those revealed before it. All sequences sum to 1."""
    for N, K, M in ((3, 2, 2), (2, 3, 1), (3, 2, 3)):
        source, A, B = network(rng, N, K)
        every = np.array(list(itertools.product(range(K), repeat=N)))
        orders = np.stack([rng.permutation(N) for _ in range(M)])
        orders[0] = np.roll(np.arange(N), 1)  # not its own inverse
        words = np.zeros((len(every), 5), int) + rng.integers(3)
        got = student.log_p_any_order(student.define(source), whole(every), whole(words), whole(orders), K)
        got = array(got, (len(every),))
        assert np.exp(got).sum() == pytest.approx(1, abs=1e-8)
        wanted = [[by_hand(A, B, z, words[0, 0], order, K) for order in orders] for z in every]
        assert got == pytest.approx(np.logaddexp.reduce(wanted, axis=1) - np.log(M), rel=1e-7, abs=1e-9)


@pytest.mark.exercise("any-order", weight=2)
def test_improbable_sequences(student, rng):
    """Very improbable sequences do not underflow, captions differ between rows, and one row works."""
    source = (
        "def net(codes, words):\n    import torch\n    x = torch.zeros(*codes.shape, 2).double()\n"
        "    x[..., 1] = 500.0 * words[:, :1].double()\n    return x\n"
    )
    net, orders = student.define(source), whole([[3, 1, 0, 2], [0, 1, 2, 3]])
    codes, words = whole([[0, 0, 0, 0], [0, 0, 0, 0]]), whole([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    got = array(student.log_p_any_order(net, codes, words, orders, 2), (2,))
    assert got == pytest.approx(np.array([-2000, 4 * np.log(0.5)]), rel=1e-9)
    got = array(student.log_p_any_order(net, codes[:1], words[:1], orders[:1], 2), (1,))
    assert got == pytest.approx(np.array([-2000]), rel=1e-9)


# --- budget: the divergence at the answer, and just beyond it ---


def divergence(with_caption, without, w):
    log_p = log_softmax(without + w[:, None] * (with_caption - without))
    return (np.exp(log_p) * (log_p - log_softmax(with_caption))).sum(1)


@pytest.mark.exercise("budget", weight=2)
def test_budget_is_spent(student, rng):
    """At the answer the divergence from the model's own law is the budget, in the right direction of the
    divergence, whatever constants are added to a row's logits. A caption that says little takes a guidance
    of hundreds."""
    for B, K in ((6, 8), (1, 3), (4, 50)):
        with_caption, without = rng.normal(size=(2, B, K)) * 1.5
        goal = rng.uniform(1.5, 3, size=B)
        budget = divergence(with_caption, without, goal).mean()
        shift = rng.normal(size=(2, B, 1)) * 20
        arguments = strided(tensor(with_caption + shift[0])), tensor(without + shift[1])
        w = array(student.budget_guidance(*arguments, float(budget), 1e4), (B,))
        at = divergence(with_caption, without, w)
        inside = w < 9_999
        assert at[inside] == pytest.approx(np.full(inside.sum(), budget), rel=1e-3)
        assert (at <= budget * 1.001).all() and (w >= 1).all()
    weak = without[:1] + 0.001 * (with_caption - without)[:1]
    for goal in rng.uniform(300, 900, size=(4, 1)):
        budget = float(divergence(weak, without[:1], goal)[0])
        w = array(student.budget_guidance(tensor(weak), tensor(without[:1]), budget, 1e4), (1,))
        assert w == pytest.approx(goal, rel=1e-7)


@pytest.mark.exercise("budget", weight=2)
def test_budget_limits(student, rng):
    """The guidance never leaves [1, w_max]: it is w_max where the budget is not used up there, and 1 where
    the budget is 0 and the caption matters. Rows do not touch each other; logits far apart, and laws that put
    all on one code, give no NaN; a law may put nearly all on one code and still be too far."""
    with_caption, without = rng.normal(size=(2, 5, 6))
    with_caption[1] = without[1] + 3
    top = rng.uniform(2, 6)
    w = array(student.budget_guidance(tensor(with_caption), tensor(without), 1e3, top), (5,))
    assert w == pytest.approx(np.full(5, top))
    w = array(student.budget_guidance(tensor(with_caption), tensor(without), 1e-14, top), (5,))
    assert w[1] == pytest.approx(top) and np.delete(w, 1) == pytest.approx(np.ones(4), abs=1e-3)
    with_caption[0] = [700, 0, -700, 0, 0, 0]
    budget = float(divergence(with_caption[2:3], without[2:3], np.array([1.7]))[0])
    w = array(student.budget_guidance(tensor(with_caption), tensor(without), budget, 50.0), (5,))
    assert w[2] == pytest.approx(1.7, abs=1e-4)
    gap = rng.uniform(1, 2)  # with all on the first code the divergence is log(1 + exp(-gap)): below 1
    w = array(student.budget_guidance(tensor([[gap, 0.0]]), tensor([[0.0, 0.0]]), 1.0, 5e3), (1,))
    assert w == pytest.approx([5e3])
    nearly = np.array([20 / gap])  # the other code is left with a share of exp(-20)
    budget = float(divergence(np.array([[gap, 0.0]]), np.zeros((1, 2)), nearly)[0])
    w = array(student.budget_guidance(tensor([[gap, 0.0]]), tensor([[0.0, 0.0]]), budget, 1e6), (1,))
    assert w == pytest.approx(nearly, abs=2e-6)


# --- ceiling: closed forms, an assignment, duality ---


def three(student, Q, A):
    return [number(value) for value in parts(student.ceilings_of(Q, A), 3)]


@pytest.mark.exercise("ceiling", weight=2)
def test_perfect_and_best(student, rng):
    """The perfect prior's accuracy is the judge's on real pictures' grids; the best prior's is that of one
    favourite for each class, also one that no real picture of that class has. More grids than classes, fewer,
    and one class."""
    for Y, M in ((3, 7), (5, 4), (1, 3)):
        Q, A = rng.dirichlet(np.ones(M), size=Y), rng.dirichlet(np.ones(Y), size=M)
        perfect, best, fair = three(student, Q, A)
        assert perfect == pytest.approx(np.mean([Q[y] @ A[:, y] for y in range(Y)]), abs=1e-6)
        assert best == pytest.approx(np.mean([A[:, y].max() for y in range(Y)]), abs=1e-6)
        assert perfect - 1e-6 <= fair <= best + 1e-6
    Q = np.array([[0.0, 0.6, 0.4, 0.0], [0.3, 0.3, 0.4, 0.0]])
    A = np.array([[0.9, 0.1], rng.dirichlet([1, 1]) * 0.8, [0.3, 0.7], [0.05, 0.95]])
    assert three(student, Q, A)[1] == pytest.approx((0.9 + 0.95) / 2, abs=1e-6)


@pytest.mark.exercise("ceiling", weight=2)
def test_true_shares(student, rng):
    """The best with the true shares: where each grid occurs once it is the best assignment; where grids have
    any shares it has the value of the dual programme."""
    n = int(rng.integers(4, 7))
    A = rng.uniform(size=(n, n))
    rows, columns = optimize.linear_sum_assignment(-A)
    fair = three(student, np.full((n, n), 1 / n), A)[2]
    assert fair == pytest.approx(A[rows, columns].mean(), abs=1e-6)
    Q, A = rng.dirichlet(np.ones(6), size=3), rng.uniform(size=(6, 3))
    wants = np.concatenate([np.ones(3), Q.sum(0)]) / 3  # the dual: prices a_y + b_m >= A_my
    limits = np.array([np.eye(9)[y] + np.eye(9)[3 + m] for y in range(3) for m in range(6)])
    dual = optimize.linprog(wants, A_ub=-limits, b_ub=-A.T.ravel(), bounds=(None, None)).fun
    assert three(student, Q, A)[2] == pytest.approx(dual, abs=1e-6)


# --- repair: row by row, by hand ---


def one_pass(said, quiet, codes, left, w, T, g, K):
    log_p = log_softmax((quiet + w * (said - quiet)) / T)
    out = codes.copy()
    for b in range(len(codes)):
        hidden = np.flatnonzero(codes[b] == K)
        guess = (log_p[b] + g[b]).argmax(-1)
        surest = sorted(hidden, key=lambda n, b=b, guess=guess: -log_p[b, n, guess[n]])
        for n in surest[: len(hidden) - left]:
            out[b, n] = guess[n]
    return out


def check_pass(student, rng, shape, left, w, T, scale=2.0):
    B, N, K = shape
    said, quiet = rng.normal(size=(2, *shape)) * scale
    g, codes = -np.log(rng.exponential(size=shape)), rng.integers(K, size=(B, N))
    for row in codes:
        row[rng.permutation(N)[: rng.integers(left, N + 1)]] = K
    inputs = strided(tensor(said)), tensor(quiet), whole(codes)
    got = array(student.repaired_pass(*inputs, left, w, T, tensor(g), K), (B, N))
    assert (got == one_pass(said, quiet, codes, left, w, T, g, K)).all()


@pytest.mark.exercise("repair", weight=3)
def test_pass_by_hand(student, rng):
    """A pass commits the surest guesses and leaves as many hidden as asked for, for any guidance and
    temperature, tiny ones too, with some places committed before, even where a guess is certain; a batch of
    one."""
    for shape, left, w, T in (((6, 8, 5), 3, 2.5, 0.7), ((1, 4, 3), 2, 1.0, 1.0), ((8, 16, 9), 5, 3.0, 1.8)):
        check_pass(student, rng, shape, left, w, T)
    check_pass(student, rng, (6, 8, 5), 3, 2.0, 1e-7, scale=1e-7)
    sure = np.zeros((1, 4, 3))
    sure[..., 1] = 900.0
    codes = rng.permutation([2, 0, 3, 3])[None]
    inputs = tensor(sure), tensor(np.zeros_like(sure)), whole(codes)
    got = array(student.repaired_pass(*inputs, 1, 1.0, 1.0, tensor(np.zeros_like(sure)), 3), (1, 4))
    assert (got == codes)[codes != 3].all() and (got == 3).sum() == 1 and (got[codes == 3] != 0).all()


@pytest.mark.exercise("repair", weight=2)
def test_last_pass(student, rng):
    """With nothing left to hide, every hidden place gets its guess and no committed code changes; with
    nothing to commit, all comes back as it was."""
    for w, T in ((1.0, 2.5), (0.0, 0.4), (2.0, 3.0)):
        check_pass(student, rng, (10, 6, 4), 0, w, T)
    check_pass(student, rng, (3, 5, 4), 5, 2.0, 1.0)
