"""Arrays and tensors that come from a lesson, checked once and read as NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def real_array(what: str, x: Any) -> npt.NDArray[Any]:
    """Return an array or a tensor on any device as a NumPy array of real numbers.

    what: who asks, for the message.
    x: the array, the tensor, or a nested list of numbers.

    Raises ValueError where `x` is no array of real numbers.
    """
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.double().numpy() if x.is_floating_point() else x.numpy()  # NumPy has no bfloat16
    try:
        a = np.asarray(x)
    except ValueError:  # rows of different lengths
        a = np.asarray(None)
    if a.dtype.kind not in "biuf":
        raise ValueError(f"{what}: an array of real numbers is wanted, not {type(x).__name__} of {a.dtype}")
    return a


def image_stack(what: str, x: Any, colour: bool = False) -> npt.NDArray[np.float64]:
    """Return images (N, 1, H, W) or (N, H, W), array or tensor, as float64 (N, H, W).

    what: who asks, for the message.
    x: the images.
    colour: whether images (N, 3, H, W) in red, green and blue are taken, too, and returned as (N, H, W, 3).

    Raises ValueError for another shape, for no images, and for whole numbers above 1.
    """
    a = real_array(what, x)
    known = a.ndim == 3 or (a.ndim == 4 and a.shape[1] in ((1, 3) if colour else (1,)))
    if not known or 0 in a.shape[1:]:
        wanted = "(N, 1, H, W), (N, 3, H, W)" if colour else "(N, 1, H, W)"
        raise ValueError(f"{what}: the shape is {a.shape}; it must be {wanted} or (N, H, W)")
    if not len(a):
        raise ValueError(f"{what}: there are no images (N is 0)")
    if a.dtype.kind in "iu" and a.max() > 1:
        raise ValueError(f"{what}: whole numbers up to {a.max()}; divide, so that ink is 1 and paper 0")
    if a.ndim == 4:
        a = a[:, 0] if a.shape[1] == 1 else np.moveaxis(a, 1, 3)
    return a.astype(np.float64)


def finite_array(what: str, x: Any) -> npt.NDArray[np.float64]:
    """Return an array or a tensor as float64.

    what: who asks, for the message.
    x: the array or tensor, of any shape.

    Raises ValueError where it is empty or not finite.
    """
    a = real_array(what, x).astype(np.float64)
    if not a.size:
        raise ValueError(f"{what}: the shape is {a.shape}; there is nothing to measure")
    if bad := int((~np.isfinite(a)).sum()):
        raise ValueError(f"{what}: {bad} of {a.size} values are not finite; look at what made them")
    return a


def point_array(what: str, x: Any) -> npt.NDArray[np.float64]:
    """Return (N, ...) as finite points float64 (N, D).

    what: who asks, for the message.
    x: the array or tensor, with two dimensions or more.

    Raises ValueError where it is empty or not finite, or has fewer dimensions.
    """
    a = finite_array(what, x)
    if a.ndim < 2:
        raise ValueError(f"{what}: the shape is {a.shape}; it must be (N, D)")
    return a.reshape(len(a), -1)


def label_array(what: str, x: Any) -> npt.NDArray[np.int64]:
    """Return labels as int64 (N,).

    what: who asks, for the message.
    x: whole numbers (N,), N at least 1.

    Raises ValueError for another shape, or what is not a whole number.
    """
    a = real_array(what, x)
    if a.ndim != 1 or not a.size or a.dtype.kind not in "iu":
        raise ValueError(f"{what}: {a.dtype} of shape {a.shape}; labels are whole numbers (N,), N at least 1")
    return a.astype(np.int64)
