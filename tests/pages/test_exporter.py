"""What a grader is shown: students with plain names, formulas without script, pages that open in seconds."""

import time

import nbformat
import pytest
from classroom import filled, hand_in, released, run, scores
from course_root import COURSE
from nbconvert.filters.highlight import Highlight2HTML
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbgrader.converters import Autograde
from nbgrader.converters.base import NbGraderException
from pages_html import Page, exported
from small_course import course

from autograde.pages import exporter
from autograde.pages.clean_html import TAGS
from autograde.pages.exporter import highlighted
from autograde.pages.mathml import TAGS as FORMULAS
from autograde.pages.sanitise import render_markdown
from autograde.pages.truncate import (
    MAX_CELLS,
    MAX_OUTPUTS,
    PAGE_CHARACTERS,
    PART_CHARACTERS,
    PICTURE_CHARACTERS,
    Truncate,
)

__all__ = ["course", "released"]
IPYTHON = Highlight2HTML(pygments_lexer="ipython3")
LINES = """
%matplotlib inline
%%time
%%html
x = %sx ls
?open
open?
open??
!ls
!!ls
x = !ls
a != b
7 % 2
7 %two
"50 %"
f"{a!r}"
%%!
# why?
it's = $
% time""".splitlines()


@pytest.mark.parametrize("student", ["<b>x", 'a"b', "a#b", "a\nb", "a'b", "a&b", "a`b"])
def test_a_student_whose_folder_has_no_plain_name_is_refused_and_the_others_are_graded(released, student):
    for name in (student, "Ann-Zoë O. (2), ann@x.org"):
        hand_in(released, name, filled(released, {}))
    with pytest.raises(NbGraderException, match=r"Not converted: .*Rename: ") as refused:
        run(released, Autograde)
    assert repr(student) in str(refused.value)
    assert list(scores(released)) == ["Ann-Zoë O. (2), ann@x.org"]


def formulas(text: str) -> set[str]:
    return {name for name in Page(render_markdown(text)).tags if name in FORMULAS}


def test_formulas_are_shown_without_a_script():
    assert formulas(r"$\frac{a}{b}$") == {"math", "mrow", "mfrac", "mi"}
    assert "display='block'" in render_markdown("$$x^2$$") and "𝔼" in render_markdown(r"$\mathbb{E} x$")
    assert "mtable" in formulas("\\begin{align}\na &= b\n\\end{align}")
    assert render_markdown("$\\frac{$") == "<p>$\\frac{$</p>\n", "what is no TeX is shown as it is written"


@pytest.mark.parametrize(
    "tex",
    [
        r"\text{</math><script>alert(1)</script>}",
        r"\href{javascript:alert(1)}{x}",
        r"\color{x' onclick='alert(1)}y",
        r"\style{color: red}{x}\class{score}{x}\cssId{why-mean}{x}",
        "{" * 1500,
        "x^" * 900,
        "<img src=x onerror=alert(1)>",
    ],
)
def test_a_formula_runs_nothing(tex):
    for text in (f"${tex}$", f"$${tex}$$", f"![${tex}$](plot.png)", f"[a](https://a.b '${tex}$')"):
        page = Page(render_markdown(text))
        assert page.scripts == page.handlers == page.ids == []
        assert page.tags <= {*TAGS, *FORMULAS} and {*page.addresses} <= {"plot.png", "https://a.b"}


@pytest.mark.parametrize("lesson", COURSE.names())
def test_code_is_coloured_as_nbconvert_does(lesson):
    sources = [cell.source for cell in nbformat.read(COURSE.lesson(lesson), 4).cells]
    assert [highlighted(text) for text in sources] == [IPYTHON(text) for text in sources]


@pytest.mark.parametrize("line", LINES)
def test_magics_are_coloured_as_nbconvert_does(line):
    for text in (line, f"{line}\n", f"x = 1\r\n{line}\r\ny = 2", f"if x:\n    {line}\n", f"\ufeff{line}"):
        assert highlighted(text) == IPYTHON(text)


def test_where_no_magic_can_be_the_lexer_for_them_is_left_alone(monkeypatch):
    monkeypatch.setattr(exporter, "Highlight2HTML", None)
    assert "hl-ipython3" in highlighted("left = a != b and 7 % 2  # alone")
    with pytest.raises(TypeError):
        highlighted("%left alone")


def shown(*cells: NotebookNode) -> list[NotebookNode]:
    return Truncate().preprocess(new_notebook(cells=list(cells)), {})[0].cells


def printed(text: str) -> NotebookNode:
    return new_output("stream", text=text)


def displayed(**data: str) -> NotebookNode:
    return new_output("display_data", data={kind.replace("_", "/"): text for kind, text in data.items()})


LOCKED = {"nbgrader": {"locked": True}}
LARGE = [
    [new_markdown_cell("a" * 10**6)],
    [new_code_cell("x = 1\n" * 10**6)],
    [new_code_cell("x = 1\n" * 400) for _ in range(2000)],
    [new_code_cell("", outputs=[printed("line\n" * 10**5)])],
    [new_code_cell("", outputs=[printed("a")] * 5000)],
    [new_code_cell("", outputs=[new_output("error", traceback=["line"] * 10**5)])],
    [new_code_cell("", outputs=[displayed(text_html="b" * 20_000, text_plain="c" * 20_000)] * 50)],
    [new_code_cell("", outputs=[displayed(image_png="a" * (PICTURE_CHARACTERS // 2))] * 5)],
]


@pytest.mark.parametrize("cells", LARGE, ids=lambda cells: f"{len(cells)}-{cells[0].cell_type}")
def test_a_page_is_short_and_says_so(cells):
    found = shown(*cells)
    texts = [cell.source for cell in found] + [repr(cell.get("outputs")) for cell in found]
    assert sum(map(len, texts)) < PICTURE_CHARACTERS + 2 * PAGE_CHARACTERS and "[cut off here: " in "".join(
        texts
    )
    assert (
        len(found) <= MAX_CELLS + 1 and sum(len(cell.get("outputs", [])) for cell in found) <= MAX_OUTPUTS + 1
    )
    assert all(len(cell.source) < PART_CHARACTERS + 100 for cell in found)


def test_graded_cells_stay_on_a_page_and_the_courses_own_are_whole():
    answer = new_markdown_cell("my answer", metadata={"nbgrader": {"locked": False}})
    verdict = new_code_cell(
        "t" * PART_CHARACTERS, metadata=LOCKED, outputs=[printed("v" * 2 * PART_CHARACTERS)]
    )
    flood = [new_code_cell("x = 1\n" * 4000) for _ in range(100)]
    *_, last, own, note = shown(*flood, answer, verdict)
    assert last is answer and "more in the notebook's file" in last.source
    assert (
        own.source == "t" * PART_CHARACTERS
        and len(own.outputs[0].text) == 2 * PART_CHARACTERS
        and note.cell_type == "markdown"
    )


def test_a_page_of_markdown_bombs_opens_in_time(course):
    bombs = new_notebook(cells=[new_markdown_cell("[" * 9000) for _ in range(20)])
    start = time.process_time()
    page = exported(course, bombs)
    assert page.count("[[[[") >= 20 and time.process_time() - start < 12  # without a budget: 20 s and more
