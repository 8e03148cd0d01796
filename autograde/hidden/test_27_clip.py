"""Hidden tests of lesson 27_clip. A docstring is what the learner reads when its test fails."""

import itertools
import math

import numpy as np
import pytest
import torch

from autograde.checks import array, gradient, number, parts, whole_numbers
from autograde.relations import (
    any_level,
    any_order,
    any_unit,
    both_types,
    gradient_is_slope,
    rows_alone,
    strided,
    within_memory,
)
from autograde.training import learned, train

NEAR = {"rel": 1e-9, "abs": 1e-9}
SHORT = {"rel": 1e-4, "abs": 1e-4}  # of float32


def tensor(value, dtype=torch.float64):
    return torch.tensor(np.asarray(value), dtype=dtype)


def ids(value):
    return torch.tensor(np.asarray(value), dtype=torch.int64)


# --- many-positives: the oracle is a loop in NumPy ---


def log_softmax(v):
    top = v.max()
    return v - top - math.log(np.exp(v - top).sum())


def side(logits, mine, others):
    """The mean over rows that have a right answer."""
    losses = [
        -log_softmax(row)[others == name].mean()
        for row, name in zip(logits, mine, strict=True)
        if (others == name).any()
    ]
    return np.mean(losses) if losses else 0.0


def both_sides(logits, pictures, captions):
    return (side(logits, pictures, captions) + side(logits.T, captions, pictures)) / 2


def numbered(rng, N, M, kinds):
    return 3 * rng.normal(size=(N, M)), rng.integers(kinds, size=N), rng.integers(kinds, size=M)


@pytest.mark.exercise("many-positives", weight=1, returns={"many_positives": "tensor like 0 ()"})
def test_positives_by_formula(student, rng):
    """The loss is that of the formula: square and oblong batches, one row or column, every number once, all
    equal, some that fit nothing, logits of a few nats or thousands apart, at any level, float32 and float64,
    in any order."""
    for N, M, kinds in (
        (6, 6, 3),
        (2, 7, 3),
        (9, 4, 5),
        (1, 5, 2),
        (5, 1, 2),
        (4, 4, 1),
        (8, 8, 9),
        (1, 1, 1),
        (40, 40, 1),
    ):
        for size in (1.0, 1e3):
            logits, pictures, captions = numbered(rng, N, M, kinds)
            wanted = both_sides(size * logits, pictures, captions)
            found = number(student.many_positives(tensor(size * logits), ids(pictures), ids(captions)))
            assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)
    logits = rng.normal(size=(7, 7))
    own = rng.permutation(7)
    found = number(student.many_positives(tensor(logits), ids(own), ids(own)))
    assert found == pytest.approx(both_sides(logits, own, own), rel=1e-9)
    logits, pictures, captions = numbered(rng, 6, 5, 3)
    pictures[0], captions[0] = 1, 1
    call = lambda v: student.many_positives(v, ids(pictures), ids(captions))  # noqa: E731
    strided(call, tensor(logits), **NEAR)
    any_level(lambda c: call(c + tensor(logits)), levels=(-20_000.0, 20_000.0), **NEAR)
    logits, pictures, captions = numbered(rng, 6, 8, 3)
    both_types(lambda v: student.many_positives(v, ids(pictures), ids(captions)), tensor(logits), **SHORT)
    any_order(
        lambda i: student.many_positives(tensor(logits[i]), ids(pictures[i]), ids(captions)),
        6,
        rng,
        (),
        **NEAR,
    )
    any_order(
        lambda i: student.many_positives(tensor(logits[:, i]), ids(pictures), ids(captions[i])),
        8,
        rng,
        (),
        **NEAR,
    )


@pytest.mark.exercise("many-positives", weight=1)
def test_positives_edges(student, rng):
    """Nothing fits: 0, with a gradient of 0. Logits of -inf where numbers differ, in single places and in
    whole rows and columns: the others' loss, and no NaN in the gradient. The gradient is the loss's slope,
    also in rows and columns that ask nothing. Numbers may be any of int64."""
    logits = rng.normal(size=(3, 4))
    for level in (0.0, -np.inf):
        given = tensor(level + logits), ids([0, 1, 2]), ids([3, 4, 5, 3])
        assert number(student.many_positives(*given)) == 0
        slopes = student.grad(student.many_positives, 0, *given)
        assert slopes is None or (array(slopes, (3, 4)) == 0).all()
    logits, pictures, captions = numbered(rng, 6, 5, 3)
    wanted = both_sides(logits, pictures, captions)
    for base in (-7, -(2**60), 2**60):
        found = number(student.many_positives(tensor(logits), ids(base + pictures), ids(base + captions)))
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)
    pictures, captions = np.array([0, 1, 2, 9]), np.array([2, 1, 0, 0, 8])
    logits = 2 * rng.normal(size=(4, 5))
    fits = pictures[:, None] == captions
    given = np.where(fits | (rng.random(fits.shape) < 0.5), logits, -np.inf)
    given[0, 0], given[3, 4] = -np.inf, logits[3, 4]
    given[3, 0], given[1, 4], given[1, 0] = logits[3, 0], logits[1, 4], logits[1, 0]
    whole = given.copy()
    whole[3], whole[:, 4] = -np.inf, -np.inf  # they fit nothing
    for some in (given, whole):
        wanted = both_sides(some, pictures, captions)
        found = student.many_positives(tensor(some), ids(pictures), ids(captions))
        assert number(found) == pytest.approx(wanted, rel=1e-9)
        slopes = array(
            gradient(student, student.many_positives, 0, tensor(some), ids(pictures), ids(captions)), (4, 5)
        )
        assert slopes[fits].sum() < 0
    gradient_is_slope(
        student.many_positives, 0, tensor(logits), ids(pictures), ids(captions), rng=rng, rel=1e-6
    )


# --- zero-shot: the oracle is Bayes' rule, class by class ---


def unit(v):
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def posterior(a, b, owner, shares, scale):
    logits = np.full((len(a), len(shares)), -np.inf)
    for k, share in enumerate(shares):
        if share > 0 and (owner == k).any():
            w = unit(unit(b[owner == k]).mean(0))
            logits[:, k] = scale * unit(a) @ w + math.log(share)
    logits -= logits.max(1, keepdims=True)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def prompts(rng, B=5, D=6, K=4, P=9):
    """Pictures, prompts of unequal lengths, owners in any order, each class with at least one, shares."""
    owner = rng.permutation(np.concatenate([np.arange(K), rng.integers(K, size=P - K)]))
    a = rng.normal(size=(B, D)) * rng.uniform(0.1, 9, size=(B, 1))
    b = rng.normal(size=(P, D)) * rng.uniform(0.1, 9, size=(P, 1))
    return a, b, owner, rng.dirichlet(np.ones(K))


@pytest.mark.exercise("zero-shot", weight=1, returns={"class_posterior": "like 0"})
def test_posterior_by_bayes(student, rng):
    """The posterior is Bayes' rule with each class's own prompts: in any order, of unequal number and
    length, classes of unequal frequency, one picture or many, small and large scales."""
    for B, D, K, P in ((5, 6, 4, 9), (1, 2, 2, 2), (3, 4, 1, 3), (4, 5, 6, 20)):
        for scale in (rng.uniform(0.5, 3), 60.0):
            a, b, owner, shares = prompts(rng, B, D, K, P)
            found = student.class_posterior(tensor(a), tensor(b), ids(owner), tensor(shares), scale)
            assert array(found, (B, K)) == pytest.approx(posterior(a, b, owner, shares, scale), **NEAR)


@pytest.mark.exercise("zero-shot", weight=2)
def test_posterior_edges(student, rng):
    """A class without share or without prompts, first, last or between, has the posterior 0, the others share
    1, also for pictures like the first of these, like another class, and unlike all; scales of thousands give
    no NaN. Lengths of pictures and prompts, and what shares add up to, do not matter."""
    for scale in (2.0, 9_000.0):
        for bare in range(5):
            a, b, owner, shares = prompts(rng, K=5, P=12)
            owner[owner == bare] = (bare + 1) % 5
            shareless = (bare + 2) % 5
            shares[shareless] = 0
            w = [unit(unit(b[owner == k]).mean(0)) for k in range(5) if k != bare]
            w = np.insert(np.array(w), bare, 0.0, axis=0)
            a[:3] = 3 * w[shareless], 2 * w[(bare + 1) % 5], w[shareless] - w.sum(0)
            found = array(
                student.class_posterior(tensor(a), tensor(b), ids(owner), tensor(shares), scale), (5, 5)
            )
            assert (found[:, [bare, shareless]] == 0).all()
            assert found == pytest.approx(posterior(a, b, owner, shares, scale), **NEAR)
    a, b, owner, shares = prompts(rng)
    call = lambda x, y: student.class_posterior(x, y, ids(owner), tensor(shares), 3.0)  # noqa: E731
    any_unit(lambda c: call(c * tensor(a), tensor(b)), units=(1e-6, 1e6), **NEAR)
    any_unit(lambda c: call(tensor(a), c * tensor(b)), units=(1e-6, 1e6), **NEAR)
    other = lambda c: student.class_posterior(tensor(a), tensor(b), ids(owner), c * tensor(shares), 3.0)  # noqa: E731
    any_unit(other, units=(1e-20, 7.0, 1e20), **NEAR)
    assert array(other(1.0)) == pytest.approx(posterior(a, b, owner, shares, 3.0), **NEAR)


@pytest.mark.exercise("zero-shot", weight=1)
def test_posterior_rows(student, rng):
    """The posterior is right, rows together give what each gives alone, in any memory layout, and float32
    gives what float64 gives."""
    a, b, owner, shares = prompts(rng)
    rest = ids(owner), tensor(shares), 3.0
    found = student.class_posterior(tensor(a), tensor(b), *rest)
    assert array(found, (5, 4)) == pytest.approx(posterior(a, b, owner, shares, 3.0), **NEAR)
    rows_alone(lambda x: student.class_posterior(x, tensor(b), *rest), tensor(a), **NEAR)
    strided(lambda x, y: student.class_posterior(x, y, *rest), tensor(a), tensor(b), **NEAR)
    both_types(
        lambda x, y, p: student.class_posterior(x, y, ids(owner), p, 3.0),
        tensor(a),
        tensor(b),
        tensor(shares),
        **SHORT,
    )


# --- recall: the oracle sorts, irrelevant items first among equals ---


def recall(scores, relevant, k):
    hits = []
    for row, right in zip(scores, relevant, strict=True):
        order = np.lexsort((right, -row))
        hits.append(bool(right[order[:k]].any()))
    return float(np.mean(hits))


@pytest.mark.exercise("recall", weight=1, returns={"recall_at_k": "float64 ()"})
def test_recall_by_sorting(student, rng):
    """Recall at k is what sorting gives: any number of relevant items in a row, one row or many, every k up
    to more than there are items, float32 and float64."""
    for Q, M in ((40, 7), (1, 5), (12, 1), (30, 60)):
        scores, relevant = rng.normal(size=(Q, M)), rng.random((Q, M)) < 0.3
        for k in (1, 2, 3, M, M + 4):
            for dtype in (torch.float64, torch.float32):
                found = student.recall_at_k(tensor(scores, dtype), torch.tensor(relevant), k)
                assert number(found) == pytest.approx(recall(scores, relevant, k), abs=1e-6)


@pytest.mark.exercise("recall", weight=1)
def test_recall_ties(student, rng):
    """Equal scores: irrelevant items stand first, relevant ones do not stand in each other's way. Rows
    without a relevant item are not found, for any k; scores of -inf are scores like others. Scores that
    differ by little are not equal, at any size."""
    for Q, M in ((50, 6), (30, 12)):
        scores, relevant = rng.integers(3, size=(Q, M)).astype(float), rng.random((Q, M)) < 0.35
        relevant[0], relevant[1] = False, True
        scores[2:6] = 1.0
        for k in (1, 2, 3, 4, M, M + 1):
            wanted = recall(scores, relevant, k)
            for step, level in ((1.0, 0.0), (2.0**-40, 1.0), (2.0**-40, -3.0), (1e-30, 0.0), (1e30, 0.0)):
                found = student.recall_at_k(tensor(level + step * scores), torch.tensor(relevant), k)
                assert isinstance(found, float) and found == pytest.approx(wanted, abs=1e-6)
    scores = np.array([[-np.inf, -np.inf, 0.0], [-np.inf, 1.0, -np.inf], [-np.inf] * 3])
    relevant = np.array([[True, False, False], [True, False, True], [False] * 3])
    for k, wanted in ((1, 0.0), (2, 1 / 3), (3, 2 / 3), (4, 2 / 3)):
        found = number(student.recall_at_k(tensor(scores), torch.tensor(relevant), k))
        assert found == pytest.approx(wanted, abs=1e-6)


# --- adversarial: the oracle tries every change, one at a time ---

SCORER = """
def make(unary, pairwise):
    import torch
    def score(t):
        assert t.ndim == 2 and t.dtype == torch.int64 and len(t) > 0
        n, L = t.shape
        total = unary[torch.arange(L), t].sum(1)
        for i in range(L - 1):
            total = total + pairwise[t[:, i], t[:, i + 1]]
        return total
    return score
"""


def climbed(unary, pairwise, words, choices, budget):
    def score(t):
        return sum(unary[i, w] for i, w in enumerate(t)) + sum(
            pairwise[v, w] for v, w in itertools.pairwise(t)
        )

    now = list(words)
    for _ in range(budget):
        best, value = None, score(now)
        for i, allowed in enumerate(choices):
            for w in allowed:
                trial = [*now[:i], w, *now[i + 1 :]]
                if score(trial) > value:
                    best, value = trial, score(trial)
        if best is None:
            break
        now = best
    return now


@pytest.mark.exercise("adversarial", weight=1, returns={"adversarial_caption": "tensor like 1 shape 1"})
def test_climbs(student, rng):
    """Each change is the best single one, and it stops where none raises the score or the budget is used
    up: scores in which neighbouring words matter together, that differ by much or by little, budgets from 0,
    places that are closed, places that change many times, captions of one word."""
    for (L, V), (step, level) in itertools.product(
        ((5, 6), (3, 4), (1, 5), (6, 3)), ((1 / 8, 0.0), (2.0**-40, 1.0))
    ):
        unary, pairwise = (step * rng.integers(-64, 64, size=(rows, V)) for rows in (L, V))
        unary[0] += level
        score = student.define(SCORER)(tensor(unary), tensor(pairwise))
        words = rng.integers(V, size=L)
        choices = [[int(w) for w in rng.permutation(V)[: rng.integers(V // 2 + 1, V + 1)]] for _ in range(L)]
        if L > 1:
            choices[int(rng.integers(L))] = []
        for budget in (0, 1, 2, 30):
            found = student.adversarial_caption(score, ids(words), choices, budget)
            assert whole_numbers(found, (L,)).tolist() == climbed(unary, pairwise, words, choices, budget)
    V = 8  # stairs: two words that change in turns
    stairs = np.full((V, V), -99.0)
    stairs[range(V), range(V)] = 2 * np.arange(V)
    stairs[range(1, V), range(V - 1)] = 2 * np.arange(V - 1) + 1
    name = rng.permutation(V)
    back = np.argsort(name)
    score = student.define(SCORER)(tensor(np.zeros((2, V))), tensor(stairs[np.ix_(back, back)]))
    for budget in (0, 1, 2, 3, 7, 11, 14, 40):
        found = student.adversarial_caption(score, ids(name[[0, 0]]), [list(range(V))] * 2, budget)
        done = min(budget, 2 * V - 2)
        assert whole_numbers(found, (2,)).tolist() == [name[(done + 1) // 2], name[done // 2]]


@pytest.mark.exercise("adversarial", weight=1)
def test_climbs_strictly(student, rng):
    """Where nothing raises the score, or every place is closed, the caption stays, also where all scores
    are equal or below 0; among equally good changes the first place counts, and there the first of its
    list."""
    V, L = 5, 4
    flat = student.define(SCORER)(tensor(np.full((L, V), -3.0)), tensor(np.zeros((V, V))))
    words = rng.integers(1, V, size=L)
    everything = [list(range(V))] * L
    assert (
        whole_numbers(student.adversarial_caption(flat, ids(words), everything, 9), (L,)).tolist()
        == words.tolist()
    )
    found = student.adversarial_caption(flat, ids(words), [[] for _ in range(L)], 9)
    assert whole_numbers(found, (L,)).tolist() == words.tolist()
    unary = np.full((L, V), -9.0)
    unary[:, 1:3] = -4.0
    tied = student.define(SCORER)(tensor(unary), tensor(np.zeros((V, V))))
    for first, second in ((1, 2), (2, 1)):
        choices = [[], [0, first, second], [second, first], []]
        for budget, wanted in ((1, [0, first, 0, 0]), (2, [0, first, second, 0]), (9, [0, first, second, 0])):
            found = student.adversarial_caption(tied, ids([0] * L), choices, budget)
            assert whole_numbers(found, (L,)).tolist() == wanted


# --- repair: the oracle is the whole table ---


def whole_sigmoid(a, b, scale, bias):
    logits = scale * unit(a) @ unit(b).T + bias
    z = 2 * np.eye(len(a)) - 1
    return np.logaddexp(0, -z * logits).sum() / len(a)


@pytest.mark.exercise("repair", weight=1, costly=True, returns={"sigmoid_in_pieces": "tensor float64 ()"})
def test_pieces(student, rng):
    """The loss is that of all pairs at once, for one piece and many, equal and unequal, pieces of one row,
    vectors of any length, scales and biases of any size. For thousands of pictures in pieces of hundreds no
    table of all pairs is made."""
    for sizes in ([4], [2, 2], [3, 1, 4], [1, 1, 1], [1], [5, 2]):
        for scale, bias in ((rng.uniform(1, 5), rng.uniform(-3, 1)), (300.0, -40.0), (5_000.0, 3_000.0)):
            a, b = rng.normal(size=(2, sum(sizes), 3)) * rng.uniform(0.2, 4, size=(2, sum(sizes), 1))
            found = student.sigmoid_in_pieces(
                list(tensor(a).split(sizes)), list(tensor(b).split(sizes)), scale, bias
            )
            assert number(found) == pytest.approx(whole_sigmoid(a, b, scale, bias), rel=1e-9, abs=1e-8)
    a, b = map(tensor, rng.normal(size=(2, 6, 3)))
    for c, d in ((lambda c: c, lambda c: 1.0), (lambda c: 1.0, lambda c: c)):
        any_unit(
            lambda u, c=c, d=d: student.sigmoid_in_pieces(
                list((c(u) * a).split([2, 4])), list((d(u) * b).split([2, 4])), 3.0, -1.0
            ),
            units=(1e-6, 1e6),
            rel=1e-9,
        )
    a, b = rng.normal(size=(2, 6_000, 2))  # a table of all pairs has 288 MB, a row of pieces 12 MB
    given = [list(tensor(v).split(250)) for v in (a, b)]
    found = within_memory(student.sigmoid_in_pieces, *given, 2.0, -7.0, megabytes=420)
    wanted = -(2.0 * (unit(a) * unit(b)).sum(1) - 7.0).sum()
    for i in range(0, 6_000, 500):
        wanted += np.logaddexp(0, 2.0 * unit(a[i : i + 500]) @ unit(b).T - 7.0).sum()
    assert number(found) == pytest.approx(wanted / 6_000, rel=1e-9)


PIECES = """
def make(pieces):
    import torch
    def flat(a, b, scale, bias):
        return pieces(list(a.split([2, 1, 3])), list(b.split([2, 1, 3])), scale, bias)
    return flat
"""


@pytest.mark.exercise("repair", weight=1)
def test_pieces_gradient(student, rng):
    """Its gradient by pictures, captions, scale and bias is the loss's slope; float32 gives what float64
    gives."""
    flat = student.define(PIECES)(student.sigmoid_in_pieces)
    given = [*map(tensor, rng.normal(size=(2, 6, 3))), tensor(3.0), tensor(-1.0)]
    for wrt in range(4):
        gradient_is_slope(flat, wrt, *given, rng=rng, rel=1e-6)
    both_types(lambda a, b: flat(a, b, 3.0, -1.0), *given[:2], **SHORT)


# --- information: closed forms, and a critic trained on normal pairs whose best numbers are known ---

QUADRATIC = """
def make(theta):
    def critic(x, y):
        assert x.ndim == y.ndim == 2
        both = x.square().sum(1)[:, None] - y.square().sum(1)
        return theta[0] * x @ y.T + theta[1] * both + theta[2]
    return critic
"""
SLOPES = """
def slopes(loss, x, y, start):
    import torch
    theta = start.clone().requires_grad_(True)
    both = lambda x, y: x.square().sum(1)[:, None] - y.square().sum(1)
    critic = lambda x, y: theta[0] * x @ y.T + theta[1] * both(x, y) + theta[2]
    value = loss(critic, x, y)
    value.backward()
    return [value.detach(), theta.grad]
"""


def quadratic(theta, x, y):
    """What x and y say is not the same: a critic that gets them exchanged gives something else."""
    both = (x**2).sum(1)[:, None] - (y**2).sum(1)
    return theta[0] * x @ y.T + theta[1] * both + theta[2]


def pairs(rng, n, rho, D):
    x, noise = rng.normal(size=(2, n, D))
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def best(rho, D, N):
    """The weights of log r - log(N - 1)."""
    return np.array(
        [rho / (1 - rho**2), -(rho**2) / (2 * (1 - rho**2)), -D / 2 * math.log(1 - rho**2) - math.log(N - 1)]
    )


def check_ratio_loss(student, rng):
    """Few and many pairs, one or more dimensions, logits of a few nats or hundreds."""
    slopes = student.define(SLOPES)
    for N, D, largest in ((2, 1, None), (7, 3, None), (20, 2, None), (5, 2, 900.0), (5, 2, -900.0)):
        theta = rng.normal(size=3)
        x, y = pairs(rng, N, 0.6, D)
        if largest is not None:
            logits = quadratic(theta, x, y).flatten()
            theta *= largest / logits[np.abs(logits).argmax()]
        logits, z = quadratic(theta, x, y), 2 * np.eye(N) - 1
        value, slope = parts(slopes(student.ratio_loss, tensor(x), tensor(y), tensor(theta)), 2)
        assert number(value) == pytest.approx(np.logaddexp(0, -z * logits).sum() / N, rel=1e-9)
        critic = student.define(QUADRATIC)(tensor(theta))
        assert number(student.ratio_loss(critic, tensor(x), tensor(y))) == pytest.approx(number(value))
        weight = -z / (1 + np.exp(np.clip(z * logits, -700, 700))) / N
        both = (x**2).sum(1)[:, None] - (y**2).sum(1)
        wanted = [(weight * part).sum() for part in (x @ y.T, both, np.ones((N, N)))]
        assert array(slope, (3,)) == pytest.approx(np.array(wanted), rel=1e-7, abs=1e-9)


STEPS = """
def steps(step, x, y, start, rate):
    import torch
    theta = start.clone().requires_grad_(True)
    other = torch.ones(1, dtype=start.dtype, requires_grad=True)
    both = lambda x, y: x.square().sum(1)[:, None] - y.square().sum(1)
    critic = lambda x, y: other * (theta[0] * x @ y.T + theta[1] * both(x, y) + theta[2])
    sgd = torch.optim.SGD([theta], rate)
    theta.grad = torch.full_like(theta, 100.0)
    values = []
    for _ in range(2):
        value = step(critic, sgd, x, y)
        fine = torch.is_tensor(value) and value.shape == () and not value.requires_grad
        values.append(value if fine else torch.nan)
    return [torch.tensor([float(v) for v in values]).double(), theta.detach(), other.detach()]
"""


@pytest.mark.exercise(
    "information", weight=3, returns={"ratio_loss": "tensor float64 ()", "information": "(), ()"}
)
def test_ratio_step(student, rng):
    """The loss is that of all pairs over N, with its gradient, also for logits of hundreds. Two steps of
    gradient descent land where its slope leads, from whatever gradient was left before, small slopes and
    large ones; each returns the loss before it, a 0-d tensor without gradient; weights outside the optimizer
    stay."""
    check_ratio_loss(student, rng)
    for size in (1.0, 15.0):
        x, y = (size * v for v in pairs(rng, 6, 0.5, 2))
        theta, rate, values = rng.normal(size=3) / 2, 0.05 / size**2, []
        now, z = theta.copy(), 2 * np.eye(6) - 1
        both = (x**2).sum(1)[:, None] - (y**2).sum(1)
        for _ in range(2):
            logits = quadratic(now, x, y)
            values.append(np.logaddexp(0, -z * logits).sum() / 6)
            weight = -z / (1 + np.exp(np.clip(z * logits, -700, 700))) / 6
            now = now - rate * np.array([(weight * part).sum() for part in (x @ y.T, both, np.ones((6, 6)))])
        found = parts(student.define(STEPS)(student.ratio_step, tensor(x), tensor(y), tensor(theta), rate), 3)
        assert array(found[0], (2,)) == pytest.approx(np.array(values), rel=1e-6, abs=1e-8)
        assert array(found[1], (3,)) == pytest.approx(now, rel=1e-9, abs=1e-9)
        assert array(found[2], (1,)) == pytest.approx(np.ones(1))


@pytest.mark.exercise("information", weight=3)
def test_information_by_formula(student, rng):
    """The measure is the mean over true pairs and log(N_train - 1), the error is that of a mean: any number
    of pairs, chunks that divide it and that do not, chunks of one pair or larger than all, batches of the
    training of 2 and of many, measures far above and below 0."""
    for n, chunk, N, level in (
        (2, 1, 2, 0.0),
        (9, 4, 64, 0.0),
        (10, 5, 3, -1e5),
        (7, 100, 1_000, 1e5),
        (600, 256, 16, 0.0),
    ):
        theta = rng.normal(size=3) + np.array([0, 0, level])
        x, y = pairs(rng, n, 0.7, 2)
        critic = student.define(QUADRATIC)(tensor(theta))
        found, error = parts(student.information(critic, tensor(x), tensor(y), N, chunk), 2)
        values = quadratic(theta, x, y).diagonal()
        assert number(found) == pytest.approx(values.mean() + math.log(N - 1), rel=1e-9, abs=1e-9)
        assert number(error) == pytest.approx(values.std(ddof=1) / math.sqrt(n), rel=1e-8)


WIDEST = """
def make(least, most):
    import torch
    def critic(x, y):
        assert least <= len(x) == len(y) <= most and not torch.is_grad_enabled()
        return x @ y[:, : x.shape[1]].T
    return critic
"""


@pytest.mark.exercise("information", weight=3)
def test_information_in_chunks(student, rng):
    """The critic is asked for `chunk` pairs at a time, no more and not one by one, without gradient, also
    where x and y have unequal dimensions; without a size it is 256. Two Python floats come back."""
    for n, size, (least, most) in (
        (320, [50], (20, 50)),
        (600, [], (88, 256)),
    ):
        x, y = rng.normal(size=(2, n, 2))
        wider = np.concatenate([y, rng.normal(size=(n, 3))], axis=1)
        critic = student.define(WIDEST)(least, most)
        found, error = parts(student.information(critic, tensor(x), tensor(wider), 5, *size), 2)
        assert isinstance(found, float) and isinstance(error, float)
        values = (x * y).sum(1)
        assert found == pytest.approx(values.mean() + math.log(4), rel=1e-9)
        assert error == pytest.approx(values.std(ddof=1) / math.sqrt(n), rel=1e-8)


PROGRAM = """
def program(step, information, x, y, x_new, y_new, N):
    import torch
    theta = torch.zeros(3, dtype=x.dtype, requires_grad=True)
    both = lambda x, y: x.square().sum(1)[:, None] + y.square().sum(1)
    critic = lambda x, y: theta[0] * x @ y.T + theta[1] * both(x, y) + theta[2]
    adam = torch.optim.Adam([theta], 0.1)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, len(x) // N)
    for a, b in zip(x.split(N), y.split(N)):
        step(critic, adam, a, b)
        fall.step()
    return [theta.detach(), *information(critic, x_new, y_new, N)]
"""


@pytest.mark.exercise("information", weight=3, costly=True)
def test_learns_the_information(student, rng):
    """A critic that is trained by the step finds the known ratio's weights, and the measure the mutual
    information of fresh pairs, within sampling error."""
    N, D, rho = 16, 3, 0.8
    truth = -D / 2 * math.log(1 - rho**2)
    x, y = pairs(rng, 400 * N, rho, D)
    x_new, y_new = pairs(rng, 2_000, rho, D)
    data = map(tensor, (x, y, x_new, y_new))
    theta, found, _ = train(
        student,
        PROGRAM,
        student.ratio_step,
        student.information,
        *data,
        N,
        seed=rng.integers(2**31),
        seconds=3.0,
    )
    wanted = best(rho, D, N)
    learned(1.0, float(np.abs(array(theta, (3,)) / wanted - 1)[:2].max()), 0.5)
    learned(truth, abs(number(found) - truth), 0.6)
