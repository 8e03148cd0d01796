"""Lesson 19_ddpm: a DDIM step, network and all, against diffusers' UNet2DModel and DDIMScheduler."""

import runpy
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DDIMScheduler

TITLE = "19_ddpm: DDIM sampling step against diffusers' UNet2DModel and DDIMScheduler"
BATCH = 64


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (a step of the lesson's sampler, diffusers'), from t = 0.5 to t = 0.4, without guidance."""
    training = runpy.run_path(str(Path(__file__).with_name("19_ddpm.py")))
    lesson, theirs = training["chapter"](), training["peer"]().eval()
    net, generator = lesson["UNet"](training["CHANNELS"]).eval(), torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, 1, 16, 16, generator=generator)
    y, times = torch.randint(training["CLASSES"], (BATCH,), generator=generator), torch.tensor([0.5, 0.4])
    bar = lesson["COSINE"]
    scheduler = DDIMScheduler(
        trained_betas=(1 - bar[1:] / bar[:-1]).numpy(),
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(10)
    folded = torch.nn.functional.pixel_unshuffle(x, 2)

    def ours() -> object:
        return lesson["ddim"](net, x, times, y)

    @torch.no_grad()
    def diffusers_step() -> object:
        v = theirs(folded, torch.full((BATCH,), 500.0), class_labels=y).sample
        return scheduler.step(v, 499, folded, use_clipped_model_output=True).prev_sample

    return ours, diffusers_step
