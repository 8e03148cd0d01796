"""The data that every lesson can count on: made here, installed already, or fetched by name."""

from __future__ import annotations

import numpy as np

from genmap.download import DataError
from genmap.fetched import (
    RATE,
    Speech,
    cifar10,
    fashion_mnist,
    mnist,
    mnist_t10k,
    spoken_digits,
    tiny_shakespeare,
)
from genmap.glyphs import CAPITALS_AND_DIGITS, Glyphs, caption, glyphs, unseen_captions
from genmap.outlines import CHARACTERS, STYLES
from genmap.plucks import Notes, frequency, melodies, plucks
from genmap.scenes import COLOURS, DIRECTIONS, SHAPES, Clips, Shapes, moving_glyphs, shapes
from genmap.splits import Images, Splits, hold_out
from genmap.texts import code, prose
from genmap.toys import TOYS, toy

__all__ = [
    "CAPITALS_AND_DIGITS",
    "CHARACTERS",
    "COLOURS",
    "DIRECTIONS",
    "RATE",
    "SHAPES",
    "STYLES",
    "TOYS",
    "Clips",
    "DataError",
    "Glyphs",
    "Images",
    "Notes",
    "Shapes",
    "Speech",
    "Splits",
    "caption",
    "cifar10",
    "code",
    "digits",
    "fashion_mnist",
    "frequency",
    "glyphs",
    "melodies",
    "mnist",
    "mnist_t10k",
    "moving_glyphs",
    "plucks",
    "prose",
    "shapes",
    "spoken_digits",
    "tiny_shakespeare",
    "toy",
    "unseen_captions",
]
DIGITS_HELD_OUT = 27  # images of each class in validation, and as many in test


def digits() -> Splits[Images]:
    """Return 1,797 real handwritten digits, 8x8, in 17 grey levels: train 1,257, validation 270, test 270.

    Each x is float32 (N, 1, 8, 8) whose values are 0, 1/16, ..., 1; each y is int64 (N,) from 0 to 9.
    Validation and test have 27 images of each class, train the other 120 to 129. The split and its order
    never change; it does not keep the 13 writers apart. The arrays are the caller's own, to change at will.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998 (its test part), as scikit-learn ships it.
    """
    from genmap.digits_table import TABLE

    x = TABLE[:, :-1].reshape(-1, 1, 8, 8) / np.float32(16)
    y = TABLE[:, -1].astype(np.int64)
    parts = hold_out(y, DIGITS_HELD_OUT, DIGITS_HELD_OUT)
    return Splits(*(Images(x[part], y[part]) for part in parts))
