"""Cells of the CSV files: what a spreadsheet would compute is text, and a number stays a number."""

import csv

import pytest

from autograde.grading.lms_csv import _write

NUMBERS = ["-1.5", "-20", "0", "1e-07", "-1e+10", "3.25"]
FORMULAS = ["=1+1", "+1", "-1+2", "@SUM(A1)", "-", "-1.5 ", "\t=1", "\r=1", "-1;2"]


@pytest.mark.parametrize("cell", NUMBERS)
def test_a_number_is_written_as_it_is(tmp_path, cell):
    assert list(csv.reader(_write(tmp_path / "x.csv", [[cell]]).open())) == [[cell]]


@pytest.mark.parametrize("cell", FORMULAS)
def test_what_a_spreadsheet_would_compute_is_text(tmp_path, cell):
    with _write(tmp_path / "x.csv", [[cell]]).open(newline="") as file:
        assert list(csv.reader(file)) == [[f"'{cell}"]]
