"""Points in the plane from distributions that one look tells apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from genmap.data.splits import whole


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

    name: one of `TOYS`.
    n: how many points, from 0 on.
    seed: from 0 to 2**32 - 1.

    Raises ValueError for a name not in `TOYS`, and where n or seed is no whole number from 0 on (seed to
    2**32 - 1).

    >>> toy("moons", 5, seed=0).shape
    (5, 2)
    """
    if name not in TOYS:
        raise ValueError(f"there is no toy {name!r}; choose one of {', '.join(TOYS)}")
    rng = np.random.RandomState(whole("seed", seed, high=2**32 - 1))
    return _MAKERS[name](rng, whole("n", n)).astype(np.float32)


_Points = npt.NDArray[np.float64]


def _polar(radius: npt.NDArray[Any] | float, angle: npt.NDArray[Any]) -> _Points:
    """Return the points (n, 2) with these polar coordinates."""
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _moons(rng: np.random.RandomState, n: int) -> _Points:
    upper = rng.random_sample(n) < 0.5
    arc = _polar(1.0, np.pi * rng.random_sample(n))
    points = np.where(upper[:, None], arc, [1.0, 0.5] - arc) - [0.5, 0.25]
    return 1.4 * points + 0.12 * rng.normal(size=(n, 2))


def _rings(rng: np.random.RandomState, n: int) -> _Points:
    radii = np.array([0.7, 1.4, 2.1])
    radius = rng.choice(radii, size=n, p=radii / radii.sum())
    return _polar(radius, 2 * np.pi * rng.random_sample(n)) + 0.08 * rng.normal(size=(n, 2))


def _spirals(rng: np.random.RandomState, n: int) -> _Points:
    along = np.sqrt(rng.random_sample(n))  # the root spreads the points evenly over the arm's length
    angle = 3 * np.pi * along + np.pi * rng.randint(2, size=n)
    return _polar(2.4 * along, angle) + 0.08 * rng.normal(size=(n, 2))


def _checkerboard(rng: np.random.RandomState, n: int) -> _Points:
    row = rng.randint(4, size=n)
    column = 2 * rng.randint(2, size=n) + row % 2
    return np.stack([column, row], axis=1) + rng.random_sample((n, 2)) - 2


def _eight_gaussians(rng: np.random.RandomState, n: int) -> _Points:
    means = _polar(1.6, np.pi / 4 * rng.randint(8, size=n))
    return means + 0.16 * rng.normal(size=(n, 2))


def _pinwheel(rng: np.random.RandomState, n: int) -> _Points:
    blade = rng.normal(size=(n, 2)) * [0.3, 0.1] + [1.0, 0.0]
    turn = 2 * np.pi / 5 * rng.randint(5, size=n) + 0.25 * np.exp(blade[:, 0])
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
