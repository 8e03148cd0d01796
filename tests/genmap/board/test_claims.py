"""Claims: said in the notebook as the run bears them out, kept for `make quality`, silent in `smoke`."""

import json

import numpy as np
import pytest
import torch

from genmap import board


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("GENMAP_SETTING", "quick")
    path = tmp_path / "kept"
    monkeypatch.setenv(board.RECORD, str(path))
    return path


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        (True, "✓ Two is more than one.\n"),
        (np.bool_(True), "✓ Two is more than one.\n"),
        (torch.tensor(2) > torch.tensor(1), "✓ Two is more than one.\n"),
        (False, "✗ Not in this run: Two is more than one.\n"),
        (np.array(1.0) > 2, "✗ Not in this run: Two is more than one.\n"),
    ],
)
def test_it_is_said_and_kept_as_the_run_bears_it_out(kept, capsys, holds, said):
    board.claim("Two is more than one.", holds)
    assert capsys.readouterr().out == said
    assert json.loads(kept.read_text()) == {"claim": "Two is more than one.", "holds": bool(holds)}


def test_in_smoke_nothing_is_said_kept_or_looked_at(kept, capsys, monkeypatch):
    monkeypatch.setenv("GENMAP_SETTING", "smoke")
    board.claim("Two is more than one.", float("nan"))
    assert capsys.readouterr().out == ""
    assert not kept.exists()


@pytest.mark.parametrize("holds", [1, 0.5, None, "True", np.array([True]), torch.tensor([True, False])])
def test_it_rests_on_one_truth_value(kept, holds):
    with pytest.raises(ValueError, match="one True or False"):
        board.claim("Two is more than one.", holds)
    assert not kept.exists()


@pytest.mark.parametrize("sentence", ["", " ", "two\nlines", None])
def test_the_sentence_is_a_line(kept, sentence):
    with pytest.raises(ValueError, match="a line of text"):
        board.claim(sentence, True)
