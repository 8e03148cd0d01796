"""Mutants of a reference: the same cell with one small fault, made by rules on its syntax tree.

The faults of expressions are in mutant_rules.py; here are dropped and turned statements and the first row for
all. Libraries (cosmic-ray 8.7, mutmut 3) know none of those of array code, and change a package's files.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

from autograde.authoring.answers import without_markers
from autograde.authoring.mutant_rules import AXES, BINARY, IN_PLACE, RULES
from autograde.cells import BEGIN, END


@dataclass(frozen=True)
class Mutant:
    """The reference with one fault.

    line: of the cell without its markers, from 1. what: the fault, in words. old, new: the lines that differ.
    source: the whole cell.
    """

    exercise: str
    line: int
    what: str
    old: str
    new: str
    source: str

    @property
    def name(self) -> str:
        """What tells it from the others of its exercise."""
        return f"line {self.line}, {self.what}: {self.new.strip()}"


def mutants(exercise: str, solution: str) -> list[Mutant]:
    """All mutants of an exercise's solution, in order; only lines between the markers are changed."""
    text, inside = without_markers(solution), _solution_lines(solution)
    seen, found = {ast.dump(ast.parse(text))}, []
    for what, line, source in _changed(text, inside):
        try:
            tree = ast.dump(ast.parse(source))
        except SyntaxError:
            continue
        if tree not in seen:
            seen.add(tree)
            found.append(Mutant(exercise, line, what, *_difference(text, source), source))
    return sorted(found, key=lambda mutant: mutant.line)


def same(first: str, second: str) -> bool:
    """Whether two cells are the same program, however they are laid out."""
    return ast.dump(ast.parse(first)) == ast.dump(ast.parse(second))


def _solution_lines(solution: str) -> frozenset[int]:
    """The numbers of the lines between the markers, in the cell without markers."""
    inside, number, lines = False, 0, set()
    for line in solution.split("\n"):
        if line.strip() in (BEGIN, END):
            inside = line.strip() == BEGIN
            continue
        number += 1
        if inside:
            lines.add(number)
    return frozenset(lines)


def _changed(text: str, inside: frozenset[int]) -> Iterator[tuple[str, int, str]]:
    """What each change does, in which line, and the whole text with it."""
    tree = ast.parse(text)
    given = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in _walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield from _first_rows(text, node, inside)
        if getattr(node, "lineno", 0) not in inside:
            continue
        if isinstance(node, ast.stmt):
            yield from _statements(text, node)
        elif isinstance(node, ast.expr):
            for rule in RULES:
                for what, new in rule(node):
                    if what == IN_PLACE and _left(node) not in given:
                        continue  # what nobody else has may be written to
                    yield what, node.lineno, _spliced(text, node, _in_parentheses(new))


def _left(node: ast.expr) -> str:
    """The name on the left of an operator."""
    return getattr(getattr(node, "left", None), "id", "")


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but annotations, axes in order, and f-strings, in which places of the text are not known."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns") or isinstance(node, ast.JoinedStr):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.keyword) and node.arg in AXES and isinstance(child, ast.Tuple):
                yield from (each for part in child.elts for each in _walk(part))
            elif isinstance(child, ast.AST):
                yield from _walk(child)


def _statements(text: str, node: ast.stmt) -> Iterator[tuple[str, int, str]]:
    gone = isinstance(node, ast.AugAssign | ast.Assign | ast.Break | ast.Continue | ast.Raise) or (
        isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
    )
    if gone:
        yield "dropped", node.lineno, _spliced(text, node, "pass")
    if isinstance(node, ast.If | ast.While):
        yield "never", node.lineno, _spliced(text, node.test, "False")
    if isinstance(node, ast.If):
        yield "always", node.lineno, _spliced(text, node.test, "True")
    if isinstance(node, ast.With) and "no_grad" in ast.unparse(node.items[0]):
        yield "with gradients", node.lineno, _spliced(text, node.items[0].context_expr, "torch.enable_grad()")
    if isinstance(node, ast.AugAssign) and (twin := BINARY.get(type(node.op))):
        turned = copy.copy(node)
        turned.op = twin()
        yield "another operator", node.lineno, _spliced(text, node, ast.unparse(turned))


def _first_rows(text: str, node: ast.FunctionDef, inside: frozenset[int]) -> Iterator[tuple[str, int, str]]:
    """The first row of an argument in the place of all."""
    line = next((each.lineno for each in node.body if each.lineno in inside), 0)
    if not line:
        return
    lines = text.split("\n")
    depth = lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())]
    for argument in node.args.args:
        if argument.arg != "self":
            put = f"{depth}{argument.arg} = {argument.arg}[[0] * len({argument.arg})]"
            changed = "\n".join([*lines[: line - 1], put, *lines[line - 1 :]])
            yield f"the first of {argument.arg} for all", line, changed


def _in_parentheses(node: ast.expr) -> str:
    written = ast.unparse(ast.fix_missing_locations(node))
    atom = isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.Constant | ast.Slice)
    return written if atom else f"({written})"


def _spliced(text: str, node: ast.stmt | ast.expr, new: str) -> str:
    """The text with another in the place of a node."""
    lines = text.encode().split(b"\n")
    assert node.end_lineno is not None and node.end_col_offset is not None
    first, last = node.lineno - 1, node.end_lineno - 1
    put = lines[first][: node.col_offset] + new.encode() + lines[last][node.end_col_offset :]
    return b"\n".join([*lines[:first], put, *lines[last + 1 :]]).decode()


def _difference(before: str, after: str) -> tuple[str, str]:
    """The lines in which two texts differ."""
    old, new = before.split("\n"), after.split("\n")
    while old and new and old[0] == new[0]:
        old, new = old[1:], new[1:]
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return "\n".join(old), "\n".join(new)
