"""The map: families, models, tasks, terms and lessons of data/map.toml, as data, figures and tables.

works.py and schema.py have the records, facts.py the map itself; ranking.py says which model stands before
which, age.py what is old. tables.py, figures.py and history.py show it. These are imported when they are
asked for: the map takes 30 ms, matplotlib a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genmap.taxonomy.schema import Atlas, Board, Bucket, Lesson, Shape, Task, Term, parse
from genmap.taxonomy.works import PERMITS, UNDISCLOSED, Family, Model, Work

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from genmap.taxonomy.cells import Table

__all__ = [
    "PERMITS",
    "UNDISCLOSED",
    "Atlas",
    "Board",
    "Bucket",
    "Family",
    "Lesson",
    "Model",
    "Shape",
    "Task",
    "Term",
    "Work",
    "figure",
    "load",
    "parse",
    "table",
    "timeline",
]


def load() -> Atlas:
    """Return what is in data/map.toml; a model takes what its row leaves out from its family.

    >>> load().models["gpt"].year
    2018
    """
    from genmap.taxonomy.facts import ATLAS

    return ATLAS


def figure(lit: str | None = None) -> Figure:
    """Draw the map, with the family of this id lit; see `figures.figure`.

    lit: the id of the family that a lesson is about, or None.

    Raises ValueError for another id.
    """
    from genmap.taxonomy import figures

    return figures.figure(lit)


def timeline() -> Figure:
    """Draw the history by lines, 2013 to 2026; see `history.timeline`."""
    from genmap.taxonomy import figures

    return figures.timeline()


def table(name: str, *ids: str) -> Table:
    """Return a table of the map, of these rows or of all; see `tables.TABLES` for the names.

    name: of the table, such as "triage".
    ids: of the rows; by default all.

    Raises ValueError for another name or, in most tables, an id that the map lacks.

    >>> table("buckets").columns
    ('bucket', 'what it does', 'families')
    """
    from genmap.taxonomy import tables

    return tables.table(name, *ids)
