"""A submission is rebuilt from the release: only the learner's own sources survive."""

import base64
import copy

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbgrader.nbgraderformat import MetadataValidator

from autograde.cells import grade_id
from autograde.grading.rebuild import Rebuilt
from autograde.grading.rebuild import rebuild as whole


def rebuild(submitted: NotebookNode, released: NotebookNode) -> tuple[NotebookNode, list[str]]:
    found: Rebuilt = whole(submitted, released)
    return found.notebook, found.notes


def mark(name: str, **given: object) -> dict[str, object]:
    blank = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False}
    return {"nbgrader": {**blank, **given, "grade_id": name}}


def release() -> NotebookNode:
    solution = {"solution": True}
    test = {"grade": True, "locked": True, "cell_type": "code", "checksum": "0" * 32}
    cells = [
        new_markdown_cell("# Title", id="title"),
        new_code_cell("import numpy as np", id="imports"),
        new_code_cell("stub a", id="a", metadata=mark("a", **solution)),
        new_code_cell("assert a", id="test-a", metadata=mark("test-a", points=2, **test)),
        new_code_cell("train()", id="train", metadata={"tags": ["demo"]}),
        new_code_cell("stub b", id="b", metadata=mark("b", **solution)),
        new_code_cell("assert b", id="test-b", metadata=mark("test-b", points=3, **test)),
    ]
    return new_notebook(
        cells=cells,
        metadata={"genmap": {"lesson": "99_x"}, "kernelspec": {"name": "python3", "display_name": "Python"}},
    )


RELEASE = release()
NAMES = [name for cell in RELEASE.cells if (name := grade_id(cell))]


def answered(**sources: str) -> NotebookNode:
    notebook = release()
    for cell in notebook.cells:
        cell.source = sources.get(grade_id(cell) or "", cell.source)
    return notebook


def names(notebook: NotebookNode) -> list[str]:
    return [name for cell in notebook.cells if (name := grade_id(cell))]


def by_name(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(cell for cell in notebook.cells if grade_id(cell) == name)


def test_an_honest_submission_keeps_its_answers():
    rebuilt, notes = rebuild(answered(a="def a(): pass"), RELEASE)
    assert by_name(rebuilt, "a").source == "def a(): pass" and not notes
    untouched = answered(a="def a(): pass")
    assert [c.source for c in rebuilt.cells] == [c.source for c in untouched.cells]


def test_locked_cells_come_from_the_release():
    rebuilt, notes = rebuild(answered(**{"test-a": "pass"}), RELEASE)
    assert by_name(rebuilt, "test-a").source == "assert a" and len(notes) == 1


def test_metadata_comes_from_the_release():
    notebook = answered(a="mine")
    for cell in notebook.cells:
        cell.metadata.setdefault("nbgrader", {}).update(
            points=100, schema_version=99, locked=False, grade=True
        )
        cell.metadata["tags"] = ["skip-execution", "demo"]
    notebook.metadata = {"kernelspec": {"name": "bash"}, "genmap": {"limits": {"notebook": 10**6}}}
    rebuilt, _ = rebuild(notebook, RELEASE)
    assert [c.metadata for c in rebuilt.cells] == [c.metadata for c in RELEASE.cells]
    assert rebuilt.metadata == RELEASE.metadata


@pytest.mark.parametrize("gone", NAMES)
def test_a_deleted_graded_cell_is_put_back_in_its_place(gone):
    notebook = release()
    notebook.cells = [cell for cell in notebook.cells if grade_id(cell) != gone]
    rebuilt, notes = rebuild(notebook, RELEASE)
    assert names(rebuilt) == NAMES and len(notes) == 1


def test_the_second_of_two_equal_names_is_an_ordinary_cell():
    notebook = answered(a="first")
    notebook.cells.append(new_code_cell("second", metadata=mark("a", solution=True)))
    notebook.cells.append(new_code_cell("third", metadata=mark("nowhere", grade=True, points=50)))
    rebuilt, notes = rebuild(notebook, RELEASE)
    assert names(rebuilt) == NAMES and by_name(rebuilt, "a").source == "first"
    assert [c.source for c in rebuilt.cells[-2:]] == ["second", "third"] and len(notes) == 2
    assert not any(c.metadata for c in rebuilt.cells[-2:])


def test_a_demo_cell_is_known_by_its_id_whatever_its_source():
    notebook = release()
    notebook.cells[4].metadata, notebook.cells[4].source = {}, "something(else_entirely)"
    notebook.cells.append(new_code_cell("cheat()", metadata={"tags": ["demo"]}))
    rebuilt, _ = rebuild(notebook, RELEASE)
    assert rebuilt.cells[4].metadata.tags == ["demo"] and not rebuilt.cells[-1].metadata
    assert rebuilt.cells[4].source == "something(else_entirely)"


def test_outputs_foreign_attachments_and_cell_types_do_not_survive():
    notebook = release()
    notebook.cells[0]["attachments"] = {"x.svg": {"image/svg+xml": "<script/>"}}
    notebook.cells[3] = new_markdown_cell("I pass", metadata=mark("test-a", grade=True))
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="forged")]
    rebuilt, _ = rebuild(notebook, RELEASE)
    assert by_name(rebuilt, "test-a").cell_type == "code"
    assert not any(c.get("outputs") or c.get("attachments") for c in rebuilt.cells)


def test_pictures_pasted_into_markdown_are_kept():
    pixel = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 20).decode()
    notebook = release()
    pictures = {"mine.png": {"image/png": pixel}, "x.svg": {"image/svg+xml": "<script/>"}}
    notebook.cells[0]["attachments"] = copy.deepcopy(pictures)
    notebook.cells[2]["attachments"] = copy.deepcopy(pictures)  # of code, which has none
    rebuilt, _ = rebuild(notebook, RELEASE)
    assert rebuilt.cells[0].attachments == {"mine.png": {"image/png": pixel}}
    assert not any(cell.get("attachments") for cell in rebuilt.cells[1:])


def test_neither_notebook_is_changed():
    submitted = answered(a="mine")
    before = copy.deepcopy(submitted)
    rebuild(submitted, RELEASE)
    assert submitted == before and release() == RELEASE


IDS = st.sampled_from([*NAMES, "nowhere", 3, None, ["a"]])
METADATA = st.one_of(
    st.none(),
    IDS.map(lambda name: {"nbgrader": {"grade_id": name, "schema_version": 1}}),
    st.just({"nbgrader": "no dictionary"}),
)
CELL = st.fixed_dictionaries(
    {"cell_type": st.sampled_from(["code", "markdown", "raw", "none"]), "source": st.text(max_size=5)},
    optional={"metadata": METADATA.map(lambda m: m or {}), "id": st.text(max_size=3)},
)


@given(st.lists(CELL, max_size=12))
def test_whatever_is_submitted_the_result_is_sound(cells):
    submitted = nbformat.from_dict({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    rebuilt, _ = rebuild(submitted, RELEASE)
    assert sorted(names(rebuilt)) == sorted(NAMES)
    nbformat.validate(rebuilt)
    MetadataValidator().validate_nb(rebuilt)
    for cell in rebuilt.cells:
        if name := grade_id(cell):
            assert cell.metadata == by_name(RELEASE, name).metadata
