"""A course with one small lesson, for tests: two exercises, an answer graded by hand, answers to grade."""

import functools
from pathlib import Path

import nbgrader.api
import pytest

from autograde.course import Course

NAME = "90_small"
LESSON = '''\
# ---
# jupyter:
#   genmap: {limits: {cell: 120}}
# ---

# %% [markdown]
# # Means
# The mean is $\\\\bar x$.

# %%
import numpy as np


def centred(x):
    """x minus its mean."""
    return x - np.mean(x)


# %% tags=["demo"]
print(centred(np.arange(3)))

# %% exercise="weighted-mean"
def weighted_mean(x, w):
    """The mean of x (N,) with weights w (N,)."""
    ### BEGIN SOLUTION
    total = np.sum(np.asarray(w, dtype=float))
    return np.dot(x, w) / total
    ### END SOLUTION


# %% test="weighted-mean" points=12
assert weighted_mean([1, 3], [1, 1]) == 2, "equal weights give the mean"

# %% [markdown] answer="why-mean" points=2.5
# Why the mean?
#
# ### BEGIN SOLUTION
# It minimises the sum of the squared distances.
# ### END SOLUTION

# %% exercise="running-mean"
class RunningMean:
    """A mean that takes one number at a time."""

    def __init__(self):
        self.n, self.mean = 0, 0.0

    def add(self, x):
        """Take a number."""
        ### BEGIN SOLUTION
        self.n += 1
        self.mean += (x - self.mean) / self.n
        ### END SOLUTION


# %% test="running-mean" points=8
running = RunningMean()
running.add(4)
assert running.mean == 4, "the mean of one number is the number"
'''
HIDDEN = '''\
"""Hidden tests of the small lesson."""

import pytest


@pytest.mark.exercise("weighted-mean", weight=2)
def test_weights(student, rng):
    """Weights count."""
    assert student.weighted_mean([0.0, 1.0], [1.0, 3.0]) == 0.75


@pytest.mark.exercise("running-mean")
def test_two(student, rng):
    """Two numbers."""
    running = student.RunningMean()
    running.add(1)
    running.add(2)
    assert student.value(running.mean) == 1.5
'''
ANSWERS = '''\
"""Wrong and other right answers of the small lesson."""

# %% wrong="weighted-mean" fails="test_weights" name="forgets the weights"
def weighted_mean(x, w):
    return np.mean(x)


# %% right="weighted-mean" name="by a loop"
def weighted_mean(x, w):
    return sum(a * b for a, b in zip(x, w)) / sum(w)
'''


def write_course(folder: Path) -> Course:
    """The course in a folder, its hidden tests in `folder`/hidden."""
    course = Course.at(folder)
    files = {
        course.source(NAME): LESSON,
        folder / "hidden" / f"test_{NAME}.py": HIDDEN,
        folder / "hidden" / "wrong" / f"{NAME}.py": ANSWERS,
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "lessons").mkdir()
    return course


# nbgrader starts a process to ask for this whenever it makes a gradebook: once is enough here.
schema_version = functools.cache(nbgrader.api.get_alembic_version)


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    """The small course, with the working directory in it."""
    monkeypatch.setattr("autograde.course.HIDDEN", tmp_path / "hidden")
    monkeypatch.setattr("nbgrader.api.get_alembic_version", schema_version)
    monkeypatch.chdir(tmp_path)
    return write_course(tmp_path)


def files(course: Course, *folders: str) -> dict[str, bytes]:
    """The bytes of every file of the course, but the gradebook's."""
    paths = (path for folder in folders or (".",) for path in (course.root / folder).rglob("*"))
    return {str(path): path.read_bytes() for path in paths if path.is_file() and path.suffix != ".db"}


def change(course: Course, old: str, new: str) -> None:
    """Replace a text in the lesson's source."""
    path = course.source(NAME)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def mutate(text: str, changes: dict[str, str]) -> tuple[str, int]:
    """The text with each key replaced by its value, and the number of the line on which `<<<` stood."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new, 1)
    assert text.count("<<<") == 1
    return text.replace("<<<", ""), text[: text.index("<<<")].count("\n") + 1
