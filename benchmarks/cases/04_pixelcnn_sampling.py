"""Lesson 04_pixelcnn: the sampler that computes only what is new against whole passes, on 8 x 8 pixels."""

from collections.abc import Callable
from pathlib import Path

import torch

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "04_pixelcnn: 16 pictures of 8 x 8 drawn, cached, against a pass for each pixel"
K, C, LAYERS, PICTURES = 17, 24, 5, 16


def samplers(side: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (the cached sampler, the other one), for a network with random weights; their pictures agree."""
    lesson = definitions(Course.at(Path(__file__).parents[2]), "04_pixelcnn")
    torch.manual_seed(0)
    net = lesson["PixelCNN"](side, K, C, LAYERS).eval()
    c, u = torch.arange(PICTURES) % 10, torch.rand(PICTURES, side, side)
    cached, whole = lesson["draw_cached"], torch.no_grad()(lesson["draw"])
    assert (cached(net, c, u) == whole(net, c, u)).float().mean() > 0.98
    return lambda: cached(net, c, u), lambda: whole(net, c, u)


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return both samplers at this length."""
    return samplers(8)
