"""Mutants of a reference: the same cell with one small fault, made by rules on its syntax tree.

The rules are those of mutation testing (signs, comparisons, constants, dropped statements) and what goes
wrong in array code: axes, `keepdim`, a mean for a sum, a dropped `detach`, a clamp, an epsilon, the first row
for all. Libraries (cosmic-ray 8.7, mutmut 3) know the first kind alone and change a package's files.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from autograde.authoring.answers import without_markers
from autograde.cells import BEGIN, END

Change = tuple[str, ast.expr]  # what it does, and the expression in the place of another
EPSILON = 1e-6  # that is added to a divisor or within a logarithm
BOUND = 30  # that a logarithm or an exponent is clamped to

BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
# Names of functions and methods that are taken for each other.
TWINS = (
    *(("mean", "sum"), ("max", "min"), ("amax", "amin"), ("argmax", "argmin"), ("maximum", "minimum")),
    *(("zeros", "ones"), ("zeros_like", "ones_like"), ("floor", "ceil"), ("triu", "tril"), ("var", "std")),
    *(("cumsum", "cumprod"), ("sum", "prod"), ("any", "all"), ("softmax", "log_softmax"), ("exp", "expm1")),
    *(("log", "log1p"), ("sin", "cos"), ("logsumexp", "sum"), ("logaddexp", "maximum"), ("median", "mean")),
    *(("sorted", "list"), ("float64", "float32"), ("int64", "int32"), ("double", "float"), ("long", "int")),
)
DROPPED = frozenset(
    """
    abs absolute sqrt square exp log log1p expm1 neg detach clone copy contiguous double float flip round
    floor ceil clamp clip sort sorted reversed unique softmax sigmoid tanh relu squeeze
    """.split()
)
WRITING = {ast.Add: "add_", ast.Sub: "sub_", ast.Mult: "mul_", ast.Div: "div_"}
IN_PLACE = "in place"
SMALLEST = 1e-6  # of a number that a tenth more would change anything of: below it is a tolerance
AXES = ("dim", "axis", "dim0", "dim1", "dim2")


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


def _arithmetic(node: ast.expr) -> Iterator[Change]:
    if not isinstance(node, ast.BinOp):
        return
    if twin := BINARY.get(type(node.op)):
        yield "another operator", ast.BinOp(node.left, twin(), node.right)
    if not isinstance(node.op, ast.Pow | ast.FloorDiv | ast.Mod):
        yield "without the left", node.right
    yield "without the right", node.left
    if isinstance(node.op, ast.Sub | ast.Div | ast.MatMult | ast.Pow):
        yield "turned round", ast.BinOp(node.right, node.op, node.left)
    if isinstance(node.op, ast.Div):
        divisor = ast.BinOp(node.right, ast.Add(), ast.Constant(EPSILON))
        yield "an epsilon", ast.BinOp(node.left, node.op, divisor)
    if isinstance(node.left, ast.Name) and (name := WRITING.get(type(node.op))):
        yield IN_PLACE, ast.Call(ast.Attribute(node.left, name, ast.Load()), [node.right], [])


def _logic(node: ast.expr) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        for twin in COMPARISONS[type(node.ops[0])]:
            yield "another comparison", ast.Compare(node.left, [twin(), *node.ops[1:]], node.comparators)
    if isinstance(node, ast.BoolOp):
        yield "and for or", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        for number in range(len(node.values)):
            rest = [*node.values[:number], *node.values[number + 1 :]]
            yield "without a condition", rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    if isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant):
        yield "without the sign", node.operand
    if isinstance(node, ast.IfExp):
        yield "never", node.orelse
        yield "always", node.body


def _constants(node: ast.expr) -> Iterator[Change]:
    if not isinstance(node, ast.Constant):
        return
    value = node.value
    if isinstance(value, bool):
        yield "the other truth", ast.Constant(not value)
    elif isinstance(value, int | float):
        yield "one more", ast.Constant(value + 1)
        yield "one less", ast.Constant(value - 1)
        if isinstance(value, float) and abs(value) >= SMALLEST:
            yield "a tenth more", ast.Constant(1.1 * value)


def _calls(node: ast.expr) -> Iterator[Change]:
    if not isinstance(node, ast.Call):
        return
    for number, word in enumerate(node.keywords):
        rest = [*node.keywords[:number], *node.keywords[number + 1 :]]
        if word.arg not in AXES or word.arg in ("dim", "axis"):
            yield f"without {word.arg}", ast.Call(node.func, node.args, rest)
    name = _name(node.func)
    for pair in TWINS:
        if name in pair:
            twin = pair[1 - pair.index(name)]
            yield f"{twin} for {name}", ast.Call(_renamed(node.func, twin), node.args, node.keywords)
    if name in DROPPED and (kept := _kept(node)) is not None:
        yield f"without {name}", kept
    if name in ("exp", "log") and (kept := _kept(node)) is not None:
        bounds = [kept, ast.UnaryOp(ast.USub(), ast.Constant(BOUND)), ast.Constant(BOUND)]
        inner = ast.Call(ast.Attribute(bounds[0], "clip", ast.Load()), bounds[1:], [])
        added = ast.BinOp(kept, ast.Add(), ast.Constant(EPSILON))
        yield ("a clamp", _with(node, inner)) if name == "exp" else ("an epsilon", _with(node, added))
    if name == "range" and len(node.args) < 3:
        fewer = ast.BinOp(node.args[-1], ast.Sub(), ast.Constant(1))
        yield "one step less", ast.Call(node.func, [*node.args[:-1], fewer], [])
    for first, second in pairwise(range(len(node.args))):
        turned = list(node.args)
        turned[first], turned[second] = turned[second], turned[first]
        yield "arguments exchanged", ast.Call(node.func, turned, node.keywords)


def _types(node: ast.expr) -> Iterator[Change]:
    if isinstance(node, ast.Attribute):
        for pair in TWINS:
            if node.attr in pair and node.attr in ("float64", "float32", "int64", "int32"):
                yield "another type", ast.Attribute(node.value, pair[1 - pair.index(node.attr)], node.ctx)


def _sequences(node: ast.expr) -> Iterator[Change]:
    if isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) == 2:
        yield "exchanged", ast.Tuple([node.elts[1], node.elts[0]], node.ctx)
    if isinstance(node, ast.Slice):
        for bound in ("lower", "upper"):
            if getattr(node, bound) is not None and not isinstance(getattr(node, bound), ast.Constant):
                moved = copy.copy(node)
                setattr(moved, bound, ast.BinOp(getattr(node, bound), ast.Add(), ast.Constant(1)))
                yield "one further", moved


RULES: tuple[Callable[[ast.expr], Iterator[Change]], ...] = (
    *(_arithmetic, _logic, _constants, _calls, _types, _sequences),
)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _renamed(function: ast.expr, name: str) -> ast.expr:
    if isinstance(function, ast.Attribute):
        return ast.Attribute(function.value, name, ast.Load())
    return ast.Name(name, ast.Load())


def _kept(call: ast.Call) -> ast.expr | None:
    """What a call works on: the object of a method, else the first argument."""
    function = call.func
    module = isinstance(function, ast.Attribute) and _name(function.value) in ("np", "torch", "math", "F")
    if isinstance(function, ast.Attribute) and not module:
        return function.value
    return call.args[0] if call.args else None


def _with(call: ast.Call, inner: ast.expr) -> ast.Call:
    """The call, working on something else."""
    if _kept(call) is (call.args[0] if call.args else None):
        return ast.Call(call.func, [inner, *call.args[1:]], call.keywords)
    assert isinstance(call.func, ast.Attribute)
    return ast.Call(ast.Attribute(inner, call.func.attr, ast.Load()), call.args, call.keywords)


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
