"""Answer files: whole cells and edits of the reference, and what is refused in either."""

import pytest
from small_course import ANSWERS, NAME, course, mutate

from autograde.authoring.answers import Answer, Edit, read_answers
from autograde.course import Course
from autograde.errors import CourseError

__all__ = ["course"]
REFERENCE = '''\
def weighted_mean(x, w):
    """The mean of x (N,) with weights w (N,)."""
    ### BEGIN SOLUTION
    total = np.sum(np.asarray(w, dtype=float))
    if total == 0:
        total = 1
    return np.dot(x, w) / total
    ### END SOLUTION'''


def test_answers(course: Course) -> None:
    wrong, right = read_answers(course.root / "hidden" / "wrong" / f"{NAME}.py")
    assert (wrong.kind, wrong.exercise, wrong.fails) == ("wrong", "weighted-mean", "test_weights")
    assert (wrong.name, wrong.line) == ("forgets the weights", 3)
    assert wrong.cell(REFERENCE) == "def weighted_mean(x, w):\n    return np.mean(x)"
    assert (right.kind, right.fails, right.name, right.line) == ("right", None, "by a loop", 8)


WRONG = '# %% wrong="weighted-mean" fails="test_weights" name="forgets the weights"'
RIGHT = '# %% right="weighted-mean" name="by a loop"'
FUNCTION = "def weighted_mean(x, w):\n    return np.mean(x)\n"
BAD_ANSWERS = [  # as in test_rules
    ("no kind", "an answer is a code cell", {RIGHT: '# %% name="by a loop"<<<'}),
    ("both kinds", "an answer is a code cell", {RIGHT: RIGHT + ' wrong="weighted-mean"<<<'}),
    ("Markdown", "an answer is a code cell", {RIGHT: RIGHT.replace("%%", "%% [markdown]") + "<<<"}),
    ("no name", "give the answer a name", {WRONG: WRONG.split(" name")[0] + "<<<"}),
    ("blank name", "give the answer a name", {RIGHT: RIGHT.replace("by a loop", " ") + "<<<"}),
    ("number as name", "give the answer a name", {RIGHT: RIGHT.replace('"by a loop"', "3") + "<<<"}),
    ("no test", "name the hidden test", {WRONG: WRONG.replace(' fails="test_weights"', "") + "<<<"}),
    ("test's name", "name the hidden test", {WRONG: WRONG.replace("test_weights", "weights") + "<<<"}),
    ("list of tests", "name the hidden test", {WRONG: WRONG.replace('"test_weights"', "[]") + "<<<"}),
    ("right one fails", "only a wrong answer fails a test", {RIGHT: RIGHT + ' fails="test_weights"<<<'}),
    ("malformed exercise", "malformed name 'Mean'", {WRONG: WRONG.replace("weighted-mean", "Mean") + "<<<"}),
    ("exercise is a list", "malformed name []", {RIGHT: RIGHT.replace('"weighted-mean"', "[]") + "<<<"}),
    ("unknown marker", "unknown marker 'fail'", {WRONG: WRONG.replace("fails", "fail") + "<<<"}),
    ("lesson's marker", "unknown marker 'points'", {RIGHT: RIGHT + " points=3<<<"}),
    ("no space", "looks like a cell header", {RIGHT: RIGHT.replace("# ", "#") + "<<<"}),
    ("JSON", "malformed value of name", {RIGHT: RIGHT[:-1] + "<<<"}),
    ("empty", "the answer is empty", {WRONG: WRONG + "<<<", FUNCTION: "# so\n"}),
    ("syntax error", "this is no Python", {"np.mean(x)": "np.mean(x<<<"}),
    ("same name", "line 3 has it", {"forgets the weights": "by a loop", RIGHT: RIGHT + "<<<"}),
    ("no answer", "no cell here", {ANSWERS: "x = 1<<<"}),
]


@pytest.mark.parametrize(("reason", "changes"), [pytest.param(*case[1:], id=case[0]) for case in BAD_ANSWERS])
def test_refused_answers(course: Course, reason: str, changes: dict[str, str]) -> None:
    text, line = mutate(ANSWERS, changes)
    path = course.root / "hidden" / "wrong" / f"{NAME}.py"
    path.write_text(text)
    with pytest.raises(CourseError) as caught:
        read_answers(path)
    assert str(caught.value).startswith(f"hidden/wrong/{NAME}.py:{line}: ")
    assert reason in str(caught.value)


def edited(course: Course, *calls: str) -> Answer:
    """The answer whose cell is these calls."""
    path = course.root / "hidden" / "wrong" / f"{NAME}.py"
    path.write_text("\n".join([f'"""Answers."""\n\n{WRONG}', *calls]) + "\n")
    (answer,) = read_answers(path)
    return answer


@pytest.mark.parametrize(
    ("calls", "line", "becomes"),
    [
        (
            ['replace("/ total", "* total")'],
            "    return np.dot(x, w) / total",
            "    return np.dot(x, w) * total",
        ),
        (
            ["replace('(x, w) /', '(w, x) /')"],
            "    return np.dot(x, w) / total",
            "    return np.dot(w, x) / total",
        ),
        (['replace(", dtype=float", "")'], "np.asarray(w, dtype=float)", "np.asarray(w)"),
        (['strike("total = 1")', 'replace("total == 0:", "total == 0: pass")'], "        total = 1\n", ""),
        (['strike("if total == 0:\\n    total = 1")'], "    if total == 0:\n        total = 1\n", ""),
        (
            ['replace("total = 1", "total = 2\\nx = x + 1")'],
            "        total = 1\n",
            "        total = 2\n        x = x + 1\n",
        ),
        (
            ['replace("if total == 0:\\n    total = 1", "total += 1e-9")'],
            "    if total == 0:\n        total = 1\n",
            "    total += 1e-9\n",
        ),
    ],
)
def test_an_edit_changes_the_reference_where_it_says_and_nowhere_else(course, calls, line, becomes):
    bare = "\n".join(text for text in REFERENCE.split("\n") if "SOLUTION" not in text)
    assert line in bare
    wanted = bare.replace(line, becomes).replace(
        "total == 0:", "total == 0: pass" if len(calls) == 2 else "total == 0:"
    )
    assert edited(course, *calls).cell(REFERENCE) == wanted


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ('replace("np.sun", "x")', "'np.sun' stands nowhere in the solution of 'weighted-mean'"),
        ('replace("total", "x")', "'total' stands 4 times"),
        ('strike("total")', "the lines 'total' stand nowhere"),
        ('replace("total = 1\\nreturn", "x")', "stand nowhere"),
        ('replace("/ total", "/ (total")', "with its edits it is no Python"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused_with_its_line(course, call, reason):
    answer = edited(course, 'replace("dtype=float", "dtype=int")', call)
    with pytest.raises(CourseError) as caught:
        answer.cell(REFERENCE)
    line = 3 if "no Python" in reason else 5
    assert str(caught.value).startswith(f"hidden/wrong/{NAME}.py:{line}: ")
    assert reason in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ('replace("a")', 'malformed edit: write replace("old", "new")'),
        ('replace("a", b)', "malformed edit"),
        ('replace("a", 3)', "malformed edit"),
        ('replace("", "b")', "malformed edit"),
        ('replace("a", "b", "c")', "malformed edit"),
        ('replace("a", new="b")', "malformed edit"),
        ('replace(*"ab")', "malformed edit"),
        ("strike()", 'malformed edit: write strike("a line")'),
        ('strike("")', "malformed edit"),
        ('replace("a", "a")', "the edit changes nothing"),
        ('replace("a", "b")\nx = 1', "edits and other code do not go together"),
    ],
)
def test_malformed_edits_are_refused(course, call, reason):
    with pytest.raises(CourseError) as caught:
        edited(course, call)
    assert str(caught.value).startswith("hidden/wrong/") and reason in str(caught.value)


def test_edits_of_the_same_answer_follow_each_other():
    text = "a = 1\nb = 2"
    for edit in (Edit("1", "3", False, 0), Edit("a = 3\nb = 2", "c = 4", True, 0)):
        text = edit.applied(text)
    assert text == "c = 4"
