"""Lesson 09_glow against normflows: a training step of Glow steps (actnorm, 1x1, coupling), same widths."""

from collections.abc import Callable
from pathlib import Path

import torch
from normflows.flows import GlowBlock
from steps import training_step
from torch import nn

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "09_glow: a training step of 4 Glow steps against normflows' blocks, 16 channels of 8x8, batch 64"
STEPS, CHANNELS, SIDE, WIDTH, BATCH = 4, 16, 8, 64, 64


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (our step, normflows'), on the same batch; its inverse is the direction from picture to code."""
    lesson = definitions(Course.at(Path(__file__).parents[2]), "09_glow")
    torch.manual_seed(0)
    x, c = torch.randn(BATCH, CHANNELS, SIDE, SIDE), torch.zeros(BATCH, dtype=torch.long)
    parts = "ActNorm", "Mixing", "Coupling"
    ours = nn.ModuleList(
        lesson[part](CHANNELS, *[WIDTH] * (part == "Coupling")) for _ in range(STEPS) for part in parts
    )
    theirs = nn.ModuleList(GlowBlock(CHANNELS, WIDTH) for _ in range(STEPS))
    return (
        training_step(ours, lambda: _nats(x, [lambda z, layer=layer: layer(z, c) for layer in ours])),
        training_step(theirs, lambda: _nats(x, [block.inverse for block in theirs])),
    )


def _nats(
    z: torch.Tensor, layers: list[Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]]
) -> torch.Tensor:
    """The mean of -log p, without the normal's constant, after layers that give z and log |det|."""
    log_det = torch.zeros(len(z))
    for layer in layers:
        z, change = layer(z)
        log_det = log_det + change
    return (0.5 * z.square().flatten(1).sum(1) - log_det).mean()
