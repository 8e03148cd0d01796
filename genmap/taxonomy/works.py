"""The map's works: families and models, with the five questions answered for each."""

from __future__ import annotations

from dataclasses import dataclass

UNDISCLOSED = "undisclosed"
PERMITS = ("any use", "with limits", "non-commercial", "no licence stated")  # the freest first


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a family and a model have in common.

    id: its key on the map.
    name: as it is written.
    date: "YYYY-MM", the first public version, or "YYYY" where no month is known.
    authors: of the paper or the maker's report.
    title: of the paper or the maker's report.
    arxiv: the paper's id there, or "".
    source: address of the maker's report, where there is no paper on arXiv.
    bucket: 1 to 5; 0 where it is undisclosed, or where the thing generates nothing by itself.
    density: "tractable", "approximate", "none" or "score".
    sampling: "one-shot", "iterative" or "serial".
    represents: what is modelled.
    conditioning: what conditions it.
    evaluation: how it is measured.
    failure: how that measure fails.
    strengths: what it is good at.
    weaknesses: what it is bad at.
    uses: what it is used for.
    shape: id of an inference shape.
    note: what else there is to say, such as where the paper and the usual story disagree, or "".
    """

    id: str
    name: str
    date: str
    authors: str
    title: str
    arxiv: str = ""
    source: str = ""
    bucket: int
    density: str
    sampling: str
    represents: str
    conditioning: str
    evaluation: str
    failure: str
    strengths: tuple[str, ...]
    weaknesses: tuple[str, ...]
    uses: tuple[str, ...]
    shape: str
    note: str = ""

    @property
    def year(self) -> int:
        """The year of the first public version."""
        return int(self.date[:4])

    @property
    def link(self) -> str:
        """The address of the paper or of the maker's report."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else self.source


@dataclass(frozen=True, kw_only=True)
class Family(Work):
    """A family of generative models.

    It has the fields of `Work`, and these:

    also: the bucket of the other view of it, 0 where there is one view.
    lessons: ids of the lessons about it.
    examples: ids of models.
    """

    also: int = 0
    lessons: tuple[str, ...]
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Model(Work):
    """A model, a product, or a part of one; what it does not say of itself it has from its family.

    It has the fields of `Work`, and these:

    family: an id; "undisclosed" where the maker says nothing; "none" for a part that does not generate.
    lane: its line of the timeline.
    backbone: what network it is built on.
    openness: "open weights", "code", "hosted", "withdrawn" (once hosted) or "paper only".
    licence: of its code or weights, or "".
    permits: what the strictest known licence of code and weights allows, one of `PERMITS`; "" for no pick.
    gpus: how many GPUs of 80 GB its weights fill, as they are released; of several sizes, the smallest.
    lesson: id of its lesson, or "".
    served: whether it is open, and also offered as a service.
    landmark: whether it stands on the timeline.
    cost: what one sample costs, where that differs from the shape's equation.
    usual: what is often said of it, where the paper or the maker says otherwise (in `note`).
    checked: "YYYY-MM", when somebody last looked its facts up.
    retired: "YYYY-MM", since when it is no longer offered as it was, or its maker has announced its end;
        "undated" where no month is known; "" for what still stands.
    """

    family: str
    lane: str
    backbone: str
    openness: str
    licence: str = ""
    permits: str = ""
    gpus: int = 1
    lesson: str = ""
    served: bool = False
    landmark: bool = False
    cost: str = ""
    usual: str = ""
    checked: str
    retired: str = ""
