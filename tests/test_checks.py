"""What hidden tests look at: one finite number, an array of a shape, the parts of a tuple."""

from collections import ChainMap, namedtuple
from fractions import Fraction

import numpy as np
import pytest
import torch

from autograde.checks import (
    array,
    booleans,
    entries,
    from_tensor,
    gradient,
    listed,
    number,
    parts,
    string,
    whole_numbers,
)
from autograde.errors import Unusable
from autograde.judging.in_process import in_process
from autograde.judging.student import Raised, Student

Pair = namedtuple("Pair", "first second")


def student_with(**answers):
    return Student(in_process(answers, call_limit=60))


def refusal(check, *args, **kwargs):
    """What the learner is told of a value that a check refuses."""
    with pytest.raises(Unusable) as refused:
        check(*args, **kwargs)
    return refused.value.reason.removeprefix("Your code returned something that cannot be used here: ")


@pytest.mark.parametrize(
    "value", [True, 1j, "1", None, [1.0], np.ones(2), np.nan, np.inf, torch.tensor(np.nan), 10**400]
)
def test_number_takes_one_finite_real_number(value):
    with pytest.raises(Unusable):
        number(value)


def test_checks_accept_what_is_right():
    assert number(torch.tensor(2.0)) == number(np.float32(2)) == number(2) == 2.0
    assert number(-np.inf, finite=False) == -np.inf
    assert array([[1, 2]], shape=(1, 2)).tolist() == [[1, 2]]
    assert array(torch.ones(2, dtype=torch.bfloat16)).tolist() == [1, 1]
    for bad in ([[1], [1, 2]], ["a"], np.array([np.nan]), {"a": 1}):
        with pytest.raises(Unusable):
            array(bad)
    with pytest.raises(Unusable):
        array(np.ones(3), shape=(4,))


@pytest.mark.parametrize(
    "value", [np.array(3), np.array([3]), torch.tensor([[3.0]]), np.int64(3), np.float32(3), 3]
)
def test_a_number_may_be_an_array_that_holds_one(value):
    assert number(value) == 3


def test_a_whole_number_may_be_larger_than_numpys():
    assert number(3 * 10**60) == 3e60


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        [1, 2],
        np.array([1, 2]),
        torch.tensor([1, 2]),
        Pair(1, 2),
        zip([1, 2], strict=True),
        iter([1, 2]),
    ],
)
def test_parts_are_what_python_unpacks(value):
    found = parts(student_with(answer=lambda: value).answer(), 2)
    assert [number(part[0] if isinstance(part, tuple) else part) for part in found] == [1, 2]


@pytest.mark.parametrize("value", [1, None, "ab", {1: 2, 3: 4}, (1,), (1, 2, 3), np.ones(3), Fraction(1, 2)])
def test_parts_refuse_what_is_no_pair(value):
    with pytest.raises(Unusable, match="a tuple of 2 was expected"):
        parts(student_with(answer=lambda: value).answer(), 2)


def test_an_iterator_without_an_end_is_no_pair():
    endless = student_with(answer=lambda: iter(lambda: 0, 1))
    assert (
        refusal(parts, endless.answer(), 2)
        == "an object of a class of its own of 3 where a tuple of 2 was expected."
    )


def test_an_error_of_an_iterator_is_the_learners():
    broken = student_with(answer=lambda: (1 / n for n in (1, 0)))
    with pytest.raises(Raised) as raised:
        parts(broken.answer(), 2)
    assert "ZeroDivisionError" in raised.value.reason


def test_entries_are_those_of_any_mapping():
    for value in ({"a": 1}, ChainMap({"a": 1})):
        assert entries(student_with(answer=lambda value=value: value).answer()) == {"a": 1}
    for value in (1, Fraction(1, 2), ["a"]):
        with pytest.raises(Unusable, match="a dict was expected"):
            entries(student_with(answer=lambda value=value: value).answer())


def test_listed_and_string_name_the_type_that_came():
    assert listed((b"a", b"b"), bytes) == [b"a", b"b"]
    assert listed(student_with(answer=lambda: iter([b"a"])).answer(), bytes) == [b"a"]
    assert refusal(listed, [b"a", 1], bytes) == "a list that holds something else than bytes."
    assert refusal(listed, b"ab", bytes) == "a value of type bytes where a list of bytes was expected."
    assert string("a") == "a"
    assert refusal(string, 1) == "a value of type int where a text (str) was expected."


def test_whole_numbers_and_booleans():
    for value in ([1, 2], torch.tensor([1.0, 2.0]), np.array([1, 2], dtype=np.uint8)):
        assert whole_numbers(value, (2,)).tolist() == [1, 2]
    assert whole_numbers(torch.tensor([2**60]), exact=True).tolist() == [2**60]
    assert "int32" in refusal(whole_numbers, torch.ones(2, dtype=torch.int32), exact=True)
    assert "whole numbers" in refusal(whole_numbers, [0.5])
    assert booleans(torch.tensor([True])).tolist() == [True]
    assert "(bool) were expected" in refusal(booleans, [1, 0])


def test_a_refusal_names_types_and_shapes():
    assert refusal(from_tensor, np.ones(2)) == "a NumPy array where a tensor was expected."
    assert (
        refusal(from_tensor, torch.ones(2), (2,), torch.float64)
        == "a tensor of torch.float32 where torch.float64 was expected."
    )
    assert (
        refusal(array, torch.ones(5, 1), (5,))
        == "a tensor of shape (5, 1) where an array of shape (5,) was expected."
    )
    assert refusal(array, 1.0, (5,)) == "one number where an array of shape (5,) was expected."
    assert refusal(number, [1.0]) == "a list where one number was expected."
    assert refusal(number, None) == "nothing (None) where numbers were expected."


@pytest.mark.parametrize("secret", [(123_457, 0), (123_457, 0, 5), (5, 5, 5, 5, 1), (17,)])
def test_no_shape_carries_an_input_out(secret):
    """A learner's code could make arrays of any shape: sizes that nobody expects are not repeated."""
    reason = refusal(array, np.empty(secret), (5,))
    assert "123457" not in reason and "17" not in reason and "(5, 5, 5" not in reason
    assert "1234" not in refusal(parts, [0] * 1_234, 2)


def test_a_gradient_needs_a_tensor():
    x = torch.ones(2)
    student = student_with(
        square=lambda x: x**2, detached=lambda x: x.detach().numpy(), fails=lambda x: x / None
    )
    assert gradient(student, student.square, 0, x).tolist() == [2, 2]
    assert refusal(gradient, student, student.detached, 0, x) == "a NumPy array where a tensor was expected."
    with pytest.raises(Raised):
        gradient(student, student.fails, 0, x)
