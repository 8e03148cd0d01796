"""Every attack of tests/attacks: none gains a point, reads a secret, harms another or stops the run."""

from collections.abc import Iterator

import attack_class
import attack_table
import pytest
from attack_class import Class

ATTACKS = attack_class.load()


@pytest.fixture(scope="module")
def hostile_class() -> Iterator[Class]:
    with attack_class.classroom() as made:
        yield made


@pytest.mark.parametrize("attack", [pytest.param(attack, id=attack.name) for attack in ATTACKS])
def test_an_attack_gains_nothing_and_harms_nobody(hostile_class, attack):
    problems = hostile_class.attempt(attack)
    assert not problems, "\n".join(problems)


def test_the_honest_student_still_gets_full_points(hostile_class):
    assert hostile_class.grade_honest() == attack_class.FULL


def test_the_table_of_attacks_is_that_of_the_files():
    assert attack_table.table() == {attack.name: attack.sentence for attack in ATTACKS}
    assert len(ATTACKS) >= 40
