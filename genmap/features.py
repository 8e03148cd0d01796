"""The course's measuring instrument: a small net, trained once on real images, whose features are compared.

It is no model of the course and generates nothing: it gives `genmap.metrics` a space in which images of like
shape lie together, and says what a generated image shows. It runs on the CPU, so that a figure does not
depend on the device that the judged model runs on.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pooch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genmap import data, metrics
from genmap.arrays import image_stack
from genmap.progress import track

# The training; its loss is that of the class, and half of that of any other label, such as the style.
STEPS = 600
BATCH = 128  # images
RATE = 4e-3  # the highest learning rate
CHANNELS = 16  # of the first layer
WIDTH = 64  # features
CHUNK_IMAGES = 1_000  # that a trained net looks at, at a time


class Measured(NamedTuple):
    """What the net sees in N images.

    features: (N, 64), each with mean 0 and variance 1 over real images.
    probabilities: of the classes, (N, classes).
    """

    features: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The likeliest class of each image, int64 (N,)."""
        return np.asarray(self.probabilities.argmax(axis=1))


class _Net(nn.Module):
    """Three convolutions, then features with mean 0 and variance 1, then a linear head for each label."""

    def __init__(self, size: int, heads: list[int]) -> None:
        super().__init__()
        place: Any = {"device": "cpu", "dtype": torch.float32}  # whatever the caller has set as defaults
        layers: list[nn.Module] = []
        before = 1
        for i, stride in enumerate((1, 2, 2)):
            layers += [nn.Conv2d(before, CHANNELS << i, 3, stride, padding=1, **place), nn.ReLU()]
            before, size = CHANNELS << i, -(-size // stride)
        flat = nn.Linear(before * size**2, WIDTH, **place)
        self.body = nn.Sequential(*layers, nn.Flatten(), flat, nn.BatchNorm1d(WIDTH, affine=False, **place))
        self.heads = nn.ModuleList(nn.Linear(WIDTH, n, **place) for n in heads)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(N, 1, H, W) -> features (N, 64) and, for each label, logits."""
        features = self.body(x)
        return features, [head(features) for head in self.heads]


@dataclass(frozen=True)
class Features:
    """A trained net: call it on images.

    name: the data it knows.
    size: the side of its images, in pixels.
    accuracy: the share of the held-out real images (the test split) whose class it gets right, the ceiling
        for a generator.
    net: the module itself.
    """

    name: str
    size: int
    accuracy: float
    net: _Net

    def __call__(self, images: Any) -> Measured:
        """Return what the net sees in images (N, 1, H, W) or (N, H, W), an array or a tensor on any device.

        images: ink is 1 and paper 0; what lies beyond is clipped.

        Raises ValueError for another size, no images, whole numbers above 1, and values that are not finite.
        """
        stack = image_stack("features", images)
        if stack.shape[1:] != (self.size, self.size):
            height, width = stack.shape[1:]
            raise ValueError(f"features: images of {height}x{width}, this net knows {self.size}x{self.size}")
        if bad := int((~np.isfinite(stack)).any(axis=(1, 2)).sum()):
            raise ValueError(f"features: {bad} of {len(stack)} images hold values that are not finite")
        x = torch.from_numpy(stack.clip(0, 1).astype(np.float32))[:, None]
        with _undisturbed(), torch.no_grad():
            seen = [self.net(part) for part in x.split(CHUNK_IMAGES)]
            probabilities = torch.cat([logits[0].double().softmax(1) for _, logits in seen])
        return Measured(torch.cat([f for f, _ in seen]).double().numpy(), probabilities.numpy())

    def compare(self, generated: Any, wanted: Any, real: Any, labels: Any) -> dict[str, float]:
        """Return the figures of generated images (N, 1, H, W) of the classes `wanted` (N,), by name.

        The figures are those of `genmap.metrics`, in this net's features; most are comparable only for equal
        N and M.

        generated: images (N, 1, H, W).
        wanted: the classes asked for, whole numbers (N,).
        real: held-out images (M, 1, H, W).
        labels: their classes, whole numbers (M,).

        Raises ValueError as the metrics do.
        """
        made, true = self(generated), self(real)
        precision, recall = metrics.precision_recall(true.features, made.features)
        return {
            "class_accuracy": metrics.class_accuracy(made.labels, wanted),
            "diversity": metrics.diversity(made.features, wanted, true.features, labels),
            "frechet": metrics.frechet_distance(made.features, true.features),
            "kid": metrics.kid(made.features, true.features),
            "precision": precision,
            "recall": recall,
        }


@cache
def glyphs(size: int = 16) -> Features:
    """Return the net that knows `data.glyphs(size)`: 36 classes, and the style, which its features keep.

    Trained on the train split the first time, in some seconds, then read from the user's cache folder.

    size: the side of the images, in pixels, 8 to 64.

    Raises ValueError for another size.
    """
    return _trained(f"glyphs-{size}", data.glyphs(size))


@cache
def digits() -> Features:
    """Return the net that knows `data.digits()`: 10 classes. It is trained and kept like that of `glyphs`."""
    return _trained("digits-8", data.digits())


def _trained(name: str, splits: Any) -> Features:
    """Return the net from the cache, else train it and keep it there."""
    columns = [column for column in ("y", "style") if hasattr(splits.train, column)]
    y = np.stack([getattr(splits.train, column) for column in columns], axis=1)
    x, size = splits.train.x, splits.train.x.shape[-1]
    path = Path(pooch.os_cache("genmap")) / f"features-{name}-{_recipe(x, y)}.npz"
    with _undisturbed():
        net = _Net(size, [int(n) for n in y.max(axis=0) + 1])
        if not _read(net, path):
            _fit(net, torch.from_numpy(x), torch.from_numpy(y))
            _write(net, path)
    judge = Features(name, size, 0.0, net.eval())
    return replace(judge, accuracy=metrics.class_accuracy(judge(splits.test.x).labels, splits.test.y))


def _recipe(x: npt.NDArray[np.float32], y: npt.NDArray[np.int64]) -> str:
    """Return a name for what the weights follow from: the code of net and training, and the data."""
    settings = (STEPS, BATCH, RATE, CHANNELS, WIDTH)
    digest = hashlib.sha256(f"{settings}{inspect.getsource(_Net)}{inspect.getsource(_fit)}".encode())
    for array in (x, y):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Neither feel nor change the caller's random numbers, gradient mode and autocast."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed the GPU, too
        with torch.autocast("cpu", enabled=False):
            yield


def _fit(net: _Net, x: Tensor, y: Tensor) -> None:
    """Train on images x (N, 1, H, W) with labels y (N, heads); on one thread, so that all runs end alike."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
        for _ in track(range(STEPS), title=f"measuring net {x.shape[-1]}x{x.shape[-1]}, once"):
            batch = torch.randint(len(x), (BATCH,))
            losses = [F.cross_entropy(z, y[batch, i]) for i, z in enumerate(net(x[batch])[1])]
            optimizer.zero_grad()
            (losses[0] + sum(losses[1:]) / 2).backward()
            optimizer.step()
            schedule.step()
    finally:
        torch.set_num_threads(threads)


def _read(net: _Net, path: Path) -> bool:
    """Load the weights, if a whole file of this net's weights is there."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: torch.from_numpy(file[name]) for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return False
    if {k: v.shape for k, v in found.items()} != {k: v.shape for k, v in net.state_dict().items()}:
        return False
    net.load_state_dict(found)
    return True


def _write(net: _Net, path: Path) -> None:
    """Put the weights there, whole or not at all; without a place to write to, say so and go on."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            part = Path(scratch, path.name)
            np.savez(part, **{name: value.numpy() for name, value in net.state_dict().items()})
            os.replace(part, path)
    except OSError as error:
        warnings.warn(f"the measuring net is not kept, and trained again next time: {error}", stacklevel=2)
