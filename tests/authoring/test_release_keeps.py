"""A release loses nobody's work: no notebook of a learner, no submission, no file when something fails."""

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from nbgrader.api import Gradebook
from small_course import HIDDEN, NAME, change, course, files

from autograde.authoring.release import release
from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading.gradebook import open_gradebook

__all__ = ["course"]  # the fixture
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # nbgrader's own

THIRD = '''
# %% exercise="median"
def median(x):
    """The middle of x."""
    ### BEGIN SOLUTION
    return np.quantile(x, 0.5)
    ### END SOLUTION

# %% test="median" points=2
assert median([1, 2, 3]) == 2
'''
THIRD_HIDDEN = '''
@pytest.mark.exercise("median")
def test_median(student, rng):
    """The middle."""
'''


def add_exercise(course: Course) -> None:
    change(course, "points=12", "points=10")
    course.source(NAME).write_text(course.source(NAME).read_text() + THIRD)
    (course.root / "hidden" / f"test_{NAME}.py").write_text(HIDDEN + THIRD_HIDDEN)


def cells_in(gradebook: Gradebook) -> dict[str, str]:
    return {cell.name: cell.source for cell in gradebook.find_notebook(NAME, NAME).source_cells}


def submit(course: Course) -> None:
    with open_gradebook(course) as gradebook:
        gradebook.add_student("ada")
        gradebook.add_submission(NAME, "ada")


def edited(text: str) -> str:
    return text.replace("raise NotImplementedError", "return 3", 1)


def executed(text: str) -> str:
    return text.replace('"execution_count": null', '"execution_count": 1', 1)


@pytest.mark.parametrize(
    "work",
    [
        edited,
        executed,
        lambda text: text.replace(NAME, "01_map"),
        lambda text: text.replace('"release"', '"was"'),
        lambda text: "[]",
        lambda text: "<<<<<<< HEAD\n" + text,
        lambda text: "",
    ],
    ids=["edited", "run", "other lesson", "no digest", "no notebook", "conflict", "empty"],
)
def test_a_learners_work_is_never_replaced(course: Course, work: Callable[[str], str]) -> None:
    release(course, [])
    notes = course.lesson(NAME).with_name("notes.md")
    notes.write_text("mine")
    course.lesson(NAME).write_text(work(course.lesson(NAME).read_text()))
    change(course, "# Why the mean?", "# Why?")
    before = files(course)
    with pytest.raises(CourseError, match=rf"{NAME}.ipynb stays: it was edited or run, .* Move it away"):
        release(course, [])
    assert files(course) == before
    course.lesson(NAME).unlink()
    assert release(course, []) == [NAME]
    assert notes.read_text() == "mine"


def test_with_submissions_sources_may_change(course: Course) -> None:
    release(course, [])
    submit(course)
    change(course, "equal weights give the mean", "try equal weights")
    change(course, "points=2.5", "points=3")
    assert release(course, []) == [NAME]
    with open_gradebook(course) as gradebook:
        assert "try equal weights" in cells_in(gradebook)["test-weighted-mean"]
        assert gradebook.find_submission(NAME, "ada").max_score == 23


def test_with_submissions_cells_neither_come_nor_go(course: Course) -> None:
    release(course, [])
    submit(course)
    add_exercise(course)
    before = files(course)
    with pytest.raises(CourseError, match=rf"{NAME} has submissions, .*\(median, test-median\)") as caught:
        release(course, [])
    assert "\n" not in str(caught.value)
    assert files(course) == before
    with open_gradebook(course) as gradebook:
        assert "median" not in cells_in(gradebook)
        gradebook.remove_assignment(NAME)
    assert release(course, []) == [NAME]


def test_without_submissions_cells_come_and_go(course: Course) -> None:
    release(course, [])
    add_exercise(course)
    assert release(course, []) == [NAME]
    with open_gradebook(course) as gradebook:
        assert {"median", "test-median"} < set(cells_in(gradebook))


def test_a_full_disk_leaves_the_old_files(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    release(course, [])
    change(course, "# Why the mean?", "# Why?")
    before = files(course)
    drafts: list[Path] = []
    write_bytes = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        drafts.append(path)
        if len(drafts) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CourseError, match=rf"Cannot write .*{NAME}.ipynb: No space left on device"):
        release(course, [])
    assert files(course) == before


def test_no_folder_to_write_to(course: Course) -> None:
    (course.root / "lessons").rmdir()
    (course.root / "lessons").write_text("a file")
    with pytest.raises(CourseError, match=r"Cannot write .*lessons.*: (Not a directory|File exists)"):
        release(course, [])
    assert not course.released(NAME).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(course: Course) -> None:
    (course.root / "lessons").chmod(0o500)
    with pytest.raises(CourseError, match=r"Cannot write .*lessons.*: Permission denied"):
        release(course, [])


def test_a_gradebook_in_use(course: Course, capfd: pytest.CaptureFixture[str]) -> None:
    release(course, [])
    change(course, "# Why the mean?", "# Why?")
    before = files(course)
    with closing(sqlite3.connect(course.grading / "gradebook.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CourseError, match=r"Cannot use .*gradebook.db: database is locked\.$"):
            release(course, [])
    assert files(course) == before
    assert capfd.readouterr() == ("", "")


def test_a_gradebook_that_is_none(course: Course) -> None:
    course.grading.mkdir()
    (course.grading / "gradebook.db").write_text("no database" * 100)
    with pytest.raises(CourseError, match=r"Cannot use .*gradebook.db: file is not a database"):
        release(course, [])
    assert not course.lesson(NAME).exists()
