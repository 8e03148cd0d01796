"""Verdicts written as a grading run leaves them, and a small class of them."""

import contextlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from small_course import NAME

from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading import staleness

FAILED = 'The <b>mean</b> & [red]its[/red] "weights".'


def verdict(first: list[bool], second: list[bool], **other) -> dict:
    """Two exercises of 12 and 8 points: their tests have equal weights."""
    exercises = {}
    for name, most, passed in (("weighted-mean", 12, first), ("running-mean", 8, second)):
        tests = [
            {
                "name": f"test_{n}",
                "weight": 1,
                "passed": ok,
                "sentence": f"{name} {n}. {FAILED}",
                "message": "",
            }
            for n, ok in enumerate(passed)
        ]
        exercises[name] = {"points": most * sum(passed) / len(passed), "max": most, "tests": tests}
    return {"student": "x", "exercises": exercises, "seconds": {"start": 1.0, "cells": 2.0}, **other}


def write(course: Course, student: str, text: str | dict) -> Path:
    (course.grading / "submitted" / student / NAME).mkdir(parents=True, exist_ok=True)
    path = staleness.verdict_path(course, NAME, student)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(text, str):
        with contextlib.suppress(OSError, CourseError):  # some have no hidden tests or no release
            held_against = staleness.ingredients(course, NAME)
            folder = course.grading / "submitted" / student / NAME
            whose = {"student": student, "assignment": NAME}
            text = {**text, **whose, "key": asdict(staleness.key(held_against, folder))}
        text = json.dumps(text)
    path.write_text(text)
    return path


CLASS = {  # weighted-mean of 12, running-mean of 8
    "a": verdict([True, True], [True, True], memory=300_000_000),
    "b": verdict([True, False], [True, False], memory=None),
    "c": verdict([True, False], [True, True], seconds={"start": 1.0, "cells": 17.0}),
    "d": verdict([False, False], [True, False], memory=100_000_000),
    "e": verdict([False, False], [False, False], seconds={}),
}


@pytest.fixture
def graded(released: Course) -> Course:
    """Five graded submissions, and one that is not."""
    for student, content in CLASS.items():
        write(released, student, content)
    (released.grading / "submitted" / "late" / NAME).mkdir(parents=True)
    return released
