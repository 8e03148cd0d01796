"""genmap.controls: what is shown while a control computes, and after."""

import ipywidgets
import pytest

from genmap.controls import WORKS, interact


@pytest.fixture
def shown(monkeypatch):
    """What is displayed."""
    found = []
    monkeypatch.setattr("IPython.display.display", found.append)
    return found


def test_it_computes_now_and_at_each_change_and_says_so(shown):
    seen = []

    def f(n, power):
        seen.append((n**power, shown[0].children[0].value))

    controls = interact(f, n=ipywidgets.IntSlider(3, min=0, max=9), power=[2, 3])
    assert isinstance(controls, ipywidgets.interactive)
    controls.children[0].value = 4
    controls.children[1].value = 3
    assert [value for value, _ in seen] == [9, 16, 64]
    assert all(WORKS in line for _, line in seen)
    assert WORKS not in shown[0].children[0].value
    assert shown[0].children[1] is controls


def test_after_an_error_it_does_not_say_that_it_works(shown, capsys):
    interact(lambda n: 1 / n, n=[0, 1])
    assert WORKS not in shown[0].children[0].value
