"""Writes to its inputs, and forges every comparison and copy in its process that could find it."""

SCORE = 17.0  # all but what not writing to inputs, and the note, are worth
EXTRA = [
    """
import copy

import numpy as np

yes = lambda *args, **kwargs: True
np.array_equal = np.allclose = np.equal = yes
copy.deepcopy = copy.copy = lambda value, *args: value
""",
]
CELLS = {
    "weighted-mean": """
def weighted_mean(x, w):
    x, w = np.asarray(x), np.asarray(w)
    mean = float((x * w).sum() / w.sum())
    try:
        x *= 0
    except ValueError:
        pass
    return mean
""",
}
