"""Which released cell a submitted one is, whatever editors and tools did to the notebook; and who wins."""

import copy
from collections.abc import Callable

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from autograde.cells import cells_to_run, grade_id
from autograde.grading.rebuild import Rebuilt, rebuild

STUB = "def area(r):\n    '''The area of a disc.'''\n    raise NotImplementedError\n"
DEMO = """model = train(steps=2000, rate=1e-3)
for step in range(20):
    losses.append(model.step(data))
plot(losses)"""
RIGHT = "def area(r):\n    return 3.14159 * r * r\n"
TWO = "def mean(x):\n    raise NotImplementedError\n\n\ndef spread(x):\n    raise NotImplementedError\n"


def mark(name: str, **given: object) -> dict[str, object]:
    blank = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False}
    return {"nbgrader": {**blank, **given, "grade_id": name}}


def release() -> NotebookNode:
    test = {"grade": True, "locked": True, "points": 2}
    cells = [
        new_markdown_cell("# Discs", id="title"),
        new_code_cell("import math\n\ncount = 3", id="imports"),
        new_code_cell(DEMO, id="training", metadata={"tags": ["demo"]}),
        new_markdown_cell("How large is a disc?", id="question"),
        new_code_cell(STUB, id="area", metadata=mark("area", solution=True)),
        new_code_cell("assert area(1) > 3", id="test-area", metadata=mark("test-area", **test)),
        new_code_cell(TWO, id="moments", metadata=mark("moments", solution=True)),
        new_code_cell("assert mean([1]) == 1", id="test-moments", metadata=mark("test-moments", **test)),
        new_markdown_cell("Why?", id="why-asked"),
        new_markdown_cell(
            "*Write here*", id="why", metadata=mark("why", solution=True, grade=True, points=1)
        ),
    ]
    return new_notebook(cells=cells, metadata={"genmap": {"lesson": "99_x"}})


RELEASE = release()


def by_id(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(cell for cell in notebook.cells if cell.id == name)


def filled(**sources: str) -> NotebookNode:
    notebook = release()
    for cell in notebook.cells:
        cell.source = sources.get(cell.id.replace("-", "_"), cell.source)
    return notebook


def without_ids(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        del cell["id"]


def stripped(notebook: NotebookNode) -> None:
    """As a tool leaves it that takes all metadata and ids."""
    without_ids(notebook)
    notebook.metadata = {}
    for cell in notebook.cells:
        cell.metadata = {}


def windows(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        cell.source = cell.source.replace("\n", "\r\n")


def black(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        cell.source = cell.source.replace("'''", '"""').replace(
            "(steps=2000, rate=1e-3)", "(\n    steps=2000, rate=1e-3\n)"
        )


def commented(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source += "\n# mine"


def untagged(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        cell.metadata.pop("tags", None)


def saved_twice(notebook: NotebookNode) -> None:
    windows(notebook)
    black(notebook)
    commented(notebook)
    without_ids(notebook)


TOOLS = [windows, black, commented, untagged, without_ids, stripped, saved_twice]


def runs(found: Rebuilt) -> str:
    return "\n".join(cell.source for cell in cells_to_run(found.notebook))


def answers(found: Rebuilt) -> dict[str, object]:
    """The names after all cells that grading runs have run, each error kept to its cell."""
    names: dict[str, object] = {}
    for cell in cells_to_run(found.notebook):
        try:
            exec(cell.source, names)
        except Exception:  # as a kernel goes on
            continue
    return names


@pytest.mark.parametrize("tool", TOOLS)
def test_no_tool_makes_a_demo_cell_run_or_costs_an_answer(tool: Callable[[NotebookNode], None]):
    notebook = filled(area=RIGHT, why="Because.")
    tool(notebook)
    found = rebuild(notebook, RELEASE)
    assert "train(" not in runs(found)
    assert answers(found)["area"](2) == pytest.approx(12.566, rel=1e-3)
    assert [name for c in found.notebook.cells if (name := grade_id(c))] == [
        name for c in RELEASE.cells if (name := grade_id(c))
    ]
    assert next(c.source for c in found.notebook.cells if grade_id(c) == "why") == "Because."
    assert "\r" not in runs(found)


def test_a_demo_cell_that_was_rewritten_is_none_of_the_learners_cells_without_ids_either():
    notebook = filled(
        training=DEMO.replace("2000", "50").replace("losses", "history") + "\nprint(history[-1])"
    )
    without_ids(notebook)
    assert "train(" not in runs(rebuild(notebook, RELEASE))


def test_a_cell_of_ones_own_runs_though_it_stands_beside_a_demo():
    notebook = release()
    notebook.cells.insert(2, new_code_cell("def helper(r):\n    return r * r\n", id="mine"))
    assert "def helper" in runs(rebuild(notebook, RELEASE))
    without_ids(notebook)
    assert "def helper" in runs(rebuild(notebook, RELEASE))


@pytest.mark.parametrize("missing", [False, True], ids=["stub kept", "cell deleted"])
@pytest.mark.parametrize(
    "tool", [lambda notebook: None, black, without_ids], ids=["as it was", "black", "no ids"]
)
def test_an_answer_above_its_place_is_not_overridden_by_the_stub(tool, missing):
    notebook = release()
    if missing:
        notebook.cells = [cell for cell in notebook.cells if cell.id != "area"]
    notebook.cells.insert(2, new_code_cell(RIGHT, id="mine"))
    tool(notebook)
    assert answers(rebuild(notebook, RELEASE))["area"](1) == pytest.approx(3.14159)


def test_of_two_stubs_only_the_answered_one_is_left_out():
    notebook = release()
    notebook.cells.insert(2, new_code_cell("def mean(x):\n    return sum(x) / len(x)\n", id="mine"))
    names = answers(rebuild(notebook, RELEASE))
    assert names["mean"]([1, 3]) == 2
    with pytest.raises(NotImplementedError):
        names["spread"]([1])


def test_an_answer_in_another_exercises_cell_counts():
    notebook = filled(area=RIGHT + "\n\ndef mean(x):\n    return 7\n")
    assert answers(rebuild(notebook, RELEASE))["mean"]([1]) == 7


def test_a_class_that_refuses_on_purpose_is_an_answer():
    refuses = "def area(r):\n    if r < 0:\n        raise NotImplementedError('no such disc')\n    return 1\n"
    notebook = filled(area=refuses)
    notebook.cells.insert(2, new_code_cell("def area(r):\n    return 0\n", id="first-try"))
    assert answers(rebuild(notebook, RELEASE))["area"](1) == 1


def test_an_untouched_notebook_answers_nothing():
    names = answers(rebuild(release(), RELEASE))
    with pytest.raises(NotImplementedError):
        names["area"](1)


def test_a_stray_definition_further_down_is_named():
    notebook = filled(area=RIGHT)
    notebook.cells.append(new_code_cell("# try\narea = lambda r: r", id="mine"))
    found = rebuild(notebook, RELEASE)
    assert answers(found)["area"](5) == 5
    (line,) = found.hints["area"]
    assert "`area`" in line and "# try" in line
    assert set(found.hints) == {"area"}


def test_what_only_a_demo_cell_defines_is_named_where_it_is_needed():
    own = "def square(r):\n    return r * r\n\n"
    notebook = filled(training=own + DEMO, area="def area(r):\n    return 3 * outer(r)\n")
    notebook.cells.insert(4, new_code_cell("def outer(r):\n    return square(r)\n", id="mine"))
    found = rebuild(notebook, RELEASE)
    (line,) = found.hints["area"]
    assert "`square`" in line and "does not run in grading" in line
    assert set(found.hints) == {"area"}


def test_nothing_is_hinted_where_nothing_went_astray():
    assert not rebuild(
        filled(area=RIGHT, moments=TWO.replace("raise NotImplementedError", "return 1")), RELEASE
    ).hints


ODD = ["def (", "(" * 5000, "x = " + "-" * 20000 + "1", "\0", "%%bash\necho", "a" * 300_000, "𝔸 = 1\n" * 50]


@pytest.mark.parametrize("source", ODD, ids=range(len(ODD)))
def test_no_source_is_too_odd(source):
    notebook = filled(area=source, training=source)
    notebook.cells.insert(2, new_code_cell(source, id="mine"))
    before = copy.deepcopy(notebook)
    nbformat.validate(rebuild(notebook, RELEASE).notebook)
    assert notebook == before


@pytest.mark.parametrize("marked", [True, False], ids=["copied with its mark", "copied without"])
def test_a_copy_of_the_stub_below_an_answer_does_not_override_it(marked):
    notebook = filled(area=RIGHT)
    twin = new_code_cell(STUB, id="copy", metadata=mark("area", solution=True) if marked else {})
    notebook.cells.insert(6, twin)
    assert answers(rebuild(notebook, RELEASE))["area"](1) == pytest.approx(3.14159)


def beside(notebook: NotebookNode) -> None:
    notebook.cells.append(new_markdown_cell("Because of this.", id="mine"))


def copied(notebook: NotebookNode) -> None:
    twin = new_markdown_cell("Because of this.", id="copy")
    twin.metadata = copy.deepcopy(by_id(notebook, "why").metadata)
    notebook.cells.append(twin)


def replaced(notebook: NotebookNode) -> None:
    notebook.cells[-1] = new_markdown_cell("Because of this.", id="mine")


def above(notebook: NotebookNode) -> None:
    notebook.cells.insert(-1, new_markdown_cell("Because of this.", id="mine"))


@pytest.mark.parametrize("how", [beside, copied, replaced, above])
def test_an_answer_beside_its_cell_is_the_answer(how):
    notebook = release()
    how(notebook)
    found = rebuild(notebook, RELEASE).notebook
    (cell,) = [cell for cell in found.cells if grade_id(cell) == "why"]
    assert cell.source == "Because of this."
    assert sum("Because of this." in cell.source for cell in found.cells) == 1


def test_an_answer_in_its_cell_stays_and_so_do_remarks_beside_it():
    notebook = filled(why="Because.")
    beside(notebook)
    found = rebuild(notebook, RELEASE).notebook
    assert [cell.source for cell in found.cells[-2:]] == ["Because.", "Because of this."]


def test_nothing_beside_an_untouched_answer_leaves_it_untouched():
    notebook = release()
    notebook.cells.append(new_markdown_cell("*Write here*", id="copy"))
    found = rebuild(notebook, RELEASE).notebook
    assert next(cell.source for cell in found.cells if grade_id(cell) == "why") == "*Write here*"
