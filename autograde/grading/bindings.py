"""Which names a cell binds and needs, read from its source; nothing is run, and no source is too odd."""

import ast
import functools
import re
import symtable
import warnings
from dataclasses import dataclass

MAX_CHARACTERS = 200_000  # of a source that is read; a longer one binds nothing
# A line of IPython's own: %magic, !command, x = %magic, name?
MAGIC = re.compile(r"^([ \t]*+)(?:(?:[\w., ]+=[ \t]*)?[%!].*|[^#'\"\n]*\?[ \t]*)$", re.MULTILINE)
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
NOTHING = frozenset[str]()
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Bindings:
    """Of a cell's top level.

    bound: names that it assigns, defines or imports.
    used: names that it, or a function in it, takes from outside.
    """

    bound: frozenset[str] = NOTHING
    used: frozenset[str] = NOTHING


@functools.lru_cache(maxsize=1000)
def bindings(source: str) -> Bindings:
    """Those of a cell; none where it is no Python."""
    if len(source) > MAX_CHARACTERS:
        return Bindings()
    try:
        table = symtable.symtable(ast.unparse(parse(source)), "cell", "exec")
        bound = (one.get_name() for one in table.get_symbols() if one.is_assigned() or one.is_imported())
        return Bindings(frozenset(bound), frozenset(_used(table)))
    except UNREADABLE:
        return Bindings()


def _used(table: symtable.SymbolTable) -> set[str]:
    found = {one.get_name() for one in table.get_symbols() if one.is_referenced() and _outside(table, one)}
    return found.union(*map(_used, table.get_children()))


def _outside(table: symtable.SymbolTable, one: symtable.Symbol) -> bool:
    return table.get_type() == "module" or one.is_global()


@dataclass(frozen=True)
class Stub:
    """A function or class that still raises NotImplementedError: its lines, from 0; its code, laid anew."""

    lines: range
    code: str


@functools.lru_cache(maxsize=1000)
def unsolved(source: str) -> dict[str, Stub]:
    """The stubs of a cell by name."""
    found = {}
    for node in _statements(source):
        if isinstance(node, DEFINITIONS) and _raises(node):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            found[node.name] = Stub(range(first - 1, node.end_lineno or first), ast.unparse(node))
    return found


def defined(source: str) -> frozenset[str]:
    """The functions and classes that a cell defines."""
    return frozenset(node.name for node in _statements(source) if isinstance(node, DEFINITIONS))


def parse(source: str) -> ast.Module:
    """The tree of a cell; IPython's own lines, such as %matplotlib, do nothing in it. Raises UNREADABLE."""
    with warnings.catch_warnings(action="ignore"):  # of odd escapes in a learner's strings
        try:
            return ast.parse(source)
        except SyntaxError:
            return ast.parse(MAGIC.sub(r"\1pass", source))


def _statements(source: str) -> list[ast.stmt]:
    try:
        return parse(source).body if len(source) <= MAX_CHARACTERS else []
    except UNREADABLE:
        return []


def _raises(node: ast.AST) -> bool:
    for each in ast.walk(node):
        if isinstance(each, ast.Raise) and each.exc is not None:
            name = each.exc.func if isinstance(each.exc, ast.Call) else each.exc
            if isinstance(name, ast.Name) and name.id == "NotImplementedError":
                return True
    return False
