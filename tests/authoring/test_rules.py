"""Every reason to refuse a lesson's source or its hidden tests, each by a mutated source."""

import pytest
from small_course import HIDDEN, LESSON, NAME, course, mutate

from autograde.authoring.script import read_lesson
from autograde.course import Course
from autograde.errors import CourseError

__all__ = ["course"]  # the fixture

EXERCISE, SECOND = '# %% exercise="weighted-mean"', '# %% exercise="running-mean"'
TEST, SECOND_TEST = '# %% test="weighted-mean" points=12', '# %% test="running-mean" points=8'
ANSWER = '# %% [markdown] answer="why-mean" points=2.5'
DEMO, PRINT, PROSE = '# %% tags=["demo"]', "print(centred", "# The mean is"
BEGIN, END = "    ### BEGIN SOLUTION\n", "    ### END SOLUTION\n"
SUM, QUOTIENT = "    total = np.sum(np.asarray(w, dtype=float))\n", "    return np.dot(x, w) / total\n"
STUB = LESSON[LESSON.index("def weighted_mean") : LESSON.index(BEGIN)]
REGION = BEGIN + SUM + QUOTIENT + END
RUBRIC = "# ### BEGIN SOLUTION\n# It minimises the sum of the squared distances.\n# ### END SOLUTION\n"
BUILD = '# %% build="centring"<<<\ndef twice(x):\n' + BEGIN + "    return 2 * x\n" + END
LONG = "\n\n".join(f"x = {n}  # so" for n in range(22))
YAML = {"# ---\n# j": "# ---<<<\n# j"}
Changes = dict[str, str]


def demo(text: str) -> Changes:
    """The text put into the demo cell."""
    return {PRINT: f"{text}\n{PRINT}"}


# Each: a name, what the reason says, what is replaced in the lesson. `<<<` is on the line that must be named.
HEADERS = [
    ("unknown marker", "unknown marker 'excercise'", {EXERCISE: '# %% excercise="weighted-mean"<<<'}),
    ("unknown tag", "unknown marker in tags", {DEMO: '# %% tags=["demmo"]<<<'}),
    ("demo as text", "unknown marker in tags", {DEMO: '# %% tags="demo"<<<'}),
    ("title", "unknown marker 'Weighted mean'", {EXERCISE: "# %% Weighted mean<<<"}),
    ("marker without value", "unknown marker 'exercise'", {EXERCISE: "# %% exercise<<<"}),
    ("kind of cell", "unknown kind of cell [md]", {"# %% [markdown]\n# # M": "# %% [md]<<<\n# # M"}),
    ("nbgrader by hand", "unknown marker 'nbgrader'", {EXERCISE: '# %% nbgrader={"grade": true}<<<'}),
    ("unclosed string", "malformed value of test", {TEST: '# %% test="weighted-mean points=12<<<'}),
    ("single quotes", "malformed value of exercise", {EXERCISE: "# %% exercise='weighted-mean'<<<"}),
    ("no space between", "stands after it", {TEST: '# %% test="weighted-mean"points=12<<<'}),
    ("comma between", "stands after it", {TEST: '# %% test="weighted-mean", points=12<<<'}),
    ("twice", "'points' stands twice", {TEST: TEST + " points=11<<<"}),
    ("no space after #", "looks like a cell header", {EXERCISE: "#" + EXERCISE[2:] + "<<<"}),
    ("no space after %%", "looks like a cell header", {EXERCISE: '# %%exercise="weighted-mean"<<<'}),
    ("one %", "looks like a cell header", {EXERCISE: '# % exercise="weighted-mean"<<<'}),
    ("no %", "looks like a cell header", {EXERCISE: '# exercise="weighted-mean"<<<'}),
    ("three %", "looks like a cell header", {EXERCISE: '# %%% exercise="weighted-mean"<<<'}),
    ("indented", "looks like a cell header", demo("    # %%<<<")),
    ("cell magic", "looks like a cell header", demo("# %%time<<<")),
    ("in a string", "jupytext reads", {DEMO: DEMO + '<<<\ntext = """\n# %% [markdown]\n"""'}),
    ("another kind of header", "jupytext reads", {DEMO: DEMO + "<<<\n# In[3]:\n"}),
    ("before the first cell", "before the first cell", {"# ---\n\n#": "# ---\n\nimport os<<<\n#"}),
    ("no cell at all", "no cell here", {LESSON: "x = 1<<<\n"}),
    ("bad YAML", "malformed YAML header", {**YAML, "limits: {": "limits: {{"}),
    ("unknown limit", "malformed YAML header", {**YAML, "{cell:": "{cells:"}),
    ("list of limits", "malformed YAML header", {**YAML, "{cell: 120}": "[120]"}),
    ("limits alone", "malformed YAML header", {**YAML, "genmap: {limits: {cell: 120}}": "genmap: 120"}),
    ("unknown setting", "malformed YAML header", {**YAML, "{limits:": "{limit:"}),
    ("beside jupyter", "malformed YAML header", {**YAML, "# jupyter:": "# title: Means\n# jupyter:"}),
]
MARKS = [
    ("two kinds", "a cell is one of exercise and test", {EXERCISE: EXERCISE + ' test="running-mean"<<<'}),
    ("demo exercise", "a demo is not graded", {EXERCISE: EXERCISE + ' tags=["demo"]<<<'}),
    ("demo test", "a demo is not graded", {TEST: TEST + ' tags=["demo"]<<<'}),
    ("exercise in Markdown", "is a code cell", {EXERCISE: '# %% [markdown] exercise="weighted-mean"<<<'}),
    ("answer in code", "is prose", {ANSWER: ANSWER.replace("[markdown] ", "") + "<<<"}),
    ("same exercise", "duplicate name 'weighted-mean'", {SECOND: EXERCISE + "<<<"}),
    ("same test", "duplicate name 'weighted-mean'", {SECOND_TEST: TEST + "<<<"}),
    ("answer named as exercise", "duplicate name", {ANSWER: ANSWER.replace("why", "weighted") + "<<<"}),
    (
        "build without a region",
        "between SOLUTION markers",
        {DEMO: '# %% build="centring"<<<\n\n# %% check="centring"\n\n' + DEMO},
    ),
    ("build in Markdown", "is a code cell", {ANSWER: '# %% [markdown] build="centring"<<<\n\n' + ANSWER}),
    ("check of nothing", "no build 'centring' stands above", {DEMO: '# %% check="centring"<<<'}),
    ("check of an exercise", "duplicate name", {SECOND: '# %% check="weighted-mean"<<<\n\n' + SECOND}),
    ("build without asserts", "has no asserts", {DEMO: BUILD + "\n" + DEMO}),
    ("build with points", "points stand on the test", {DEMO: BUILD.replace("<<<", " points=3<<<") + DEMO}),
    ("build that is a demo", "a demo is not graded", {DEMO: DEMO + ' build="centring"<<<'}),
    ("folded exercise", "only code of the chapter", {EXERCISE: EXERCISE + ' folded="Mine"<<<'}),
    ("folded test", "only code of the chapter", {TEST: TEST + ' folded="Theirs"<<<'}),
    ("folded prose", "only code of the chapter", {ANSWER: '# %% [markdown] folded="Proof"<<<\n\n' + ANSWER}),
    ("folded without a title", "folded=''", {DEMO: DEMO + ' folded=""<<<'}),
    ("folded by True", "folded=True", {DEMO: DEMO + " folded=true<<<"}),
    ("malformed name", "malformed name 'Weighted_Mean'", {EXERCISE: '# %% exercise="Weighted_Mean"<<<'}),
    ("empty name", "malformed name ''", {ANSWER: ANSWER.replace("why-mean", "") + "<<<"}),
    ("number as name", "malformed name 3", {EXERCISE: "# %% exercise=3<<<"}),
    ("test- in front", "kept for the test cells", {EXERCISE: '# %% exercise="test-mean"<<<'}),
    ("long name", "at most 50 characters", {EXERCISE: f'# %% exercise="{"a" * 51}"<<<'}),
    ("no points", "the test has no points", {TEST: '# %% test="weighted-mean"<<<'}),
    ("answer without points", "the answer has no points", {ANSWER: ANSWER.split(" points")[0] + "<<<"}),
    ("zero", "positive finite", {"points=12": "points=0<<<"}),
    ("negative", "positive finite", {"points=2.5": "points=-1<<<"}),
    ("NaN", "positive finite", {"points=12": "points=NaN<<<"}),
    ("infinite", "positive finite", {"points=12": "points=1e999<<<"}),
    ("points as text", "positive finite", {"points=12": 'points="12"<<<'}),
    ("points as truth", "positive finite", {"points=12": "points=true<<<"}),
    ("points on an exercise", "points stand on the test cell", {EXERCISE: EXERCISE + " points=3<<<"}),
    ("points on a chapter", "points stand on the test cell", {DEMO: "# %% points=3<<<"}),
    ("sum", "add up to 21, not 20", {SECOND_TEST: SECOND_TEST.replace("8", "9<<<")}),
    ("test without exercise", "no exercise 'weighted-mean'", {EXERCISE: "# %%", TEST: TEST + "<<<"}),
    ("exercise without test", "'weighted-mean' has no points", {EXERCISE: EXERCISE + "<<<", TEST: "# %%"}),
    ("test of an answer", "no exercise 'why-mean'", {SECOND_TEST: '# %% test="why-mean" points=8<<<'}),
    ("test above", "no exercise 'running-mean'", {TEST: '# %% test="running-mean" points=12<<<'}),
]
REGIONS = [
    ("no END", "no `### END SOLUTION` after", {BEGIN: BEGIN[:-1] + "<<<\n", QUOTIENT + END: QUOTIENT}),
    ("no BEGIN", "no `### BEGIN SOLUTION` before", {BEGIN: "", END: END[:-1] + "<<<\n"}),
    ("BEGIN twice", "a second `### BEGIN", {BEGIN: BEGIN + BEGIN[:-1] + "<<<\n"}),
    ("misspelt word", "is no marker", {BEGIN: BEGIN.replace("SOLUTION", "SOULTION<<<")}),
    ("two signs", "is no marker", {END: "    ## END SOLUTION<<<\n"}),
    ("lower case", "is no marker", {END: "    # end solution<<<\n"}),
    ("trailing text", "is no marker", {BEGIN: BEGIN.replace("SOLUTION", "SOLUTION of it<<<")}),
    ("other ### line", "is no marker", {BEGIN: BEGIN.replace("SOLUTION", "ANSWER<<<")}),
    ("misspelt in Markdown", "is no marker", {"# # Means": "# ### BEGIN SOLUTIO<<<"}),
    ("marker in prose", "is no marker", {PROSE: f"# See BEGIN SOLUTION.<<<\n{PROSE}"}),
    ("hidden tests", "is no marker", demo("# BEGIN HIDDEN TESTS<<<")),
    ("mark scheme", "is no marker", {"# Why the mean?": "# ### BEGIN MARK SCHEME<<<"}),
    ("autotest", "is no marker", demo("# AUTOTEST c<<<")),
    ("exercise without region", "released whole", {EXERCISE: EXERCISE + "<<<", REGION: SUM + QUOTIENT}),
    ("answer without region", "released whole", {ANSWER: ANSWER + "<<<", RUBRIC: "# So.\n"}),
    ("in a demo", "no exercise would be released", demo("### BEGIN SOLUTION<<<\nc = 1\n### END SOLUTION")),
    ("in a test", "no exercise would be", {TEST: f"{TEST}\n### BEGIN SOLUTION<<<\nc = 1\n### END SOLUTION"}),
    (
        "in prose",
        "no exercise would be",
        {PROSE: f"# ### BEGIN SOLUTION<<<\n# x\n# ### END SOLUTION\n{PROSE}"},
    ),
    ("empty region", "no solution", {REGION: f"{BEGIN[:-1]}<<<\n    # here\n{END}    return 3\n"}),
    ("code after region", "would be released", {QUOTIENT + END: END + QUOTIENT[:-1] + "<<<\n"}),
    ("marker out of line", "indent both markers", {BEGIN: "### BEGIN SOLUTION<<<\n"}),
    ("half a statement", "whole statements", {BEGIN: f"    total = (\n{BEGIN[:-1]}<<<\n    1)\n"}),
]
CONTENT = [
    ("syntax error", "this is no Python", demo("print(c c<<<")),
    ("syntax error in a solution", "this is no Python", {SUM: "    total = = 3<<<\n"}),
    ("magic", "this is no Python", demo("%time 3<<<")),
    ("null byte", "this is no Python", {DEMO: DEMO + "<<<\n\0"}),
    ("solution in a chapter", "solution of 'weighted-mean' (line 26)", demo(SUM.strip() + "  # so<<<")),
    ("solution in prose", "solution of 'weighted-mean'", {PROSE: f"# `{SUM.strip()}`<<<\n{PROSE}"}),
    ("solution in its stub", "solution of", {BEGIN: f'    """\n{SUM[:-1]}<<<\n    """\n{BEGIN}'}),
    ("rubric", "solution of 'why-mean'", {PROSE: f"{RUBRIC.split(chr(10))[1]}<<<\n{PROSE}"}),
    ("all of it", "'running-mean'", demo("self.n += 1<<<\nself.mean += (x - self.mean) / self.n")),
    ("long line", "111 characters: a line of code has at most 110", demo(f"# {'x' * 109}<<<")),
    ("long cell", "23 lines of code in a cell, more than 20", {DEMO: f"{DEMO}<<<\n{LONG}"}),
    ("same function", "'weighted_mean' of exercise 'weighted-mean' (l", demo("def weighted_mean(): 3<<<\n#")),
    ("same class", "'RunningMean' of exercise", demo("class RunningMean:<<<\n    pass")),
    ("same variable", "'weighted_mean' of exercise", demo("if True:\n    weighted_mean = 3<<<")),
    ("same import", "'weighted_mean' of exercise", demo("import numpy as weighted_mean<<<")),
    ("same loop", "'weighted_mean' of exercise", demo("for weighted_mean in range(3):<<<\n    pass")),
    ("same in a test", "'RunningMean' of exercise", {SECOND_TEST: f"{SECOND_TEST}\nRunningMean = 3<<<"}),
    ("same in another", "'weighted_mean' of exercise", {SECOND: f"{SECOND}\nweighted_mean = 3<<<"}),
    ("leans on an exercise", "of exercise 'weighted-mean' is used here", demo("print(weighted_mean<<<)")),
    ("in a function", "is used here", demo("def f():\n    return RunningMean()<<<")),
    ("one on another", "is used here", {QUOTIENT: "    return RunningMean()<<<\n"}),
    ("a test on another", "is used here", {SECOND_TEST: f"{SECOND_TEST}\nassert weighted_mean<<<"}),
    (
        "the tests' own word",
        "'grad' is a word of",
        {STUB: STUB.replace("def weighted_mean(x, w):", "def grad(x, w):<<<")},
    ),
    (
        "defines nothing",
        "defines nothing",
        {EXERCISE: EXERCISE + "<<<", STUB: "if w:\n", SUM: "", QUOTIENT: "    w\n"},
    ),
]


@pytest.mark.parametrize(
    ("reason", "changes"),
    [pytest.param(*case[1:], id=case[0]) for case in [*HEADERS, *MARKS, *REGIONS, *CONTENT]],
)
def test_refused_lesson(course: Course, reason: str, changes: Changes) -> None:
    text, line = mutate(LESSON, changes)
    course.source(NAME).write_text(text)
    with pytest.raises(CourseError) as caught:
        read_lesson(course.source(NAME))
    message = str(caught.value)
    assert message.startswith(f"solutions/{NAME}/{NAME}.py:{line}: ")
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("unknown exercise 'jogging-mean'", {'"running-mean")': '"jogging-mean")<<<'}),
        ("name the exercise", {'("running-mean")': "<<<"}),
        ("name the exercise", {'"running-mean")': "NAME)<<<"}),
        ("name the exercise", {'("running-mean")': "(weight=2)<<<"}),
        ("this is no Python", {"import pytest\n": "import import<<<\n"}),
    ],
)
def test_refused_hidden_tests(course: Course, reason: str, changes: Changes) -> None:
    text, line = mutate(HIDDEN, changes)
    (course.root / "hidden" / f"test_{NAME}.py").write_text(text)
    with pytest.raises(CourseError) as caught:
        read_lesson(course.source(NAME))
    assert str(caught.value).startswith(f"hidden/test_{NAME}.py:{line}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("hidden", "exercise"),
    [
        (None, EXERCISE),
        ("", EXERCISE),
        (HIDDEN.replace("@pytest.mark.exercise", "# "), EXERCISE),
        (HIDDEN.replace("def test_two", "def two"), SECOND),
    ],
    ids=["no file", "empty file", "no marks", "no test"],
)
def test_an_exercise_needs_a_hidden_test(course: Course, hidden: str | None, exercise: str) -> None:
    path = course.root / "hidden" / f"test_{NAME}.py"
    path.unlink()
    if hidden is not None:
        path.write_text(hidden)
    line = LESSON[: LESSON.index(exercise)].count("\n") + 1
    with pytest.raises(CourseError, match=rf"{NAME}.py:{line}: .*has no hidden test: .*pytest.mark.exercise"):
        read_lesson(course.source(NAME))


@pytest.mark.parametrize(
    "code",
    [
        f"# long: a figure of many panels\n{LONG}",
        '"""\n' + "text\n" * 40 + '"""',
        "# so\n\n" * 40,
        "genmap.settings(\n" + "".join(f"    x{n}=(1, 2, 3),\n" for n in range(40)) + ")",
        f"# {'x' * 108}",
    ],
    ids=["with a reason", "a text", "comments", "settings", "a full line"],
)
def test_what_is_not_too_long(course: Course, code: str) -> None:
    course.source(NAME).write_text(LESSON.replace(DEMO, f"{DEMO}\n{code}"))
    assert read_lesson(course.source(NAME))
