"""What a verdict depends on: digests of it, kept beside the verdict, say whether to grade once more."""

import ast
import functools
import hashlib
import importlib.util
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from autograde.cells import maximum_points
from autograde.course import Course, hidden_tests
from autograde.errors import CourseError
from autograde.grading import submission_files, term
from autograde.grading.released import read_released

# What hidden tests read beside their own file. The grader imports none of it: it brings NumPy.
CHECKS = [Path(__file__).parents[1] / name for name in ("checks.py", "relations.py", "training.py")]
FACTS = "genmap.facts"  # the package with the course's data


@dataclass(frozen=True)
class Key:
    """What a verdict depends on.

    submission, lesson: digests of the submission's folder and of the release.
    tests: by exercise, a digest of its hidden tests and of all that they share.
    excused: the exercises that are.
    points: the most that each graded cell gives, by its name.
    """

    submission: str
    lesson: str
    tests: dict[str, str]
    excused: tuple[str, ...]
    points: dict[str, float]

    def to_judge(self, old: "Key", again: Collection[str] = ()) -> list[str] | None:
        """The exercises to be judged where a verdict of key `old` is there; None where it holds for none."""
        if replace(old, tests=self.tests, excused=self.excused) != self:
            return None
        changed = {name for name, tests in self.tests.items() if old.tests.get(name) != tests}
        return sorted(changed | (set(old.excused) ^ set(self.excused)) | set(again))

    def to_look_at(self, old: "Key") -> list[str]:
        """The graded cells of which what a grader gave, when `old` held, may mean something else now."""
        excused = {f"test-{name}" for name in self.excused if name not in old.excused}
        return sorted(excused | {name for name, most in self.points.items() if old.points.get(name) != most})


def ingredients(course: Course, lesson: str) -> Key:
    """What all submissions of a lesson are held against. Raises OSError where a part is gone."""
    released = read_released(course, lesson)
    excused = tuple(sorted(term.of_lesson(course, lesson).excused))
    tests = _by_exercise(hidden_tests(lesson))
    marks = [cell.metadata.get("nbgrader", {}) for cell in released.cells]
    points = {mark["grade_id"]: float(mark["points"]) for mark in marks if mark.get("grade")}
    known = {name: tests.get(name, tests[""]) for name in maximum_points(released)}
    return Key("", _digest(course.released(lesson)), known, excused, points)


def _by_exercise(path: Path) -> dict[str, str]:
    """Digests of the hidden tests by exercise, under "" of what all share; comments do not count."""
    facts = importlib.util.find_spec(FACTS)
    folders = [Path(folder) for folder in facts.submodule_search_locations or []] if facts else []
    files = [*CHECKS, *sorted(path for folder in folders for path in folder.glob("*.toml"))]
    return _parsed(path.read_bytes(), _digest(*files))


@functools.lru_cache(maxsize=8)
def _parsed(content: bytes, others: str) -> dict[str, str]:
    """Kept for all submissions of a class: parsing takes as long as much of one."""
    parts: dict[str, list[str]] = {"": [others]}
    try:
        for node in ast.parse(content).body:
            parts.setdefault(_exercise(node), []).append(ast.dump(node))
    except (SyntaxError, ValueError):
        parts[""].append(content.decode(errors="replace"))
    shared = parts[""]
    return {name: _hash(*shared, *(own if name else [])) for name, own in parts.items()}


def _exercise(node: ast.stmt) -> str:
    """The exercise that a hidden test judges; "" for what is no test of one."""
    for call in node.decorator_list if isinstance(node, ast.FunctionDef) else []:
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr == "exercise"
        ):
            name = call.args[0] if call.args else None
            return str(name.value) if isinstance(name, ast.Constant) else ""
    return ""


def key(held_against: Key, folder: Path) -> Key:
    """Those `ingredients` with a submission's folder. Raises CourseError, OSError."""
    return replace(held_against, submission=submission_files.digest(folder))


def of_verdict(path: Path) -> Key | None:
    """The key of what a verdict file is about; None where it does not say so, or is another student's."""
    try:
        found = json.loads(path.read_bytes())
        if (found["student"], found["assignment"]) != path.parts[-3:-1]:
            return None
        given = found["key"]
        return Key(**{**given, "excused": tuple(given["excused"])})
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


@dataclass(frozen=True)
class Marker:
    """What `autograde grade` leaves when all is done: digests of what the page shows, and of the page."""

    feedback: str
    page: str

    def text(self) -> str:
        """The marker as its file has it."""
        return json.dumps(asdict(self), indent=1) + "\n"


def marker(course: Course, student: str, lesson: str) -> Path:
    """The file of a submission's marker."""
    return course.grading / "autograded" / student / lesson / f"{lesson}.graded.json"


def read(path: Path) -> Marker | None:
    """What is in a marker; None where there is none, or no whole one."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        return Marker(str(found["feedback"]), str(found["page"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def page_digest(path: Path) -> str:
    """The digest of a page; "" where there is none."""
    return _digest(path) if path.is_file() else ""


def verdict_path(course: Course, lesson: str, student: str) -> Path:
    """Where grading writes a submission's verdict."""
    return course.grading / "autograded" / student / lesson / f"{lesson}.verdict.json"


def is_stale(course: Course, lesson: str, student: str, held_against: Key) -> bool:
    """Whether a verdict is not known to be on what lies there now."""
    try:
        return of_verdict(verdict_path(course, lesson, student)) != key(
            held_against, course.grading / "submitted" / student / lesson
        )
    except (CourseError, OSError):  # it cannot be graded any more
        return True


def _digest(*paths: Path) -> str:
    return _hash(*(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths))


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
