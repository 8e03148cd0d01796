"""A notebook's cells run in this process, without a kernel: for one's own work and for `autograde verify`."""

import os
import tempfile
from collections.abc import Iterable
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config


def prepare() -> None:
    """Settings for grading in this process: smoke, one thread, no window; before torch does any work."""
    os.environ.update(GENMAP_SETTING="smoke", OMP_NUM_THREADS="1", MPLBACKEND="agg")
    import torch

    torch.set_num_threads(1)


def run_cells(sources: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Run cells one after the other; returns the namespace and a line for each cell that failed."""
    settings = Config()
    settings.HistoryManager.enabled = False
    with tempfile.TemporaryDirectory() as folder:  # else IPython makes its profile in the home folder
        shell = InteractiveShell.instance(config=settings, ipython_dir=folder)
    failures = []
    for source in sources:
        error = run_cell(shell, source)
        if error is not None:
            first = next(iter(source.strip().splitlines()), "")
            failures.append(f"{type(error).__name__} in the cell that begins with {first[:60]!r}")
    return shell.user_ns, failures


def run_cell(shell: InteractiveShell, source: str) -> BaseException | None:
    """Run one cell, its output thrown away; returns what it raised."""
    with capture_output():
        result = shell.run_cell(source, store_history=False)
    return result.error_before_exec or result.error_in_exec
