"""The data that every lesson can count on, without a download: real handwritten digits and 2-D toys."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

DIGITS_HELD_OUT = 27  # images of each class in validation, and as many in test


class Images(NamedTuple):
    """Images with their labels.

    x: float32 (N, 1, H, W), from 0 (paper) to 1 (ink); y: int64 (N,).
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]


class Splits(NamedTuple):
    """One data set in three disjoint parts."""

    train: Images
    validation: Images
    test: Images


def digits() -> Splits:
    """Return 1,797 real handwritten digits, 8x8, in 17 grey levels: train 1,257, validation 270, test 270.

    Each x is float32 (N, 1, 8, 8) whose values are 0, 1/16, ..., 1; each y is int64 (N,) from 0 to 9.
    Validation and test have 27 images of each class, train the other 120 to 129. The split and its order
    never change; it does not keep the 13 writers apart. The arrays are the caller's own, to change at will.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998 (its test part), as scikit-learn ships it.
    """
    from sklearn.datasets import load_digits  # here, because it takes a second to import

    raw = load_digits()
    x = (raw.images / 16).astype(np.float32)[:, None]
    y = raw.target.astype(np.int64)
    parts = _balanced_split(y, DIGITS_HELD_OUT)
    return Splits(*(Images(x[part], y[part]) for part in parts))


def _balanced_split(y: npt.NDArray[np.int64], held_out: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Return the shuffled indices of train, validation and test; these two with `held_out` of each class."""
    stream = np.random.RandomState(0)  # NumPy never changes this stream; that of default_rng it may
    mixed = stream.permutation(len(y))
    of_class = [mixed[y[mixed] == label] for label in np.unique(y)]
    cuts = [np.split(indices, [held_out, 2 * held_out]) for indices in of_class]
    validation, test, train = (stream.permutation(np.concatenate(part)) for part in zip(*cuts, strict=True))
    return train, validation, test


def toy(name: str, n: int, seed: int) -> npt.NDArray[np.float32]:
    """Return n points of a 2-D toy, float32 (n, 2); the same name, n and seed give the same points.

    All toys are centred near 0 and lie, but for stray points, in [-3, 3] x [-3, 3]:

    - "moons": two interleaved half circles of radius 1.4, noise 0.12;
    - "rings": circles of radius 0.7, 1.4 and 2.1, evenly along their length, noise 0.08;
    - "spirals": two arms of 1.5 turns each, out to radius 2.4, noise 0.08;
    - "checkerboard": density 1/8 on the 8 dark squares of a 4x4 board over [-2, 2] x [-2, 2], 0 elsewhere;
    - "eight-gaussians": in equal parts, means at every 45 degrees on a circle of radius 1.6, noise 0.16;
    - "pinwheel": five curved blades (after M. Johnson et al. 2016, arXiv:1603.06277).

    (Noise: the standard deviation of a Gaussian in each coordinate.)
    Raises ValueError for a name not in `TOYS`, and where n or seed is no whole number from 0 on.
    """
    if name not in TOYS:
        raise ValueError(f"there is no toy {name!r}; choose one of {', '.join(TOYS)}")
    rng = np.random.default_rng(_whole("seed", seed))
    return _MAKERS[name](rng, _whole("n", n)).astype(np.float32)


def _whole(what: str, value: int) -> int:
    """Return `value` as an int; raise ValueError unless it is a whole number from 0 on."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise ValueError(f"{what} is {value!r}; it must be a whole number from 0 on")
    return number


_Points = npt.NDArray[np.float64]


def _polar(radius: npt.NDArray[Any] | float, angle: npt.NDArray[Any]) -> _Points:
    """Return the points (n, 2) with these polar coordinates."""
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _moons(rng: np.random.Generator, n: int) -> _Points:
    upper = rng.random(n) < 0.5
    arc = _polar(1.0, np.pi * rng.random(n))
    points = np.where(upper[:, None], arc, [1.0, 0.5] - arc) - [0.5, 0.25]
    return 1.4 * points + 0.12 * rng.normal(size=(n, 2))


def _rings(rng: np.random.Generator, n: int) -> _Points:
    radii = np.array([0.7, 1.4, 2.1])
    radius = rng.choice(radii, size=n, p=radii / radii.sum())
    return _polar(radius, 2 * np.pi * rng.random(n)) + 0.08 * rng.normal(size=(n, 2))


def _spirals(rng: np.random.Generator, n: int) -> _Points:
    along = np.sqrt(rng.random(n))  # the root spreads the points evenly over the arm's length
    angle = 3 * np.pi * along + np.pi * rng.integers(2, size=n)
    return _polar(2.4 * along, angle) + 0.08 * rng.normal(size=(n, 2))


def _checkerboard(rng: np.random.Generator, n: int) -> _Points:
    row = rng.integers(4, size=n)
    column = 2 * rng.integers(2, size=n) + row % 2
    return np.stack([column, row], axis=1) + rng.random((n, 2)) - 2


def _eight_gaussians(rng: np.random.Generator, n: int) -> _Points:
    means = _polar(1.6, np.pi / 4 * rng.integers(8, size=n))
    return means + 0.16 * rng.normal(size=(n, 2))


def _pinwheel(rng: np.random.Generator, n: int) -> _Points:
    blade = rng.normal(size=(n, 2)) * [0.3, 0.1] + [1.0, 0.0]
    turn = 2 * np.pi / 5 * rng.integers(5, size=n) + 0.25 * np.exp(blade[:, 0])
    x, y, cos, sin = blade[:, 0], blade[:, 1], np.cos(turn), np.sin(turn)
    return 1.5 * np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)


_MAKERS = {
    "moons": _moons,
    "rings": _rings,
    "spirals": _spirals,
    "checkerboard": _checkerboard,
    "eight-gaussians": _eight_gaussians,
    "pinwheel": _pinwheel,
}
TOYS = tuple(_MAKERS)
