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
from attack_traces import descriptors, memory_now, memory_peak, processes_left
from classroom import RIGHT, RUNNING, autograded, filled, hand_in, run, scores
from course_root import ROOT
from nbformat.v4 import new_code_cell
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from small_course import NAME, schema_version, write_course

from autograde.authoring.release import release
from autograde.course import Course
from autograde.grading.submission import course_secret
from autograde.sandbox.limits import Limits

FOLDER = ROOT / "tests" / "attacks"
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


@pytest.mark.exercise("weighted-mean", weight=0.5)
def test_inputs(student, rng):
    """Three numbers have a mean."""
    x, w = rng.normal(size=3), rng.uniform(1, 2, 3)
    assert number(student.weighted_mean(x, w)) == pytest.approx(float(x @ w / w.sum()))


@pytest.mark.exercise("weighted-mean", weight=0.5)
def test_note(student, rng):
    """The notebook wrote a file."""
    assert student.read("outputs/canary-of-the-note", 1000).startswith(b"canary")


@pytest.mark.exercise("running-mean")
def test_two(student, rng):
    """Two numbers."""
    running = student.RunningMean()
    running.add(1)
    running.add(2)
    assert number(student.value(running.mean)) == 1.5
'''
NOTE = f"import os\nos.mkdir('outputs')\nopen('outputs/{CANARY}-note', 'w').write('canary')\n"
SMALL = replace(
    Limits(),
    **{"call": 3, "cell": 4, "notebook": 25, "cpu": 20, "processes": 64, "memory": 1500 << 20},
    **{"disk_bytes": 32 << 20, "file_bytes": 16 << 20, "output_bytes": 256 << 10, "flood_bytes": 8 << 20},
    **{"judge_cpu": 20, "judge_wall": 60, "grader": 300 << 20, "files": 5000},
    notebook_output_bytes=1 << 20,
)
# The honest student has the time that a busy machine may need; what attacks leave is looked for apart.
PATIENT = replace(SMALL, call=300, cell=300, notebook=1800, cpu=300, judge_cpu=240, judge_wall=1800)
MAX_GROWTH_BYTES = 1 << 30  # by which the grader may grow for a moment
MAX_NOTEBOOK_BYTES = 4 << 20  # of an autograded notebook
MAX_NEW_DESCRIPTORS = 8  # that a grader may have open after an attack and had not before
SLACK_SECONDS = 600  # beyond the limit of a notebook: judging, recording, the feedback
# what an attack must not end with before it has attacked
BROKEN = "NameError|ImportError|ModuleNotFoundError|AttributeError|TypeError|PicklingError"
GOT_IN = "GOT-IN"  # what an attack prints, in two pieces, where it succeeds
Outcome = dict[str, Any]


@dataclass
class Attack:
    """One file of tests/attacks: what it hands in and what must come of it.

    CELLS: sources by exercise (the default is an honest running mean, 8 points, and no weighted mean);
    EXTRA: cells put before the exercises; notebook(nb): changes it, or returns a text to write in its place;
    files(folder): changes the folder handed in; SCORE: the scores allowed, None for nothing;
    LIMITS: limits of its own; NEXT: the honest student comes straight after it; LARGEST: bytes of its
    autograded notebook; FORBIDDEN: texts that may not come out; check(outcome): what else must hold.
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
        return given if isinstance(given, tuple) else (given,)


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
    every: int  # attacks between two gradings of the honest student
    since: int = 0  # attacks since the last of them
    before: dict[str, str] = field(default_factory=dict)

    def attempt(self, attack: Attack) -> list[str]:
        """Grade the attack and, after every few, the honest student; returns what went wrong, in words."""
        self.limits[0] = replace(SMALL, **attack.get("LIMITS", {}))
        submit(
            self.course, attack, {"@COURSE@": self.course.root, "@PID@": os.getpid(), "@TMP@": self.scratch}
        )
        self.before = self._files()
        began, memory, opened = time.monotonic(), memory_now(), descriptors()
        run_student(self.course, attack.name)
        outcome = {"score": self.score(attack.name), **self._results(attack)}
        outcome |= {"grown": memory_peak() - memory, "opened": descriptors() - opened}
        outcome["seconds"] = time.monotonic() - began
        self.since += 1
        if self.since >= self.every or attack.get("NEXT", False):
            self.grade_honest()
        return list(self._problems(attack, outcome))

    def score(self, student: str) -> float | None:
        """What the gradebook says; None where nobody judged, for then it says 0 or nothing."""
        judged = autograded(self.course, student).with_suffix(".verdict.json").is_file()
        return scores(self.course).get(student) if judged else None

    def grade_honest(self) -> float | None:
        """The honest student's score, from a new grading."""
        self.limits[0], self.since = PATIENT, 0
        run_student(self.course, HONEST)
        return self.score(HONEST)

    def _results(self, attack: Attack) -> Outcome:
        """What the attacker would be handed back, and what the instructor sees."""
        path = autograded(self.course, attack.name)
        verdict = path.with_suffix(".verdict.json")
        if not path.exists():
            return {"notebook": "", "verdict": "", "feedback": "", "back": set()}
        if path.stat().st_size <= attack.get("LARGEST", MAX_NOTEBOOK_BYTES):
            run_student(self.course, attack.name, GenerateFeedback)
        page = self.course.grading / "feedback" / attack.name / NAME / f"{NAME}.html"
        feedback = page.read_text() if page.exists() else ""
        back = {str(one.relative_to(page.parent)) for one in page.parent.rglob("*") if one.is_file()}
        texts = {"notebook": path.read_text(), "verdict": verdict.read_text(), "feedback": feedback}
        return {**texts, "back": back}

    def _problems(self, attack: Attack, outcome: Outcome) -> Iterator[str]:
        if outcome["score"] not in attack.allowed:
            yield f"score {outcome['score']}, allowed {attack.allowed}"
        if self.score(HONEST) != FULL:
            yield f"the honest student got {self.score(HONEST)}"
        for error in re.findall(rf'"ename": "({BROKEN})"', outcome["notebook"]):
            yield f"the attack did not come to its point: {error}"
        yield from self._leaks(attack, outcome)
        yield from self._traces()
        yield from _excesses(attack, outcome)
        yield from attack.get("check", lambda outcome: [])(outcome) or []

    def _traces(self) -> Iterator[str]:
        """Files changed, files and processes left behind."""
        after = self._files()
        for path in self.before.keys() | after.keys():
            if self.before.get(path) != after.get(path):
                yield f"{path} was changed"
        if left := sorted(path.name for path in self.scratch.iterdir()):
            yield f"left behind: {left}"
            subprocess.run(["rm", "-rf", *map(str, self.scratch.iterdir())], check=True)
        if processes := list(processes_left()):
            yield f"processes left: {processes}"

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
        names = ("source", "released", f"submitted/{HONEST}", "secret", CANARY)
        kept += [self.course.grading / name for name in names]
        found = {}
        for top in kept:
            for path in [top, *top.rglob("*")]:
                if path.is_file() and not path.is_symlink():
                    found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


def _excesses(attack: Attack, outcome: Outcome) -> Iterator[str]:
    """What the attempt took of the grader's memory, files, disk and time, where that is too much."""
    if outcome["grown"] > MAX_GROWTH_BYTES:
        yield f"the grader grew by {outcome['grown'] >> 20} MB"
    if outcome["opened"] > MAX_NEW_DESCRIPTORS:
        yield f"{outcome['opened']} files left open"
    if len(outcome["notebook"]) > attack.get("LARGEST", MAX_NOTEBOOK_BYTES):
        yield f"a notebook of {len(outcome['notebook'])} bytes"
    if outcome["seconds"] > 2 * SMALL.notebook + SLACK_SECONDS:
        yield f"it took {outcome['seconds']:.0f} s"


def submit(course: Course, attack: Attack, values: dict[str, Any]) -> None:
    """Hand the attack in; `values` take the place of the names in its sources."""
    notebook = filled(course, {"running-mean": RUNNING} | attack.get("CELLS", {}))
    notebook.cells[1:1] = [new_code_cell(source) for source in attack.get("EXTRA", [])]
    for cell in notebook.cells:
        for name, value in values.items():
            cell.source = cell.source.replace(name, str(value))
    changed = attack.get("notebook", lambda nb: None)(notebook)
    path = hand_in(course, attack.name, notebook)
    if isinstance(changed, str):
        path.write_text(changed)
    attack.get("files", lambda folder: None)(path.parent)


def run_student(course: Course, student: str, converter: type = Autograde) -> None:
    """Run nbgrader for one student; that it could not grade a submission shows in the score."""
    with suppress(NbGraderException):
        run(course, converter, student, force=True)


@contextmanager
def classroom(every: int) -> Iterator[Class]:
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
            patch.setattr("autograde.grading.reading.limits_of", lambda metadata: limits[0])
            patch.setenv("GRADER_CANARY", f"{CANARY}-environment")
            patch.setattr(tempfile, "tempdir", str(scratch))
            patch.chdir(root / "c")
            made = Class(_fill(write_course(root / "c")), scratch, limits, every)
            made.grade_honest()
            yield made
    finally:
        subprocess.run(["chmod", "-R", "u+rwx", str(root)], check=False)  # an attack took these rights
        while subprocess.run(["rm", "-rf", str(root)], check=False).returncode:
            time.sleep(1)  # an attack goes on changing its folder for some seconds


def _fill(course: Course) -> Course:
    (course.root / "hidden" / f"test_{NAME}.py").write_text(HIDDEN)
    release(course, [NAME])
    (course.grading / CANARY).write_text(f"{CANARY}-gradebook")
    course_secret(course.grading)
    (course.grading / f"{CANARY}-note").write_text(f"{CANARY}-note")
    honest = {**RIGHT, "weighted-mean": RIGHT["weighted-mean"] + NOTE, "why-mean": f"{CANARY}-honest-student"}
    hand_in(course, HONEST, filled(course, honest))
    return course
