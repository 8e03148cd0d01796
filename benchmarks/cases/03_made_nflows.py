"""Lesson 03_made: a training step on black-and-white digits against nflows' MADE of the same widths."""

from collections.abc import Callable
from pathlib import Path

import torch
from nflows.transforms.made import MADE
from steps import training_step
from torch.nn import functional as F

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "03_made: a MADE step against nflows', two hidden layers of 512, batch 64"
D, WIDTH, BATCH = 64, 512, 64


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (our step, nflows'), on the same batch and for the same order; both say two logits a pixel."""
    lesson = definitions(Course.at(Path(__file__).parents[2]), "03_made")
    torch.manual_seed(0)
    x, c = torch.randint(2, (BATCH, D)), torch.zeros(BATCH, dtype=torch.long)
    ours, masks = lesson["MADE"](D, 2, WIDTH), lesson["masks"](torch.arange(D), WIDTH, 2)
    theirs = MADE(D, WIDTH, num_blocks=1, output_multiplier=2, use_residual_blocks=False, activation=F.silu)

    def nflows_nats() -> torch.Tensor:
        logits = theirs(2 * x.float() - 1).reshape(BATCH, D, 2)
        return F.cross_entropy(logits.flatten(0, 1), x.flatten()) * D

    return training_step(ours, lambda: -lesson["log_p"](ours, x, masks, c).mean()), training_step(
        theirs, nflows_nats
    )
