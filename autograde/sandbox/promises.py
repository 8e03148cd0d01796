"""What every answer leaves as it was, whatever it computes: its arguments and the settings of the process.

The learner's side takes two looks at each call; the judge compares them. Like all that comes from there they
may be forged, by who could as well have kept the promise.
"""

import hashlib
import random
import sys
from typing import Any

import numpy as np

ARGUMENTS, DTYPE, RANDOM, GRADIENTS, THREADS = "arguments", "dtype", "random", "gradients", "threads"
# What a learner reads of a broken one.
SAID = {
    ARGUMENTS: "its arguments",
    DTYPE: "the default type of tensors",
    RANDOM: "the global random state",
    GRADIENTS: "whether gradients are computed",
    THREADS: "the number of threads",
}
MAX_DEPTH = 16


def look(*arguments: Any) -> dict[str, str]:
    """What is promised, as texts that differ where it does."""
    found = {ARGUMENTS: _digest(arguments), RANDOM: _random_state()}
    if (torch := sys.modules.get("torch")) is not None:
        found[DTYPE] = str(torch.get_default_dtype())
        found[GRADIENTS] = str(torch.is_grad_enabled())
        found[THREADS] = str(torch.get_num_threads())
    return found


def broken(before: object, after: object) -> set[str]:
    """Which promises two looks, which may be forged, differ in."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return set()
    return {name for name in SAID if name in before and before[name] != after.get(name)}


def _digest(value: Any) -> str:
    found = hashlib.blake2b(digest_size=16)
    _feed(found, value, 0)
    return found.hexdigest()


def _feed(found: "hashlib.blake2b", value: Any, depth: int) -> None:
    """Add plain data, arrays and tensors; of generators and objects of one's own, that they are there."""
    torch, kind = sys.modules.get("torch"), type(value)
    found.update(f"{kind.__name__} ".encode())
    if depth > MAX_DEPTH:
        return
    if kind in (list, tuple, dict):
        found.update(f"{len(value)} ".encode())
        for part in value.items() if kind is dict else value:
            _feed(found, part, depth + 1)
    elif torch is not None and kind is torch.Tensor:
        found.update(f"{value.dtype} {tuple(value.shape)} {value.requires_grad} ".encode())
        plain = value.detach().cpu().resolve_conj().resolve_neg()
        found.update((plain.float() if plain.dtype == torch.bfloat16 else plain).numpy().tobytes())
    elif isinstance(value, np.ndarray | np.generic):
        found.update(f"{value.dtype} {value.shape} ".encode() + value.tobytes())
    elif kind in (str, bytes, int, float, complex, bool):
        found.update(repr(value).encode(errors="surrogatepass"))


def _random_state() -> str:
    """A text that differs where any of the global generators was used or seeded."""
    found = hashlib.blake2b(repr(hash(random.getstate())).encode(), digest_size=16)
    own: Any = np.random.get_state(legacy=False)
    found.update(own["state"]["key"].tobytes() + repr((own["state"]["pos"], own["has_gauss"])).encode())
    if (torch := sys.modules.get("torch")) is not None:
        found.update(torch.get_rng_state().numpy().tobytes())
    return found.hexdigest()
