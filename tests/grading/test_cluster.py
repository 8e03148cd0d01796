"""A class graded on a Dask cluster gets what it gets on one machine, and nothing stays on the workers."""

import datetime as dt
import json
import shutil

import pytest
from classroom import (
    DEAD,
    FULL,
    HALF,
    RIGHT,
    autograded,
    configured,
    filled,
    forge,
    gradebook_of,
    hand_in,
    released,
)
from click.testing import CliRunner
from cluster import begin, by_hand, certificates, ended, rows, until
from small_course import NAME, course

from autograde.cli import main
from autograde.course import Course
from autograde.errors import CourseError, UsageError
from autograde.grading import term
from autograde.grading.cluster import address
from autograde.grading.gradebook import open_gradebook
from autograde.grading.submission import copies_of, course_secret
from autograde.report.statistics import report

__all__ = ["configured", "course", "released"]


def small_class(course: Course) -> None:
    """Right, half (late), dying, blank, forged; one that needs a file beside it, one that is no notebook."""
    (course.grading / "settings.py").write_text("c.LateSubmissionPlugin.penalty_method = 'zero'\n")
    for student, answers in {"ann": RIGHT, "bob": HALF, "cid": DEAD, "dan": {}}.items():
        hand_in(course, student, filled(course, answers))
    hand_in(course, "eve", forge(filled(course, HALF)))
    needs = {**RIGHT, "weighted-mean": "import helper\nweighted_mean = helper.weighted_mean\n"}
    path = hand_in(course, "fay", filled(course, needs))
    (path.parent / "helper.py").write_text("import numpy as np\n" + RIGHT["weighted-mean"])
    hand_in(course, "gus", filled(course, RIGHT)).write_text("{")
    course_secret(course.grading)
    term.receive(course, NAME, "bob", dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC), "instructor")
    with open_gradebook(course) as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate="2026-01-01 12:00:00 UTC")


def results(course: Course) -> dict[str, object]:
    """All that a class gets: gradebook, notebooks, verdicts, pages, exports, report."""
    told = report(course, NAME)
    found: dict[str, object] = {"gradebook": gradebook_of(course), "stale": told.stale}
    found["exercises"] = told.exercises
    for path in (*(course.grading / "feedback").rglob("*"), *(course.grading / "grades").iterdir()):
        if path.is_file():
            found[str(path.relative_to(course.grading))] = path.read_bytes()
    for student in ("ann", "bob", "eve", "fay"):  # a dying kernel may or may not have told its cell's number
        notebook = autograded(course, student)
        found[student] = notebook.read_bytes()
        verdict = json.loads(notebook.with_suffix(".verdict.json").read_text())
        found[f"verdict of {student}"] = {k: verdict[k] for k in verdict if k not in ("seconds", "memory")}
    found.pop(f"feedback/cid/{NAME}/{NAME}.html")
    return found


def test_two_workers_made_for_a_run_give_what_one_machine_gives(configured, tmp_path_factory):
    pytest.importorskip("distributed", reason="Dask is not installed")
    small_class(configured)
    theirs = Course.at(tmp_path_factory.mktemp("there") / "course")
    shutil.copytree(configured.root, theirs.root)
    here, errors = ended(begin(configured, "--jobs", "1"))
    over, told = ended(begin(theirs, "--cluster", "local:2"))
    assert rows(over) == rows(here) and rows(here)["ann"] == ("graded", FULL) == rows(here)["fay"]
    assert rows(here)["gus"] == ("failed", None) and told == errors
    assert {k: v for k, v in over.items() if k in ("standings", "refused_workers")} == {
        "standings": here["standings"],
        "refused_workers": {},
    }
    assert results(theirs) == results(configured)
    again = rows(ended(begin(theirs, "--cluster", "local:1"))[0])
    assert {status for status, _ in again.values()} == {"unchanged", "failed"}


def test_the_page_s_commands_make_a_cluster_and_nothing_stays_on_it(configured, tmp_path):
    settings = certificates(tmp_path / "certificates")
    for student in ("ann", "bob"):
        hand_in(configured, student, filled(configured, RIGHT))
    with by_hand(tmp_path / "dask", "tls", settings) as cluster:
        cluster.worker("one")
        lesson, errors = ended(begin(configured, "--cluster", cluster.address, **settings))
        assert cluster.address.startswith("tls://") and not errors
        assert rows(lesson) == {"ann": ("graded", FULL), "bob": ("graded", FULL)}
        until(lambda: not list((tmp_path / "dask" / "one").glob("autograde-*")), *cluster.processes)
        with open_gradebook(configured) as gradebook:
            gradebook.find_grade("why-mean", NAME, NAME, "ann").manual_score = 2
            gradebook.db.commit()
        words = ("--cluster", cluster.address, "--again", "weighted-mean")
        again, _ = ended(begin(configured, *words, **settings))
        assert rows(again) == rows(lesson) and gradebook_of(configured)["ann"][0] == FULL + 2


@pytest.mark.parametrize(
    ("words", "says", "status"),
    [
        (("--cluster", "tcp://192.0.2.1:8786"), "plain TCP to another machine", 2),
        (("--cluster", "tls://host"), "--cluster takes tls://HOST:PORT, or local:N", 2),
        (("--cluster", "local:0"), "--cluster takes tls://HOST:PORT, or local:N", 2),
        (("--cluster", "local:2", "--jobs", "2"), "leave one of them out", 2),
    ],
)
def test_an_address_that_may_not_be_is_one_line(configured, words, says, status):
    pytest.importorskip("distributed", reason="Dask is not installed")
    hand_in(configured, "ann", filled(configured, RIGHT))
    done = CliRunner().invoke(main, ["grade", NAME, *words])
    (line,) = done.stderr.strip().splitlines()
    assert done.exit_code == status and says in line


def test_plain_tcp_is_for_this_machine_alone():
    assert address.is_safe("tls://192.0.2.1:1") and address.is_safe("tcp://127.0.0.1:1")
    assert address.is_safe("tcp://[::1]:1") and address.is_safe("tcp://localhost:1")
    for url in ("tcp://192.0.2.1:1", "tcp://0.0.0.0:1", "ws://127.0.0.1:1", "tcp://no.such.host.invalid:1"):
        assert not address.is_safe(url), url


def test_without_dask_it_is_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CourseError, match="pip install"):
        address.read("local:1")


def test_no_address_is_taken_for_another():
    pytest.importorskip("distributed", reason="Dask is not installed")
    assert address.read("local:12").workers == 12 and not address.read("tls://10.0.0.1:8786").workers
    for text in ("", "local", "local:-1", "inproc://1", "tls://:1", "tls://a:b", "tcp://["):
        with pytest.raises(UsageError):
            address.read(text)


def test_a_file_beside_a_notebook_lands_nowhere_else(tmp_path):
    for name in ("../out", "/out", "a/../../out"):
        with pytest.raises(ValueError, match="no name of a file"), copies_of({name: b"x"}):
            pass
    with copies_of({"a/b.txt": b"x"}) as folder:
        assert (folder / "a" / "b.txt").read_bytes() == b"x"
