"""What hidden tests use to look at a reply: one finite number, an array of a shape. NaN never passes."""

import numbers
import sys
from typing import Any

import numpy as np

from autograde.errors import Unusable
from autograde.judging.student import Handle


def array(value: Any, shape: tuple[int, ...] | None = None, finite: bool = True) -> np.ndarray:
    """`value`, a number, a nested list, an array or a tensor, as a NumPy array.

    Raises Unusable where it is none of these, has another shape than `shape` (None: any), or, unless
    `finite` is False, holds NaN or an infinity. With `finite=False` infinities pass, NaN never does.
    """
    result = _numeric(value)
    if shape is not None and result.shape != tuple(shape):
        raise Unusable("an array of another shape than the exercise asks for")
    if result.size == 0 and 0 not in (shape or ()):
        raise Unusable("an empty array")  # of which everything would hold
    if np.isnan(result).any() or (finite and not np.isfinite(result).all()):
        raise Unusable("NaN or infinity")
    return result


def number(value: Any, finite: bool = True) -> float:
    """`value`, a Python number or a 0-d array or tensor, as a float; raises Unusable like `array`."""
    if isinstance(value, bool | complex):
        raise Unusable("a value that is no real number")
    result = array(value, shape=(), finite=finite)
    if result.dtype.kind not in "iuf":
        raise Unusable("a value that is no real number")
    return float(result)


def _numeric(value: Any) -> np.ndarray:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        wide = value.double() if value.dtype == torch.bfloat16 else value
        return wide.numpy()
    if isinstance(value, Handle) or not isinstance(
        value, numbers.Number | list | tuple | np.ndarray | np.generic
    ):
        raise Unusable(f"a value of type {_kind(value)} where numbers were expected")
    try:
        result = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise Unusable("a ragged or oversized list") from error
    if result.dtype.kind not in "biufc":
        raise Unusable("a list that holds something else than numbers")
    return result


def _kind(value: Any) -> str:
    return "an object" if isinstance(value, Handle) else type(value).__name__
