"""The command line: bad input gets one line and the right status; `try` scores, `doctor` reports."""

import json
import os
import shutil
from pathlib import Path

import nbformat
import pytest
from classroom import WEIGHTED
from command_line import refused, run
from nbformat import NotebookNode
from small_course import NAME, course

from autograde import doctor as doctor_module
from autograde.authoring.release import release
from autograde.cells import grade_id
from autograde.course import Course
from autograde.self_study import hidden

__all__ = ["course"]


@pytest.fixture
def work(course: Course) -> Path:
    release(course, [NAME])
    (course.root / "work").mkdir()
    return Path(shutil.copy(course.lesson(NAME), course.root / "work"))


def edit(path: Path, change) -> Path:
    notebook: NotebookNode = nbformat.read(path, 4)
    change(notebook)
    nbformat.write(notebook, path)
    return path


def answer(path: Path, **sources: str) -> Path:
    def change(notebook: NotebookNode) -> None:
        for cell in notebook.cells:
            cell.source = sources.get((grade_id(cell) or "").replace("-", "_"), cell.source)

    return edit(path, change)


def test_try_scores_a_notebook(work):
    result = run("try", answer(work, weighted_mean=WEIGHTED), "--json")
    found = json.loads(result.output)
    assert result.exit_code == 0 and found["lesson"] == NAME
    assert {row["exercise"]: row["points"] for row in found["exercises"]} == {
        "weighted-mean": 12,
        "running-mean": 0,
    }
    table = run("try", work).output
    assert "12 / 20" in table and table.count("Not answered yet") == 1 and "Two numbers." not in table


def test_try_reports_a_cell_that_fails_and_a_process_that_ends(work):
    result = run("try", answer(work, weighted_mean="1 / 0"))
    assert "did not run to its end: ZeroDivisionError" in result.output
    refused(run("try", answer(work, weighted_mean="import os\nos._exit(1)")), 1, "process ended")


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "no json", '{"nbformat": 9}', '{"nbformat": 4, "nbformat_minor": 5, "cells": 3}'],
)
def test_a_file_that_is_no_notebook(course, content):
    release(course, [NAME])
    (course.root / "x.ipynb").write_text(content)
    refused(run("try", "x.ipynb"), 2, "x.ipynb")


def test_notebooks_that_cannot_be_tried(work):
    refused(run("try", "nowhere.ipynb"), 2, "does not exist")
    refused(run("try", work.parent), 2, "cannot be read")
    edit(work, lambda notebook: notebook.metadata.genmap.update(lesson="91_other"))
    refused(run("try", work), 2, "no lesson '91_other'")
    edit(work, lambda notebook: notebook.metadata.update(genmap=3))
    refused(run("try", work.rename(work.with_name("mine.ipynb"))), 2, "does not say which lesson")


def test_try_takes_what_grade_takes(work):
    """A tool took all metadata and ids; the answer stands above its place; a helper is in a demo cell."""
    answer(work, weighted_mean=WEIGHTED.replace("np.dot", "dot"))

    def strip(notebook: NotebookNode) -> None:
        demo = next(cell for cell in notebook.cells if "print(centred" in cell.source)
        demo.source = "dot = np.dot\n" + demo.source.replace("\n", "\r\n")
        notebook.metadata = {}
        for cell in notebook.cells:
            cell.metadata = {}
            del cell["id"]

    edit(work, strip)
    found = run("try", work)
    assert "0 / 20" in found.output and "note: `dot` is defined" in " ".join(found.output.split())


@pytest.mark.parametrize("command", ["release", "verify"])
def test_an_unknown_lesson_and_a_folder_without_lessons(course, tmp_path_factory, monkeypatch, command):
    refused(run(command, "91_other"), 2, f"Unknown lesson '91_other'. Lessons: {NAME}.")
    shutil.rmtree(course.root / "solutions" / NAME)
    refused(run(command), 2, "No lessons in")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    refused(run(command), 2, "not inside a course")


def test_release_says_what_it_did_and_check_what_is_stale(course):
    assert run("release").output.startswith(f"Released: {NAME}.\nNext: ")
    assert run("release").output.startswith(f"Released: {NAME}. lessons/ was current.\nNext: ")
    assert run("release", "--check").output == "lessons/ is current.\n"
    course.source(NAME).write_text(course.source(NAME).read_text().replace("# # Means", "# # Averages"))
    refused(run("release", "--check"), 1, NAME)


def test_no_write_permission_is_one_line(course, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(course.lesson(NAME)))

    monkeypatch.setattr(os, "replace", refuse)
    refused(run("release"), 1, "Permission denied")


def test_verify_fails_with_the_reason(course):
    release(course, [NAME])
    result = run("verify")
    assert result.exit_code == 1
    assert f"{NAME}: running-mean: needs at least 4 wrong answers" in result.output


def test_verify_past_its_limit_is_one_line(course, monkeypatch):
    release(course, [NAME])
    monkeypatch.setattr("autograde.authoring.verify.LESSON_SECONDS", 0.1)
    refused(run("verify"), 1, "verify did not come to its end")


def test_an_unknown_command_or_option_is_called_wrongly(course):
    assert run("grades").exit_code == 2 and run("try").exit_code == 2
    assert run("release", "--force").exit_code == 2


def test_the_selfcheck_judges_a_live_namespace(work):
    rows = hidden(
        NAME, {"weighted_mean": lambda x, w: sum(a * b for a, b in zip(x, w, strict=True)) / sum(w)}
    )
    assert [(row["exercise"], row["points"], row["max"]) for row in rows] == [
        ("weighted-mean", 12, 12),
        ("running-mean", 0, 8),
    ]


def test_doctor_reports_and_fails_where_something_is_missing(work, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = run("doctor")
    assert result.exit_code == 0 and "torch" in result.output and NAME in result.output
    assert "bubblewrap" in result.output
    monkeypatch.setattr(doctor_module, "PACKAGES", ("no-such-package",))
    result = run("doctor")
    assert result.exit_code == 1 and "run `make setup`" in result.output
