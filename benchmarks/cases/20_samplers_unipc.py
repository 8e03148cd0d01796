"""Lesson 20_samplers: ten steps of UniPC around its network against diffusers' UniPCMultistepScheduler."""

import runpy
from collections.abc import Callable
from pathlib import Path

from diffusers import UniPCMultistepScheduler

TITLE = "20_samplers: ten steps of UniPC-3 against diffusers' UniPCMultistepScheduler, the same network"


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (UniPC, diffusers')."""
    case = runpy.run_path(str(Path(__file__).with_name("20_samplers.py")))
    scheduler = UniPCMultistepScheduler(solver_order=3, prediction_type="sample")
    ours, theirs = case["against"]("unipc", scheduler)
    return ours, theirs
