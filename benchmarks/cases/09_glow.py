"""Lesson 09_glow against zuko: a training step of spline couplings of the same networks and bins."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import zuko
from steps import training_step
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.transforms import MonotonicRQSTransform

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "09_glow: a step of 4 spline couplings of the plane against zuko's, 8 bins, batch 256"
LAYERS, WIDTH, BINS, BATCH = 4, 64, 8, 256


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (our step, zuko's), on the same batch."""
    lesson = definitions(Course.at(Path(__file__).parents[2]), "09_glow")
    torch.manual_seed(0)
    ours = lesson["Curved"](LAYERS, WIDTH, BINS)
    univariate = partial(MonotonicRQSTransform, bound=3.0)
    shapes = [(BINS,), (BINS,), (BINS - 1,)]
    layers = [
        GeneralCouplingTransform(
            2,
            0,
            mask=torch.arange(2) == i % 2,
            univariate=univariate,
            shapes=shapes,
            hidden_features=(WIDTH, WIDTH),
        )
        for i in range(LAYERS)
    ]
    base = zuko.flows.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(2), torch.ones(2), buffer=True
    )
    theirs, x = zuko.flows.Flow(layers, base), torch.randn(BATCH, 2)
    return (
        training_step(ours, lambda: -ours.log_prob(x).mean()),
        training_step(theirs, lambda: -theirs().log_prob(x).mean()),
    )
