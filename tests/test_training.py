"""Training in hidden tests: a right loss reaches the truth, each way to miss it has its own sentence."""

import math

import pytest
import torch
from answering import student_with

from autograde.errors import Unusable
from autograde.judging.student import Raised
from autograde.training import NotLearned, learned, train

FIT = """
def fit(loss, x, y, updates):
    import torch

    net = torch.nn.Linear(1, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(updates):
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        optimizer.step()
    return net.weight.item(), net.bias.item()
"""
TRUTH = (3.0, -1.0)


def squares(output, y):
    return ((output - y) ** 2).mean()


FAULTS = {
    "nothing is learned": lambda output, y: 0 * squares(output, y),
    "too far from the truth": lambda output, y: ((output - y) ** 2).mean() + 0.4 * (output**2).mean(),
    "do not stay finite": lambda output, y: (output / 0 - y).mean(),
}


def line():
    x = torch.linspace(-2, 2, 40)[:, None]
    return x, TRUTH[0] * x + TRUTH[1]


def error(parameters):
    return math.dist(parameters, TRUTH)


def trained(loss, updates=300, seconds=20.0):
    student = student_with(loss=loss)
    first, after = (
        train(student, FIT, student.loss, *line(), n, seed=4, seconds=seconds) for n in (0, updates)
    )
    return error(first), error(after)


def test_a_right_loss_reaches_the_truth():
    before, after = trained(squares)
    learned(before, after, 0.01)
    assert after < 0.01 < before


@pytest.mark.parametrize("said", FAULTS)
def test_each_way_to_miss_it_has_its_sentence(said):
    before, after = trained(FAULTS[said])
    with pytest.raises(NotLearned) as raised:
        learned(before, after, 0.01)
    assert said in raised.value.reason


def test_the_seed_decides_where_a_network_begins_and_the_global_state_stays():
    student, state = student_with(loss=squares), torch.get_rng_state()
    begun = [train(student, FIT, student.loss, *line(), 0, seed=seed, seconds=20.0) for seed in (1, 1, 2)]
    assert begun[0] == begun[1] != begun[2]
    assert torch.equal(torch.get_rng_state(), state)
    assert student._take_broken() == set()


def test_more_cpu_time_than_the_budget_is_said():
    with pytest.raises(NotLearned) as raised:
        trained(lambda output, y: [squares(output, y) for _ in range(20)][-1], seconds=1e-4)
    assert "too much time" in raised.value.reason


def test_what_the_answer_raises_is_its_own():
    with pytest.raises(Raised) as raised:
        trained(lambda output, y: output.no_such_thing)
    assert "AttributeError" in raised.value.reason


@pytest.mark.parametrize("forged", [None, [1.0], [math.nan, 1.0], ["1", 1.0], [1.0, 2.0, 3.0]])
def test_a_forged_answer_is_refused(forged):
    student = student_with(loss=squares)
    student.define = lambda source: lambda *_: forged
    with pytest.raises(Unusable):
        train(student, FIT, student.loss, seed=1, seconds=1.0)
