"""The map as tables, Markdown in a notebook; `python -m genmap.taxonomy.tables` renews README's list."""

from __future__ import annotations

import sys
from calendar import month_abbr
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from genmap.taxonomy.facts import ATLAS
from genmap.taxonomy.schema import Family, Model, Work

EXPLICIT = {
    "tractable": "yes, exactly",
    "approximate": "yes: a bound, or up to a constant",
    "score": "no: its gradient, or a velocity; a density only by solving an ODE",
    "none": "no",
}
BEGIN = "<!-- lessons: begin (python -m genmap.taxonomy.tables) -->"  # in README, above its list
END = "<!-- lessons: end -->"  # in README, below it


class Table(NamedTuple):
    """Columns and rows of text; a notebook shows it as Markdown, a terminal as plain text.

    columns: their titles.
    rows: a cell for each column.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Return the table in Markdown; formulas stay in dollar signs."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def __repr__(self) -> str:
        """Return one paragraph a row, its first cell above the others."""
        rest = self.columns[1:]
        return "\n\n".join(
            "\n".join([row[0], *(f"  {name}: {cell}" for name, cell in zip(rest, row[1:], strict=True))])
            for row in self.rows
        )


Entry = TypeVar("Entry")


def _chosen(entries: Mapping[str, Entry], ids: tuple[str, ...]) -> list[Entry]:
    """The entries of these ids, or all. Raises ValueError for an id that the map lacks."""
    if unknown := [name for name in ids if name not in entries]:
        raise ValueError(f"the map has no {unknown[0]!r} here; data/map.toml has the ids")
    return [entries[name] for name in ids] if ids else list(entries.values())


def _works(ids: tuple[str, ...]) -> list[Family | Model]:
    """The families and models of these ids, the family where both have it; all families without ids."""
    known: dict[str, Family | Model] = {**ATLAS.models, **ATLAS.families}
    return _chosen(known, ids or tuple(ATLAS.families))


def _family(work: Work) -> str:
    """The name of a model's family, or what stands in its place."""
    name = work.family if isinstance(work, Model) else work.id
    return ATLAS.families[name].name if name in ATLAS.families else name


def _when(work: Work) -> str:
    """The month and year of a work, on one line; the year alone where no month is known."""
    year, _, month = work.date.partition("-")
    return f"{month_abbr[int(month)]}\N{NO-BREAK SPACE}{year}" if month else year


def triage(*ids: str) -> Table:
    """Answer the five questions for these families or models (ids), by default for all families.

    ids: of families or models; by default all families.

    Raises ValueError for an id that the map lacks.
    """
    columns = ("", "What is modelled?", "Is the density explicit?", "One-shot or iterative?")
    asked = (*columns, "What conditions it?", "How is it evaluated, and how does that fail?")
    rows = (
        (
            f"**{work.name}**",
            work.represents,
            EXPLICIT.get(work.density, work.density),
            work.sampling,
            work.conditioning,
            f"{work.evaluation}. *But:* {work.failure}" if work.failure != work.evaluation else work.failure,
        )
        for work in _works(ids)
    )
    return Table(asked, tuple(rows))


def families(*ids: str) -> Table:
    """Strengths, weaknesses and uses of these families or models, by default of all families.

    ids: of families or models; by default all families.

    Raises ValueError for an id that the map lacks.
    """
    rows = (
        (f"**{work.name}**", *(", ".join(part) for part in (work.strengths, work.weaknesses, work.uses)))
        for work in _works(ids)
    )
    return Table(("", "strengths", "weaknesses", "uses"), tuple(rows))


def models(*ids: str) -> Table:
    """Family, backbone, openness and evidence of these models or families; where the usual story is wrong.

    ids: of models or families; by default all families.

    Raises ValueError for an id that the map lacks.
    """
    rows = (
        (
            f"**{work.name}**",
            _when(work),
            _family(work),
            work.backbone if isinstance(work, Model) else "",
            work.openness if isinstance(work, Model) else "",
            f"[{work.title}]({work.link})" + (f". {work.note}" if work.note else ""),
        )
        for work in _works(ids)
    )
    return Table(("", "first public", "family", "backbone", "openness", "evidence"), tuple(rows))


def dates(*ids: str) -> Table:
    """Where the paper, or the maker, disagrees with what is often said of these models, by default of all.

    ids: of models; only those with a usual story that is wrong are shown.
    """
    works = [m for m in ATLAS.models.values() if m.usual and (not ids or m.id in ids)]
    rows = ((f"**{m.name}**", m.usual, _when(m), f"[{m.title}]({m.link}). {m.note}") for m in works)
    return Table(("", "often said", "first public", "the paper or the maker"), tuple(rows))


def tasks(*ids: str) -> Table:
    """Which family for which task, as of 2026, with ranked open and hosted models.

    ids: of tasks; by default all.

    Raises ValueError for an id that the map lacks.
    """
    rows = (
        (
            f"**{task.name}**",
            ATLAS.families[task.family].name,
            task.why,
            ", ".join(ATLAS.models[i].name for i in task.open),
            ". ".join(filter(None, (", ".join(ATLAS.models[i].name for i in task.hosted), task.hosted_note))),
            task.failure,
        )
        for task in _chosen(ATLAS.tasks, ids)
    )
    return Table(("task", "family", "why", "open models", "hosted models", "how it fails"), tuple(rows))


def shapes(*ids: str) -> Table:
    """The five inference shapes: the seconds that one sample takes, as an equation.

    ids: of shapes; by default all.

    Raises ValueError for an id that the map lacks.
    """
    rows = (
        (
            f"**{shape.name}** ({shape.buckets})",
            f"${shape.cost}$".replace(r", \qquad ", "$<br>$"),
            shape.symbols,
            ", ".join(shape.knobs),
            shape.first,
        )
        for shape in _chosen(ATLAS.shapes, ids)
    )
    return Table(("shape", "seconds until it is there", "where", "knobs", "first output after"), tuple(rows))


def terms(*ids: str) -> Table:
    """What people say and what it means, in the order of the alphabet.

    ids: of terms; by default all.

    Raises ValueError for an id that the map lacks.
    """
    rows = (
        (f"**{term.name}**", term.say, term.means, term.lesson[:2])
        for term in sorted(_chosen(ATLAS.terms, ids), key=lambda term: term.name.lower())
    )
    return Table(("term", "what people say", "what it means", "lesson"), tuple(rows))


def buckets() -> Table:
    """The five working buckets and the families in each; the other view of a family in parentheses."""
    rows = (
        (
            f"**{bucket.id}** {bucket.name}",
            bucket.idea,
            ", ".join(
                family.name if family.bucket == bucket.id else f"({family.name})"
                for family in ATLAS.families.values()
                if bucket.id in (family.bucket, family.also)
            ),
        )
        for bucket in ATLAS.buckets.values()
    )
    return Table(("bucket", "what it does", "families"), tuple(rows))


TABLES: dict[str, Callable[..., Table]] = {
    "triage": triage,
    "families": families,
    "models": models,
    "dates": dates,
    "tasks": tasks,
    "shapes": shapes,
    "terms": terms,
    "buckets": buckets,
}


def table(name: str, *ids: str) -> Table:
    """Return the table of this name, of the rows with these ids or of all.

    name: one of `TABLES`.
    ids: of the rows; by default all.

    Raises ValueError for another name or, in most tables, an id that the map lacks.
    """
    if name not in TABLES:
        raise ValueError(f"there is no table {name!r}; there are {', '.join(TABLES)}")
    return TABLES[name](*ids)


def lessons(there: Iterable[str]) -> str:
    """Return README's list: a table of the lessons that are there (ids), and the planned ones by part.

    there: the ids of the lessons that are there.
    """
    every = ATLAS.lessons.values()
    ready = set(there)
    rows = (
        (f"[{x.id[:2]} · {x.title}](lessons/{x.id}/{x.id}.ipynb)", x.builds, x.on, x.exercises)
        for x in every
        if x.id in ready
    )
    planned: dict[str, list[str]] = {}
    for lesson in every:
        if lesson.id not in ready:
            planned.setdefault(lesson.part, []).append(f"{lesson.id[:2]} {lesson.title}")
    done = Table(("lesson", "you build", "on", "exercises"), tuple(rows))
    table = Table(("part", "planned"), tuple((part, " · ".join(titles)) for part, titles in planned.items()))
    said = f"The whole course has {len(every)} lessons. Still to come:"
    return f"{done.markdown()}\n\n{said}\n\n{table.markdown()}"


def renewed(readme: str, there: Iterable[str]) -> str:
    """Return README's text with the list of lessons renewed.

    readme: its text.
    there: the ids of the lessons that are there.

    Raises ValueError where a mark is missing.
    """
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md: the list of lessons stands between {BEGIN} and {END}; put both back")
    return f"{head}{BEGIN}\n\n{lessons(there)}\n\n{END}{tail}"


def main() -> int:
    """Renew README.md in this folder; say whether it changed."""
    readme = Path("README.md")
    if not readme.exists():
        print("README.md is not here: run this in the course's own folder.", file=sys.stderr)
        return 2
    text = readme.read_text(encoding="utf-8")
    new = renewed(text, (path.stem for path in Path("solutions").glob("*/*.py")))
    readme.write_text(new, encoding="utf-8")
    print("README.md is current." if new == text else "README.md: the list of lessons is renewed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
