"""`autograde verify` finds unfair and blunt hidden tests, and the forks it works in stay apart."""

import json
import os
import time

import pytest
import small_course
from click.testing import CliRunner
from small_answers import CLASS, RIGHT_STEP, STEPS, WRONG, answer_file
from small_course import NAME, course

from autograde.authoring.release import release
from autograde.authoring.trivial_answers import defined_names, trivial_answers
from autograde.authoring.verify import ANSWER_SEEDS, judge_answers, verify_lesson
from autograde.cli import main
from autograde.course import Course
from autograde.errors import CourseError, Died, TimedOut, UsageError
from autograde.judging.chapter import prepare
from autograde.sandbox.workers import forked, forked_map

__all__ = ["course"]


def verified(
    course: Course, answers: str, hidden: str = small_course.HIDDEN, lesson: str = small_course.LESSON
):
    course.source(NAME).write_text(lesson)
    (course.root / "hidden" / f"test_{NAME}.py").write_text(hidden)
    (course.root / "hidden" / "wrong" / f"{NAME}.py").write_text(answers)
    release(course, [NAME])
    return forked(lambda: verify_lesson(course, NAME, 2), limit=200)


def test_a_good_lesson_has_no_problems(course):
    row = verified(course, answer_file())
    assert row["problems"] == []
    counts = row["exercises"]["weighted-mean"]
    assert counts["right"] == [2, 2] and counts["wrong"] == [4, 4] and counts["tests"] == 1
    assert counts["trivial"][0] == counts["trivial"][1] >= 7


BY_CHANCE = '''

@pytest.mark.exercise("weighted-mean")
def test_by_chance(student, rng):
    """The mean is that of the definition."""
    assert student.weighted_mean([0.0, 1.0], [1.0, 3.0]) == 0.75 and rng.integers(60) != 0
'''


def test_what_fails_once_in_sixty_times_is_found(course):
    problems = verified(course, answer_file(), hidden=small_course.HIDDEN + BY_CHANCE)["problems"]
    assert problems and all("fails test_by_chance" in line for line in problems)


def test_bad_answers_are_found(course, monkeypatch):
    monkeypatch.setattr("autograde.authoring.candidates.CANDIDATE_SECONDS", 15)
    answers = answer_file()
    for old, new in [
        (WRONG[1][1], "return np.dot(x, w) / np.sum(w)"),
        (f"def weighted_mean(x, w):\n    {WRONG[0][1]}\n", "1 / 0\n"),
        (RIGHT_STEP, "self.mean = x"),
        ("    return sum(a * b", "    while True: pass\n    return sum(a * b"),
        (f"{CLASS}        {STEPS[1]}", "import os\n\nos._exit(1)"),
    ]:
        assert old in answers
        answers = answers.replace(old, new)
    problems = verified(course, answers)["problems"]
    for expected in [
        "weighted-mean: wrong answer 'sums' does not fail test_weights",
        "its cell raises ZeroDivisionError",
        "running-mean: right answer 'from the sum' fails test_two: Two numbers.",
        "weighted-mean: right answer 'by a loop' did not end. The call took too long.",
    ]:
        assert [line for line in problems if expected in line], expected
    assert len(problems) == 4


def test_answers_of_another_file_are_judged_on_every_seed(course, tmp_path):
    release(course, [NAME])
    path = tmp_path / "mine.py"
    path.write_text(
        '# %% wrong="weighted-mean" name="twice the weights"\nreplace("np.asarray(w", "2 * np.asarray(w")\n'
        '# %% right="weighted-mean" name="another sum"\n'
        'replace("np.sum(np.asarray(w, dtype=float))", "sum(w)")\n'
        '# %% wrong="running-mean" name="does not run"\n1 / 0\n'
        '# %% wrong="running-mean" name="ends"\nimport os\n\nos._exit(1)\n'
    )
    rows = judge_answers(course, NAME, path, seeds=7)
    wrong, right, error, died = rows
    assert (wrong["kind"], wrong["exercise"], wrong["name"]) == (
        "wrong",
        "weighted-mean",
        "twice the weights",
    )
    assert wrong["shares"] == [0.0] * 7 and wrong["failed"] == [["test_weights"]] * 7
    assert right["shares"] == [1.0] * 7 and right["failed"] == [[]] * 7
    assert "ZeroDivisionError" in error["reason"] and "process ended" in died["reason"]


def test_the_command_says_what_each_answer_of_a_file_gets(course, tmp_path):
    release(course, [NAME])
    path = tmp_path / "mine.py"
    path.write_text('# %% wrong="weighted-mean" name="twice"\nreplace("np.asarray(w", "2 * np.asarray(w")\n')
    done = CliRunner().invoke(main, ["verify", NAME, "--answers", str(path)])
    line = f"weighted-mean, wrong, 0%: twice: fails test_weights {ANSWER_SEEDS} of {ANSWER_SEEDS}\n"
    assert (done.exit_code, done.stdout) == (0, line), done.output
    done = CliRunner().invoke(main, ["verify", NAME, "--answers", str(path), "--json"])
    (row,) = json.loads(done.stdout)
    assert row["name"] == "twice" and set(row["shares"]) == {0.0}
    done = CliRunner().invoke(main, ["verify", "--answers", str(path)])
    assert done.exit_code == 2 and "--answers goes with one lesson" in done.stderr
    path.write_text('# %% wrong="weighted-mean" name="x"\nreplace("nowhere", "x")\n')
    done = CliRunner().invoke(main, ["verify", NAME, "--answers", str(path)])
    assert done.exit_code == 1 and f"{path.name}:2: 'nowhere' stands nowhere" in done.stderr


def test_a_test_that_cannot_be_set_up_is_an_error_and_kills_no_answer(course, tmp_path):
    release(course, [NAME])
    hidden = course.root / "hidden" / f"test_{NAME}.py"
    odd = "\n\n@pytest.fixture\ndef odd():\n    raise TypeError\n"
    hidden.write_text(hidden.read_text().replace("(student, rng)", "(student, rng, odd)") + odd)
    path = tmp_path / "mine.py"
    path.write_text('# %% wrong="weighted-mean" name="twice"\nreplace("np.asarray(w", "2 * np.asarray(w")\n')
    with pytest.raises(CourseError, match="test_weights cannot be set up"):
        judge_answers(course, NAME, path, ANSWER_SEEDS)


def test_too_few_answers_are_found(course):
    problems = verified(course, small_course.ANSWERS)["problems"]
    assert [line.split(":")[0] for line in problems] == ["weighted-mean", "running-mean"]


@pytest.mark.parametrize(
    "old, new, problem",
    [
        ("== 0.75", "<= 1", "trivial answer"),
        ("== 0.75", "> float(rng.random())", "reference answer 'reference' fails test_weights"),
        ("[0.0, 1.0], [1.0, 3.0]", "[1, 3], [1, 1]", "echo of the public example"),
    ],
)
def test_a_blunt_or_unfair_hidden_test_is_found(course, old, new, problem):
    hidden = small_course.HIDDEN.replace(old, new).replace("[1, 1]) == 0.75", "[1, 1]) == 2")
    assert any(problem in line for line in verified(course, answer_file(), hidden)["problems"])


def test_a_chapter_function_that_solves_the_exercise_is_found(course):
    given = "def centred(x, w=1):\n    return np.dot(x, w) / np.sum(w)\n\n\ndef unused(x):"
    lesson = small_course.LESSON.replace("def centred(x):", given)
    problems = verified(course, answer_file(), lesson=lesson)["problems"]
    assert any("chapter's centred" in line and "gains points" in line for line in problems)


def test_a_faulty_hidden_test_is_an_error_of_the_course(course):
    with pytest.raises(CourseError, match=f"test_{NAME}.py"):
        verified(course, answer_file(), small_course.HIDDEN.replace("(student, rng)", "(student, nothing)"))
    with pytest.raises(CourseError, match="no exercise"):
        verified(course, answer_file() + '\n# %% right="elsewhere" name="x"\nx = 1\n')


def test_a_class_gets_trivial_answers_of_its_shape():
    namespace = {"np": None, "C": type("C", (), {"go": lambda self, x: x + 1})}
    source = "class C:\n    def go(self, x):\n        return x + 1\n\nLIMIT: int = 3\n"
    assert defined_names(source) == ["C", "LIMIT"]
    makers = trivial_answers(source, "C().go(3)", namespace)
    makers["echo of the public example"](namespace)
    assert namespace["C"](5).go(10) == 4
    namespace["C"] = type("C", (), {"go": lambda self, x: x + 1})
    makers["identity"](namespace)
    assert namespace["C"]().go(10) == 10


def test_forks_stay_apart_and_are_bounded(tmp_path):
    state = {"x": 0}

    def work(item: str) -> int:
        state["x"] += 1
        if item == "die":
            os._exit(3)
        if item == "hang":
            time.sleep(1000)
        return state["x"]

    start = time.monotonic()
    outcomes = dict(forked_map(work, ["a", "die", "hang", "b"], limit=5, jobs=2))
    assert outcomes[0] == outcomes[3] == 1 and state["x"] == 0
    assert isinstance(outcomes[1], Died) and isinstance(outcomes[2], TimedOut)
    assert time.monotonic() - start < 500


@pytest.mark.parametrize("kind", [CourseError, UsageError])
def test_an_error_in_a_fork_is_raised_here(kind):
    def work() -> None:
        raise kind("one line")

    with pytest.raises(kind, match="one line"):
        forked(work, limit=5)


def test_grading_in_process_is_told_so(monkeypatch):
    for name in ("GENMAP_SETTING", "MPLBACKEND", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever `prepare` does
    prepare()
    assert os.environ["GENMAP_SETTING"] == "smoke"
