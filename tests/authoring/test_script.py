"""A lesson's source becomes the instructor's notebook; an answer file its answers, or is refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbgrader.nbgraderformat import MetadataValidator
from small_course import LESSON, NAME, change, course, write_course

from autograde.authoring.percent import read_cells
from autograde.authoring.rules import hidden_exercises
from autograde.authoring.script import read_lesson
from autograde.authoring.solution_regions import gives_away
from autograde.cells import scored_cells
from autograde.course import Course
from autograde.errors import CourseError

__all__ = ["course"]  # the fixture

DEMO = '# %% tags=["demo"]'


@pytest.mark.parametrize("name", ["small", "1_small", "90-small", "90_Small"])
def test_malformed_lesson_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(CourseError, match=f"{name}.py:1: malformed lesson name"):
        read_lesson(tmp_path / f"{name}.py")


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "is missing"), (b"\xff", "not UTF-8"), ("folder", "Cannot read")]
)
def test_unreadable_source(tmp_path: Path, content: bytes | str | None, reason: str) -> None:
    path = tmp_path / "90_small.py"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(CourseError, match=reason):
        read_lesson(path)


def test_notebook(course: Course) -> None:
    notebook = read_lesson(course.source(NAME))
    nbformat.validate(notebook)
    MetadataValidator().validate_nb(notebook)
    points = {name: cell.metadata.nbgrader.points for name, cell in scored_cells(notebook).items()}
    assert points == {"weighted-mean": 12, "running-mean": 8}
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "genmap": {"lesson": NAME, "limits": {"cell": 120}},
    }
    flags = [(c.cell_type, c.metadata.get("tags"), c.metadata.get("nbgrader")) for c in notebook.cells]
    blank = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False}
    assert flags[:4] == [
        ("markdown", None, None),
        ("code", None, None),
        ("code", ["demo"], None),
        ("code", None, {**blank, "solution": True, "grade_id": "weighted-mean"}),
    ]
    assert flags[4][2] == {
        **blank,
        "grade": True,
        "locked": True,
        "points": 12,
        "grade_id": "test-weighted-mean",
    }
    assert flags[5][2] == {**blank, "grade": True, "solution": True, "points": 2.5, "grade_id": "why-mean"}
    assert notebook.cells[0].source == "# Means\nThe mean is $\\\\bar x$."
    assert notebook.cells[4].source.startswith("# test weighted-mean: 12 points\nassert ")


def test_a_folded_cell_opens_folded_and_runs_as_it_is(course: Course) -> None:
    before = read_lesson(course.source(NAME))
    change(course, DEMO, DEMO + ' folded="What it prints"')
    cells = read_lesson(course.source(NAME)).cells
    (folded,) = (cell for cell in cells if "cellView" in cell.metadata)
    plain = next(cell for cell in before.cells if cell.metadata == {"tags": ["demo"]})
    assert folded.source == "# @title What it prints\n" + plain.source
    assert folded.metadata == {"tags": ["demo"], "jupyter": {"source_hidden": True}, "cellView": "form"}


def test_ids_are_unique_and_stay(course: Course) -> None:
    path = course.source(NAME)
    before = [cell.id for cell in read_lesson(path).cells]
    assert before[3:8] == [
        "weighted-mean",
        "test-weighted-mean",
        "why-mean",
        "running-mean",
        "test-running-mean",
    ]
    path.write_text(LESSON.replace(DEMO, "# %%\nx = 1\n\n# %%\nx = 1\n\n" + DEMO))
    after = [cell.id for cell in read_lesson(path).cells]
    assert len(set(after)) == len(after)
    assert after[3] == after[2] + "-2"
    assert [*after[:2], *after[4:]] == before


def test_comments_that_jupytext_takes_for_magics_stay(course: Course) -> None:
    path = course.source(NAME)
    path.write_text(LESSON.replace("print(c", "# cat is no command\n# %matplotlib inline\nprint(c"))
    assert read_lesson(path).cells[2].source.startswith("# cat is no command\n# %matplotlib inline\nprint")


def test_crlf_is_the_same(course: Course) -> None:
    path = course.source(NAME)
    before = read_lesson(path)
    path.write_bytes(LESSON.replace("\n", "\r\n").encode())
    assert read_lesson(path) == before


def test_hidden_exercises(course: Course) -> None:
    found = hidden_exercises(course.root / "hidden" / f"test_{NAME}.py")
    assert found == {"test_weights": ("weighted-mean", 6), "test_two": ("running-mean", 12)}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(
    st.dictionaries(st.from_regex(r"[a-z]+", fullmatch=True), VALUES, max_size=4),
    st.sampled_from([" ", "   ", "\t"]),
)
def test_any_marks_come_back(folder: Path, marks: dict[str, object], space: str) -> None:
    path = folder / "x.py"
    written = space.join(f"{key}={json.dumps(value)}" for key, value in marks.items())
    path.write_text(f"# %% {written}\nx = 1\n")
    assert read_cells(path, tuple(marks))[1][0].marks == marks


@given(st.text(alphabet='# %[]markdown="exti\\{}1,', max_size=40))
def test_any_header_is_read_as_jupytext_reads_it_or_refused(small: Course, rest: str) -> None:
    path = small.source(NAME)
    path.write_text(LESSON.replace(DEMO, f"# %%{rest}"))
    try:
        cell = read_lesson(path).cells[2]
    except CourseError:
        return
    assert cell.source == "print(centred(np.arange(3)))"
    assert cell.cell_type == ("markdown" if "[markdown]" in rest else "code")


@given(st.lists(st.text(alphabet="ab =#", max_size=30), max_size=6))
def test_only_a_line_of_the_solution_gives_it_away(public: list[str]) -> None:
    solution = ["total = np.sum(np.asarray(w, dtype=float))", "return total"]
    assert gives_away(solution, public) is None
    assert gives_away(solution, [*public, "  " + solution[0]]) == len(public)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("script")


@pytest.fixture(scope="module")
def small(folder: Path) -> Iterator[Course]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autograde.course.HIDDEN", folder / "hidden")
        yield write_course(folder)
