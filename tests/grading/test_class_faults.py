"""What goes wrong while a class is graded costs a row, never a score: kills, full disks, locks."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from classroom import FULL, RIGHT, RUNNING, configured, filled, hand_in, outcome, released, scores
from click.testing import CliRunner
from nbgrader import utils
from nbgrader.api import Gradebook
from small_course import NAME, course
from sqlalchemy import Engine
from sqlalchemy.event import listen, remove
from sqlalchemy.sql.compiler import SQLCompiler

from autograde import atomic_write
from autograde.cli import main
from autograde.grading import class_run as grading_of_a_class
from autograde.grading import nbgrader_patches
from autograde.grading.class_run import grade
from autograde.grading.gradebook import compile_queries, one_engine, open_gradebook
from autograde.grading.in_progress import COPIES

__all__ = ["configured", "course", "released"]


def test_a_killed_worker_is_a_row_and_is_graded_next_time(configured, monkeypatch):
    for student in ("ann", "bob", "cid"):
        hand_in(configured, student, filled(configured, RIGHT))
    recorded = atomic_write.write

    def write(path, content):
        if path.match("bob/*/*.graded.json"):
            os.kill(os.getpid(), signal.SIGKILL)
        recorded(path, content)

    monkeypatch.setattr(atomic_write, "write", write)
    rows = {row.student: row for row in grade(configured, NAME, 2)}
    assert rows["bob"].status == "failed" and "run again" in rows["bob"].reason
    assert (rows["ann"].status, rows["cid"].status) == ("graded", "graded")
    monkeypatch.undo()
    monkeypatch.setattr("autograde.course.HIDDEN", configured.root / "hidden")
    assert outcome(configured)["bob"] == ("unchanged", FULL)
    assert (configured.grading / "feedback" / "bob" / NAME / f"{NAME}.html").exists()


def test_a_folder_that_comes_or_goes_during_the_first_looks_is_a_row(configured, monkeypatch):
    for student in ("ann", "bob"):
        hand_in(configured, student, filled(configured, RIGHT))

    def sweep(*_, **__):
        hand_in(configured, "cid", filled(configured, RIGHT))
        shutil.rmtree(configured.grading / "submitted" / "bob")

    monkeypatch.setattr(grading_of_a_class, "sweep", sweep)
    rows = {row.student: row for row in grade(configured, NAME, 2)}
    assert (rows["ann"].status, rows["cid"].status) == ("graded", "graded")
    assert rows["bob"].status == "failed" and "bob" in rows["bob"].reason


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
def test_a_full_disk_is_a_row_and_a_clean_resume(configured, place):
    hand_in(configured, "ann", filled(configured, RIGHT))
    grade(configured, NAME, 1)
    hand_in(configured, "ann", filled(configured, {"running-mean": RUNNING}))
    shutil.rmtree(configured.grading / place)
    with small_disk(configured.grading / place, "8k"):
        (row,) = grade(configured, NAME, 1)
    assert row.status == "failed" and "No space left on device" in row.reason
    kept = "unchanged" if place == "feedback" else "graded"  # the verdict was whole, its page was not
    assert outcome(configured) == {"ann": (kept, 8)}
    assert scores(configured) == {"ann": 8}
    assert (configured.grading / "feedback" / "ann" / NAME / f"{NAME}.html").exists()


def test_a_locked_gradebook_is_a_row_and_a_clean_resume(configured):
    hand_in(configured, "ann", filled(configured, RIGHT))
    lock = sqlite3.connect(configured.grading / "gradebook.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    done = CliRunner().invoke(main, ["grade", NAME, "--json"])
    lock.execute("ROLLBACK")
    lock.close()
    (row,) = json.loads(done.stdout)[0]["submissions"]
    assert row["status"] == "failed" and "database is locked" in row["reason"]
    assert done.exit_code == 1 and "Cannot use" in done.stderr and "Traceback" not in done.stderr
    assert outcome(configured) == {"ann": ("graded", FULL)}


def open_files() -> list[str]:
    links = Path("/proc/self/fd").iterdir()
    return sorted(os.readlink(link) for link in links if os.path.lexists(link))


LOCK = """import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN EXCLUSIVE")
print(flush=True)
input()
"""


def test_no_fork_inherits_a_connection_to_the_gradebook(configured):
    line = [sys.executable, "-c", LOCK, str(configured.grading / "gradebook.db")]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as lock:
        assert lock.stdout is not None and lock.stdout.readline()
        before = open_files()
        nbgrader_patches.apply()
        with one_engine(configured):
            compile_queries(configured, NAME, nbformat.read(configured.released(NAME), 4))
        assert open_files() == before
        lock.kill()


def test_a_class_looks_for_its_tables_once_and_other_gradebooks_get_theirs(configured, tmp_path):
    asked: list[str] = []

    def note(connection, cursor, statement, *more):
        asked.append(statement)

    def looks() -> bool:
        asked.clear()
        with open_gradebook(configured) as gradebook:
            assert gradebook.assignments
        return any("table_info" in statement for statement in asked)

    nbgrader_patches.apply()
    listen(Engine, "before_cursor_execute", note)
    with one_engine(configured):
        assert looks() and not looks()
        with Gradebook(f"sqlite:///{tmp_path}/other.db") as other:
            assert other.assignments == []
    assert looks() and looks(), "only inside"
    remove(Engine, "before_cursor_execute", note)


def test_grading_finds_its_queries_compiled_and_nobody_in_the_gradebook(configured, monkeypatch):
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
    hand_in(configured, "ann", filled(configured, RIGHT))
    assert [row.points for row in grade(configured, NAME, 1)] == [FULL] and not compiled
    with open_gradebook(configured) as gradebook:
        assert [student.id for student in gradebook.students] == ["ann"]


def test_scores_are_recorded_all_or_none(configured, monkeypatch):
    determine, asked = utils.determine_grade, list[None]()

    def fails(*given):
        asked.append(None)
        if len(asked) == 2:
            raise OSError(5, "the disk is gone", "gradebook.db")
        return determine(*given)

    hand_in(configured, "ann", filled(configured, RIGHT))
    with monkeypatch.context() as patch:
        patch.setattr(utils, "determine_grade", fails)
        (row,) = grade(configured, NAME, 1)
    assert row.status == "failed" and "disk is gone" in row.reason
    with open_gradebook(configured) as gradebook:
        grades = gradebook.find_submission_notebook(NAME, NAME, "ann").grades
        assert len(grades) > 1 and {grade.auto_score for grade in grades} == {None}
    assert [row.points for row in grade(configured, NAME, 1)] == [FULL]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_leaves_no_folder_and_no_lock(configured, tmp_path, monkeypatch, number):
    slow = {**RIGHT, "weighted-mean": "import time\ntime.sleep(60)\n"}
    hand_in(configured, "ann", filled(configured, slow))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    grader = multiprocessing.get_context("fork").Process(target=grade, args=(configured, NAME, 1))
    grader.start()
    while not list(scratch.glob("autograde-*/grading-*")):  # a kernel is about to start
        time.sleep(0.05)
        assert grader.is_alive()
    os.kill(grader.pid, number)
    grader.join(60)
    assert grader.exitcode == 128 + number
    assert list(scratch.iterdir()) == []
    hand_in(configured, "ann", filled(configured, RIGHT))
    assert outcome(configured) == {"ann": ("graded", FULL)}
    assert list((configured.grading / COPIES).iterdir()) == []


def test_a_full_disk_where_copies_go_is_a_row(configured):
    hand_in(configured, "ann", filled(configured, RIGHT))
    (configured.grading / COPIES).mkdir(exist_ok=True)
    with small_disk(configured.grading / COPIES, "4k"):
        (row,) = grade(configured, NAME, 1)
    assert row.status == "failed" and "No space left on device" in row.reason
    assert outcome(configured) == {"ann": ("graded", FULL)}


def test_a_gradebook_that_cannot_be_written_is_a_row(configured):
    hand_in(configured, "ann", filled(configured, RIGHT))
    book = str(configured.grading / "gradebook.db")
    if subprocess.run(["mount", "--bind", "-o", "ro", book, book], capture_output=True).returncode:
        pytest.skip("no file may be mounted here")
    try:
        done = CliRunner().invoke(main, ["grade", NAME])
    finally:
        subprocess.run(["umount", book], check=True)
    assert done.exit_code == 1 and "readonly" in done.output and "Traceback" not in done.output
    assert outcome(configured) == {"ann": ("graded", FULL)}
