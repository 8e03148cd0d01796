"""Similarity: a disguised copy stands out, independent right answers do not, no notebook is too odd."""

import ast
import itertools
import json
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest
from classroom import filled, hand_in, released
from command_line import run
from course_root import ROOT
from nbformat.v4 import new_code_cell
from small_course import NAME, change, course
from verdict_files import verdict, write

from autograde.authoring.answers import read_answers, without_markers
from autograde.authoring.release import release
from autograde.authoring.script import read_lesson
from autograde.cells import grade_id
from autograde.course import Course, answers
from autograde.notebooks import read_notebook
from autograde.report import handed_in, similarity
from autograde.report.handed_in import read_released
from autograde.report.normal_form import read_cell, tokens
from autograde.report.page import page
from autograde.report.similarity import (
    ALIKE,
    FEW,
    LISTED,
    Answer,
    compare,
    given_to_all,
    long_exercises,
    ranked,
    similar,
)
from autograde.report.statistics import report

__all__ = ["course", "released"]
COURSE = Course.at(ROOT)
LESSONS = COURSE.names()


def disguised(source: str, seed: int) -> str:
    """A copy: other names, no comments and docstrings, two statements exchanged, laid out for 60 columns."""
    tree, rng = ast.parse(source), random.Random(seed)
    nodes = list(ast.walk(tree))
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    for node in nodes:
        if isinstance(node, ast.Name) and node.id in names:
            node.id = f"other_{node.id[::-1]}"
        elif isinstance(node, ast.arg):
            node.arg = f"other_{node.arg[::-1]}"
    body = max((node.body for node in nodes if isinstance(getattr(node, "body", None), list)), key=len)
    if len(body) > 1:
        first = rng.randrange(len(body) - 1)
        body[first : first + 2] = reversed(body[first : first + 2])
    text = ast.unparse(tree)
    layout = [sys.executable, "-m", "ruff", "format", "--line-length", "60", "-"]
    return subprocess.run(layout, input=text, capture_output=True, text=True, check=True).stdout


def exercises(lesson: str) -> Iterator[tuple[str, dict[str, str], frozenset[int]]]:
    """The long ones: the reference and the right answers that were written without it; what is released."""
    everything = read_released(read_notebook(COURSE.lesson(lesson)))
    given = given_to_all(everything)
    cells = {grade_id(cell): cell.source for cell in read_lesson(COURSE.source(lesson)).cells}
    solved = {name: without_markers(cells[name]) for name in everything.exercises}
    listed = [a for a in read_answers(answers(lesson)) if a.kind == "right" and not a.edits]
    for name in long_exercises(solved, given):
        own = {answer.name: answer.source for answer in listed if answer.exercise == name}
        yield name, {"reference": solved[name], **own}, given


def share(first: Answer, second: Answer) -> float:
    return len(first.marks & second.marks) / min(len(first.marks), len(second.marks))


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_disguised_copy_has_more_in_common_than_any_two_independent_answers(lesson):
    copies, independent = [], []
    for _, right, given in exercises(lesson):
        own = {name: Answer([name], [source], given) for name, source in right.items()}
        independent += [share(*pair) for pair in itertools.combinations(own.values(), 2)]
        for name, source in right.items():
            other = Answer(["copy"], [disguised(source, len(copies))], given)
            copies.append(share(own[name], other))
    assert len(copies) >= 5 and independent
    assert max(independent) < 1 / 3 < ALIKE < 2 / 3 < min(copies), "as the report says"


@pytest.mark.parametrize("lesson", LESSONS[:5])
def test_of_a_class_only_the_copies_are_listed(lesson):
    for name, right, given in exercises(lesson):
        written = {who: [source] for who, source in right.items()}
        copied = {f"copy of {who}": [disguised(source, 1)] for who, source in right.items()}
        found = ranked(compare(name, written | copied, given), len(written | copied))
        pairs = {frozenset(itertools.chain.from_iterable(match.sides)) for match in found}
        assert pairs == {frozenset([who, f"copy of {who}"]) for who in right}
        assert all(match.tokens >= similarity.SHORTEST for match in found)


LONG = """def weighted_mean(x, w):
    values = np.asarray(x, dtype=float)
    weights = np.asarray(w, dtype=float)
    if values.shape != weights.shape:
        raise ValueError("shapes differ")
    centre = values.min()
    scale = np.abs(weights).max()
    shifted = values - centre
    scaled = weights / scale
    total = scaled.sum()
    weighed = (shifted * scaled).sum()
    return centre + weighed / total
"""
OTHER = """def weighted_mean(x, w):
    numerator, denominator = 0.0, 0.0
    for index, weight in enumerate(w):
        numerator += x[index] * weight
        denominator += weight
    if denominator == 0:
        return float("nan")
    return numerator / denominator
"""
SHORT = "def weighted_mean(x, w):\n    return np.average(x, weights=w)\n"


@pytest.fixture
def long(course: Course) -> Course:
    """The small course, where the reference of the first exercise is a long one."""
    body = LONG.partition("\n")[2].rstrip("\n")
    change(course, "    total = np.sum(np.asarray(w, dtype=float))\n    return np.dot(x, w) / total", body)
    release(course, [NAME])
    return course


def handed(course: Course, **sources: str) -> None:
    """Each student hands in an answer to the first exercise."""
    for student, source in sources.items():
        hand_in(course, student, filled(course, {"weighted-mean": source}))


def sides(course: Course) -> list[list[list[str]]]:
    return [match.sides for match in similar(course, NAME).matches]


def test_the_same_answers_are_one_row_and_a_copy_is_another(long):
    handed(long, alice=LONG, bob=LONG.replace("scaled", "s"), carol="# mine\n\n" + LONG, dan=OTHER, eve=SHORT)
    handed(long, fred=disguised(LONG.replace("return centre", "return 0 + centre"), 2))
    found = similar(long, NAME)
    assert found.exercises == ["weighted-mean"] and found.found == 2 and not found.left_out
    same, alike = found.matches
    assert same.sides == [["alice", "bob", "carol"]] and same.share == 1
    assert alike.sides == [["alice", "bob", "carol"], ["fred"]] and ALIKE < alike.share < 1
    assert same.sources[0] == LONG.strip() and "other_" in alike.sources[1]


def test_what_was_released_is_nobodys_own(long):
    given = next(cell.source for cell in read_notebook(long.released(NAME)).cells if "centred" in cell.source)
    stub = 'def weighted_mean(x, w):\n    """The mean of x (N,) with weights w (N,)."""\n'
    handed(long, alice=f"{given}\n{stub}    return 1", bob=f"{given}\n{stub}    return sum(x)", carol=stub)
    handed(long, dan=filled(long, {}).cells[3].source)
    assert sides(long) == []


def test_answers_that_moved_into_other_cells_are_found(long):
    handed(long, alice=LONG)
    notebook = filled(long, {})
    helper, rest = LONG.replace("weighted_mean", "mine"), "def weighted_mean(x, w):\n    return mine(x, w)"
    for source in (rest, helper, "x = 3"):
        notebook.cells.insert(2, new_code_cell(source))
    hand_in(long, "bob", notebook)
    (match,) = similar(long, NAME).matches
    assert match.sides == [["alice"], ["bob"]] and match.share > 0.9
    assert "mine(x, w)" in match.sources[1] and "x = 3" not in match.sources[1]


def test_formats_before_the_fourth_are_read(long):
    handed(long, alice=LONG)
    cells = [{"cell_type": "code", "input": ["import os\n", "\n"]}, {"cell_type": "code", "input": LONG}]
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}
    path = long.grading / "submitted" / "bob" / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(old))
    assert sides(long) == [[["alice", "bob"]]]


@pytest.mark.parametrize(
    "line", ["%time x", "    !ls", "files = !ls", "    found = %pwd", "np.dot?", "x = 1 # 5 %?"]
)
def test_what_only_ipython_reads_hides_no_copy(line):
    name, _, rest = LONG.partition("\n")
    odd = f"{name}\n{line}\n{rest}" if line.startswith(" ") else f"{line}\n{LONG}"
    own = Answer(["bob"], [odd.replace("scaled", "s").replace("centre", "c")], frozenset())
    assert share(Answer(["alice"], [LONG], frozenset()), own) > 0.9


def varied(number: int) -> str:
    """The long answer, with lines of one's own in every gap but some."""
    lines = LONG.splitlines(keepends=True)
    for line in range(len(lines) - 1, 1, -3 - number % 3):
        lines.insert(
            line, f"    own_{number} = np.cos({number}.{line}) @ x[{line * number}] ** {number + line}\n"
        )
    return "".join(lines)


def test_what_much_of_the_class_has_tells_nothing_and_a_crowd_comes_last():
    few = {f"s{number}": [varied(number)] for number in range(FEW - 1)}
    assert list(compare("e", few, frozenset()))
    many = {f"s{number}": [varied(number)] for number in range(30)}
    assert not list(compare("e", many, frozenset()))
    crowd = {f"c{number}": [LONG] for number in range(9)}
    copy = {"alice": [OTHER], "bob": [disguised(OTHER, 0)], "carol": [SHORT]}
    found = ranked(compare("e", {**crowd, **copy}, frozenset()), 12)
    assert [match.sides for match in found] == [[["alice"], ["bob"]], [list(crowd)]]


def test_each_answer_is_read_once_and_no_more_than_some_are_listed(long, monkeypatch):
    handed(long, **{f"s{number:02}": LONG.replace("3", str(number)) for number in range(3)})
    for number in range(30):
        handed(long, **{f"a{number}": varied(number), f"b{number}": varied(number)})
    read = []
    monkeypatch.setattr(similarity, "tokens", lambda sources: read.append(sources) or tokens(sources))
    found = similar(long, NAME)
    assert found.found > len(found.matches) == LISTED
    code = [cell for cell in read_notebook(long.released(NAME)).cells if cell.cell_type == "code"]
    assert len(read) == 63 + len(code) + 2, "answers, what is released, two references"


DEEP = 100_000
ODD_SOURCES = {
    "parentheses": "(" * DEEP,
    "calls": "f(" * 5000 + ")" * 5000,
    "minus": "-" * 30_000 + "1",
    "attributes": "a" + ".b" * 18_000,
    "sums": "+".join(["1"] * 15_000),
    "indents": "\n".join(" " * n + "if 1:" for n in range(200)),
    "quotes": "'" * 39_999,
    "escaped quotes": "\\'" * 19_000,
    "comments": "# " * 19_000 + "'",
    "f-strings": "f'{" * 500,
    "null": "x = 1\0",
    "surrogate": "x = '\ud800'",
    "digits": "x = " + "9" * 30_000,
    "hexadecimal": "x = 0x" + "f" * 30_000,
    "magics": "%time x\n" * 4000 + "def weighted_mean(x, w): return !ls",
    "controls": "\x1b[31m\u202e</pre><script>alert(1)</script>",
    "escapes": "'\\q' * 3",
}


@pytest.mark.parametrize("source", ODD_SOURCES.values(), ids=ODD_SOURCES)
def test_no_source_is_too_odd(source):
    read_cell(source)
    assert tokens([source]) == tokens([source])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("source", ODD_SOURCES.values(), ids=ODD_SOURCES)
def test_two_odd_answers_are_compared_or_left_out(long, source):
    cell = {"cell_type": "code", "source": source, "metadata": {"nbgrader": {"grade_id": "weighted-mean"}}}
    for student in ("alice", "bob"):
        path = long.grading / "submitted" / student / NAME / f"{NAME}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"cells": [cell, 3, {"cell_type": ["code"]}]}))
    found = similar(long, NAME)
    assert set(found.left_out) in (set(), {"alice", "bob"})


ODD_NOTEBOOKS = {
    "empty": "",
    "no JSON": "{",
    "deep": "[" * DEEP,
    "deep cells": '{"cells": ' + "[" * 900 + "]" * 900 + "}",
    "a number": "3",
    "cells are a text": '{"cells": "code"}',
    "metadata": '{"cells": [{"cell_type": "code", "metadata": 3, "source": {"a": 1}}]}',
    "grade_id": '{"cells": [{"cell_type": "code", "metadata": {"nbgrader": {"grade_id": [1]}}}]}',
    "worksheets": '{"worksheets": [[], {"cells": {}}, 3]}',
    "many cells": json.dumps({"cells": [{"cell_type": "code", "source": "x"}] * 3000}),
    "much code": json.dumps({"cells": [{"cell_type": "code", "source": "x" * 400_000}]}),
    "bytes": b"\xff\xfe\x00{",
}


@pytest.mark.parametrize("text", ODD_NOTEBOOKS.values(), ids=ODD_NOTEBOOKS)
def test_an_odd_notebook_is_left_out_and_the_others_are_compared(long, text):
    handed(long, alice=LONG, bob=LONG)
    path = hand_in(long, "odd", filled(long, {}))
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = similar(long, NAME)
    assert [match.sides for match in found.matches] == [[["alice", "bob"]]]
    assert set(found.left_out) <= {"odd"}


def test_links_folders_and_large_files_are_left_out(long, monkeypatch):
    handed(long, alice=LONG, bob=LONG)
    for name in ("link", "folder", "large"):
        path = hand_in(long, name, filled(long, {"weighted-mean": LONG}))
        if name != "large":
            path.unlink()
    submitted = long.grading / "submitted"
    (submitted / "link" / NAME / f"{NAME}.ipynb").symlink_to(submitted / "alice" / NAME / f"{NAME}.ipynb")
    (submitted / "folder" / NAME / f"{NAME}.ipynb").mkdir()
    with (submitted / "large" / NAME / f"{NAME}.ipynb").open("ab") as file:
        file.truncate(handed_in.MAX_BYTES + 1)
    found = similar(long, NAME)
    assert set(found.left_out) == {"link", "folder", "large"} and sides(long) == [[["alice", "bob"]]]


def test_an_endless_answer_is_left_out(long):
    handed(long, alice=LONG, bob=LONG, eve=LONG + "# more\n" * 6000)
    found = similar(long, NAME)
    assert list(found.left_out) == ["eve"] and "40000 characters" in found.left_out["eve"]
    assert [match.sides for match in found.matches] == [[["alice", "bob"]]]


def test_the_report_shows_it_escaped_and_says_what_it_means(long):
    hostile = LONG + "# </pre><script>alert(1)</script> \x1b[31m \u202e \ud800\n"
    for name, source in (("alice", hostile), ("<b>bob", hostile.replace("scaled", "s")), ("dan", OTHER)):
        notebook = filled(long, {"weighted-mean": source})
        hand_in(long, name, filled(long, {})).write_text(json.dumps(notebook))
        write(long, name, verdict([True], [True]))
    text = page(report(long, NAME))
    assert "<script" not in text and "&lt;/pre&gt;&lt;script&gt;" in text and "<b>bob" not in text
    assert "\x1b" not in text and "\\x1b[31m \\u202e ?" in text
    assert "no verdict" in text and "pair work" in text and text.count("<details>") == 1
    shown = " ".join(run("report", NAME).output.split())
    assert "Answers that are alike" in shown and "no verdict" in shown and "the same" in shown
    found = json.loads(run("report", NAME, "--json").stdout)["similar"]
    (match,) = found["matches"]
    assert match["sides"] == [["<b>bob", "alice"]] and "sources" not in match


def test_without_two_notebooks_or_long_exercises_there_is_nothing_to_say(released):
    assert similar(released, NAME).exercises == []
    handed(released, alice=LONG, bob=LONG)
    assert similar(released, NAME).exercises == [] == similar(released, NAME).matches
