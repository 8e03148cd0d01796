"""What every answer leaves as it was, whatever it computes: its arguments and the settings of the process.

The learner's side takes two looks at each call; the judge compares them. Like all that comes from there they
may be forged, by who could as well have kept the promise.
"""

import ctypes
import random
import sys
import zlib
from typing import Any

import numpy as np

ARGUMENTS, RANDOM, TORCH_RANDOM = "arguments", "random", "torch-random"
DTYPE, GRADIENTS, THREADS = "dtype", "gradients", "threads"
# What a learner reads of a broken one.
SAID = {
    ARGUMENTS: "its arguments",
    DTYPE: "the default type of tensors",
    RANDOM: "the global random state of Python or NumPy",
    TORCH_RANDOM: "torch's global random state",
    GRADIENTS: "whether gradients are computed",
    THREADS: "the number of threads",
}
MAX_DEPTH = 16
MT19937_BYTES = 625 * 4  # 624 words and the place in them: mt19937_state of NumPy's mt19937.h


def look(*arguments: Any) -> str:
    """What is promised, a line for each promise in the order of SAID, which differs where it does.

    A line is empty, or all are missing, where it cannot be seen: a learner may have changed what this asks,
    NumPy's functions or an argument of a class of one's own. One text crosses the line faster than its parts.
    """
    try:
        found = _seen(arguments)
        return "\n".join(found.get(name, "") for name in SAID)
    except Exception:
        return ""


def _seen(arguments: tuple[Any, ...]) -> dict[str, str]:
    found = {ARGUMENTS: _digest(arguments), RANDOM: _random_state()}
    if (torch := sys.modules.get("torch")) is not None:
        found[TORCH_RANDOM] = str(hash(torch.get_rng_state().numpy().tobytes()))
        found[DTYPE] = str(torch.get_default_dtype())
        found[GRADIENTS] = str(torch.is_grad_enabled())
        found[THREADS] = str(torch.get_num_threads())
    return found


def broken(before: object, after: object) -> set[str]:
    """Which promises two looks, which may be forged, differ in: torch may be imported between the two."""
    if type(before) is not str or type(after) is not str:
        return set()
    first, second = (text.split("\n", len(SAID)) for text in (before, after))
    if not len(first) == len(second) == len(SAID):
        return set()
    return {name for name, a, b in zip(SAID, first, second, strict=True) if a and b and a != b}


def _digest(value: Any) -> str:
    parts: list[object] = []
    _collect(parts, value, 0)
    return str(hash(tuple(parts)))  # of this process alone: nothing else compares it


def _collect(parts: list[object], value: Any, depth: int) -> None:
    """Add plain data, arrays and tensors; of generators and objects of one's own, that they are there."""
    torch, kind = sys.modules.get("torch"), type(value)
    parts.append(kind.__name__)
    if depth > MAX_DEPTH:
        return
    if kind in (list, tuple, dict):
        parts.append(len(value))
        for part in value.items() if kind is dict else value:
            _collect(parts, part, depth + 1)
    elif torch is not None and kind is torch.Tensor:
        parts += [str(value.dtype), tuple(value.shape), value.requires_grad]
        plain = value.detach().cpu().resolve_conj().resolve_neg()
        parts.append(_sum((plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()))
    elif isinstance(value, np.ndarray | np.generic):
        parts += [str(value.dtype), value.shape, _sum(np.asarray(value))]
    elif kind in (str, bytes, int, float, complex, bool):
        parts.append(repr(value))


def _sum(array: np.ndarray) -> int:
    """A checksum of its bytes, without a copy of them where they lie in a row."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data) if array.size else 0


def _random_state() -> str:
    """A text that differs where Python's or NumPy's global generator was used or seeded."""
    own: Any = np.random.get_bit_generator()  # type: ignore[attr-defined]
    parts: list[object] = [random.getstate(), id(own)]
    if type(own).__name__ == "MT19937":  # its words themselves: a copy by NumPy takes longer than most calls
        parts.append(ctypes.string_at(own.ctypes.state_address, MT19937_BYTES))
    return str(hash(tuple(parts)))
