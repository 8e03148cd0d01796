"""Writes to its inputs, and forges every comparison and copy in its process that could find it."""

SCORE = 17.45  # all but the note and a tenth, which not writing to inputs is worth
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
