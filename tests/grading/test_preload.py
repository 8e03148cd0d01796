"""What the fork server imports: what graded cells need, not what a demo cell or a submission does."""

import subprocess
import sys

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from autograde.grading import preload
from autograde.grading.preload import imports

COSTLY = {  # what takes long to import or much memory, and one lesson or another does without
    *("scipy.signal", "scipy.spatial.distance", "sklearn.datasets", "sklearn.mixture", "torch._dynamo"),
    *("pooch", "requests"),
}


def needed(*sources: str) -> set[str]:
    return set(imports(new_notebook(cells=[new_code_cell(source) for source in sources])))


def test_only_imports_of_released_cells_count():
    cells = [
        new_markdown_cell("import secret"),
        new_code_cell("import os.path, numpy as np\nfrom torch import nn\nx = 'import nothing'"),
        new_code_cell("import json", metadata={"tags": ["demo"]}),
        new_code_cell("if TYPE_CHECKING:\n    import typed\nfrom . import here"),
        new_code_cell("%pip install something"),
    ]
    assert imports(new_notebook(cells=cells)) == ["numpy", "os.path", "torch", "torch.nn"]


def test_imports_inside_a_definition_count_where_it_is_used():
    function, kind = "def f():\n    import zlib", "class C:\n    def method(self):\n        import zlib"
    for source, use, other in ((function, "f()", "g.f()"), (kind, "C()", "C2()")):
        assert needed(source) == needed(source, other) == set()
        assert needed(source, use) == needed(source, "def g():\n    " + use, "map(g, x)") == {"zlib"}


def test_names_are_followed_into_genmap_and_through_it():
    wave = "from genmap import data\n"
    assert not COSTLY & needed(wave)
    assert COSTLY & needed(wave, "data.plucks(1)") == {"scipy.signal"}
    assert COSTLY & needed("import genmap.data as d\n\n\ndef f():\n    d.melodies(1)", "f()") == {
        "scipy.signal"
    }
    score = "from genmap import metrics\nmetrics.{}(a, b)"
    assert not COSTLY & needed(score.format("frechet_distance"))
    assert COSTLY & needed(score.format("precision_recall")) == {"scipy.spatial.distance"}
    assert "genmap.taxonomy.facts" in needed("from genmap import taxonomy", "ATLAS = taxonomy.load()")
    assert not COSTLY & needed(wave, "plucks = melodies = 1\nprint(plucks, melodies)")


def test_parts_of_torch_take_more_than_their_import():
    train = "def train():\n    return torch.optim.Adam([])"
    assert needed("import torch", train) == {"torch"}
    assert needed("import torch", train, "train()") == {"torch", "torch._dynamo"}
    assert "torch._dynamo" in needed("from torch.optim import SGD", "SGD([])")
    for use in ("distributions.MultivariateNormal(mean, covariance)", "broadcast_shapes(a, b)"):
        assert needed("import torch", f"torch.{use}") == {"torch", "torch.fx.experimental.symbolic_shapes"}


def test_what_hidden_tests_train_with_is_needed_too(monkeypatch, tmp_path):
    released, tests = new_notebook(cells=[new_code_cell("import torch")]), tmp_path / "test_lesson.py"
    monkeypatch.setattr(preload, "hidden_tests", lambda lesson: tests)
    assert preload.needed("lesson", released) == ["torch"]  # a lesson without hidden tests
    tests.write_text("from autograde.checks import number\n")
    assert preload.needed("lesson", released) == ["torch"]
    tests.write_text("from autograde.training import train\n")
    assert preload.needed("lesson", released) == ["torch", "torch._dynamo"]


GRADER = """
import sys
from autograde.grading import class_run, preload
from nbformat.v4 import new_code_cell, new_notebook
cells = [new_code_cell("from genmap import board, plot\\nboard.Board()\\nplot.image(x)")]
assert "matplotlib.axes" not in preload.imports(new_notebook(cells=cells))
print([name for name in ("torch", "numpy", "matplotlib", "pytest", "genmap") if name in sys.modules])
"""


def test_the_grader_itself_needs_neither_torch_nor_matplotlib():
    """They take seconds to import, and memory in each of its forks."""
    done = subprocess.run([sys.executable, "-c", GRADER], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
