"""The faults that an expression may have: rules, each of which makes changes of one kind.

They are those of mutation testing (signs, comparisons, constants) and what goes wrong in array code: axes,
`keepdim`, a mean for a sum, a dropped `detach`, a clamp, an epsilon.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from itertools import pairwise

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
