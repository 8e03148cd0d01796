"""The hidden tests of the small lesson against mutants and many seeds: what is counted, what is said."""

import json

import pytest
from command_line import run
from small_course import ANSWERS, HIDDEN, LESSON, NAME, course

from autograde.authoring.candidates import SHORT, read_sources
from autograde.authoring.mutants import mutants
from autograde.authoring.release import release
from autograde.course import Course

__all__ = ["course"]
BLUNT = HIDDEN.replace("([0.0, 1.0], [1.0, 3.0]) == 0.75", "([1.0, 1.0], [1.0, 1.0]) == 1")
SAME = """

# %% equivalent="weighted-mean" name="the same product, turned round"
replace("np.dot(x, w)", "np.dot(w, x)")
"""


@pytest.fixture
def lesson(course):
    def written(answers=ANSWERS, hidden=HIDDEN):
        (course.root / "hidden" / f"test_{NAME}.py").write_text(hidden)
        (course.root / "hidden" / "wrong" / f"{NAME}.py").write_text(answers)
        return course

    release(course, [NAME])
    return written


def report(*more):
    result = run("verify", NAME, "--mutants", "--json", *more)
    assert result.stdout, result.output
    return json.loads(result.stdout)[0], result


def made(course):
    solutions = read_sources(Course.at(course.root), NAME).solutions
    return {each: len(mutants(each, source)) for each, source in solutions.items()}


def test_every_mutant_is_counted_once(lesson):
    course = lesson()
    found, result = report()
    assert {each: sum(row.values()) for each, row in found["exercises"].items()} == made(course)
    assert result.exit_code == 1 and "mutants lose points with every seed: 97% are to" in result.output
    left = [each["new"] for each in found["left"] if each["kind"] == "survives"]
    assert any("np.dot(w, x)" in new for new in left)


def test_sharper_tests_leave_fewer(lesson):
    lesson(hidden=BLUNT)
    blunt = report()[0]["exercises"]["weighted-mean"]
    lesson()
    sharp = report()[0]["exercises"]["weighted-mean"]
    assert sharp["survives"] < blunt["survives"]


def test_an_equivalent_is_not_judged_and_one_that_is_none_is_named(lesson):
    lesson(answers=ANSWERS + SAME)
    found, _ = report()
    assert found["exercises"]["weighted-mean"]["equivalent"] == 1 and not found["problems"]
    assert not any("np.dot(w, x)" in each["new"] for each in found["left"])
    lesson(answers=ANSWERS + SAME.replace("np.dot(w, x)", "np.vdot(w, x) + 0"))
    found, result = report()
    assert "an equivalent is no mutant any more" in found["problems"][0] and result.exit_code == 1


def test_a_sample_is_the_same_each_time(lesson):
    lesson()
    first, second = (report("--sample", "6")[0] for _ in range(2))
    assert first == second
    assert sum(sum(row.values()) for row in first["exercises"].values()) == 6


def test_what_is_left_is_printed_as_an_answer_file_has_it(lesson):
    lesson()
    printed = run("verify", NAME, "--mutants").stdout
    line = next(each for each in printed.splitlines() if "np.dot(w, x)" in each)
    old, _, new = line.removeprefix("replace(").removesuffix(")").partition(', "return')
    assert json.loads(old) == "return np.dot(x, w) / total" and "np.dot(w, x)" in new


SLOW = """def slow_sum(w):
    start = time.process_time()
    while time.process_time() < start + 0.4:
        pass
    return np.sum(w)


def centred(x):"""


def test_a_reference_too_slow_for_a_mutant_is_judged_with_its_mutants_in_a_students_time(lesson, monkeypatch):
    course = lesson()
    slow = LESSON.replace("def centred(x):", SLOW).replace("total = np.sum(", "total = slow_sum(")
    course.source(NAME).write_text(slow.replace("import numpy as np", "import time\n\nimport numpy as np"))
    release(course, [NAME])
    swift = report("--sample", "8")[0]
    monkeypatch.setitem(SHORT, "mutant", 0.2)
    assert report("--sample", "8")[0] == swift and not swift["problems"]


def test_a_reference_that_does_not_pass_is_named(lesson):
    lesson(hidden=HIDDEN.replace("running.mean) == 1.5", "running.mean) == 2"))
    assert report()[0]["problems"] == ["running-mean: its reference itself does not pass as a mutant"]


UNFAIR = '''

@pytest.mark.exercise("weighted-mean")
def test_by_chance(student, rng):
    """Most numbers are not 0."""
    assert student.weighted_mean([0.0, 1.0], [1.0, 3.0]) == 0.75 and rng.integers(4) != 0
'''


def test_a_test_that_fails_by_chance_is_unfair(lesson):
    lesson()
    fair = run("verify", NAME, "--seeds", "60")
    assert fair.exit_code == 0 and "3 right answers, 60 seeds each: none lost points." in fair.stdout
    lesson(hidden=HIDDEN + UNFAIR)
    result = run("verify", NAME, "--seeds", "60", "--json")
    (found,) = json.loads(result.stdout)
    times = {each["answer"]: each["times"] for each in found["unfair"]}
    assert set(times) == {"reference", "by a loop"} and all(3 < count < 30 for count in times.values())
    assert result.exit_code == 1 and "'reference' fails test_by_chance" in result.output
