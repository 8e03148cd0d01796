"""genmap.metrics: agreement with torchmetrics and scikit-learn, limits that are known, and refusals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.neighbors import NearestNeighbors

from genmap import metrics

SEEDS = st.integers(0, 2**32 - 1)


def cloud(seed: int, n: int = 200, dims: int = 6, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(dims, dims))
    return rng.normal(size=(n, dims)) @ mix * scale + shift


@given(SEEDS, st.integers(2, 12))
def test_frechet_distance_agrees_with_torchmetrics(seed, dims):
    fid = pytest.importorskip("torchmetrics.image.fid", reason="torchmetrics is in the extra bench")
    a, b = cloud(seed, dims=dims), cloud(seed + 1, n=150, dims=dims, shift=0.3, scale=1.2)
    x, y = torch.tensor(a), torch.tensor(b)
    theirs = fid._compute_fid(x.mean(0), x.T.cov(), y.mean(0), y.T.cov()).item()
    assert metrics.frechet_distance(a, b) == pytest.approx(
        theirs, rel=1e-7, abs=1e-7
    )  # a root of rounding errors


@given(SEEDS, st.integers(2, 40), st.integers(2, 40), st.integers(1, 9))
def test_kid_agrees_with_torchmetrics(seed, n, m, dims):
    theirs = pytest.importorskip("torchmetrics.image.kid", reason="torchmetrics is in the extra bench")
    a, b = cloud(seed, n, dims), cloud(seed + 1, m, dims, shift=0.5)
    n = m = min(n, m)  # theirs takes sets of one size
    expected = theirs.poly_mmd(torch.tensor(a[:n]), torch.tensor(b[:m])).item()
    assert metrics.kid(a[:n], b[:m]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(SEEDS, st.integers(1, 5))
def test_precision_and_recall_agree_with_scikit_learn(seed, k):
    real, made = cloud(seed, 60), cloud(seed + 1, 40, shift=0.8)

    def covered(points, by):
        reach = NearestNeighbors(n_neighbors=k).fit(by).kneighbors()[0][:, -1]  # its own point left out
        near = NearestNeighbors(radius=reach.max()).fit(by).radius_neighbors(points)
        return np.mean([any(d <= reach[i]) for d, i in zip(*near, strict=True)])

    assert metrics.precision_recall(real, made, k) == (covered(made, real), covered(real, made))


@given(SEEDS)
def test_intervals_agree_with_scipy(seed):
    values = np.random.default_rng(seed).exponential(size=50)
    ours = metrics.bootstrap_interval(values, draws=4_000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4_000, method="percentile", rng=seed)
    width = ours.high - ours.low
    assert np.allclose(ours, theirs.confidence_interval, atol=width / 8)


def test_frechet_distance_of_a_set_from_itself_is_0():
    a = cloud(0)
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-8)
    assert metrics.frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-8)
    assert metrics.frechet_distance(a[:, :1], a[:, :1]) == pytest.approx(0, abs=1e-8)


@given(st.floats(-3, 3), st.floats(0.1, 4))
def test_frechet_distance_of_a_moved_and_stretched_set(shift, scale):
    """Commuting covariances have a closed form: |m_a - m_b|^2 + sum (s_a - s_b)^2 over the deviations."""
    a = cloud(3)
    b = a * scale + shift
    means = ((a.mean(0) - b.mean(0)) ** 2).sum()
    variances = np.linalg.eigvalsh(np.cov(a.T)).sum()
    expected = means + (scale - 1) ** 2 * variances
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9, abs=1e-8)


@given(SEEDS)
def test_frechet_distance_is_symmetric_and_ignores_rotations(seed):
    a, b = cloud(seed), cloud(seed + 1, shift=1)
    turn = stats.ortho_group.rvs(6, random_state=seed % 1000)
    distance = metrics.frechet_distance(a, b)
    assert metrics.frechet_distance(b, a) == pytest.approx(distance)
    assert metrics.frechet_distance(a @ turn, b @ turn) == pytest.approx(distance)


def test_frechet_distance_is_right_where_a_feature_never_varies():
    a = cloud(0)
    a[:, 0], flat = 2.0, cloud(1)
    flat[:, 0] = 5.0
    without = metrics.frechet_distance(a[:, 1:], flat[:, 1:])
    assert metrics.frechet_distance(a, flat) == pytest.approx(9 + without)


def test_kid_is_unbiased():
    """Over many pairs of small samples of one distribution the mean is 0, within its standard error."""
    values = np.array([metrics.kid(cloud(2 * seed, 5), cloud(2 * seed + 1, 8)) for seed in range(2_000)])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(len(values))
    assert (values < 0).any()


def test_kid_of_single_points_has_a_closed_form():
    """All points alike: the kernel is constant within and across, k(a, a) + k(b, b) - 2 k(a, b)."""
    a, b = np.full((3, 2), 1.0), np.full((4, 2), 2.0)
    assert metrics.kid(a, b) == pytest.approx(2**3 + 5**3 - 2 * 3**3)


@pytest.mark.parametrize("chunk", [7, 1_000])
def test_the_size_of_the_chunks_changes_nothing(monkeypatch, chunk):
    a, b = cloud(0, 50), cloud(1, 60, shift=0.5)
    expected = metrics.kid(a, b), metrics.precision_recall(a, b)
    monkeypatch.setattr(metrics, "CHUNK_ROWS", chunk)
    assert metrics.kid(a, b) == pytest.approx(expected[0])
    assert metrics.precision_recall(a, b) == expected[1]


def test_precision_and_recall_at_their_limits():
    real = cloud(0)
    assert metrics.precision_recall(real, real) == (1, 1)
    assert metrics.precision_recall(real, real + 1e3) == (0, 0)
    one_place = real[:1] + 1e-6 * cloud(1, 50)
    assert metrics.precision_recall(real, one_place).precision == 1, "all inside"
    assert metrics.precision_recall(real, one_place).recall <= 1 / len(real), "but they cover one point only"
    everywhere = cloud(2, 2_000, scale=20)
    assert metrics.precision_recall(real, everywhere).precision < 0.1
    assert metrics.precision_recall(real, everywhere).recall > 0.9


def test_copies_of_a_point_cover_it_and_no_more():
    real = np.zeros((10, 2))
    assert metrics.precision_recall(real, np.zeros((10, 2))) == (1, 1)
    assert metrics.precision_recall(real, np.full((10, 2), 1e-9)) == (0, 0)


def test_class_accuracy_counts():
    assert metrics.class_accuracy([1, 2, 3, 4], torch.tensor([1, 2, 0, 0])) == 0.5


def labelled(seed: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(400) % 4
    centres = 10 * np.random.default_rng(1).normal(size=(4, 3))
    return centres[y] + scale * np.random.default_rng(seed).normal(size=(400, 3)), y


def test_diversity_is_the_ratio_of_variances_within_a_class():
    real, labels = labelled(0)
    assert metrics.diversity(real, labels, real, labels) == pytest.approx(1)
    made, wanted = labelled(1, scale=0.5)
    assert metrics.diversity(made, wanted, real, labels) == pytest.approx(0.25, rel=0.2)
    means = np.stack([real[labels == label].mean(0) for label in range(4)])
    assert metrics.diversity(means[wanted], wanted, real, labels) == pytest.approx(0), "one picture a class"


def test_diversity_gives_each_class_the_same_weight():
    """Four times as many of one class change nothing but chance; a class left out is left out of both."""
    real, labels = labelled(0)
    more = np.concatenate([real, *[real[labels == 0]] * 3])
    of_more = np.concatenate([labels, np.zeros(300, int)])
    assert metrics.diversity(more, of_more, real, labels) == pytest.approx(1, abs=0.01)
    first = labels == 0
    assert metrics.diversity(real[first], labels[first], real, labels) == 1


def test_diversity_of_images_is_that_of_their_pixels():
    x, y = np.random.default_rng(0).random((40, 1, 4, 4)), np.arange(40) % 2
    assert metrics.diversity(x, y, x / 2, y) == pytest.approx(4)


def test_bits_of_a_discrete_probability():
    assert metrics.nats_to_bits(math.log(2)) == 1
    assert metrics.bits_per_dim(64 * math.log(1 / 17), 64) == pytest.approx(math.log2(17))
    assert metrics.bits_per_dim(0.0, 3) == 0


@given(st.integers(2, 256), st.integers(1, 30), SEEDS)
def test_bits_of_a_dequantised_density_are_those_of_the_levels(levels, dims, seed):
    """A density that is constant on each cell has, dequantised, the bits of the discrete distribution."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(levels))
    x = rng.choice(levels, size=(50, dims), p=p)
    log_density = np.log(p[x] * levels).sum(axis=1)  # on [0, 1]: a cell is 1 / levels wide
    expected = -np.log2(p[x]).mean()
    assert metrics.bits_per_dim(log_density.mean(), dims, levels) == pytest.approx(expected)


def test_bits_of_a_density_of_logits_need_its_log_determinant():
    """Logits of uniform values follow the logistic distribution, and cost log2(levels) bits each."""
    y = np.random.default_rng(0).random((100, 5))
    z = np.log(y / (1 - y))
    log_det = -(np.log(y) + np.log1p(-y)).sum(axis=1)
    nats = (stats.logistic.logpdf(z).sum(axis=1) + log_det).mean()
    assert metrics.bits_per_dim(nats, 5, levels=16) == pytest.approx(4)


def test_intervals_cover_as_often_as_they_say():
    inside = 0
    for seed in range(300):
        values = np.random.default_rng(seed).normal(size=100)
        low, high = metrics.bootstrap_interval(values, level=0.9, draws=300, seed=seed)
        inside += low <= 0 <= high
    assert 0.84 < inside / 300 < 0.95


def test_intervals_are_the_same_for_a_seed_and_of_any_statistic():
    a, b = cloud(0, 40, 2), cloud(1, 40, 2)
    first = metrics.bootstrap_interval(a, lambda rows: metrics.frechet_distance(rows, b), draws=50)
    assert first == metrics.bootstrap_interval(a, lambda rows: metrics.frechet_distance(rows, b), draws=50)
    assert 0 < first.low < first.high
    assert metrics.bootstrap_interval(a, np.median, seed=1) != metrics.bootstrap_interval(a, np.median)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_of_every_precision_are_taken(dtype):
    a, b = torch.tensor(cloud(0), dtype=dtype, requires_grad=True), torch.tensor(cloud(1), dtype=dtype)
    for metric in (metrics.frechet_distance, metrics.kid, metrics.precision_recall):
        same = metric(a.detach().double().numpy(), b.double().numpy())
        assert metric(a, b) == pytest.approx(same)


GOOD, LABELS = cloud(0, 20, 2), np.arange(20) % 2
BAD = np.where(np.arange(40).reshape(20, 2) == 5, np.nan, GOOD)


@pytest.mark.parametrize("metric", [metrics.frechet_distance, metrics.kid, metrics.precision_recall])
@pytest.mark.parametrize(
    ("points", "says"),
    [
        (BAD, "1 of 40 values are not finite"),
        (np.where(np.isnan(BAD), np.inf, BAD), "1 of 40 values are not finite"),
        (np.empty((0, 2)), "nothing to measure"),
        (np.empty((20, 0)), "nothing to measure"),
        (GOOD[:1], "point"),
        (GOOD[:, :1], "2 and 1 dimensions|1 and 2 dimensions"),
        (GOOD[:, 0], r"it must be \(N, D\)"),
        (np.array(1.0), r"it must be \(N, D\)"),
        ([["a"]], "an array of real numbers"),
        ([[1], [1, 2]], "an array of real numbers"),
        (GOOD + 1j, "an array of real numbers"),
    ],
)
def test_distances_refuse_in_one_line(metric, points, says):
    for pair in ((points, GOOD), (GOOD, points)):
        with pytest.raises(ValueError, match=says) as error:
            metric(*pair)
        assert "\n" not in str(error.value)
        assert str(error.value).startswith(metric.__name__)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: metrics.frechet_distance(GOOD[:2], GOOD), "2 points in 2 dimensions"),
        (lambda: metrics.precision_recall(GOOD[:3], GOOD), "k is 3 and a set has 3 points"),
        (lambda: metrics.precision_recall(GOOD, GOOD, 0), "k is 0"),
        (lambda: metrics.class_accuracy([], []), "labels are whole numbers"),
        (lambda: metrics.class_accuracy([1.0], [1]), "labels are whole numbers"),
        (lambda: metrics.class_accuracy([[1]], [1]), "labels are whole numbers"),
        (lambda: metrics.class_accuracy([1, 2], [1]), "2 and 1 entries"),
        (lambda: metrics.diversity(GOOD, LABELS, GOOD, LABELS + 1), "class 0 has 0 of 20 points"),
        (lambda: metrics.diversity(GOOD[:3], LABELS[:3], GOOD, LABELS), "class 1 has 1 of 3 points"),
        (lambda: metrics.diversity(GOOD, LABELS, GOOD * 0, LABELS), "do not vary within a class"),
        (lambda: metrics.diversity(GOOD, LABELS[:9], GOOD, LABELS), "20 and 9 entries"),
        (lambda: metrics.diversity(BAD, LABELS, GOOD, LABELS), "not finite"),
        (lambda: metrics.bits_per_dim(1.0, 0), "dims is 0"),
        (lambda: metrics.bits_per_dim(1.0, 4, 0), "levels 0"),
        (lambda: metrics.bootstrap_interval([1.0]), "at least two rows"),
        (lambda: metrics.bootstrap_interval(3.0), "at least two rows"),
        (lambda: metrics.bootstrap_interval([1.0, math.nan]), "1 of 2 values are not finite"),
        (lambda: metrics.bootstrap_interval([1.0, 2.0], level=95), "level is 95"),
    ],
)
def test_other_refusals_are_one_line(call, says):
    with pytest.raises(ValueError, match=says) as error:
        call()
    assert "\n" not in str(error.value)
