"""The table of attacks in autograde/SECURITY.md: written from runs, and read back."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from attack_class import Attack, load
from attack_graders import Graders
from attack_stock import stock_class
from course_root import ROOT

DOCUMENT = ROOT / "autograde" / "SECURITY.md"
BEGIN, END = "<!-- attacks: begin -->\n", "<!-- attacks: end -->\n"
TITLES = ("attack", "what it tries", "as root", "as an ordinary user", "stock nbgrader")
Column = dict[str, str]  # what came of an attack, by its name


def write_table() -> None:
    """Attempt every attack as root, as an ordinary user and on stock nbgrader; write what came of them."""
    if os.getuid() != 0:
        raise SystemExit("Run this as root: it attempts the attacks both as root and as an ordinary user.")
    attacks = load()
    _write(attacks, [_ours(attacks, ordinary=False), _ours(attacks, ordinary=True), _stock(attacks)])


def _write(attacks: list[Attack], columns: list[Column]) -> None:
    lines = [f"| {' | '.join(TITLES)} |\n", f"|{'---|' * len(TITLES)}\n"]
    for attack in attacks:
        cells = [f"`{attack.name}`", attack.sentence, *(column[attack.name] for column in columns)]
        lines.append(f"| {' | '.join(cells)} |\n")
    text = DOCUMENT.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    DOCUMENT.write_text("".join([before, BEGIN, *_totals(columns), "\n", *lines, END, after]))


def _totals(columns: list[Column]) -> Iterator[str]:
    root, ordinary, stock = columns
    for title, column in (("root", root), ("an ordinary user", ordinary)):
        held = sum("**" not in cell for cell in column.values())
        yield f"As {title}: {len(column)} attacks, {held} held.\n"
    run = [cell for cell in stock.values() if not cell.startswith("not run")]
    yield f"Stock nbgrader: {len(run)} attacks, {sum('**' not in cell for cell in run)} held.\n"


def _ours(attacks: list[Attack], ordinary: bool) -> Column:
    with Graders(2, ordinary, every=1) as graders:  # the honest student after each
        begun = {attack.name: graders.attempt(attack.name) for attack in attacks}
        return {name: _shown(name, future) for name, future in begun.items()}


def _shown(name: str, future: Future[dict[str, Any]]) -> str:
    outcome = future.result()
    points = "not graded" if outcome["points"] is None else f"{outcome['points']:g} points"
    print(name, outcome, flush=True)
    return points if not outcome["problems"] else f"**not held**: {'; '.join(outcome['problems'])}"


def _stock(attacks: list[Attack]) -> Column:
    with stock_class() as made, ThreadPoolExecutor(2) as pool:
        column = {}
        for attack, words in zip(attacks, pool.map(made.outcome, attacks), strict=True):
            column[attack.name] = words
            print(attack.name, words, flush=True)
        return column


def table() -> dict[str, str]:
    """The rows of SECURITY.md: what each attack tries, by its name."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", DOCUMENT.read_text(), re.MULTILINE)
    return dict(rows)
