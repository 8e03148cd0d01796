"""Lesson 20_samplers: ten steps of 2M around its network against diffusers' DPMSolverMultistepScheduler."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "20_samplers: ten steps of 2M against diffusers' DPMSolverMultistepScheduler, the same network"
CHANNELS, BATCH, STEPS = 32, 8, 10  # channels of the setting quick; few pictures, so that overhead shows


def chapter() -> dict[str, Any]:
    """Return the names of the chapter, with a network of the size of quick that says something."""
    lesson = definitions(Course.at(Path(__file__).parents[2]), "20_samplers")
    torch.manual_seed(0)
    lesson["net"] = lesson["UNet"](CHANNELS, 36).eval()
    torch.nn.init.normal_(lesson["net"].leave.weight, std=0.01)
    return lesson


def against(
    sampler: str, scheduler: Any, steps: int = STEPS
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (our sampler from noise to pictures, the scheduler's loop as diffusers' pipelines have it)."""
    lesson = chapter()
    y, levels = torch.arange(BATCH), lesson["other_grid"]("log-SNR", steps)
    denoise, noise = lesson["guided"](lesson["net"], y), lesson["noise_like"](y, 0)
    theirs = noise.clone()

    def ours() -> object:
        return lesson[sampler](denoise, levels[0] * noise, levels)

    @torch.no_grad()
    def diffusers_loop() -> object:
        scheduler.set_timesteps(steps)
        x = theirs
        sigmas = scheduler.sigmas
        for i, t in enumerate(scheduler.timesteps):
            sigma = sigmas[scheduler.step_index if scheduler.step_index is not None else i]
            x_ve = x * (1 + sigma**2).sqrt()  # its x preserves the variance
            x = scheduler.step(denoise(x_ve, sigma), t, x).prev_sample
        return x

    return ours, diffusers_loop


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (2M, diffusers')."""
    return against("dpm_2m", DPMSolverMultistepScheduler(prediction_type="sample"))
