"""The table of attacks in autograde/SECURITY.md: written from a run, and read back."""

import os
import re
from pathlib import Path

from attack_class import EVERY, classroom, load
from test_nbgrader import scores

DOCUMENT = Path(__file__).parents[1] / "autograde" / "SECURITY.md"
BEGIN, END = "<!-- attacks: begin -->\n", "<!-- attacks: end -->\n"


def write_table() -> None:
    """Run every attack and write what came of it into SECURITY.md, between its two marks."""
    rows = []
    with classroom() as made:
        for attack in load():
            made.since = EVERY  # the honest student after each
            problems = made.attempt(attack)
            result = "held" if not problems else f"**not held**: {'; '.join(problems)}"
            points = scores(made.course).get(attack.name) or 0.0
            rows.append(f"| `{attack.name}` | {attack.sentence} | {points:g} | {result} |\n")
            print(rows[-1], end="", flush=True)
    user = "root" if os.getuid() == 0 else "an ordinary user"
    held = sum("**" not in row for row in rows)
    total = f"Run as {user}: {len(rows)} attacks, {held} held.\n\n"
    head = "| attack | what it tries | points | outcome |\n|---|---|---|---|\n"
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    DOCUMENT.write_text(before + BEGIN + total + head + "".join(rows) + END + rest.split(END)[1])


def table() -> dict[str, str]:
    """The rows of SECURITY.md: what each attack tries, by its name."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", DOCUMENT.read_text(), re.MULTILINE)
    return dict(rows)
