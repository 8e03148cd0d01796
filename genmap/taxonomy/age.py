"""How old the map's facts are, for `python -m genmap.taxonomy.tables --stale 6`."""

from __future__ import annotations

from datetime import date

from genmap.taxonomy.ranking import month
from genmap.taxonomy.schema import Atlas


def stale(atlas: Atlas, months: int, today: date) -> list[str]:
    """Return a line for each model and board whose facts were looked up this many months ago or earlier.

    atlas: the map.
    months: the age.
    today: the day to count from.
    """
    now = today.year * 12 + today.month
    looked = {f"model {model.id}": model.checked for model in atlas.models.values() if not model.retired}
    looked |= {f"board {board.id}": board.seen for board in atlas.boards.values()}
    old = [(checked, name) for name, checked in looked.items() if now - month(checked) >= months]
    return [f"{checked}  {name}" for checked, name in sorted(old)]


def as_of(atlas: Atlas) -> str:
    """Return the month of the latest look at any model's facts, "YYYY-MM".

    atlas: the map.
    """
    return max(model.checked for model in atlas.models.values())
