"""Glyphs: letters and digits in twelve styles, a little moved, turned and slanted, with captions."""

from __future__ import annotations

import string
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.path import Path

from genmap.data import outlines
from genmap.data.outlines import BASELINE, CAPITAL, CHARACTERS, FACES, STYLES
from genmap.data.splits import Splits, streams, whole

CAPITALS_AND_DIGITS = string.digits + string.ascii_uppercase
HELD_OUT_EACH = 5  # images of each character in each style in validation, and as many in test
# How far jitter 1 goes at most.
TURN = np.radians(8)  # in radians
SLANT = 0.08  # to the side for each unit of height
SHIFT = 0.06  # as a part of the side
SCALE = (0.9, 1.08)  # the smallest and the largest
MARGIN = 0.02  # of the side, kept free all round

Matrix = npt.NDArray[np.float64]


class Glyphs(NamedTuple):
    """Images of characters with label, style and caption.

    x: float32 (N, 1, H, W), from 0 (paper) to 1 (ink), a whole number of 255ths.
    y: int64 (N,), the place in the set's `characters`.
    style: int64 (N,), the place in `STYLES`.
    captions: N strings.
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    style: npt.NDArray[np.int64]
    captions: list[str]


def glyphs(
    size: int = 16,
    characters: str = CAPITALS_AND_DIGITS,
    seed: int = 0,
    each: int = 40,
    jitter: float = 1.0,
    held_out: Collection[str] = (),
) -> Splits[Glyphs]:
    """Return images of characters in 12 styles; by default 17,280 for training, 2,160 in the other parts.

    `style // 4` is the family (sans, serif, mono), `style // 2 % 2` bold and `style % 2` italic. In train
    the order is mixed. The same numbers on every machine; with another version of matplotlib, a pixel in two
    thousand differs, by at most 2 of 255.

    size: the side in pixels, 8 to 64.
    characters: the classes, some of `CHARACTERS` (62); by default 36.
    seed: of the training images; validation and test have their own and never change with it.
    each: training images of each character in each style; validation and test have 5.
    jitter: above 0 to 1, how far each image is turned (8 degrees at 1), slanted (0.08), moved (0.06 of the
        side) and scaled (0.9 to 1.08). No character is ever cut off.
    held_out: captions that train does not have; validation and test do, so that a model can be asked for
        what it has not seen. `unseen_captions` names one style of every character.

    Raises ValueError for values other than these.

    >>> glyphs(8, "AB", each=2).train.x.shape
    (48, 1, 8, 8)

    Source: the fonts DejaVu, STIX and Computer Modern, as matplotlib ships them.
    """
    size, each = whole("size", size, 8, 64), whole("each", each, 1)
    _check(characters, jitter, held_out)
    counts = (each, HELD_OUT_EACH, HELD_OUT_EACH)
    parts = [
        _part(rng, size, characters, count, jitter)
        for rng, count in zip(streams("glyphs", seed), counts, strict=True)
    ]
    return Splits(_without(parts[0], set(held_out)), *parts[1:])


def caption(character: str, style: str) -> str:
    """Return the caption of a character in one of `STYLES`, such as "bold italic serif letter G".

    character: one of `CHARACTERS`.
    style: one of `STYLES`.

    >>> caption("7", "bold sans")
    'bold sans digit 7'
    """
    return f"{style} {'digit' if character.isdigit() else 'letter'} {character}"


def unseen_captions(characters: str = CAPITALS_AND_DIGITS) -> list[str]:
    """Return one caption for each character, its style another one each time, to hold out of training.

    Each character stays in 11 styles and, with 12 characters or more, each style is held out of some.

    characters: some of `CHARACTERS`.
    """
    return [caption(c, STYLES[5 * i % len(STYLES)]) for i, c in enumerate(characters)]


def check_characters(characters: str) -> None:
    """Raise ValueError unless `characters` are different ones of those that there are."""
    known = isinstance(characters, str) and characters and set(characters) <= set(CHARACTERS)
    if not known or len(set(characters)) < len(characters):
        raise ValueError(f"characters is {characters!r}; it must be different ones of {CHARACTERS}")


def _check(characters: str, jitter: float, held_out: Collection[str]) -> None:
    check_characters(characters)
    if not 0 < jitter <= 1:
        raise ValueError(f"jitter is {jitter!r}; it must be above 0 and at most 1")
    captions = {caption(c, style) for c in characters for style in STYLES}
    if isinstance(held_out, str) or not set(held_out) <= captions:
        example = caption(characters[-1], STYLES[7])
        raise ValueError(f"held_out is {held_out!r}; it must be captions of the set, such as [{example!r}]")


def _part(rng: np.random.RandomState, size: int, characters: str, each: int, jitter: float) -> Glyphs:
    """Return `each` images of every character in every style, in mixed order."""
    y, style = np.divmod(rng.permutation(np.repeat(np.arange(12 * len(characters)), each)), 12)
    paths = random_outlines(rng, characters, y, style)
    ink = outlines.draw(paths, placement(rng, outlines.boxes(paths), jitter), size)
    captions = [caption(characters[c], STYLES[s]) for c, s in zip(y, style, strict=True)]
    x = np.divide(ink[:, None], 255, dtype=np.float32)
    return Glyphs(x, y.astype(np.int64), style.astype(np.int64), captions)


def random_outlines(
    rng: np.random.RandomState, characters: str, y: npt.NDArray[np.int64], style: npt.NDArray[np.int64]
) -> list[Path]:
    """Return each character's outline, in a face drawn from those of its style.

    rng: draws the faces.
    characters: the classes.
    y: int64 (N,), places in `characters`.
    style: int64 (N,), places in `STYLES`.
    """
    face = rng.random_sample(len(y))
    return [
        outlines.outline(FACES[s][int(f * len(FACES[s]))], characters[c])
        for c, s, f in zip(y, style, face, strict=True)
    ]


def placement(rng: np.random.RandomState, boxes: Matrix, jitter: float) -> Matrix:
    """Return the random affine maps (N, 2, 3) that put outlines with these boxes into the unit square.

    rng: draws them.
    boxes: (N, 2, 2), the corners of the outlines: [left, bottom] and [right, top].
    jitter: how far they turn, slant, move and scale: above 0 to 1.
    """
    n = len(boxes)
    turn, slant, right, up = (
        jitter * rng.uniform(-1, 1, (4, n)) * np.array([[TURN], [SLANT], [SHIFT], [SHIFT]])
    )
    scale = 1 + jitter * (rng.uniform(*SCALE, n) - 1)
    linear = scale * np.array([[np.cos(turn), slant - np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = linear.transpose(2, 0, 1)
    middle = np.array([0, CAPITAL / 2])  # turns about the middle of a capital
    corners = np.stack([boxes[:, [0, 0, 1, 1], 0], boxes[:, [0, 1, 0, 1], 1]], axis=2) - middle
    moved = corners @ linear.swapaxes(1, 2)
    room = 1 - 2 * MARGIN
    fit = np.minimum(1, room / np.ptp(moved, axis=1).max(1))[:, None, None]
    linear, moved = linear * fit, moved * fit
    centre = np.array([0.5, 1 - BASELINE + CAPITAL / 2]) + np.stack([right, up], axis=1)
    centre = np.clip(centre, MARGIN - moved.min(1), 1 - MARGIN - moved.max(1))
    return np.concatenate([linear, (centre - linear @ middle)[:, :, None]], axis=2)


def _without(part: Glyphs, held_out: set[str]) -> Glyphs:
    keep = np.array([text not in held_out for text in part.captions])
    left = [text for text in part.captions if text not in held_out]
    return Glyphs(part.x[keep], part.y[keep], part.style[keep], left)
