"""Where a course keeps its files: the one place that knows the folder names."""

from dataclasses import dataclass
from pathlib import Path

from autograde.errors import CourseError, UsageError

HIDDEN = Path(__file__).parent / "hidden"


@dataclass(frozen=True)
class Course:
    """A checkout of the course. `solutions` may lie elsewhere (the demo class has a root of its own)."""

    root: Path
    sources: Path

    @classmethod
    def at(cls, root: Path, sources: Path | None = None) -> "Course":
        """The course in folder `root`, with its lesson sources in `root`/solutions unless told otherwise."""
        return cls(root, sources or root / "solutions")

    @classmethod
    def find(cls, start: Path | None = None) -> "Course":
        """The course around folder `start` (default: the current one). Raises UsageError without one."""
        start = (start or Path.cwd()).resolve()
        for folder in (start, *start.parents):
            if (folder / "lessons").is_dir() or (folder / "solutions").is_dir():
                return cls.at(folder)
        raise UsageError(
            f"{start} is not inside a course: no lessons/ or solutions/ folder here or above it."
        )

    def names(self) -> list[str]:
        """The lessons that have a source, in order. Raises UsageError when there is none."""
        found = sorted(
            path.parent.name for path in self.sources.glob("*/*.py") if path.stem == path.parent.name
        )
        if not found:
            raise UsageError(f"No lessons in {self.sources}: expected solutions/NN_name/NN_name.py.")
        return found

    def select(self, names: tuple[str, ...]) -> list[str]:
        """`names`, checked, or all lessons when empty. Raises UsageError for an unknown one."""
        known = self.names()
        for name in names:
            if name not in known:
                raise UsageError(f"Unknown lesson {name!r}. Lessons: {', '.join(known)}.")
        return list(names) or known

    def source(self, name: str) -> Path:
        """solutions/NN_name/NN_name.py, the only source of a lesson."""
        return self.sources / name / f"{name}.py"

    def lesson(self, name: str) -> Path:
        """lessons/NN_name/NN_name.ipynb, the released notebook that is committed."""
        return self.root / "lessons" / name / f"{name}.ipynb"

    def build_track(self, name: str) -> Path:
        """lessons/NN_name/build/NN_name.ipynb, in which the learner writes what the chapter builds."""
        return self.root / "lessons" / name / "build" / f"{name}.ipynb"

    @property
    def grading(self) -> Path:
        """The runtime folder .grading: sources and releases for nbgrader, submissions, gradebook."""
        return self.root / ".grading"

    @property
    def gradebook(self) -> str:
        """The address of nbgrader's gradebook."""
        return f"sqlite:///{self.grading.resolve()}/gradebook.db"

    def instructors(self, name: str) -> Path:
        """The instructor's notebook, with its solutions, where nbgrader looks for it."""
        return self.grading / "source" / name / f"{name}.ipynb"

    def released(self, name: str) -> Path:
        """The release that submissions are rebuilt from."""
        return self.grading / "released" / name / f"{name}.ipynb"


def hidden_tests(name: str) -> Path:
    """The file of hidden tests of a lesson."""
    return HIDDEN / f"test_{name}.py"


def answers(name: str) -> Path:
    """The file of wrong and other right answers of a lesson."""
    return HIDDEN / "wrong" / f"{name}.py"


def submitted(course: Course, lesson: str, students: tuple[str, ...] = ()) -> list[Path]:
    """The submissions' folders, in order. Raises CourseError where there is none, or one asked for is not."""
    if not course.released(lesson).exists():
        raise CourseError(f"{lesson} was not released here: run `autograde release {lesson}` first.")
    place = course.grading / "submitted"
    found = {path.parent.name: path for path in sorted(place.glob(f"*/{lesson}"))}
    if missing := [student for student in students if student not in found]:
        names = ", ".join(missing)
        raise CourseError(f"Nothing was handed in by {names}: expected {place}/STUDENT/{lesson}.")
    if not found:
        raise CourseError(f"Nothing was handed in: expected {place}/STUDENT/{lesson}/{lesson}.ipynb.")
    return [found[student] for student in students] or list(found.values())
