"""What an exercise's public asserts accept its hidden tests accept, whatever type it comes in."""

import inspect
from collections import ChainMap, namedtuple
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np
import pytest
import torch
from course_root import COURSE

from autograde.authoring.answers import read_answers, without_markers
from autograde.authoring.candidates import Lesson, read_sources
from autograde.authoring.definitions import definitions
from autograde.authoring.trivial_answers import defined_names
from autograde.cells import scored_cells
from autograde.course import answers, hidden_tests
from autograde.judging import results
from autograde.judging.in_process import in_process
from autograde.judging.judge import Judge, judge
from autograde.judging.judge import run as run_tests
from autograde.judging.verdict import passed_share

Names = dict[str, Any]


@pytest.fixture(scope="module", params=COURSE.names())
def chapter(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[tuple[Lesson, Names]]:
    """A lesson and what its cells define, the solutions among it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("lesson"))
        yield read_sources(COURSE, request.param), definitions(COURSE, request.param)


def in_parts(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The change, made in every part of a tuple or of a dict."""

    def changed(value):
        if isinstance(value, tuple):
            return tuple(map(changed, value))
        return (
            {key: changed(part) for key, part in value.items()} if isinstance(value, dict) else change(value)
        )

    return changed


def named(value):
    if not isinstance(value, tuple):
        return value
    return namedtuple("Found", [f"part_{n}" for n in range(len(value))])(*value)


def stacked(value):
    if not isinstance(value, tuple) or len({getattr(part, "shape", None) for part in value}) > 1:
        return value
    return torch.stack(value) if torch.is_tensor(value[0]) else np.array(value)


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def single(value):
    """A tensor of the number's own type, which it would be in a learner's calculation."""
    return torch.tensor([value]) if is_number(value) else value


def rounded(value):
    if torch.is_tensor(value) and value.dtype == torch.float64:
        return value.float().double()
    return np.float32(value) if isinstance(value, float) else value


OTHER_TYPES = {
    "a named tuple": named,
    "an iterator": lambda value: iter(value) if isinstance(value, tuple) else value,
    "one array of all parts": stacked,
    "another mapping": lambda value: ChainMap(value) if isinstance(value, dict) else value,
    "tensors of one number": in_parts(single),
    "digits of float32": in_parts(rounded),
    "NumPy arrays": in_parts(lambda value: value.detach().numpy() if torch.is_tensor(value) else value),
    "tensors that require a gradient": in_parts(
        lambda value: (
            value.clone().requires_grad_() if torch.is_tensor(value) and value.is_floating_point() else value
        )
    ),
}


def converted(function: Callable, change: Callable[[Any], Any], calls: Names) -> Callable:
    """The function with `change` made to what it returns to others than the exercise's own functions."""

    @wraps(function)
    def call(*args, **kwargs):
        if calls["inside"]:
            return function(*args, **kwargs)
        calls["inside"] = True
        try:
            value = function(*args, **kwargs)
        finally:
            calls["inside"] = False
        return change(value)

    return call


def convert(names: Names, source: str, change: Callable[[Any], Any]) -> None:
    """Give the functions and methods that a cell defines other types to return."""
    calls = {"inside": False}
    for name in defined_names(source):
        value = names[name]
        if not inspect.isclass(value):
            names[name] = converted(value, change, calls)
            continue
        methods = {n: f for n, f in vars(value).items() if inspect.isfunction(f) and n != "__init__"}
        for method, function in methods.items():
            setattr(value, method, converted(function, change, calls))


def run(names: Names, source: str) -> None:
    exec(compile(without_markers(source), "<cell>", "exec"), names)


def accepts(lesson: Lesson, names: Names, exercise: str) -> str:
    """Why the public asserts refuse what the names hold; empty where they accept it."""
    try:
        run(names, scored_cells(lesson.notebook)[exercise].source)
    except Exception as error:  # of any kind: the learner's answer meets it
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_what_the_public_asserts_accept_gets_full_points(chapter, kind):
    lesson, names = chapter[0], dict(chapter[1])
    accepted = []
    for exercise, source in lesson.solutions.items():
        run(names, source)
        convert(names, source, OTHER_TYPES[kind])
        if not accepts(lesson, names, exercise):
            accepted.append(exercise)
    if not accepted:
        return
    ask = in_process(names, lesson.limits.call)
    (verdict,) = judge(hidden_tests(lesson.name), ask, b"types", ["a learner"], frozenset(accepted))
    refused = {
        e: [t.message for t in tests if not t.passed]
        for e, tests in verdict.items()
        if passed_share(tests) < 1
    }
    assert not refused


def test_every_result_that_a_marker_promises_is_asked_for(chapter, monkeypatch):
    """One that no test calls by name would be held to nothing."""
    lesson, names = chapter[0], dict(chapter[1])
    asked = set()
    monkeypatch.setattr(results, "fault", lambda promised, name, *_: asked.add(name))
    plugin = Judge(in_process(names, lesson.limits.call), b"types", ["a learner"])
    run_tests(hidden_tests(lesson.name), plugin)
    assert {name for promised in plugin.returns.values() for name in promised} <= asked


def test_the_public_asserts_accept_every_right_answer(chapter):
    lesson, names = chapter[0], dict(chapter[1])
    for answer in read_answers(answers(lesson.name)):
        if answer.kind == "right":
            run(names, answer.cell(lesson.solutions[answer.exercise]))
            assert not accepts(lesson, names, answer.exercise), answer.name
            run(names, lesson.solutions[answer.exercise])
