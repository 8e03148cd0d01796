"""`autograde grade`: a class gets nbgrader's own scores; what fails is a row; what is graded stays."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from classroom import FULL, RIGHT, RUNNING, WEIGHTED, autograded, filled, forge, hand_in, scores
from click.testing import CliRunner
from course_root import ROOT
from nbgrader import utils
from nbgrader.api import Gradebook
from small_course import NAME, change, course
from sqlalchemy import Engine
from sqlalchemy.event import listen, remove
from sqlalchemy.sql.compiler import SQLCompiler

from autograde import atomic_write
from autograde.authoring.release import release
from autograde.cells import grade_id
from autograde.cli import main
from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading import class_run as grading_of_a_class
from autograde.grading import nbgrader_patches
from autograde.grading.class_run import grade
from autograde.grading.gradebook import compile_queries, one_engine, open_gradebook
from autograde.grading.lms_csv import export
from autograde.grading.submission import course_secret
from autograde.report.statistics import report

__all__ = ["course"]
NAMES = r"""
c.FileNameCollectorPlugin.named_regexp = r".* (?P<student_id>\w+)_90_small_attempt_.*_(?P<file_id>90_small)"
"""
PENALTY = "\nc.LateSubmissionPlugin.penalty_method = 'zero'\n"
HALF = {**RIGHT, "weighted-mean": "def weighted_mean(x, w):\n    return 1 / 0\n"}
DEAD = {**RIGHT, "weighted-mean": "import os\nos._exit(1)\n"}
KINDS = {"right": RIGHT, "blank": {}, "half": HALF, "dead": DEAD, "one": {"running-mean": RUNNING}}


@pytest.fixture
def released(course: Course) -> Course:
    shutil.copy(ROOT / "nbgrader_config.py", course.root)
    release(course, [NAME])
    return course


def outcome(course: Course, jobs: int = 2) -> dict[str, tuple[str, float | None]]:
    return {row.student: (row.status, row.points) for row in grade(course, NAME, jobs)}


def mixed(course: Course) -> None:
    """40 submissions: right, partly right, blank, dying, forged, late, with a file, with a grade by hand."""
    for number in range(8):
        for kind, answers in KINDS.items():
            path = hand_in(course, f"{kind}-{number}", filled(course, answers))
            if number == 1:
                (path.parent / "timestamp.txt").write_text("2026-01-02 12:00:00 UTC")
            if number == 2:
                (path.parent / "words.txt").write_text("mine")
            if number == 3:
                nbformat.write(forge(filled(course, answers)), path)
    with open_gradebook(course) as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate="2026-01-01 12:00:00 UTC")


def gradebook_of(course: Course) -> dict[str, tuple[float, ...]]:
    with open_gradebook(course) as gradebook:
        rows = gradebook.assignment_submissions(NAME)
        return {row.student_id: (row.score, row.max_score, row.late_submission_penalty) for row in rows}


def shown(course: Course, student: str) -> dict[str | None, list[dict]]:
    return {
        grade_id(cell): cell.get("outputs", [])
        for cell in nbformat.read(autograded(course, student), 4).cells
    }


def copy_of(course: Course, root: Path) -> Course:
    shutil.copytree(course.root, root)
    return Course.at(root)


def test_forty_submissions_get_what_nbgrader_gives_them(released, tmp_path_factory):
    config = released.root / "nbgrader_config.py"
    config.write_text(config.read_text() + PENALTY)
    mixed(released)
    course_secret(released.grading)
    theirs = copy_of(released, tmp_path_factory.mktemp("theirs") / "course")
    line = [sys.executable, "-c", RUN.format(hidden=str(released.root / "hidden"))]
    subprocess.run(line, cwd=theirs.root, check=True, stdin=subprocess.DEVNULL)
    found = outcome(released)
    assert len(found) == 40 and {status for status, _ in found.values()} == {"graded"}
    assert gradebook_of(released) == gradebook_of(theirs)
    assert {penalty for _, _, penalty in gradebook_of(released).values()} > {0.0}
    for student in found:
        assert shown(released, student) == shown(theirs, student)
        pages = [c.grading / "feedback" / student / NAME / f"{NAME}.html" for c in (released, theirs)]
        # a dying kernel may or may not have told its cell's number
        ours, other = (re.sub(r"In&nbsp;\[(&nbsp;|\d)*\]", "", page.read_text()) for page in pages)
        assert ours == other


# nbgrader's own commands, in a process of their own, with the small course's hidden tests
RUN = """
from pathlib import Path
import autograde.course
autograde.course.HIDDEN = Path({hidden!r})
from nbgrader.apps import AutogradeApp, GenerateFeedbackApp
for command in (AutogradeApp, GenerateFeedbackApp):
    app = command()
    app.initialize(["90_small", "--log-level=ERROR"])
    app.start()
"""


def test_what_cannot_be_graded_is_a_row_with_its_reason(released):
    for student in ("ann", "zoe"):
        hand_in(released, student, filled(released, RIGHT))
    hand_in(released, "not-json", filled(released, RIGHT)).write_text("{")
    hand_in(released, "nothing", filled(released, RIGHT)).unlink()
    path = hand_in(released, "link", filled(released, RIGHT))
    path.unlink()
    path.symlink_to(hand_in(released, "ann", filled(released, RIGHT)))
    hand_in(released, "$(rm)", filled(released, RIGHT))
    rows = {row.student: row for row in grade(released, NAME, 2)}
    assert {s for s, row in rows.items() if row.status == "graded" and row.points == FULL} == {"ann", "zoe"}
    for student, word in {"not-json": "JSON", "nothing": "no 90", "link": "link", "$(rm)": "Rename"}.items():
        assert rows[student].status == "failed" and word in rows[student].reason
        assert "\n" not in rows[student].reason


def test_only_what_changed_is_graded_anew(released):
    for student in ("ann", "bob"):
        hand_in(released, student, filled(released, {"running-mean": RUNNING}))
    assert outcome(released) == {"ann": ("graded", 8), "bob": ("graded", 8)}
    assert outcome(released) == {"ann": ("unchanged", 8), "bob": ("unchanged", 8)}
    assert report(released, NAME).stale == []
    assert {row.name: row.blank for row in report(released, NAME).exercises}["weighted-mean"] == 1
    hand_in(released, "ann", filled(released, RIGHT))
    assert report(released, NAME).stale == ["ann"]
    assert outcome(released) == {"ann": ("graded", FULL), "bob": ("unchanged", 8)}
    tests = released.root / "hidden" / f"test_{NAME}.py"
    tests.write_text(tests.read_text().replace("== 1.5", "== 1.25"))
    assert report(released, NAME).stale == ["ann", "bob"]
    assert outcome(released) == {"ann": ("graded", 12), "bob": ("graded", 0)}
    with open_gradebook(released) as gradebook:
        gradebook.remove_submission(NAME, "bob")
    assert outcome(released) == {"ann": ("unchanged", 12), "bob": ("graded", 0)}
    change(released, "The mean is", "A mean is")
    release(released, [NAME])
    assert outcome(released) == {"ann": ("graded", 12), "bob": ("graded", 0)}
    assert scores(released) == {"ann": 12, "bob": 0}


def test_a_grade_by_hand_stays(released):
    hand_in(released, "ann", filled(released, {**RIGHT, "weighted-mean": "weighted_mean = None\n"}))
    grade(released, NAME, 1)
    with open_gradebook(released) as gradebook:
        for name, points in {"why-mean": 2, "test-weighted-mean": 5}.items():
            gradebook.find_grade(name, NAME, NAME, "ann").manual_score = points
        gradebook.db.commit()
    hand_in(released, "ann", filled(released, RIGHT))
    assert outcome(released) == {"ann": ("graded", FULL)}
    assert scores(released) == {"ann": 5 + 8 + 2}


def test_extra_credit_counts_and_stays(released):
    hand_in(released, "ann", filled(released, {"running-mean": RUNNING}))
    grade(released, NAME, 1)
    with open_gradebook(released) as gradebook:
        gradebook.find_grade("test-running-mean", NAME, NAME, "ann").extra_credit = 1.5
        gradebook.db.commit()
    hand_in(released, "ann", filled(released, RIGHT))
    assert outcome(released) == {"ann": ("graded", FULL)}
    assert scores(released) == {"ann": FULL + 1.5}
    table = csv.DictReader(export(released, NAME)[0].open())
    assert [row[NAME] for row in table] == ["21.5"]


def test_a_killed_worker_is_a_row_and_is_graded_next_time(released, monkeypatch):
    for student in ("ann", "bob", "cid"):
        hand_in(released, student, filled(released, RIGHT))
    recorded = atomic_write.write

    def write(path, content):
        if path.match("bob/*/*.graded.json"):
            os.kill(os.getpid(), signal.SIGKILL)
        recorded(path, content)

    monkeypatch.setattr(atomic_write, "write", write)
    rows = {row.student: row for row in grade(released, NAME, 2)}
    assert rows["bob"].status == "failed" and "run again" in rows["bob"].reason
    assert (rows["ann"].status, rows["cid"].status) == ("graded", "graded")
    monkeypatch.undo()
    monkeypatch.setattr("autograde.course.HIDDEN", released.root / "hidden")
    assert outcome(released)["bob"] == ("graded", FULL)


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """A file system with hardly any room, where that may be made."""
    place.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("place", ["autograded", "feedback"])
def test_a_full_disk_is_a_row_and_a_clean_resume(released, place):
    hand_in(released, "ann", filled(released, RIGHT))
    grade(released, NAME, 1)
    hand_in(released, "ann", filled(released, {"running-mean": RUNNING}))
    shutil.rmtree(released.grading / place)
    with small_disk(released.grading / place, "8k"):
        (row,) = grade(released, NAME, 1)
    assert row.status == "failed" and "No space left on device" in row.reason
    assert outcome(released) == {"ann": ("graded", 8)}
    assert scores(released) == {"ann": 8}


def test_a_locked_gradebook_is_a_row_and_a_clean_resume(released):
    hand_in(released, "ann", filled(released, RIGHT))
    lock = sqlite3.connect(released.grading / "gradebook.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    done = CliRunner().invoke(main, ["grade", NAME, "--json"])
    lock.execute("ROLLBACK")
    lock.close()
    (row,) = json.loads(done.stdout)["submissions"]
    assert row["status"] == "failed" and "database is locked" in row["reason"]
    assert done.exit_code == 1 and "Cannot use" in done.stderr and "Traceback" not in done.stderr
    assert outcome(released) == {"ann": ("graded", FULL)}


def open_files() -> list[str]:
    links = Path("/proc/self/fd").iterdir()
    return sorted(os.readlink(link) for link in links if os.path.lexists(link))


LOCK = """import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN EXCLUSIVE")
print(flush=True)
input()
"""


def test_no_fork_inherits_a_connection_to_the_gradebook(released):
    line = [sys.executable, "-c", LOCK, str(released.grading / "gradebook.db")]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as lock:
        assert lock.stdout is not None and lock.stdout.readline()
        before = open_files()
        nbgrader_patches.apply()
        with one_engine(released):
            compile_queries(released, NAME, nbformat.read(released.released(NAME), 4))
        assert open_files() == before
        lock.kill()


def test_a_class_looks_for_its_tables_once_and_other_gradebooks_get_theirs(released, tmp_path):
    asked: list[str] = []

    def note(connection, cursor, statement, *more):
        asked.append(statement)

    def looks() -> bool:
        asked.clear()
        with open_gradebook(released) as gradebook:
            assert gradebook.assignments
        return any("table_info" in statement for statement in asked)

    nbgrader_patches.apply()
    listen(Engine, "before_cursor_execute", note)
    with one_engine(released):
        assert looks() and not looks()
        with Gradebook(f"sqlite:///{tmp_path}/other.db") as other:
            assert other.assignments == []
    assert looks() and looks(), "only inside"
    remove(Engine, "before_cursor_execute", note)


def test_grading_finds_its_queries_compiled_and_nobody_in_the_gradebook(released, monkeypatch):
    """A rehearsal compiles them; here each submission is graded in this process, where it can be seen."""
    compiled: list[str] = []

    def one_by_one(work, folders, limit, jobs, pinned):
        compile_one = SQLCompiler.__init__

        def note(compiler, *given, **named):
            compile_one(compiler, *given, **named)
            compiled.append(str(compiler.string))

        monkeypatch.setattr(SQLCompiler, "__init__", note)
        for index, folder in enumerate(folders):
            yield index, work(folder)

    monkeypatch.setattr(grading_of_a_class, "forked_map", one_by_one)
    hand_in(released, "ann", filled(released, RIGHT))
    assert [row.points for row in grade(released, NAME, 1)] == [FULL] and not compiled
    with open_gradebook(released) as gradebook:
        assert [student.id for student in gradebook.students] == ["ann"]


def test_scores_are_recorded_all_or_none(released, monkeypatch):
    determine, asked = utils.determine_grade, list[None]()

    def fails(*given):
        asked.append(None)
        if len(asked) == 2:
            raise OSError(5, "the disk is gone", "gradebook.db")
        return determine(*given)

    hand_in(released, "ann", filled(released, RIGHT))
    with monkeypatch.context() as patch:
        patch.setattr(utils, "determine_grade", fails)
        (row,) = grade(released, NAME, 1)
    assert row.status == "failed" and "disk is gone" in row.reason
    with open_gradebook(released) as gradebook:
        grades = gradebook.find_submission_notebook(NAME, NAME, "ann").grades
        assert len(grades) > 1 and {grade.auto_score for grade in grades} == {None}
    assert [row.points for row in grade(released, NAME, 1)] == [FULL]


def test_one_grader_at_a_time_and_nothing_else_in_one_line(released, monkeypatch):
    with pytest.raises(CourseError, match="Nothing was handed in"):
        grade(released, NAME, 1)
    hand_in(released, "ann", filled(released, RIGHT))
    with pytest.raises(CourseError, match="by bob"):
        grade(released, NAME, 1, ("bob",))
    with grading_of_a_class._alone(released, NAME), pytest.raises(CourseError, match="another process"):
        grade(released, NAME, 1)
    (released.root / "nbgrader_config.py").write_text("c = get_config()\n")
    with pytest.raises(CourseError, match="lacks our steps"):
        grade(released, NAME, 1)


def test_the_command_prints_json_and_writes_what_canvas_and_moodle_read(released):
    hand_in(released, "ann", filled(released, RIGHT))
    hand_in(released, "bob", filled(released, {"weighted-mean": WEIGHTED}))
    hand_in(released, "bad", filled(released, RIGHT)).write_text("{")
    with open_gradebook(released) as gradebook:
        gradebook.add_student("ann", first_name="Ann", last_name="Lee", email="a@x.org", lms_user_id="7")
    done = CliRunner().invoke(main, ["grade", NAME, "--json", "--jobs", "2"])
    assert done.exit_code == 1 and "Not graded: 1 of 3" in done.stderr
    rows = {row["student"]: row for row in json.loads(done.stdout)["submissions"]}
    assert (rows["ann"]["points"], rows["bob"]["points"], rows["bad"]["status"]) == (FULL, 12, "failed")
    canvas, moodle = (
        list(csv.DictReader((released.grading / "grades" / f"{NAME}.{lms}.csv").open()))
        for lms in ("canvas", "moodle")
    )
    assert [(row["Student"], row["ID"], row["SIS Login ID"], row[NAME]) for row in canvas] == [
        ("Lee, Ann", "7", "ann", "20"),
        ("bob", "", "bob", "12"),
    ]
    assert [(row["Username"], row["Email address"], row[NAME]) for row in moodle] == [
        ("ann", "a@x.org", "20"),
        ("bob", "", "12"),
    ]


def test_an_archive_of_an_lms_is_the_way_in(released):
    config = released.root / "nbgrader_config.py"
    config.write_text(config.read_text() + NAMES)
    archive = released.root / "downloaded" / NAME / "archive"
    archive.mkdir(parents=True)
    with zipfile.ZipFile(archive / "all.zip", "w") as bundle:
        for student in ("ann", "bob"):
            notebook = nbformat.writes(filled(released, RIGHT))
            bundle.writestr(f"Course 1 {student}_{NAME}_attempt_2026-01-01-10-00-00_{NAME}.ipynb", notebook)
    line = [sys.executable, "-m", "nbgrader", "zip_collect", NAME, "--log-level=ERROR"]
    done = subprocess.run(line, cwd=released.root, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert outcome(released) == {"ann": ("graded", FULL), "bob": ("graded", FULL)}
