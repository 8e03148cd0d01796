"""The map's records: families, models, shapes, tasks, terms, buckets and lessons, read from TOML tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, TypeVar

UNDISCLOSED = "undisclosed"
LIKE_FAMILY = (  # what a model takes from its family
    "bucket", "density", "sampling", "represents", "conditioning", "evaluation", "failure",
    "strengths", "weaknesses", "uses", "shape",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a family and a model have in common.

    id: its key on the map.
    name: as it is written.
    date: "YYYY-MM", the first public version, or "YYYY" where no month is known.
    authors: of the paper or the maker's report.
    title: of the paper or the maker's report.
    arxiv: the paper's id there, or "".
    source: address of the maker's report, where there is no paper on arXiv.
    bucket: 1 to 5; 0 where it is undisclosed, or where the thing generates nothing by itself.
    density: "tractable", "approximate", "none" or "score".
    sampling: "one-shot", "iterative" or "serial".
    represents: what is modelled.
    conditioning: what conditions it.
    evaluation: how it is measured.
    failure: how that measure fails.
    strengths: what it is good at.
    weaknesses: what it is bad at.
    uses: what it is used for.
    shape: id of an inference shape.
    note: what else there is to say, such as where the paper and the usual story disagree, or "".
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
    """A family of generative models.

    It has the fields of `Work`, and these:

    also: the bucket of the other view of it, 0 where there is one view.
    lessons: ids of the lessons about it.
    examples: ids of models.
    """

    also: int = 0
    lessons: tuple[str, ...]
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Model(Work):
    """A model, a product, or a part of one; what it does not say of itself it has from its family.

    It has the fields of `Work`, and these:

    family: an id; "undisclosed" where the maker says nothing; "none" for a part that does not generate.
    lane: its line of the timeline.
    backbone: what network it is built on.
    openness: "open weights", "code", "hosted", "withdrawn" (once hosted) or "paper only".
    licence: of its code or weights, or "".
    lesson: id of its lesson, or "".
    served: whether it is open, and also offered as a service.
    landmark: whether it stands on the timeline.
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

    id: its key on the map.
    name: as it is written.
    buckets: whose shape it is, such as "2 and 4: diffusion, score, flow matching, energies".
    cost: LaTeX of the seconds for one sample.
    symbols: what its symbols are.
    knobs: what lowers the cost.
    first: what the time to the first output is.
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

    id: its key on the map.
    name: as it is written.
    family: id of the family to take.
    open: ids of open models, the best first.
    hosted: ids of hosted models, the best first.
    hosted_note: what to do where fewer than three hosted models are known.
    why: why this family.
    failure: how it fails.
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
    """A term: what people say, and what it means.

    id: its key on the map.
    name: as it is written.
    say: what people say that it is.
    means: what it is.
    lesson: id of its lesson.
    """

    id: str
    name: str
    say: str
    means: str
    lesson: str


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """One of the five working buckets.

    id: 1 to 5.
    name: as it is written.
    idea: what models in it do.
    """

    id: int
    name: str
    idea: str


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A lesson of the course: what it builds, on which data, and what its exercises ask for.

    id: its folder's name, such as "01_map".
    part: of the course, such as "I: the map".
    title: as it is written.
    builds: what the learner builds.
    on: the data.
    exercises: what they ask for, or "".
    """

    id: str
    part: str
    title: str
    builds: str
    on: str
    exercises: str = ""


@dataclass(frozen=True)
class Atlas:
    """Everything in data/map.toml, by id, in the order of the file.

    families: the families.
    models: the models, the products and the parts of one.
    shapes: the inference shapes.
    tasks: the tasks.
    terms: the terms.
    buckets: the working buckets, by number.
    lessons: the lessons.
    """

    families: Mapping[str, Family]
    models: Mapping[str, Model]
    shapes: Mapping[str, Shape]
    tasks: Mapping[str, Task]
    terms: Mapping[str, Term]
    buckets: Mapping[int, Bucket]
    lessons: Mapping[str, Lesson]


Kind = TypeVar("Kind", Family, Model, Shape, Task, Term, Bucket, Lesson)


def parse(facts: Mapping[str, list[dict[str, Any]]]) -> Atlas:
    """Return the atlas of these tables.

    facts: the rows of each table of data/map.toml: "family", "model", "shape", "task", "term", "bucket" and
        "lesson".

    Raises ValueError for a bad id or field.
    """
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
