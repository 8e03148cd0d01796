"""Relations of hidden tests that look at gradients, noise, memory and time: what keeps and breaks them."""

import inspect
from functools import partial

import numpy as np
import pytest
import torch
from answering import asked, real, student_with
from nbformat.v4 import new_code_cell

from autograde import relations
from autograde.errors import Unusable
from autograde.judging.student import Raised, Student
from autograde.sandbox.kernel_process import KernelFactory
from autograde.sandbox.limits import Limits
from autograde.sandbox.session import Session

REFUSALS = (AssertionError, Unusable)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


# --- gradient_is_slope ---

FLAT = {
    "detached": lambda x, k: (x.detach() ** 2 + 0 * x).sum(1),
    "no gradients": lambda x, k: torch.tensor((x.detach() ** 2).numpy()).sum(1),
    "half of it detached": lambda x, k: (x * x.detach()).sum(1),
    "no gradient at all": lambda x, k: (x.detach() ** 2).sum(1),
    "NaN from the other branch": lambda x, k: torch.where(x > -9, x**2, (x - 9).sqrt()).sum(1),
    "one number wrong": lambda x, k: torch.cat([x[:2], x[2:].detach() + 0.9 * (x[2:] - x[2:].detach())]).sum(
        1
    ),
}


def test_gradient_is_slope_passes_a_gradient(rng):
    f = asked(lambda x, k: (x**2).sum(1) * k)
    relations.gradient_is_slope(f, 0, real(rng, 3, 2), 3, rng=rng, rel=1e-8)
    relations.gradient_is_slope(f, 1, real(rng, 3, 2), real(rng, 3), rng=rng, rel=1e-8)
    relations.gradient_is_slope(asked(lambda x: x.cos()), 0, real(rng), rng=rng, rel=1e-8)


@pytest.mark.parametrize("fault", FLAT.values(), ids=FLAT)
def test_gradient_is_slope_finds_what_cuts_gradients(rng, fault):
    with pytest.raises((*REFUSALS, Raised)):
        relations.gradient_is_slope(asked(fault), 0, real(rng, 3, 2), 3, rng=rng, rel=1e-6)


# --- generator_decides ---


def noise(generator):
    return torch.randn(3, generator=generator), torch.rand((), generator=generator)


def reseeded(generator):
    return noise(generator.manual_seed(5))


def copied(generator):
    own = torch.Generator()
    own.set_state(generator.get_state())
    return noise(own)


NOISY = {
    "ignored": lambda generator: noise(None),
    "seeded again": reseeded,
    "a seed of its own": lambda generator: noise(torch.Generator().manual_seed(1)),
    "copied": copied,
    "its first seed": lambda generator: noise(torch.Generator().manual_seed(generator.initial_seed())),
    "a part ignored": lambda generator: (torch.randn(3, generator=generator), torch.rand(())),
    "no noise": lambda generator: torch.zeros(3),
}


def test_generator_decides_passes_what_draws_from_it(rng):
    student = student_with(f=noise)
    relations.generator_decides(student.f, student.generator, rng)
    student = student_with(f=lambda generator: generator.normal(size=3))
    relations.generator_decides(student.f, lambda seed: student.generator(seed, "numpy"), rng)


@pytest.mark.parametrize("fault", NOISY.values(), ids=NOISY)
def test_generator_decides_finds_other_noise(rng, fault):
    student = student_with(f=fault)
    with pytest.raises(REFUSALS), torch.random.fork_rng():
        relations.generator_decides(student.f, student.generator, rng)


# --- within_memory and time_grows: pairs where there need be none ---


def table_of_pairs(x):
    return (x[:, None] - x).abs().mean(1)


PAIRS = {
    "a table of pairs": table_of_pairs,
    "the same in NumPy": lambda x: np.abs(x.numpy()[:, None] - x.numpy()).mean(1),
    "copies that add up": lambda x: sum([x.repeat(50) for _ in range(200)])[: len(x)],
}


def test_within_memory_passes_what_grows_with_its_inputs(rng):
    x = real(rng, 8_000)
    before = torch.ones(1)
    found = relations.within_memory(asked(lambda x: 2 * x + before), x, megabytes=150)
    assert torch.equal(found, 2 * x + 1)
    torch.empty(50_000_000)  # the limit is gone again


@pytest.mark.parametrize("fault", PAIRS.values(), ids=PAIRS)
def test_within_memory_finds_tables_of_pairs(rng, fault):
    with pytest.raises(Raised):
        relations.within_memory(asked(fault), real(rng, 8_000), megabytes=150)


def by_pairs(n):
    return sum(1 for i in range(n) for j in range(n) if i < j)


def counting(n):
    return sum(i for i in range(20 * n))


def deep(n):
    return 0 if n == 0 else 1 + deep(n - 1)


def test_time_grows_passes_what_is_linear():
    relations.time_grows(asked(counting), [200], [6_400], most=150)


def test_time_grows_finds_loops_over_pairs():
    with pytest.raises(AssertionError):
        relations.time_grows(asked(by_pairs), [30], [960], most=150)


def test_time_grows_finds_recursion():
    with pytest.raises(Raised):
        relations.time_grows(asked(deep), [100], [3_000], most=150)


def test_memory_and_time_are_measured_in_a_kernel(tmp_path, rng):
    limits, x = Limits(), real(rng, 8_000)
    cell = "\n".join(inspect.getsource(function) for function in (table_of_pairs, counting, by_pairs))
    with Session(limits, partial(KernelFactory(limits).start, tmp_path)) as session:
        assert session.run(new_code_cell(cell))
        student = Student(session.ask)
        with pytest.raises(Raised):
            relations.within_memory(student.table_of_pairs, x, megabytes=150)
        few = relations.within_memory(student.table_of_pairs, x[:500], megabytes=150)
        assert torch.equal(few, table_of_pairs(x[:500]))
        relations.time_grows(student.counting, [200], [6_400], most=150)
        with pytest.raises(AssertionError):
            relations.time_grows(student.by_pairs, [30], [960], most=150)
