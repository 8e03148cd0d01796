"""The map's other records: shapes, tasks, boards, terms, buckets, lessons; and all read from TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, TypeVar

from genmap.taxonomy.works import UNDISCLOSED, Family, Model

LIKE_FAMILY = (  # what a model takes from its family
    "bucket", "density", "sampling", "represents", "conditioning", "evaluation", "failure",
    "strengths", "weaknesses", "uses", "shape",
)  # fmt: skip


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
    """A task, the family to take for it, ranked open and hosted models, and how it fails.

    id: its key on the map.
    name: as it is written.
    family: id of the family to take.
    open: ids of open models, ranked as `ranking.ranked` says.
    hosted: ids of hosted models, ranked likewise.
    open_board: id of the public board that the open ones are ranked by, or "".
    hosted_board: id of the public board that the hosted ones are ranked by, or "".
    hosted_note: what to do where fewer than three hosted models are known.
    why: why this family.
    failure: how it fails.
    """

    id: str
    name: str
    family: str
    open: tuple[str, ...]
    hosted: tuple[str, ...]
    open_board: str = ""
    hosted_board: str = ""
    hosted_note: str = ""
    why: str
    failure: str


@dataclass(frozen=True, kw_only=True)
class Board:
    """A public board that compares models, as it stood in one month.

    id: its key on the map.
    name: as it is written.
    source: its address.
    seen: "YYYY-MM", the state that the scores are of.
    how: what it measures.
    scores: of models of the map, by id; the highest is best.
    """

    id: str
    name: str
    source: str
    seen: str
    how: str
    scores: Mapping[str, int]


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
    boards: the public boards that models are ranked by.
    terms: the terms.
    buckets: the working buckets, by number.
    lessons: the lessons.
    """

    families: Mapping[str, Family]
    models: Mapping[str, Model]
    shapes: Mapping[str, Shape]
    tasks: Mapping[str, Task]
    boards: Mapping[str, Board]
    terms: Mapping[str, Term]
    buckets: Mapping[int, Bucket]
    lessons: Mapping[str, Lesson]


Kind = TypeVar("Kind", Family, Model, Shape, Task, Board, Term, Bucket, Lesson)


def parse(facts: Mapping[str, list[dict[str, Any]]]) -> Atlas:
    """Return the atlas of these tables.

    facts: the rows of each table of data/map.toml: "family", "model", "shape", "task", "board", "term",
        "bucket" and "lesson".

    Raises ValueError for a bad id or field.
    """
    families = _entries(Family, facts["family"])
    rows = [{**_inherited(row, families), **row} for row in facts["model"]]
    return Atlas(
        families=families,
        models=_entries(Model, rows),
        shapes=_entries(Shape, facts["shape"]),
        tasks=_entries(Task, facts["task"]),
        boards=_entries(Board, facts["board"]),
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
        values: dict[str, Any] = {key: _frozen(value) for key, value in row.items()}
        try:
            entries[row["id"]] = kind(**values)
        except TypeError as error:  # a field is missing, and it says which
            raise ValueError(f"map.toml: {kind.__name__} {row['id']}: {error}") from None
    return MappingProxyType(entries)


def _frozen(value: Any) -> Any:
    """A value of TOML that cannot be changed."""
    if isinstance(value, dict):
        return MappingProxyType(value)
    return tuple(value) if isinstance(value, list) else value
