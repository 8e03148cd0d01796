"""Where a lesson runs: on which device, at which setting, and whether in a notebook."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SETTINGS = ("smoke", "quick", "full")


def device() -> torch.device:
    """Return the fastest device that torch finds: CUDA, else Apple's MPS, else the CPU."""
    import torch  # here, because it takes a second and much of genmap does without

    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def setting() -> str:
    """Return how much a lesson computes.

    "smoke": every cell runs, in seconds; "quick": recognisable results on two CPU cores; "full": for a GPU.
    The environment variable GENMAP_SETTING decides; without it, it is "full" on CUDA and "quick" elsewhere.
    Raises ValueError if GENMAP_SETTING is none of the three.
    """
    name = os.environ.get("GENMAP_SETTING", "")
    if not name:
        return "full" if device().type == "cuda" else "quick"
    if name not in SETTINGS:
        raise ValueError(f"GENMAP_SETTING is {name!r}; set it to one of {', '.join(SETTINGS)}, or unset it")
    return name


def settings(
    *, smoke: Mapping[str, Any], quick: Mapping[str, Any], full: Mapping[str, Any]
) -> SimpleNamespace:
    """Return the active one of three sets of values, as attributes: `settings(...).steps`.

    Raises ValueError unless the three have the same names: a lesson that runs here must run elsewhere.
    """
    sets = {"smoke": smoke, "quick": quick, "full": full}
    names = {name for values in sets.values() for name in values}
    for which, values in sets.items():
        if missing := sorted(names - set(values)):
            raise ValueError(
                f"the setting {which!r} lacks {', '.join(missing)}: give all three the same names"
            )
    return SimpleNamespace(**sets[setting()])


def notebook_shell() -> Any | None:
    """Return IPython's shell where this runs in a notebook's kernel (Jupyter, Colab, VS Code), else None."""
    ipython = sys.modules.get(
        "IPython"
    )  # a kernel has imported it; a plain script need not have it installed
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if hasattr(shell, "kernel") else None
