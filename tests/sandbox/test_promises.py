"""What two looks at a call tell apart: each change of an argument or of a setting, and nothing else."""

import random
import sys

import numpy as np
import pytest
import torch

from autograde.sandbox.promises import (
    ARGUMENTS,
    DTYPE,
    GRADIENTS,
    RANDOM,
    THREADS,
    TORCH_RANDOM,
    broken,
    look,
)


def write(array):
    array[(0,) * array.ndim] = 7


CHANGED = {
    "an array": (np.zeros(3), write),
    "a row of zeros and minus zero": (np.zeros(3), lambda x: x.__imul__(-1)),
    "an array within lists": ([[np.zeros((2, 2))]], lambda x: write(x[0][0])),
    "a tensor": (torch.zeros(2, 2), write),
    "one number in a tensor": (torch.tensor(3.0), lambda x: x.add_(1)),
    "a transposed tensor": (torch.zeros(2, 3).T, write),
    "a tensor of bfloat16": (torch.zeros(2, dtype=torch.bfloat16), write),
    "the shape of a tensor": (torch.zeros(2, 3), lambda x: x.resize_(3, 2)),
    "whether it asks for gradients": (torch.zeros(2), lambda x: x.requires_grad_(True)),
    "a list that grows": ([1, 2], lambda x: x.append(3)),
    "a list turned round": ([1, 2], lambda x: x.reverse()),
    "a dict": ({"a": 1}, lambda x: x.update(b=2)),
    "the order of a dict": ({"a": 1, "b": 2}, lambda x: x.update(a=x.pop("a"))),
}
SAME = {
    "nothing": None,
    "numbers": [1, 2.5, 3j, True, b"x", "ä\ud800"],
    "an empty array": np.zeros((0, 3)),
    "an empty tensor": torch.zeros(0, 3),
    "complex": torch.zeros(2, dtype=torch.complex64).conj(),
    "an expanded tensor": torch.zeros(1, 3).expand(4, 3),
    "a scalar": np.float32(2),
    "a function": len,
    "NaN": np.array([np.nan]),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_argument_is_seen(name):
    value, change = CHANGED[name]
    before = look(1, value)
    change(value)
    assert broken(before, look(1, value)) == {ARGUMENTS}


@pytest.mark.parametrize("name", SAME)
def test_what_is_left_alone_is_not(name):
    assert broken(look(SAME[name]), look(SAME[name])) == set()


def test_a_generator_and_an_object_may_go_on():
    given = torch.Generator().manual_seed(1), np.random.default_rng(1), type("Own", (), {})()
    before = look(*given)
    torch.rand(3, generator=given[0])
    given[1].random()
    given[2].state = 1
    assert broken(before, look(*given)) == set()


def test_lists_that_hold_themselves_end():
    own: list = []
    own.append(own)
    assert broken(look(own), look(own)) == set()


USES = {
    "Python's": (random.random, RANDOM),
    "NumPy's": (np.random.rand, RANDOM),
    "NumPy's normal": (np.random.standard_normal, RANDOM),
    "torch's": (lambda: torch.rand(1), TORCH_RANDOM),
    "a seed": (lambda: torch.manual_seed(3), TORCH_RANDOM),
}


@pytest.mark.parametrize("name", USES)
def test_global_random_numbers_are_seen(name):
    use, promise = USES[name]
    before = look()
    use()
    assert broken(before, look()) == {promise}


def test_an_answer_may_be_the_first_that_imports_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    before = look(np.zeros(2))
    monkeypatch.undo()
    assert broken(before, look(np.zeros(2))) == set()


def test_settings_are_seen():
    before = look()
    torch.set_default_dtype(torch.float64)
    assert broken(before, look()) == {DTYPE}
    torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        assert broken(before, look()) == {GRADIENTS}
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    assert broken(before, look()) == {THREADS}
    torch.set_num_threads(threads)
    assert broken(before, look()) == set()


@pytest.mark.parametrize("forged", [None, {}, [], b"x", 1, "", "x", "x\n" * 9, "\n" * 10**6])
def test_forged_looks_break_nothing(forged):
    assert broken(forged, look()) == broken(look(), forged) == broken(forged, forged) == set()


def test_where_nothing_can_be_seen_nothing_is_broken(monkeypatch):
    before = look(np.zeros(2))
    monkeypatch.setattr(np, "ascontiguousarray", None)
    assert look(np.zeros(2)) == "" and broken(before, "") == set()
