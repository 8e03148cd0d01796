"""Code as it is compared: its tokens, without comments, layout and the names that its author chose.

Python's `ast` reads it and nothing is run. What is no Python keeps its words as they are.
"""

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autograde.grading.bindings import UNREADABLE, bindings, parse

OWN = "V"  # in the place of each name that the author chose; what a library or the chapter named stays
TOKEN = re.compile(
    r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|\w+(?:\.\d\w*)?|\*\*|//|->|:=|[<>=!+\-*/]=|\S""", re.DOTALL
)
WORD = re.compile(r"\w+|[^\w\s]")
COMMENT = re.compile(r"^[ \t]*[#%!].*$", re.MULTILINE)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell's source; the names that it binds at its top, and those that it takes from elsewhere."""

    source: str
    bound: frozenset[str] = frozenset()
    used: frozenset[str] = frozenset()


def read_cell(source: str) -> Cell:
    """A cell; one that is no Python binds and uses nothing."""
    found = bindings(source)
    return Cell(source, found.bound, found.used - found.bound)


def tokens(sources: Sequence[str]) -> tuple[str, ...]:
    """The tokens of an answer, which may stand in several cells."""
    try:
        trees = [parse(source) for source in sources]
        names, attributes = _own(trees)
        for tree in trees:
            _rename(tree, names, attributes)
        return tuple(TOKEN.findall("\n".join(map(ast.unparse, trees))))
    except UNREADABLE:
        return tuple(WORD.findall(COMMENT.sub("", "\n".join(sources))))


def _own(trees: Iterable[ast.Module]) -> tuple[set[str], set[str]]:
    """The names and the attributes that the author chose; what is imported is named by its library."""
    names, attributes = set[str](), set[str]()
    for node in (node for tree in trees for node in ast.walk(tree)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                names.add(name)
            case ast.Attribute(value=ast.Name(), attr=name, ctx=ast.Store()):
                attributes.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
        if isinstance(node, ast.ClassDef):
            attributes.update(each.name for each in node.body if isinstance(each, FUNCTIONS))
    return names, attributes


def _rename(tree: ast.Module, names: set[str], attributes: set[str]) -> None:
    """Put OWN in the place of all of them, and leave out what only explains: annotations and docstrings."""
    for node in ast.walk(tree):  # from the outside to the inside: a call is met before the name that it calls
        match node:
            case ast.Name(id=name) if name in names:
                node.id = OWN
            case ast.Attribute(attr=name) if name in attributes:
                node.attr = OWN
            case ast.Call(func=ast.Name(id=name), keywords=keywords) if name in names:
                for keyword in keywords:
                    keyword.arg = keyword.arg and OWN
            case ast.arg():
                node.arg, node.annotation = OWN, None
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                node.name, node.returns = OWN, None
            case ast.ClassDef() | ast.ExceptHandler(name=str()):
                node.name = OWN
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = (each for each in body if not _is_text(each))


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
