"""Notebooks from files: what is read of a learner's, and that the rest is never built."""

import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from autograde.errors import UsageError
from autograde.notebooks import content_of, parse_submission, read_notebook, read_submission

MARK = {"grade_id": "kl", "grade": False, "solution": True, "locked": False, "schema_version": 3}

PRINTED = new_output("stream", text="y")


def handed_in(tmp_path, **more):
    cells = [
        new_code_cell(
            "x = 1", metadata={"nbgrader": MARK, "tags": ["a"]}, outputs=[new_output("stream", text="y")]
        ),
        new_markdown_cell("![a](attachment:a.png)", attachments={"a.png": {"image/png": "AAAA"}}),
    ]
    book = new_notebook(cells=cells, metadata={"genmap": {"lesson": "01_map"}, "filler": [{}] * 1000})
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps({**json.loads(nbformat.writes(book)), **more}))
    return path


def test_sources_pictures_and_the_courses_own_marks_are_read_and_nothing_else(tmp_path):
    found = read_submission(handed_in(tmp_path, other={"a": [1]}))
    code, text = found.cells
    assert (code.source, code.metadata, code.outputs) == ("x = 1", {"nbgrader": MARK}, [])
    assert text.attachments == {"a.png": {"image/png": "AAAA"}}
    assert found.metadata == {"genmap": {"lesson": "01_map"}} and "other" not in found


def test_the_courses_own_are_read_whole(tmp_path):
    assert read_notebook(handed_in(tmp_path)).cells[0].outputs[0].text == "y"


def test_marks_that_hold_others_lose_them(tmp_path):
    path = handed_in(tmp_path)
    book = json.loads(path.read_text())
    book["cells"][0]["metadata"]["nbgrader"]["deep"] = [{}] * 10
    book["cells"][0]["metadata"]["nbgrader"] |= {str(n): n for n in range(1000)}
    path.write_text(json.dumps(book))
    marks = read_submission(path).cells[0].metadata.nbgrader
    assert "deep" not in marks and len(marks) <= 50 and marks.grade_id == "kl"


@pytest.mark.parametrize(
    "cell", [None, 3, [], {"source": ""}, {"cell_type": "code", "source": {"a": [1]}, "metadata": 7}]
)
def test_cells_that_are_none_are_one_line(tmp_path, cell):
    path = handed_in(tmp_path, cells=[cell])
    with pytest.raises(UsageError, match="its cells are malformed"):
        read_submission(path)


def test_a_copy_is_named_as_what_it_is_of(tmp_path):
    named = Path("ann/01_map.ipynb")
    with pytest.raises(UsageError, match=r"^ann/01_map.ipynb is no notebook.*it is empty"):
        parse_submission(b"", named)
    with pytest.raises(UsageError, match=r"^ann/01_map.ipynb does not exist"):
        content_of(tmp_path / "copy.ipynb", named)


def test_a_notebook_of_format_3_is_read(tmp_path):
    cell = {"cell_type": "code", "input": ["x = ", "1"], "outputs": [{"a": {}}], "metadata": {}}
    cells = [{**cell, "language": "python", "collapsed": False, "prompt_number": 1}]
    sheets = [{"cells": cells, "metadata": {}}]
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": sheets}))
    (cell,) = read_submission(path).cells
    assert (cell.source, cell.outputs) == ("x = 1", [])
