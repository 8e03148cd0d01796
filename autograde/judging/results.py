"""What a statement says of a result in kind, type and shape, held against every result that tests call for.

A marker repeats it for each function that its tests call by name: `returns={"encode": "int64 (N,)"}`. Words:

    tensor, str                   the kind; without one, all that a public assert takes for an array
    int64, like 0                 the type of numbers: this one, or that of the argument at position 0
    (N, D), shape 0               so many axes, equal sizes where a name is repeated; the argument's shape
    int64 (N,), tensor like 0     a tuple of so many parts; `any` is a part of which nothing is said

An argument that is no array or tensor says nothing. An object of a learner's class, which stays there, may be
a tuple of any parts: who unpacks it looks at them.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autograde.checks import described, numeric, parts, shaped
from autograde.errors import Unusable
from autograde.judging.student import Handle
from autograde.sandbox.wire import DTYPES

PLACES = ("first", "second", "third", "fourth")  # of the arguments that may be named
PART = re.compile(
    rf"any|str|(?:(tensor)\b ?)?(?:({'|'.join(sorted(DTYPES))})\b ?|like ([0-3])\b ?)?"
    r"(?:(\((?:[A-Za-z]\w*,(?: [A-Za-z]\w*(?:, [A-Za-z]\w*)*)?)?\))|shape ([0-3]))?"
)
GRAMMAR = "`tensor`, a type or `like 0`, axes such as (N, D) or `shape 0`, in this order; or `str`; or `any`"


@dataclass(frozen=True)
class Part:
    """One part of a result; `kind` is "any", "str", "tensor" or nothing."""

    kind: str
    dtype: str
    like: int | None
    axes: str
    shape: int | None

    def __str__(self) -> str:
        """As the learner reads it."""
        kind = {"tensor": "a tensor", "str": "a text (str)"}.get(self.kind, "")
        dtype = self.dtype if self.like is None else f"the type of its {PLACES[self.like]} argument"
        shape = self.axes if self.shape is None else f"the shape of its {PLACES[self.shape]} argument"
        return ", ".join(filter(None, (kind, dtype, shape)))

    def fault(self, value: Any, arguments: Sequence[Any], sizes: dict[str, int]) -> str:
        """What came instead, without its values; nothing where it is as stated.

        sizes: of the axes named so far, to which this adds its own.
        """
        if self.kind == "any" or (self.kind == "str" and type(value) is str):
            return ""
        try:
            found = numeric(value)
        except Unusable:
            return described(value)
        if self.kind == "str" or (self.kind == "tensor" and not hasattr(value, "detach")):
            return described(value)
        wanted = self._shape(arguments)
        if wanted is not None and not _fits(found.shape, wanted, sizes):
            return shaped(value, found.shape, (1,) * len(wanted))
        dtype = self.dtype if self.like is None else _dtype(_argument(arguments, self.like))
        own = _dtype(value) or found.dtype.name
        if not dtype or own == dtype:
            return ""
        return described(value) + f" of {own}" * hasattr(value, "__len__")  # a number is named by its type

    def _shape(self, arguments: Sequence[Any]) -> tuple[Any, ...] | None:
        """Sizes, or names of sizes; None where any shape will do."""
        if self.shape is not None:
            shape = getattr(_argument(arguments, self.shape), "shape", None)
            return shape if isinstance(shape, tuple) else None  # a Handle has all attributes
        return tuple(re.findall(r"\w+", self.axes)) if self.axes else None


Promised = dict[str, tuple[Part, ...]]  # by function


@functools.cache
def parse(text: str) -> tuple[Part, ...]:
    """The parts of a specification. Raises ValueError."""
    found = [PART.fullmatch(part) for part in re.split(r", (?![^(]*\))", text)]
    if not all(match and match[0] for match in found):
        raise ValueError(f"may not say {text!r} of a result; a part is {GRAMMAR}")
    return tuple(_part(match) for match in found if match)


def _part(match: re.Match[str]) -> Part:
    tensor, dtype, like, axes, shape = match.groups()
    kind = tensor or ("" if dtype or like or axes or shape else match[0])
    return Part(kind, dtype or "", int(like) if like else None, axes or "", int(shape) if shape else None)


def merge(told: Promised, more: object) -> None:
    """Add what a marker tells of results, by function. Raises ValueError, for two that differ too."""
    if not isinstance(more, Mapping) or not all(type(each) is str for pair in more.items() for each in pair):
        raise ValueError("needs as `returns` a dict of functions' names and what each returns")
    for name, text in more.items():
        if told.setdefault(name, parse(text)) != parse(text):
            raise ValueError(f"says of what {name} returns something else than another test")


def fault(promised: Promised, name: str, arguments: Sequence[Any], value: Any) -> str:
    """A sentence on what the function of this name returned instead; nothing where it is as promised."""
    wanted, sizes = promised.get(name, ()), dict[str, int]()
    if not wanted or (len(wanted) > 1 and isinstance(value, Handle)):
        return ""
    try:
        values = parts(value, len(wanted)) if len(wanted) > 1 else [value]
    except Unusable as error:
        return f"`{name}` returned {error}."
    for number, (part, each) in enumerate(zip(wanted, values, strict=True), 1):
        if came := part.fault(each, arguments, sizes):
            where = f" as part {number} of {len(values)}" if len(values) > 1 else ""
            return f"`{name}` returned{where} {came} where its statement says: {part}."
    return ""


def _argument(arguments: Sequence[Any], place: int) -> Any:
    return arguments[place] if place < len(arguments) else None


def _dtype(value: Any) -> str:
    """The name of its type of numbers; nothing for what has none of its own."""
    dtype = "" if isinstance(value, Handle) else getattr(value, "dtype", "")
    return str(dtype).removeprefix("torch.")


def _fits(shape: Sequence[int], wanted: Sequence[Any], sizes: dict[str, int]) -> bool:
    """Whether sizes are those wanted, a name standing for the first size that it meets."""
    if len(shape) != len(wanted):
        return False
    pairs = zip(shape, wanted, strict=True)
    return all(size == (sizes.setdefault(axis, size) if type(axis) is str else axis) for size, axis in pairs)
