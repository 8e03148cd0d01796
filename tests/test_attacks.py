"""Every attack of tests/attacks: none gains a point, reads a secret, harms another or stops the run."""

import os
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import attack_class
import attack_stock
import attack_table
import pytest
from attack_graders import Graders

ATTACKS = attack_class.load()
ATTACKS_BETWEEN = 12  # of a grader, between two gradings of its honest student
ORDINARY = (  # attempted a second time, as an ordinary user: one of each kind
    *("background_threads", "children_outlive", "disk_bomb", "double_replies", "exit_in_a_call"),
    *("floods_the_line", "forged_arrays", "forged_files", "ignores_sigint", "inherited_descriptors"),
    *(
        "links_to_secrets",
        "memory_bomb",
        "networks",
        "process_bomb",
        "reads_gradebook",
        "reads_judges_memory",
    ),
    *("signals_to_parents", "ends_in_a_message", "traces_and_mounts", "writes_secrets"),
)
CASES = [pytest.param(attack.name, False, id=attack.name) for attack in ATTACKS]
if os.getuid() == 0:
    CASES += [pytest.param(name, True, id=f"{name}-ordinary-user") for name in ORDINARY]


@dataclass
class Attempts:
    graders: dict[bool, Graders]  # by whether they are an ordinary user's
    outcomes: dict[tuple[str, bool], Future[dict[str, Any]]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def attempts(request: pytest.FixtureRequest) -> Iterator[Attempts]:
    """The attempts of all attacks that this run selects, side by side."""
    params = [getattr(item, "callspec", None) for item in request.session.items]
    chosen = [(p.params["name"], p.params["ordinary"]) for p in params if p and "ordinary" in p.params]
    with ExitStack() as stack:
        users = {ordinary for _, ordinary in chosen} or {False}
        made = {
            user: stack.enter_context(Graders(1 if user else 2, user, ATTACKS_BETWEEN))
            for user in sorted(users)
        }
        outcomes = {(name, user): made[user].attempt(name) for name, user in chosen}
        yield Attempts(made, outcomes)


@pytest.mark.parametrize("name, ordinary", CASES)
def test_an_attack_gains_nothing_and_harms_nobody(attempts, name, ordinary):
    problems = attempts.outcomes[name, ordinary].result()["problems"]
    assert not problems, "\n".join(problems)


def test_the_honest_student_still_gets_full_points(attempts):
    results = [future.result() for made in attempts.graders.values() for future in made.honest()]
    assert {result["points"] for result in results} == {attack_class.FULL}


def test_the_table_of_attacks_is_that_of_the_files():
    assert attack_table.table() == {attack.name: attack.sentence for attack in ATTACKS}
    assert len(ATTACKS) >= 40


def test_what_stock_nbgrader_is_spared_is_there():
    spared = [name for names in attack_stock.NOT_RUN.values() for name in names]
    assert set(spared) < {attack.name for attack in ATTACKS} and len(set(spared)) == len(spared)
