"""Lesson 08_realnvp against zuko: a training step of the conditional flow of 8x8 digits."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import zuko
from steps import training_step
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.transforms import MonotonicAffineTransform

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "zuko, 8 couplings of 192 hidden numbers, batch 64"
LAYERS, WIDTH, BATCH = 8, 192, 64


def reference(lesson: dict, masks: list[torch.Tensor], width: int, classes: int) -> zuko.flows.Flow:
    """zuko's flow of the same architecture as the lesson's `couplings(masks, width, classes)`."""
    bounded = partial(MonotonicAffineTransform, slope=torch.tensor(-lesson["LIMIT"]).exp().item())
    dims = len(masks[0])
    layers = [
        GeneralCouplingTransform(dims, classes, mask=m, univariate=bounded, hidden_features=(width, width))
        for m in masks
    ]
    base = zuko.flows.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(dims), torch.ones(dims), buffer=True
    )
    return zuko.flows.Flow(layers, base)


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Our step and zuko's, on the same batch."""
    lesson = definitions(Course.at(Path(__file__).parents[2]), "08_realnvp")
    masks = lesson["picture_masks"](8, LAYERS)
    torch.manual_seed(0)
    ours = lesson["Flow"](lesson["couplings"](masks, WIDTH, 10), 64)
    theirs = reference(lesson, masks, WIDTH, 10)
    x, c = torch.randn(BATCH, 64), torch.nn.functional.one_hot(torch.arange(BATCH) % 10, 10).float()
    return (
        training_step(ours, lambda: -ours.log_prob(x, c).mean()),
        training_step(theirs, lambda: -theirs(c).log_prob(x).mean()),
    )
