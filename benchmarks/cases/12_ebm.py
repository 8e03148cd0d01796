"""Lesson 12_ebm: an update by persistent chains on digits against scikit-learn's BernoulliRBM."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.neural_network import BernoulliRBM

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "12_ebm: a PCD-1 update against scikit-learn's BernoulliRBM, 100 hidden units, batch 100, 20 updates"
HIDDEN, BATCH, UPDATES, RATE = 100, 100, 20, 0.05


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (our updates, scikit-learn's), on the same batch; both keep chains and make one sweep each."""
    lesson = definitions(Course.at(Path(__file__).parents[2]), "12_ebm")
    v, g = lesson["b_train"][:BATCH], torch.Generator().manual_seed(0)
    W, a, b = 0.01 * torch.randn(64, HIDDEN, generator=g), torch.zeros(64), torch.zeros(HIDDEN)
    chains = [torch.zeros(BATCH, 64)]

    def ours() -> object:
        for _ in range(UPDATES):
            step, chains[0] = lesson["cd_gradient"](v, chains[0], W, a, b, 1, g)
            for parameter, change in zip((W, a, b), step, strict=True):
                parameter.add_(change, alpha=RATE)
        return W

    theirs = BernoulliRBM(HIDDEN, learning_rate=RATE, batch_size=BATCH, n_iter=1, random_state=0)
    x = v.numpy()
    theirs.fit(x)
    rng = np.random.RandomState(0)

    def scikit_learns() -> object:
        for _ in range(UPDATES):
            theirs._fit(x, rng)
        return theirs.components_

    return ours, scikit_learns
