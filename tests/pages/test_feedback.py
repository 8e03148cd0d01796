"""A student's page: a table of exercises, the learner's own cells, solutions only where told to."""

import copy
import re

import nbformat
import pytest
from classroom import RIGHT, filled, released
from course_root import COURSE
from hostile import RUN, hostile
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell
from pages_html import Page
from small_course import NAME, course
from traitlets.config import Config

from autograde.cells import BEGIN, END, grade_id, scored_cells
from autograde.course import Course
from autograde.grading import term
from autograde.grading.feedback import NOBODY, sheet
from autograde.grading.nbgrader_config import configure
from autograde.grading.recorded import Grade, Recorded
from autograde.grading.submission import summary
from autograde.judging.verdict import Outcome, Result, Score
from autograde.pages.exporter import StudentPages
from autograde.pages.feedback import headings, lesson_title, properties

__all__ = ["course", "released"]
TESTED, OTHER, WORDS = "test-weighted-mean", "test-running-mean", "why-mean"
GRADED = {
    TESTED: Grade(12.0, None, 0.0, 12.0, waits=False),
    OTHER: Grade(2.5, None, 0.0, 8.0, waits=False),
    WORDS: Grade(None, 2.0, 0.0, 2.5, waits=False),
}
WAITS = Grade(None, None, 0.0, 2.5, waits=True)
SCRIPT = f"<script>{RUN}</script>"


def recorded(comments: dict[str, str] | None = None, penalty: float = 0.0, **grades: Grade) -> Recorded:
    """What is recorded of alice; a grade is named as its cell is, with _ for -."""
    given = {name.replace("_", "-"): grade for name, grade in grades.items()}
    return Recorded("alice", GRADED | given, comments or {}, penalty, None)


def page(course: Course, notebook: NotebookNode, of: Recorded) -> str:
    config = Config()
    configure(config, course.root)
    pages = StudentPages(config=config, template_name="classic")
    return pages.from_notebook_node(notebook, {"feedback": sheet(course, NAME, of)})[0]


def text(html: str) -> str:
    """The words of a page, its style aside."""
    return " ".join(re.sub(r"<[^<>]*>", " ", html.split("</style>")[1]).split())


def shown(course: Course, of: Recorded, answers: dict[str, str] = RIGHT) -> str:
    return text(page(course, filled(course, answers), of))


def test_the_table_has_a_row_for_every_exercise_and_answer_with_a_link(released):
    html = page(released, filled(released, RIGHT), recorded())
    assert text(html).startswith(
        "Means Feedback for alice 16.5 of 22.5 points Exercise Points weighted-mean 12 of 12 "
        "why-mean graded by hand 2 of 2.5 running-mean 2.5 of 8"
    )
    found = Page(html)
    assert [link for link in found.addresses if link.startswith("#")] == [
        f"#at-{name}" for name in ("weighted-mean", "why-mean", "running-mean")
    ]
    assert {f"at-{name}" for name in ("weighted-mean", "why-mean", "running-mean")} == {*found.ids}


def test_what_waits_for_a_grader_is_neither_0_nor_final(released):
    words = shown(released, recorded(why_mean=WAITS))
    assert "14.5 of 22.5 so far; 1 answer is not graded yet" in words and " points Exercise" not in words
    assert words.count("why-mean graded by hand not graded yet") == 1 and "0 of 2.5" not in words
    again = Grade(None, 2.0, 0.0, 2.5, waits=True)
    assert "graded by hand not graded yet (2 before)" in shown(released, recorded(why_mean=again))
    two = shown(released, recorded(why_mean=WAITS, **{OTHER: Grade(None, None, 0.0, 8.0, waits=True)}))
    assert "12 of 22.5 so far; 2 answers are not graded yet" in two


def test_of_what_nothing_is_recorded_the_page_says_that_it_waits(released):
    words = shown(released, NOBODY)
    assert "so far; 3 answers are not graded yet" in words and "0 of 12" not in words


def test_lateness_is_a_row_and_the_score_is_the_one_after_it(released):
    words = shown(released, recorded(penalty=3.0))
    assert "13.5 of 22.5 points" in words and "2.5 of 8 late: −3" in words
    assert "late" not in shown(released, recorded())
    assert "0 of 22.5 points" in shown(released, recorded(penalty=99.0))


def test_what_is_excused_and_what_is_extra_is_said(released):
    with term.change(released, NAME) as decided:
        decided.excused += ["running-mean"]
    words = shown(released, recorded(test_running_mean=Grade(0.0, 8.0, 1.0, 8.0, waits=False)))
    assert "running-mean full points for everybody 9 of 8, 1 of it extra" in words
    assert words.count("full points for everybody") == 2, "in the table, and at the exercise"


def test_a_comment_is_at_its_cell_and_marked_in_the_table(released):
    html = page(released, filled(released, RIGHT), recorded({WORDS: "Only **half** of it: $x < y$"}))
    assert 'href="#comment-why-mean"' in html and "<strong>half</strong>" in html and "<math" in html
    places = [html.index(f'id="{name}"') for name in ("at-why-mean", "comment-why-mean", "at-running-mean")]
    assert places == sorted(places)
    assert "comment-" not in page(released, filled(released, RIGHT), recorded())


def test_an_answer_as_it_was_released_is_called_that(released):
    words = shown(released, recorded({"running-mean": "No response."}), {})
    assert "running-mean no answer 2.5 of 8" in words and "No response" not in words


def parts(html: str) -> list[str]:
    """What the page shows below the table, in order: a word of each part."""
    found = re.findall(r'<section class="(own|answer)|<summary>(\d+ cells?) of the lesson([^<]*)', html)
    return [" ".join(filter(None, part)).strip() for part in found]


def test_only_what_is_the_learners_own_is_open(released):
    notebook = filled(released, RIGHT)
    html = page(released, notebook, recorded())
    assert parts(html) == ["4 cells", "answer", "answer", "answer"]
    own = [new_markdown_cell("My **note**"), new_raw_cell(f"raw {SCRIPT}"), new_code_cell("")]
    changed = copy.deepcopy(notebook)
    changed.cells[1].source += "\nimport math"  # of the lesson
    changed.cells[2:2] = own
    changed.cells[-1:-1] = [new_code_cell("later = 1")]
    html = page(released, changed, recorded())
    assert parts(html) == ["1 cell", "own", "2 cells", "answer", "answer", "answer", "own"]
    assert "<strong>note</strong>" in html and "raw &lt;script&gt;" in html and "math" in html


def test_a_copy_of_a_cell_of_the_lesson_is_the_learners_and_an_error_in_a_folded_cell_is_counted(released):
    notebook = filled(released, RIGHT)
    double = copy.deepcopy(notebook.cells[2])
    double.id += "-copy2"
    lines = ["\x1b[31mE\x1b[0m: <b>"]
    notebook.cells[1].outputs = [new_output("error", ename="E", evalue="", traceback=lines)]
    notebook.cells.append(double)
    html = page(released, notebook, recorded())
    assert parts(html)[0] == "4 cells , 1 with an error" and parts(html)[-1] == "own"
    assert '<span class="ansi-red-fg">E</span>: &lt;b&gt;' in html


def test_a_test_cell_says_what_failed_and_its_asserts_are_folded(released):
    notebook = filled(released, RIGHT)
    tests = [Outcome("a", 1.0, True, "Weights count.", ""), Outcome("b", 1.0, False, "Two.", "Two. It < 3.")]
    said = summary("weighted-mean", Result({"weighted-mean": Score(6.0, 12.0, tests)}))
    scored_cells(notebook)["weighted-mean"].outputs = [new_output("stream", text=said)]
    html = page(released, notebook, recorded())
    assert "passed Weights count. FAILED Two. It &lt; 3. The tests that the lesson shows" in text(html)
    folded = html.index("<details><summary>The tests")
    assert html.index("Two. It") < folded < html.index("equal weights give the mean")


WORD = st.from_regex(r"[a-z]{1,12}(-[a-z]{1,12})?", fullmatch=True)
SENTENCES = st.lists(st.lists(WORD, min_size=1).map(" ".join))


@given(SENTENCES, SENTENCES, SENTENCES, st.booleans())
def test_what_is_said_of_an_exercise_is_read_as_it_was_written(passed, failed, hints, excused):
    tests = [Outcome("t", 1.0, True, sentence, "") for sentence in passed]
    tests += [Outcome("t", 1.0, False, "", sentence) for sentence in failed]
    result = Result({"kl": Score(1.0, 2.0, tests, excused)}, hints={"kl": hints})
    found = properties(new_code_cell(outputs=[new_output("stream", text=summary("kl", result))]))
    for word, said in (("passed", passed), ("FAILED", failed), ("note", hints if failed else [])):
        assert [sentence for which, sentence in found if which == word] == said
    assert ["excused" in sentence for word, sentence in found if not word] == [True] * excused


def solution_lines(course: Course) -> set[str]:
    """Of the instructor's notebook, the lines that the release has not."""
    cells = nbformat.read(course.instructors(NAME), 4).cells
    lines = {line.strip() for cell in cells if grade_id(cell) for line in cell.source.split("\n")}
    release = nbformat.read(course.released(NAME), 4).cells
    return lines - {line.strip() for cell in release for line in cell.source.split("\n")} - {"", BEGIN, END}


def test_no_line_of_a_solution_is_on_the_page_without_the_switch(released):
    secrets = solution_lines(released)
    assert len(secrets) >= 5
    for of in (recorded(), recorded({WORDS: "a"}, 1.0, why_mean=WAITS), NOBODY):
        html = page(released, filled(released, {}), of)
        assert not [line for line in secrets if line in text(html) or line in html]


def test_with_the_switch_each_answer_has_its_solution_beside_it(released):
    with term.change(released, NAME) as decided:
        decided.solutions = True
    html = page(released, filled(released, {}), recorded())
    words = text(html)
    assert words.count("Reference solution") == 2 and words.count("What a full answer says") == 1
    assert words.count("Your answer") == 3 and BEGIN not in html and END not in html
    plain = "".join(words.split())  # highlighting parts the words of code
    assert not [line for line in solution_lines(released) if "".join(line.split()) not in plain]
    assert plain.index("Referencesolution") < plain.index("np.asarray") < plain.index("Whatafullanswersays")


def test_nothing_of_a_submission_a_name_or_a_comment_runs(released):
    ours = Page(page(released, filled(released, RIGHT), recorded()))
    comments = {WORDS: f'{SCRIPT}<img src=x onerror="{RUN}"><b id=x>kept</b>'}
    hostile_one = Recorded(f'"><x y="{SCRIPT}', GRADED, comments, 0.0, None)
    html = page(released, hostile(filled(released, {WORDS: f'{SCRIPT}<p onclick="{RUN}">x'})), hostile_one)
    found = Page(html)
    assert found.scripts == ours.scripts == [] and found.handlers == [] and "x" not in found.tags
    assert "<b>kept</b>" in html and "&lt;x y=" in html
    assert not [id for id in found.ids if not id.startswith(("at-", "comment-"))]
    assert "default-src 'none'" in html.replace("&#39;", "'")


def test_a_page_without_a_sheet_is_not_made(released):
    with pytest.raises(UndefinedError):
        StudentPages(template_name="classic").from_notebook_node(new_notebook())


@pytest.mark.parametrize("lesson", COURSE.names())
def test_every_exercise_of_a_lesson_has_the_number_and_title_of_its_heading(lesson):
    notebook = nbformat.read(COURSE.lesson(lesson), 4)
    found = {name: title for name, title in headings(notebook).items()}
    assert found and all(number.isdigit() and title for number, title in found.values())
    assert not [title for _, title in found.values() if "minutes" in title]
    numbers = [int(number) for number, _ in found.values()]
    assert numbers == sorted(numbers) and {*numbers} == {*range(1, max(numbers) + 1)}
    assert lesson_title(notebook).startswith(f"{lesson[:2]} · ")


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("### Exercise 3 · Draw it (easy, 20 minutes)", ("3", "Draw it")),
        ("### 12 · p(x) given y", ("12", "p(x) given y")),
        ("### A walk (of ten steps)", ("", "A walk (of ten steps)")),
        ("## 4 · A section", ("", "")),
        ("### 1 · First\n\ntext\n\n## Other", ("", "")),
        ("### 1 · First\n\n```\n## no heading\n```", ("1", "First")),
        ("#no heading", ("", "")),
    ],
)
def test_a_heading_of_an_exercise(source, title):
    solution = new_code_cell(metadata={"nbgrader": {"grade_id": "kl"}})
    assert headings(new_notebook(cells=[new_markdown_cell(source), solution])) == {"kl": title}
