"""Other seeds for a whole notebook, without a change to it: `make quality` asks if claims survive them."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

NOTEBOOK = "__main__"  # the name of the module that cells run in


def shift(by: int) -> None:
    """From here on add `by` to every seed that a cell sets, in torch or NumPy; genmap's own stay as they are.

    Data sets and the net that measures must not change with it.
    """

    class Generator(torch.Generator):
        """torch's, which a cell seeds otherwise."""

        def manual_seed(self, seed: int) -> "Generator":
            """Of a cell, shifted."""
            super().manual_seed(seed + by * _of_a_cell())
            return self

    torch.Generator = Generator  # type: ignore[misc]
    torch.manual_seed = _shifted(torch.manual_seed, by)
    np.random.default_rng = _shifted(np.random.default_rng, by)
    np.random.seed = _shifted(np.random.seed, by)


def _shifted(function: Callable[..., Any], by: int) -> Callable[..., Any]:
    def call(seed: Any = None, *given: Any, **named: Any) -> Any:
        if seed is None:
            return function(*given, **named)
        return function(seed + by if isinstance(seed, int) and _of_a_cell() else seed, *given, **named)

    return call


def _of_a_cell() -> bool:
    """Whether what called the caller of this stands in a cell."""
    return sys._getframe(2).f_globals.get("__name__") == NOTEBOOK
