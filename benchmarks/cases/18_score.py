"""Lesson 18_score: twelve Langevin steps around its U-Net against ScoreSdeVeScheduler.step_correct."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import ScoreSdeVeScheduler

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = (
    "18_score: twelve Langevin steps against diffusers' ScoreSdeVeScheduler.step_correct, the same network"
)
CHANNELS, BATCH, LEVELS, STEPS = 32, 8, 4, 3  # channels of the setting quick; few pictures: overhead shows


def chapter() -> dict[str, Any]:
    """Return the names of the chapter, with a network of the size of quick that says something."""
    lesson = definitions(Course.at(Path(__file__).parents[2]), "18_score")
    torch.manual_seed(0)
    lesson["net"] = lesson["UNet"](CHANNELS, 36).eval()
    torch.nn.init.normal_(lesson["net"].leave.weight, std=0.01)
    return lesson


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (our annealed walk, the corrector's loop as the pipeline of diffusers has it)."""
    lesson, y = chapter(), torch.arange(BATCH)
    score = lesson["class_score"](lesson["net"], y, **lesson["GLYPH"])
    sigmas = lesson["ladder"](lesson["GLYPH"]["high"], lesson["LOW"], LEVELS)
    start = sigmas[0] * lesson["noise_like"]((BATCH, 1, 16, 16), 0)
    scheduler = ScoreSdeVeScheduler(snr=0.2)
    scheduler.set_timesteps(LEVELS)

    def ours() -> object:
        return lesson["annealed"](score, start, sigmas, STEPS, 0.3, torch.Generator().manual_seed(1))

    @torch.no_grad()
    def diffusers_loop() -> object:
        x, generator = start, torch.Generator().manual_seed(1)
        for sigma in sigmas:
            for _ in range(STEPS):
                x = scheduler.step_correct(score(x, sigma), x, generator=generator).prev_sample
        return x + sigmas[-1] ** 2 * score(x, sigmas[-1])

    return ours, diffusers_loop
