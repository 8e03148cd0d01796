"""Values cross the wire unchanged, and nothing malformed gets through it."""

import base64
import contextlib
import json
import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autograde.sandbox import wire
from autograde.sandbox.framing import WireError

NODES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ATOMS = st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    ATOMS | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner, max_size=4)
    ),
    max_leaves=20,
)
DTYPES = st.sampled_from(sorted(wire.DTYPES - {"bfloat16"}))


def same(a: object, b: object) -> bool:
    """Equal in type and value, NaN equal to itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(map(repr, a)) == list(map(repr, b)) and all(map(same, a.values(), b.values()))
    if isinstance(a, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    return repr(a) == repr(b)


def refuse(key: str) -> None:
    raise AssertionError(f"unexpected reference {key}")


def crossed(value: object, strided: bool = False) -> object:
    return wire.loads(wire.dumps(value, lambda _: None), refuse, strided)


@given(VALUES)
def test_plain_data_crosses_unchanged(value):
    assert same(crossed(value), value)


@given(DTYPES.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))))
def test_arrays_cross_with_dtype_and_shape(array):
    result = crossed(array)
    assert result.dtype == array.dtype and result.shape == array.shape
    assert np.array_equal(result, array, equal_nan=array.dtype.kind in "fc")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool])
def test_tensors_cross_with_dtype(dtype):
    tensor = (torch.randn(3, 4, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)
    result = crossed(tensor)
    assert result.dtype == dtype and torch.equal(result, tensor)


def test_gradients_conjugates_and_scalars_cross_as_values():
    assert torch.equal(crossed(torch.ones(2, requires_grad=True)), torch.ones(2))
    assert torch.equal(crossed(torch.tensor([1 + 2j]).conj()), torch.tensor([1 - 2j]))
    scalar = crossed(np.float32(0.1))
    assert type(scalar) is np.float32 and scalar == np.float32(0.1)
    assert crossed(np.arange(3, dtype=">i4")).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "make", [lambda a: a.T, lambda a: a[:, ::2], lambda a: np.asfortranarray(a), lambda a: a[:1]]
)
def test_strides_reach_the_learner(make):
    array = make(np.arange(24.0).reshape(4, 6))
    result = crossed(array, strided=True)
    assert np.array_equal(result, array)
    step = [s for s, n in zip(array.strides, array.shape, strict=True) if n > 1]
    assert [s for s, n in zip(result.strides, result.shape, strict=True) if n > 1] == step


@given(
    hnp.arrays("float64", hnp.array_shapes(max_dims=3, max_side=4)),
    st.lists(st.integers(-(2**40), 2**40), max_size=4),
)
def test_forged_strides_change_no_value(array, strides):
    node = json.loads(wire.dumps(array, lambda _: None))
    node["strides"] = strides
    for strided in (False, True):
        result = wire.loads(json.dumps(node), refuse, strided)
        assert np.array_equal(result, array, equal_nan=True)
    assert wire.loads(json.dumps(node), refuse).flags.c_contiguous


class Liar(float):
    """A number that equals everything."""

    def __eq__(self, other):
        return True

    __hash__ = float.__hash__


@pytest.mark.parametrize(
    "value", [Liar(1), object(), {1, 2}, np.array([object()]), np.array(["x"]), lambda: 0]
)
def test_what_is_not_data_needs_a_reference(value):
    with pytest.raises(WireError):
        wire.dumps(value, lambda _: None)


@given(NODES)
def test_any_json_is_a_value_or_an_error(tree):
    with contextlib.suppress(WireError):
        wire.loads(json.dumps(tree), lambda key: None)


@given(st.text())
def test_any_text_is_a_value_or_an_error(text):
    with contextlib.suppress(WireError):
        wire.loads(text, lambda key: None)


GOOD = {"a": "array", "dtype": "float64", "shape": [2], "strides": [1], "raw": "A" * 21 + "A=="}


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "object"},
        {"dtype": "V8"},
        {"dtype": "bfloat16"},
        {"dtype": ["float64"]},
        {"shape": [3]},
        {"shape": [-2]},
        {"shape": [2.0]},
        {"shape": [True, 2]},
        {"shape": [2**62, 4]},
        {"shape": [0, 2**63]},
        {"shape": [1] * 20},
        {"shape": "2"},
        {"raw": "AAA"},
        {"raw": "?" * 24},
        {"raw": None},
        {"a": "pickle"},
        {"a": "scalar"},
        {"extra": 1},
    ],
)
def test_forged_arrays_are_refused(change):
    good = {**GOOD, "raw": base64.b64encode(bytes(16)).decode()}
    assert wire.loads(json.dumps(good), refuse).shape == (2,)
    with pytest.raises(WireError):
        wire.loads(json.dumps({**good, **change}), refuse)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "1",
        "1e999",
        "NaN",
        "[1]",
        "{" * 100_000,
        "[" * 100_000,
        '{"i": "zz"}',
        '{"i": 3}',
        '{"i": "0x' + "f" * 5000 + '"}',
        '{"f": "1e5", "i": "1"}',
        '{"f": null}',
        '{"f": "0x1p99999"}',
        '{"c": ["0x1p0"]}',
        '{"b": "!"}',
        '{"l": {"0": 1}}',
        '{"d": [[null]]}',
        '{"d": [[{"l": []}, null]]}',
        '{"x": 1}',
        '{"l": ' * 40 + "[]" + "}" * 40,
    ],
)
def test_malformed_messages_are_refused(text):
    with pytest.raises(WireError):
        wire.loads(text, refuse)


def test_size_depth_and_count_are_capped(monkeypatch):
    deep = []
    for _ in range(wire.MAX_DEPTH + 1):
        deep = [deep]
    for value in (deep, [0] * (wire.MAX_NODES + 1)):
        with pytest.raises(WireError):
            wire.dumps(value, lambda _: None)
    many = json.dumps({"l": [None] * (wire.MAX_NODES + 1)})
    with pytest.raises(WireError):
        wire.loads(many, refuse)
    monkeypatch.setattr(wire, "MAX_BYTES", 10)
    with pytest.raises(WireError):
        wire.loads('"' + "x" * 10 + '"', refuse)
    with pytest.raises(WireError):
        wire.dumps("x" * 10, lambda _: None)


def test_a_text_of_numpys_is_a_text():
    found = crossed([np.str_("α"), np.array(["b"])[0]])
    assert found == ["α", "b"] and {type(value) for value in found} == {str}
