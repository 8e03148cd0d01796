"""Lesson 04_pixelcnn: the same two samplers where a picture has four times as many pixels."""

import runpy
from collections.abc import Callable
from pathlib import Path

TITLE = "04_pixelcnn: 16 pictures of 16 x 16 drawn, cached, against a pass for each pixel"


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return both samplers at this length."""
    return runpy.run_path(str(Path(__file__).with_name("04_pixelcnn_sampling.py")))["samplers"](16)
