"""The map as tables, Markdown in a notebook.

`python -m genmap.taxonomy.tables` renews README's list; with `--stale 6` it lists what nobody has looked at
for six months.
"""

from __future__ import annotations

import argparse
import sys
from calendar import month_abbr
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TypeVar

from genmap.taxonomy.age import stale
from genmap.taxonomy.cells import Table
from genmap.taxonomy.facts import ATLAS
from genmap.taxonomy.readme import BEGIN, END, lessons, renew, renewed
from genmap.taxonomy.schema import Board, Task
from genmap.taxonomy.works import UNDISCLOSED, Family, Model, Work

__all__ = ["BEGIN", "END", "TABLES", "Table", "lessons", "main", "renewed", "table"]

EXPLICIT = {
    "tractable": "yes, exactly",
    "approximate": "yes: a bound, or up to a constant",
    "score": "no: its gradient, or a velocity; a density only by solving an ODE",
    "none": "no",
}

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


def _when(day: str) -> str:
    """A month and its year, on one line; the year alone, or the word, where no month is known."""
    year, _, month = day.partition("-")
    return f"{month_abbr[int(month)]}\N{NO-BREAK SPACE}{year}" if month else year


def _picks(task: Task, is_open: bool) -> str:
    """A task's models by name, each with its family where it is not the task's, and what ranks it."""
    board = task.open_board if is_open else task.hosted_board
    scores = ATLAS.boards[board].scores if board else {}
    named = []
    for model in (ATLAS.models[name] for name in (task.open if is_open else task.hosted)):
        marks = [_family(model)] if model.family not in (task.family, UNDISCLOSED) else []
        marks += [model.permits] if is_open else []
        marks += [str(scores[model.id])] if model.id in scores else []
        marks += [f"{model.gpus} GPUs"] if is_open and model.gpus > 1 else []
        named.append(f"{model.name} ({', '.join(marks)})" if marks else model.name)
    return ", ".join(named)


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
            _when(work.date),
            _family(work),
            work.backbone if isinstance(work, Model) else "",
            _openness(work),
            f"[{work.title}]({work.link})" + (f". {work.note}" if work.note else ""),
            _when(work.checked) if isinstance(work, Model) else "",
        )
        for work in _works(ids)
    )
    return Table(("", "first public", "family", "backbone", "openness", "evidence", "as of"), tuple(rows))


def _openness(work: Work) -> str:
    """How open a model is, and since when it is retired."""
    if not isinstance(work, Model):
        return ""
    return work.openness + (f", retired: {_when(work.retired)}" if work.retired else "")


def dates(*ids: str) -> Table:
    """Where the paper, or the maker, disagrees with what is often said of these models, by default of all.

    ids: of models; only those with a usual story that is wrong are shown.
    """
    works = [m for m in ATLAS.models.values() if m.usual and (not ids or m.id in ids)]
    rows = ((f"**{m.name}**", m.usual, _when(m.date), f"[{m.title}]({m.link}). {m.note}") for m in works)
    return Table(("", "often said", "first public", "the paper or the maker"), tuple(rows))


def tasks(*ids: str) -> Table:
    """Which family for which task, with open and hosted models ranked as `ranking.place` says.

    ids: of tasks; by default all.

    Raises ValueError for an id that the map lacks.
    """
    rows = (
        (
            f"**{task.name}**",
            ATLAS.families[task.family].name,
            task.why,
            _picks(task, is_open=True),
            ". ".join(filter(None, (_picks(task, is_open=False), task.hosted_note))),
            task.failure,
            _when(min(ATLAS.models[name].checked for name in (*task.open, *task.hosted))),
        )
        for task in _chosen(ATLAS.tasks, ids)
    )
    columns = ("task", "family", "why", "open models", "hosted models", "how it fails", "as of")
    return Table(columns, tuple(rows))


def boards(*ids: str) -> Table:
    """The public boards that the tasks' models are ranked by, and the month that the scores are of.

    ids: of boards; by default all.

    Raises ValueError for an id that the map lacks.
    """
    rows = (
        (f"[{board.name}]({board.source})", board.how, _when(board.seen), _scores(board))
        for board in _chosen(ATLAS.boards, ids)
    )
    return Table(("board", "what it measures", "as of", "scores of the map's models"), tuple(rows))


def _scores(board: Board) -> str:
    """A board's models with their scores, the highest first."""
    best_first = sorted(board.scores.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{ATLAS.models[name].name} {score}" for name, score in best_first)


def shapes(*ids: str) -> Table:
    """The inference shapes: the seconds that one sample takes, as an equation.

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
    "boards": boards,
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


def main(arguments: Sequence[str] = ()) -> int:
    """Renew README.md in this folder and say whether it changed; or list what is stale.

    arguments: "--stale" and a number of months, or nothing.
    """
    parser = argparse.ArgumentParser(prog="python -m genmap.taxonomy.tables", description="The map's tables.")
    parser.add_argument(
        "--stale", type=int, metavar="MONTHS", help="list what was last looked up so long ago"
    )
    months = parser.parse_args(arguments).stale
    if months is None:
        return renew()
    old = stale(ATLAS, months, date.today())
    print("\n".join(old) or f"Everything was looked up less than {months} months ago.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
