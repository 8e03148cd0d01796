"""`autograde report`: its numbers against cases worked out by hand and scipy's, its page, its refusals."""

import io
import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from classroom import released
from click.testing import CliRunner
from command_line import refused, run
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats
from small_course import NAME, course
from verdict_files import CLASS, FAILED, graded, verdict, write

from autograde.cli import main
from autograde.course import Course
from autograde.errors import UNANSWERED
from autograde.grading import staleness
from autograde.grading.gradebook import open_gradebook
from autograde.report.data import read_class
from autograde.report.page import page
from autograde.report.statistics import FEWEST, Report, discrimination, report, spread
from autograde.report.terminal import tables

__all__ = ["course", "graded", "released"]


def test_the_numbers_of_a_small_class(graded):
    found = report(graded, NAME)
    assert (found.submitted, found.graded, found.without_verdict) == (6, 5, ["late"])
    assert found.versions == 1 and found.maximum == 20 and not found.unreadable
    s = found.scores  # 20, 10, 14, 4, 0
    assert (s.n, s.mean, s.least, s.lower, s.median, s.upper, s.most) == (5, 9.6, 0, 4, 10, 14, 20)
    assert s.deviation == pytest.approx(math.sqrt(251.2 / 4))
    assert found.counts == [1, 0, 1, 0, 0, 1, 0, 1, 0, 1] and found.edges == list(range(0, 21, 2))


def test_the_exercises_of_a_small_class(graded):
    first, second = report(graded, NAME).exercises
    assert (first.name, first.n, first.mean, first.maximum) == ("weighted-mean", 5, 4.8, 12)
    assert first.difficulty == pytest.approx(0.4) and (first.none, first.full) == (0.4, 0.2)
    assert second.difficulty == pytest.approx(0.6) and (second.none, second.full) == (0.2, 0.4)
    # Shares 1, ½, ½, 0, 0 and 1, ½, 1, ½, 0: products of deviations add up to 0.55, squares to 0.7 each.
    assert first.discrimination == pytest.approx(0.55 / 0.7) == second.discrimination
    assert (first.failing.test, first.failing.failed, first.failing.share) == ("test_1", 4, 0.8)
    assert first.failing.sentence == f"weighted-mean 1. {FAILED}"


def test_what_fails_most_and_what_it_costs(graded):
    found = report(graded, NAME)
    keys = [(row.exercise, row.test, row.failed, row.of) for row in found.failing]
    assert keys == [
        ("weighted-mean", "test_1", 4, 5),
        ("running-mean", "test_1", 3, 5),
        ("weighted-mean", "test_0", 2, 5),
        ("running-mean", "test_0", 1, 5),
    ]
    assert found.seconds["cells"].median == 2 and found.seconds["total"].median == 3
    assert found.seconds["cells"].p95 == pytest.approx(np.percentile([2, 2, 17, 2], 95))
    assert next(iter(found.slowest.items())) == ("c", 18) and "e" not in found.slowest
    memory = found.memory
    assert (memory.n, memory.median, memory.most, memory.student) == (2, 2e8, 300_000_000, "a")


def test_without_memory_seconds_failures_or_a_second_submission(released):
    write(released, "a", verdict([True], [True], seconds={}))
    found = report(released, NAME)
    assert found.memory is None and found.seconds == {} and found.failing == []
    assert found.scores.deviation is None and found.exercises[0].discrimination is None
    assert "Every property holds for everybody who answered." in page(found) and "not measured" in page(found)
    output = run("report", NAME).output
    assert "not measured" in output and "Failed most" not in output


def test_what_nobody_wrote_fails_nothing(graded):
    for student in ("d", "e"):
        content = json.loads(json.dumps(CLASS[student]))
        for test in content["exercises"]["weighted-mean"]["tests"]:
            test["message"] = f"{test['sentence']} {UNANSWERED}"
        write(graded, student, content)
    first, second = report(graded, NAME).exercises
    assert (first.blank, first.none, second.blank) == (0.4, 0.4, 0)
    assert (first.failing.test, first.failing.failed, first.failing.of) == ("test_1", 2, 3)
    assert "2 of 3, 67%" in run("report", NAME).output and "2 of 3, 67%" in page(report(graded, NAME))


def test_a_verdict_on_something_older_is_said(graded):
    folder = graded.grading / "submitted" / "a" / NAME
    folder.joinpath("notes.txt").write_text("one")
    graded.root.joinpath("nbgrader_config.py").touch()
    key = staleness.key(staleness.ingredients(graded, NAME), folder)
    path = staleness.verdict_path(graded, NAME, "a")
    path.write_text(json.dumps({**json.loads(path.read_text()), "key": asdict(key)}))
    assert report(graded, NAME).stale == []
    folder.joinpath("notes.txt").write_text("two")
    found = report(graded, NAME)
    assert found.stale == ["a"] and "hidden tests changed: a." in page(found)
    assert f"hidden tests changed: a. Run `autograde grade {NAME}`." in " ".join(
        run("report", NAME).output.split()
    )


def test_verdicts_on_two_versions_of_a_lesson_are_said(graded):
    other = verdict([True], [True])
    other["exercises"].pop("running-mean")
    write(graded, "late", other)
    found = report(graded, NAME)
    assert found.versions == 2 and [row.n for row in found.exercises] == [6, 5]
    assert "2 versions of the lesson" in run("report", NAME).output and "2 versions" in page(found)


def test_the_gradebook_counts_points_by_hand_penalties_and_who_waits(graded):
    assert report(graded, NAME).book is None
    with open_gradebook(graded) as gradebook:
        for student, by_hand, penalty in (("a", 2.5, 0.0), ("b", 0.0, 4.0), ("late", 1.0, 0.0)):
            gradebook.add_student(student)
            (notebook,) = gradebook.add_submission(NAME, student).notebooks
            notebook.late_submission_penalty = penalty
            for grade in notebook.grades:
                grade.manual_score = by_hand if grade.cell.name == "why-mean" else 1.0
                grade.needs_manual_grade = student == "b"
        gradebook.db.commit()
    book = report(graded, NAME).book  # without `late`, who has no verdict
    assert (book.maximum, book.waiting, book.penalised, book.penalties) == (22.5, 1, 1, 4)
    assert (book.totals.n, book.totals.least, book.totals.most) == (2, 0, 4.5)
    output = " ".join(run("report", NAME).output.split())
    assert "1 waiting for a grader; 1 penalised for lateness (4 points in all)" in output


PAIR = st.tuples(st.sampled_from([0, 1 / 3, 0.5, 2 / 3, 1]), st.integers(0, 100).map(lambda n: n / 100))


@given(st.lists(PAIR, min_size=1, max_size=40))
def test_discrimination_is_pearsons_r_or_unknown(pairs):
    shares, rest = zip(*pairs, strict=True)
    found = discrimination(shares, rest)
    if len(shares) < FEWEST or 1 in (len(set(shares)), len(set(rest))):
        assert found is None
    else:
        assert found == pytest.approx(stats.linregress(shares, rest).rvalue, abs=1e-9)
        assert discrimination([1 - x for x in shares], rest) == pytest.approx(-found, abs=1e-9)
        assert discrimination(shares, [3 + 2 * y for y in rest]) == pytest.approx(found, abs=1e-9)
    assert discrimination(shares, [0.1 + 0.2 if x else 0.3 for x in shares]) is None, (
        "rounding is no variance"
    )


@given(st.lists(st.integers(0, 2000).map(lambda n: n / 100), min_size=2, max_size=60))
def test_a_spread_is_scipys(values):
    found = spread(values)
    quartiles = stats.mstats.mquantiles(values, [0.25, 0.5, 0.75], alphap=1, betap=1)
    assert [found.lower, found.median, found.upper] == pytest.approx(list(quartiles), abs=1e-9)
    assert (found.n, found.least, found.most) == (len(values), min(values), max(values))
    assert [found.mean, found.deviation] == pytest.approx(
        [stats.tmean(values), np.sqrt(np.cov(values))], abs=1e-9
    )


@given(st.lists(st.tuples(*[st.booleans()] * 5), min_size=1, max_size=12))
def test_every_submission_is_in_one_bin_and_shares_agree(tmp_path_factory, rows):
    course = Course.at(tmp_path_factory.mktemp("class"))
    course.released(NAME).parent.mkdir(parents=True)
    course.released(NAME).touch()
    for n, row in enumerate(rows):
        write(course, f"s{n}", verdict(list(row[:3]), list(row[3:])))
    found = report(course, NAME)
    assert sum(found.counts) == found.graded == found.scores.n == len(rows)
    total = sum(row.difficulty * row.maximum for row in found.exercises)
    assert total == pytest.approx(found.scores.mean) == sum(row.mean for row in found.exercises)
    failed = sum(not ok for row in rows for ok in row)
    assert failed == sum(row.failed for row in found.failing)
    worst = max(([not row[n] for row in rows] for n in range(3)), key=sum)
    assert (found.exercises[0].failing.failed if any(worst) else 0) == sum(worst)


BROKEN = {
    "": "no JSON",
    json.dumps(CLASS["a"])[:200]: "no JSON",
    "[" * 100_000: "no JSON",
    "[]": "no verdict",
    "{}": "no verdict",
    '{"exercises": {}}': "no verdict",
    '{"exercises": {"x": {"points": NaN, "max": 2, "tests": []}}}': "no verdict",
    '{"exercises": {"x": {"points": 3, "max": 2, "tests": []}}}': "no verdict",
    '{"exercises": {"x": {"points": 0, "max": 0, "tests": []}}}': "no verdict",
    '{"exercises": {"x": {"points": 0, "max": 1' + "0" * 400 + ', "tests": []}}}': "no verdict",
    '{"exercises": {"<b>": {"points": 1, "max": 2, "tests": []}}}': "no verdict",
    json.dumps({**CLASS["a"], "seconds": {"start": "1"}}): "no verdict",
    json.dumps({**CLASS["a"], "memory": -1}): "no verdict",
    json.dumps(CLASS["a"]).replace("true", '"yes"'): "no verdict",
}


@pytest.mark.parametrize(("text", "reason"), BROKEN.items(), ids=range(len(BROKEN)))
def test_a_broken_verdict_is_one_line_and_the_rest_is_reported(graded, text, reason):
    path = write(graded, "broken", text)
    result = run("report", NAME)
    place = path.relative_to(graded.root)
    lines = result.stderr.strip().splitlines()
    assert result.exit_code == 1 and len(lines) == 1
    assert lines[0].startswith(f"autograde: {place}: {reason}") and "grade this submission again" in lines[0]
    assert "7 submitted, 5 graded, 1 without a verdict, 1 with an unreadable one" in result.stdout
    assert json.loads(run("report", NAME, "--json").stdout)["graded"] == 5


def test_a_verdict_that_is_a_folder_is_unreadable(graded):
    path = write(graded, "odd", "")
    path.unlink()
    path.mkdir()
    assert read_class(graded, NAME).unreadable == {"odd": "Is a directory"}


def test_the_command_prints_tables_that_fit_100_columns_and_writes_the_page(graded):
    console = Console(width=100, file=io.StringIO())
    console.print(*tables(report(graded, NAME)), sep="\n")
    printed = console.file.getvalue()
    assert max(map(len, printed.splitlines())) <= 100 and "weighted-mean" in printed and "…" not in printed
    result = run("report", NAME)
    assert result.exit_code == 0
    for phrase in (
        "0.79",
        "4 of 5, 80%",
        "4.80 / 12",
        "95th percentile",
        "Slowest: c 18.0 s",
        "300 MB, by a",
    ):
        assert phrase in result.output
    assert f"Page: .grading/reports/{NAME}.html" in result.output


def test_json_is_the_report_and_html_goes_where_it_is_told(graded):
    result = run("report", NAME, "--json", "--html", "out/page.html")
    found = json.loads(result.stdout)
    assert found.pop("page") == "out/page.html" and Path("out/page.html").exists()
    assert set(found) == set(Report.__dataclass_fields__)
    assert found["exercises"][0]["failing"]["failed"] == 4 and found["scores"]["median"] == 10
    assert not (graded.grading / "reports").exists()


def test_calls_that_cannot_be_answered_are_one_line(course):
    refused(run("report", "91_other"), 2, f"Unknown lesson '91_other'. Lessons: {NAME}.")
    refused(run("report", NAME), 1, f"{NAME} was not released here: run `autograde release` first.")
    run("release")
    refused(run("report", NAME), 1, f"Nobody handed in {NAME}")
    (course.grading / "submitted" / "ann" / NAME).mkdir(parents=True)
    refused(run("report", NAME, "--json"), 1, f"None of 1 submissions of {NAME} has a verdict")
    write(course, "bob", "{")
    refused(run("report", NAME), 1, f"bob/{NAME}/{NAME}.verdict.json: no JSON")
    write(course, "bob", CLASS["a"])
    refused(run("report", NAME, "--html", "."), 2, "is a folder")
    assert CliRunner().invoke(main, ["report"]).exit_code == 2


def test_a_damaged_gradebook_is_one_line(graded):
    (graded.grading / "gradebook.db").write_text("no database" * 100)
    refused(run("report", NAME), 1, "gradebook.db")
