"""From sources to lessons: the same bytes every time, no solution in them, and nobody's work lost."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from course_root import COURSE as REPOSITORY
from small_course import HIDDEN, LESSON, NAME, change, course, files, write_course

from autograde.authoring.release import build, is_release, leaks, release
from autograde.authoring.script import read_lesson
from autograde.authoring.setup_cell import add_setup
from autograde.cells import scored_cells
from autograde.course import Course
from autograde.errors import CourseError, UsageError
from autograde.grading.gradebook import open_gradebook

__all__ = ["course"]  # the fixture

LESSONS = sorted(path.stem for path in REPOSITORY.root.glob("lessons/*/*.ipynb"))


def test_release(course: Course, capfd: pytest.CaptureFixture[str]) -> None:
    assert release(course, []) == [NAME]
    assert release(course, [NAME]) == []
    assert capfd.readouterr() == ("", "")
    lesson = nbformat.read(course.lesson(NAME), 4)
    nbformat.validate(lesson)
    assert course.lesson(NAME).read_bytes() == course.released(NAME).read_bytes()
    source = read_lesson(course.source(NAME))
    assert nbformat.read(course.instructors(NAME), 4) == add_setup(course, NAME, source)
    assert course.grading.stat().st_mode & 0o777 == 0o700
    assert lesson.metadata.genmap.lesson == NAME
    assert "jupytext" not in course.lesson(NAME).read_text()
    assert sorted(path.name for path in course.lesson(NAME).parent.iterdir()) == [f"{NAME}.ipynb"]
    assert list(scored_cells(lesson)) == list(scored_cells(read_lesson(course.source(NAME))))
    assert lesson.cells[4].source.endswith('."""\n    raise NotImplementedError')
    assert lesson.cells[5].source.startswith("# test weighted-mean: 12 points\n")
    assert lesson.cells[6].source.endswith("\n*Write your answer here.*")


def test_lessons_are_in_the_gradebook_as_nbgrader_wants_them(course: Course) -> None:
    release(course, [])
    lesson = nbformat.read(course.lesson(NAME), 4)
    with open_gradebook(course) as gradebook:
        assert gradebook.find_assignment(NAME).max_score == 22.5
        notebook = gradebook.find_notebook(NAME, NAME)
        assert {cell.name: cell.max_score for cell in notebook.grade_cells} == {
            "test-weighted-mean": 12,
            "why-mean": 2.5,
            "test-running-mean": 8,
        }
        marked = {cell.id: cell for cell in lesson.cells if "nbgrader" in cell.metadata}
        assert {cell.name: cell.source for cell in notebook.source_cells} == {
            name: cell.source for name, cell in marked.items()
        }
        for cell in notebook.source_cells:
            assert cell.checksum == marked[cell.name].metadata.nbgrader.checksum


def test_same_bytes_in_every_process(course: Course, tmp_path: Path) -> None:
    script = """
import sys; from pathlib import Path
import autograde.course as c; c.HIDDEN = Path("hidden")
from autograde.authoring.release import release
release(c.Course.at(Path(sys.argv[1]), Path("solutions")), [])
"""
    package = str(REPOSITORY.root)
    results = []
    for seed in ("1", "2"):
        environment = {
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": package,
            "HOME": str(tmp_path / seed),
            "PATH": "",
        }
        root = tmp_path / f"root{seed}"
        done = subprocess.run(
            [sys.executable, "-c", script, str(root)], cwd=course.root, env=environment, capture_output=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        results.append({path[len(str(root)) :]: data for path, data in files(Course.at(root)).items()})
    assert results[0] == results[1]
    assert len(results[0]) == 3


def test_no_solution_by_content(course: Course) -> None:
    release(course, [])
    source, text = read_lesson(course.source(NAME)), course.lesson(NAME).read_text()
    assert leaks(source, nbformat.read(course.lesson(NAME), 4)) == []
    assert "SOLUTION" not in text
    for line in ("np.asarray(w, dtype=float)", "np.dot(x, w)", "self.n += 1", "squared distances"):
        assert line in LESSON
        assert line not in text
    assert "    total = np.sum(np.asarray(w, dtype=float))" in leaks(source, source)


@pytest.mark.parametrize("name", LESSONS)
def test_no_solution_in_the_lessons(name: str) -> None:
    source, lesson = read_lesson(REPOSITORY.source(name)), nbformat.read(REPOSITORY.lesson(name), 4)
    assert leaks(source, lesson) == []
    assert leaks(source, source)
    assert is_release(REPOSITORY.lesson(name), name)


def test_a_failing_release_of_nbgrader_writes_nothing(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "nbgrader.preprocessors.ClearSolutions.preprocess_cell", lambda *args: (args[1], args[2])
    )
    before = files(course)
    with pytest.raises(CourseError, match=f"{NAME}: the release would show"):
        release(course, [])
    monkeypatch.setattr("nbgrader.preprocessors.ClearSolutions.preprocess_cell", lambda *args: 1 / 0)
    with pytest.raises(CourseError, match=r"nbgrader cannot release: .*division by zero"):
        release(course, [])
    assert files(course) == before


def test_all_lessons_are_validated_before_any_is_written(course: Course) -> None:
    other = course.source("91_other")
    other.parent.mkdir()
    other.write_text("# %% excercise=3\n")
    with pytest.raises(CourseError, match=r"91_other.py:1: unknown marker"):
        release(course, [])
    assert not course.grading.exists()
    assert release(course, [NAME]) == [NAME]


def test_unknown_lesson(course: Course) -> None:
    with pytest.raises(UsageError, match="Unknown lesson '77_none'"):
        release(course, ["77_none"])


def test_check(course: Course) -> None:
    with pytest.raises(CourseError, match=f"{NAME} is missing; run `autograde release`"):
        release(course, [], check=True)
    assert not course.grading.exists()
    release(course, [])
    before = files(course)
    assert release(course, [], check=True) == []
    change(course, "# Why the mean?", "# Why?")
    with pytest.raises(CourseError, match=f"{NAME} is stale"):
        release(course, [], check=True)
    assert {**files(course), str(course.source(NAME)): b""} == {**before, str(course.source(NAME)): b""}
    release(course, [])
    surplus = course.lesson("55_gone")
    surplus.parent.mkdir()
    surplus.write_text("{}")
    with pytest.raises(CourseError, match=r"lessons/55_gone/55_gone.ipynb has no source; .*move away"):
        release(course, [], check=True)


def test_a_changed_lesson_replaces_its_former_release_in_a_fresh_clone(
    course: Course, tmp_path: Path
) -> None:
    release(course, [])
    clone = write_course(tmp_path / "clone")
    clone.lesson(NAME).parent.mkdir()
    clone.lesson(NAME).write_text(
        json.dumps(json.loads(course.lesson(NAME).read_text()))
    )  # laid out otherwise
    change(clone, "# Why the mean?", "# Why?")
    assert release(clone, []) == [NAME]
    assert "Why?" in clone.lesson(NAME).read_text()


def test_two_lessons(course: Course) -> None:
    course.source("91_two").parent.mkdir()
    course.source("91_two").write_text(LESSON)
    (course.root / "hidden" / "test_91_two.py").write_text(HIDDEN)
    assert [one.name for one in build(course, course.names())] == [NAME, "91_two"]
    assert release(course, []) == [NAME, "91_two"]
