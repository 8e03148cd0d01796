"""Lesson 24_one_step: a consistency step against the plainest way, two passes that both keep their graph."""

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from steps import training_step

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "24_one_step: consistency step against two passes with a graph each"
WIDTH, BATCH, CLASSES = 256, 128, 10  # those of the setting quick


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (the lesson's loss and update, the same where the target is detached behind a full pass)."""
    lesson = definitions(Course.at(Path(__file__).parents[2]), "24_one_step")
    net = lesson["FlowMap"](64, CLASSES, WIDTH)
    theirs, generator = copy.deepcopy(net), torch.Generator().manual_seed(0)
    x_t, x_r = torch.randn(2, BATCH, 64, generator=generator)
    r, t = torch.rand(2, BATCH, generator=generator).sort(dim=0).values
    c = torch.eye(CLASSES)[torch.arange(BATCH) % CLASSES]

    def plain() -> torch.Tensor:
        ends = x_t - t[:, None] * theirs(x_t, t, 0 * t, c), x_r - r[:, None] * theirs(x_r, r, 0 * r, c)
        return (ends[0] - ends[1].detach()).square().mean()

    ours = training_step(net, lambda: lesson["consistency_loss"](net, net, x_t, x_r, t, r, c))
    return ours, training_step(theirs, plain)
