"""Real handwritten digits, 8x8, which scikit-learn brings along."""

from __future__ import annotations

import numpy as np

from genmap.data.splits import Images, Splits, hold_out

HELD_OUT = 27  # images of each class in validation, and as many in test


def digits() -> Splits[Images]:
    """Return 1,797 real handwritten digits, 8x8, in 17 grey levels: train 1,257, validation 270, test 270.

    Each x is float32 (N, 1, 8, 8) whose values are 0, 1/16, ..., 1; each y is int64 (N,) from 0 to 9.
    Validation and test have 27 images of each class, train the other 120 to 129. The split and its order
    never change; it does not keep the 13 writers apart. The arrays are the caller's own, to change at will.

    >>> digits().train.x.shape
    (1257, 1, 8, 8)

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998 (its test part), as scikit-learn ships it.
    """
    from genmap.data.digits_table import TABLE

    x = TABLE[:, :-1].reshape(-1, 1, 8, 8) / np.float32(16)
    y = TABLE[:, -1].astype(np.int64)
    parts = hold_out(y, HELD_OUT, HELD_OUT)
    return Splits(*(Images(x[part], y[part]) for part in parts))
