"""What a cell may take is counted in CPU time; sleeping, and the far end, in wall time."""

import pytest

from autograde.sandbox import allowance
from autograde.sandbox.allowance import FAR, Allowance, Budget


class Machine:
    """A clock and a process whose time is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = self.cpu = 0.0
        monkeypatch.setattr(allowance.time, "monotonic", lambda: self.wall)

    def passes(self, wall: float, cpu: float) -> None:
        self.wall, self.cpu = self.wall + wall, self.cpu + cpu

    def allowance(self, seconds: float) -> Allowance:
        return Allowance(seconds, lambda: self.cpu, lambda: True)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def looks(allowed: Allowance, machine: Machine, wall: float, cpu: float, times: int) -> None:
    for _ in range(times):
        machine.passes(wall, cpu)
        allowed.check()


def test_a_busy_machine_costs_nothing(machine):
    allowed = machine.allowance(10)
    looks(allowed, machine, 1, 0.05, 99)  # a twentieth of a core, for nearly ten times the limit
    assert allowed.used < 10


def test_computing_ends_at_the_limit(machine):
    allowed = machine.allowance(10)
    looks(allowed, machine, 0.5, 0.5, 20)
    with pytest.raises(TimeoutError):
        looks(allowed, machine, 0.5, 0.5, 2)


def test_sleeping_ends_at_the_limit(machine):
    allowed = machine.allowance(10)
    with pytest.raises(TimeoutError):
        looks(allowed, machine, 0.5, 0.0, 21)


def test_everything_ends_far_off(machine):
    allowed = machine.allowance(10)
    with pytest.raises(TimeoutError):
        looks(allowed, machine, 1, 0.05, FAR * 10 + 1)


def test_the_dead_are_not_waited_for(machine):
    allowed = Allowance(10, lambda: 0.0, lambda: False)
    with pytest.raises(EOFError):
        looks(allowed, machine, 1, 0, 1)


def test_a_budget_pays_for_what_was_used_and_then_allows_nothing(machine):
    budget = Budget(10)
    for _ in range(2):
        with budget.spend(60, lambda: machine.cpu, lambda: True) as allowed:
            looks(allowed, machine, 1, 1, 4)
    assert not budget.spent and budget.left == pytest.approx(2)
    with pytest.raises(TimeoutError), budget.spend(60, lambda: machine.cpu, lambda: True) as allowed:
        looks(allowed, machine, 1, 1, 4)
    assert budget.spent


def test_a_budget_has_an_end_in_wall_time(machine):
    budget = Budget(10)
    for _ in range(3):
        with budget.spend(60, lambda: machine.cpu, lambda: True) as allowed:
            looks(allowed, machine, 1, 0.03, 11)
    assert budget.spent and budget.left > 0


def test_what_had_a_core_was_not_delayed(machine):
    allowed = machine.allowance(10)
    with pytest.raises(TimeoutError):
        looks(allowed, machine, 0.5, 0.49, 30)
    assert not allowed.delayed


@pytest.mark.parametrize("share", [0.0, 0.3], ids=["asleep", "on a busy machine"])
def test_what_had_less_may_have_been_delayed(machine, share):
    allowed = machine.allowance(10)
    with pytest.raises(TimeoutError):
        looks(allowed, machine, 0.5, 0.5 * share, 100)
    assert allowed.delayed
