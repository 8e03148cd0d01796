"""Which model of a task stands before which: by licence, by a public board, by GPUs, by age."""

from __future__ import annotations

from collections.abc import Iterable

from genmap.taxonomy.schema import Atlas, Task
from genmap.taxonomy.works import PERMITS, Model

Place = tuple[float, ...]  # of a model; the smaller stands first


def month(date: str) -> int:
    """Return a date's months since the year 0; a year alone counts as its middle.

    date: "YYYY-MM" or "YYYY".
    """
    year, number = [*date.split("-"), "6"][:2]
    return int(year) * 12 + int(number)


def place(atlas: Atlas, model: Model, board: str, is_open: bool) -> Place:
    """Return where a model stands; the smaller comes first, and equal places are no order.

    An open model: what its licence permits; its score on the board, those that it lists before the others;
    whether one GPU of 80 GB holds it; the newer first. A hosted one: its score, then the newer first.

    atlas: the map.
    model: the model.
    board: id of the board, or "".
    is_open: whether it stands among the open models.
    """
    score = atlas.boards[board].scores.get(model.id, 0) if board else 0
    if not is_open:
        return -score, -month(model.date)
    return PERMITS.index(model.permits), -score, model.gpus > 1, -month(model.date)


def ranked(atlas: Atlas, task: Task, ids: Iterable[str], is_open: bool) -> tuple[str, ...]:
    """Return these models in their order for a task, without what is retired.

    atlas: the map.
    task: the task.
    ids: of models.
    is_open: whether they are the open ones.
    """
    board = task.open_board if is_open else task.hosted_board
    models = [atlas.models[name] for name in ids]
    alive = [model for model in models if not model.retired]
    return tuple(model.id for model in sorted(alive, key=lambda model: place(atlas, model, board, is_open)))
