"""The common board: what the models of all lessons were measured to reach, beside what they must reach.

A lesson puts its models on it with `record`; `table` and `plot` show them among those of the other lessons,
which come from data/board.toml. `claim` ties a sentence of its text to the output that it rests on.
"""

from __future__ import annotations

import json
import operator
import os
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from genmap.board.claims import RECORD, claim
from genmap.board.entries import Board, Row, parse, row_of
from genmap.board.views import Table, draw
from genmap.device import setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RECORD", "claim", "plot", "published", "record", "table"]

_session: dict[tuple[str, str, str], Row] = {}


def record(
    lesson: str,
    model: str,
    *,
    data: str,
    parameters: int | None = None,
    train_seconds: float | None = None,
    sample_seconds: float | None = None,
    **figures: Any,
) -> None:
    """Put a model's figures on the board of this session; `make quality` keeps them in data/board.toml.

    Such as `record("10_vae", "conditional VAE", data="glyphs 16", class_accuracy=0.95)`. Recorded again, a
    model's row is replaced. What is None is left out.

    lesson: the lesson's name.
    model: the model's name; with the lesson's and the data's it tells a row from all others.
    data: the data set's name.
    parameters: how many numbers the model stores.
    train_seconds: seconds for the whole training.
    sample_seconds: seconds for one sample of a batch.
    figures: numbers, or arrays or tensors of one, by the names of `METRICS`.

    Raises ValueError for an unknown name, a name that is not a line of text, a value that is not one finite
    number, a negative cost, or no figure.
    """
    costs = {"parameters": parameters, "train_seconds": train_seconds, "sample_seconds": sample_seconds}
    given = {name: value for name, value in {**costs, **figures}.items() if value is not None}
    names = {"lesson": lesson, "model": model, "data": data, "setting": setting(), "machine": _machine()}
    row = row_of({**names, **{name: _number(name, value) for name, value in given.items()}}, here=True)
    _session[row.key] = row
    if path := os.environ.get(RECORD):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row.flat()) + "\n")


def _number(name: str, value: Any) -> float | int:
    """Return a number, array or tensor of one as a Python number."""
    value = value.detach() if hasattr(value, "detach") else value
    try:
        return operator.index(value) if name == "parameters" else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        kind = "whole " * (name == "parameters")
        raise ValueError(f"board: {name} must be one {kind}number, not this {type(value).__name__}") from None


def _machine() -> str:
    """Return what computes here: the GPU's name, or the number of CPU cores that PyTorch uses."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = torch.get_num_threads()
    return f"{cores} CPU core{'s' * (cores > 1)}"


@cache
def published() -> Board:
    """Return the board that came with the course.

    Raises ValueError where its file is damaged.
    """
    return parse(files("genmap.facts").joinpath("board.toml").read_text(encoding="utf-8"))


def table(data: str | None = None) -> Table:
    """Return all rows on `data`, or on all data, as a table; this session's replace older ones.

    data: a data set's name, such as "glyphs 16"; None for all.
    """
    return Table(_rows(data), published().targets)


def plot(data: str | None = None) -> Figure:
    """Draw the same rows: quality against seconds per sample, a panel for each data set.

    This session's are vermilion; a dash is the target of the point above or below it.

    data: a data set's name, such as "glyphs 16"; None for all.

    Raises ValueError where no row has both a figure and a time.
    """
    return draw(_rows(data), published().targets)


def _rows(data: str | None) -> list[Row]:
    """Return the course's rows, this session's in their places, by lesson."""
    rows = {**{row.key: row for row in published().rows}, **_session}
    return sorted((row for row in rows.values() if data in (None, row.data)), key=lambda row: row.lesson)
