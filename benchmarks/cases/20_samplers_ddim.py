"""Lesson 20_samplers: ten steps of DDIM around its network against diffusers' DDIMScheduler."""

import runpy
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DDIMScheduler

TITLE = "20_samplers: ten steps of DDIM against diffusers' DDIMScheduler, the same network"


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (DDIM, diffusers')."""
    case = runpy.run_path(str(Path(__file__).with_name("20_samplers.py")))
    lesson, y = case["chapter"](), torch.arange(case["BATCH"])
    denoise, noise = lesson["guided"](lesson["net"], y), lesson["noise_like"](y, 0)
    levels = lesson["other_grid"]("log-SNR", case["STEPS"])
    scheduler = DDIMScheduler(prediction_type="sample", clip_sample=False)

    def ours() -> object:
        return lesson["ddim"](denoise, levels[0] * noise, levels)

    @torch.no_grad()
    def theirs() -> object:
        scheduler.set_timesteps(case["STEPS"])
        x = noise
        for t in scheduler.timesteps:
            alpha_bar = scheduler.alphas_cumprod[t]
            guess = denoise(x / alpha_bar.sqrt(), ((1 - alpha_bar) / alpha_bar).sqrt())
            x = scheduler.step(guess, t, x).prev_sample
        return x

    return ours, theirs
