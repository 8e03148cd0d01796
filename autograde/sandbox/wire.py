"""Values that may cross between judge and learner: plain data as JSON, arrays as raw bytes; never pickle.

The same file runs on both sides: the judge imports it, and its source text is sent into the learner's kernel,
so it needs nothing but the standard library, NumPy and, where a tensor crosses, torch. What comes from the
learner's side is data and nothing else: types come from a fixed list, sizes, depth and counts are capped, and
whatever does not fit raises WireError.
"""

import base64
import binascii
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from autograde.sandbox.framing import MAX_BYTES, WireError

INTEGERS = {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
DTYPES = INTEGERS | {"float16", "bfloat16", "float32", "float64", "complex64", "complex128"}
MAX_DEPTH = 16
MAX_NODES = 100_000
MAX_DIMS = 16
MAX_DIGITS = 1024  # of an integer, in hexadecimal


def dumps(value: Any, refer: Callable[[Any], str | None]) -> str:
    """One line of text for `value`.

    Raises WireError for too much, and where `refer` gives no key for an object that is not data.
    """
    text = json.dumps(_encode(value, refer, 0, [0]))
    if len(text) > MAX_BYTES:  # in base64 an array takes a third more
        raise WireError("the message is too large")
    return text


def loads(text: str, resolve: Callable[[str], Any], strided: bool = False) -> Any:
    """The value of a line of text. Raises WireError for anything malformed, too deep or too large.

    `resolve` turns the key of a reference into an object. Strides of arrays are honoured only where
    `strided` is true, that is on the learner's side: forged ones cannot reach the judge.
    """
    if len(text) > MAX_BYTES:
        raise WireError("the message is too large")
    try:
        tree = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise WireError("the message is not JSON") from error
    return _Decoder(resolve, strided).decode(tree, 0)


def _no_constant(name: str) -> None:
    raise WireError(f"{name} is not allowed")


def _count(depth: int, nodes: list[int]) -> None:
    nodes[0] += 1
    if depth > MAX_DEPTH or nodes[0] > MAX_NODES:
        raise WireError("the value is nested too deeply or has too many parts")


def _encode(value: Any, refer: Callable[[Any], str | None], depth: int, nodes: list[int]) -> Any:
    _count(depth, nodes)
    kind = type(value)  # exact types: a subclass may lie about itself
    if value is None or kind in (bool, str):
        return value
    if kind in ATOMS:
        return ATOMS[kind](value)
    if kind is np.str_:
        return str.__str__(value)
    if kind in (list, tuple):
        return {"l" if kind is list else "t": [_encode(v, refer, depth + 1, nodes) for v in value]}
    if kind is dict:
        pairs = [[_encode(part, refer, depth + 1, nodes) for part in pair] for pair in value.items()]
        return {"d": pairs}
    array = _as_array(value)
    if array is not None:
        return array
    key = refer(value)
    if key is None:
        raise WireError(f"a value of type {kind.__name__} cannot cross")
    return {"r": key}


ATOMS: dict[type, Callable[[Any], dict[str, Any]]] = {
    int: lambda value: {"i": hex(value)},
    float: lambda value: {"f": value.hex()},
    complex: lambda value: {"c": [value.real.hex(), value.imag.hex()]},
    bytes: lambda value: {"b": base64.b64encode(value).decode()},
}


def _as_array(value: Any) -> dict[str, Any] | None:
    """An array node for a NumPy array, NumPy scalar or torch tensor; None for anything else."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        _check_size(value.numel() * value.element_size())  # an expanded tensor is small until it is copied
        tensor = value.detach().cpu().resolve_conj().resolve_neg()
        dtype, strides = str(tensor.dtype).removeprefix("torch."), list(tensor.stride())
        # bfloat16 has no NumPy counterpart: its bits cross as 16-bit integers
        data = tensor.contiguous().view(torch.int16) if dtype == "bfloat16" else tensor.contiguous()
        return _array_node("tensor", dtype, list(tensor.shape), strides, data.numpy().tobytes())
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        _check_size(array.nbytes)
        strides = [s // max(array.itemsize, 1) for s in array.strides]
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        return _array_node(kind, str(native.dtype), list(array.shape), strides, native.tobytes())
    return None


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise WireError("an array is too large")


def _array_node(kind: str, dtype: str, shape: list[int], strides: list[int], raw: bytes) -> dict[str, Any]:
    if dtype not in DTYPES:
        raise WireError(f"an array of dtype {dtype} cannot cross")
    return {
        "a": kind,
        "dtype": dtype,
        "shape": shape,
        "strides": strides,
        "raw": base64.b64encode(raw).decode(),
    }


class _Decoder:
    """Decodes one message, counting its parts."""

    def __init__(self, resolve: Callable[[str], Any], strided: bool) -> None:
        self.resolve, self.strided, self.nodes = resolve, strided, [0]

    def decode(self, node: Any, depth: int) -> Any:
        _count(depth, self.nodes)
        if node is None or type(node) in (bool, str):
            return node
        if type(node) is not dict or not node:
            raise WireError("unknown kind of value")
        tag = next(iter(node))
        if tag == "a":
            return _decode_array(node, self.strided)
        if len(node) != 1:
            raise WireError("unknown kind of value")
        content = node[tag]
        if tag in ("l", "t", "d"):
            return self.container(tag, content, depth)
        if tag == "r" and type(content) is str:
            return self.resolve(content)
        return _decode_atom(tag, content)

    def container(self, tag: str, content: Any, depth: int) -> Any:
        if type(content) is not list:
            raise WireError("a container must be a list")
        if tag != "d":
            values = [self.decode(v, depth + 1) for v in content]
            return values if tag == "l" else tuple(values)
        if not all(type(pair) is list and len(pair) == 2 for pair in content):
            raise WireError("a dictionary must be a list of pairs")
        try:
            return {self.decode(k, depth + 1): self.decode(v, depth + 1) for k, v in content}
        except TypeError as error:
            raise WireError("a key of a dictionary cannot be hashed") from error


def _decode_atom(tag: str, content: Any) -> Any:
    try:
        if tag == "i" and len(content) <= MAX_DIGITS:
            return int(_text(content), 16)
        if tag == "f":
            return float.fromhex(_text(content))
        if tag == "c" and len(content) == 2:
            return complex(*(float.fromhex(_text(part)) for part in content))
        if tag == "b":
            return base64.b64decode(_text(content), validate=True)
    except (ValueError, OverflowError, TypeError, binascii.Error) as error:
        raise WireError("a malformed number or bytes") from error
    raise WireError("unknown kind of value")


def _text(content: Any) -> str:
    if type(content) is not str:
        raise WireError("text expected")
    return content


def _decode_array(node: dict[str, Any], strided: bool) -> Any:
    if set(node) != {"a", "dtype", "shape", "strides", "raw"} or node["a"] not in (
        "array",
        "scalar",
        "tensor",
    ):
        raise WireError("malformed array")
    dtype, shape = node["dtype"], node["shape"]
    if type(dtype) is not str or dtype not in DTYPES or (dtype == "bfloat16" and node["a"] != "tensor"):
        raise WireError("an array of this dtype cannot cross")
    if type(shape) is not list or len(shape) > MAX_DIMS or not all(type(n) is int and n >= 0 for n in shape):
        raise WireError("malformed array shape")
    if node["a"] == "scalar" and shape:
        raise WireError("a scalar has no shape")
    array = _items(_decode_atom("b", node["raw"]), np.dtype("int16" if dtype == "bfloat16" else dtype), shape)
    return _finish_array(_with_strides(array, node["strides"]) if strided else array, node["a"], dtype)


def _items(raw: bytes, dtype: np.dtype, shape: list[int]) -> np.ndarray:
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise WireError("the size of an array does not fit its shape")
    if dtype.kind == "b" and raw.strip(b"\0\1"):
        raise WireError("a boolean array holds something else")  # such bytes make NumPy and torch disagree
    try:
        return np.frombuffer(raw, dtype=dtype).reshape(shape).copy()
    except ValueError as error:  # sizes whose product overflows, with a zero among them
        raise WireError("malformed array shape") from error


def _finish_array(array: np.ndarray, kind: str, dtype: str) -> Any:
    if kind == "scalar":
        return array[()]
    if kind == "array":
        return array
    import torch

    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


def _with_strides(array: np.ndarray, strides: list[int]) -> np.ndarray:
    """The same values laid out in memory with these strides (in items), where each item has its own place."""
    if len(strides) != array.ndim or any(s <= 0 for s in strides) or not array.size:
        return array
    if strides == [s // array.itemsize for s in array.strides]:
        return array
    extent = 1 + sum((n - 1) * s for n, s in zip(array.shape, strides, strict=True))
    if extent > 4 * array.size + 64:  # a sliver of a huge array crosses as a small array
        return array
    room = np.zeros(extent, array.dtype)
    view = np.lib.stride_tricks.as_strided(room, array.shape, [s * array.itemsize for s in strides])
    view[...] = array
    # overlapping strides would have overwritten items; such a layout is not reproduced
    return view if np.array_equal(view, array, equal_nan=array.dtype.kind in "fc") else array
