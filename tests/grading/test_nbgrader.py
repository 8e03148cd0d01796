"""nbgrader drives, our steps grade, from release to gradebook and feedback; and it fails closed."""

import base64
import json
import os

import nbformat
import pytest
from classroom import (
    FULL,
    RIGHT,
    WEIGHTED,
    autograded,
    configured,
    filled,
    forge,
    hand_in,
    released,
    run,
    scores,
)
from course_root import ROOT
from hostile import PIXEL
from nbformat.v4 import new_code_cell, new_output
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from small_course import NAME, course
from traitlets.config.loader import PyFileConfigLoader

from autograde.cells import grade_id
from autograde.grading import preprocessors, submission
from autograde.grading.class_run import grade
from autograde.grading.gradebook import open_gradebook
from autograde.grading.in_progress import sweep
from autograde.judging.verdict import NoVerdict

__all__ = ["configured", "course", "released"]


def test_a_class_is_graded_and_gets_feedback(released):
    class_ = {
        "reference": RIGHT,
        "blank": {},
        "half": {**RIGHT, "weighted-mean": "def weighted_mean(x, w):\n    return 1 / 0\n"},
        "crash": {**RIGHT, "weighted-mean": "import os\nos._exit(1)\n"},
        "warns": {**RIGHT, "weighted-mean": "import warnings\nwarnings.warn('careful')\n" + WEIGHTED},
    }
    for student, answers in class_.items():
        hand_in(released, student, filled(released, answers))
    run(released, Autograde)
    assert scores(released) == {"reference": FULL, "blank": 0, "half": 8, "crash": 8, "warns": FULL}
    with open_gradebook(released) as gradebook:
        assert gradebook.find_submission(NAME, "reference").needs_manual_grade  # the answer in prose
        assert gradebook.find_submission(NAME, "reference").max_score == FULL + 2.5
    verdict = json.loads(autograded(released, "half").with_suffix(".verdict.json").read_text())
    assert verdict["exercises"]["weighted-mean"]["points"] == 0 and verdict["student"] == "half"
    run(released, GenerateFeedback)
    assert [path.name for path in (released.grading / "feedback" / "half" / NAME).iterdir()] == [
        f"{NAME}.html"
    ]
    html = (released.grading / "feedback" / "half" / NAME / f"{NAME}.html").read_text()
    assert "Weights count. Your code raised ZeroDivisionError." in html
    for hidden in ("0.75", "test_weights", "student.", "pytest", "assert student"):
        assert hidden not in html


def test_a_test_cell_shows_text_and_exactly_one_number(released):
    hand_in(released, "ann", filled(released, {"weighted-mean": WEIGHTED}))
    run(released, Autograde)
    cells = {grade_id(c): c for c in nbformat.read(autograded(released, "ann"), 4).cells}
    outputs = cells["test-weighted-mean"].outputs
    assert [o.output_type for o in outputs] == ["stream", "execute_result"]
    assert outputs[0].name == "stdout" and outputs[1].data == {"text/plain": "12.0"}
    assert cells["test-running-mean"].outputs[1].data == {"text/plain": "0.0"}


def test_a_regrade_gives_the_same_and_keeps_a_manual_grade(released):
    hand_in(released, "ann", filled(released, RIGHT))
    run(released, Autograde)
    with open_gradebook(released) as gradebook:
        gradebook.find_grade("why-mean", NAME, NAME, "ann").manual_score = 2
        gradebook.db.commit()
    run(released, Autograde, force=True)
    assert scores(released) == {"ann": FULL + 2}


def test_forged_metadata_and_outputs_gain_nothing(released):
    hand_in(released, "forger", forge(filled(released, {})))
    gone = filled(released, {"weighted-mean": WEIGHTED})
    gone.cells = [cell for cell in gone.cells if not (grade_id(cell) or "").startswith("test-")]
    hand_in(released, "without-tests", gone)
    hand_in(released, "ann", filled(released, RIGHT))
    run(released, Autograde, Execute={"enabled": False}, ClearOutput={"enabled": False})  # --no-execute
    assert scores(released) == {"forger": 0, "without-tests": 12, "ann": FULL}


@pytest.mark.parametrize("says", ["91_other", "../../x"])
def test_a_notebook_of_another_lesson_is_refused_by_nbgrader_s_command_and_by_ours(configured, says):
    notebook = filled(configured, RIGHT)
    notebook.metadata.genmap = {"lesson": says, "limits": {"notebook": 10**6}}
    hand_in(configured, "forger", notebook)
    hand_in(configured, "ann", filled(configured, RIGHT))
    with pytest.raises(NbGraderException):
        run(configured, Autograde)
    assert scores(configured)["ann"] == FULL and not scores(configured).get("forger")
    rows = {row.student: row for row in grade(configured, NAME, 1)}
    assert rows["ann"].points == FULL and rows["forger"].status == "failed"
    assert f"is a notebook of another lesson, {says!r}: not graded." in rows["forger"].reason


def test_an_error_of_one_submission_stops_nobody_else(released, monkeypatch):
    for student in ("ann", "bob", "cid"):
        hand_in(released, student, filled(released, RIGHT))
    hand_in(released, "not-json", filled(released, RIGHT)).write_text("{")
    begin = submission.JUDGE_CLIENT.begin

    def refuse_bob(tests, secret, seed, *rest):
        if "\0bob\0" in seed:
            raise NoVerdict("cut short")
        return begin(tests, secret, seed, *rest)

    monkeypatch.setattr(submission.JUDGE_CLIENT, "begin", refuse_bob)
    with pytest.raises(NbGraderException):
        run(released, Autograde)
    found = scores(released)
    assert (found["ann"], found["cid"]) == (FULL, FULL)
    assert not found.get("bob") and not found.get("not-json")
    assert not autograded(released, "bob").exists() and autograded(released, "cid").exists()


def test_without_our_step_nothing_is_recorded(released):
    notebook = filled(released, RIGHT)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [new_output("execute_result", data={"text/plain": "8"}, execution_count=1)]
    hand_in(released, "ann", notebook)
    with pytest.raises(NbGraderException):
        run(released, Autograde, RunAndJudge={"enabled": False})
    assert not scores(released).get("ann")


def test_a_number_that_the_judge_did_not_give_is_not_recorded(released, monkeypatch):
    def record(nb, result):
        submission.record(nb, result)
        submission.scored_cells(nb)["weighted-mean"].outputs[1].data["text/plain"] = "12.0"

    monkeypatch.setattr(preprocessors, "record", record)
    hand_in(released, "ann", filled(released, {}))
    with pytest.raises(NbGraderException):
        run(released, Autograde)
    assert not scores(released).get("ann")


def test_what_a_killed_grader_left_is_graded_again(released):
    hand_in(released, "ann", filled(released, RIGHT))
    left = autograded(released, "ann").parent
    left.mkdir(parents=True)
    (left / f"{NAME}.ipynb").write_text("{")
    (left / f"{NAME}.unfinished").write_text(str(2**22 + 1))  # larger than any process number
    run(released, Autograde)
    assert scores(released) == {"ann": FULL} and not list(left.glob("*.unfinished"))
    (left / f"{NAME}.verdict.json").unlink()
    (left / f"{NAME}.unfinished").write_text(str(os.getpid()))  # somebody is at it
    assert sweep(released) == []


def test_a_draft_of_a_killed_release_reaches_nobody(released):
    (released.grading / "source" / NAME / f".{NAME}.ipynb.1.part").write_text("### BEGIN SOLUTION")
    hand_in(released, "ann", filled(released, RIGHT))
    run(released, Autograde)
    assert not list(autograded(released, "ann").parent.glob("*.part"))


def test_a_lesson_that_was_not_released_is_not_graded(released):
    hand_in(released, "ann", filled(released, RIGHT))
    released.released(NAME).unlink()
    with pytest.raises(NbGraderException):
        run(released, Autograde)
    assert not scores(released).get("ann")


def test_the_config_file_stops_nbgrader_on_any_error(monkeypatch, tmp_path):
    def broken(c, root):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("autograde.grading.nbgrader_config.configure", broken)
    (tmp_path / "nbgrader_config.py").write_text((ROOT / "nbgrader_config.py").read_text())
    with pytest.raises(SystemExit, match="nothing is graded: two lines"):
        PyFileConfigLoader("nbgrader_config.py", path=str(tmp_path)).load_config()


def test_a_submissions_own_files_are_there_and_links_are_not(released, tmp_path):
    code = "import os\nWORDS = open('words.txt').read()\nassert not os.path.exists('link.txt')\n"
    notebook = filled(released, RIGHT)
    notebook.cells.insert(2, new_code_cell(code, id="reads"))
    folder = hand_in(released, "ann", notebook).parent
    (folder / "words.txt").write_text("mine")
    (folder / "dot.png").write_bytes(base64.b64decode(PIXEL))
    (folder / "no.png").write_text("<script>")
    (folder / "link.txt").symlink_to(released.grading / "gradebook.db")
    run(released, Autograde)
    run(released, GenerateFeedback)
    kept, back = (
        {path.name for path in (released.grading / outcome / "ann" / NAME).iterdir()}
        for outcome in ("autograded", "feedback")
    )
    assert "words.txt" in kept and "link.txt" not in kept
    assert back == {f"{NAME}.html", "dot.png"}, "pictures alone are handed back"
    cells = nbformat.read(autograded(released, "ann"), 4).cells
    assert not any(o.output_type == "error" for c in cells for o in c.get("outputs", []))


def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path):
    first = submission.course_secret(tmp_path / "grading")
    assert len(first) == 32 and submission.course_secret(tmp_path / "grading") == first
    assert (tmp_path / "grading" / "secret").stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "grading").iterdir()] == ["secret"]
