"""Relations of hidden tests that look at values: a right answer keeps each, its kind of fault breaks it."""

import inspect
import math

import numpy as np
import pytest
import torch
from answering import asked, real

from autograde import relations
from autograde.errors import StudentError, Unusable
from autograde.judging.student import Raised

REFUSALS = (AssertionError, Unusable)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


# --- rows_alone: the softmax's normaliser ---


def log_sum(x):
    return torch.logsumexp(x, dim=1)


ONE_FOR_ALL = {
    "the first row's maximum": lambda x: (x - x[0].max()).exp().sum(1).log() + x[0].max(),
    "the maximum of all": lambda x: (x - x.max()).exp().sum(1).log() + x.max(),
    "NaN in the last row": lambda x: torch.cat([log_sum(x[:-1]), x[-1:, 0] * math.nan]),
}
TOGETHER = {
    "less the batch's mean": lambda x: log_sum(x) - x.mean(),
    "a batch of one without its axis": lambda x: log_sum(x).squeeze(),
    "a number for all": lambda x: log_sum(x).sum(),
    "rows exchanged": lambda x: log_sum(x.flip(0)),
    "one row too many": lambda x: log_sum(torch.cat([x, x[:1]])),
}


def test_rows_alone_passes_what_treats_each_row_for_itself(rng):
    for apart in (0.0, 3_000.0):
        relations.rows_alone(asked(log_sum), real(rng, 5, 3), apart=apart, rel=1e-12)
    relations.rows_alone(asked(lambda x, t: (x * t[:, None], t)), real(rng, 4, 2), real(rng, 4), rel=1e-12)
    relations.rows_alone(asked(lambda x: x + math.inf), real(rng, 2, 2), rel=0)


@pytest.mark.parametrize("fault", ONE_FOR_ALL.values(), ids=ONE_FOR_ALL)
def test_rows_apart_find_one_scale_for_all(rng, fault):
    with pytest.raises(REFUSALS):
        relations.rows_alone(asked(fault), real(rng, 5, 3), apart=3_000.0, rel=1e-6)


@pytest.mark.parametrize("fault", TOGETHER.values(), ids=TOGETHER)
def test_rows_alone_finds_what_one_row_does_to_another(rng, fault):
    with pytest.raises(REFUSALS):
        relations.rows_alone(asked(fault), real(rng, 5, 3), rel=1e-6)


# --- any_order: sorted sums along one axis ---

MIXED = {
    "from row to row": lambda x: x.cumsum(0),
    "the first row's": lambda x: x - x[:1],
    "as if sorted": lambda x: x.sort(dim=0).values,
    "no axis": lambda x: x.sum(),
}


def test_any_order_passes_what_moves_along(rng):
    x = real(rng, 6, 2)
    relations.any_order(lambda o: asked(lambda x: x.exp())(x[o]), 6, rng, rel=1e-12)
    relations.any_order(lambda o: asked(lambda x: x @ x.T)(x[o]), 6, rng, (0, 1), rel=1e-12)
    relations.any_order(lambda o: asked(lambda x: x.sum(0))(x[o]), 6, rng, (), rel=1e-12)


@pytest.mark.parametrize("fault", MIXED.values(), ids=MIXED)
def test_any_order_finds_a_role_of_places(rng, fault):
    x = real(rng, 6, 2)
    with pytest.raises(REFUSALS):
        relations.any_order(lambda o: asked(fault)(x[o]), 6, rng, rel=1e-6)


def test_any_order_finds_a_result_that_should_stay(rng):
    x = real(rng, 6)
    with pytest.raises(REFUSALS):
        relations.any_order(lambda o: asked(lambda x: x[0])(x[o]), 6, rng, (), rel=1e-6)


# --- any_unit and any_level: directions and lengths, logarithms of sums ---


def polar(x):
    size = x.norm(dim=1, keepdim=True)
    return x / size, size


SIZED = {
    "an epsilon": lambda x: (x / (x.norm(dim=1, keepdim=True) + 1e-12), polar(x)[1]),
    "a floor": lambda x: (torch.nn.functional.normalize(x, dim=1), polar(x)[1]),
    "a clamp": lambda x: (polar(x)[0], polar(x)[1].clamp(max=1e10)),
    "a threshold": lambda x: (polar(x)[0] * (x.norm(dim=1, keepdim=True) > 1e-9), polar(x)[1]),
    "squared": lambda x: (polar(x)[0], polar(x)[1].square()),
    "a part too many": lambda x: (*polar(x), x),
    "NaN": lambda x: (polar(x)[0], polar(x)[1] * math.nan),
}
CLAMPED = {
    "outside log space": lambda x: x.exp().sum().log(),
    "a clamp": lambda x: torch.logsumexp(x.clamp(-700, 700), 0),
    "a floor under the sum": lambda x: (x.exp().sum() + 1e-30).log(),
    "-1e4 for -inf": lambda x: torch.logsumexp(torch.cat([x, x[:1] * 0 - 1e4]), 0) + 0 * x[0],
}


def test_any_unit_passes_what_has_a_unit(rng):
    x = real(rng, 4, 3)
    relations.any_unit(lambda c: asked(polar)(c * x), (0, 1), rel=1e-12)
    relations.any_unit(lambda c: asked(lambda x: x.square())(c * x), 2, rel=1e-12)
    relations.any_unit(lambda c: asked(lambda x: int((x > 0).sum()))(c * x), rel=1e-12)


@pytest.mark.parametrize("fault", SIZED.values(), ids=SIZED)
def test_any_unit_finds_numbers_of_fixed_size(rng, fault):
    x = real(rng, 4, 3)
    with pytest.raises(REFUSALS):
        relations.any_unit(lambda c: asked(fault)(c * x), (0, 1), rel=1e-6)


def test_any_level_passes_log_space(rng):
    x = real(rng, 9)
    relations.any_level(lambda c: asked(lambda x: torch.logsumexp(x, 0))(x + c), 1, rel=1e-12)
    relations.any_level(lambda c: asked(lambda x: x.softmax(0))(x + c), rel=1e-9)


@pytest.mark.parametrize("fault", CLAMPED.values(), ids=CLAMPED)
def test_any_level_finds_the_ends_of_floats(rng, fault):
    x = real(rng, 9)
    with pytest.raises(REFUSALS):
        relations.any_level(lambda c: asked(fault)(x + c), 1, (-9_999.0, 5_000.0), rel=1e-9)


# --- both_types ---

TYPED = {
    "float64 alone": lambda x, k: x @ torch.ones(2, 1, dtype=torch.float64),
    "float32 alone": lambda x, k: x @ torch.ones(2, 1),
    "always float64": lambda x, k: x.double().exp(),
    "always float32": lambda x, k: x.float().exp(),
    "an epsilon that float32 does not have": lambda x, k: ((1 + 0 * x + 1e-10) - 1).log(),
    "float64 by NumPy": lambda x, k: np.exp(np.asarray(x, dtype=np.float64)),
}


def test_both_types_passes_what_keeps_the_type(rng):
    x, k = real(rng, 4, 2), torch.tensor([1, 0, 1, 1])
    relations.both_types(asked(lambda x, k: (x.exp(), k, float(x.sum()))), x, k, rel=1e-5)


@pytest.mark.parametrize("fault", TYPED.values(), ids=TYPED)
def test_both_types_finds_what_works_for_one(rng, fault):
    with pytest.raises((*REFUSALS, Raised)):
        relations.both_types(asked(fault), real(rng, 4, 2), torch.tensor([1, 0, 1, 1]), rel=1e-5)


# --- strided ---

AS_IT_LIES = {
    "view": lambda x: x.view(-1).reshape(x.shape),
    "view of the last axes": lambda x: x.view(len(x), -1).reshape(x.shape),
    "memory as it lies": lambda x: torch.as_strided(x, x.shape, (6, 2, 1)).clone(),
}


def test_strided_passes_what_looks_at_strides(rng):
    relations.strided(asked(lambda x, y: (x.reshape(-1), y)), real(rng, 4, 3, 2), real(rng, 5), rel=0)


@pytest.mark.parametrize("fault", AS_IT_LIES.values(), ids=AS_IT_LIES)
def test_strided_finds_what_takes_memory_for_contiguous(rng, fault):
    with pytest.raises((*REFUSALS, Raised)):
        relations.strided(asked(fault), real(rng, 4, 3, 2), rel=0)


@pytest.mark.parametrize(
    ("shape", "layouts"),
    [
        ((5,), [(1,), (1,), (2,)]),
        ((4, 3), [(3, 1), (1, 4), (6, 2)]),
        ((4, 3, 2), [(6, 2, 1), (1, 4, 12), (12, 4, 2)]),
        ((200, 50), [(50, 1), (1, 200), (100, 2)]),
    ],
)
def test_strided_inputs_arrive_strided(rng, shape, layouts):
    seen = []
    relations.strided(asked(lambda x: (seen.append(x.stride()), x)[1]), real(rng, *shape), rel=0)
    assert seen == layouts


# --- all of them ---


def refusal(relation, *args, **kwargs):
    with pytest.raises(REFUSALS) as refused:
        relation(*args, **kwargs)
    return str(refused.value)


def test_no_refusal_carries_a_value_out(rng):
    secret = torch.full((2, 2), 123_457.0)
    texts = [
        refusal(relations.rows_alone, asked(lambda x: x / len(x)), secret, rel=1e-6),
        refusal(relations.rows_alone, asked(lambda x: torch.ones(123_457)), secret, rel=1e-6),
        refusal(relations.any_unit, lambda c: asked(lambda x: x + 1)(c * secret), 1, rel=1e-6),
        refusal(relations.strided, asked(lambda x: x * x.is_contiguous()), secret, rel=1e-6),
        refusal(relations.both_types, asked(lambda x: x.double()), secret, rel=1e-6),
    ]
    assert not any("12" in text for text in texts)


def test_a_tolerance_is_the_callers():
    """No relation has a relative precision of its own: it is part of an exercise's statement."""
    for name in (
        "rows_alone",
        "any_order",
        "any_unit",
        "any_level",
        "both_types",
        "strided",
        "gradient_is_slope",
    ):
        assert (
            inspect.signature(getattr(relations, name)).parameters["rel"].default is inspect.Parameter.empty
        )


def test_whole_numbers_have_no_tolerance(rng):
    far = torch.tensor([2**60, 2**60])
    with pytest.raises(AssertionError):
        relations.rows_alone(asked(lambda k: k + (len(k) == 1)), far, rel=1e-6)
    relations.rows_alone(asked(lambda k: k), far, rel=0)


def test_an_answer_that_fails_says_why(rng):
    with pytest.raises(StudentError, match="ZeroDivisionError"):
        relations.rows_alone(asked(lambda x: 1 / 0), real(rng, 2, 2), rel=1e-6)
