"""Drawn scenes: video clips of a moving glyph, and coloured shapes with captions."""

from __future__ import annotations

import string
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.path import Path

from genmap.data.letters import MARGIN, caption, check_characters, random_outlines
from genmap.data.outlines import STYLES, boxes, draw
from genmap.data.splits import Splits, streams, whole

DIRECTIONS = {"right": (1.0, 0.0), "up": (0.0, 1.0), "left": (-1.0, 0.0), "down": (0.0, -1.0)}
FRAMES = 8
STRIDE = 0.05  # of the side, what a glyph moves from frame to frame
MOVING = 0.75  # the size of a moving glyph; in `glyphs` it is 1
CLIPS_HELD_OUT = 4  # clips of each character in each direction in validation, and as many in test

COLOURS = {  # red, green, blue
    "red": (0.86, 0.16, 0.16),
    "green": (0.15, 0.65, 0.25),
    "blue": (0.15, 0.35, 0.9),
    "yellow": (0.95, 0.8, 0.1),
    "purple": (0.6, 0.25, 0.75),
    "black": (0.1, 0.1, 0.1),
}
SHAPES = ("circle", "square", "triangle", "cross", "star")
RADII = {"small": 0.2, "large": 0.34}  # of a single shape, as a part of the side
PAIR_RADIUS = 0.2  # of each of two
PLACES = {  # the centres of two shapes, as parts of the side
    "left of": ((0.27, 0.5), (0.73, 0.5)),
    "above": ((0.5, 0.73), (0.5, 0.27)),
}
SHAPES_HELD_OUT = 400  # pictures in validation, and as many in test

_Floats = npt.NDArray[np.float64]


class Clips(NamedTuple):
    """Video clips of one moving character.

    x: float32 (N, T, 1, H, W), from 0 (paper) to 1 (ink), whole 255ths.
    y: int64 (N,), the place in the set's `characters`.
    direction: int64 (N,), the place in `DIRECTIONS`.
    captions: N strings.
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    direction: npt.NDArray[np.int64]
    captions: list[str]


class Shapes(NamedTuple):
    """Pictures of coloured shapes with captions.

    x: float32 (N, 3, H, W), red, green and blue from 0 to 1, whole 255ths, on white.
    shape: int64 (N, objects), the places in `SHAPES`, in the caption's order.
    colour: int64 (N, objects), the places in `COLOURS`, in the caption's order.
    captions: N strings.
    """

    x: npt.NDArray[np.float32]
    shape: npt.NDArray[np.int64]
    colour: npt.NDArray[np.int64]
    captions: list[str]


def moving_glyphs(
    size: int = 16, characters: str = string.digits, seed: int = 0, each: int = 40
) -> Splits[Clips]:
    """Return clips of 8 frames in which a character moves; by default 1,600 in train, 160 in the other parts.

    It moves right, up, left or down by a twentieth of the side each frame, in one of the 12 styles, and
    stays whole. Captions are such as "bold sans digit 7 moving left".

    size: the side in pixels, 8 to 64.
    characters: the classes, some of `CHARACTERS`.
    seed: of the training clips.
    each: training clips of each character in each direction; the other parts have 4.

    Raises ValueError for values other than these.
    """
    size, each = whole("size", size, 8, 64), whole("each", each, 1)
    check_characters(characters)
    counts = (each, CLIPS_HELD_OUT, CLIPS_HELD_OUT)
    randoms = streams("moving glyphs", seed)
    return Splits(*(_clips(rng, size, characters, n) for rng, n in zip(randoms, counts, strict=True)))


def _clips(rng: np.random.RandomState, size: int, characters: str, each: int) -> Clips:
    y, direction = np.divmod(rng.permutation(np.repeat(np.arange(4 * len(characters)), each)), 4)
    style = rng.randint(len(STYLES), size=len(y))
    paths = random_outlines(rng, characters, y, style)
    ink = draw([path for path in paths for _ in range(FRAMES)], _paths(rng, boxes(paths), direction), size)
    x = np.divide(ink, 255, dtype=np.float32).reshape(len(y), FRAMES, 1, size, size)
    ways = tuple(DIRECTIONS)
    captions = [
        f"{caption(characters[c], STYLES[s])} moving {ways[d]}"
        for c, s, d in zip(y, style, direction, strict=True)
    ]
    return Clips(x, y.astype(np.int64), direction.astype(np.int64), captions)


def _paths(rng: np.random.RandomState, ink: _Floats, direction: npt.NDArray[np.int64]) -> _Floats:
    """Return the maps (N * FRAMES, 2, 3) that move outlines with these boxes without leaving the image."""
    low, high = (MOVING * ink).swapaxes(0, 1)
    step = STRIDE * np.array(list(DIRECTIONS.values()))[direction]
    first = MARGIN - low + np.maximum(0, -step * (FRAMES - 1))
    last = 1 - MARGIN - high - np.maximum(0, step * (FRAMES - 1))
    place = first + rng.random_sample(first.shape) * (last - first)
    maps = np.zeros((len(direction) * FRAMES, 2, 3))
    maps[:, [0, 1], [0, 1]] = MOVING
    maps[:, :, 2] = (place[:, None] + step[:, None] * np.arange(FRAMES)[:, None]).reshape(-1, 2)
    return maps


def shapes(size: int = 16, objects: int = 1, n: int = 4000, seed: int = 0) -> Splits[Shapes]:
    """Return pictures of coloured shapes on white with captions; n in train, 400 in the other parts.

    With one object captions are such as "small red star", 60 of them; with two, such as "red star left of
    blue circle" or "... above ...", 1,740, for which 32 pixels are better. Two objects are never alike.

    size: the side in pixels, 8 to 64.
    objects: 1 or 2.
    n: training pictures, at least 1.
    seed: of the training pictures.

    Raises ValueError for values other than these.

    >>> shapes(8, n=3).train.x.shape
    (3, 3, 8, 8)
    """
    size, objects = whole("size", size, 8, 64), whole("objects", objects, 1, 2)
    counts = (whole("n", n, 1), SHAPES_HELD_OUT, SHAPES_HELD_OUT)
    randoms = streams(f"shapes {objects}", seed)
    return Splits(*(_shapes(rng, size, objects, m) for rng, m in zip(randoms, counts, strict=True)))


def _shapes(rng: np.random.RandomState, size: int, objects: int, n: int) -> Shapes:
    kinds = len(SHAPES) * len(COLOURS)
    kind = rng.randint(kinds, size=(n, 1))
    if objects == 2:
        kind = np.hstack([kind, (kind + 1 + rng.randint(kinds - 1, size=(n, 1))) % kinds])
    shape, colour = np.divmod(kind.astype(np.int64), len(COLOURS))
    choice = rng.randint(2, size=n)  # small or large; left of or above
    centre, radius = _single(rng, choice) if objects == 1 else _pair(rng, choice)
    picture = np.ones((n, 3, size, size))
    for k in range(objects):
        maps = _turned(rng, centre[:, k], radius)
        ink = draw([_shape(SHAPES[s]) for s in shape[:, k]], maps, size)[:, None] / 255
        picture += ink * (np.array(list(COLOURS.values()))[colour[:, k]][:, :, None, None] - picture)
    x = np.divide(np.round(255 * picture), 255, dtype=np.float32)
    return Shapes(x, shape, colour, [_words(*row) for row in zip(shape, colour, choice, strict=True)])


def _single(rng: np.random.RandomState, choice: npt.NDArray[np.int64]) -> tuple[_Floats, _Floats]:
    """Return where the only shape's centre is, (N, 1, 2), and its radius (N,)."""
    radius = np.array(list(RADII.values()))[choice]
    room = (1 - 2 * MARGIN - 2 * radius)[:, None]
    return ((radius + MARGIN)[:, None] + room * rng.random_sample((len(choice), 2)))[:, None], radius


def _pair(rng: np.random.RandomState, choice: npt.NDArray[np.int64]) -> tuple[_Floats, _Floats]:
    """Return the two shapes' centres, (N, 2, 2), and their radius (N,)."""
    centre = np.array(list(PLACES.values()))[choice]
    return centre + rng.uniform(-0.03, 0.03, centre.shape), np.full(len(choice), PAIR_RADIUS)


def _turned(rng: np.random.RandomState, centre: _Floats, radius: _Floats) -> _Floats:
    """Return maps (N, 2, 3) that turn a shape by up to a tenth of a radian, and put it in its place."""
    angle = rng.uniform(-0.1, 0.1, len(radius))
    linear = radius * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.concatenate([linear.transpose(2, 0, 1), centre[:, :, None]], axis=2)


@cache
def _shape(name: str) -> Path:
    """Return a shape around 0, with radius 1."""
    if name == "circle":
        return Path.unit_circle()
    if name == "star":
        return Path.unit_regular_star(5, 0.45)
    if name == "cross":
        arm = np.array([[0.3, 0.3], [0.3, 0.95], [-0.3, 0.95]])
        quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
        return Path(np.vstack([arm @ np.linalg.matrix_power(quarter, k).T for k in range(4)]))
    if name == "square":
        corner = np.sqrt(0.5)
        return Path(corner * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]))
    return Path.unit_regular_polygon(3)


def _words(shape: npt.NDArray[np.int64], colour: npt.NDArray[np.int64], choice: int) -> str:
    """Return a picture's caption."""
    things = [f"{tuple(COLOURS)[c]} {SHAPES[s]}" for s, c in zip(shape, colour, strict=True)]
    if len(things) == 1:
        return f"{tuple(RADII)[choice]} {things[0]}"
    return f" {tuple(PLACES)[choice]} ".join(things)
