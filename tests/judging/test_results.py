"""What a statement says of results: what each word of it takes and refuses, and how that is said."""

from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autograde.judging.in_process import in_process
from autograde.judging.results import PLACES, fault, merge, parse
from autograde.judging.student import Raised, Student

x = torch.zeros(4, 3)  # the argument at position 0
TAKEN = [
    ("int64", torch.zeros(2, 3, dtype=torch.int64)),
    ("int64", np.zeros(2, dtype=np.int64)),
    ("int64", 3),
    ("bfloat16", torch.zeros(2, dtype=torch.bfloat16)),
    ("like 0", torch.zeros(7)),
    ("like 0", np.zeros((), dtype=np.float32)),
    ("like 1", torch.zeros(2, dtype=torch.int8)),  # a list has no type of its own
    ("like 3", torch.zeros(2, dtype=torch.int8)),  # there is no such argument
    ("(N, D)", [[1.0, 2.0], [3.0, 4.0]]),
    ("(N, D)", np.full((2, 3), np.nan)),
    ("(N, N)", np.zeros((2, 2))),
    ("(N,)", torch.zeros(0)),
    ("()", torch.tensor(1.0)),
    ("()", 1.5),
    ("shape 0", np.zeros((4, 3))),
    ("shape 1", np.zeros(9)),
    ("tensor", torch.zeros(1)),
    ("tensor like 0 shape 0", torch.ones(4, 3)),
    ("str", "a"),
    ("any", None),
    ("float64 (N,), (N, D)", (np.zeros(2), torch.zeros(2, 3))),
    ("(N,), (N,)", [np.zeros(2), np.zeros(2)]),
    ("(N,), (N,)", torch.zeros(2, 5)),  # whose rows are the parts
    ("any, int64", ({}, torch.zeros(1, dtype=torch.int64))),
]
REFUSED = [
    ("int64", torch.zeros(2, dtype=torch.int32), "a tensor of int32 where its statement says: int64."),
    ("int64", np.zeros(2), "a NumPy array of float64"),
    ("bool", [0, 1], "a list of int64"),
    ("float32", torch.zeros(2, dtype=torch.bfloat16), "a tensor of bfloat16"),
    ("int64", 1.5, "a value of type float where its statement says: int64."),
    ("int64", np.float32(1), "a value of type float32 where its statement says: int64."),
    ("int64", None, "nothing (None)"),
    ("int64", {"a": 1}, "a value of type dict"),
    (
        "like 0",
        torch.zeros(2).double(),
        "a tensor of float64 where its statement says: the type of its first",
    ),
    ("(N,)", torch.zeros(77, 1), "a tensor of shape (?, 1) where its statement says: (N,)."),
    ("(N, N)", torch.zeros(77, 78), "a tensor of shape (?, ?)"),
    ("(N,)", 1.5, "one number"),
    ("()", torch.zeros(1), "a tensor of shape (1,) where its statement says: ()."),
    ("(N,)", torch.zeros(1, 2, 3, 4), "a tensor with too many axes"),
    ("(N,)", [[1], [1, 2]], "a list"),
    ("shape 0", torch.zeros(4), "a tensor of shape (?,) where its statement says: the shape of its first"),
    ("tensor", np.zeros(2), "a NumPy array where its statement says: a tensor."),
    ("tensor like 0 shape 0", 1.0, "a value of type float where its statement says: a tensor, the type of"),
    ("str", 1, "a value of type int where its statement says: a text (str)."),
    ("any, (N,)", (0, 0), "as part 2 of 2 one number where its statement says: (N,)."),
    ("(N,), (N, D)", (np.zeros(2), np.zeros((3, 2))), "as part 2 of 2 a NumPy array of shape (?, ?)"),
    ("(N,), (N,)", np.zeros((3, 2)), "a NumPy array of 3 where a tuple of 2 was expected."),
    ("(N,), (N,)", None, "nothing (None) where a tuple of 2 was expected."),
]


def found(text, value):
    return fault({"f": parse(text)}, "f", (x, [1, 2]), value)


@pytest.mark.parametrize(("text", "value"), TAKEN)
def test_what_a_statement_says_is_taken(text, value):
    assert found(text, value) == ""


@pytest.mark.parametrize(("text", "value", "said"), REFUSED)
def test_anything_else_is_named_in_types_and_axes(text, value, said):
    assert found(text, value).startswith(f"`f` returned {said}")
    assert not {"77", "78"} & set(found(text, value))


def test_a_size_is_never_said():
    """Nor is any that an argument has: what came could be made to tell by it where an input is large."""
    given = (torch.zeros(40, 41),)
    for shape in ((40,), (41, 40), (40, 41, 2)):
        sentence = fault({"f": parse("shape 0")}, "f", given, torch.zeros(shape))
        assert sentence and not any(str(size) in sentence for size in (40, 41, 2))


def test_every_place_of_an_argument_has_a_word():
    for place, word in enumerate(PLACES):
        assert f"the type of its {word} argument" in str(parse(f"like {place} (N,)")[0])
    with pytest.raises(ValueError, match="may not say"):
        parse(f"like {len(PLACES)}")


def test_names_of_sizes_hold_within_one_result_alone():
    promised = {"f": parse("(N,), (N,)"), "g": parse("(N,)")}
    for size in (2, 3):
        assert not fault(promised, "f", (), (np.zeros(size), np.zeros(size)))
        assert not fault(promised, "g", (), np.zeros(size + 1))


def test_of_a_function_that_is_not_named_nothing_is_asked():
    assert fault({"f": parse("int64")}, "g", (), None) == ""


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "float",
            "float33",
            "int64,(N,)",
            "(N)",
            "(N, 3)",
            "(2N,)",
            "(N, D",
            "like",
            "like x",
            "like -1",
        ),
        *("shape", "tensor any", "any (N,)", "str int64", "(N,) int64", "int64 like 0", "(N,) shape 0"),
        *("int64 (N,),", ", int64", "int64; int64", "tensorint64", "(...)"),
    ],
)
def test_a_malformed_specification_is_refused(text):
    with pytest.raises(ValueError, match="may not say"):
        parse(text)


@pytest.mark.parametrize("more", ["int64", ["f"], {"f": 1}, {1: "int64"}, None])
def test_what_is_no_dict_of_specifications_is_refused(more):
    with pytest.raises(ValueError, match="needs as `returns` a dict"):
        merge({}, more)


def test_two_tests_may_say_the_same_of_a_function_and_nothing_else():
    told = {}
    merge(told, {"f": "int64 (N,)"})
    merge(told, {"f": "int64 (N,)", "g": "str"})
    assert told == {"f": parse("int64 (N,)"), "g": parse("str")}
    with pytest.raises(ValueError, match="of what f returns something else"):
        merge(told, {"f": "int64 (M,)"})


Pair = namedtuple("Pair", "first second")


class Own:
    def __call__(self):
        return 1


def test_an_object_is_no_array_and_may_be_a_tuple():
    """What it holds stays there; the test that unpacks it looks at the parts."""
    student = Student(in_process({"own": Own, "pair": lambda: Pair(1, "a"), "both": lambda: [Own(), 1]}, 1))
    assert "an object of a class of its own where" in found("(N,)", student.own())
    assert "a list where" in found("(N,)", student.both())
    assert found("int64, int64", student.pair()) == ""
    assert "as part 1 of 2 an object of a class" in found("int64, int64", student.both())


def test_an_argument_of_a_class_says_nothing():
    net = Student(in_process({}, 1)).define("def net(z): return z")
    assert fault({"f": parse("like 0 shape 0")}, "f", (net,), torch.zeros(2)) == ""


def test_the_student_tells_of_calls_by_name_and_of_no_others():
    heard = []
    names = {"double": lambda x: 2 * x, "inner": SimpleNamespace(double=lambda x: 2 * x)}
    student = Student(in_process(names, 1), hear=lambda *call: heard.append(call))
    student.value(student.double)(1)
    student.inner.double(2)
    student.define("def call(f, x): return f(x)")(student.double, 3)
    assert heard == []
    assert student.double(4) == 8
    assert heard == [("double", (4,), 8)]
    with pytest.raises(Raised):
        student.double(None)
    assert len(heard) == 1
