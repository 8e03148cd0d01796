"""The bar and the live curve: seen where somebody looks, quiet elsewhere, and no brake on training."""

import io
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image

from genmap import progress


def run_notebook(*cells):
    """Run cells in a fresh kernel under plain nbclient; return each cell's outputs."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=1200, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells]


class Notebook:
    """Stands for a notebook: counts what is shown, and has a clock that moves when told."""

    def __init__(self, monkeypatch):
        self.shown, self.updated, self.read, self.now, self.cost = [], [], [], 0.0, 0.0
        monkeypatch.setattr(progress, "notebook_shell", lambda: self)
        monkeypatch.setattr(progress, "monotonic", lambda: self.now)
        monkeypatch.setattr("IPython.display.display", self.display)
        floats, png = progress._floats, progress._png
        monkeypatch.setattr(
            progress, "_floats", lambda values: self.read.append(len(values)) or floats(values)
        )
        monkeypatch.setattr(progress, "_png", lambda *a: self.spend() or png(*a))

    def spend(self):
        self.now += self.cost

    def display(self, picture, display_id):
        assert display_id is True
        self.shown.append(picture)
        return SimpleNamespace(update=self.updated.append)


@pytest.fixture
def notebook(monkeypatch):
    return Notebook(monkeypatch)


def test_a_curve_is_drawn_by_the_clock_not_by_the_step(notebook):
    """10,000 steps in 5 seconds: shown once, then renewed at most twice a second."""
    curve = progress.Curve("loss")
    for step in range(10_000):
        notebook.now += 0.0005
        curve.add(step, 1 / (step + 1))
    assert len(notebook.shown) == 1
    assert 5 <= len(notebook.updated) <= 9


def test_a_slow_drawing_takes_a_twentieth_of_the_time(notebook):
    notebook.cost = 1.0
    curve = progress.Curve("loss")
    while notebook.now < 100:
        notebook.now += 0.1
        curve.add(notebook.now, 1.0)
    assert 3 <= len(notebook.shown + notebook.updated) <= 6


def test_tensors_are_read_when_drawn_and_once_each(notebook):
    curve = progress.Curve("loss")
    for step in range(1000):
        curve.add(step, torch.tensor(1.0))
    assert notebook.read == []
    notebook.now += 1
    curve.add(1000, torch.tensor(1.0))
    assert notebook.read == [1001]
    curve.add(1001, torch.tensor(1.0))
    curve.close()
    assert notebook.read == [1001, 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_adding_a_cuda_tensor_does_not_wait_for_the_device():
    curve = progress.Curve("loss")
    loss = torch.ones((), device="cuda", requires_grad=True) * 2
    torch.cuda.set_sync_debug_mode("error")
    try:
        curve.add(0, loss)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_kept_tensor_has_no_graph_and_does_not_change_later():
    curve = progress.Curve("loss")
    loss = torch.tensor([3.0], requires_grad=True) * 2
    curve.add(0, loss)
    (kept,) = curve._unread
    assert not kept.requires_grad
    loss.detach().zero_()
    assert curve._read() == [6.0]


@pytest.mark.parametrize(
    "value",
    [2, 2.0, np.float32(2), np.array([2.0]), torch.tensor(2), torch.tensor([[2.0]], dtype=torch.bfloat16)],
)
def test_a_value_is_any_single_number(value):
    curve = progress.Curve("loss")
    curve.add(0, 1.0)
    curve.add(1, value)
    assert curve._read() == [1.0, 2.0]


@pytest.mark.parametrize("value", [[1.0, 2.0], np.zeros(0), torch.zeros(3), torch.zeros(0)])
def test_several_numbers_or_none_are_refused_in_one_line(value):
    with pytest.raises(ValueError, match="one number") as caught:
        progress.Curve("loss").add(0, value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("close", [0, 1, 2])
def test_a_curve_without_values_shows_nothing(notebook, capsys, close):
    curve = progress.Curve("loss")
    for _ in range(close):
        curve.close()
    assert not notebook.shown
    assert capsys.readouterr() == ("", "")


def test_a_closed_curve_shows_no_second_time_and_takes_no_more(notebook):
    curve = progress.Curve("VAE")
    curve.add(0, 1.0)
    curve.close()
    curve.close()
    assert len(notebook.shown + notebook.updated) == 1
    with pytest.raises(RuntimeError, match="'VAE' is closed: make a new Curve"):
        curve.add(1, 1.0)


@pytest.mark.parametrize(
    "values",
    [[1.0], [np.nan], [np.inf, -np.inf] * 300, [1.0, np.nan, 2.0], [0.0] * 50, [1e30, -1e30], range(9999)],
)
def test_any_values_make_a_picture_without_a_warning(notebook, recwarn, values):
    curve = progress.Curve("loss")
    for step, value in enumerate(values):
        curve.add(step, value)
    curve.close()
    (picture,) = notebook.shown
    size = Image.open(io.BytesIO(picture.data)).size
    assert size[0] == 2 * picture.width
    assert not recwarn.list


@pytest.mark.parametrize(("bad", "said"), [(None, False), (7, True)])
def test_a_loss_that_is_not_finite_is_pointed_out(notebook, monkeypatch, bad, said):
    from matplotlib.axes import Axes

    titles, set_title = [], Axes.set_title
    monkeypatch.setattr(
        Axes, "set_title", lambda ax, text, **kw: titles.append(text) or set_title(ax, text, **kw)
    )
    curve = progress.Curve("loss")
    for step in range(9):
        curve.add(step, np.nan if bad is not None and step >= bad else 1.0)
    curve.close()
    assert any("not finite, first at step 7" in title for title in titles) == said


@pytest.mark.parametrize("n", [1, 2, 199, 200, 201, 4567])
def test_thinning_keeps_the_mean_and_the_extremes(n):
    steps = np.arange(n, dtype=float)
    values = np.random.default_rng(n).normal(size=n)
    x, mean, low, high = progress._thinned(steps, values)
    assert len(x) <= progress.POINTS
    assert (np.diff(x) > 0).all() and x[0] >= 0 and x[-1] <= n - 1
    assert low.min() == values.min() and high.max() == values.max()
    assert (low <= mean + 1e-12).all() and (mean <= high + 1e-12).all()
    if n <= progress.POINTS:
        assert np.array_equal(mean, values)
    else:
        sizes = np.diff([*np.arange(0, n, -(-n // progress.POINTS)), n])
        assert (mean * sizes).sum() / n == pytest.approx(values.mean())


def test_plain_nbclient_is_left_with_one_figure_and_no_flood():
    curve, two = run_notebook(
        "import time\nfrom genmap import progress\n"
        "progress.PAUSE_SECONDS = 0.02\ncurve = progress.Curve('VAE', ylabel='nats')\n"
        "for i in range(60):\n    curve.add(i, 1 / (i + 1)); time.sleep(0.01)\n"
        "assert curve._place._handle is not None, 'not live'\ncurve.close()",
        "for name in 'ab':\n    c = progress.Curve(name)\n    c.add(0, 1.0)\n    c.close()",
    )
    assert [output.output_type for output in curve] == ["display_data"]
    assert "image/png" in curve[0].data
    assert len(two) == 2


def test_a_saved_notebook_shows_each_bar_as_it_ended():
    """One line of text for each, whatever happened: no widget, whose state a saved notebook lacks."""
    start = "import time\nfrom genmap import progress\n"
    whole, nested, left = run_notebook(
        start + "for i in progress.track(range(3000), title='train'): time.sleep(1e-4)",
        "for i in progress.track(range(2), title='outer'):\n"
        "    for j in progress.track(iter('abc'), title='inner'): time.sleep(0.06)",
        "for i in progress.track(range(10), title='broken'):\n    if i == 5: break",
    )
    for outputs in (whole, nested, left):
        assert {output.output_type for output in outputs} == {"display_data"}
        assert {kind for output in outputs for kind in output.data} == {"text/plain"}
        assert all("\n" not in (text := o.data["text/plain"]) and len(text) <= 90 for o in outputs)
    (line,) = whole
    assert line.data["text/plain"].startswith("train: 100%|██")
    assert "| 3000/3000 [" in line.data["text/plain"]
    outer, *inner = nested
    assert "outer: 100%" in outer.data["text/plain"]
    assert len(inner) == 2 and all("inner: 3it [" in output.data["text/plain"] for output in inner)
    assert "| 5/10 [" in left[0].data["text/plain"]


SCRIPT = """
import sys
sys.modules["IPython"] = None  # as if it were not installed
from genmap import progress
curve = progress.Curve("VAE", ylabel="nats")
for step in progress.track(range(101), title="train"):
    curve.add(step, 2.5 - step / 50)
curve.close()
"""


def test_a_plain_script_in_a_pipe_gets_one_line_and_no_bar():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "VAE: nats 2.5 at step 0, 0.5 at step 100\n"
    assert done.stderr == ""


def test_track_passes_on_everything_and_shows_a_bar_on_a_terminal(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    assert list(progress.track((i for i in range(7)), total=7, title="train")) == list(range(7))
    assert "train: 100%" in screen.getvalue()
    assert "7/7" in screen.getvalue()


def test_track_passes_on_what_the_loop_raises():
    with pytest.raises(KeyError):
        for _ in progress.track([1]):
            raise KeyError
