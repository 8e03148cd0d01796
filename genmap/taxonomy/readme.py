"""README's list of lessons, from the map."""

from __future__ import annotations

import sys
from calendar import month_name
from collections.abc import Iterable
from pathlib import Path

from genmap.taxonomy.age import as_of
from genmap.taxonomy.cells import Table
from genmap.taxonomy.facts import ATLAS

BEGIN = "<!-- lessons: begin (python -m genmap.taxonomy.tables) -->"  # in README, above its list
END = "<!-- lessons: end -->"  # in README, below it


def lessons(there: Iterable[str]) -> str:
    """Return README's list: a table of the lessons that are there (ids), the planned ones, the map's month.

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
    year, month = as_of(ATLAS).split("-")
    age = (
        f"Models and products are described as of {month_name[int(month)]} {year}, or of the month beside a "
        "row. What has ended keeps its place in the history and is never recommended."
    )
    return f"{done.markdown()}\n\n{said}\n\n{table.markdown()}\n\n{age}"


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


def renew() -> int:
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
