"""What a lesson's `full` setting costs on a GPU: floating-point operations, kernels, memory, minutes.

The notebook runs on the CPU in `full`, but what is large is not computed: such a tensor is one number that
takes its shape, while torch's counter counts. Of a loop under a progress bar some passes run, in pairs, and
stand for those between them. A chip's minutes are the larger of operations over throughput and kernels over
launches; what a lesson computes on the CPU in any case, such as the measuring net, is not in them.
The rows go to full_cost.toml beside this file, with a digest of the code that they are of; a test holds them
to the lesson's code and to the limits below.
Usage: python benchmarks/full_cost.py [NN_name ...]
"""

import argparse
import hashlib
import json
import os
import tempfile
import tomllib
import weakref
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from nbformat import NotebookNode
from rich.console import Console
from rich.table import Table
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from autograde.authoring.script import read_lesson
from autograde.cells import grade_id
from autograde.course import Course
from genmap import features, progress

ROWS = Path(__file__).with_suffix(".toml")
LARGE = 1 << 20  # numbers in a result from which on it is not computed
HEAVY = 1e8  # floating-point operations, likewise
SHORT = 100  # passes: a shorter loop runs whole
SHARES = (
    0,
    0.01,
    0.02,
    0.05,
    1 / 12,
    0.1,
    0.2,
    0.25,
    0.3,
    1 / 3,
    0.5,
    2 / 3,
    0.7,
    0.75,
    1,
)  # where lessons look
SHORT_FLOATS = (
    torch.float32,
    torch.bfloat16,
    torch.float16,
)  # what has 64 bits is computed on the CPU, always
CHIPS = {  # TFLOP/s that small networks reach in half precision: assumed, some tenth of what data sheets say
    "T4": 4.0,
    "A100": 30.0,
    "H100": 60.0,
}
LAUNCH = 10e-6  # seconds for a kernel: a small one takes as long as Python takes to ask for it
MOST_MINUTES, MOST_GB = 15.0, 12.0  # on a T4


@dataclass
class Cost:
    """Floating-point operations and kernels."""

    flops: float = 0.0
    kernels: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.kernels + other.kernels)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.flops - other.flops, self.kernels - other.kernels)

    def times(self, n: float) -> "Cost":
        """The cost of n of it."""
        return Cost(n * self.flops, n * self.kernels)


@dataclass
class Counter(TorchDispatchMode):
    """Counts every operation within it, and computes those alone that are small."""

    cost: Cost = field(default_factory=Cost)
    held: int = 0  # bytes of all tensors now
    peak: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.known: dict[int, weakref.ref] = {}
        self.met: dict[tuple[Any, ...], tuple[Any, float]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        shapes, flops = self._foreseen(func, args, kwargs)
        views = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        self.cost += Cost(flops, float(not views))
        large = shapes is not None and any(t.numel() >= LARGE for t in _tensors(shapes))
        written = func._schema.arguments[0].alias_info if func._schema.is_mutable else None
        if written is not None and any(map(_pretended, tree_leaves(args[0]))):
            return args[0] if func._schema.returns else None
        if views or func._schema.is_mutable or not (large or flops >= HEAVY):
            return self._seen(func(*args, **kwargs))
        return tree_map(lambda t: self._pretend(t) if isinstance(t, torch.Tensor) else t, shapes)

    def _foreseen(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, float]:
        """What it returns, without values, and its operations; kept for arguments that look the same."""
        leaves = tree_leaves((args, kwargs))
        alike = (torch.ScriptObject, *[float] * any(map(torch.is_tensor, leaves)))  # no size is theirs
        key = (func, *(type(leaf) if isinstance(leaf, alike) else _look(leaf) for leaf in leaves))
        if key not in self.met:
            shapes = _shapes(func, args, kwargs)
            self.met[key] = shapes, _flops(func, args, kwargs, shapes)
        return self.met[key]

    def _pretend(self, like: torch.Tensor) -> torch.Tensor:
        half = torch.full((), 0.5, dtype=like.dtype)  # has a logarithm; rows of it add up to more than 0
        self._hold(half, like.numel() * like.element_size())
        return half.expand(like.shape)

    def _seen(self, result: Any) -> Any:
        for tensor in _tensors(result):
            if id(tensor.untyped_storage()) not in self.known:
                self._hold(tensor, tensor.untyped_storage().nbytes())
        return result

    def _hold(self, tensor: torch.Tensor, size: int) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)

        def gone(_: object) -> None:
            self.known.pop(key, None)
            self.held -= size

        self.known[key] = weakref.ref(storage, gone)
        self.held += size
        self.peak = max(self.peak, self.held)


def _look(leaf: Any) -> object:
    return (leaf.shape, leaf.stride(), leaf.dtype) if torch.is_tensor(leaf) else repr(leaf)


def _pretended(value: Any) -> bool:
    """Whether it is one number in the shape of many, which cannot be written to."""
    return torch.is_tensor(value) and any(
        n > 1 and not by for n, by in zip(value.shape, value.stride(), strict=True)
    )


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _shapes(func: Any, args: Any, kwargs: Any) -> Any:
    """What it returns, without values; None where that depends on values, or is no float."""

    def bare(t: Any) -> Any:
        if not torch.is_tensor(t):
            return t
        if _pretended(t):
            return torch.empty(t.shape, dtype=t.dtype, device="meta")
        return torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta")

    try:
        with _disable_current_modes():
            shapes = func(*tree_map(bare, args), **{**tree_map(bare, kwargs), **_on_meta(kwargs)})
    except Exception:
        return None
    return shapes if all(t.dtype in SHORT_FLOATS for t in _tensors(shapes)) else None


def _on_meta(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {
        **({"device": "meta"} if "device" in kwargs else {}),
        **({"generator": None} if "generator" in kwargs else {}),
    }


def _flops(func: Any, args: Any, kwargs: Any, shapes: Any) -> float:
    count = flop_registry.get(func._overloadpacket)
    return float(count(*args, **kwargs, out_val=shapes)) if count and shapes is not None else 0.0


def visited(n: int) -> list[int]:
    """The passes that run of a loop of n: pairs (k - 1, k) at the shares of it."""
    marks = {max(1, how(n * share)) for share in SHARES for how in (round, int)}
    return sorted({at for k in marks for at in (k - 1, k) if 0 <= at < n})


def sampled(counter: Counter, items: Iterable[Any]) -> Iterator[Any]:
    """Some of the items; the counter ends as if all had been passed."""
    if not isinstance(items, Sized) or len(items) <= SHORT:
        yield from items
        return
    values, at, costs = list(items), visited(len(items)), []
    for index in at:
        before = counter.cost
        yield values[index]
        costs.append(counter.cost - before)
    usual = [min(costs[i : i + 2], key=lambda cost: cost.kernels) for i in range(len(at))]
    gaps = [later - index - 1 for index, later in zip(at, [*at[1:], len(values)], strict=True)]
    for cost, gap in zip(usual, gaps, strict=True):  # what a pass does now and then is not in them
        counter.cost += cost.times(gap)


def chapter(notebook: NotebookNode) -> list[str]:
    """The code of a lesson's chapter: all of its cells but exercises and their tests."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code" and grade_id(cell) is None]


def digest(cells: list[str]) -> str:
    """What tells whether the code is still that of a row."""
    return hashlib.sha256("\0".join(cells).encode()).hexdigest()[:16]


def cost_of(lesson: str, cells: list[str]) -> tuple[Counter, list[str]]:
    """Run a lesson's cells; what it costs, and the cells that did not come to their end."""
    counter, failed, names = Counter(), [], {"__name__": "__main__"}
    progress.track = lambda items, total=None, title="": sampled(counter, items)
    features.Features.__call__ = _apart(features.Features.__call__)
    features._trained = _apart(features._trained)  # or a net of nothing would be kept for all lessons
    with tempfile.TemporaryDirectory() as folder, counter:
        before = os.getcwd()
        os.chdir(folder)
        for cell in cells:
            try:
                exec(compile(cell, lesson, "exec"), names)
            except Exception as error:
                failed.append(f"{cell.strip().splitlines()[0][:60]}: {type(error).__name__}: {error}")
        os.chdir(before)
    return counter, failed


def _apart(function: Any) -> Any:
    """The function, computed outside the counter: it runs on the CPU on every machine."""

    def computed(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes():
            return function(*args, **kwargs)

    return computed


def minutes(row: dict[str, Any], teraflops: float) -> float:
    """On a chip of so many TFLOP/s."""
    return max(1e3 * row["petaflop"] / teraflops, 1e6 * row["million_kernels"] * LAUNCH) / 60


def rows() -> dict[str, dict[str, Any]]:
    """What was counted, by lesson."""
    return tomllib.loads(ROWS.read_text()) if ROWS.exists() else {}


def write(found: dict[str, dict[str, Any]]) -> None:
    """Renew the rows of these lessons."""
    lines = ["# What each lesson's `full` setting costs; written by full_cost.py, never by hand."]
    for lesson, row in sorted({**rows(), **found}.items()):
        lines += ["", f"[{lesson}]", *(f"{name} = {json.dumps(value)}" for name, value in row.items())]
    ROWS.write_text("\n".join(lines) + "\n")


def measured(course: Course, lesson: str) -> dict[str, Any]:
    """The row of a lesson."""
    cells = chapter(read_lesson(course.source(lesson)))
    counter, failed = cost_of(lesson, cells)
    for line in failed:
        print(f"{lesson}: not to its end: {line}")
    cost = {"petaflop": counter.cost.flops / 1e15, "million_kernels": counter.cost.kernels / 1e6}
    sizes = {**cost, "gigabytes": counter.peak / 1e9}
    return {"digest": digest(cells), **{name: float(f"{value:.3g}") for name, value in sizes.items()}}


def main() -> None:
    """Count, write the rows, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lessons", nargs="*")
    os.environ |= {"GENMAP_SETTING": "full", "MPLBACKEND": "agg"}
    course = Course.find()
    table = Table("lesson", "PFLOP", "million kernels", "GB", *(f"{chip}, min" for chip in CHIPS))
    for lesson in parser.parse_args().lessons or course.names():
        row = measured(course, lesson)
        write({lesson: row})
        spent = [f"{minutes(row, each):.1f}" for each in CHIPS.values()]
        table.add_row(lesson, *(f"{row[name]:g}" for name in list(row)[1:]), *spent)
    Console().print(table)


if __name__ == "__main__":
    main()
