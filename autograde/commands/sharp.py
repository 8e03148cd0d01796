"""`autograde verify --mutants` and `--seeds`: which faults no test finds, and which right answers fail."""

import json
import math
from typing import Any

from rich.progress import track
from rich.table import Table

from autograde.commands.console import ERR, OUT, say
from autograde.course import Course
from autograde.errors import CourseError

LOSING = 0.97  # of the mutants that are not equivalent, the share that has to lose points with every seed
TITLES = ("killed", "weakly killed", "lucky", "survives", "equivalent")


def try_all(course: Course, names: list[str], sample: int | None, brief: bool, as_json: bool) -> None:
    """Judge mutants of the lessons and print what is left. Raises CourseError where that is too much.

    brief: not of those that held with all their mutants, as they are now.
    """
    from autograde.authoring import verified
    from autograde.authoring.mutation import try_mutants

    reports = []
    states = {name: verified.state(course, name) for name in names}
    names = [name for name in names if not (brief and verified.holds(name, "mutants", states[name]))]
    for name in track(names, "mutants", console=ERR, disable=not ERR.is_terminal, transient=True):
        reports.append(report := try_mutants(course, name, sample))
        if not as_json:
            _print(report)
        if sample is None and not _problems(report):
            verified.keep(name, "mutants", states[name])
    if as_json:
        say(json.dumps(reports, indent=1))
    if problems := [f"{each['lesson']}: {line}" for each in reports for line in _problems(each)]:
        raise CourseError("\n".join(["the hidden tests are not sharp:", *problems]))


def try_right(course: Course, names: list[str], seeds: int, as_json: bool) -> None:
    """Judge all right answers of the lessons with many seeds. Raises CourseError where one loses a point."""
    from autograde.authoring.fairness import try_seeds

    reports = []
    for name in track(names, "seeds", console=ERR, disable=not ERR.is_terminal, transient=True):
        reports.append(report := try_seeds(course, name, seeds))
        if not as_json:
            lost = len(report["unfair"]) or "none"
            before = f" ({report['before']} of them in earlier runs)" if report["before"] else ""
            say(f"{name}: {report['answers']} right answers, {seeds} seeds each{before}: {lost} lost points.")
    if as_json:
        say(json.dumps(reports, indent=1))
    unfair = [(report["lesson"], each) for report in reports for each in report["unfair"]]
    if unfair:
        lines = [
            f"{lesson}: {each['exercise']}: {each['answer']!r} fails {each['fails']} {each['times']} times"
            for lesson, each in unfair
        ]
        raise CourseError("\n".join(["the hidden tests are not fair:", *lines]))


def _problems(report: dict[str, Any]) -> list[str]:
    counts = _sum(report)
    losing, all_ = counts["killed"] + counts["weakly killed"], sum(counts.values()) - counts["equivalent"]
    found = list(report["problems"])
    if all_ - losing > math.ceil((1 - LOSING) * all_):
        found.append(f"{losing} of {all_} mutants lose points with every seed: {LOSING:.0%} are to")
    return found


def _sum(report: dict[str, Any]) -> dict[str, int]:
    return {title: sum(row.get(title, 0) for row in report["exercises"].values()) for title in TITLES}


def _print(report: dict[str, Any]) -> None:
    table = Table("exercise", *TITLES, title=report["lesson"])
    for name, row in report["exercises"].items():
        table.add_row(name, *(str(row.get(title, 0)) for title in TITLES))
    table.add_row("all", *(str(count) for count in _sum(report).values()))
    OUT.print(table)
    for each in report["left"]:
        say(f"# {each['kind']}, {each['what']}, line {each['line']} of {each['exercise']}")
        say(f"replace({_text(each['old'])}, {_text(each['new'])})")


def _text(lines: str) -> str:
    """A text as an answer file has it."""
    return json.dumps(lines.strip() if "\n" not in lines else lines, ensure_ascii=False)
