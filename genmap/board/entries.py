"""What stands in data/board.toml: targets, set by hand, and rows, measured by `make quality`."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Metric(NamedTuple):
    """A figure of quality: its name on the board, which way is better, and what it measures.

    label: its name.
    higher: whether higher is better.
    meaning: what it measures, in a line.
    """

    label: str
    higher: bool
    meaning: str


METRICS = {
    "class_accuracy": Metric(
        "class accuracy",
        True,
        "share of samples that the measuring net takes for the class that was asked for",
    ),
    "exact_match": Metric("exact match", True, "share of answers that are right in every character"),
    "unseen_accuracy": Metric(
        "accuracy, unseen combinations", True, "class accuracy for combinations that were not trained on"
    ),
    "bits_per_dim": Metric(
        "bits/dim", False, "-log2 of the probability of held-out examples, divided by their number of pixels"
    ),
    "bits_per_byte": Metric(
        "bits/byte", False, "-log2 of the probability of held-out text, divided by its bytes"
    ),
    "nats": Metric("nats per example", True, "mean log density of held-out examples, or a lower bound on it"),
    "code_perplexity": Metric(
        "code perplexity",
        True,
        "exp of the entropy of the codes in use: how many are used, as if equally often",
    ),
    "roc_auc": Metric(
        "ROC-AUC", True, "probability that a strange example looks stranger to the model than a usual one"
    ),
    "diversity": Metric(
        "diversity",
        True,
        "variance of samples within a class, divided by that of real examples: 1 is as varied",
    ),
    "frechet": Metric(
        "Fréchet distance", False, "between normals fitted to the features of samples and of real examples"
    ),
    "kid": Metric("KID", False, "squared maximum mean discrepancy of samples and real examples, in features"),
    "precision": Metric("precision", True, "share of samples that lie among real examples, in features"),
    "recall": Metric("recall", True, "share of real examples that lie among samples, in features"),
}
COSTS = ("parameters", "train_seconds", "sample_seconds")
NAMES = ("lesson", "model", "data", "setting", "machine")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model of one lesson on one data set, measured.

    A cost that the model has not, such as a sample of a classifier, is left out.

    lesson: the lesson's name, such as "10_vae".
    model: the model's name.
    data: the data set's name, such as "glyphs 16".
    setting: at which setting it was measured: "smoke", "quick" or "full".
    machine: on which machine: its GPU's name, or its number of CPU cores.
    parameters: how many numbers the model stores.
    train_seconds: seconds for the whole training.
    sample_seconds: seconds for one sample of a batch.
    figures: by the names of `METRICS`.
    here: whether it was measured in this session.
    """

    lesson: str
    model: str
    data: str
    setting: str
    machine: str
    parameters: int | None = None
    train_seconds: float | None = None
    sample_seconds: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    here: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from every other row."""
        return self.lesson, self.model, self.data

    def flat(self) -> dict[str, Any]:
        """Return it as it stands in board.toml."""
        own = {name: getattr(self, name) for name in (*NAMES, *COSTS)}
        return {name: value for name, value in {**own, **self.figures}.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a figure of a model must reach; at least, where higher is better, else at most.

    lesson: the lesson's name.
    model: the model's name.
    data: the data set's name.
    metric: the figure's name, one of `METRICS`.
    limit: what it must reach.
    source: who asks for it, and why for so much.

    >>> target = Target(lesson="10_vae", model="VAE", data="digits 8x8", metric="kid", limit=0.1, source="")
    >>> str(target), target.held(0.05), target.held(0.2)
    ('≤ 0.1', True, False)
    """

    lesson: str
    model: str
    data: str
    metric: str
    limit: float
    source: str

    @property
    def key(self) -> tuple[str, str, str]:
        """The key of the row that is meant."""
        return self.lesson, self.model, self.data

    def held(self, value: float) -> bool:
        """Whether a figure meets the target."""
        return value >= self.limit if METRICS[self.metric].higher else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if METRICS[self.metric].higher else '≤'} {self.limit:g}"


class Board(NamedTuple):
    """The whole board.

    targets: what must be reached.
    rows: what was measured.
    """

    targets: list[Target]
    rows: list[Row]


def row_of(entry: Mapping[str, Any], here: bool = False) -> Row:
    """Return the row of an entry as in board.toml.

    entry: names, costs and figures, as `Row.flat` gives them.
    here: whether it was measured in this session.

    Raises ValueError for one that is malformed.
    """
    own = {name: value for name, value in entry.items() if name in (*NAMES, *COSTS)}
    figures = {name: value for name, value in entry.items() if name not in own}
    where = f"board: {entry.get('lesson')!r}, {entry.get('model')!r}"
    if unknown := sorted(set(figures) - set(METRICS)):
        raise ValueError(f"{where}: there is no metric {unknown[0]!r}; choose of {', '.join(METRICS)}")
    _check_names(where, own)
    for name, value in entry.items():
        if name not in NAMES and not _good(value, least=0 if name in COSTS else -math.inf):
            raise ValueError(f"{where}: {name} is {value!r}; it must be finite, and a cost not negative")
    if not isinstance(entry.get("parameters", 0), int):
        raise ValueError(f"{where}: parameters is {entry['parameters']!r}; it must be a whole number")
    if not figures:
        raise ValueError(f"{where}: there is no figure; give at least one of {', '.join(METRICS)}")
    return Row(**own, figures=figures, here=here)


def _check_names(where: str, entry: Mapping[str, Any], names: Iterable[str] = NAMES) -> None:
    for name in names:
        if not (isinstance(entry.get(name), str) and entry[name].strip() and entry[name].isprintable()):
            raise ValueError(f"{where}: {name} is {entry.get(name)!r}; it must be a line of text")


def _good(value: Any, least: float) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= least


def target_of(entry: Mapping[str, Any]) -> Target:
    """Return the target of an entry as in board.toml.

    entry: lesson, model, data, metric, source, and at_least where higher is better, else at_most.

    Raises ValueError for one that is malformed.
    """
    where = f"board: target of {entry.get('lesson')!r}, {entry.get('model')!r}"
    names = ("lesson", "model", "data", "metric", "source")
    _check_names(where, entry, names)
    if entry["metric"] not in METRICS:
        raise ValueError(f"{where}: there is no metric {entry['metric']!r}; choose of {', '.join(METRICS)}")
    bound = "at_least" if METRICS[entry["metric"]].higher else "at_most"
    if set(entry) != {*names, bound} or not _good(entry[bound], least=-math.inf):
        raise ValueError(f"{where}: give {', '.join(names)} and {bound}, a finite number, and nothing else")
    return Target(limit=entry[bound], **{name: entry[name] for name in names})


def parse(text: str) -> Board:
    """Return the board of the text of board.toml.

    Raises ValueError, with the reason, for a damaged one.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"board.toml is damaged: {error}") from None
    lists = {name: tables.pop(name, []) for name in ("target", "measured")}
    if tables or not all(isinstance(e, dict) for entries in lists.values() for e in entries):
        raise ValueError("board.toml is damaged: it holds [[target]] and [[measured]], and nothing else")
    board = Board([target_of(e) for e in lists["target"]], [row_of(e) for e in lists["measured"]])
    keys = [row.key for row in board.rows]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise ValueError(f"board.toml is damaged: {', '.join(twice)} stands there twice")
    return board
