"""How far a loop is and how the loss goes: a progress bar, and a curve that grows while the model trains."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from genmap.device import notebook_shell

T = TypeVar("T")
PAUSE_SECONDS = 0.5  # between two drawings of a curve, at least
SHARE = 0.05  # of the running time that drawing may take, at most
WIDTH_PX = 860  # of the figure on the page; the picture has twice as many, for dense screens
BAR_CHARACTERS = 90  # of a bar with its figures in a notebook
POINTS = 200  # that a drawn curve has, at most: more would be closer together than the pixels


def track(iterable: Iterable[T], total: int | None = None, title: str = "") -> Iterator[T]:
    """Pass on the items of `iterable`; in a notebook or on a terminal, under a progress bar.

    iterable: what to go through.
    total: how many items there will be, where `iterable` has no length.
    title: what stands before the bar.
    """
    from tqdm.std import tqdm  # not tqdm.auto's: a saved notebook does not keep the state of its widget

    if notebook_shell() is not None:
        where: dict[str, Any] = {"file": _Line(), "ncols": BAR_CHARACTERS, "position": 0}
    else:
        where = {"disable": not sys.stderr.isatty()}
    yield from tqdm(iterable, total=total, desc=title or None, **where)


class _Line:
    """A file for a bar in a notebook: one line, renewed in its place, and saved there as it ends."""

    encoding = "utf-8"  # tqdm draws with ASCII characters in a file that does not say

    def __init__(self) -> None:
        self._place = Place()

    def write(self, text: str) -> None:
        """Show `text` instead of the line so far, without the line ends and returns that tqdm sends."""
        if line := text.strip():
            self._place.show({"text/plain": line}, raw=True)

    def flush(self) -> None:
        """Do nothing: `write` has shown everything already."""


class Place:
    """A place in a notebook's output: whatever it shows replaces what it showed before."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, content: Any, **how: Any) -> None:
        """Show `content`, by IPython's `display`.

        content: anything that `display` takes.
        how: options of `display`.
        """
        from IPython.display import display

        if self._handle is None:
            self._handle = display(content, display_id=True, **how)
        else:
            self._handle.update(content, **how)


class Curve:
    """A curve that grows while its values come in.

    In a notebook one figure is redrawn in its place, at most every half second and in about 5 % of the time.
    Elsewhere `close` prints one line. Of very many values it draws the means of neighbours, in a band from
    the lowest to the highest. A tensor may stay on its device: it is read when the curve is drawn.

    title: above the figure.
    xlabel: what its steps are.
    ylabel: what its values are.
    """

    def __init__(self, title: str, xlabel: str = "step", ylabel: str = "loss") -> None:
        """Start an empty curve; nothing shows before there are values."""
        self.title, self.xlabel, self.ylabel = title, xlabel, ylabel
        self._steps: list[float] = []
        self._values: list[float] = []  # of the first steps
        self._unread: list[Any] = []  # of the steps after these
        self._place = Place()
        self._closed = False
        self._due = monotonic() + PAUSE_SECONDS

    def add(self, step: float, value: Any) -> None:
        """Add a value.

        step: where on the x axis.
        value: a number, or a tensor or array of one.

        Raises ValueError for more or less than one number, RuntimeError once the curve is closed.
        """
        if self._closed:
            raise RuntimeError(f"the curve {self.title!r} is closed: make a new Curve to draw on")
        self._unread.append(_kept(value))
        self._steps.append(step)
        if monotonic() >= self._due and notebook_shell() is not None:
            self._draw()

    def close(self) -> None:
        """Show the whole curve: the last redrawing in a notebook, one line of text elsewhere."""
        if self._closed:
            return
        self._closed = True
        if not self._steps:
            return
        if notebook_shell() is not None:
            self._draw()
        else:
            values = self._read()
            print(
                f"{self.title}: {self.ylabel} {values[0]:.4g} at {self.xlabel} {self._steps[0]:g}, ", end=""
            )
            print(f"{values[-1]:.4g} at {self.xlabel} {self._steps[-1]:g}")

    def _draw(self) -> None:
        """Put the figure in its place in the notebook, and set when the next may come."""
        from IPython.display import Image

        start = monotonic()
        png = _png(self.title, self.xlabel, self.ylabel, np.asarray(self._steps), np.asarray(self._read()))
        self._place.show(Image(data=png, width=WIDTH_PX))
        now = monotonic()
        self._due = now + max(PAUSE_SECONDS, (now - start) / SHARE)

    def _read(self) -> list[float]:
        """Return all values as floats; only here does the CPU wait for the device."""
        self._values += _floats(self._unread)
        self._unread = []
        return self._values


def _kept(value: Any) -> Any:
    """Return a float, or of a tensor a copy that no later step can change, without its graph."""
    size = value.numel() if hasattr(value, "numel") else np.size(value)
    if size != 1:
        raise ValueError(f"a curve's value is one number, not {size}: add the loss's mean or sum")
    if hasattr(value, "detach"):
        return value.detach().reshape(()).clone()
    return float(np.asarray(value).reshape(()))


def _floats(values: list[Any]) -> list[float]:
    """Return the values as floats, the tensors among them in one transfer."""
    tensors = [value for value in values if hasattr(value, "detach")]
    if not tensors:
        return values
    import torch

    read = iter(torch.stack([t.float() for t in tensors]).tolist())
    return [next(read) if hasattr(value, "detach") else value for value in values]


_Values = npt.NDArray[np.float64]


def _png(title: str, xlabel: str, ylabel: str, steps: _Values, values: _Values) -> bytes:
    """Return the curve as a picture."""
    from matplotlib.figure import Figure  # not pyplot's: this figure is shown here and by nobody else

    from genmap import plot

    figure = Figure(figsize=(plot.WIDTH, 2.1))
    axes = figure.add_subplot(title=title, xlabel=xlabel, ylabel=ylabel)
    x, mean, low, high = _thinned(steps, np.where(np.isfinite(values), values, np.nan))
    axes.fill_between(x, low, high, color=plot.COLOURS.blue, alpha=0.2)
    axes.plot(x, mean, color=plot.COLOURS.blue, marker="o" if len(x) == 1 else "")
    if bad := steps[~np.isfinite(values)].tolist():
        axes.set_title(f"not finite, first at {xlabel} {bad[0]:g}", loc="right", color=plot.COLOURS.vermilion)
    if np.isfinite(mean[-1]):
        last = f"{mean[-1]:.3g}".replace("-", "\N{MINUS SIGN}")
        axes.annotate(last, (x[-1], mean[-1]), (7, 0), textcoords="offset points", va="center")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=2 * WIDTH_PX / plot.WIDTH)
    return picture.getvalue()


def _thinned(steps: _Values, values: _Values) -> tuple[_Values, _Values, _Values, _Values]:
    """Return mean step, mean, lowest and highest value of runs of neighbours, at most `POINTS` of them."""
    starts = np.arange(0, len(steps), -(-len(steps) // POINTS))
    sizes = np.diff(np.append(starts, len(steps)))
    x, mean = (np.add.reduceat(a, starts) / sizes for a in (steps, values))
    return x, mean, np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
