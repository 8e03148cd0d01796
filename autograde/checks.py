"""What hidden tests use to look at a reply: one finite number, an array of a shape, the parts of a tuple.

They take what a public assert takes: a number may be a tensor that holds one, a tuple a list, or an array
whose rows are the parts. What is refused is said in types and shapes, never in values; NaN never passes.
"""

import numbers
import sys
from typing import Any

import numpy as np

from autograde.errors import Unusable
from autograde.judging.student import Handle, Raised, Student

MOST_PARTS = 9  # a larger number of them could carry an input out
MOST_ITEMS = 10_000  # of an iterator, which may have no end
WHOLE = ("int64", "uint64")  # what holds every whole number that an exercise asks for
UNPACK = "def unpack(value, most):\n    import itertools\n    return list(itertools.islice(value, most))"
ENTRIES = "def entries(value):\n    return dict(value)"


def array(value: Any, shape: tuple[int, ...] | None = None, finite: bool = True) -> np.ndarray:
    """`value`, a number, a nested list, an array or a tensor, as a NumPy array.

    Raises Unusable where it is none of these, has another shape than `shape` (None: any), or, unless
    `finite` is False, holds NaN or an infinity. With `finite=False` infinities pass, NaN never does.
    """
    result = numeric(value)
    if shape is not None and result.shape != tuple(shape):
        wanted = f"an array of shape {tuple(shape)}" if shape else "one number"
        raise Unusable(f"{shaped(value, result.shape, shape)} where {wanted} was expected")
    if result.size == 0 and 0 not in (shape or ()):
        raise Unusable("an empty array")  # of which everything would hold
    return _checked(result, finite)


def number(value: Any, finite: bool = True) -> float:
    """`value`, a Python number or an array or tensor that holds one, as a float.

    Raises Unusable like `array`, and for a truth value or a complex number.
    """
    if isinstance(value, bool | complex):
        raise Unusable("a value that is no real number")
    if isinstance(value, list | tuple):
        raise Unusable(f"{described(value)} where one number was expected")
    try:
        result = np.asarray(float(value)) if isinstance(value, int) else numeric(value)
    except OverflowError:
        raise Unusable("a number that is too large for a float") from None
    if result.size != 1:
        raise Unusable(f"{shaped(value, result.shape, ())} where one number was expected")
    if result.dtype.kind not in "iuf":
        raise Unusable("a value that is no real number")
    return float(_checked(result, finite).reshape(()))


def from_tensor(value: Any, shape: tuple[int, ...] | None = None, dtype: Any = None) -> np.ndarray:
    """`value`, a torch tensor, through which a gradient can pass, as a NumPy array.

    Raises Unusable like `array`, and where it is no tensor or not of the torch `dtype` (None: any).
    """
    _require_tensor(value)
    if dtype is not None and value.dtype != dtype:
        raise Unusable(f"a tensor of {value.dtype} where {dtype} was expected")
    return array(value, shape)


def whole_numbers(value: Any, shape: tuple[int, ...] | None = None, exact: bool = False) -> np.ndarray:
    """`value`, whole numbers of any type, as an int64 array; `exact`: of a type that holds all up to 2^62.

    Raises Unusable like `array`, and for numbers with a fraction or, if `exact`, of a smaller type.
    """
    result = array(value, shape)
    if exact and result.dtype.name not in WHOLE:
        raise Unusable(f"numbers of type {result.dtype.name}, which does not hold them all, but int64 does")
    if result.dtype.kind not in "iuf" or (result != np.round(result)).any():
        raise Unusable("something else than whole numbers")
    return result.astype(np.int64)


def booleans(value: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """`value`, an array or tensor of True and False. Raises Unusable like `array`, and for numbers."""
    result = array(value, shape)
    if result.dtype.kind != "b":
        raise Unusable(f"values of type {result.dtype.name} where True and False (bool) were expected")
    return result


def parts(value: Any, n: int) -> list[Any]:
    """The n parts of `value`, of all that Python unpacks into n names: a tuple, an array of n rows, a `zip`.

    Raises Unusable for anything else and for another number of parts.
    """
    expected = f"a tuple of {n} was expected"
    if isinstance(value, Handle):
        found = _there(value, UNPACK, f"an object that does not unpack where {expected}", n + 1)
    elif isinstance(value, list | tuple) or (hasattr(value, "shape") and value.shape):
        found = list(value)
    else:
        raise Unusable(f"{described(value)} where {expected}")
    if len(found) != n:
        raise Unusable(f"{described(value)} of {_count(len(found))} where {expected}")
    return found


def entries(value: Any) -> dict[Any, Any]:
    """`value`, a dict or another mapping, as a dict. Raises Unusable for anything else."""
    if isinstance(value, Handle):
        value = _there(value, ENTRIES, "an object where a dict was expected")
    if type(value) is not dict:
        raise Unusable(f"{described(value)} where a dict was expected")
    return value


def listed(value: Any, kind: type) -> list[Any]:
    """`value`, a list, a tuple or an iterator whose items are all of the type `kind`, as a list.

    Raises Unusable for anything else.
    """
    if isinstance(value, Handle):
        value = _there(value, UNPACK, f"an object where a list of {kind.__name__} was expected", MOST_ITEMS)
    if not isinstance(value, list | tuple):
        raise Unusable(f"{described(value)} where a list of {kind.__name__} was expected")
    if any(type(item) is not kind for item in value):
        raise Unusable(f"{described(value)} that holds something else than {kind.__name__}")
    return list(value)


def string(value: Any) -> str:
    """`value`, a str. Raises Unusable for anything else."""
    if type(value) is not str:
        raise Unusable(f"{described(value)} where a text (str) was expected")
    return value


def gradient(student: Student, function: Handle, wrt: int, *args: Any) -> Any:
    """`student.grad(function, wrt, *args)`; raises Unusable where the function does not return a tensor."""
    try:
        return student.grad(function, wrt, *args)
    except Raised:
        _require_tensor(function(*args))
        raise


def _require_tensor(value: Any) -> None:
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        raise Unusable(f"{described(value)} where a tensor was expected")


def _there(value: Handle, source: str, refusal: str, *args: Any) -> Any:
    """What a function of this source makes of the object, on the learner's side."""
    try:
        return value._student.define(source)(value, *args)
    except Raised as error:
        if "TypeError" in error.kinds:
            raise Unusable(refusal) from None
        raise


def numeric(value: Any) -> np.ndarray:
    """`value`, numbers in whatever holds them, as a NumPy array. Raises Unusable for anything else."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        wide = value.double() if value.dtype == torch.bfloat16 else value
        return wide.numpy()
    if isinstance(value, Handle) or not isinstance(
        value, numbers.Number | list | tuple | np.ndarray | np.generic
    ):
        raise Unusable(f"{described(value)} where numbers were expected")
    try:
        result = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise Unusable(f"{described(value)} that is ragged, or whose numbers are too large") from error
    if result.dtype.kind not in "biufc":
        raise Unusable(f"{described(value)} that holds something else than numbers")
    return result


def _checked(result: np.ndarray, finite: bool) -> np.ndarray:
    if np.isnan(result).any() or (finite and not np.isfinite(result).all()):
        raise Unusable("NaN or infinity")
    return result


def shaped(value: Any, shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """What came, with its shape; sizes that nobody expects stay out, for they could carry an input out."""
    if not shape:
        return "one number"
    if len(shape) > len(expected) + 2:
        return f"{described(value)} with too many axes"
    sizes = [str(size) if size in (1, *expected) else "?" for size in shape]
    return f"{described(value)} of shape ({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def _count(number: int) -> str:
    return str(number) if number <= MOST_PARTS else "many"


def described(value: Any) -> str:
    """What came, in words."""
    if value is None:
        return "nothing (None)"
    if isinstance(value, Handle):
        return "an object of a class of its own"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__}"
    if isinstance(value, np.ndarray):
        return "a NumPy array"
    return "a tensor" if hasattr(value, "detach") else f"a value of type {type(value).__name__}"
