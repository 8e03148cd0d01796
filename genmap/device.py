"""Where a lesson runs: on which device, in which number format, at which setting, whether in a notebook."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SETTINGS = ("smoke", "quick", "full")
SMOKE = "Setting `smoke`: every cell runs, nothing is trained to the end. Numbers and text do not match here."


def device() -> torch.device:
    """Return the fastest device that torch finds: CUDA, else Apple's MPS, else the CPU."""
    import torch  # here: it takes a second to import, and much of genmap does without

    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def number_format(device: torch.device) -> torch.dtype | None:
    """Return the short floats in which a chip multiplies fastest, or None where float32 stays.

    bfloat16 on CUDA chips that have it, float16 on older ones such as Colab's T4, None on others: short
    floats gain nothing on a CPU.
    """
    import torch

    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(device: torch.device) -> torch.autocast:
    """Return a context in which networks compute in `number_format(device)`; it does nothing for None."""
    import torch

    short = number_format(device)
    return torch.autocast(device.type, short or torch.bfloat16, enabled=short is not None)


def grad_scaler(device: torch.device) -> torch.amp.GradScaler:
    """Return torch's scaler of losses for float16, where small gradients vanish; else it is idle.

    A step is `scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()` on every device.
    """
    import torch

    return torch.amp.GradScaler(device.type, enabled=number_format(device) is torch.float16)


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


def settings(**columns: Any) -> SimpleNamespace:
    """Return the active value of each name as an attribute: `settings(updates=(3, 1_000, 20_000)).updates`.

    In "smoke" it prints that numbers and text do not match.

    columns: for each name its values in "smoke", "quick" and "full", in this order.
        Lessons begun with an earlier version pass three mappings, `smoke={"updates": 3}, quick=…, full=…`.

    Raises ValueError where a name has not three values: a lesson that runs here must run elsewhere.

    >>> settings(updates=(3, 1_000, 20_000), width=(8, 64, 128))  # doctest: +ELLIPSIS
    namespace(updates=..., width=...)
    """
    if set(columns) == set(SETTINGS) and all(isinstance(values, Mapping) for values in columns.values()):
        names = dict.fromkeys(name for values in columns.values() for name in values)
        lacking = [(which, name) for which in SETTINGS for name in names if name not in columns[which]]
        if lacking:
            raise ValueError("the setting {!r} lacks {}: give all three the same names".format(*lacking[0]))
        columns = {name: tuple(columns[which][name] for which in SETTINGS) for name in names}
    for name, values in columns.items():
        if not isinstance(values, tuple) or len(values) != len(SETTINGS):
            raise ValueError(
                f"the setting {name!r} is {values!r}: give it three values, {', '.join(SETTINGS)}"
            )
    active = SETTINGS.index(setting())
    if active == 0:
        print(SMOKE)
    return SimpleNamespace(**{name: values[active] for name, values in columns.items()})


def notebook_shell() -> Any | None:
    """Return IPython's shell where this runs in a notebook's kernel (Jupyter, Colab, VS Code), else None."""
    ipython = sys.modules.get("IPython")  # a kernel has imported it; a plain script may be without it
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if hasattr(shell, "kernel") else None
