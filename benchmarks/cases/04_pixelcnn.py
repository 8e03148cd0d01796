"""Lesson 04_pixelcnn: a training step against the same network as full convolutions with multiplied masks."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from steps import training_step
from torch.nn import functional as F

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "04_pixelcnn: a gated step against full convolutions whose kernels are multiplied by masks"
SIDE, K, C, LAYERS, BATCH = 8, 17, 24, 5, 32  # those of the setting quick


def full(conv: torch.nn.Conv2d, offsets: list[list[int]]) -> tuple[torch.nn.Parameter, torch.Tensor]:
    """Return a kernel that is centred on the pixel, and the mask of the taps that conv has.

    offsets: rows and columns of conv's taps, relative to the pixel.
    """
    reach = [max(abs(place) for place in places) for places in offsets]
    shape = [2 * r + 1 for r in reach]
    weight, mask = 0.1 * torch.randn(*conv.weight.shape[:2], *shape), torch.zeros(shape)
    rows, columns = (torch.tensor(places) + r for places, r in zip(offsets, reach, strict=True))
    mask[rows[:, None], columns] = 1
    weight[:, :, rows[:, None], columns] = conv.weight.data
    return torch.nn.Parameter(weight), mask


class Masked(torch.nn.Module):
    """The lesson's layer with kernels of odd sides, of which a mask leaves the same taps."""

    def __init__(self, layer: Any, gate: Any) -> None:
        super().__init__()
        self.first, self.gate, self.link, self.out, self.label = (
            layer.first, gate, layer.link, layer.out, layer.label
        )  # fmt: skip
        self.vertical, self.horizontal = layer.vertical.bias, layer.horizontal.bias
        self.up, up_mask = full(layer.vertical, [[-1, 0], [-1, 0, 1]])
        self.side, side_mask = full(layer.horizontal, [[0], [-2, -1] if layer.first else [-1, 0]])
        self.register_buffer("up_mask", up_mask)
        self.register_buffer("side_mask", side_mask)

    def forward(self, v: Any, h: Any, c: Any, drop: float, place: Any) -> tuple[Any, Any]:
        """As the lesson's."""
        label_v, label_h = self.label(c)[:, :, None, None].chunk(2, dim=1)
        a_v = F.conv2d(v, self.up * self.up_mask, self.vertical, padding=1)
        side = F.conv2d(h, self.side * self.side_mask, self.horizontal, padding=(0, self.side.shape[3] // 2))
        a_h = side + self.link(F.pad(a_v, (0, 0, 1, -1))) + label_h + place
        out = self.out(F.dropout(self.gate(a_h), drop, self.training))
        return self.gate(a_v + label_v), out if self.first else h + out


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (our step, the masked one), from the same weights, whose outputs agree before they begin."""
    lesson = definitions(Course.at(Path(__file__).parents[2]), "04_pixelcnn")
    torch.manual_seed(0)
    x, c = torch.randint(K, (BATCH, SIDE, SIDE)), torch.randint(10, (BATCH,))
    ours = lesson["PixelCNN"](SIDE, K, C, LAYERS)
    theirs = copy.deepcopy(ours)
    theirs.layers = torch.nn.ModuleList(Masked(layer, lesson["gate"]) for layer in theirs.layers)
    with torch.no_grad():
        assert torch.allclose(ours(x, c), theirs(x, c), atol=1e-5)
    log_p = lesson["log_p"]
    return training_step(ours, lambda: -log_p(ours, x, c).mean()), training_step(
        theirs, lambda: -log_p(theirs, x, c).mean()
    )
