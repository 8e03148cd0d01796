"""The judge: weights, seeds, reasons; in process and in a process of its own; it fails closed."""

import itertools
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

from autograde.errors import CourseError, Died
from autograde.judging.in_process import in_process
from autograde.judging.judge import judge
from autograde.judging.judge_client import JudgeClient, Trial, answer_all
from autograde.judging.verdict import PROMISE, HiddenTestError, NoVerdict, passed_share, score
from autograde.sandbox.confined import CONFINEMENT
from autograde.sandbox.limits import Limits

HEAD = "import pytest\nexercise = pytest.mark.exercise\n"
TESTS = (
    HEAD
    + '''
@exercise("sum", weight=3)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_adds(student, rng, n):
    """The sum is the
    sum."""
    x = [int(v) for v in rng.integers(0, 9, n)]
    assert student.total(x) == sum(x)

@exercise("sum")
def test_empty(student, rng):
    """Nothing sums to zero."""
    assert student.total([]) == 0

@exercise("seen")
def test_inputs(student, rng):
    """Inputs are noted."""
    student.note(int(rng.integers(2**60)))
'''
)


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    path = tmp_path / "test_99_x.py"
    path.write_text(TESTS)
    return path


def namespace(**names: object) -> dict[str, object]:
    return {"total": sum, "note": lambda n: None, **names}


def verdict_of(tests: Path, **names: object) -> dict[str, list[dict[str, object]]]:
    (verdict,) = judge(tests, in_process(namespace(**names), 1), b"key", ["seed"])
    return verdict


def test_weights_give_partial_credit(tests):
    assert passed_share(verdict_of(tests)["sum"]) == 1
    only_empty = verdict_of(tests, total=lambda x: 0)["sum"]
    assert [t.passed for t in only_empty] == [False, True]
    assert passed_share(only_empty) == 1 / 4


def counted(tests, mark, seeds):
    """How often each test asked, and the verdicts, where the first test of "sum" bears `mark`."""
    tests.write_text(TESTS.replace('@exercise("sum", weight=3', f'@exercise("sum", weight=3{mark}'))
    asked = []

    def total(x):
        asked.append(len(x))
        return sum(x) if len(asked) != 1 else -1  # wrong once, with the first seed

    verdicts = judge(tests, in_process(namespace(total=total), 1), b"key", [f"{n}" for n in range(seeds)])
    return asked, verdicts


def test_a_costly_test_runs_with_every_tenth_seed_and_stands_for_the_others(tests):
    asked, verdicts = counted(tests, ", costly=True", 21)
    assert [asked.count(n) for n in range(4)] == [21, 3, 3, 3]
    failing = [n for n, verdict in enumerate(verdicts) if not verdict["sum"][0].passed]
    assert failing == list(range(10))
    assert all(verdict["sum"][1].passed for verdict in verdicts)


def test_a_costly_test_counts_with_one_seed_as_another_does(tests):
    for mark in ("", ", costly=True", ", costly=False"):
        asked, (verdict,) = counted(tests, mark, 1)
        assert passed_share(verdict["sum"]) == 1 / 4
        assert sorted(asked) == [0, 1, 2, 3]


def test_every_case_of_a_test_must_pass(tests):
    assert not verdict_of(tests, total=lambda x: sum(x) if len(x) < 3 else -1)["sum"][0].passed


def test_the_message_is_the_docstring_and_the_reason(tests):
    row = verdict_of(tests, total=lambda x: 1 / 0)["sum"][0]
    assert row.message == "The sum is the sum. Your code raised ZeroDivisionError."
    assert verdict_of(tests, total=lambda x: -1)["sum"][1].message == "Nothing sums to zero."


def emptied(x):
    total = sum(x)
    x.clear()
    return total


def drawn(x):
    np.random.rand()
    return sum(x)


def test_a_promise_that_is_broken_costs_a_tenth_and_is_named(tests):
    found = verdict_of(tests, total=emptied)["sum"]
    assert [test.name for test in found if not test.passed] == [PROMISE]
    assert passed_share(found) == pytest.approx(0.9)
    assert found[-1].message.endswith("Yours changed its arguments.")
    both = verdict_of(tests, total=lambda x: emptied(x) + 0 * drawn(x))["sum"]
    assert passed_share(both) == pytest.approx(0.9), "a tenth in all"
    assert both[-1].message.endswith("its arguments, the global random state of Python or NumPy.")
    assert passed_share(verdict_of(tests, total=lambda x: 0 * drawn(x))["sum"]) == pytest.approx(0.9 / 4)


def test_a_promise_that_is_kept_gains_nothing(tests):
    assert passed_share(verdict_of(tests, total=lambda x: -1)["sum"]) == 0


def test_a_promise_is_of_its_own_exercise_and_seed(tests):
    found = judge(tests, in_process(namespace(note=drawn_once()), 1), b"key", ["a", "b"])
    assert [[len(each["sum"]), len(each["seen"])] for each in found] == [[2, 2], [2, 1]]


def drawn_once():
    """An answer that uses the global random numbers when it is first called."""
    calls = []

    def note(n):
        calls.append(n)
        if len(calls) == 1:
            np.random.rand()

    return note


def test_what_an_exercise_may_change_is_no_promise(tests):
    tests.write_text(TESTS.replace('@exercise("sum")', '@exercise("sum", changes=["random"])'))
    assert passed_share(verdict_of(tests, total=drawn)["sum"]) == 1
    assert passed_share(verdict_of(tests, total=emptied)["sum"]) == pytest.approx(0.9)


def returning(tests, *specifications):
    """The file of tests, with what the answer to "sum" returns told by two of its tests."""
    text = TESTS
    for marker, told in zip(('@exercise("sum", weight=3', '@exercise("sum"'), specifications, strict=False):
        text = text.replace(f"{marker})", f"{marker}, returns={told!r})")
    tests.write_text(text)


def test_a_result_of_another_type_is_a_promise_that_is_broken(tests):
    returning(tests, {}, {"total": "int64"})
    assert passed_share(verdict_of(tests)["sum"]) == 1
    found = verdict_of(tests, total=lambda x: float(sum(x)))["sum"]
    assert [test.name for test in found if not test.passed] == [PROMISE]
    assert passed_share(found) == pytest.approx(0.9)
    assert found[-1].message.endswith(
        "`total` returned a value of type float where its statement says: int64."
    )
    both = verdict_of(tests, total=lambda x: float(emptied(x)))["sum"]
    assert passed_share(both) == pytest.approx(0.9), "a tenth in all"
    assert "Yours changed its arguments. `total` returned" in both[-1].message
    assert passed_share(verdict_of(tests, total=lambda x: 0.0)["sum"]) == pytest.approx(0.9 / 4)


def test_a_result_is_promised_by_its_own_exercise(tests):
    returning(tests, {"note": "int64"}, {"note": "int64"})
    verdict = verdict_of(tests)
    assert [passed_share(outcomes) for outcomes in verdict.values()] == [1, 1]


def test_a_broken_promise_about_a_result_is_of_its_seed(tests):
    returning(tests, {"total": "int64"})
    calls = itertools.chain([float], itertools.repeat(int))
    found = judge(tests, in_process(namespace(total=lambda x: next(calls)(sum(x))), 1), b"key", ["a", "b"])
    assert [len(each["sum"]) for each in found] == [3, 2]


def test_a_malformed_promise_about_a_result_is_named_with_what_may_be_said(tests):
    returning(tests, {"total": "float (N)"})
    with pytest.raises(
        HiddenTestError, match=r"test_adds.* may not say 'float \(N\)' of a result; a part is"
    ):
        verdict_of(tests)
    returning(tests, {"total": "int64"}, {"total": "float64"})
    with pytest.raises(HiddenTestError, match=r"test_empty.* says of what total returns something else"):
        verdict_of(tests)


def test_inputs_depend_on_secret_submission_and_test_and_repeat(tests):
    def inputs(secret: bytes, seeds: list[str]) -> list[int]:
        seen: list[int] = []
        judge(tests, in_process(namespace(note=seen.append), 1), secret, seeds, frozenset(["seen"]))
        return seen

    assert inputs(b"key", ["a", "b"]) == inputs(b"key", ["a"]) + inputs(b"key", ["b"])
    assert len({*inputs(b"key", ["a", "b"]), *inputs(b"other", ["a", "b"])}) == 4


def test_a_changed_file_is_read_again(tests):
    assert len(verdict_of(tests)) == 2
    tests.write_text(TESTS.replace('"seen"', '"other"'))
    assert list(verdict_of(tests)) == ["sum", "other"]
    elsewhere = tests.parent / "elsewhere" / tests.name
    elsewhere.parent.mkdir()
    elsewhere.write_text(TESTS)
    assert list(verdict_of(elsewhere)) == ["sum", "seen"]


def test_only_the_exercises_asked_for_are_judged(tests):
    (verdict,) = judge(tests, in_process(namespace(), 1), b"", ["s"], frozenset(["seen"]))
    assert list(verdict) == ["seen"]


@pytest.mark.parametrize(
    "body",
    [
        "def test_x(student):\n    '''Unmarked.'''",
        "@exercise('a')\ndef test_x(student):\n    pass",
        "import no_such_module",
        "def broken(:",
        "",
        "@exercise('a')\ndef test_x(no_such_fixture):\n    '''Says.'''\n\nraise RuntimeError",
        "@exercise('a', changes=['mood'])\ndef test_x(student):\n    '''Says.'''",
        "@exercise('a', returns='int64')\ndef test_x(student):\n    '''Says.'''",
        "@exercise('a', returns={'f': 'float'})\ndef test_x(student):\n    '''Says.'''",
        "@exercise('a')\n@pytest.mark.skip\ndef test_x(student):\n    '''Says.'''",
        "@exercise('a')\n@pytest.mark.xfail\ndef test_x(student):\n    '''Says.'''",
        "import unittest\n\n\nclass T(unittest.TestCase):\n    def test_y(self):\n        '''Says.'''",
    ],
)
def test_faulty_hidden_tests_are_an_error_of_the_course(tmp_path, body):
    path = tmp_path / "test_99_faulty.py"
    path.write_text(HEAD + body)
    with pytest.raises(HiddenTestError, match=r"test_99_faulty\.py"):
        judge(path, in_process({}, 1), b"", ["s"])


@pytest.mark.parametrize("verdict", [{}, {"b": []}, {"a": []}])
def test_an_exercise_without_a_verdict_gives_no_points(verdict):
    with pytest.raises(NoVerdict):
        score(verdict, {"a": 4.0})


@pytest.fixture(scope="module")
def server() -> Iterator[JudgeClient]:
    server = JudgeClient()
    yield server
    server.close()


def in_own_process(server: JudgeClient, tests: Path, limits: Limits, **names: object):
    ask = in_process(namespace(**names), limits.call)
    return server.verdict(tests, ask, b"key", "seed", limits)


def test_the_server_outlives_the_folder_that_it_was_started_in(tests, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    server = JudgeClient()
    server.start()
    gone.rmdir()
    monkeypatch.chdir(tmp_path)
    assert in_own_process(server, tests, Limits()) == verdict_of(tests)
    server.close()


def test_its_own_process_gives_the_same_verdict(server, tests):
    for total in (sum, lambda x: 0, lambda x: 1 / 0):
        assert in_own_process(server, tests, Limits(), total=total) == verdict_of(tests, total=total)


def test_its_own_process_holds_results_to_what_is_said_of_them(server, tests):
    returning(tests, {"total": "int64"})
    verdict = in_own_process(server, tests, Limits(), total=lambda x: float(sum(x)))
    assert passed_share(verdict["sum"]) == pytest.approx(0.9)


def test_failures_of_the_transport_reach_the_verdict(server, tests):
    def dead(request: str) -> str:
        raise Died

    verdict = server.verdict(tests, dead, b"", "s", Limits())
    assert [t.passed for row in verdict.values() for t in row] == [False] * 3
    assert "process ended" in verdict["sum"][0].message


@pytest.mark.parametrize(
    "body",
    [
        "import os\nos._exit(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "x = bytearray(10**9 * 40)",
    ],
)
def test_a_judge_that_ends_early_gives_no_verdict(server, tmp_path, body):
    path = tmp_path / "test_99_early.py"
    path.write_text(HEAD + "@exercise('a')\ndef test_x(student):\n    '''Says.'''\n\n" + body)
    with pytest.raises((NoVerdict, HiddenTestError)):
        server.verdict(path, in_process({}, 1), b"", "s", Limits())


def test_a_judge_that_hangs_gives_no_verdict(server, tmp_path):
    path = tmp_path / "test_99_hang.py"
    path.write_text(HEAD + "@exercise('a')\ndef test_x(student):\n    '''Says.'''\n    while True: pass")
    with pytest.raises(NoVerdict, match="too long"):
        server.verdict(path, in_process({}, 1), b"", "s", replace(Limits(), judge_wall=1))


def test_a_judge_that_ends_while_it_waits_for_an_answer_gives_no_verdict(server, tests):
    def slow(request: str) -> str:
        time.sleep(8)
        raise Died

    with pytest.raises(NoVerdict, match="without a verdict"):
        server.verdict(tests, slow, b"", "s", replace(Limits(), judge_wall=4))


def test_the_server_comes_back_after_its_death(server, tests):
    server.start()
    os.kill(server.process, signal.SIGKILL)
    assert server.ended(10)
    assert in_own_process(server, tests, Limits()) == verdict_of(tests)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"V",
        b"V{",
        b"V[1]",
        b"Vnull",
        b'V{"a": [{"weight": -1}]}',
        b'V{"a": [{"weight": 1, "passed": 1}]}',
        b"X",
        b"\xff\xfe",
    ],
)
def test_half_a_verdict_is_none(message):
    (questions, _), (verdict, other) = Pipe(), Pipe()
    other.send_bytes(message)
    other.close()
    with pytest.raises(CourseError):
        Trial(questions, verdict, time.monotonic() + 5).result()


def test_the_judge_knows_no_gradebook_and_writes_no_file(tmp_path):
    path, target = tmp_path / "test_99_files.py", tmp_path / "written"
    path.write_text(
        HEAD
        + f'''
import os
@exercise("a")
def test_open_files(student):
    """No file of the grader is open."""
    open_files = [os.path.realpath(f"/proc/self/fd/{{n}}") for n in os.listdir("/proc/self/fd")]
    assert not [name for name in open_files if name.endswith("gradebook.db")]
@exercise("a")
def test_write(student):
    """Nothing is written."""
    try:
        with open({str(target)!r}, "w") as file:
            file.write("x")
    except OSError:
        pass
'''
    )
    with open(tmp_path / "gradebook.db", "w") as gradebook:
        os.set_inheritable(gradebook.fileno(), True)
        server = JudgeClient()  # started while the gradebook is open
        verdict = server.verdict(path, in_process({}, 1), b"", "s", Limits())
        server.close()
    assert all(t.passed for t in verdict["a"])
    assert not target.exists() or target.read_text() == ""


def test_the_judge_of_a_class_is_confined(tmp_path):
    """It sees no file of the course, opens no socket, starts no process; torch's threads it may."""
    path = tmp_path / "test_99_confined.py"
    path.write_text(
        HEAD
        + f'''
import os, socket, threading
@exercise("a")
def test_rights(student):
    """It may do nothing."""
    for attempt in (
        socket.socket,
        os.fork,
        lambda: os.kill({os.getpid()}, 0),
        lambda: open("/tmp/x", "w"),
        lambda: open({str(path)!r}),
        lambda: os.listdir({str(tmp_path)!r}),
    ):
        try:
            attempt()
        except OSError:
            continue
        assert False, "it could"
@exercise("a")
def test_threads(student):
    """It has threads, and asks."""
    import torch
    done = []
    thread = threading.Thread(target=lambda: done.append(student.double(2)))
    thread.start()
    thread.join()
    x = torch.ones(3, requires_grad=True)
    (x * 2).sum().backward()
    assert done == [4] and x.grad.tolist() == [2.0, 2.0, 2.0]
'''
    )
    server = JudgeClient()
    trial = server.begin(path, b"", "s", Limits(), door=CONFINEMENT.door())
    answer_all(trial.questions, in_process({"double": lambda x: 2 * x}, 1), 60)
    verdict = trial.result()
    server.close()
    assert [test.message for test in verdict["a"] if not test.passed] == []
