"""Answers that `autograde verify` adds by itself to every exercise; none of them may gain a point.

Identity, zero, zeros of the argument's shape, one, nothing, the echo of what the public test shows, and every
function or class of the chapter pasted in under the exercise's names.
"""

import ast
import contextlib
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from autograde.sandbox import wire

Namespace = dict[str, Any]
Make = Callable[[Namespace], None]


def defined_names(source: str) -> list[str]:
    """The names that a cell binds at its top level by def, class or assignment."""
    names: list[str] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def trivial_answers(source: str, public_test: str, namespace: Namespace) -> dict[str, Make]:
    """Name -> a function that puts the trivial answer into the namespace, for the exercise of this cell."""
    names = [name for name in defined_names(source) if callable(namespace.get(name))]
    makers = {kind: _constant(names, function) for kind, function in CONSTANTS.items()}
    makers["echo of the public example"] = lambda ns: _echo(names, public_test, ns)
    for name, value in _chapter(namespace, names).items():
        if any(_fits(value, namespace[each]) for each in names):
            makers[f"chapter's {name}"] = _paste(names, value)
    return makers


def _constant(names: list[str], function: Callable[..., Any]) -> Make:
    def make(namespace: Namespace) -> None:
        for name in names:
            namespace[name] = _like(namespace[name], lambda _: function)

    return make


def _paste(names: list[str], value: Any) -> Make:
    return lambda namespace: namespace.update(dict.fromkeys(names, value))


def _chapter(namespace: Namespace, names: list[str]) -> Namespace:
    """Functions and classes that the notebook itself defines, the exercise's own left out."""
    own = {}
    for name, value in namespace.items():
        mine = getattr(value, "__globals__", None) is namespace or (
            inspect.isclass(value) and value.__module__ == "__main__"
        )
        if mine and name not in names and not name.startswith("_"):
            own[name] = value
    return own


def _fits(value: Any, answer: Any) -> bool:
    """Whether calls meant for `answer` reach `value` at all: where they cannot, it only raises TypeError."""
    if inspect.isclass(value) or inspect.isclass(answer):
        return inspect.isclass(value) and inspect.isclass(answer)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [p for p in inspect.signature(answer).parameters.values() if p.kind in kinds]
    fewest = sum(p.default is inspect.Parameter.empty for p in parameters)
    for count in range(fewest, len(parameters) + 1):
        with contextlib.suppress(TypeError):
            inspect.signature(value).bind(*[None] * count)
            return True
    return False


def _like(answer: Any, make: Callable[[str], Callable[..., Any]]) -> Any:
    """A function, or for a class one with the same methods, each of them `make(its name)`."""
    if not inspect.isclass(answer):
        return make(getattr(answer, "__name__", ""))
    methods = {name: _method(make(name)) for name, value in vars(answer).items() if _is_method(name, value)}
    return type(answer.__name__, (), {"__init__": lambda self, *_, **__: None, **methods})


def _is_method(name: str, value: Any) -> bool:
    return inspect.isfunction(value) and name != "__init__"


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: function(*args, **kwargs)


def _echo(names: list[str], public_test: str, namespace: Namespace) -> None:
    """Run the public test with answers that are watched, then answer every call from what was seen."""
    seen: dict[str, list[tuple[str, Any]]] = {}
    for name in names:
        namespace[name] = _watched(namespace[name], seen)
    exec(compile(public_test, "<public test>", "exec"), namespace)

    def replay(name: str) -> Callable[..., Any]:
        calls = seen.get(name, [])

        def answer(*args: Any, **kwargs: Any) -> Any:
            same = [result for key, result in calls if key == _key(args, kwargs)]
            return (same or [result for _, result in calls] or [None])[0]

        return answer

    for name in names:
        namespace[name] = _like(namespace[name], replay)


def _watched(answer: Any, seen: dict[str, list[tuple[str, Any]]]) -> Any:
    def watch(name: str, function: Callable[..., Any], skip: int) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            seen.setdefault(name, []).append((_key(args[skip:], kwargs), result))
            return result

        return call

    if not inspect.isclass(answer):
        watched = watch(answer.__name__, answer, 0)
        watched.__name__ = answer.__name__
        return watched
    methods = {n: watch(n, f, 1) for n, f in vars(answer).items() if _is_method(n, f)}
    return type(answer.__name__, (answer,), methods)


def _key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    return wire.dumps((args, kwargs), lambda value: type(value).__name__)


def _zeros(*args: Any, **_: Any) -> Any:
    if args and hasattr(args[0], "shape"):
        return args[0] * 0
    return np.zeros_like(args[0]) if args and isinstance(args[0], list) else 0.0


CONSTANTS: dict[str, Callable[..., Any]] = {
    "identity": lambda *args, **_: args[0] if args else None,
    "zero": lambda *_, **__: 0.0,
    "zeros of the argument's shape": _zeros,
    "one": lambda *_, **__: 1.0,
    "an empty array": lambda *_, **__: np.empty(0),
    "an empty table": lambda *_, **__: np.empty((0, 1)),
    "NaN": lambda *_, **__: math.nan,
    "nothing": lambda *_, **__: None,
}
