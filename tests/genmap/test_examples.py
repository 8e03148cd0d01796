"""The examples in genmap's docstrings: each gives what it shows."""

import doctest
import importlib

import pytest
from course_root import ROOT

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "genmap").rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_show(monkeypatch, name):
    monkeypatch.setenv("GENMAP_SETTING", "quick")  # in smoke, a lesson's settings say so
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted and not found.failed


def test_there_are_examples():
    assert len(MODULES) >= 8
