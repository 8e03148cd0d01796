"""The judge: a pytest plugin that runs a lesson's hidden tests against a student and returns a verdict.

A hidden test asks for `student` (the proxy) and `rng` (a NumPy generator, fresh for every submission and
test, the same on a regrade) and is marked `@pytest.mark.exercise("name", weight=2)`. Its docstring is the
sentence that a learner reads when it fails; pytest's own failure text is discarded.
"""

import contextlib
import functools
import hashlib
import hmac
import io
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autograde.errors import Died, StudentError, TimedOut
from autograde.judging import results
from autograde.judging.student import Ask, Student
from autograde.judging.verdict import PROMISE, HiddenTestError, Outcome, Verdict
from autograde.sandbox import promises

MAX_LOST_CALLS = 2  # deaths or time-outs of one exercise
RARELY = 10  # of so many seeds a costly test runs with the first, and what came of it stands for all
PROMISED = (
    "An answer leaves its arguments and the settings of the process as they are, "
    "and what it returns is of the type and shape that its statement says."
)
PROMISE_SHARE = 0.1  # of the points that the answer has otherwise, the same everywhere
UNUSED = "warnings threadexception skipping setuponly setupplan tmpdir stepwise junitxml doctest pastebin"
OPTIONS = [
    *("-c", os.devnull, "--noconftest", "--import-mode=importlib", "--assert=plain", "--capture=no"),
    "--disable-plugin-autoload",
    *("-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:faulthandler", "-p", "no:logging"),
    *("-p", "no:unraisableexception"),  # it collects garbage for a second
    # these take more time around a test than it does, and a hidden test needs none of them
    *(word for name in UNUSED.split() for word in ("-p", f"no:{name}")),
]


def _nothing(excinfo: object, style: object = None) -> str:
    """The text of a failure, which nobody sees."""
    return ""


@dataclass
class _Test:
    exercise: str
    weight: float
    sentence: str
    costly: bool = False
    seen: int = 0
    passed: bool = True
    reason: str = ""


@dataclass
class Judge:
    """The plugin. Judges once for each of `seeds` (a submission's identity), in one pytest session.

    lines: see Student.
    """

    ask: Ask
    secret: bytes
    seeds: Sequence[str]
    exercises: frozenset[str] | None = None
    lines: bool = False
    serve: Callable[[pytest.Session], bool | None] | None = None  # see pytest_runtestloop
    tests: dict[tuple[int, str], _Test] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    interrupted: bool = False
    current: tuple[int, str] = (0, "")  # the test that runs: number of its seed, name
    lost: dict[tuple[int, str], list[StudentError]] = field(default_factory=dict)
    broken: dict[tuple[int, str], set[str]] = field(default_factory=dict)  # promises: seed and exercise
    changes: dict[str, frozenset[str]] = field(default_factory=dict)  # what an exercise may change
    returns: dict[str, results.Promised] = field(default_factory=dict)  # by exercise: what it returns
    returned: dict[tuple[int, str], str] = field(default_factory=dict)  # what else came: seed and exercise

    def pytest_configure(self, config: pytest.Config) -> None:
        """Declare the marker."""
        config.addinivalue_line("markers", "exercise(name, weight=1, costly=False, changes=(), returns={})")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Every test runs once for each seed."""
        metafunc.fixturenames.append("judge_seed")
        metafunc.parametrize("judge_seed", range(len(self.seeds)))

    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """When all is collected, what `serve` returns: None for pytest to go on, True to leave the tests."""
        return self.serve(session) if self.serve else None

    def judge_collected(self, session: pytest.Session, exercise: str, seeds: int) -> list[Verdict]:
        """Run an exercise's tests now, for the first seeds: in a fork, in `serve`. Raises HiddenTestError."""
        wanted = {key for key, test in self.tests.items() if test.exercise == exercise and key[0] < seeds}
        items = [item for item in session.items if self._key(item) in wanted]
        for item, following in zip_longest(items, items[1:]):
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if self.errors:
            raise HiddenTestError(f"{items[0].path.name}: {'; '.join(dict.fromkeys(self.errors))}")
        return self.verdicts()[:seeds]

    def keep(self, session: pytest.Session, exercises: frozenset[str]) -> None:
        """Of what was collected, leave the tests of these exercises."""
        self.tests = {key: test for key, test in self.tests.items() if test.exercise in exercises}
        session.items = [item for item in session.items if self._key(item) in self.tests]

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Remember the test that is about to run: for every fixture of a fixture pytest takes a while."""
        self.current = self._key(item)

    @pytest.fixture
    def student(self) -> Student:
        """The learner's answers; objects kept for an earlier test are forgotten first.

        An exercise whose answer ended or hung the process MAX_LOST_CALLS times is not asked again.
        """
        lost = self.lost.get((self.current[0], self.tests[self.current].exercise), [])
        if len(lost) >= MAX_LOST_CALLS:
            raise lost[-1]
        self.answers.reset()
        return self.answers

    @functools.cached_property
    def answers(self) -> Student:
        """One for all tests: it knows whether there is anything to forget."""
        return Student(self.ask, self.lines, self._hear)

    def _hear(self, name: str, arguments: Sequence[Any], value: Any) -> None:
        """Remember the first result of an exercise that is none of those that its statement says."""
        seed, exercise = self.current[0], self.tests[self.current].exercise
        if found := results.fault(self.returns[exercise], name, arguments, value):
            self.returned.setdefault((seed, exercise), found)

    @pytest.fixture
    def rng(self) -> np.random.Generator:
        """Seeded by HMAC(course secret, submission, test)."""
        seed, name = self.current
        message = f"{self.seeds[seed]}\0{name}".encode()
        return np.random.default_rng(list(hmac.new(self.secret, message, hashlib.sha256).digest()))

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the tests of the exercises asked for, refuse unmarked ones."""
        kept = [item for item in items if self._wanted(item)]
        for item in kept:
            item.repr_failure = _nothing  # type: ignore[method-assign]
            item.location  # noqa: B018 - it is kept: no fork has to look for it
        dropped = [item for item in items if item not in kept]
        items[:] = kept
        config.hook.pytest_deselected(items=dropped)

    def _wanted(self, item: pytest.Item) -> bool:
        mark = item.get_closest_marker("exercise")
        function = getattr(item, "function", None)
        if mark is None or function is None or not (function.__doc__ or "").strip():
            self.errors.append(f"{item.name} needs an exercise marker and a docstring")
            return False
        if self.exercises is not None and mark.args[0] not in self.exercises:
            return False
        if strange := {"skip", "skipif", "xfail"} & {each.name for each in item.iter_markers()}:
            self.errors.append(f"{item.name} is marked {min(strange)}: a hidden test always runs")
            return False
        try:
            self._take(mark.args[0], mark.kwargs)
        except ValueError as error:
            self.errors.append(f"{item.name} {error}")
            return False
        sentence, key = " ".join(function.__doc__.split()), self._key(item)
        weight, costly = mark.kwargs.get("weight", 1), mark.kwargs.get("costly", False)
        self.tests.setdefault(key, _Test(mark.args[0], weight, sentence, costly))
        return key == self._stands_for(key)

    def _stands_for(self, key: tuple[int, str]) -> tuple[int, str]:
        """The test whose outcome counts for this one: another seed's where it is costly."""
        seed, name = key
        return (seed - seed % RARELY, name) if self.tests[key].costly else key

    def _take(self, exercise: str, marked: Mapping[str, Any]) -> None:
        """Take over what a marker says of its exercise. Raises ValueError."""
        weight, changes = marked.get("weight", 1), frozenset(marked.get("changes", ()))
        known = not set(marked) - {"weight", "costly", "changes", "returns"}
        known &= type(marked.get("costly", True)) is bool and not changes - promises.SAID.keys()
        if not known or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            may = f"`costly` as True, `changes` of {', '.join(promises.SAID)}, `returns`"
            raise ValueError(f"needs a positive number as its weight, {may}, and nothing else")
        self.changes[exercise] = self.changes.get(exercise, frozenset()) | changes
        results.merge(self.returns.setdefault(exercise, {}), marked.get("returns", {}))

    @staticmethod
    def _key(item: pytest.Item) -> tuple[int, str]:
        return item.callspec.params["judge_seed"], item.originalname  # type: ignore[attr-defined]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        """A test passes where all of its cases ran and passed; a learner's error gives the reason."""
        report = yield
        test = self.tests[self._key(item)]
        test.seen += call.when == "call"
        if call.when == "call" and (broken := self.answers._take_broken() - self.changes[test.exercise]):
            self.broken.setdefault((self._key(item)[0], test.exercise), set()).update(broken)
        if call.excinfo is not None:
            error = call.excinfo.value
            if call.when == "setup" and not isinstance(error, StudentError):
                self.errors.append(f"{item.originalname} cannot be set up")  # type: ignore[attr-defined]
            test.passed = False
            if call.when == "call" and isinstance(error, Died | TimedOut):
                self.lost.setdefault((self._key(item)[0], test.exercise), []).append(error)
            test.reason = test.reason or (error.reason if isinstance(error, StudentError) else "")
        return report

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """The learner's Ctrl-C at the self-check; pytest's own Interrupted is something else."""
        self.interrupted = type(excinfo.value) is KeyboardInterrupt

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected is an error of the course, never of the learner."""
        if report.failed:
            self.errors.append(str(report.longrepr).strip().splitlines()[-1])

    def verdicts(self) -> list[Verdict]:
        """One verdict a seed."""
        verdicts: list[Verdict] = [{} for _ in self.seeds]
        for (seed, name), own in self.tests.items():
            test = self.tests[self._stands_for((seed, name))]
            passed = test.passed and test.seen > 0
            message = "" if passed else f"{test.sentence} {test.reason}".strip()
            outcome = Outcome(name, own.weight, passed, own.sentence, message)
            verdicts[seed].setdefault(own.exercise, []).append(outcome)
        for seed, exercise in self.broken.keys() | self.returned.keys():
            outcomes, key = verdicts[seed][exercise], (seed, exercise)
            weight = math.fsum(outcome.weight for outcome in outcomes)
            outcomes.append(_promise(self.broken.get(key, set()), self.returned.get(key, ""), weight))
        return verdicts


def _promise(changed: set[str], returned: str, weight: float) -> Outcome:
    """What takes PROMISE_SHARE off, beside tests of so much weight."""
    named = ", ".join(said for name, said in promises.SAID.items() if name in changed)
    reasons = [f"Yours changed {named}."] * bool(named) + [returned] * bool(returned)
    own = weight * PROMISE_SHARE / (1 - PROMISE_SHARE)
    return Outcome(PROMISE, own, False, PROMISED, " ".join([PROMISED, *reasons]))


def judge(
    tests: Path,
    ask: Ask,
    secret: bytes,
    seeds: Sequence[str],
    exercises: frozenset[str] | None = None,
    lines: bool = False,
) -> list[Verdict]:
    """Run the hidden tests in file `tests` against `ask`, once for each seed. Raises HiddenTestError."""
    return run(tests, Judge(ask, secret, seeds, exercises, lines))


def run(tests: Path, plugin: Judge) -> list[Verdict]:
    """Run pytest on a file of hidden tests. Raises HiddenTestError."""
    sys.modules.pop(tests.stem, None)  # else pytest takes an earlier file of this name for it
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = pytest.main([*OPTIONS, f"--rootdir={tests.parent}", str(tests)], plugins=[plugin])
    if plugin.interrupted:
        raise KeyboardInterrupt
    if plugin.errors or code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise HiddenTestError(
            f"{tests.name}: {'; '.join(dict.fromkeys(plugin.errors)) or f'pytest ended with {code!r}'}"
        )
    return plugin.verdicts()
