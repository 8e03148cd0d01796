"""The demo class, from release to feedback: everybody gets what is due, the cheat and the vandal nothing."""

import shutil

from course_root import ROOT

from autograde.course import Course
from autograde.demo import play


def test_everybody_gets_what_is_due(tmp_path, monkeypatch):
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    scores = play(Course.at(tmp_path, ROOT / "solutions"), "01_map")
    points = {student: row[0] for student, row in scores.items()}
    assert {maximum for _, maximum in scores.values()} == {20}
    assert points["reference"] == 20
    assert points["blank"] == points["cheating"] == points["hostile"] == 0
    assert 0 < points["wrong"] < points["partly-right"] < 20
    assert 10 < points["crashing"] < 20
    feedback = tmp_path / ".grading" / "demo" / ".grading" / "feedback"
    assert sorted(path.name for path in feedback.iterdir()) == sorted(scores)
