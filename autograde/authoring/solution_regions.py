"""The solution regions of a cell: where they are, what is released instead, and what would give them away."""

import ast
import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from autograde.authoring.percent import Cell
from autograde.cells import BEGIN, END, STUB

RESERVED = re.compile(
    r"(?i:(BEGIN|END)\s*(SOLUTION|HIDDEN\s+TESTS?|MARK\s+SCHEME))|AUTOTEST"
)  # nbgrader's own
SHOWN_CHARACTERS = 24  # of a line, without spaces: a shorter line may well stand in a chapter by chance


@dataclass(frozen=True)
class Region:
    """Lines `begin` to `end` of a cell, both of them markers; `code` is what lies between."""

    begin: int
    end: int
    code: list[str]


def find_regions(cell: Cell) -> list[Region]:
    """The regions of a cell. Raises CourseError for a misspelt or unpaired marker, or an empty region."""
    regions, begin = [], -1
    for index, line in enumerate(cell.text):
        if line.strip() == BEGIN:
            if begin >= 0:
                raise cell.refuse(f"a second `{BEGIN}` before `{END}`: pair them.", index)
            begin = index
        elif line.strip() == END:
            if begin < 0:
                raise cell.refuse(f"`{END}` has no `{BEGIN}` before it: pair them.", index)
            regions.append(_region(cell, begin, index))
            begin = -1
        elif _is_misspelt(line, cell.markdown):
            raise cell.refuse(f"{line.strip()!r} is no marker: use `{BEGIN}` and `{END}`, spelt so.", index)
    if begin >= 0:
        raise cell.refuse(f"`{BEGIN}` has no `{END}` after it: pair them.", begin)
    return regions


def without_regions(cell: Cell, regions: Sequence[Region]) -> list[str]:
    """The cell's lines as they are released; a region leaves its stub and blank lines: line numbers stay."""
    lines = list(cell.text)
    for region in regions:
        first = lines[region.begin]
        stub = "" if cell.markdown else first[: len(first) - len(first.lstrip())] + STUB
        lines[region.begin : region.end + 1] = [stub] + [""] * (region.end - region.begin)
    return lines


def check_stub(cell: Cell, regions: Sequence[Region]) -> None:
    """Raise CourseError where the released cell is no Python, or has code after a stub in the same block."""
    stubs = {region.begin + 1 for region in regions}
    try:
        tree = ast.parse("\n".join(without_regions(cell, regions)))
    except SyntaxError:
        reason = "without its solution the cell is no Python: let the region hold whole statements."
        raise cell.refuse(reason, regions[0].begin) from None
    for block in _blocks(tree):
        for statement, following in pairwise(block):
            if statement.lineno in stubs:
                reason = f"code after `{END}` in the same block would be released: end the region below it."
                raise cell.refuse(reason, following.lineno - 1)


def gives_away(solution: Sequence[str], public: Sequence[str]) -> int | None:
    """The index of the first of the `public` lines that shows the solution, if one does.

    A line shows it that contains a long line of it, and a run of lines that equals all of it. Spaces and
    comments do not count.
    """
    secret = [line for line in map(_squeeze, solution) if line]
    shown = [(index, line) for index, line in enumerate(map(_squeeze, public)) if line]
    for start, (index, line) in enumerate(shown):
        if any(len(part) >= SHOWN_CHARACTERS and part in line for part in secret):
            return index
        run = [other for _, other in shown[start : start + len(secret)]]
        if sum(map(len, secret)) >= SHOWN_CHARACTERS // 2 and run == secret:
            return index
    return None


def _region(cell: Cell, begin: int, end: int) -> Region:
    code = cell.text[begin + 1 : end]
    if not any(_squeeze(line) for line in code):
        raise cell.refuse("the region holds no solution: put it between the markers.", begin)
    indents = [len(line) - len(line.lstrip()) for line in cell.text[begin : end + 1] if line.strip()]
    if not cell.markdown and not indents[0] == indents[1] == indents[-1] == min(indents):
        raise cell.refuse("indent both markers like the first line between them.", begin)
    return Region(begin, end, code)


def _squeeze(line: str) -> str:
    line = "".join(line.split("  #")[0].split())
    return "" if line.startswith("#") else line


def _is_misspelt(line: str, markdown: bool) -> bool:
    line = line.strip()
    if RESERVED.search(line) or (not markdown and line.startswith("###")):
        return True
    letters = "".join(re.findall("[A-Za-z]", line)).upper() if line.startswith("#") else ""
    return bool(difflib.get_close_matches(letters, ["BEGINSOLUTION", "ENDSOLUTION"], cutoff=0.85))


def _blocks(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                yield block
