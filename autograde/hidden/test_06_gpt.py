"""Hidden tests of lesson 06_gpt. A docstring is what the learner reads when its test fails."""

import itertools
import math

import numpy as np
import pytest
import torch

from autograde.checks import array, booleans, gradient, listed, number, parts
from autograde.errors import Unusable
from autograde.relations import any_level, both_types, generator_decides, rows_alone, strided
from autograde.training import learned, train

CLEAR = 1e-4  # the gap below which the digits of float32 might take one token for another


def about(value):
    """To the digits that the exercises' text asks for."""
    return pytest.approx(value, rel=1e-5, abs=1e-5)


def ids(value):
    return torch.tensor(np.asarray(value), dtype=torch.long)


def real(value):
    return torch.tensor(np.asarray(value), dtype=torch.float64)


# The function that the answer is given keeps what it returned: how many numbers of it were changed after?
KEEPING = """
def keeping(answer, function, *given):
    kept = []
    def keeps(x):
        kept.append(function(x))
        kept.append(kept[-1].clone())
        return kept[-2]
    found = answer(keeps, *given)
    return found, sum(int((one != copy).sum()) for one, copy in zip(kept[::2], kept[1::2]))
"""


def kept(student, answer, function, *given):
    """What the answer returns; a function that it is given has its results left as they were."""
    found, changed = parts(student.define(KEEPING)(answer, function, *given), 2)
    assert number(changed) == 0, "what a function returned is its own"
    return found


# --- packed: the oracle walks through the row and writes down who belongs together ---


def rows_of(rng, B, T):
    """Names, some too large for a float, and prompts of B rows of documents, with padding anywhere."""
    names, prompts = np.full((B, T), -1), np.zeros((B, T), dtype=bool)
    pool = {-2, -1, 0, 1, 2**32, *range(2**60, 2**60 + 3)}
    for b in range(B):
        at, last = 0, -1
        while at < T:
            n = min(int(rng.integers(1, 5)), T - at)
            last = int(rng.choice(sorted(pool - {last})))
            names[b, at : at + n] = last
            prompts[b, at : at + int(rng.integers(0, n + 1))] = last != -1
            at += n
    return names, prompts


def packed_by_hand(names, prompts):
    B, T = names.shape
    mask, positions = np.zeros((B, T, T), dtype=bool), np.zeros((B, T), dtype=int)
    mask[:, range(T), range(T)] = True
    for b in range(B):
        begin = 0
        for name, places in itertools.groupby(names[b].tolist()):
            end = begin + len(list(places))
            if name != -1:
                positions[b, begin:end] = range(end - begin)
                for i in range(begin, end):
                    mask[b, i, begin : i + 1] = True
                    mask[b, i, begin:end] |= prompts[b, i] & prompts[b, begin:end]
            begin = end
    return mask, positions


def check_packed(student, names, prompts):
    mask, positions = parts(student.packed(ids(names), torch.tensor(prompts)), 2)
    wanted = packed_by_hand(names, prompts)
    assert (booleans(mask, wanted[0].shape) == wanted[0]).all()
    assert (array(positions, wanted[1].shape) == wanted[1]).all()
    if array(positions).dtype.kind not in "iu":
        raise Unusable("positions of another type than one of whole numbers")


@pytest.mark.exercise("packed", weight=1, returns={"packed": "tensor bool (B, T, T), tensor (B, T)"})
def test_documents(student, rng):
    """Without prompts, every token sees what came before it in its own document and itself; positions count
    from 0 in each document; a name that comes back after another document is a new document; padding, between
    documents or at the end, sees itself. For several rows, for one, and for rows of one token; for any names
    but -1, and for documents of hundreds of tokens."""
    for B, T in ((4, 13), (1, 9), (3, 1)):
        names, prompts = rows_of(rng, B, T)
        check_packed(student, names, prompts & False)
    named = [0, -1, 0, 2**32, -2, 1_000, 0, 2**60, 2**60 + 1, -1]
    names = np.repeat([named], [2, 3, 12, 2, 2, 2, 2, 1, 1, 2], axis=1)
    for each in (names, names.repeat(100, axis=1)[:, -800:-400]):
        check_packed(student, each, np.zeros_like(each, dtype=bool))


@pytest.mark.exercise("packed", weight=1)
def test_prompts(student, rng):
    """The places of a document's prompt see each other in both directions, also where a document is all
    prompt, and nobody sees another document's prompt."""
    names, prompts = rows_of(rng, 5, 14)
    check_packed(student, names, prompts)
    check_packed(student, np.array([[1, 1, 1, 2, 2, 2]]), np.array([[True] * 2 + [False] + [True] * 3]))


# --- typical: the oracle sorts a Python list ---


def most_typical(row, mass):
    """The distribution of one row, and the smallest gap that decides it: of two distances, or of a mass."""
    p = np.exp(row - row.max())
    p /= p.sum()
    H = -sum(x * math.log(x) for x in p if x > 0)
    far = {i: round(abs(-math.log(x) - H), 9) for i, x in enumerate(p) if x > 0}
    order = sorted(far, key=lambda i: (far[i], i))
    reached = np.cumsum(p[order])
    kept = order[: 1 + int((reached < mass).sum())]
    out = np.zeros_like(p)
    out[kept] = p[kept] / p[kept].sum()
    return out, min([*np.diff([far[i] for i in order]), *np.abs(reached - mass)])


def check_typical(student, logits, mass):
    got = array(student.typical(real(logits), mass), logits.shape)
    assert got == about(np.array([most_typical(row, mass)[0] for row in logits]))


def clear_logits(draw, *masses):
    """What `draw` returns, drawn until no set turns on a rounding."""
    while True:
        logits = draw()
        if all(most_typical(row, mass)[1] > CLEAR for row in logits for mass in masses):
            return logits


@pytest.mark.exercise("typical", weight=1, returns={"typical": "tensor like 0 shape 0"})
def test_typical_set(student, rng):
    """The tokens kept are the smallest set, nearest to the entropy first, whose mass reaches mu; their
    probabilities keep their proportions. For several rows, thousands of nats apart, and for one, for small
    and large mu, also 1, which keeps all, in float32 and float64."""
    for shape in ((4, 12), (1, 30), (3, 5)):
        for mass in (0.05, float(rng.uniform(0.2, 0.8)), 0.95):
            logits = clear_logits(lambda: rng.integers(-999, 999, shape) / 256, mass)  # noqa: B023
            check_typical(student, logits, mass)
    rows_alone(lambda v: student.typical(v, 0.95), real(logits), apart=3_000.0, rel=1e-5, abs=1e-5)
    both_types(lambda v: student.typical(v, 0.95), real(logits), rel=1e-5, abs=1e-5)
    check_typical(student, np.array([[0, -4e-5, -1.3]]), 0.3)  # the second is nearer, by so little
    logits = rng.normal(size=(20, 12))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert array(student.typical(real(logits), 1.0), p.shape) == about(p)


@pytest.mark.exercise("typical", weight=1)
def test_limits(student, rng):
    """Tokens whose logit is minus infinity are never kept, add nothing to the entropy, and make no NaN, and
    neither do tokens too improbable for a float. Of tokens that are equally far from the entropy, those with
    smaller indices are kept, however many they are."""
    gone = np.zeros((3, 9))
    gone[0, :4], gone[1, 5], gone[2, 1:], gone[:2, 6] = -np.inf, -np.inf, -np.inf, -900
    logits = clear_logits(lambda: rng.integers(-500, 500, (3, 9)) / 256 + gone, 0.3, 0.9)
    for mass in (0.3, 0.9):
        check_typical(student, logits, mass)
    any_level(lambda c: student.typical(real(logits + c), 0.9), levels=(-2e4, 2e4), rel=1e-5, abs=1e-5)
    for n, mass, kept in (
        (8, 0.3, 3),
        (10, 0.55, 6),
        (700, 0.4007, 281),
        (300, 0.002, 1),
        (300, 0.9985, 300),
    ):
        wanted = np.tile(np.where(np.arange(n) < kept, 1 / kept, 0.0), (2, 1))
        assert array(student.typical(real(np.zeros((2, n))), mass), (2, n)) == about(wanted)
    logits = np.where(rng.permutation(12) < 3, 3.0, 0.0)[None] + np.array([[0.0], [7.0]])
    check_typical(student, logits, 0.4)


# --- grouped: the oracle loops over heads and rows ---


def grouped_by_hand(q, k, v, mask):
    B, H, T, d = q.shape
    out = np.zeros((B, H, T, v.shape[-1]))
    for b, h, i in itertools.product(range(B), range(H), range(T)):
        g = h * k.shape[1] // H
        seen = np.flatnonzero(mask[b, i])
        if len(seen):
            score = k[b, g, seen] @ q[b, h, i] / math.sqrt(d)
            weight = np.exp(score - score.max())
            out[b, h, i] = weight @ v[b, g, seen] / weight.sum()
    return out


def heads(rng, B, H, G, T, S, d, scale=1.0):
    return [scale * rng.normal(size=size) for size in ((B, H, T, d), (B, G, S, d), (B, G, S, d))]


def check_grouped(student, q, k, v, mask):
    got = student.grouped_attention(real(q), real(k), real(v), torch.tensor(mask))
    assert array(got, q.shape) == pytest.approx(grouped_by_hand(q, k, v, mask), rel=1e-5, abs=1e-6)


@pytest.mark.exercise("grouped", weight=1, returns={"grouped_attention": "tensor like 0 shape 0"})
def test_groups(student, rng):
    """Neighbouring query heads share a head of keys and values, for any number of groups, also one and as
    many as heads, where queries and keys differ in number. Matches are divided by the root of the width, and
    may be very large, and so may what nobody looks at. In float32 and float64, in any memory layout."""
    for B, H, G, T, S, d in ((2, 6, 3, 4, 5, 8), (1, 4, 1, 3, 3, 2), (2, 4, 4, 1, 6, 5), (1, 6, 2, 5, 2, 3)):
        mask = rng.random((B, T, S)) < 0.6
        mask[:, :, -1] = False
        mask[:, :, 0] |= ~mask.any(-1)
        for scale in (1.0, 1e8):
            q, k, v = heads(rng, B, H, G, T, S, d, scale)
            v[:, :, -1] *= 1e9  # of which nothing is seen
            check_grouped(student, q, k, v, mask)
    given = *map(real, heads(rng, B, H, G, T, S, d)), torch.tensor(mask)
    for relation in (both_types, strided):
        relation(student.grouped_attention, *given, rel=1e-5, abs=1e-5)


@pytest.mark.exercise("grouped", weight=1)
def test_empty_rows(student, rng):
    """Rows that may look at nothing are 0, and the others are as if those were not there. So for very large
    matches, and where a whole example is masked. No gradient is NaN there, and what nobody looks at has the
    gradient 0; the rest is the slope of the output."""
    mask = rng.random((3, 5, 4)) < 0.5
    mask[0, 2], mask[1] = False, False
    for scale in (1.0, 30.0):
        check_grouped(student, *heads(rng, 3, 4, 2, 5, 4, 6, scale), mask)
    mask = np.array([[[True, False, True], [False] * 3, [True, True, False]], [[False] * 3] * 3])
    q, k, v = heads(rng, 2, 2, 1, 3, 3, 4)
    grads = [
        array(gradient(student, student.grouped_attention, n, real(q), real(k), real(v), torch.tensor(mask)))
        for n in range(3)
    ]
    assert np.abs(grads[0][:, :, 1]).max() == 0 and max(np.abs(g[1]).max() for g in grads) == 0
    for n in range(3):
        step = rng.normal(size=(q, k, v)[n].shape)
        up, down = ([x + s * 1e-5 * step * (m == n) for m, x in enumerate((q, k, v))] for s in (1, -1))
        slope = (grouped_by_hand(*up, mask).sum() - grouped_by_hand(*down, mask).sum()) / 2e-5
        assert (grads[n] * step).sum() == pytest.approx(slope, rel=1e-5, abs=1e-6)


# --- strided: the toy model's answer depends on everything in its window; it refuses a longer one ---

TOY = """
def toy(x):
    import torch
    assert x.ndim == 2 and len(x) == 1 and 1 <= x.shape[1] <= {context} and not x.is_floating_point()
    h = torch.cumsum(torch.sin(1.0 + x.double() * {a}), dim=1)
    return 400 * torch.stack([torch.cos(h * (i + 1) + {a}) for i in range({V})], dim=2)
"""


def toy_logits(x, a, V):
    h = np.cumsum(np.sin(1.0 + x * a))
    return 400 * np.stack([np.cos(h * (i + 1) + a) for i in range(V)], axis=1)


def strided_by_hand(tokens, lengths, context, stride, a, V):
    """Each token from the first window that holds it as a target."""
    windows = [toy_logits(tokens[b : b + context], a, V) for b in range(0, len(tokens), stride)]
    bits = 0.0
    for n in range(1, len(tokens)):
        first = max(0, math.ceil((n - context) / stride))
        row = windows[first][n - 1 - first * stride]
        bits -= (row[tokens[n]] - np.logaddexp.reduce(row)) / math.log(2)
    return bits / lengths[1:].sum()


def check_strided(student, rng, N, context, stride, V=5):
    tokens, lengths, a = rng.integers(0, V, N), rng.integers(1, 6, N), float(rng.uniform(0.5, 1.5))
    toy = student.define(TOY.format(context=context, a=a, V=V))
    got = kept(student, student.strided_bits, toy, ids(tokens), ids(lengths), context, stride)
    assert number(got) == about(strided_by_hand(tokens, lengths, context, stride, a, V))


@pytest.mark.exercise("strided", weight=1)
def test_overlapping(student, rng):
    """Where windows overlap, each token is scored once, by the first window that has it as a target, so with
    the most context there is at this stride; no window is longer than the context, and the model is asked
    about one at a time. At any stride, also 1, and for windows of more than a thousand improbable tokens."""
    for context, stride in ((6, 1), (6, 2), (5, 3), (7, 6)):
        check_strided(student, rng, int(rng.integers(20, 40)), context, stride)
    check_strided(student, rng, 1_200, 1_100, 90)


@pytest.mark.exercise("strided", weight=1)
def test_ends_of_the_text(student, rng):
    """The last window is cut at the end of the text, a text may be shorter than a window, or have two tokens,
    and token 0 is neither scored nor are its bytes counted. Windows may stand side by side; the sum is over
    bytes, and the logits are not normalised."""
    for N, context, stride in (
        (2, 8, 3),
        (5, 8, 8),
        (9, 8, 5),
        (12, 4, 3),
        (11, 4, 4),
        (21, 5, 5),
        (8, 1, 1),
    ):
        check_strided(student, rng, N, context, stride)


# --- repair: a table of logits and a bias, whose loss and gradient are counted by hand ---

DRIVE = """
def drive(step, start, batches, max_norm, rate, rounds):
    import torch

    class Descent:  # torch.optim's own would import for a second
        def __init__(self, parameters):
            self.param_groups = [{"params": list(parameters), "lr": rate}]

        def zero_grad(self, set_to_none=True):
            for p in self.param_groups[0]["params"]:
                p.grad = None if set_to_none or p.grad is None else torch.zeros_like(p)

        def step(self, closure=None):
            loss = closure() if closure else None
            with torch.no_grad():
                for p in self.param_groups[0]["params"]:
                    if p.grad is not None:
                        p -= rate * p.grad
            return loss

    class Table(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rows = torch.nn.Embedding(*start.shape, dtype=start.dtype)
            self.rows.weight.data.copy_(start)
            self.bias = torch.nn.Parameter(torch.zeros_like(start[0]))

        def forward(self, x):
            return (self.rows(x) + self.bias) * (1 if self.training else 2)

    table = Table()
    table.rows.weight.grad = torch.full_like(start, 3.0)
    table.bias.grad = torch.full_like(start[0], torch.inf)
    optimizer = Descent(table.parameters())
    losses = [float(step(table, optimizer, batches, max_norm)) for _ in range(rounds)]
    return [(table.rows.weight + table.bias).detach(), losses]
"""


def texts(rng, rows, T, V, empty=0):
    """Rows of tokens filled up with -1; so many rows hold one token alone."""
    tokens = rng.integers(0, V, (rows, T))
    for r in range(rows):
        tokens[r, (1 if r < empty else int(rng.integers(2, T + 1))) :] = -1
    return tokens


def steps_by_hand(table, batches, max_norm, rate, rounds):
    pairs = [(a, b) for x in batches for row in x for a, b in itertools.pairwise(row) if b != -1]
    losses = []
    for _ in range(rounds):
        p = np.exp(table) / np.exp(table).sum(1, keepdims=True)
        grad, loss = np.zeros_like(table), 0.0
        for a, b in pairs:
            grad[a] += (p[a] - np.eye(table.shape[1])[b]) / len(pairs)
            loss -= math.log(p[a, b]) / len(pairs)
        bias = grad.sum(axis=0)
        clip = min(1, max_norm / (math.hypot(np.linalg.norm(grad), np.linalg.norm(bias)) + 1e-6))
        table = table - rate * clip * (grad + bias)
        losses.append(loss)
    return table, losses


def check_steps(student, rng, batches, max_norm=1e6, rounds=1, V=6):
    start, rate = rng.normal(size=(V, V)), float(rng.uniform(0.5, 2))
    drive = student.define(DRIVE)
    given = [ids(x) for x in batches]
    table, losses = parts(drive(student.repaired_step, real(start), given, max_norm, rate, rounds), 2)
    wanted = steps_by_hand(start, batches, max_norm, rate, rounds)
    assert array(table, start.shape) - start == pytest.approx(wanted[0] - start, rel=2e-5, abs=1e-8)
    assert array(losses, (rounds,)) == about(np.array(wanted[1]))


@pytest.mark.exercise("repair", weight=1, changes=["torch-random"])
def test_one_batch(student, rng):
    """One step on one batch is a step down the mean loss over its real targets, each guessed from the token
    before it, on the model as it was given, and the norm of its gradient is clipped; a gradient that was
    there before changes nothing, whatever it is; the loss that comes back is that mean. Several steps in a
    row stay independent."""
    for rows, T in ((4, 7), (1, 2), (2, 12)):
        for most, rounds in ((1e6, 2), (0.02, 1)):
            check_steps(student, rng, [texts(rng, rows, T, 6)], most, rounds)


@pytest.mark.exercise("repair", weight=1)
def test_uneven_batches(student, rng):
    """Batches with different numbers of real targets, or with none, give the step and the loss of all targets
    in one batch; the norm of the whole gradient is clipped, once. The batches stay as they are."""
    for most in (1e6, 0.02):
        check_steps(student, rng, [texts(rng, 5, 9, 6), texts(rng, 1, 3, 6)], most)
        batches = [texts(rng, 2, 4, 6), texts(rng, 2, 5, 6, empty=2), texts(rng, 3, 8, 6, empty=1)]
        check_steps(student, rng, batches, most, rounds=3)


# --- cuts: all of them are listed; a long text has a closed form ---


def all_cuts(text, table):
    if not text:
        yield []
    for n in range(1, len(text) + 1):
        if text[:n] in table:
            yield from ([text[:n], *rest] for rest in all_cuts(text[n:], table))


def token_table(rng, letters, longest, share):
    words = [bytes(w) for n in range(1, longest + 1) for w in itertools.product(letters, repeat=n)]
    kept = [w for w in words if len(w) == 1 or rng.random() < share]
    p = rng.dirichlet(np.ones(len(kept)))
    return {w: float(np.log(x + 1e-12)) for w, x in zip(kept, p, strict=True)}


def answer_of(student, text, table):
    best, log_best, log_total = parts(student.cuts(text, table), 3)
    return listed(best, bytes), number(log_best), number(log_total)


@pytest.mark.exercise("cuts", weight=1)
def test_best_cut(student, rng):
    """The cut spells the text, its log-probability is the sum of its tokens', and no other cut has more. A
    likely token at the end does not make up for an unlikely beginning, nor few tokens for unlikely ones; a
    token may be as long as the text, or as improbable as can be. A thousand bytes are no harm. A text that no
    cut spells raises ValueError, also where a beginning of it can be spelled."""
    for n in (1, 5, 9):
        table = token_table(rng, b"xyz", 3, 0.6)
        text = bytes(rng.choice(list(b"xyz"), n).tolist())
        best, log_best, _ = answer_of(student, text, table)
        assert b"".join(best) == text
        assert log_best == about(sum(table[token] for token in best))
        assert log_best == about(max(sum(map(table.get, cut)) for cut in all_cuts(text, table)))
    table = {b"a": -1.0, b"b": -6.0, b"c": -1.0, b"ab": -5.0, b"bc": -2.0}
    assert answer_of(student, b"abc", table)[:2] == ([b"a", b"bc"], about(-3.0))
    for one, two, best in ((-1.0, -9.0, [b"a", b"b"]), (-3.0, -5.0, [b"ab"]), (-9e6, -1e7, [b"ab"])):
        table = {b"a": one, b"b": one, b"ab": two}
        assert answer_of(student, b"ab", table)[:2] == (best, about(max(2 * one, two)))
    text = bytes(rng.permutation(100).tolist())
    assert answer_of(student, text, {text: -3.0}) == ([text], about(-3.0), about(-3.0))
    assert answer_of(student, b"a" * 1_100, {b"a": -10.0})[:2] == ([b"a"] * 1_100, about(-11_000.0))
    for text in (b"a", b"aab", b"\x9f\x00"):
        student.raises(ValueError, student.cuts, text, {b"aa": -1.0, b"\xf0\x9f": -2.0, b"\x00": -0.5})


@pytest.mark.exercise("cuts", weight=1)
def test_sum_over_cuts(student, rng):
    """The log-probability of the text is that of the sum over all its cuts. A long text neither underflows
    nor takes long. Beginnings that lead nowhere, and any bytes, do no harm."""
    for n in (2, 9):
        table = token_table(rng, b"ab", 4, 0.7)
        text = bytes(rng.choice(list(b"ab"), n).tolist())
        logs = [sum(map(table.get, cut)) for cut in all_cuts(text, table)]
        assert answer_of(student, text, table)[2] == about(np.logaddexp.reduce(logs))
    one, two = float(rng.uniform(-9, -5)), float(rng.uniform(-12, -8))
    logs = [0.0, one]
    for _ in range(399):
        logs.append(np.logaddexp(logs[-1] + one, logs[-2] + two))
    assert answer_of(student, b"a" * 400, {b"a": one, b"aa": two})[2] == about(logs[-1])
    assert answer_of(student, b"a" * 1_100, {b"a": -10.0})[2] == about(-11_000.0)
    table = {b"aa": -1.0, b"aaa": -float(rng.uniform(1.6, 3)), b"\xf0\x9f": -2.0, b"\x00": -0.5}
    best, log_best, log_total = answer_of(student, b"aaaaa", table)
    assert sorted(best) == [b"aa", b"aaa"] and log_best == about(-1 + table[b"aaa"])
    assert log_total == about(log_best + math.log(2))
    assert answer_of(student, b"\xf0\x9f\x00", table) == ([b"\xf0\x9f", b"\x00"], about(-2.5), about(-2.5))


# --- beam: the table of a prefix follows from its tokens; the oracle lists or walks in plain Python ---

NEXT = """
def following(prefixes):
    import torch
    assert prefixes.ndim == 2 and not prefixes.is_floating_point()
    h = torch.full((len(prefixes),), {a}, dtype=torch.float64)
    for t in range(prefixes.shape[1]):
        h = torch.cos(3.1 * h + prefixes[:, t].double() + {a})
    x = 2.5 * torch.stack([torch.sin(h * (7 + 3 * i) + i) for i in range({V})], dim=1)
    return x.masked_fill(x == x.amin(1, keepdim=True), -torch.inf).log_softmax(1)
"""


LONG = """  # token 2 is certain at first; then it is the likeliest, and the end, 0, impossible
def long(prefixes):
    import math, torch
    n, t = prefixes.shape
    x = torch.full((n, 6), math.log((1 - math.exp(-1.25)) / 4) if t else -math.inf, dtype=torch.float64)
    x[:, 0], x[:, 2] = -math.inf, -1.25 * (t > 0)
    return x
"""


ROWS = """  # after a prefix that is not named all tokens but the end, 0, are equally probable
def rows(prefixes):
    import math, torch
    out = torch.full((len(prefixes), {V}), -math.log({V} - 1), dtype=torch.float64)
    out[:, 0] = -math.inf
    for row, prefix in zip(out, prefixes.long().tolist()):
        if (named := {named}.get(tuple(prefix))) is not None:
            row[:] = -math.inf
            for token, p in named.items():
                row[token] = math.log(p)
    return out
"""
ONES = {(1,) * n: {1: 0.9, 3: 0.1} for n in range(1, 6)}
THREES = {(2, *[3] * n): {3: 0.9, 1: 0.1} for n in range(4)}
FEW = (  # width, length, probabilities by prefix, what is found
    (3, 6, {(): {0: 0.2, 1: 0.55, 2: 0.25}, (2,): {0: 0.9, 3: 0.1}, **ONES}, [1] * 6),  # cut off, all one
    (2, 5, {(): {1: 0.5, 2: 0.5}, (1,): {0: 0.68, 3: 0.32}, **THREES}, [1, 0]),  # the next best is longer
)
SEVEN = {n: 0.16 - 0.005 * n for n in range(2, 9)} | {9: 0.055}
DEEP = (
    (2, 4, {(): {1: 1 - 2e-3, 2: 2e-3}, (2,): {0: 1.0}}, [2, 0]),  # what is far behind has the better end
    (7, 3, {(): {1: 1.0}, (1,): SEVEN, (1, 8): {0: 1.0}}, [1, 8, 0]),  # and so has the last of those kept
)


def check_rows(student, V, width, length, named, wanted):
    """Named cases: what is found, and the product of its probabilities."""
    model = student.define(ROWS.format(V=V, named=named))
    found, score = parts(kept(student, student.beam_search, model, width, length, 0), 2)
    assert array(found, (len(wanted),)).tolist() == wanted
    assert number(score) == about(sum(math.log(named[(*wanted[:n],)][wanted[n]]) for n in range(len(wanted))))


def following(prefix, a, V):
    h = a
    for token in prefix:
        h = math.cos(3.1 * h + token + a)
    row = np.array([2.5 * math.sin(h * (7 + 3 * i) + i) for i in range(V)])
    row[row.argmin()] = -np.inf
    return row - np.log(np.exp(row).sum())


def beam_by_hand(width, length, end, a, V, hasty=False):
    """The sequence, its score, and the smallest gap that decided: to the next that is dropped, to the second.

    hasty: stops as soon as the best that is held is finished.
    """
    held, gap = [((), 0.0)], math.inf
    for _ in range(length):
        grown = []
        for prefix, score in held:
            if prefix and prefix[-1] == end:
                grown.append((prefix, score))
            else:
                grown += [((*prefix, i), score + s) for i, s in enumerate(following(prefix, a, V))]
        grown.sort(key=lambda pair: -pair[1])
        held = grown[:width]
        if grown[width:] and grown[width][1] > -math.inf:
            gap = min(gap, held[-1][1] - grown[width][1])
        done = [pair for pair in held if pair[0][-1] == end]
        if hasty and done:
            return *done[0], gap
    return *held[0], min([gap, *(held[0][1] - score for _, score in held[1:2])])


def toys(rng, width, length, end, V):
    """Toys without end, on which no choice turns on a rounding."""
    while True:
        a = float(rng.uniform(0, 3))
        if beam_by_hand(width, length, end, a, V)[2] > CLEAR:
            yield a


def tempting(rng, width, length, end, V):
    """A toy on which neither greed nor stopping at the first finished prefix finds what the beam finds."""
    for a in itertools.islice(toys(rng, width, length, end, V), 300):
        found = beam_by_hand(width, length, end, a, V)[0]
        others = beam_by_hand(1, length, end, a, V), beam_by_hand(width, length, end, a, V, hasty=True)
        if all(found != other[0] for other in others):
            break
    return a


def check_beam(student, width, length, end, a, V):
    model = student.define(NEXT.format(a=a, V=V))
    found, score = parts(kept(student, student.beam_search, model, width, length, end), 2)
    wanted = beam_by_hand(width, length, end, a, V)
    assert tuple(array(found, (len(wanted[0]),)).tolist()) == wanted[0]
    assert number(score) == about(wanted[1])


@pytest.mark.exercise("beam", weight=1)
def test_wide_enough(student, rng):
    """With a width that holds every sequence it finds the most probable of all that end in the end token or
    have the full length, be they long or short, or all repeats; a finished one is never extended. With a
    width of 1 it takes the likeliest token each time. The model is asked about whole numbers, also in the
    empty prefix, and what it returns stays as it is."""
    for _ in range(2):
        end = int(rng.integers(0, 3))
        check_beam(student, 1, 7, end, next(toys(rng, 1, 7, end, 4)), 4)
    for length in (1, 3, 4):
        end = int(rng.integers(0, 3))
        check_beam(student, 200, length, end, next(toys(rng, 200, length, end, 3)), 3)
    for _, length, *case in FEW:
        check_rows(student, 5, 200, length, *case)


@pytest.mark.exercise("beam", weight=1, costly=True)
def test_narrow(student, rng):
    """With any width, the prefixes that are kept each round are the most probable, finished ones among them
    with the score they have, however far behind and however many of one prefix. A token may be impossible; a
    thousand are not too many, nor too improbable."""
    found, score = parts(student.beam_search(student.define(LONG), 2, 1_010, 0), 2)
    assert (array(found, (1_010,)) == 2).all() and number(score) == about(-1.25 * 1_009)
    for width, length, *case in FEW:
        check_rows(student, 5, width, length, *case)
    for width, length, *case in DEEP:
        check_rows(student, 600, width, length, *case)
    for width in (2, 3, 5):
        for _ in range(2):
            end = int(rng.integers(0, 4))
            check_beam(student, width, 6, end, tempting(rng, width, 6, end, 5), 5)


# --- any-order: a model that knows a law by its table of all sequences, and a small one that learns ---

LAW = """
def law(joint, start):
    import torch
    T, V = joint.ndim, joint.shape[0]
    every, p = torch.cartesian_prod(*[torch.arange(V)] * T).reshape(-1, T), joint.flatten()

    def model(tokens, places, asked):
        assert tokens.shape == places.shape == asked.shape and not tokens.is_floating_point()
        assert (tokens[:, 0] == start).all() and (places[:, 0] == T).all()
        assert ((tokens[:, 1:] >= 0) & (tokens[:, 1:] < V)).all()
        fits, rows = torch.ones(len(tokens), len(p), dtype=torch.bool), []
        for i in range(tokens.shape[1]):
            if i:
                fits = fits & (every[:, places[:, i]].T == tokens[:, i : i + 1])
            said = every[:, asked[:, i]].T
            rows.append(torch.stack([(p * fits * (said == v)).sum(1) for v in range(V)], dim=1))
        return torch.stack(rows, dim=1).log() - 3.0  # logits: of a sum that is not 1

    return model
"""
COUNTED = """
def counted(answer, model, *given):
    made = []
    def counts(*asked, **named):
        made.append(model(*asked, **named))
        made.append(made[-1].clone())
        return made[-2]
    answer(counts, *given)
    changed = sum(int((~((a == b) | (a.isnan() & b.isnan()))).sum()) for a, b in zip(made[::2], made[1::2]))
    return len(made) // 2, changed
"""
VALUE = """
def value(loss, table, x, order):
    return loss(lambda tokens, places, asked: table[tokens, places, asked], x, order, len(table) - 1)
"""
NETWORK = """
def network(table):  # that remembers: what it read and was asked counts half as much from step to step
    import torch

    def model(tokens, places, asked):
        rows = [table[tokens[:, 0], places[:, 0], asked[:, 0]]]
        for i in range(1, tokens.shape[1]):
            rows.append(0.5 * rows[-1] + table[tokens[:, i], places[:, i], asked[:, i]])
        return torch.stack(rows, dim=1)

    return model
"""
HEADS = """
def heads(fill_in, calls, rows, generator):
    import torch
    def coin(tokens, places, asked):
        return torch.zeros(*tokens.shape, 2)

    x, order, heads = torch.zeros(rows, 1).long(), torch.zeros(rows, 1).long(), []
    for _ in range(calls):
        drawn, _ = fill_in(coin, x, order, 0, 2, generator)
        heads.append(torch.as_tensor(drawn).sum())
    return torch.stack(heads)
"""
LEARN = """
def learn(loss, joint, updates):
    import itertools
    import torch
    T, V, C = joint.ndim, joint.shape[0], 24
    every, p = torch.cartesian_prod(*[torch.arange(V)] * T), joint.flatten().float()
    orders = torch.tensor(list(itertools.permutations(range(T))))
    sizes = (V + 1, C), (T + 1, C), (T, C), (C, C), (C, C), (C, C), (C, C), (C, 3 * C), (3 * C, C), (C, V)
    w = [torch.randn(size) * size[0] ** -0.5 * (1 if i < 3 else 0.5) for i, size in enumerate(sizes)]
    w = [part.requires_grad_() for part in w]

    def model(tokens, places, asked):
        x = w[0][tokens] + w[1][places]
        h = x + w[2][asked]
        q, k, v = h @ w[3], x @ w[4], x @ w[5]
        A = (q @ k.mT).masked_fill(torch.ones(2 * [x.shape[1]]).triu(1).bool(), -torch.inf).softmax(-1)
        h = h + A @ v @ w[6]
        return (h + torch.tanh(h @ w[7]) @ w[8]) @ w[9]

    def error():  # nats per token above the entropy, over all sequences and orders
        with torch.no_grad():
            o = orders.repeat_interleave(len(every), dim=0)
            x = every.repeat(len(orders), 1).gather(1, o)
            begin = torch.full_like(x[:, :1], V)
            places = torch.cat([torch.full_like(begin, T), o[:, :-1]], dim=1)
            log_q = model(torch.cat([begin, x[:, :-1]], dim=1), places, o).log_softmax(-1)
            nats = -log_q.gather(2, x[..., None]).sum((1, 2)) * p.repeat(len(orders)) / len(orders)
            return float(nats.sum() + (p * p.log()).sum()) / T

    before, adam = error(), torch.optim.Adam(w, lr=0.02)
    for n in range(updates):
        adam.param_groups[0]["lr"] = 0.02 * (1 - n / updates)
        x = every[torch.multinomial(p, 128, replacement=True)]
        adam.zero_grad()
        loss(model, x, torch.rand(x.shape).argsort(1), V).backward()
        adam.step()
    return before, error()
"""


def a_law(rng, T, V):
    """The table of a law over V^T sequences, no entry of it 0."""
    return (rng.dirichlet(np.full(V**T, 0.5)) * 0.9 + 0.1 / V**T).reshape([V] * T)


def orders_of(rng, B, T):
    return np.argsort(rng.random((B, T)), axis=1)


def log_of(joint, x, known):
    """log of the mass of all sequences that agree with each row of x (B, T) where it is known (B, T)."""
    out = []
    for row, fixed in zip(x, known, strict=True):
        out.append(
            np.log(joint[tuple(int(v) if f else slice(None) for v, f in zip(row, fixed, strict=True))].sum())
        )
    return np.array(out)


def known_places(order, given):
    known = np.zeros(order.shape, dtype=bool)
    np.put_along_axis(known, order[:, :given], True, axis=1)
    return known


@pytest.mark.exercise(
    "any-order",
    weight=1,
    returns={"any_order_loss": "tensor ()", "fill_in": "tensor int64 shape 1, tensor (B,)"},
)
def test_order_loss(student, rng):
    """With a model that knows a law, the loss is the exact mean of -log p(x)/T, whatever order each row is
    written in: for several rows and for one, for one place and for several, for any number as start, also
    that of another token, in any memory layout, in float64. With a model that knows none, it is the nats of
    each row's own order, few and hundreds, call by call, and its gradient is the slope. The model is asked
    once, and what it returned stays as it is."""
    cases = (7, 4, 3, 3), (1, 3, 4, 50), (4, 1, 3, -1), (20, 4, 3, 1), (1, 1, 3, 3), (30, 5, 2, 2)
    for B, T, V, start in cases:
        joint, x, order = a_law(rng, T, V), rng.integers(0, V, (B, T)), orders_of(rng, B, T)
        model = student.define(LAW)(real(joint), start)
        got = student.any_order_loss(model, ids(x), ids(order), start)
        assert number(got) == about(-np.log(joint[tuple(x.T)]).mean() / T)
        counted = student.define(COUNTED)
        assert listed(counted(student.any_order_loss, model, ids(x), ids(order), start), int) == [1, 0]
    strided(lambda a, b: student.any_order_loss(model, a, b, start), ids(x), ids(order), rel=1e-5)
    for wide, level in ((1.0, 0.0), (60.0, 1_000.0)):
        check_own_order(student, rng, wide, level)


def check_own_order(student, rng, wide, level):
    """A table that is no law: its nats differ with the order of each row; and their slope. wide: how far its
    logits are from one another; level: from 0."""
    B, T, V = 6, 4, 3
    table = level + wide * rng.normal(size=(V + 1, T + 1, T, V))
    x, order = rng.integers(0, V, (B, T)), orders_of(rng, B, T)
    nats, slope = 0.0, np.zeros_like(table)
    for row, places in zip(x, order, strict=True):
        before, at = [V, *row[places][:-1]], [T, *places[:-1]]
        for token, place, asked in zip(before, at, places, strict=True):
            logits = table[token, place, asked]
            nats += np.logaddexp.reduce(logits) - logits[row[asked]]
            slope[token, place, asked] += np.exp(logits - np.logaddexp.reduce(logits)) - np.eye(V)[row[asked]]
    given = student.any_order_loss, real(table), ids(x), ids(order)
    assert number(student.define(VALUE)(*given)) == about(nats / (B * T))
    assert array(gradient(student, student.define(VALUE), 1, *given), slope.shape) == about(slope / (B * T))


@pytest.mark.exercise("any-order", weight=1, costly=True)
def test_gaps(student, rng):
    """What is drawn has the exact conditional law, given the known places alone, each row in its own order;
    known places stay; its nats are the exact ones, 0 where nothing is drawn. However many places are known,
    also none and all; for one row and many, each drawn for itself; for any number as start, also that of
    another token. The model is asked once for each place that is drawn, for all rows, never sees what stands
    at unknown places, and what it returned stays as it is. With a network that knows no law, the nats are the
    loss's own factors, each row's in its order. The generator decides each draw. A small network that is
    trained with the loss comes near the law of a chain of letters in all orders."""
    T, V, n = 3, 3, 400
    joint, two = a_law(rng, T, V), orders_of(rng, 2, T)
    two[1] = np.roll(two[0], 1)
    for given, start in enumerate((1, 9, -1, 0)):
        model = student.define(LAW)(real(joint), start)
        order, whole = two[np.arange(2 * n) % 2], rng.integers(0, V, (2, T))[np.arange(2 * n) % 2]
        known = known_places(order, given)
        x = np.where(known, whole, rng.integers(10, 10**6, whole.shape))
        generator = student.generator(int(rng.integers(2**31)))
        drawn, log_p = parts(student.fill_in(model, ids(x), ids(order), given, start, generator), 2)
        drawn = array(drawn, x.shape)
        assert (drawn[known] == whole[known]).all() and drawn.min() >= 0 and drawn.max() < V
        exact = np.log(joint[tuple(drawn.T)]) - log_of(joint, whole, known)
        assert array(log_p, (2 * n,)) == about(exact)
        for half in range(2):
            check_counts(joint, drawn[half::2], whole[half], known[half], given)
        counted, one = student.define(COUNTED), student.generator(1)
        made = counted(student.fill_in, model, ids(x[:4]), ids(order[:4]), given, start, one)
        assert listed(made, int) == [T - given, 0]
    few = ids(x[:40]), ids(order[:40])
    generator_decides(lambda g: parts(student.fill_in(model, *few, 0, start, g), 2), student.generator, rng)
    check_one_row(student, joint, model, x, order, start)
    check_factors(student, rng)
    check_apart(student)
    check_learning(student, rng)


def check_one_row(student, joint, model, x, order, start):
    """A batch of one, whose first place is known."""
    for one in range(3):
        args = [ids(each[one : one + 1]) for each in (x, order)]
        drawn, log_p = parts(student.fill_in(model, *args, 1, start, student.generator(one)), 2)
        left = log_of(joint, x[one : one + 1], known_places(order[one : one + 1], 1))
        drawn = array(drawn, (1, x.shape[1]))
        assert array(log_p, (1,)) == about(np.log(joint[tuple(drawn.T)]) - left)


def check_factors(student, rng):
    """A network that knows no law, in orders that are not their own inverses."""
    B, T, V = 5, 5, 3
    table, order = rng.normal(size=(V + 1, T + 1, T, V)), orders_of(rng, B, T)
    order[0] = np.roll(np.arange(T), 1)
    model = student.define(NETWORK)(real(table))
    for given in range(T + 1):
        x = ids(rng.integers(0, V, (B, T)))
        drawn, log_p = parts(student.fill_in(model, x, ids(order), given, V, student.generator(given)), 2)
        drawn = array(drawn, (B, T))
        each = factors(table, drawn, order)
        assert array(log_p, (B,)) == about(each[:, given:].sum(1))
        assert number(student.any_order_loss(model, ids(drawn), ids(order), V)) == about(-each.mean())


def factors(table, x, order):
    """log p of each token (B, T), in the order in which they are written; as NETWORK."""
    (B, T), V = x.shape, table.shape[-1]
    out, logits = np.zeros((B, T)), np.zeros((B, V))
    token, place, rows = np.full(B, V), np.full(B, T), np.arange(B)
    for i, asked in enumerate(order.T):
        logits = 0.5 * logits + table[token, place, asked]
        token, place = x[rows, asked], asked
        out[:, i] = logits[rows, token] - np.logaddexp.reduce(logits, axis=1)
    return out


def check_apart(student):
    """64 fair coins, 60 times: the number of heads varies as it does where rows are independent."""
    heads = array(student.define(HEADS)(student.fill_in, 60, 64, student.generator(3)), (60,))
    assert 20 < ((heads - 32) ** 2 / 16).sum() < 130  # of 60 degrees of freedom


def check_counts(joint, drawn, whole, known, given):
    """How often each sequence was drawn: six standard errors of its conditional probability."""
    n, law = len(drawn), joint / np.exp(log_of(joint, whole[None], known[None])[0])
    for x in itertools.product(
        *(range(joint.shape[0]) if not k else [int(w)] for k, w in zip(known, whole, strict=True))
    ):
        p, found = law[x], (drawn == np.array(x)).all(1).mean()
        assert abs(found - p) < 6 * math.sqrt(p * max(0, 1 - p) / n) + 6 / n


def check_learning(student, rng):
    """A chain of letters: nats per token above its entropy, in all orders."""
    first, step = rng.dirichlet([1.0] * 3), 0.9 * rng.dirichlet([0.4] * 3, 3) + 0.1 / 3
    joint = np.einsum("a,ab,bc,cd->abcd", first, step, step, step)
    seed = int(rng.integers(2**31 - 1))
    before, after = train(student, LEARN, student.any_order_loss, real(joint), 80, seed=seed, seconds=6.0)
    learned(number(before), number(after, finite=False), 0.2)
