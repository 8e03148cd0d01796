"""Lesson 23_flow_matching: an Euler step, network and all, against diffusers' net and scheduler."""

import runpy
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

TITLE = "23_flow_matching: Euler step against diffusers' UNet2DModel and FlowMatchEulerDiscreteScheduler"
BATCH = 48


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (a step of the lesson's solver, diffusers'), of a tenth of the path, without guidance."""
    training = runpy.run_path(str(Path(__file__).with_name("23_flow_matching.py")))
    lesson, theirs = training["chapter"](), training["Peer"]().eval()
    net, generator = lesson["UNet"](training["CHANNELS"]).eval(), torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, 1, 16, 16, generator=generator)
    y = torch.randint(training["CLASSES"], (BATCH,), generator=generator)
    u, now = lesson["guided"](net, y, 1), torch.tensor(1.0)
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(10)

    @torch.no_grad()
    def ours() -> object:
        return lesson["euler"](u, x, now, -0.1)

    @torch.no_grad()
    def diffusers_step() -> object:
        scheduler._step_index = None  # the first step again
        t = scheduler.timesteps[0]
        return scheduler.step(theirs(x, (t / 1_000).expand(BATCH), y), t, x).prev_sample

    return ours, diffusers_step
