"""What the terminal and the page say in the same words: names, a term's facts, what similarity means."""

import datetime as dt
import math

from autograde.grading.term import shown_time
from autograde.report.deadlines import Deadlines, Late
from autograde.report.similarity import ALIKE, LISTED, LONG, RUN, Match, Similar
from autograde.report.statistics import shown

NAMES = 10  # that are written out
CODE_LINES = 120  # of an answer that is shown
CODE_CHARACTERS = 8000
UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))
NO_VERDICT = (
    "This is where to look, and no verdict: pair work, a shared source, the same book or assistant, or a "
    "task with one obvious way look the same. Talk to the students."
)
MEANING = (  # the two shares of the course's own answers are measured by tests/report/test_similarity.py
    f"Share: of the shorter answer's fingerprints (runs of {RUN} tokens), those that the other one has, "
    "whatever the names, comments and layout; without what was released and what a third of the answers "
    "have. Tokens: the length of what both have. Among the right answers that come with the course, two that "
    "were written independently share less than a third, and a copy with other names, another layout and two "
    f"statements exchanged keeps more than two thirds; below {ALIKE:.0%} nothing is listed. What much of the "
    f"class wrote alike comes last. Exercises whose reference has fewer than {LONG} tokens of its own are "
    "not compared: such answers meet by chance."
)


def listed(names: list[str]) -> str:
    """Names as they can be shown, the first few of many."""
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(map(shown, names[:NAMES])) + more


def term_facts(found: Deadlines) -> dict[str, list[str]]:
    """What a term decided and what came of it: items, by what they are; only what there is."""
    extensions = [f"{name} until {_local(text)}" for name, text in sorted(found.extensions.items())]
    cost = math.fsum(late.penalty for late in found.late)
    facts = {
        "Due": [_local(found.due)] if found.due else [],
        "More time": extensions,
        f"Late ({len(found.late)}; it cost {cost:.4g} points in all)": [_late(late) for late in found.late],
        f"No known time of submission ({len(found.timeless)}), so late or not": found.timeless,
        "Excused, with full points for all who handed in": found.excused,
        f"On the roster, nothing handed in ({len(found.absent)})": found.absent,
    }
    return {name: items for name, items in facts.items() if items}


def students(match: Match) -> str:
    """Whose answers are alike."""
    return " and ".join(map(listed, match.sides))


def share(match: Match) -> str:
    """How much of an answer the other has."""
    return f"{match.share:.0%}" if len(match.sides) > 1 else "the same"


def code(text: str) -> str:
    """An answer as it can be shown, cut where it is long."""
    lines = text[:CODE_CHARACTERS].expandtabs(4).split("\n")[:CODE_LINES]
    kept = "\n".join(map(shown, lines))
    return kept if text.count("\n") < CODE_LINES and len(text) <= CODE_CHARACTERS else f"{kept}\n… (cut here)"


def compared(found: Similar) -> str:
    """What was compared, what was found, whose notebook was left out."""
    if not found.exercises:
        return ""
    more = f", of which the first {LISTED} are listed" if found.found > LISTED else ""
    line = f"Compared: {', '.join(found.exercises)}. Alike: {found.found}{more}."
    if found.left_out:
        line += f" Not compared, for they cannot be read: {listed(list(found.left_out))}."
    return line


def _local(text: str) -> str:
    return shown_time(dt.datetime.fromisoformat(text))


def _late(late: Late) -> str:
    cost = f", {late.penalty:.4g} points" if late.penalty else ""
    return f"{late.student} by {_duration(late.seconds)}{cost}"


def _duration(seconds: float) -> str:
    """Its two largest units."""
    parts, rest = [], round(seconds)
    for size, unit in UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "less than a minute"
