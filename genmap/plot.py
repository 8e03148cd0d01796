"""The course's one look: colours, figures at notebook width, grids of images, 2-D density maps.

Importing this module sets the look, by matplotlib's settings alone: pyplot is imported with the first figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from cycler import cycler
from matplotlib.colors import LinearSegmentedColormap, to_rgba

from genmap.arrays import image_stack, real_array
from genmap.device import notebook_shell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

WIDTH = 8.6  # inches: a notebook's column
FRAME = 0.18  # inches: around a figure in a notebook
TILE = 0.86  # inches: the widest that an image of a grid gets


class Palette(NamedTuple):
    """Colours that stay apart for colour-blind eyes, by name or by number.

    >>> COLOURS[1] == COLOURS.vermilion == "#D55E00"
    True

    Source: M. Okabe and K. Ito, Color Universal Design, 2008, less their yellow, too pale for lines.
    """

    blue: str = "#0072B2"
    vermilion: str = "#D55E00"
    green: str = "#009E73"
    purple: str = "#CC79A7"
    orange: str = "#E69F00"
    sky: str = "#56B4E9"
    grey: str = "#6B7280"


COLOURS = Palette()
INK = "#1F2937"  # of text
PAPER = "#F3F4F6"  # of the ground of an image
RULE = "#E5E7EB"  # of grid lines
SEQUENTIAL = LinearSegmentedColormap.from_list(
    "genmap", ["#FFFFFF", "#D9ECF7", "#8CC6E7", "#3A93CB", "#0A5C9C", "#0B2F5E", "#0A1733"]
)
_GREYS = LinearSegmentedColormap.from_list("genmap-ink", [PAPER, "#111827"]).with_extremes(
    bad=COLOURS.vermilion
)

_LOOK: Any = {
    "figure.figsize": (WIDTH, 3.2),
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: figures are the same everywhere
    "font.size": 11,
    "text.color": INK,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.titlecolor": INK,
    "axes.labelsize": 11,
    "axes.labelcolor": INK,
    "axes.labelpad": 5,
    "axes.edgecolor": "#9CA3AF",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=list(COLOURS)),
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": "#9CA3AF",
    "ytick.color": "#9CA3AF",
    "xtick.labelcolor": "#4B5563",
    "ytick.labelcolor": "#4B5563",
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "lines.linewidth": 2.2,
    "lines.markersize": 5,
    "lines.solid_capstyle": "round",
    "scatter.edgecolors": "none",
    "patch.linewidth": 0,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "legend.handlelength": 1.4,
    "image.cmap": "genmap",
}


def use() -> None:
    """Set the course's look for all figures to come; in a notebook also sharp ones for dense screens."""
    if SEQUENTIAL.name not in matplotlib.colormaps:
        matplotlib.colormaps.register(SEQUENTIAL)
    matplotlib.rcParams.update(_LOOK)
    if shell := notebook_shell():
        from matplotlib_inline.config import InlineBackend

        backend = InlineBackend.instance(parent=shell)
        backend.figure_formats = {"retina"}
        # a white frame around what is drawn, so that a figure is a calm sheet on a dark page, too
        frame: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": FRAME}
        backend.print_figure_kwargs = frame


def figure(rows: int = 1, columns: int = 1, height: float = 3.2) -> tuple[Figure, Any]:
    """Return a figure at notebook width and its axes: one Axes, or an array of them as `plt.subplots` gives.

    rows: how many axes from top to bottom.
    columns: how many from left to right.
    height: of one row, in inches.
    """
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(WIDTH, rows * height))


def images(
    x: Any,
    columns: int = 10,
    title: str | None = None,
    ax: Axes | None = None,
    captions: Sequence[object] | None = None,
) -> Axes:
    """Draw images as a grid, row by row, every pixel as it is; return the Axes.

    x: (N, 1, H, W) or (N, H, W), an array or a tensor on any device, from 0 (paper) to 1 (ink), or
        (N, 3, H, W) in red, green and blue, from 0 (dark) to 1 (bright). Values beyond are drawn as 0 or 1;
        what is not a finite number is drawn in vermilion.
    columns: how many images a row has, at most.
    title: above the grid, or None.
    ax: where to draw; without it, in a new figure as high as the grid needs.
    captions: one under each image, or None.

    Raises ValueError for another shape, no images, whole numbers above 1, a wrong number of captions, or
    columns below 1.
    """
    tiles = image_stack("images", x, colour=True)
    labels = None if captions is None else [str(caption) for caption in captions]
    if labels is not None and len(labels) != len(tiles):
        raise ValueError(f"images: {len(labels)} captions for {len(tiles)} images; give one each")
    if columns < 1:
        raise ValueError(f"images: columns is {columns}; it must be at least 1")
    columns = min(columns, len(tiles))
    h, w = tiles.shape[1:3]
    width = WIDTH if ax is None else ax.bbox.width / ax.figure.dpi
    inch = (w + _gap(w)) / min(TILE, width / columns)  # pixels of an image per inch of the figure
    down = h + (_gap(w) if labels is None else math.ceil(0.24 * inch))
    mosaic = _mosaic(tiles, columns, down, w + _gap(w))
    if ax is None:
        ax = figure(height=len(mosaic) / inch + (0.45 if title else 0.1))[1]
    ax.imshow(mosaic, interpolation="nearest", aspect="equal")
    ax.set_axis_off()
    ax.set_anchor("NW")
    ax.set_title(title or "")
    for i, label in enumerate(labels or []):
        row, column = divmod(i, columns)
        ax.text(
            column * (w + _gap(w)) + (w - 1) / 2, row * down + h, label, ha="center", va="top", fontsize=10
        )
    return ax


def _gap(w: int) -> int:
    """Return the space between images w pixels wide, in pixels."""
    return max(1, round(w / 9))


def _mosaic(tiles: npt.NDArray[np.float64], columns: int, down: int, across: int) -> npt.NDArray[np.float64]:
    """Return one RGBA image with a tile every `down` rows and `across` columns, clear between them."""
    n, h, w = tiles.shape[:3]
    rows = math.ceil(n / columns)
    cells = np.zeros((rows * columns, down, across, 4))
    cells[:n, :h, :w] = _painted(tiles) if tiles.ndim == 4 else _GREYS(np.ma.masked_invalid(tiles))
    return (
        cells.reshape(rows, columns, down, across, 4).swapaxes(1, 2).reshape(rows * down, columns * across, 4)
    )


def _painted(tiles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (N, H, W, 3) as RGBA between 0 and 1; a pixel with a number that is not finite is vermilion."""
    opaque = np.ones((*tiles.shape[:3], 1))
    painted = np.concatenate([tiles.clip(0, 1), opaque], axis=3)
    painted[~np.isfinite(tiles).all(axis=3)] = to_rgba(COLOURS.vermilion)
    return painted


def density(ax: Axes, x: Any, y: Any, z: Any, top: float | None = None) -> QuadMesh:
    """Draw a density over the plane, white where it is 0; return the mesh (for `fig.colorbar`).

    With x of length n and y of length m it is drawn smoothly between these points; with n + 1 and m + 1 they
    are the edges of a histogram's bins.

    ax: where to draw.
    x: (n,) or (n + 1,), finite.
    y: (m,) or (m + 1,), finite.
    z: (m, n), finite and not negative; z[i, j] belongs to (x[j], y[i]).
    top: the density with the darkest colour, by default the largest; give panels to be compared the same.

    Raises ValueError for other shapes or values.
    """
    x, y, z = (real_array("density", values).astype(np.float64) for values in (x, y, z))
    points = z.T.shape
    edges = tuple(n + 1 for n in points)
    fits = (x.ndim, y.ndim, z.ndim) == (1, 1, 2) and (len(x), len(y)) in (points, edges)
    if not fits or not z.size:
        raise ValueError(
            f"density: x {x.shape} and y {y.shape} do not fit z {z.shape}: z is (len(y), len(x))"
        )
    if not np.isfinite([*x, *y]).all():
        raise ValueError("density: x and y must be finite")
    if bad := int((~np.isfinite(z) | (z < 0)).sum()):
        raise ValueError(f"density: {bad} of {z.size} values are negative or not finite; a density has none")
    shading: Literal["gouraud", "flat"] = "gouraud" if x.shape == (z.shape[1],) else "flat"
    top = float(z.max()) if top is None else top
    mesh = ax.pcolormesh(x, y, z, cmap=SEQUENTIAL, vmin=0, vmax=top or 1.0, shading=shading)
    ax.set_aspect("equal")
    ax.grid(False)
    return mesh


use()
