"""Percent scripts read strictly, cell by cell with line numbers: the headers of lessons and of answer files.

jupytext forgives a malformed header: it drops it, or takes it for a title. Here it is refused.
"""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograde.errors import CourseError

HEADER = re.compile(r"# %%(?:\s+(?P<rest>.*))?")
NEARLY_HEADER = re.compile(
    r"\s*#+\s*%%|\s*#+\s*%*\s*(\[\w+\]\s*)?(exercise|test|answer|wrong|right)\s*=\s*[\"']"
)
MARK = re.compile(r"([A-Za-z_][\w-]*)=(?=\S)")
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
DECODER = json.JSONDecoder()
NAME_CHARACTERS = 50  # with "test-" before it, it is still a cell id: at most 64 characters


@dataclass(frozen=True)
class Cell:
    """A cell of a percent script: its file, its header's line and marks, and the lines that follow."""

    path: Path
    line: int
    markdown: bool
    marks: dict[str, Any]
    lines: list[str]

    @property
    def text(self) -> list[str]:
        """The cell's lines as the notebook shows them: Markdown without its comment signs."""
        return [re.sub(r"^# ?", "", line) for line in self.lines] if self.markdown else self.lines

    def refuse(self, reason: str, index: int = -1) -> CourseError:
        """The error that names line `index` of the cell (-1: its header)."""
        return refuse(self.path, self.line + 1 + index, reason)

    def parse(self) -> ast.Module:
        """The syntax tree of the cell. Raises CourseError where it is no Python."""
        try:
            return ast.parse("\n".join(self.lines))
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 0
            raise self.refuse(f"this is no Python ({getattr(error, 'msg', error)}).", line - 1) from None


def refuse(path: Path, line: int, reason: str) -> CourseError:
    """The error of line `line` of a file, as `solutions/01_map/01_map.py:123: reason`."""
    here = Path.cwd()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return CourseError(f"{shown}:{line}: {reason}")


def read_text(path: Path) -> str:
    """The text of a file. Raises CourseError where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CourseError(f"{path} is missing.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise CourseError(f"Cannot read {path}: {reason}.") from None


def read_cells(path: Path, marks: tuple[str, ...]) -> tuple[list[str], list[Cell]]:
    """The lines before the first cell, and the cells, whose headers may bear `marks` only."""
    lines = read_text(path).split("\n")
    starts = [index for index, line in enumerate(lines) if _is_header(path, index + 1, line)]
    if not starts:
        raise refuse(path, 1, "there is no cell here; a cell starts with a line `# %%`.")
    cells = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        try:
            markdown, found = _read_header(lines[start], marks)
        except ValueError as error:
            raise refuse(path, start + 1, str(error)) from None
        cells.append(Cell(path, start + 1, markdown, found, lines[start + 1 : end]))
    return lines[: starts[0]], cells


def check_name(cell: Cell, name: object) -> str:
    """`name`, if it may name an exercise or an answer. Raises CourseError for a malformed one."""
    if not (isinstance(name, str) and NAME.fullmatch(name) and len(name) <= NAME_CHARACTERS):
        most = f"at most {NAME_CHARACTERS} characters"
        rule = f'lower-case words joined by hyphens, {most}, such as "interval-mass"'
        raise cell.refuse(f"malformed name {name!r}: use {rule}.")
    if name.startswith("test-"):
        raise cell.refuse(f'malformed name {name!r}: "test-" is kept for the test cells.')
    return name


def _is_header(path: Path, number: int, line: str) -> bool:
    if HEADER.fullmatch(line.rstrip()):
        return True
    if NEARLY_HEADER.match(line):
        reason = (
            f"{line.strip()!r} looks like a cell header but is none: start the line with `# %%` and a space."
        )
        raise refuse(path, number, reason)
    return False


def _read_header(line: str, allowed: tuple[str, ...]) -> tuple[bool, dict[str, Any]]:
    """Whether the cell is Markdown, and its marks. Raises ValueError with the reason for anything else."""
    match = HEADER.fullmatch(line.rstrip())
    rest = (match and match["rest"]) or ""
    kind = re.match(r"\[[^\]]*\]\s*", rest)
    if kind and kind[0].strip() != "[markdown]":
        raise ValueError(f"unknown kind of cell {kind[0].strip()}: use [markdown], or nothing for code.")
    marks = _read_marks(rest[kind.end() :] if kind else rest)
    for key in marks:
        if key not in allowed:
            raise ValueError(f"unknown marker {key!r}: use {', '.join(allowed)}.")
    return kind is not None, marks


def _read_marks(text: str) -> dict[str, Any]:
    """The marks `key=value` of a header, each value in JSON."""
    marks: dict[str, Any] = {}
    while text:
        match = MARK.match(text)
        if not match:
            raise ValueError(
                f'unknown marker {text!r}: write key="value", with one space between two of them.'
            )
        try:
            value, end = DECODER.raw_decode(text, match.end())
        except ValueError:
            raise ValueError(
                f'malformed value of {match[1]}: write JSON, such as {match[1]}="name".'
            ) from None
        if match[1] in marks:
            raise ValueError(f"marker {match[1]!r} stands twice; keep one.")
        marks[match[1]], text = value, text[end:]
        if text and not text[0].isspace():
            raise ValueError(f"malformed value of {match[1]}: {text!r} stands after it.")
        text = text.lstrip()
    return marks
