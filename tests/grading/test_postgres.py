"""A gradebook in PostgreSQL: the same scores, several graders at once, and a server that comes and goes."""

import json
import multiprocessing
import sys
import threading
import time

import pytest
from classroom import FULL, RIGHT, configured, filled, gradebook_of, hand_in, mixed, outcome, released
from click.testing import CliRunner
from postgres import PASSWORD, server, use
from small_course import NAME, course

from autograde.authoring.release import release
from autograde.cli import main
from autograde.course import Course
from autograde.grading.claim import claimed
from autograde.grading.class_run import grade
from autograde.grading.gradebook import open_gradebook

__all__ = ["configured", "course", "released", "server"]
OTHER = "91_other"


@pytest.fixture
def served(configured, server, request) -> Course:
    """The small course with its gradebook in a database of its own."""
    use(configured, server.database(request.node.name))
    release(configured, [NAME])
    return configured


def refused(*arguments: str) -> str:
    """The one line in which a command says why not."""
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1 and PASSWORD not in done.output, done.output
    (line,) = done.stderr.strip().splitlines()
    return line


def graded() -> dict[str, tuple[str, float]]:
    """Status and points by `autograde grade`, which exports too."""
    done = CliRunner().invoke(main, ["grade", NAME, "--json"])
    (lesson,) = json.loads(done.stdout)
    return {row["student"]: (row["status"], row["points"]) for row in lesson["submissions"]}


def exported(course: Course) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (course.grading / "grades").iterdir()}


def test_forty_submissions_get_the_scores_that_they_get_in_a_file(configured, server):
    late = "c.LateSubmissionPlugin.penalty_method = 'zero'\n"
    (configured.grading / "settings.py").write_text(late)
    mixed(configured)
    found = graded()
    in_file, files = gradebook_of(configured), exported(configured)
    use(configured, server.database("forty"))
    release(configured, [NAME])
    with open_gradebook(configured) as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate="2026-01-01 12:00:00 UTC")
    assert graded() == found and len(found) == 40 and {status for status, _ in found.values()} == {"graded"}
    assert gradebook_of(configured) == in_file and {row[2] for row in in_file.values()} > {0.0}
    assert exported(configured) == files
    assert {status for status, _ in graded().values()} == {"unchanged"}
    report = CliRunner().invoke(main, ["report", NAME, "--json"])
    assert report.exit_code == 0, report.output


def test_a_server_that_does_not_run_is_one_line_and_a_clean_resume(served, server):
    hand_in(served, "ann", filled(served, RIGHT))
    server.stop("immediate")
    try:
        for command in ("grade", "release", "report"):
            assert "Cannot use postgresql+psycopg://grader:***@" in refused(command, NAME)
        assert not (served.grading / "autograded").exists(), "nobody was graded in vain"
    finally:
        server.start()
    assert outcome(served) == {"ann": ("graded", FULL)}


def test_a_server_killed_while_it_grades_costs_no_score(served, server):
    students = {f"student-{number}" for number in range(8)}
    for student in students:
        hand_in(served, student, filled(served, RIGHT))
    stopped = threading.Event()

    def stop(row) -> None:
        if row.status == "graded" and not stopped.is_set():
            stopped.set()
            server.stop("immediate")

    try:
        rows = grade(served, NAME, 1, done=stop)
    finally:
        server.start()
    reasons = {row.reason for row in rows if row.status == "failed"}
    assert reasons and all("Cannot use" in reason and "\n" not in reason for reason in reasons)
    assert PASSWORD not in str(rows)
    first = {row.student for row in rows if row.status == "graded"}
    again = outcome(served)
    assert {student for student, (status, _) in again.items() if status == "unchanged"} == first
    assert {points for _, points in again.values()} == {FULL} and set(again) == students
    assert {row[0] for row in gradebook_of(served).values()} == {FULL}


def other_lesson(course: Course) -> None:
    """A second lesson, which is the first under another name."""
    for old in (course.source(NAME), *course.root.glob(f"hidden/**/*{NAME}.py")):
        new = old.parent.parent / OTHER if old == course.source(NAME) else old.parent
        new.mkdir(exist_ok=True)
        (new / old.name.replace(NAME, OTHER)).write_text(old.read_text())
    release(course, [OTHER])


def test_two_graders_and_a_person_write_to_it_at_once(served):
    other_lesson(served)
    students = [f"student-{number}" for number in range(6)]
    for student in students:
        for lesson in (NAME, OTHER):
            hand_in(served, student, filled(served, RIGHT, lesson), lesson)
    fork = multiprocessing.get_context("fork")
    graders = [fork.Process(target=grade, args=(served, lesson, 1)) for lesson in (NAME, OTHER)]
    for grader in graders:
        grader.start()
    entered = 0
    while any(grader.is_alive() for grader in graders):
        with open_gradebook(served) as gradebook:
            gradebook.update_or_create_student(f"later-{entered}", first_name="by hand")
        entered += 1
        time.sleep(0.1)
    assert [grader.exitcode for grader in graders] == [0, 0] and entered > 3
    for lesson in (NAME, OTHER):
        rows = grade(served, lesson, 2)
        assert [(row.status, row.reason, row.points) for row in rows] == [("unchanged", "", FULL)] * 6
    with open_gradebook(served) as gradebook:
        assert len(gradebook.students) == entered + len(students)


def test_a_student_whom_another_grader_entered_just_now_is_no_error(served):
    with open_gradebook(served) as gradebook:
        first = gradebook.add_student("ann", first_name="Ann").id
        assert gradebook.add_student("ann").id == first and gradebook.find_student("ann").first_name == "Ann"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysterious://host/name", "mysterious"),
        ("postgresql+psycopg://grader:not-to-be-shown@127.0.0.1:1/none", "refused"),
        ("postgresql+nodriver://grader@/none", "nodriver"),
        ("no address", "settings.py: c.CourseDirectory.db_url is no address"),
    ],
)
def test_an_address_that_leads_nowhere_is_one_line(configured, url, says):
    if "psycopg" in url:
        pytest.importorskip("psycopg", reason="psycopg is not installed")
    hand_in(configured, "ann", filled(configured, RIGHT))
    use(configured, url)
    assert says in refused("grade", NAME)


def test_a_driver_that_is_not_installed_is_named(configured, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not there
    hand_in(configured, "ann", filled(configured, RIGHT))
    use(configured, "postgresql+psycopg://grader@/none")
    assert "psycopg" in refused("grade", NAME)


def test_a_lesson_is_graded_from_one_checkout_at_a_time(served, server):
    hand_in(served, "ann", filled(served, RIGHT))
    with claimed(served, NAME):
        assert "from another checkout" in refused("grade", NAME)
        with claimed(served, OTHER):
            pass
    assert outcome(served) == {"ann": ("graded", FULL)}


def test_a_claim_ends_with_its_server(served, server):
    hand_in(served, "ann", filled(served, RIGHT))
    with claimed(served, NAME):
        server.stop("immediate")
        server.start()
        assert outcome(served) == {"ann": ("graded", FULL)}
