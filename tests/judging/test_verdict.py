"""Verdicts and results: what is written is read back, and nothing else is read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograde.errors import UNANSWERED
from autograde.judging.verdict import (
    NoVerdict,
    Outcome,
    Result,
    Score,
    passed_share,
    read_result,
    read_verdict,
    score,
    verdict_text,
)

NAMES = st.from_regex(r"[\w-]{1,12}", fullmatch=True)
WEIGHTS = st.floats(0.25, 100)
OUTCOMES = st.builds(Outcome, NAMES, WEIGHTS, st.booleans(), st.text(), st.text())
TESTS = st.lists(OUTCOMES, min_size=1, max_size=4)
VERDICTS = st.dictionaries(NAMES, TESTS, min_size=1, max_size=4)
ROW = {"name": "test_a", "weight": 1, "passed": True, "sentence": "It holds.", "message": ""}


@given(VERDICTS)
def test_a_verdict_comes_back_as_it_was_sent(verdict):
    assert read_verdict(verdict_text(verdict)) == verdict


@given(
    VERDICTS, st.integers(1, 20), st.dictionaries(NAMES, st.floats(0, 1e6)), st.none() | st.integers(0, 2**40)
)
def test_a_result_comes_back_from_its_file(verdict, maximum, seconds, memory):
    result = Result(score(verdict, dict.fromkeys(verdict, float(maximum))), seconds, memory)
    assert read_result(result.text(student="ann").encode()) == result
    assert 0 <= result.points <= result.maximum == maximum * len(verdict)


@given(TESTS)
def test_the_passed_share_of_the_weights_gives_the_points(tests):
    found = score({"a": tests}, {"a": 8.0})["a"]
    total = sum(test.weight for test in tests)
    assert found.points == pytest.approx(8 * sum(t.weight for t in tests if t.passed) / total)
    assert found.share == pytest.approx(passed_share(tests))


def test_what_nobody_answered_is_known_by_its_message():
    blank = Outcome("test_a", 1, False, "It holds.", f"It holds. {UNANSWERED}")
    tried = Outcome("test_b", 1, False, "It holds.", "It holds. Your code raised KeyError.")
    assert not Score(0, 4, [blank, blank]).answered and Score(0, 4, [blank, tried]).answered


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [None],
        [{}],
        [{**ROW, "passed": 1}],
        [{**ROW, "weight": 0}],
        [{**ROW, "weight": -1}],
        [{**ROW, "weight": float("nan")}],
        [{**ROW, "weight": "1"}],
        [{**ROW, "name": "a b"}],
        [{**ROW, "name": 3}],
        [{**ROW, "sentence": 3}],
        [{**ROW, "message": None}],
        [{**ROW, "weight": 10**400}],
    ],
)
def test_a_malformed_verdict_is_none(rows):
    with pytest.raises(NoVerdict):
        score(read_verdict(json.dumps({"a": rows})), {"a": 4.0})


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '{"a": 3}', "[" * 100_000])
def test_a_verdict_that_is_cut_short_is_none(text):
    with pytest.raises(NoVerdict):
        read_verdict(text)


@pytest.mark.parametrize(
    "change",
    [
        {"points": 5},
        {"points": -1},
        {"points": True},
        {"points": "4"},
        {"max": 0},
        {"max": float("inf")},
        {"tests": None},
        {"tests": [{**ROW, "passed": None}]},
    ],
)
def test_a_damaged_verdict_file_is_said_to_be_none(change):
    row = {"points": 4, "max": 4, "tests": [ROW], **change}
    with pytest.raises(ValueError, match="no verdict"):
        read_result(json.dumps({"exercises": {"a": row}}).encode())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_half_written_file_is_said_to_be_none(content):
    with pytest.raises(ValueError, match="half-written"):
        read_result(content)
