"""What held whole is verified briefly while its files stay as they were, and only then."""

import json
import shutil
import subprocess
import sys

import pytest
from command_line import refused, run
from small_answers import answer_file
from small_course import NAME, course

from autograde.authoring import verified
from autograde.authoring.release import release

__all__ = ["course"]


@pytest.fixture
def lesson(course):
    (course.root / "hidden" / "wrong" / f"{NAME}.py").write_text(answer_file())
    release(course, [NAME])
    return course


def trivial(*options):
    """How many trivial answers were tried of an exercise, the blank one among them."""
    result = run("verify", NAME, "--json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)[0]["exercises"]["weighted-mean"]["trivial"][1]


def test_a_lesson_that_held_is_verified_briefly_until_its_tests_change(lesson):
    assert trivial("--brief") >= 7, "it has not been verified yet"
    assert trivial("--brief") == 1 and trivial() >= 7
    path = lesson.root / "hidden" / f"test_{NAME}.py"
    path.write_text(path.read_text() + "\n# more\n")
    assert trivial("--brief") >= 7


def decides(course):
    """A file of each kind on which it depends whether a lesson holds."""
    own = [course.source(NAME), course.root / "hidden" / "wrong" / f"{NAME}.py"]
    folder = verified.PACKAGE
    parts = ("checks.py", "training.py", "judging/judge.py", "authoring/trivial_answers.py")
    return [*own, *(folder / part for part in (*parts, "sandbox/promises.py"))]


def test_every_file_that_decides_is_in_the_state(lesson, monkeypatch, tmp_path):
    shutil.copytree(verified.PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("hidden", "build"))
    monkeypatch.setattr(verified, "PACKAGE", tmp_path / "package")
    states = [verified.state(lesson, NAME)]
    for path in decides(lesson):
        path.write_text((path.read_text() if path.exists() else "") + "\n# more\n")
        states.append(verified.state(lesson, NAME))
    assert len(set(states)) == len(states)


@pytest.mark.parametrize(
    ("line", "decides"), [("Torch == 2.0\n", True), ("hypothesis==6.100.0\n", True), ("zuko==1.4.0\n", False)]
)
def test_versions_decide_of_what_judging_needs(lesson, line, decides):
    path = lesson.root / "constraints.txt"
    state = verified.state(lesson, NAME)
    path.write_text((path.read_text() if path.exists() else "") + line)
    assert (verified.state(lesson, NAME) != state) == decides


def test_what_judges_no_answer_does_not_decide(lesson, monkeypatch, tmp_path):
    shutil.copytree(verified.PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("hidden", "build"))
    monkeypatch.setattr(verified, "PACKAGE", tmp_path / "package")
    state = verified.state(lesson, NAME)
    for name in verified.APART:
        path = tmp_path / "package" / name
        path.write_text(path.read_text() + "\n# more\n")
    assert verified.state(lesson, NAME) == state


def test_what_judges_in_one_process_decides():
    judges = "import autograde.authoring.candidates, autograde.relations, autograde.training"
    loaded = f"{judges}, sys; print(*(n for n in sys.modules if n.startswith('autograde.')))"
    names = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout
    files = {name.removeprefix("autograde.").replace(".", "/") + ".py" for name in names.split()}
    assert "judging/judge.py" in files and not files & verified.APART


def seeds(path, *options):
    """How often the hidden test was run, over all answers and seeds."""
    path.write_text("")
    assert run("verify", NAME, *options).exit_code == 0
    return len(path.read_text())


def test_briefly_a_tenth_of_the_seeds_are_tried(lesson, tmp_path):
    path, count = lesson.root / "hidden" / f"test_{NAME}.py", tmp_path / "count"
    write = f"open({str(count)!r}, 'a').write('x')"
    note = f"    with contextlib.suppress(OSError):  # a confined judge writes nothing\n        {write}\n"
    noted = path.read_text().replace("    assert ", f"{note}    assert ", 1)
    path.write_text(noted.replace("import pytest", "import contextlib\n\nimport pytest", 1))
    whole, brief = seeds(count), seeds(count, "--brief")
    assert 0 < brief < whole / 5


def test_briefly_a_fault_on_all_seeds_is_found(lesson):
    run("verify", NAME)
    path = lesson.root / "hidden" / f"test_{NAME}.py"
    path.write_text(path.read_text().replace("== 0.75", "== 0.7"))
    verified.keep(NAME, "answers", verified.state(lesson, NAME))
    result = run("verify", NAME, "--brief")
    assert result.exit_code == 1 and "fails test_weights" in result.output


def test_what_does_not_hold_is_not_kept(lesson):
    path = lesson.root / "hidden" / f"test_{NAME}.py"
    path.write_text(path.read_text().replace("== 0.75", "== 0.7"))
    assert run("verify", NAME).exit_code == 1
    assert not (lesson.root / "hidden" / verified.FILE).exists()


def seeds_tried(monkeypatch, *options):
    """The first seed of every block that was tried."""
    tried = []

    def lost(lesson, right, start, count):
        tried.append(start)
        return iter(())

    with monkeypatch.context() as patched:
        patched.setattr("autograde.authoring.fairness._lost", lost)
        patched.setattr("autograde.authoring.fairness.forked", lambda work, limit: work())  # it counts here
        assert run("verify", NAME, *options).exit_code == 0
    return tried


def test_seeds_go_on_where_a_run_was_ended(lesson, monkeypatch):
    assert seeds_tried(monkeypatch, "--seeds", "120") == [0, 50, 100]
    assert seeds_tried(monkeypatch, "--seeds", "200") == [100, 150]
    assert seeds_tried(monkeypatch, "--seeds", "200") == []
    path = lesson.root / "hidden" / f"test_{NAME}.py"
    path.write_text(path.read_text() + "\n# more\n")
    assert seeds_tried(monkeypatch, "--seeds", "60") == [0, 50]


def test_seeds_are_kept_up_to_the_first_that_does_not_hold(lesson):
    path = lesson.root / "hidden" / f"test_{NAME}.py"
    state = verified.state(lesson, NAME)
    assert run("verify", NAME, "--seeds", "10").exit_code == 0
    assert verified.seeds(NAME, state) == 10
    path.write_text(path.read_text().replace("== 0.75", "== 0.7"))
    assert run("verify", NAME, "--seeds", "10").exit_code == 1
    assert verified.seeds(NAME, verified.state(lesson, NAME)) == 0


def report(lost):
    counts = {"killed": 100 - lost, "survives": lost}
    return {"lesson": NAME, "exercises": {"weighted-mean": counts}, "left": [], "problems": []}


def test_mutants_are_left_out_where_all_were_tried_and_enough_died(lesson, monkeypatch):
    tried = []

    def try_mutants(course, name, sample):
        tried.append(sample)
        return report(lost)

    monkeypatch.setattr("autograde.authoring.mutation.try_mutants", try_mutants)
    lost = 20
    assert run("verify", "--mutants", "--brief").exit_code == 1
    lost = 0
    assert run("verify", "--mutants", "--sample", "9", "--brief").exit_code == 0  # a sample alone says little
    assert run("verify", "--mutants", "--brief").exit_code == 0
    assert run("verify", "--mutants", "--sample", "9", "--brief").exit_code == 0
    assert tried == [None, 9, None]


def test_a_damaged_record_is_one_line(lesson):
    (lesson.root / "hidden" / verified.FILE).write_text("[")
    refused(run("verify", "--brief"), 1, "Delete it")
