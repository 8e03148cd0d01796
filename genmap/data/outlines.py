"""Outlines of letters and digits in the fonts that come with matplotlib, and images of them."""

from __future__ import annotations

import string
from functools import cache
from pathlib import Path as File

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.path import Path

CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
CAPITAL = 0.58  # height of an H, as a part of the image's side
BASELINE = 0.5 + CAPITAL / 2  # from the top: capitals stand in the middle, and descenders find room below
WIDEST = 0.78  # as a part of the side; a wider letter, such as a bold W, is made narrower

STYLES = tuple(
    " ".join(word for word in (weight, slant, family) if word)
    for family in ("sans", "serif", "mono")
    for weight in ("", "bold")
    for slant in ("", "italic")
)
FACES = (  # the faces of each style, in its order; matplotlib 3.9 has them all
    ("DejaVuSans", "cmss10"),
    ("DejaVuSans-Oblique",),
    ("DejaVuSans-Bold",),
    ("DejaVuSans-BoldOblique",),
    ("DejaVuSerif", "STIXGeneral", "cmr10"),
    ("DejaVuSerif-Italic", "STIXGeneralItalic"),
    ("DejaVuSerif-Bold", "STIXGeneralBol", "cmb10"),
    ("DejaVuSerif-BoldItalic", "STIXGeneralBolIta"),
    ("DejaVuSansMono", "cmtt10"),
    ("DejaVuSansMono-Oblique",),
    ("DejaVuSansMono-Bold",),
    ("DejaVuSansMono-BoldOblique",),
)
_ROW = 64  # images side by side on a sheet, and at most as many one below the other


@cache
def outline(face: str, character: str) -> Path:
    """Return a character's outline: baseline at y = 0, ink centred at x = 0, an H CAPITAL high.

    Outlines rather than the fonts' own pixels: these change with the version of the library that draws them.

    face: the name of a font's file, one of those in `FACES`.
    character: one of `CHARACTERS`.
    """
    path = _raw(face, character)
    unit = CAPITAL / _box(_raw(face, "H"))[1, 1]
    left, right = _box(path)[:, 0]
    narrow = min(1.0, WIDEST / (unit * (right - left)))
    scale = np.array([unit * narrow, unit])
    shift = np.array([(left + right) / 2, 0.0])
    return Path((path.vertices - shift) * scale, path.codes)


def _raw(face: str, character: str) -> Path:
    from matplotlib.font_manager import FontProperties  # here: it reads the list of all fonts
    from matplotlib.textpath import TextPath

    font = FontProperties(fname=File(matplotlib.get_data_path(), "fonts", "ttf", f"{face}.ttf"))
    return TextPath((0, 0), character, size=1, prop=font, usetex=False)


def _box(path: Path) -> npt.NDArray[np.float64]:
    """Return [[left, bottom], [right, top]] of the points of a path; its curves stay inside."""
    points = np.asarray(path.vertices)[path.codes != Path.CLOSEPOLY]
    return np.stack([points.min(0), points.max(0)])


def boxes(paths: list[Path]) -> npt.NDArray[np.float64]:
    """Return the corners (N, 2, 2) of the paths: [left, bottom] and [right, top]."""
    known = {id(path): path for path in paths}
    corners = {key: _box(path) for key, path in known.items()}
    return np.array([corners[id(path)] for path in paths]).reshape(-1, 2, 2)


def draw(paths: list[Path], maps: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.uint8]:
    """Return the images (N, size, size) of filled paths, 0 for paper to 255 for ink, anti-aliased.

    paths: N paths.
    maps: (N, 2, 3), takes a path's points (x, y, 1) to the image, a square from (0, 0), its lower left
        corner, to (1, 1).
    size: the side in pixels.
    """
    images = [
        _sheet(paths[i : i + _ROW**2], maps[i : i + _ROW**2], size) for i in range(0, len(paths), _ROW**2)
    ]
    return np.concatenate(images) if images else np.zeros((0, size, size), np.uint8)


def _sheet(paths: list[Path], maps: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.uint8]:
    """Return the images of at most _ROW**2 paths. They share a sheet, because one costs more than a path."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.transforms import Affine2D

    rows = -(-len(paths) // _ROW)
    renderer = RendererAgg(_ROW * size, rows * size, 72)
    pen = renderer.new_gc()
    pen.set_linewidth(0)
    pen.set_snap(False)
    row, column = np.divmod(np.arange(len(paths)), _ROW)
    placed = np.tile(np.eye(3), (len(paths), 1, 1))
    placed[:, :2] = maps * size
    placed[:, :2, 2] += np.stack([column, rows - 1 - row], axis=1) * size
    for path, matrix in zip(paths, placed, strict=True):
        renderer.draw_path(pen, path, Affine2D(matrix), (0.0, 0.0, 0.0))
    ink = np.asarray(renderer.buffer_rgba())[..., 3]
    cells = ink.reshape(rows, size, _ROW, size).swapaxes(1, 2)
    return cells.reshape(-1, size, size)[: len(paths)].copy()
