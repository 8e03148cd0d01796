"""The map: families, models, tasks, terms and lessons of data/map.toml, as data, figures and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from genmap.tables import Table

UNDISCLOSED = "undisclosed"
LIKE_FAMILY = (
    "bucket", "density", "sampling", "represents", "conditioning", "evaluation", "failure",
    "strengths", "weaknesses", "uses", "shape",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a family and a model have in common.

    date: "YYYY-MM", the first public version, or "YYYY" where no month is known. arxiv: its id, or "".
    source: address of the maker's report, where there is no paper on arXiv.
    bucket: 1 to 5; 0 where it is undisclosed, or where the thing generates nothing by itself.
    density: "tractable", "approximate", "none" or "score"; sampling: "one-shot", "iterative" or "serial".
    evaluation, failure: how it is measured, and how that measure fails. shape: id of an inference shape.
    """

    id: str
    name: str
    date: str
    authors: str
    title: str
    arxiv: str = ""
    source: str = ""
    bucket: int
    density: str
    sampling: str
    represents: str
    conditioning: str
    evaluation: str
    failure: str
    strengths: tuple[str, ...]
    weaknesses: tuple[str, ...]
    uses: tuple[str, ...]
    shape: str
    note: str = ""

    @property
    def year(self) -> int:
        """The year of the first public version."""
        return int(self.date[:4])

    @property
    def link(self) -> str:
        """The address of the paper or of the maker's report."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else self.source


@dataclass(frozen=True, kw_only=True)
class Family(Work):
    """A family of generative models. also: the bucket of the other view of it, 0 where there is one view."""

    also: int = 0
    lessons: tuple[str, ...]
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Model(Work):
    """A model, a product, or a part of one; what it does not say of itself it has from its family.

    family: an id; "undisclosed" where the maker says nothing; "none" for a part that does not generate.
    lane: its line of the timeline. openness: "open weights", "code", "hosted",
    "withdrawn" (once hosted) or "paper only". served: open, and also offered as a service.
    cost: what one sample costs, where that differs from the shape's equation.
    usual: what is often said of it, where the paper or the maker says otherwise (in `note`).
    """

    family: str
    lane: str
    backbone: str
    openness: str
    licence: str = ""
    lesson: str = ""
    served: bool = False
    landmark: bool = False
    cost: str = ""
    usual: str = ""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An inference shape.

    cost: LaTeX of the seconds for one sample, symbols: what its symbols are; knobs: what lowers the cost;
    first: what the time to the first output is. buckets: whose shape it is, such as "1 and 5".
    """

    id: str
    name: str
    buckets: str
    cost: str
    symbols: str
    knobs: tuple[str, ...]
    first: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task, the family to take for it (as of 2026), ranked open and hosted models, and how it fails.

    hosted_note: what to do where fewer than three hosted models are known.
    """

    id: str
    name: str
    family: str
    open: tuple[str, ...]
    hosted: tuple[str, ...]
    hosted_note: str = ""
    why: str
    failure: str


@dataclass(frozen=True, kw_only=True)
class Term:
    """A term: what people say, and what it means."""

    id: str
    name: str
    say: str
    means: str
    lesson: str


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """One of the five working buckets. id: 1 to 5."""

    id: int
    name: str
    idea: str


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A lesson of the course: what it builds, on which data, and what its exercises ask for."""

    id: str
    part: str
    title: str
    builds: str
    on: str
    exercises: str = ""


@dataclass(frozen=True)
class Atlas:
    """Everything in data/map.toml, by id, in the order of the file."""

    families: Mapping[str, Family]
    models: Mapping[str, Model]
    shapes: Mapping[str, Shape]
    tasks: Mapping[str, Task]
    terms: Mapping[str, Term]
    buckets: Mapping[int, Bucket]
    lessons: Mapping[str, Lesson]


Kind = TypeVar("Kind", Family, Model, Shape, Task, Term, Bucket, Lesson)


def load() -> Atlas:
    """Return what is in data/map.toml; a model takes what its row leaves out from its family."""
    from genmap.whole_map import ATLAS

    return ATLAS


def parse(facts: Mapping[str, list[dict[str, Any]]]) -> Atlas:
    """Return the atlas of these tables. Raises ValueError for a bad id or field."""
    families = _entries(Family, facts["family"])
    rows = [{**_inherited(row, families), **row} for row in facts["model"]]
    return Atlas(
        families=families,
        models=_entries(Model, rows),
        shapes=_entries(Shape, facts["shape"]),
        tasks=_entries(Task, facts["task"]),
        terms=_entries(Term, facts["term"]),
        buckets=_entries(Bucket, facts["bucket"]),
        lessons=_entries(Lesson, facts["lesson"]),
    )


def _inherited(row: Mapping[str, Any], families: Mapping[str, Family]) -> dict[str, Any]:
    """What a model's row need not say: its family's, or that it is undisclosed."""
    if row["family"] == UNDISCLOSED:
        lists = {name: (UNDISCLOSED,) for name in ("strengths", "weaknesses", "uses")}
        return {**dict.fromkeys(LIKE_FAMILY, UNDISCLOSED), **lists, "bucket": 0}
    if row["family"] == "none":
        return {"bucket": 0, "density": "none", "sampling": "none", "shape": "none"}
    if row["family"] not in families:
        raise ValueError(f"map.toml: Model {row['id']}: there is no family {row['family']!r}")
    return {name: getattr(families[row["family"]], name) for name in LIKE_FAMILY}


def _entries(kind: type[Kind], rows: list[dict[str, Any]]) -> Mapping[Any, Kind]:
    entries: dict[Any, Kind] = {}
    known = {field.name for field in fields(kind)}
    for row in rows:
        if unknown := set(row) - known:
            raise ValueError(f"map.toml: {kind.__name__} {row.get('id')}: unknown field {min(unknown)}")
        if row["id"] in entries:
            raise ValueError(f"map.toml: {kind.__name__} {row['id']}: the id is used twice")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in row.items()
        }
        try:
            entries[row["id"]] = kind(**values)
        except TypeError as error:  # a field is missing, and it says which
            raise ValueError(f"map.toml: {kind.__name__} {row['id']}: {error}") from None
    return MappingProxyType(entries)


def figure(lit: str | None = None) -> Figure:
    """Draw the map, with the family of this id lit; see `atlas.figure`."""
    from genmap import atlas  # here, because matplotlib takes a second

    return atlas.figure(lit)


def timeline() -> Figure:
    """Draw the history by lines, 2013 to 2026; see `atlas.timeline`."""
    from genmap import atlas

    return atlas.timeline()


def table(name: str, *ids: str) -> Table:
    """Return a table of the map, of these rows or of all; see `tables.TABLES` for the names."""
    from genmap import tables

    return tables.table(name, *ids)
