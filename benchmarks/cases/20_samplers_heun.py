"""Lesson 20_samplers: ten steps of Heun around its network against diffusers' HeunDiscreteScheduler."""

import runpy
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import HeunDiscreteScheduler

TITLE = "20_samplers: ten steps of Heun against diffusers' HeunDiscreteScheduler, the same network"


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (Heun, diffusers')."""
    case = runpy.run_path(str(Path(__file__).with_name("20_samplers.py")))
    lesson, y = case["chapter"](), torch.arange(case["BATCH"])
    denoise, noise = lesson["guided"](lesson["net"], y), lesson["noise_like"](y, 0)
    levels, scheduler = lesson["other_grid"]("log-SNR", case["STEPS"]), HeunDiscreteScheduler()

    def ours() -> object:
        return lesson["heun"](denoise, levels[0] * noise, levels)

    @torch.no_grad()
    def theirs() -> object:
        scheduler.set_timesteps(case["STEPS"])
        x = noise * scheduler.init_noise_sigma
        for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
            x = scheduler.step((x - denoise(x, sigma)) / sigma, t, x).prev_sample
        return x

    return ours, theirs
