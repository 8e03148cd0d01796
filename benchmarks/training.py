"""Seconds for a training step of a lesson's model, against a known library on the same architecture.

A case is a file benchmarks/cases/NN_name.py with `TITLE`, a line of text, and `pair()`, which returns two
functions without arguments: one training step of ours, one of theirs. Both are warmed up, then run in pairs,
the first of each pair in turn. The ratio of a pair does not feel what slows the whole machine for a while.
Usage: OMP_NUM_THREADS=1 python benchmarks/training.py [--lesson 08_realnvp] [--pairs 20]
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from rich.console import Console
from rich.table import Table

CASES = Path(__file__).parent / "cases"
WARM_UP = 3  # steps of each before the clock runs
Step = Callable[[], object]


def load(path: Path) -> ModuleType:
    """Import a case from its file, whose name is no identifier."""
    spec = importlib.util.spec_from_file_location(f"case_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seconds(step: Step) -> float:
    """Run a step once; where there is a GPU, wait until it has finished, too."""
    start = time.perf_counter()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(ours: Step, theirs: Step, pairs: int) -> tuple[float, float, float]:
    """The median seconds of our steps and of theirs, and the median of the ratios ours / theirs."""
    for _ in range(WARM_UP):
        ours()
        theirs()
    timed = []
    for number in range(pairs):
        if number % 2:
            b, a = seconds(theirs), seconds(ours)
        else:
            a, b = seconds(ours), seconds(theirs)
        timed.append((a, b))
    a, b = (statistics.median(column) for column in zip(*timed, strict=True))
    return a, b, statistics.median(one / other for one, other in timed)


def arguments(found: list[str]) -> argparse.Namespace:
    """What to measure, from the command line."""
    parser = argparse.ArgumentParser(description="A training step of ours against a library's.")
    parser.add_argument("--lesson", choices=found, help="only this one; by default all")
    parser.add_argument("--pairs", type=int, default=20, help="of steps; by default %(default)s")
    chosen = parser.parse_args()
    if chosen.pairs < 1:
        parser.error("--pairs must be at least 1")
    return chosen


def main() -> int:
    """Measure the chosen cases and print a line for each."""
    cases = {path.stem: path for path in sorted(CASES.glob("[0-9]*.py"))}
    chosen = arguments(list(cases))
    threads = torch.get_num_threads()
    table = Table(title=f"A training step, {chosen.pairs} pairs, {threads} thread{'s' * (threads > 1)}")
    for column in ("lesson", "against", "ours, ms", "theirs, ms", "ratio"):
        table.add_column(column, justify="left" if column in ("lesson", "against") else "right")
    for name, path in cases.items():
        if chosen.lesson in (None, name):
            case = load(path)
            a, b, ratio = measure(*case.pair(), chosen.pairs)
            table.add_row(name, case.TITLE, f"{1e3 * a:.2f}", f"{1e3 * b:.2f}", f"{ratio:.3f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
