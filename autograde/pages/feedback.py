"""What a student's page shows: a table of exercises, and the notebook in parts, the learner's own open."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode

from autograde.cells import grade_id, scored_cells
from autograde.pages.clean_html import Clean
from autograde.pages.sanitise import render_markdown

HEADING = re.compile(r"(#+)\s+(.*\S)")
NUMBERED = re.compile(r"(?:Exercise\s+)?(\d+[a-z]?)\s*(?:·|[.:])\s+(.+)")
MINUTES = re.compile(r"\s*\([^()]*\bminutes?\b[^()]*\)$")  # what a heading says of the effort
EXERCISE_LEVEL = 3  # of the headings above exercises
PROPERTY = re.compile(r"  (passed|FAILED|note) +(.*)")
INDENT = " " * 10  # of a line that goes on with a property
PROSE, PICTURES = ("text/html", "text/markdown", "text/latex"), ("image/png", "image/jpeg")


@dataclass(frozen=True)
class Row:
    """An exercise, or an answer that is graded by hand.

    name: of the exercise, or of the answer's cell. number, title: of the heading above; the name without one.
    points: what counts so far, with `extra` on top of the maximum. waits: for a grader.
    excused: everybody gets full points. answered: not as it was released. comment: a grader's.
    """

    name: str
    number: str
    title: str
    by_hand: bool
    points: float
    extra: float
    maximum: float
    waits: bool
    excused: bool
    answered: bool
    comment: str

    @property
    def heading(self) -> Clean:
        """Number and title, as HTML for a line."""
        text = render_markdown(self.title).strip().removeprefix("<p>").removesuffix("</p>")
        return Clean(f"{self.number} · {text}" if self.number else text)

    @property
    def result(self) -> str:
        """The points, as a person reads them."""
        if self.waits:
            return "not graded yet" + (f" ({shown(self.points)} before)" if self.points else "")
        more = f", {shown(self.extra)} of it extra" if self.extra else ""
        return f"{shown(self.points)} of {shown(self.maximum)}{more}"

    @property
    def state(self) -> str:
        """The name of how it went, for the style."""
        if self.waits:
            return "waits"
        return "full" if self.points >= self.maximum else "some" if self.points > 0 else "none"


@dataclass(frozen=True)
class Sheet:
    """All that a page shows but the notebook itself.

    total: the score, after `penalty`, the points that lateness costs. solutions: by row; none are shown where
    it is empty. lesson: the cells of the release, as id and source.
    """

    title: str
    student: str
    rows: tuple[Row, ...]
    total: float
    maximum: float
    penalty: float
    solutions: dict[str, str]
    lesson: frozenset[tuple[str, str]]

    @property
    def score(self) -> str:
        """The score in words, which say where it is not final."""
        score = f"{shown(self.total)} of {shown(self.maximum)}"
        if not (waiting := sum(row.waits for row in self.rows)):
            return f"{score} points"
        return f"{score} so far; {waiting} {'answer is' if waiting == 1 else 'answers are'} not graded yet"


@dataclass(frozen=True)
class Part:
    """A piece of the page, from the notebook's top to its end.

    kind: "answer" to `row`, with its tests where it has some; "own" cells; or cells of the "lesson".
    """

    kind: str
    cells: list[NotebookNode]
    row: Row | None = None
    test: NotebookNode | None = None

    @property
    def failures(self) -> int:
        """The cells that ended in an error."""
        return sum(any(one.output_type == "error" for one in cell.get("outputs", [])) for cell in self.cells)


def arranged(nb: NotebookNode, sheet: Sheet) -> list[Part]:
    """The notebook's parts; neighbours of a kind are one, and empty cells of the learner's are left out."""
    tests, rows = scored_cells(nb), {row.name: row for row in sheet.rows}
    parts: list[Part] = []
    for cell in nb.cells:
        name = grade_id(cell) or ""
        if name in rows and cell.metadata.nbgrader.get("solution"):
            parts.append(Part("answer", [cell], rows[name], tests.get(name)))
        elif kind := _kind(cell, sheet):
            if not parts or parts[-1].kind != kind:
                parts.append(Part(kind, []))
            parts[-1].cells.append(cell)
    return parts


def _kind(cell: NotebookNode, sheet: Sheet) -> str:
    """Whose a cell is; nobody's, "", where it is shown elsewhere or is empty."""
    if cell.metadata.get("nbgrader", {}).get("locked") and (grade_id(cell) or "").startswith("test-"):
        return ""
    if (cell.get("id"), cell.source) in sheet.lesson:
        return "lesson"
    return "own" if cell.source.strip() or cell.get("outputs") else ""


def cells_of(released: NotebookNode) -> frozenset[tuple[str, str]]:
    """What says that a cell is as it was released: its id and its source."""
    return frozenset((cell.get("id", ""), cell.source) for cell in released.cells)


def headings(released: NotebookNode) -> dict[str, tuple[str, str]]:
    """By graded cell, the number and the title of the exercise's heading above it; "" where there is none."""
    found, current = {}, ("", "")
    for cell in released.cells:
        if name := grade_id(cell):
            found[name] = current
        elif cell.cell_type == "markdown":
            for level, text in _headings(cell.source):
                current = _titled(text) if level == EXERCISE_LEVEL else ("", "")
    return found


def lesson_title(released: NotebookNode) -> str:
    """The notebook's first heading; "" where it has none."""
    prose = (cell.source for cell in released.cells if cell.cell_type == "markdown")
    return next((text for source in prose for _, text in _headings(source)), "")


def _headings(source: str) -> Iterator[tuple[int, str]]:
    """The level and the text of each heading that is not code."""
    fenced = False
    for line in source.split("\n"):
        fenced ^= line.lstrip().startswith("```")
        if not fenced and (found := HEADING.fullmatch(line)):
            yield len(found[1]), found[2]


def _titled(text: str) -> tuple[str, str]:
    plain = MINUTES.sub("", text)
    numbered = NUMBERED.fullmatch(plain)
    return (numbered[1], numbered[2]) if numbered else ("", plain)


def properties(cell: NotebookNode) -> list[tuple[str, str]]:
    """A test cell's text, but for its first line: each sentence with the word before it, "" without one.

    The words are "passed", "FAILED" and "note"; a sentence that was broken into lines is one again.
    """
    found: list[tuple[str, str]] = []
    text = "".join(one.text for one in cell.get("outputs", []) if one.output_type == "stream")
    for line in text.split("\n")[1:]:
        if start := PROPERTY.fullmatch(line):
            found.append((start[1], start[2]))
        elif found and line.startswith(INDENT):
            word, before = found[-1]
            gap = "" if re.search(r"\w-$", before) else " "  # a line may end in a hyphen of a word
            found[-1] = (word, f"{before}{gap}{line.strip()}")
        elif line.strip():
            found.append(("", line.strip()))
    return found


def best_form(data: dict[str, Any]) -> tuple[str, str]:
    """Of an output's forms the one to show, and its type."""
    kind = next((kind for kind in (*PROSE, *PICTURES) if kind in data), "text/plain")
    return kind, data.get(kind, "")


def shown(number: float) -> str:
    """A number of points as a person reads it."""
    return f"{round(number, 2):g}".replace("-", "−")
