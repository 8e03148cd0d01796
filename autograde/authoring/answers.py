"""Answer files: wrong and right answers to a lesson's exercises, whole cells or edits of the reference.

An edit is a cell of calls, which are read and never run:

    replace("old", "new")    `old`, which stands once in the reference, becomes `new`: a part of a line or,
                             where one of the two has several lines, whole lines, however they are indented
    strike("a line")         the line, or lines, which stand once, go
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from autograde.authoring.percent import Cell, check_name, read_cells, refuse
from autograde.cells import BEGIN, END
from autograde.judging.verdict import PROMISE

KINDS = ("wrong", "right", "equivalent")
MARKS = (*KINDS, "fails", "name")
TEST = re.compile(rf"test_[A-Za-z0-9_]+|{PROMISE}")
ARGUMENTS = {"replace": 2, "strike": 1}


@dataclass(frozen=True)
class Edit:
    """One change of the reference: `old`, whole lines or a part of one, becomes `new`; see line `line`."""

    old: str
    new: str
    whole_lines: bool
    line: int

    def applied(self, text: str) -> str:
        """`text` with `old` replaced. Raises ValueError unless it stands there exactly once."""
        if not self.whole_lines:
            if text.count(self.old) != 1:
                raise ValueError(f"{self.old!r} stands {_times(text.count(self.old))}")
            return text.replace(self.old, self.new)
        lines, wanted = text.split("\n"), _dedented(self.old)
        count = len(wanted)
        starts = [n for n in range(len(lines)) if _dedented("\n".join(lines[n : n + count])) == wanted]
        if len(starts) != 1:
            raise ValueError(f"the lines {self.old.strip()!r} stand {_times(len(starts))}")
        (start,) = starts
        depth = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
        put = [depth + line if line else line for line in _dedented(self.new)] if self.new else []
        return "\n".join([*lines[:start], *put, *lines[start + count :]])


@dataclass(frozen=True)
class Answer:
    """A wrong or another right answer to an exercise.

    kind: "wrong", "right" or "equivalent": a mutant that is as right as the reference; its name says why.
    exercise: its name.
    fails: the hidden test that a wrong one must fail.
    name: what it does.
    source: the cell that replaces the exercise's, "" where it is the reference with `edits`.
    path, line: where its header stands.
    """

    kind: str
    exercise: str
    fails: str | None
    name: str
    source: str
    edits: tuple[Edit, ...]
    path: Path
    line: int

    def cell(self, reference: str) -> str:
        """The answer as a cell. Raises CourseError where an edit does not fit the reference's source."""
        if not self.edits:
            return self.source
        text = without_markers(reference)
        for edit in self.edits:
            try:
                text = edit.applied(text)
            except ValueError as error:
                raise refuse(self.path, edit.line, f"{error} in the solution of {self.exercise!r}.") from None
        try:
            ast.parse(text)
        except SyntaxError as error:
            raise refuse(self.path, self.line, f"with its edits it is no Python ({error.msg}).") from None
        return text


def read_answers(path: Path, named: bool = True) -> list[Answer]:
    """The answers of an answer file, in order; text before the first header is ignored.

    named: whether a wrong answer must say which hidden test it fails.

    Raises CourseError, with file, line and reason, for a malformed one.
    """
    answers = [_read_answer(cell, named) for cell in read_cells(path, MARKS)[1]]
    seen: dict[tuple[str, str], int] = {}
    for answer in answers:
        key = (answer.exercise, answer.name)
        if key in seen:
            raise refuse(
                path, answer.line, f"duplicate name {answer.name!r}: line {seen[key]} has it already."
            )
        seen[key] = answer.line
    return answers


def without_markers(source: str) -> str:
    """A solution's cell without the lines that mark the solution."""
    return "\n".join(line for line in source.split("\n") if line.strip() not in (BEGIN, END))


def _dedented(text: str) -> list[str]:
    """The lines of a text, moved left as far as the first of them allows."""
    lines = text.strip("\n").rstrip().split("\n")
    depth = len(lines[0]) - len(lines[0].lstrip())
    return [line[min(depth, len(line) - len(line.lstrip())) :] for line in lines]


def _times(count: int) -> str:
    return "nowhere" if count == 0 else f"{count} times"


def _read_answer(cell: Cell, named: bool) -> Answer:
    kinds = [kind for kind in KINDS if kind in cell.marks]
    if cell.markdown or len(kinds) != 1:
        raise cell.refuse('an answer is a code cell that begins `# %% wrong="exercise"` or `# %% right=...`.')
    kind, fails, name = kinds[0], cell.marks.get("fails"), cell.marks.get("name")
    if not (isinstance(name, str) and name.strip()):
        raise cell.refuse('give the answer a name, such as name="forgets the bin width".')
    if kind != "wrong" and "fails" in cell.marks:
        raise cell.refuse("only a wrong answer fails a test: drop fails, or mark it as wrong.")
    needed = kind == "wrong" and (named or fails is not None)
    if needed and not (isinstance(fails, str) and TEST.fullmatch(fails)):
        raise cell.refuse('name the hidden test that must fail, such as fails="test_whole_line".')
    body = cell.parse().body
    if not body:
        raise cell.refuse("the answer is empty: write the cell that replaces the exercise's, or its edits.")
    calls = [_call(statement) for statement in body]
    edits = tuple(_edit(cell, call) for call in calls if call is not None)
    if edits and None in calls:
        raise cell.refuse("edits and other code do not go together: write the whole cell, or edits only.")
    source = "" if edits else "\n".join(cell.lines).strip("\n")
    return Answer(kind, check_name(cell, cell.marks[kind]), fails, name, source, edits, cell.path, cell.line)


def _call(statement: ast.stmt) -> ast.Call | None:
    """The edit that a statement is, if it is one."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    named = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ARGUMENTS
    return call if named and isinstance(call, ast.Call) else None


def _edit(cell: Cell, call: ast.Call) -> Edit:
    assert isinstance(call.func, ast.Name)
    name = call.func.id
    texts = [node.value for node in call.args if isinstance(node, ast.Constant)]
    words = [text for text in texts if isinstance(text, str) and (text or len(call.args) == 2)]
    wrong = len(words) != len(call.args) or len(words) != ARGUMENTS[name] or call.keywords or not words[0]
    if wrong:
        form = 'replace("old", "new")' if name == "replace" else 'strike("a line")'
        raise cell.refuse(f"malformed edit: write {form}, texts alone.", call.lineno - 1)
    if name == "replace" and words[0] == words[1]:
        raise cell.refuse("the edit changes nothing.", call.lineno - 1)
    old, new = words[0], words[1] if name == "replace" else ""
    return Edit(old, new, name == "strike" or "\n" in old + new, cell.line + call.lineno)
