"""A class in which one student attacks: hands the submission in, grades it for real, says what went wrong."""

import hashlib
import importlib.util
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from nbformat.v4 import new_code_cell
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from small_course import NAME, schema_version, write_course
from test_nbgrader import RIGHT, RUNNING, autograded, filled, hand_in, run, scores

from autograde.course import Course
from autograde.grading import SERVER, course_secret
from autograde.limits import Limits
from autograde.release import release
from autograde.sandbox import sandbox_uid

FOLDER = Path(__file__).parent / "attacks"
HONEST, FULL, HONEST_PART = "zoe", 20.0, 8.0
CANARY = "canary-of-the"
NUMBERS = ("48151623", "36113717")  # a hidden input and a hidden result
HIDDEN = '''\
"""Hidden tests, canary-of-the-hidden-tests."""

import pytest
from autograde.checks import array, number


@pytest.mark.exercise("weighted-mean", weight=2)
def test_weights(student, rng):
    """Weights count."""
    mean = number(student.weighted_mean([0.0, 48151623.0], [1.0, 3.0]))
    assert mean == pytest.approx(36113717.25)


@pytest.mark.exercise("weighted-mean")
def test_draws(student, rng):
    """Any numbers have a mean, in any order."""
    x, w = rng.normal(size=9), rng.uniform(1, 2, 9)
    means = [student.weighted_mean(x, w), student.weighted_mean(x[::-1].copy(), w[::-1].copy())]
    assert array(means, shape=(2,)) == pytest.approx(float(x @ w / w.sum()))


@pytest.mark.exercise("running-mean")
def test_two(student, rng):
    """Two numbers."""
    running = student.RunningMean()
    running.add(1)
    running.add(2)
    assert number(student.value(running.mean)) == 1.5
'''
SMALL = replace(
    Limits(),
    **{"call": 3, "cell": 4, "wall": 25, "restarts": 2, "cpu": 20, "processes": 64, "memory": 700 << 20},
    **{"disk_bytes": 32 << 20, "file_bytes": 16 << 20, "output_bytes": 256 << 10, "flood_bytes": 8 << 20},
    **{"judge_cpu": 20, "judge_wall": 60, "grader": 300 << 20, "files": 5000},
    notebook_output_bytes=1 << 20,
)
GROWTH = 1 << 30  # bytes by which the grader may grow for a moment
LARGEST = 4 << 20  # bytes of an autograded notebook
EVERY = 6  # attacks between two gradings of the honest student
GOT_IN = "GOT-IN"  # what an attack prints, in two pieces, where it succeeds
LEAVING = 5.0  # seconds in which every process must be gone
Outcome = dict[str, Any]


@dataclass
class Attack:
    """One file of tests/attacks: what it hands in and what must come of it.

    CELLS: sources by exercise (the default is an honest running mean, 8 points, and no weighted mean);
    EXTRA: cells put before the exercises; notebook(nb): changes it, or returns a text to write in its place;
    files(folder): changes the folder handed in; SCORE: the scores allowed, None for nothing;
    LIMITS: limits of its own; LARGEST: bytes of its autograded notebook; FORBIDDEN: texts that may not come
    out; check(outcome): what else must hold.
    `@COURSE@`, `@PID@` and `@TMP@` in a source become the course's folder, the grader's process, its scratch.
    """

    name: str
    module: ModuleType

    def get(self, name: str, default: Any) -> Any:
        return getattr(self.module, name, default)

    @property
    def sentence(self) -> str:
        """What the attack tries."""
        return " ".join((self.module.__doc__ or "").split())

    @property
    def allowed(self) -> tuple[float | None, ...]:
        given = self.get("SCORE", HONEST_PART)
        return tuple(score or None for score in (given if isinstance(given, tuple) else (given,)))


def load() -> list[Attack]:
    """All attacks, by name."""
    return [_load(path) for path in sorted(FOLDER.glob("[a-z]*.py"))]


def _load(path: Path) -> Attack:
    spec = importlib.util.spec_from_file_location(f"attack_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Attack(path.stem, module)


@dataclass
class Class:
    """A released lesson, an honest student, and canaries wherever a secret lies."""

    course: Course
    scratch: Path
    limits: list[Limits]
    before: dict[str, str] = field(default_factory=dict)
    since: int = EVERY  # attacks since the honest student was graded

    def attempt(self, attack: Attack) -> list[str]:
        """Grade the attack and, after every few, the honest student; returns what went wrong, in words."""
        self.limits[0] = replace(SMALL, **attack.get("LIMITS", {}))
        self._hand_in(attack)
        self.before = self._files()
        began, memory = time.monotonic(), _memory()
        run_student(self.course, attack.name)
        grown = _peak() - memory
        outcome = {"seconds": time.monotonic() - began, "score": scores(self.course).get(attack.name)}
        outcome |= {"grown": grown, **self._results(attack)}
        self.since += 1
        if self.since >= EVERY:
            self.grade_honest()
        return list(self._problems(attack, outcome))

    def grade_honest(self) -> float | None:
        """The honest student's score, from a new grading."""
        self.limits[0], self.since = SMALL, 0
        run_student(self.course, HONEST)
        return scores(self.course).get(HONEST)

    def _hand_in(self, attack: Attack) -> None:
        notebook = filled(self.course, {"running-mean": RUNNING} | attack.get("CELLS", {}))
        notebook.cells[1:1] = [new_code_cell(source) for source in attack.get("EXTRA", [])]
        values = {"@COURSE@": self.course.root, "@PID@": os.getpid(), "@TMP@": self.scratch}
        for cell in notebook.cells:
            for name, value in values.items():
                cell.source = cell.source.replace(name, str(value))
        changed = attack.get("notebook", lambda nb: None)(notebook)
        path = hand_in(self.course, attack.name, notebook)
        if isinstance(changed, str):
            path.write_text(changed)
        attack.get("files", lambda folder: None)(path.parent)

    def _results(self, attack: Attack) -> Outcome:
        """What the attacker would be handed back, and what the instructor sees."""
        path = autograded(self.course, attack.name)
        verdict = path.with_suffix(".verdict.json")
        if not path.exists():
            return {"notebook": "", "verdict": "", "feedback": ""}
        if path.stat().st_size <= attack.get("LARGEST", LARGEST):
            run_student(self.course, attack.name, GenerateFeedback)
        page = self.course.grading / "feedback" / attack.name / NAME / f"{NAME}.html"
        feedback = page.read_text() if page.exists() else ""
        return {"notebook": path.read_text(), "verdict": verdict.read_text(), "feedback": feedback}

    def _problems(self, attack: Attack, outcome: Outcome) -> Iterator[str]:
        if (outcome["score"] or None) not in attack.allowed:
            yield f"score {outcome['score']}, allowed {attack.allowed}"
        if scores(self.course).get(HONEST) != FULL:
            yield f"the honest student got {scores(self.course).get(HONEST)}"
        yield from self._leaks(attack, outcome)
        after = self._files()
        for path in self.before.keys() | after.keys():
            if self.before.get(path) != after.get(path):
                yield f"{path} was changed"
        if left := sorted(path.name for path in self.scratch.iterdir()):
            yield f"left behind: {left}"
            subprocess.run(["rm", "-rf", *map(str, self.scratch.iterdir())], check=True)
        if processes := list(_processes()):
            yield f"processes left: {processes}"
        if outcome["grown"] > GROWTH:
            yield f"the grader grew by {outcome['grown'] >> 20} MB"
        if len(outcome["notebook"]) > attack.get("LARGEST", LARGEST):
            yield f"a notebook of {len(outcome['notebook'])} bytes"
        if outcome["seconds"] > SMALL.wall + 30:
            yield f"it took {outcome['seconds']:.0f} s"
        yield from attack.get("check", lambda outcome: [])(outcome) or []

    def _leaks(self, attack: Attack, outcome: Outcome) -> Iterator[str]:
        secret = course_secret(self.course.grading).hex()
        for word in (CANARY, GOT_IN, *NUMBERS, secret, *attack.get("FORBIDDEN", ())):
            # what the sources themselves hold is no leak
            texts = {key: outcome[key] for key in ("notebook", "verdict", "feedback")}
            for place in [key for key, text in texts.items() if word in text]:
                yield f"{word!r} in the {place}"

    def _files(self) -> dict[str, str]:
        """Digests of all that no grading run may change, apart from the gradebook's rows."""
        kept = [self.course.root / name for name in ("hidden", "solutions", "lessons")]
        kept += [self.course.grading / name for name in ("source", "released", "submitted", "secret", CANARY)]
        found = {}
        for top in kept:
            for path in [top, *top.rglob("*")]:
                if path.is_file() and not path.is_symlink():
                    size = path.stat().st_size
                    content = path.read_bytes() if size < 100 << 20 else b"sparse"
                    found[str(path)] = f"{size} {hashlib.sha256(content).hexdigest()}"
        return found


def run_student(course: Course, student: str, converter: type = Autograde) -> None:
    """Run nbgrader for one student; that it could not grade a submission shows in the score."""
    with suppress(NbGraderException):
        run(course, converter, student, force=True)


@contextmanager
def classroom() -> Iterator[Class]:
    """A class in a folder of its own; everything temporary goes into a folder that must be empty after."""
    root = Path(tempfile.mkdtemp(prefix="a-"))
    scratch = root / "t"
    scratch.mkdir()
    (root / "c").mkdir()
    scratch.chmod(0o755)
    root.chmod(0o755)
    limits = [SMALL]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("autograde.course.HIDDEN", root / "c" / "hidden")
            patch.setattr("nbgrader.api.get_alembic_version", schema_version)
            patch.setattr("autograde.grading.limits_of", lambda metadata: limits[0])
            patch.setenv("GRADER_CANARY", f"{CANARY}-environment")
            patch.setattr(tempfile, "tempdir", str(scratch))
            patch.chdir(root / "c")
            yield Class(_fill(write_course(root / "c")), scratch, limits)
    finally:
        subprocess.run(["rm", "-rf", str(root)], check=True)


def _fill(course: Course) -> Course:
    (course.root / "hidden" / f"test_{NAME}.py").write_text(HIDDEN)
    release(course, [NAME])
    (course.grading / CANARY).write_text(f"{CANARY}-gradebook")
    course_secret(course.grading)
    honest = {**RIGHT, "why-mean": f"{CANARY}-honest-student"}
    hand_in(course, HONEST, filled(course, honest))
    return course


def _processes() -> Iterator[str]:
    """Processes of a sandbox that are still there after a while."""
    end = time.monotonic() + LEAVING
    while (found := list(_sandboxed())) and time.monotonic() < end:
        time.sleep(0.1)
    yield from found


def _sandboxed() -> Iterator[str]:
    """All processes below this one, but the judge's server; as root, all of the sandbox's user as well."""
    judge = SERVER.process.pid if SERVER.process else 0
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            text, line = path.read_text(), (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        fields = dict(re.findall(r"^(\w+):\s+(\S+)", text, re.MULTILINE))
        below = int(fields["PPid"]) == os.getpid() and int(fields["Pid"]) != judge
        ours = os.getuid() == 0 and int(fields["Uid"]) == sandbox_uid()
        if (below or ours) and fields["State"] != "Z":
            yield f"{fields['Pid']} {line[:60]!r}"


def _memory() -> int:
    """Bytes this process holds now; from here on its peak is counted anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10
