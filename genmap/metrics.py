"""How good generated data are: accuracy, diversity, distances between samples, coding lengths, intervals.

The distances compare two sets of points (N, D): pass the features of `genmap.features`, or any others.
Arrays and tensors on any device are taken; all is computed in float64 on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from genmap.arrays import finite_array, label_array, point_array

CHUNK_ROWS = 1_000  # of a table of distances, in memory at once
Points = npt.NDArray[np.float64]


class PrecisionRecall(NamedTuple):
    """Precision and recall, each between 0 and 1.

    precision: the share of generated points among the real ones.
    recall: the share of real points among the generated ones.
    """

    precision: float
    recall: float


class Interval(NamedTuple):
    """The ends of a confidence interval.

    low: its lower end.
    high: its upper end.
    """

    low: float
    high: float


def class_accuracy(labels: Any, wanted: Any) -> float:
    """Return the share of labels (N,) that are the wanted ones (N,).

    labels: the classes that were found, whole numbers (N,).
    wanted: the classes that were asked for, whole numbers (N,).

    Raises ValueError for no labels, other shapes, or what is not a whole number.

    >>> class_accuracy([3, 1, 2, 0], [3, 1, 2, 2])
    0.75
    """
    found, asked = label_array("class_accuracy", labels), label_array("class_accuracy", wanted)
    _same_length("class_accuracy", found, asked)
    return float((found == asked).mean())


def diversity(generated: Any, wanted: Any, real: Any, labels: Any) -> float:
    """Return the variance within a class of generated data over that of real data: 1 is as varied as real.

    The variance is summed over all pixels or features and averaged over the classes, each with the same
    weight. A model that draws one picture a class has 0; noise raises it, so read it next to the accuracy.

    generated: generated data (N, ...).
    wanted: the classes asked for, whole numbers (N,).
    real: real data (M, ...).
    labels: their classes, whole numbers (M,).

    Raises ValueError for a class that has no real data, or fewer than two on either side, and where the real
    data do not vary within a class.

    >>> diversity([[0.0], [1.0]], [7, 7], [[0.0], [2.0]], [7, 7])
    0.25
    """
    made, true = point_array("diversity", generated), point_array("diversity", real)
    _same_width("diversity", made, true)
    of_made, of_true = label_array("diversity", wanted), label_array("diversity", labels)
    _same_length("diversity", made, of_made)
    _same_length("diversity", true, of_true)
    classes = np.unique(of_made)
    below = sum(_spread(true, of_true, label) for label in classes)
    if not below:
        raise ValueError("diversity: the real data do not vary within a class; there is nothing to compare")
    return float(sum(_spread(made, of_made, label) for label in classes) / below)


def _spread(points: Points, labels: npt.NDArray[np.int64], label: int) -> float:
    """Return the unbiased variance of the points of one class, summed over their dimensions."""
    own = points[labels == label]
    if len(own) < 2:
        raise ValueError(f"diversity: class {label} has {len(own)} of {len(points)} points; it needs two")
    return float(own.var(axis=0, ddof=1).sum())


def frechet_distance(a: Any, b: Any) -> float:
    """Return |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) of two sets of points (N, D) and (M, D).

    It is the squared Wasserstein-2 distance of the two normal distributions with these means and
    covariances; with features of an Inception net it is the FID. It is biased upwards by few samples, so
    compare only figures from equally many. Not negative; in squared units of the points.

    a: points (N, D).
    b: points (M, D).

    Raises ValueError where a set has no more points than dimensions: its covariance would be singular.

    >>> round(frechet_distance([[0.0], [2.0]], [[1.0], [3.0]]), 6)
    1.0

    Source: M. Heusel et al. 2017, arXiv:1706.08500, equation 6; D. C. Dowson and B. V. Landau 1982.
    """
    x, y = _pair("frechet_distance", a, b)
    fewest = min(len(x), len(y))
    if fewest <= x.shape[1]:
        raise ValueError(f"frechet_distance: {fewest} points in {x.shape[1]} dimensions; give more points")
    c_x, c_y = np.cov(x.T).reshape(x.shape[1], -1), np.cov(y.T).reshape(x.shape[1], -1)
    root = _root(c_x)
    # C_x C_y has the eigenvalues of the symmetric root C_y root, whose own root needs no complex numbers
    cross = np.sqrt(np.linalg.eigvalsh(root @ c_y @ root).clip(0)).sum()
    distance = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c_x) + np.trace(c_y) - 2 * cross
    return max(0.0, float(distance))


def _root(c: Points) -> Points:
    """Return the symmetric square root of a covariance matrix."""
    values, vectors = np.linalg.eigh(c)
    return np.asarray((vectors * np.sqrt(values.clip(0))) @ vectors.T)


def kid(a: Any, b: Any) -> float:
    """Return the kernel distance of two sets of points (N, D) and (M, D): the squared MMD, unbiased.

    The kernel is (x . y / D + 1)^3. On average it is 0 for two samples of one distribution, however few,
    so a single value may be negative. All pairs are used, in one estimate.

    a: points (N, D).
    b: points (M, D).

    Raises ValueError for fewer than two points in a set.

    >>> kid([[0.0], [1.0]], [[0.0], [1.0]])
    -3.5

    Source: M. Bińkowski et al. 2018, arXiv:1801.01401, section 4; A. Gretton et al. 2012, equation 3.
    """
    x, y = _pair("kid", a, b)
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"kid: {min(n, m)} point; each set needs at least two")
    within = [(_kernel_sum(z, z) - _own_kernels(z)) / (len(z) * (len(z) - 1)) for z in (x, y)]
    return float(sum(within) - 2 * _kernel_sum(x, y) / (n * m))


def _kernel_sum(x: Points, y: Points) -> float:
    """Return the sum of the kernel over all pairs."""
    return sum(_cubed(part @ y.T / x.shape[1] + 1) for part in _parts(x))


def _own_kernels(x: Points) -> float:
    """Return the sum of the kernel of every point with itself."""
    return _cubed((x**2).mean(axis=1) + 1)


def _cubed(x: Points) -> float:
    """Return the sum of the cubes; NumPy's own power takes ten times as long."""
    return float((x * x * x).sum())


def precision_recall(real: Any, generated: Any, k: int = 3) -> PrecisionRecall:
    """Return improved precision and recall of generated points (M, D) against real ones (N, D).

    A set covers what lies within reach of one of its points: no farther than that point's k-th nearest
    other point of the set. Precision is the share of generated points that the real ones cover, recall the
    share of real points that the generated ones cover. Compare only figures from equally many points.

    real: points (N, D).
    generated: points (M, D).
    k: which neighbour sets a point's reach.

    Raises ValueError where a set has no more than k points, or k is below 1.

    >>> precision_recall([[0.0], [1.0], [2.0], [3.0]], [[0.0], [1.0], [50.0], [51.0]], k=1)
    PrecisionRecall(precision=0.5, recall=0.75)

    Source: T. Kynkäänniemi et al. 2019, arXiv:1904.06991, equations 1 and 2, where k is 3.
    """
    x, y = _pair("precision_recall", real, generated)
    fewest = min(len(x), len(y))
    if not 1 <= k < fewest:
        raise ValueError(
            f"precision_recall: k is {k} and a set has {fewest} points; it needs more than k, k >= 1"
        )
    return PrecisionRecall(_covered(y, by=x, k=k), _covered(x, by=y, k=k))


def _covered(points: Points, by: Points, k: int) -> float:
    """Return the share of points that lie within the k-th-neighbour distance of one of `by`."""
    from scipy.spatial.distance import cdist  # here: it is slow to import

    reach = np.concatenate([_kth(cdist(part, by), k) for part in _parts(by)])
    return float(np.concatenate([(cdist(part, by) <= reach).any(axis=1) for part in _parts(points)]).mean())


def _kth(distances: Points, k: int) -> Points:
    """Return the k-th smallest distance in each row, the 0 of the point itself not counted."""
    return np.asarray(np.partition(distances, k, axis=1)[:, k])


def _parts(x: Points) -> list[Points]:
    return np.array_split(x, math.ceil(len(x) / CHUNK_ROWS))


def nats_to_bits(nats: float) -> float:
    """Return bits: nats / log 2. A loss in nats per byte becomes bits per byte.

    >>> round(nats_to_bits(math.log(8)), 6)
    3.0
    """
    return nats / math.log(2)


def bits_per_dim(nats: float, dims: int, levels: int = 1) -> float:
    """Return the bits that one of `dims` dimensions costs, from a log-likelihood in nats; lower is better.

    nats: the mean over examples of the log-likelihood of a whole example, with its sign: higher is better.
    dims: how many numbers an example has.
    levels: leave it 1 where the model gives discrete values their probability, as PixelCNN does. Where it
        gives a density on [0, 1]^dims of data with so many grey levels, x in 0 ... levels - 1, dequantised as
        (x + u) / levels with u uniform on [0, 1), pass their number: each cell has the volume levels^-dims,
        so dims * log(levels) is added to the cost, and the result bounds the bits of the discrete data from
        above. A density of anything else, such as the logit of these values, must first become one on
        [0, 1]^dims: add the log-determinant of that map to `nats`.

    Raises ValueError where dims or levels is below 1.

    >>> round(bits_per_dim(-8 * math.log(2), dims=8), 6)
    1.0

    Source: L. Theis et al. 2016, arXiv:1511.01844, equation 6.
    """
    if dims < 1 or levels < 1:
        raise ValueError(f"bits_per_dim: dims is {dims}, levels {levels}; both are whole numbers from 1 on")
    return nats_to_bits(dims * math.log(levels) - nats) / dims


def bootstrap_interval(
    values: Any,
    statistic: Callable[[Any], Any] = np.mean,
    level: float = 0.95,
    draws: int = 1_000,
    seed: int = 0,
) -> Interval:
    """Return the percentile bootstrap interval of a statistic of values (N, ...), such as their mean.

    The statistic is computed on `draws` samples of N rows, drawn with replacement. For an accuracy pass
    `labels == wanted`. Rows that depend on each other make it too narrow.

    values: (N, ...).
    statistic: a function of values (N, ...) that returns a number.
    level: how often the interval should hold the true value, between 0 and 1.
    draws: how many samples are drawn.
    seed: of the draws; the same seed gives the same interval.

    Raises ValueError for fewer than two rows, or a level that is not between 0 and 1.

    >>> bootstrap_interval([4.0, 4.0, 4.0])
    Interval(low=4.0, high=4.0)

    Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
    """
    rows = finite_array("bootstrap_interval", values)
    if not rows.ndim or len(rows) < 2:
        raise ValueError(f"bootstrap_interval: the shape is {rows.shape}; at least two rows are needed")
    if not 0 < level < 1:
        raise ValueError(f"bootstrap_interval: level is {level}; it must be between 0 and 1")
    rng = np.random.default_rng(seed)
    found = [float(statistic(rows[rng.integers(len(rows), size=len(rows))])) for _ in range(draws)]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _pair(what: str, a: Any, b: Any) -> tuple[Points, Points]:
    """Return two sets of points with equally many dimensions, or raise ValueError."""
    x, y = point_array(what, a), point_array(what, b)
    _same_width(what, x, y)
    return x, y


def _same_width(what: str, x: Points, y: Points) -> None:
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"{what}: {x.shape[1]} and {y.shape[1]} dimensions; both sets need the same")


def _same_length(what: str, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> None:
    if len(x) != len(y):
        raise ValueError(f"{what}: {len(x)} and {len(y)} entries; each needs its partner")
