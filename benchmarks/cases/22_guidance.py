"""Lesson 22_guidance: ten guided steps around its network against diffusers' DDIMScheduler and guidance."""

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DDIMScheduler

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "22_guidance: ten guided DDIM steps against diffusers' way, the same network"
CHANNELS, BATCH, STEPS, WEIGHT = 32, 8, 10, 2.0  # channels of quick; few pictures, so that overhead shows


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (guided DDIM, diffusers' loop: one batch of 2 B, combined, then its scheduler)."""
    lesson = definitions(Course.at(Path(__file__).parents[2]), "22_guidance")
    torch.manual_seed(0)
    net = lesson["UNet"](CHANNELS, 36).eval()
    torch.nn.init.normal_(net.leave.weight, std=0.01)
    y, none = torch.arange(BATCH), torch.full((BATCH,), 36)
    noise = lesson["noise_like"](torch.zeros(BATCH, 1, 16, 16), 0)
    scheduler = DDIMScheduler(prediction_type="v_prediction", clip_sample=False)

    def ours() -> object:
        D = lesson["guided"](lesson["denoiser"](net), y, WEIGHT, none)
        return lesson["ddim"](D, noise, lesson["grid"](STEPS))

    @torch.no_grad()
    def theirs() -> object:
        scheduler.set_timesteps(STEPS)
        x, labels = noise, torch.cat([none, y])
        for t in scheduler.timesteps:
            both = scheduler.scale_model_input(torch.cat([x] * 2), t)
            without, with_label = net(both, (t / 1_000).expand(len(both)), labels).chunk(2)
            v = without + WEIGHT * (with_label - without)
            x = scheduler.step(v, t, x).prev_sample
        return x

    return ours, theirs
