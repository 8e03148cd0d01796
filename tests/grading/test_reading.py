"""What comes of it when what reads a submission is taken over by it: no other score, no secret, no file."""

import io
import json
import os
import socket
from dataclasses import replace

import pytest
from classroom import FULL, RIGHT, autograded, configured, filled, hand_in, outcome, released, scores
from small_course import NAME, course

from autograde.errors import CourseError
from autograde.grading import reading
from autograde.grading.class_run import grade
from autograde.grading.desk import Desk
from autograde.grading.gradebook import open_gradebook
from autograde.grading.rebuild import rebuild
from autograde.judging.judge_client import JUDGE_CLIENT
from autograde.sandbox.forkserver_client import FORK_SERVER
from autograde.sandbox.kernel_process import KernelFactory
from autograde.sandbox.limits import Limits
from autograde.sandbox.remote import KernelHost

__all__ = ["configured", "course", "released"]
HALF = {**RIGHT, "weighted-mean": "def weighted_mean(x, w):\n    return 0\n"}


def taken_over(course):
    """A `rebuild` that is the submission's: it tries what it likes, and says in a hint what it could do."""

    def attempts():
        yield "secret", lambda: (course.grading / "secret").read_bytes()
        yield "gradebook", lambda: (course.grading / "gradebook.db").open("r+b")
        yield "submissions", lambda: next((course.grading / "submitted").iterdir())
        yield "hidden tests", lambda: next((course.root / "hidden").iterdir())
        yield "feedback", lambda: (course.grading / "feedback").mkdir(parents=True)
        yield "query", lambda: open_gradebook(course).find_student("zoe")
        yield "fork server", lambda: FORK_SERVER.control.send(b"{}")
        yield "judge", lambda: JUDGE_CLIENT.control.send(b"{}")
        yield "network", lambda: socket.create_connection(("127.0.0.1", 80), 1)
        yield "parent", lambda: os.kill(os.getppid(), 9)

    def hostile(submitted, released):
        found = []
        for name, attempt in attempts():
            try:
                attempt()
                found.append(name)
            except Exception:
                pass
        rebuilt = rebuild(submitted, released)
        return replace(rebuilt, hints={"weighted-mean": [json.dumps(["could", *found])]})

    return hostile


def test_a_reader_that_was_taken_over_reaches_nothing(configured, monkeypatch):
    hand_in(configured, "eve", filled(configured, HALF))
    hand_in(configured, "zoe", filled(configured, RIGHT))
    monkeypatch.setattr(reading, "rebuild", taken_over(configured))
    assert outcome(configured) == {"eve": ("graded", 8), "zoe": ("graded", FULL)}
    verdict = json.loads(autograded(configured, "eve").with_suffix(".verdict.json").read_text())
    assert verdict["hints"] == {"weighted-mean": ['["could"]']}


def test_what_it_says_of_its_own_notebook_is_no_score(configured, monkeypatch):
    """It may forge the notebook that people look at; the gradebook has what the judge found."""

    def give_full(nb, result):
        for cell in nb.cells:
            if cell.cell_type == "code":
                cell.outputs = []
        full = {name: score.excuse() for name, score in result.exercises.items()}
        return record(nb, replace(result, exercises=full))

    record = reading.record
    monkeypatch.setattr(reading, "record", give_full)
    hand_in(configured, "eve", filled(configured, HALF))
    grade(configured, NAME, 1)
    assert scores(configured) == {"eve": 8}


@pytest.fixture
def desk(tmp_path):
    kernels = KernelHost(KernelFactory(Limits()), tmp_path)
    with Desk(
        kernels, tmp_path / "test_90_x.py", b"s", "seed", Limits(), None, lambda verdict, ran: ran
    ) as made:
        yield made


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"ask": "verdict"},
        {"ask": ["judge"]},
        {"ask": "judge"},
        {"ask": "judge", "whose": "../" * 20},
        {"ask": "judge", "whose": "f" * 63},
        {"ask": "result", "hints": {}},
    ],
    ids=str,
)
def test_a_question_that_is_none_ends_it(desk, request_):
    with pytest.raises(CourseError, match="may not: not graded"):
        desk.answer(request_)


class Judged:
    """A trial that is over."""

    def __init__(self):
        self.questions = io.BytesIO()

    def result(self):
        return {}


@pytest.mark.parametrize(
    "said",
    [{"seconds": 1}, {"seconds": {"a": "b"}}, {"seconds": {"../x": 1}}, {"hints": [1]}, {"hints": {"a": 1}}],
    ids=str,
)
def test_what_it_says_of_its_run_is_checked(desk, said):
    desk.trial = Judged()
    with pytest.raises(CourseError, match="may not: not graded"):
        desk.answer({"ask": "result", **said})
    desk.answer({"ask": "result", "seconds": {"judge": 1.0}, "hints": {"a": ["x"]}, "delayed": True})
    with pytest.raises(CourseError, match="may not: not graded"):  # once only
        desk.answer({"ask": "result"})
