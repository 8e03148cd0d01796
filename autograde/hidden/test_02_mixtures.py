"""Hidden tests of lesson 02_mixtures. A docstring is what the learner reads when its test fails."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp, xlogy
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture

from autograde.checks import array, number, parts
from autograde.relations import any_unit, generator_decides, strided
from autograde.training import learned


def tensor(value):
    return torch.tensor(np.asarray(value), dtype=torch.float64)


# --- log-mean-exp: the oracle is scipy on all terms at once ---


def check_mean(student, blocks):
    wanted = logsumexp(np.concatenate(blocks)) - math.log(sum(map(len, blocks)))
    got = number(student.log_mean_exp([tensor(b) for b in blocks]), finite=False)
    assert got == (wanted if wanted == -np.inf else pytest.approx(wanted, rel=1e-9, abs=1e-9))


def uneven_blocks(rng, level):
    """Blocks of very different lengths and levels, one empty, the first all -inf, two with one -inf each."""
    sizes = rng.permutation([1, 3, int(rng.integers(20, 60))])
    blocks = [level + rng.normal(size=n) + shift for n, shift in zip(sizes, (-800, 0, 2.5), strict=True)]
    for block in blocks:
        block[1:][: rng.integers(1, 3)] = -np.inf
    return [np.full(int(rng.integers(2, 6)), -np.inf), blocks[0], np.empty(0), *blocks[1:]]


@pytest.mark.exercise("log-mean-exp", weight=1)
def test_blocks(student, rng):
    """The answer is that of all terms at once: blocks have different lengths, terms differ by hundreds of
    nats, some are -inf, and whole blocks may be. A single term is its own mean, however huge."""
    for level in (0, 3_000, -3_000):
        check_mean(student, uneven_blocks(rng, level))
    for term in (0.0, 0.01, -0.01, *(sign * size for size in (1e12, 1e300) for sign in (-1, 1))):
        check_mean(student, [np.array([term])])


@pytest.mark.exercise("log-mean-exp", weight=1)
def test_shift_and_order(student, rng):
    """Adding a large constant to all terms adds it to the answer. The order of the blocks does not matter."""
    blocks = uneven_blocks(rng, 0)
    for shift in (5e4, -5e4):
        check_mean(student, [b + shift for b in blocks])
        check_mean(student, [b + shift for b in blocks[::-1]])


@pytest.mark.exercise("log-mean-exp", weight=1)
def test_minus_infinity(student, rng):
    """If all terms are -inf, so is the answer, and one finite term among them, however many they are, is
    enough to make it finite. No term at all raises ValueError."""
    nothing = [np.full(n, -np.inf) for n in (2, 5)]
    check_mean(student, nothing)
    check_mean(student, [*nothing, np.array([rng.uniform(900, 1_000)])])
    check_mean(student, [np.array([-rng.uniform(900, 1_000)]), np.array([1.0, 2.0]), *nothing])
    many = int(rng.integers(10_000, 20_000))
    check_mean(student, [np.full(many - 1, -np.inf), np.array([math.log(many)])])
    for empty in ([tensor([]), tensor([])], []):
        student.raises(ValueError, student.log_mean_exp, empty)


# --- tied-m-step: the oracle sums sample by sample ---


def tied_problem(rng, N, D, K):
    """Samples away from the origin, responsibilities and very uneven weights."""
    x = rng.choice([-1, 1], D) * rng.uniform(10, 20, D) + rng.normal(size=(N, D)) @ rng.normal(size=(D, D))
    return x, rng.dirichlet(np.ones(K), N), np.exp(rng.normal(size=N))


def tied(student, x, r, w):
    pi, mu, Sigma = parts(student.tied_m_step(tensor(x), tensor(r), tensor(w)), 3)
    K, D = r.shape[1], x.shape[1]
    return array(pi, (K,)), array(mu, (K, D)), array(Sigma, (D, D))


def check_tied(found, x, r, w):
    """Compare with sums in the slowest way."""
    share = r * w[:, None]
    n = share.sum(0)
    mu = np.array([sum(s * v for s, v in zip(share[:, k], x, strict=True)) / n[k] for k in range(len(n))])
    Sigma = sum(share[i, k] * np.outer(x[i] - mu[k], x[i] - mu[k]) for i, k in np.ndindex(*r.shape)) / w.sum()
    assert found[0] == pytest.approx(n / w.sum())
    assert found[1] == pytest.approx(mu, abs=1e-6)
    assert found[2] == pytest.approx(Sigma, rel=1e-6, abs=1e-6)


@pytest.mark.exercise(
    "tied-m-step",
    weight=2,
    returns={"tied_m_step": "tensor float64 (K,), tensor float64 (K, D), tensor float64 (D, D)"},
)
def test_weighted_sums(student, rng):
    """Shares, means and the one covariance are the weighted sums in float64, wherever the data lie, however
    closely, and in any dimension."""
    for N, D, K in ((40, 3, 2), (25, 1, 3), (30, 5, 4)):
        problem = tied_problem(rng, N, D, K)
        check_tied(tied(student, *problem), *problem)
    x, r, w = rng.normal(size=(30, 3)), rng.dirichlet(np.ones(2), 30), np.exp(rng.normal(size=30))
    (_, mu, Sigma), (_, far, wide) = (tied(student, scale * x, r, w) for scale in (1e-6, 1))
    assert 1e12 * Sigma == pytest.approx(wide, rel=1e-6) and 1e6 * mu == pytest.approx(far, rel=1e-6)


@pytest.mark.exercise("tied-m-step", weight=2)
def test_whole_weights_repeat(student, rng):
    """A weight of 3 is the same as the sample three times, a weight of 0 as if it were not there; multiplying
    all weights changes nothing, however small or large they become."""
    x, r, _ = tied_problem(rng, 30, 3, 3)
    w = rng.integers(0, 4, 30).astype(float)
    w[:3] = 0, 1, 3
    copies = [np.repeat(v, w.astype(int), axis=0) for v in (x, r)]
    for scale in (1.0, rng.uniform(0.01, 0.1), 1e-9, 1e9):
        check_tied(tied(student, x, r, scale * w), *copies, np.ones(len(copies[0])))


@pytest.mark.exercise("tied-m-step", weight=1)
def test_memory_layout(student, rng):
    """Tensors that are not contiguous in memory, and components in another order, give the same."""
    x, r, w = tied_problem(rng, 20, 4, 3)
    order = rng.permutation(3)
    pi, mu, Sigma = parts(
        student.tied_m_step(tensor(x.T).T, tensor(r[:, order].T).T, tensor(np.repeat(w, 2))[::2]), 3
    )
    check_tied((array(pi, (3,)), array(mu, (3, 4)), array(Sigma, (4, 4))), x, r[:, order], w)


# --- bic: the oracle is scikit-learn's count of parameters ---


SHAPES = "full", "tied", "diag", "spherical"


def sklearn_parameters(shape, K, D):
    model = GaussianMixture(K, covariance_type=shape)
    model.means_ = np.zeros((K, D))
    return model._n_parameters()


def check_bic(student, fits, N, D):
    index, scores = parts(student.best_fit(fits, N, D), 2)
    wanted = [-2 * N * value + sklearn_parameters(shape, K, D) * math.log(N) for shape, K, value in fits]
    assert array(scores, (len(fits),)) == pytest.approx(np.array(wanted), rel=1e-9)
    assert number(index) == int(np.argmin(wanted))


@pytest.mark.exercise("bic", weight=2)
def test_parameters(student, rng):
    """The charge is the number of free parameters of each shape, for any K and D, times log N: shares, means
    and covariances. With K = 1 full and tied are the same, and a single sample charges nothing."""
    for D in (1, 2, int(rng.integers(5, 70))):
        fits = [
            (str(s), int(k), -D - abs(float(rng.normal()))) for s in SHAPES for k in rng.integers(1, 30, 3)
        ]
        check_bic(student, [*fits, ("full", 1, -5.0), ("tied", 1, -5.0)], int(rng.integers(50, 5_000)), D)
        check_bic(student, [(shape, K, -2.0 - i) for i, (shape, K, _) in enumerate(fits)], 1, D)


@pytest.mark.exercise("bic", weight=3)
def test_choice(student, rng):
    """The lowest BIC wins, wherever in the list it stands; many samples let a better fit pay for more
    parameters, few do not. Of equal ones the first wins, whatever its shape and K; nearly equal in float64
    is not equal."""
    for N in (30, 300, 30_000):
        fits = [
            (s, K, -3.0 + 0.05 * math.log(1 + sklearn_parameters(s, K, 4))) for s in SHAPES for K in (1, 3, 9)
        ]
        check_bic(student, [fits[i] for i in rng.permutation(len(fits))], N, 4)
    for order in (SHAPES, SHAPES[::-1]):  # a single sample charges nothing
        check_bic(student, [("tied", 1, -3.0), *((shape, K, -2.0) for K in (9, 2) for shape in order)], 1, 4)
    shape = str(rng.choice(SHAPES))
    near = [(shape, 3, -3.0 + 1e-9 * step) for step in range(9)]
    for order in (near, near[::-1]):
        check_bic(student, order, 1_000_000, 4)


@pytest.mark.exercise("bic", weight=1)
def test_unknown_shape(student, rng):
    """A shape that is none of the four raises ValueError; the four do not."""
    check_bic(student, [(shape, int(rng.integers(2, 9)), -1.0) for shape in SHAPES], 100, 3)
    for shape in ("round", "", "ful", "full tied", "Full", "DIAG", " tied", "spherical "):
        student.raises(ValueError, student.best_fit, [("full", 2, -1.0), (shape, 2, -1.0)], 100, 3)
        student.raises(ValueError, student.best_fit, [(shape, 2, -1.0), ("full", 2, -1.0)], 100, 3)


# --- auc: the oracle is scikit-learn on ranks ---


def auc_problem(rng, n):
    """Scores with many ties and infinities of both signs, flags of both kinds, uneven weights, some 0."""
    scores = rng.integers(-3, 4, n).astype(float) + rng.choice([0, 1e-9], n)
    flags = rng.permutation(np.arange(n) < n // 3)
    scores = scores + flags
    scores[rng.choice(n, n // 4, replace=False)] = rng.choice([-np.inf, np.inf], n // 4)
    w = np.exp(rng.normal(size=n))
    w[[rng.choice(np.flatnonzero(kind)) for kind in (flags, ~flags)]] = 0
    return scores, flags, w


def check_auc(student, scores, flags, w):
    got = number(student.weighted_auc(tensor(scores), torch.tensor(flags), tensor(w)))
    wanted = roc_auc_score(flags, stats.rankdata(scores, "dense"), sample_weight=w)
    assert got == pytest.approx(wanted, abs=1e-6)
    return got


@pytest.mark.exercise("auc", weight=2)
def test_ties_and_weights(student, rng):
    """Ties count one half, two equal infinities among them; scores that are nearly equal in float64 are no
    tie; a pair counts the product of its weights; more surprise means more anomalous."""
    for n in (12, 60, 200):
        check_auc(student, *auc_problem(rng, n))


@pytest.mark.exercise("auc", weight=1)
def test_any_scale(student, rng):
    """Only the order of the scores matters; turned round, they give 1 minus the area. All weights may be
    multiplied by a number, however small or large."""
    scores, flags, w = auc_problem(rng, 50)
    first = check_auc(student, scores, flags, w)
    stretched = np.sign(scores) * np.abs(scores) ** 3 * 1e200
    for scale in (7, 1e-20, 1e20):
        assert check_auc(student, stretched, flags, scale * w) == pytest.approx(first)
    assert check_auc(student, -scores, flags, w) == pytest.approx(1 - first)


@pytest.mark.exercise("auc", weight=1)
def test_whole_weights_and_nothing(student, rng):
    """A whole weight is so many copies. ValueError where one kind has no samples, or none with weight."""
    scores, flags, _ = auc_problem(rng, 30)
    w = rng.integers(1, 4, 30)
    copies = [np.repeat(v, w) for v in (scores, flags)]
    assert check_auc(student, scores, flags, w) == pytest.approx(
        check_auc(student, *copies, np.ones(w.sum()))
    )
    for alike in (flags | True, flags & False):
        student.raises(ValueError, student.weighted_auc, tensor(scores), torch.tensor(alike), tensor(w))
    for weightless in (w * flags, w * ~flags):
        student.raises(
            ValueError, student.weighted_auc, tensor(scores), torch.tensor(flags), tensor(weightless)
        )


# --- missing: scipy's marginals; conditionals from the precision matrix, a formula the text does not use ---


def random_mixture(rng, K, D):
    A = rng.choice([-1, 1], (K, D, 1)) * rng.uniform(1, 2, (K, D, 1))  # one strong common factor
    Sigma = A @ A.transpose(0, 2, 1) + np.eye(D) * rng.uniform(0.02, 0.06, (K, D, 1))
    return np.log(rng.dirichlet(3 * np.ones(K))), 1.5 * rng.normal(size=(K, D)), Sigma


def with_holes(rng, N, D):
    """Rows with holes of their own and zeros that were observed; the first has no hole, the second nothing
    else."""
    x = 1.5 * rng.normal(size=(N, D)) * (rng.random((N, D)) < 0.8)
    x[rng.random((N, D)) < 0.4] = np.nan
    x[0], x[1], x[2:, 0] = rng.normal(size=D), np.nan, np.nan
    return x


def marginal(x, log_pi, mu, Sigma):
    """r and log p of one row by scipy."""
    o = ~np.isnan(x)
    joint = log_pi.copy()
    if o.any():
        normals = [stats.multivariate_normal(m[o], S[np.ix_(o, o)]) for m, S in zip(mu, Sigma, strict=True)]
        joint += [normal.logpdf(x[o]) for normal in normals]
    return np.exp(joint - logsumexp(joint)), logsumexp(joint)


def check_missing(student, x, model):
    r, log_p = parts(student.e_step_missing(tensor(x), *map(tensor, model)), 2)
    wanted = [marginal(row, *model) for row in x]
    assert array(r, (len(x), len(model[0]))) == pytest.approx(np.array([w[0] for w in wanted]), abs=1e-7)
    assert array(log_p, (len(x),)) == pytest.approx(np.array([w[1] for w in wanted]), rel=1e-7, abs=1e-7)


def fill(student, x, model, seed):
    filled = array(student.fill_in(tensor(x), *map(tensor, model), student.generator(seed)), x.shape)
    seen = ~np.isnan(x)
    assert np.array_equal(filled[seen], x[seen])
    return filled


def in_unit(student, x, model, seed):
    """Fillings in a unit: a function of it."""
    log_pi, mu, Sigma = model
    return lambda c: student.fill_in(
        tensor(c * x), tensor(log_pi), tensor(c * mu), tensor(c * c * Sigma), student.generator(seed)
    )


def conditional(x, mu, Sigma):
    """Mean and covariance of the missing part of one row under one component."""
    m, P = np.isnan(x), np.linalg.inv(Sigma)
    C = np.linalg.inv(P[np.ix_(m, m)])
    return mu[m] - C @ P[np.ix_(m, ~m)] @ (x[~m] - mu[~m]), C


def check_draws(student, x, model, seed, n=130):
    """Many fillings of one row: their projections follow the conditional mixture, along the axes of the
    likeliest component and in other directions."""
    many = fill(student, np.tile(x, (n, 1)), model, seed)
    m = np.isnan(x)
    r = marginal(x, *model)[0]
    laws = [conditional(x, mu, Sigma) for mu, Sigma in zip(*model[1:], strict=True)]
    likeliest, C = laws[r.argmax()]
    spread, V = np.linalg.eigh(C)
    a = np.vstack([V.T, np.random.default_rng(seed).normal(size=(2, m.sum()))])
    if r.max() > 0.9999:  # white noise then, in all directions at once; 7 standard deviations and more
        white = (many[:, m] - likeliest) @ V / np.sqrt(spread)
        assert np.linalg.eigvalsh(white.T @ white / n).min() > 0.3 and (white**2).mean(0).max() < 2.2
    means = np.array([a @ mean for mean, _ in laws])
    widths = np.array([np.sqrt(np.einsum("ij,jk,ik->i", a, C, a)) for _, C in laws])
    for projected, mean, width in zip((many[:, m] @ a.T).T, means.T, widths.T, strict=True):
        z = (projected[:, None] - mean) / width
        below = (r * stats.norm.cdf(z)).sum(1)  # uniform, if the draws follow the law
        assert stats.kstest(below, "uniform").pvalue > 1e-9


def check_shares(student, rng, n=120):
    """Many fillings of one row whose hidden number tells the component: as many of each as the observed
    part says, which is something else than their shares."""
    mu = np.array([[0.0, -100.0], [0.7, 0.0], [-0.7, 100.0]]) + rng.normal(size=(3, 2)) / 10
    model = np.log([0.3, 0.3, 0.4]), mu, np.array([np.eye(2)] * 3)
    x = np.array([rng.choice([-1, 1]) * rng.uniform(0.5, 1), np.nan])
    found = fill(student, np.tile(x, (n, 1)), model, int(rng.integers(2**31)))[:, 1]
    counts = np.bincount(np.abs(found[:, None] - mu[:, 1]).argmin(1), minlength=3)
    assert stats.chisquare(counts, n * marginal(x, *model)[0]).pvalue > 1e-9


def check_noise(student, rng, n=150, D=40):
    """The noise of wide rows, made white: its variance is 1, and its fourth moment that of a normal law."""
    model = random_mixture(rng, 1, D)
    x = np.append(rng.normal(), np.full(D - 1, np.nan))
    mean, C = conditional(x, model[1][0], model[2][0])
    found = fill(student, np.tile(x, (n, 1)), model, int(rng.integers(2**31)))
    white = np.linalg.solve(np.linalg.cholesky(C), (found[:, 1:] - mean).T)
    square = (white**2).sum()
    assert min(stats.chi2(white.size).cdf(square), stats.chi2(white.size).sf(square)) > 1e-9
    assert abs((white**4).mean() - 3) < 7 * math.sqrt(96 / white.size)


TENSORS = {
    "e_step_missing": "tensor float64 (N, K), tensor float64 (N,)",
    "fill_in": "tensor float64 (N, D)",
}


@pytest.mark.exercise("missing", weight=1, returns=TENSORS)
def test_observed_part(student, rng):
    """Responsibilities and log density are those of the observed coordinates alone: each component's
    marginal, with the normaliser of as many dimensions as were observed. Rows with no hole, and with nothing
    but holes; rows so far away that their density vanishes; zeros that were observed."""
    for K, D in ((2, 2), (3, 5), (1, 4)):
        x, model = with_holes(rng, 7, D), random_mixture(rng, K, D)
        check_missing(student, x, model)
        check_missing(student, x * 10.0 ** np.arange(-1, 6)[:, None] / 100, model)
    check_missing(student, np.full((1, 3), np.nan), random_mixture(rng, 3, 3))


@pytest.mark.exercise("missing", weight=3)
def test_fillings_follow_the_conditional(student, rng):
    """Fillings of one row follow p(missing | observed): the component is drawn given the observed part, the
    mean moves with it, the covariance shrinks, and missing coordinates stay correlated. If nothing is
    observed they follow the mixture itself, with its shares. One component is a mixture, too. The noise is
    normal, with just this covariance, in any unit."""
    uneven = np.log([0.08, 0.85, 0.07])
    for D, hidden, apart in (
        (3, (1,), 1),
        (4, (0, 2), 5),
        (2, (0, 1), 1),
        (3, (0, 1, 2), 6),
        (5, (1, 2, 4), 6),
    ):
        _, mu, Sigma = random_mixture(rng, 3, D)
        if len(hidden) == 3 and D == 5:  # so that what is hidden hangs together, given the rest
            Sigma = Sigma + 4 * np.outer(*[np.isin(np.arange(D), hidden)] * 2)
        model = uneven, apart * mu, Sigma
        x = model[1][0] + rng.normal(size=D)
        x[list(hidden)] = np.nan
        check_draws(student, x, model, int(rng.integers(2**31)))
    single = np.array([rng.normal(), np.nan, np.nan])
    check_draws(student, single, random_mixture(rng, 1, 3), int(rng.integers(2**31)))
    check_shares(student, rng)
    check_noise(student, rng)
    holes = in_unit(student, with_holes(rng, 6, 3), random_mixture(rng, 2, 3), int(rng.integers(2**31)))
    any_unit(holes, 1, (2.0**-20, 2.0**20), rel=1e-6, abs=1e-9)


@pytest.mark.exercise("missing", weight=2, costly=True)
def test_far_apart_rows(student, rng):
    """Rows do not mix: each is filled from its own observed part, which stays as it was to the last digit of
    float64, and strongly correlated coordinates follow it closely. A row may have no hole. The generator
    decides, also about the component: the same seed gives the same, another seed something else, and so
    does a second call with the same generator."""
    D, seed = 4, int(rng.integers(2**31))
    Sigma = 0.01 * np.eye(D) + np.ones((D, D))
    model = np.log([0.5, 0.5]), np.array([[0.0] * D, [50.0] * D]), np.array([Sigma, Sigma])
    x = rng.choice([0.0, 50.0], (20, 1)) + rng.normal(size=(20, 1)) + np.zeros((20, D))
    level = x[:, :1].copy()
    x[rng.random((20, D)) < 0.4] = np.nan
    x[:, 0], x[:, 1] = level[:, 0], np.nan
    x[0] = level[0]
    assert np.abs(fill(student, x, model, seed) - level).max() < 1.5
    given = (tensor(x), *map(tensor, model))
    generator_decides(lambda generator: student.fill_in(*given, generator), student.generator, rng)
    check_missing(student, x, model)
    near = model[0], np.array([[0.0] * D, [1.0] * D]), model[2]
    assert np.array_equal(*[fill(student, np.full((40, D), np.nan), near, seed) for _ in range(2)])
    one = random_mixture(rng, 2, 2)
    check_draws(student, np.array([rng.normal(), np.nan]), one, seed)


# --- repair: scipy sums in log space; the penalised likelihood climbs ---


def coin_problem(rng, N, D, K):
    """Pictures of K kinds, so wide that products underflow, and a start with coins very near 0 and 1."""
    kinds = rng.uniform(0.05, 0.95, (K, D))
    x = (rng.random((N, D)) < kinds[rng.integers(K, size=N)]).astype(float)
    theta = rng.uniform(0.2, 0.8, (K, D))
    theta[:, 0], theta[:, 1] = 1e-12, 1 - 1e-12
    return x, np.log(rng.dirichlet(5 * np.ones(K))), theta


def coin(student, x, log_pi, theta, alpha):
    found = parts(student.coin_step(tensor(x), tensor(log_pi), tensor(theta), alpha), 3)
    new_pi, new_theta, log_p = found
    K, D = theta.shape
    return array(new_pi, (K,), finite=False), array(new_theta, (K, D)), array(log_p, (len(x),))


def check_coin(found, x, log_pi, theta, alpha):
    joint = log_pi + np.array([(xlogy(x, t) + xlogy(1 - x, 1 - t)).sum(1) for t in theta]).T
    log_p = logsumexp(joint, axis=1)
    r = np.exp(joint - log_p[:, None])
    assert found[2] == pytest.approx(log_p, rel=1e-9, abs=1e-9)
    log_share = logsumexp(joint - log_p[:, None], axis=0) - math.log(len(x))
    there = log_share > -500  # less may vanish on the way
    assert found[0][there] == pytest.approx(log_share[there], rel=1e-9, abs=1e-9)
    assert (found[0][~there] < -490).all()
    ones, zeros = r.T @ x + alpha, r.T @ (1 - x) + alpha
    assert found[1] == pytest.approx(ones / (ones + zeros), rel=1e-7, abs=1e-12)


@pytest.mark.exercise(
    "repair",
    weight=1,
    returns={"coin_step": "tensor float64 (K,), tensor float64 (K, D), tensor float64 (N,)"},
)
def test_one_step(student, rng):
    """One step, from few pixels to thousands: log p under the old parameters; each component's new coins
    count its own pictures only, and its share is the mean of its responsibilities, however small. Coins may
    be very near 0 and 1, alpha small, and log p of two pictures thousands of nats apart."""
    for N, D, K in ((8, 1_300, 3), (1, 1_300, 2), (30, 5, 4), (1, 2, 2)):
        problem = (*coin_problem(rng, N, D, K), float(rng.uniform(0.2, 2)))
        check_coin(coin(student, *problem), *problem)
        problem = (*problem[:3], 1e-7)
        check_coin(coin(student, *problem), *problem)
    x = (rng.random((4, 600)) < [[0.0], [1.0], [0.1], [0.9]]).astype(float)
    problem = (x, np.log([0.4, 0.6]), rng.uniform(0.001, 0.003, (2, 600)), 1.0)
    check_coin(coin(student, *problem), *problem)
    theta = np.abs([[0.0], [1.0]] - rng.uniform(0.05, 0.15, (2, 60)))  # the first makes no such picture
    problem = (np.ones((1, 60)), np.log([0.4, 0.6]), theta, 1.0)
    check_coin(coin(student, *problem), *problem)


@pytest.mark.exercise("repair", weight=1)
def test_never_falls(student, rng):
    """Step after step, log p plus the prior that alpha stands for never falls, on wide pictures; and it
    rises."""
    x, log_pi, theta = coin_problem(rng, 12, 1_300, 3)
    alpha, history = float(rng.uniform(0.5, 1.5)), []
    for _ in range(5):
        with np.errstate(divide="ignore", invalid="ignore"):  # coins of a wrong answer
            prior = alpha * (np.log(theta) + np.log(1 - theta)).sum()
        log_pi, theta, log_p = coin(student, x, log_pi, theta, alpha)
        history.append(log_p.sum() + prior)
    assert np.diff(history).min() > -1e-6 and history[-1] > history[0] + 100
    assert np.exp(log_pi).sum() == pytest.approx(1)


# --- factors: scipy's normal density, a least-squares solution, and the optimum by eigenvalues ---


def factor_problem(rng, N, D, Q):
    """Data of a law with Q factors, that law, and a start."""
    W, s2 = rng.normal(size=(D, Q)) * 2.0 ** -np.arange(Q), float(rng.uniform(0.05, 0.2))
    x = rng.normal(size=(N, Q)) @ W.T + math.sqrt(s2) * rng.normal(size=(N, D))
    return x, (W, s2), (0.3 * rng.normal(size=(D, Q)), float(rng.uniform(0.5, 2)))


def covariance(W, s2):
    return W @ W.T + s2 * np.eye(len(W))


def mean_log_p(x, W, s2):
    return stats.multivariate_normal(np.zeros(len(W)), covariance(W, s2)).logpdf(x).mean()


def by_eigenvalues(x, Q):
    """The best W and s2 that there are (Tipping and Bishop, 1999, eqs. 7 and 8, around 0)."""
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    s2 = values[:-Q].mean()
    return vectors[:, -Q:] * np.sqrt(np.maximum(values[-Q:] - s2, 0)), s2


def posteriors(student, x, W, s2):
    m, C, log_p = parts(student.factor_e_step(tensor(x), tensor(W), s2), 3)
    N, Q = len(x), W.shape[1]
    return array(m, (N, Q)), array(C, (Q, Q)), array(log_p, (N,))


def refitted(student, x, m, C):
    W, s2 = parts(student.factor_m_step(tensor(x), tensor(m), tensor(C)), 2)
    return array(W, (x.shape[1], m.shape[1])), number(s2)


def climbed(student, x, W, s2, steps):
    new_W, new_s2, history = parts(student.fit_factors(tensor(x), tensor(W), s2, steps), 3)
    return array(new_W, W.shape), number(new_s2), array(history, (steps,))


def e_oracle(x, W, s2):
    """From the precision of z given x, which no text or hint uses; log p by scipy."""
    C = np.linalg.inv(np.eye(W.shape[1]) + W.T @ W / s2)
    law = stats.multivariate_normal(np.zeros(len(W)), covariance(W, s2))
    return x @ W @ C / s2, C, np.atleast_1d(law.logpdf(x))


def m_oracle(x, m, C):
    """Least squares on the means, with rows that stand for the spread of z and have x = 0."""
    root = math.sqrt(len(x)) * np.linalg.cholesky(C).T
    z, wanted = np.vstack([m, root]), np.vstack([x, np.zeros((len(C), x.shape[1]))])
    W = np.linalg.lstsq(z, wanted, rcond=None)[0].T
    return W, ((wanted - z @ W.T) ** 2).sum() / x.size


def check_climb(student, x, W, s2, steps):
    """The answer's loop, once each of its steps was compared with the oracles'."""
    W_new, s2_new, history = climbed(student, x, W, float(s2), steps)
    now, right = (W, s2), []
    for _ in range(steps):
        m, C, log_p = e_oracle(x, *now)
        right.append(log_p.mean())
        now = m_oracle(x, m, C)
    assert history == pytest.approx(np.array(right), rel=1e-6, abs=1e-6)
    assert np.diff(history).min() > -1e-9
    assert W_new == pytest.approx(now[0], rel=1e-5, abs=1e-6)
    assert s2_new == pytest.approx(now[1], rel=1e-5)
    return W_new, s2_new, history


SIZES = (30, 5, 2), (1, 4, 3), (12, 2, 1), (40, 20, 4)
RETURNS = {"factor_e_step": "tensor float64 (N, Q), tensor float64 (Q, Q), tensor float64 (N,)"}
FITS = {
    "factor_m_step": "tensor float64 (D, Q), any",
    "fit_factors": "tensor float64 (D, Q), any, tensor float64 (S,)",
}
UNITS = 2.0**-20, 2.0**20


@pytest.mark.exercise("factors", weight=2, returns=RETURNS)
def test_posterior_of_the_factors(student, rng):
    """The posterior's means and its covariance, and log p(x) with all its constants, are those of the joint
    normal law, also for data whose mean is not 0, one row, one factor, large and small noise; memory may
    lie in any order."""
    for size in SIZES:
        x, _, (W, s2) = factor_problem(rng, *size)
        for shift, noise in ((0.0, s2), (3.0, 0.01), (0.0, 30.0)):
            for found, right in zip(
                posteriors(student, x + shift, W, noise), e_oracle(x + shift, W, noise), strict=True
            ):
                assert found == pytest.approx(right, rel=1e-6, abs=1e-8)
    x, _, (W, s2) = factor_problem(rng, 9, 4, 2)
    strided(lambda *v: parts(student.factor_e_step(*v, s2), 3), tensor(x), tensor(W), rel=1e-6, abs=1e-9)


@pytest.mark.exercise("factors", weight=2, returns=FITS)
def test_best_parameters_for_given_posteriors(student, rng):
    """W and s2 make the expected log p(x, z) largest, for any means and any covariance of z, not only those
    of an E-step; where the posterior is surer or less sure, both change. In another unit of x, or of z, they
    are the same in that unit."""
    for N, D, Q in (*SIZES, (3, 6, 1)):
        x = rng.normal(size=(N, D)) + rng.normal(size=D)
        m, B = rng.normal(size=(N, Q)) + 1, rng.normal(size=(Q, Q))
        for spread in (1e-2, 1.0, 30.0):
            C = spread * (B @ B.T + 0.1 * np.eye(Q))
            for found, right in zip(refitted(student, x, m, C), m_oracle(x, m, C), strict=True):
                assert found == pytest.approx(right, rel=1e-6, abs=1e-8)
    given = tensor(x), tensor(m), tensor(B @ B.T)
    step = lambda *v: parts(student.factor_m_step(*v), 2)  # noqa: E731
    any_unit(lambda c: step(c * given[0], *given[1:]), (1, 2), UNITS, rel=1e-6, abs=1e-9)
    any_unit(lambda c: step(given[0], c * given[1], c * c * given[2]), (-1, 0), UNITS, rel=1e-6, abs=1e-9)


@pytest.mark.exercise("factors", weight=5)
def test_the_loop_climbs(student, rng):
    """The loop makes as many steps as it is asked for. History holds the mean log p under the parameters with
    which each step began, the given start first; it never falls. A start that is turned, W times a
    rotation, gives the same history and a turned W; the best W and s2 that there are stay where they are,
    and a start at which hardly anything is gained at first is left."""
    for N, D, Q in ((40, 5, 2), (25, 3, 1), (60, 8, 3)):
        x, _, (W, s2) = factor_problem(rng, N, D, Q)
        W_new, s2_new, history = check_climb(student, x, W, s2, 12)
        turn = np.linalg.qr(rng.normal(size=(Q, Q)))[0]
        W_turned, s2_turned, same = climbed(student, x, W @ turn, s2, 12)
        assert same == pytest.approx(history, rel=1e-6, abs=1e-6) and s2_turned == pytest.approx(
            s2_new, rel=1e-5
        )
        assert W_turned == pytest.approx(W_new @ turn, rel=1e-5, abs=1e-6)
        best = by_eigenvalues(x, Q)
        W_still, s2_still, (first,) = climbed(student, x, *best, 1)
        assert covariance(W_still, s2_still) == pytest.approx(covariance(*best), rel=1e-5, abs=1e-6)
        assert first == pytest.approx(mean_log_p(x, *best), rel=1e-6, abs=1e-6)
        if Q == 1:  # of two factors the second would be lost in rounding
            check_climb(student, x, 1e-6 * W, (x**2).mean(), 40)


@pytest.mark.exercise("factors", weight=1, costly=True)
def test_it_finds_the_law(student, rng):
    """From a random start, 400 steps on 1,000 samples of a law with two factors come as near to the best that
    any W and s2 can reach as no other sample would tell apart, and near the law itself."""
    x, true, begin = factor_problem(rng, 1_000, 6, 2)
    best, law = mean_log_p(x, *by_eigenvalues(x, 2)), covariance(*true)

    def errors(W, s2):
        """Nats below the best on these samples, and KL(law || model)."""
        ratio = np.linalg.solve(covariance(W, s2), law)
        return best - mean_log_p(x, W, s2), 0.5 * (np.trace(ratio) - len(law) - np.linalg.slogdet(ratio)[1])

    W, s2, _ = climbed(student, x, *begin, 400)
    before, after = errors(*begin), errors(W, max(s2, 1e-9))
    learned(before[0], max(after[0], 0.0), 0.005)
    learned(before[1], after[1], 0.04)
