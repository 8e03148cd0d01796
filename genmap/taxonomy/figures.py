"""The map and the history drawn: `figure(lit="gan")` and `timeline()`, from data/map.toml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path

from genmap import plot
from genmap.taxonomy.drawing import BUCKETS, canvas, text_width
from genmap.taxonomy.facts import ATLAS
from genmap.taxonomy.history import timeline
from genmap.taxonomy.works import Family

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figure", "timeline"]

FAINT = "#9CA3AF"  # edges that are not lit
ROW = 0.43  # inches: a family's row
BRANCHES = {  # a leaf of the tree, and the buckets whose families hang from it
    "tractable": (1, 5),
    "approximate": (2,),
    "score or velocity": (4,),
    "implicit density": (3,),
}
BRANCH_OF = {bucket: leaf for leaf, buckets in BRANCHES.items() for bucket in buckets}


def _pale(colour: str, strength: float = 0.14) -> tuple[float, ...]:
    """The colour on white paper, as if it were `strength` opaque."""
    return tuple(1 - strength * (1 - part) for part in to_rgb(colour))


def _box(ax: Axes, x: float, y: float, width: float, text: str, **look: Any) -> None:
    """A rounded box whose left edge is at x and whose middle is at y, with text in its middle."""
    weight = look.pop("weight", "normal")
    ink = look.pop("ink", plot.INK)
    shape = "round,pad=0,rounding_size=0.07"
    height = look.pop("height", 0.34)
    ax.add_patch(FancyBboxPatch((x, y - height / 2), width, height, boxstyle=shape, zorder=3, **look))
    ax.text(
        x + width / 2, y, text, ha="center", va="center", weight=weight, color=ink, fontsize=9.5, zorder=4
    )


def _edge(ax: Axes, start: tuple[float, float], end: tuple[float, float], **look: Any) -> None:
    """A smooth line that leaves and arrives horizontally."""
    middle = (start[0] + end[0]) / 2
    points = [start, (middle, start[1]), (middle, end[1]), end]
    path = Path(points, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
    ax.add_patch(
        PathPatch(path, **{"fill": False, "linewidth": 1.3, "edgecolor": FAINT, "zorder": 1, **look})
    )


def _rows() -> dict[str, list[Family]]:
    """The families under each leaf; those of two views next to the side where the other leaf is."""
    families = ATLAS.families.values()
    return {
        leaf: sorted((f for f in families if BRANCH_OF[f.bucket] == leaf), key=_side) for leaf in BRANCHES
    }


def _side(family: Family) -> int:
    """Where the leaf of a family's other view is: -1 above its own, 1 below, 0 where there is none."""
    own, other = (list(BRANCHES).index(BRANCH_OF[b]) for b in (family.bucket, family.also or family.bucket))
    return (other > own) - (other < own)


def figure(lit: str | None = None) -> Figure:
    """Draw the map: explicit, score and implicit families, with examples; a dashed edge is the other view.

    lit: the id of the family that a lesson is about, or None.

    Raises ValueError for another id.
    """
    if lit is not None and lit not in ATLAS.families:
        raise ValueError(f"there is no family {lit!r} on the map; there are {', '.join(ATLAS.families)}")
    places = dict(_places())
    fig, ax = canvas(max(places.values()) + 0.95)
    leaves = {leaf: sum(places[f.id] for f in group) / len(group) for leaf, group in _rows().items()}
    _trunk(ax, leaves, BRANCH_OF[ATLAS.families[lit].bucket] if lit else None, lit)
    for family in ATLAS.families.values():
        _family(ax, family, places[family.id], leaves, lit)
    _legend(ax, max(places.values()) + 0.52)
    return fig


def _places() -> Iterator[tuple[str, float]]:
    """Each family's id and its row's middle, in inches from the top."""
    y = 0.12
    for group in _rows().values():
        for family in group:
            yield family.id, y + ROW / 2
            y += ROW
        y += 0.14


def _trunk(ax: Axes, leaves: dict[str, float], lit_leaf: str | None, lit: str | None) -> None:
    """The tree left of the families: root, explicit density, and the leaves."""
    explicit = {leaf: y for leaf, y in leaves.items() if leaf in ("tractable", "approximate")}
    middle = sum(leaves.values()) / len(leaves)
    top = sum(explicit.values()) / 2
    _box(
        ax,
        0.06,
        middle,
        0.98,
        "generative\nmodels",
        height=0.5,
        facecolor=plot.INK,
        ink="white",
        weight="bold",
    )
    _box(ax, 1.3, top, 0.8, "explicit\ndensity", height=0.5, facecolor=plot.PAPER)
    for leaf, y in leaves.items():
        start = (2.1, top) if leaf in explicit else (1.04, middle)
        look = {"edgecolor": plot.INK, "linewidth": 2.2} if leaf == lit_leaf else {}
        _edge(ax, start, (2.42, y), **look)
        _box(ax, 2.42, y, 1.28, leaf, facecolor=plot.PAPER)
    reached = {"edgecolor": plot.INK, "linewidth": 2.2} if lit_leaf in explicit else {}
    _edge(ax, (1.04, middle), (1.3, top), **reached)


def _family(ax: Axes, family: Family, y: float, leaves: dict[str, float], lit: str | None) -> None:
    """A family's box with its bucket, its edges and its examples; solid if it is the lit one."""
    colour = BUCKETS[family.bucket]
    on = family.id == lit
    dim = 0.35 if lit and not on else 1.0
    edge = {"edgecolor": colour, "linewidth": 2.4} if on else {"alpha": dim}
    _edge(ax, (3.7, leaves[BRANCH_OF[family.bucket]]), (4.06, y), **edge)
    if family.also:
        start = (3.7, leaves[BRANCH_OF[family.also]])
        _edge(ax, start, (4.06, y), linestyle=(0, (3, 2)), edgecolor=BUCKETS[family.also], alpha=dim)
    _box(ax, 4.06, y, 2.76, "", facecolor=colour if on else _pale(colour), height=0.36)
    _badge(ax, 4.24, y, family.bucket, "white" if on else colour)
    ink = _ink_on(colour) if on else plot.INK
    ax.text(
        4.42,
        y,
        family.name,
        va="center",
        fontsize=9.5,
        weight="bold" if on else "normal",
        color=ink,
        zorder=4,
    )
    names = [ATLAS.models[name].name for name in family.examples] or [f"for {family.uses[0]}"]
    ax.text(6.9, y, _two_lines(names), va="center", fontsize=9, color="#4B5563", linespacing=1.15)


def _badge(ax: Axes, x: float, y: float, bucket: int, colour: str, size: int = 15) -> None:
    """A bucket's number on a disc."""
    ax.plot(x, y, "o", color=colour, markersize=size, zorder=4)
    ink = _ink_on(colour)
    ax.text(
        x, y, str(bucket), ha="center", va="center_baseline", weight="bold", fontsize=9, color=ink, zorder=5
    )


def _ink_on(colour: str) -> str:
    """White on a dark colour, ink on a light one (brightness as in Rec. 601)."""
    red, green, blue = to_rgb(colour)
    return plot.INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def _two_lines(names: list[str]) -> str:
    """Names joined by commas, broken once where the two lines come out most alike."""
    whole = ", ".join(names)
    if text_width(whole, 9) < plot.WIDTH - 6.97:
        return whole
    breaks = [", ".join(names[:i]) + ",\n" + ", ".join(names[i:]) for i in range(1, len(names))]
    return min(breaks, key=lambda text: max(len(line) for line in text.split("\n")))


def _legend(ax: Axes, y: float) -> None:
    """The five buckets by colour, and what a dashed edge means."""
    x = 0.08
    for bucket in ATLAS.buckets.values():
        _badge(ax, x + 0.1, y, bucket.id, BUCKETS[bucket.id], size=13)
        ax.text(x + 0.23, y, bucket.name, fontsize=9, va="center")
        x += text_width(bucket.name, 9) + 0.4
    ax.plot((0.08, 0.42), (y + 0.24, y + 0.24), color=FAINT, linewidth=1.3, linestyle=(0, (3, 2)))
    ax.text(0.5, y + 0.24, "the other view: some count this family here", fontsize=9, va="center")
