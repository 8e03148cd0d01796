"""What all data sets share: their three parts, streams of random numbers, and checks of arguments."""

from __future__ import annotations

import operator
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

Part = TypeVar("Part")
PARTS = ("train", "validation", "test")


class Splits(NamedTuple, Generic[Part]):
    """One data set in three disjoint parts.

    train: to learn from.
    validation: to choose by.
    test: to measure on.
    """

    train: Part
    validation: Part
    test: Part


class Images(NamedTuple):
    """Images with their labels.

    x: float32 (N, C, H, W) from 0 to 1, C = 1 with 0 for paper and 1 for ink, or C = 3 for red, green and
        blue.
    y: int64 (N,).
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]


def streams(name: str, seed: int) -> Splits[np.random.RandomState]:
    """Return the random numbers of each part of a made data set; `seed` changes those of train alone.

    RandomState, because NumPy never changes its streams; those of default_rng it may.

    name: the data set's; another name gives other numbers.
    seed: from 0 to 2**32 - 1.

    Raises ValueError where seed is no whole number from 0 to 2**32 - 1.
    """
    seeds = (whole("seed", seed, high=2**32 - 1), 0, 0)
    return Splits(*(np.random.RandomState([*name.encode(), k, s]) for k, s in enumerate(seeds)))


def whole(what: str, value: int, low: int = 0, high: int | None = None) -> int:
    """Return `value` as an int; raise ValueError unless it is a whole number from `low` to `high`.

    what: its name, for the message.
    value: a Python, NumPy or other integer.
    low: the least that is right.
    high: the most that is right; None for no end.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if number < low or (high is not None and number > high):
        end = "on" if high is None else f"to {high}"
        raise ValueError(f"{what} is {value!r}; it must be a whole number from {low} {end}")
    return number


def hold_out(y: npt.NDArray[np.int64], *counts: int) -> list[npt.NDArray[np.int64]]:
    """Return shuffled indices: those that are left, then for each count a part with so many of each class.

    y: int64 (N,), the classes.
    counts: how many of each class a part gets.
    """
    stream = np.random.RandomState(0)
    mixed = stream.permutation(len(y))
    of_class = [np.split(mixed[y[mixed] == label], np.cumsum(counts)) for label in np.unique(y)]
    *parts, rest = (stream.permutation(np.concatenate(part)) for part in zip(*of_class, strict=True))
    return [rest, *parts]
