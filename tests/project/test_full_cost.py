"""benchmarks/full_cost.py: it counts what torch counts, samples loops fairly, and each lesson fits a T4."""

import importlib.util
import sys
from types import ModuleType

import pytest
import torch
from course_root import COURSE
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autograde.authoring.script import read_lesson
from genmap import features, progress


@pytest.fixture(scope="module")
def full_cost() -> ModuleType:
    path = COURSE.root / "benchmarks" / "full_cost.py"
    spec = importlib.util.spec_from_file_location("full_cost", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["full_cost"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def step(net: nn.Module, optimizer: torch.optim.Optimizer, n: int) -> None:
    optimizer.zero_grad()
    net(torch.randn(n, 1, 16, 16)).square().mean().backward()
    optimizer.step()


def machine() -> tuple[nn.Module, torch.optim.Optimizer]:
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 50))
    return net, torch.optim.AdamW(net.parameters())


@pytest.mark.parametrize("n", [2, 4_000])
def test_it_counts_what_torch_counts_computed_or_not(full_cost, n):
    net, optimizer = machine()
    with FlopCounterMode(display=False) as reference:
        step(net, optimizer, n)
    with full_cost.Counter() as counter:
        step(net, optimizer, n)
    assert counter.cost.flops == reference.get_total_flops()
    assert 20 < counter.cost.kernels < 300


def test_what_is_large_is_held_in_the_count_alone_and_let_go(full_cost):
    with full_cost.Counter() as counter:
        before = counter.held
        x = torch.zeros(1 << 36)  # 256 GiB
        y = 2 * x[: 1 << 35]
        assert counter.held - before == 4 * ((1 << 36) + (1 << 35))
        del x, y
        assert counter.held == before
    assert counter.peak >= 6 << 36


def test_what_it_keeps_does_not_grow_with_the_steps_of_an_optimiser(full_cost):
    net, optimizer = machine()
    with full_cost.Counter() as counter:
        kept = []
        for n in range(20):
            optimizer.param_groups[0]["lr"] = 1e-3 / (n + 1)
            step(net, optimizer, 2)
            kept.append(len(counter.met))
    assert kept[-1] == kept[2]


def test_a_sampled_loop_costs_what_the_whole_one_does(full_cost):
    """Passes that cost more from some time on, and one now and then that costs much more."""

    def loop(items, seen):
        x = torch.ones(32, 32)
        for n in items:
            seen.append(n)
            for _ in range(1 + 2 * (n >= 600)):
                x @ x
            if n + 1 in (300, 900):
                for _ in range(100):
                    x @ x

    whole, part = [], []
    with full_cost.Counter() as full:
        loop(range(900), whole)
    with full_cost.Counter() as counter:
        loop(full_cost.sampled(counter, range(900)), part)
    assert len(part) < 30 < len(whole)
    assert counter.cost.flops == pytest.approx(full.cost.flops, rel=0.1)


def test_the_measuring_net_is_trained_and_kept_for_all_lessons(full_cost, monkeypatch, tmp_path):
    """A net of what is not computed would be read by every later run on this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for owner, name in ((progress, "track"), (features.Features, "__call__"), (features, "_trained")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # cost_of exchanges them
    features.digits.cache_clear()
    _, failed = full_cost.cost_of(
        "lesson", ["from genmap import features\nassert features.digits().accuracy > 0.9"]
    )
    features.digits.cache_clear()
    assert not failed and list(tmp_path.glob("genmap/features-digits-8-*.npz"))


@pytest.mark.parametrize("lesson", COURSE.names())
def test_full_fits_a_free_gpu(full_cost, lesson):
    row = full_cost.rows().get(lesson)
    again = f"run `python benchmarks/full_cost.py {lesson}`"
    assert row, again
    assert row["digest"] == full_cost.digest(full_cost.chapter(read_lesson(COURSE.source(lesson)))), again
    assert full_cost.minutes(row, full_cost.CHIPS["T4"]) <= full_cost.MOST_MINUTES
    assert row["gigabytes"] <= full_cost.MOST_GB
