"""The data that every lesson can count on: made here, installed already, or fetched by name."""

from __future__ import annotations

from genmap.data.download import DataError
from genmap.data.fetched import (
    RATE,
    Speech,
    cifar10,
    fashion_mnist,
    mnist,
    mnist_t10k,
    spoken_digits,
    tiny_shakespeare,
)
from genmap.data.handwritten import digits
from genmap.data.letters import CAPITALS_AND_DIGITS, Glyphs, caption, glyphs, unseen_captions
from genmap.data.outlines import CHARACTERS, STYLES
from genmap.data.scenes import COLOURS, DIRECTIONS, SHAPES, Clips, Shapes, moving_glyphs, shapes
from genmap.data.sounds import Notes, frequency, melodies, plucks
from genmap.data.splits import Images, Splits
from genmap.data.texts import code, prose
from genmap.data.toys import TOYS, toy

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
