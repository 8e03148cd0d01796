"""The build track: the chapter with its core left to the learner, and grading that takes either track."""

import nbformat
import pytest
from classroom import FULL, RIGHT, hand_in, outcome
from course_root import COURSE, ROOT
from small_course import LESSON, NAME, change, course

from autograde.authoring.release import is_release, release
from autograde.authoring.script import read_lesson
from autograde.authoring.tracks import tasks
from autograde.cells import grade_id, track_mark
from autograde.course import Course
from autograde.errors import CourseError
from autograde.self_study import try_notebook

__all__ = ["course"]  # the fixture

CHAPTER = LESSON[LESSON.index("def centred") : LESSON.index("\n\n# %% tags")]
PLAIN = f"# %%\nimport numpy as np\n\n\n{CHAPTER}"
BODY = "    return x - np.mean(x)\n"
BUILT = CHAPTER.replace(BODY, f"    ### BEGIN SOLUTION\n{BODY}    ### END SOLUTION\n")
BUILDS = f"""# %%
import numpy as np


# %% build="centring"
{BUILT}

# %% check="centring"
assert centred(np.array([1.0, 3.0])).tolist() == [-1, 1], "the mean of 1 and 3 is 2"
"""
LEANING = "def weighted_mean(x, w):\n    return np.mean(x) + np.dot(centred(np.array(x)), w) / np.sum(w)\n"
MINE = "def centred(x):\n    return x - sum(x) / len(x)\n"
WRONG = "def centred(x):\n    return x + 100\n"


@pytest.fixture
def building(course: Course) -> Course:
    """The small course, whose lesson has a build track, released."""
    change(course, PLAIN, BUILDS)
    release(course, [NAME])
    (course.root / "nbgrader_config.py").write_bytes((ROOT / "nbgrader_config.py").read_bytes())
    return course


def track(course: Course, centred: str | None = None, ids: bool = True) -> nbformat.NotebookNode:
    """The build track with right answers to the exercises and, where there is one, a `centred`."""
    notebook = nbformat.read(course.build_track(NAME), 4)
    for cell in notebook.cells:
        cell.source = {**RIGHT, "weighted-mean": LEANING}.get(grade_id(cell) or "", cell.source)
        if track_mark(cell, "build") and centred is not None:
            cell.source = centred
        if not ids:
            cell.id, cell.metadata = f"other{id(cell)}", {}
    return notebook


def test_the_chapter_shows_what_it_builds(building):
    cells = {cell.id: cell for cell in nbformat.read(building.lesson(NAME), 4).cells}
    assert cells["build-centring"].source == CHAPTER.strip("\n")
    assert cells["build-centring"].metadata == {"genmap": {"build": "centring"}}
    assert cells["check-centring"].source.startswith("assert centred")
    assert cells["check-centring"].metadata.tags == ["demo"]
    assert "build-track" not in cells and "shown-centring" not in cells


def test_the_build_track_leaves_it_to_the_learner(building):
    notebook = nbformat.read(building.build_track(NAME), 4)
    nbformat.validate(notebook)
    assert is_release(building.build_track(NAME), NAME)
    names = [cell.id for cell in notebook.cells]
    assert names.index("build-track") == 1
    place = names.index("build-centring")
    build, check, shown = notebook.cells[place : place + 3]
    assert build.source == CHAPTER.strip("\n").replace(BODY.strip("\n"), "    raise NotImplementedError")
    assert check.id == "check-centring" and "raises-exception" in check.metadata.tags
    assert shown.id == "shown-centring" and "<details>" in shown.source and BODY in shown.source
    others = [cell for cell in notebook.cells if cell.id not in ("build-track", shown.id)]
    plain = nbformat.read(building.lesson(NAME), 4).cells
    assert [cell.id for cell in others] == [cell.id for cell in plain]


def test_what_is_shown_is_the_chapters(building):
    (task,) = tasks(building.source(NAME)).values()
    chapter = {cell.id: cell.source for cell in read_lesson(building.source(NAME)).cells}
    assert chapter["build-centring"] == task.solution


@pytest.mark.parametrize("name", COURSE.names())
def test_who_types_what_is_shown_runs_the_read_track(name):
    """So the solved build track gives the figures and claims of the read track, in every setting."""
    cells = nbformat.read(COURSE.build_track(name), 4).cells
    shown = {
        cell.id: cell.source.split("```")[1].removeprefix("python\n").rstrip("\n")
        for cell in cells
        if "shown-" in cell.id
    }
    solved = [
        shown.get(f"shown-{track_mark(cell, 'build')}", cell.source)
        for cell in cells
        if cell.cell_type == "code"
    ]
    read = [cell.source for cell in nbformat.read(COURSE.lesson(name), 4).cells if cell.cell_type == "code"]
    assert shown and solved == read


@pytest.mark.parametrize("centred", [None, MINE, WRONG, "def centred(x)\n    syntax error"])
@pytest.mark.parametrize("ids", [True, False])
def test_points_are_the_exercises_alone(building, centred, ids):
    """Solved, left, wrong or broken: exercises lean on the chapter's own. So it is where a tool took ids and
    marks: the cell is known by its place."""
    hand_in(building, "ada", track(building, centred, ids))
    assert outcome(building, 1) == {"ada": ("graded", FULL)}


def test_try_takes_it_too(building):
    path = building.root / "work" / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(track(building), path)
    _, rows, failures = try_notebook(path)
    assert not failures and sum(row["points"] for row in rows) == FULL


def test_it_is_checked_renewed_and_kept_like_the_lesson(building):
    assert release(building, [NAME]) == []
    path = building.build_track(NAME)
    path.unlink()
    with pytest.raises(CourseError, match=f"{NAME} is stale"):
        release(building, [NAME], check=True)
    assert release(building, [NAME]) == [NAME]
    path.write_text("my work")
    with pytest.raises(CourseError, match="it was edited or run"):
        release(building, [NAME])
    assert path.read_text() == "my work"


def test_one_without_a_source_is_named(building):
    change(building, BUILDS, PLAIN)
    release(building, [NAME])
    with pytest.raises(CourseError, match=r"build/90_small\.ipynb has no source"):
        release(building, [NAME], check=True)
