"""Encodes a hidden input in how long a call takes and in whether it fails, hangs or dies."""

CELLS = {
    "weighted-mean": """
import time


def weighted_mean(x, w):
    time.sleep(float(x[-1]) % 10 / 10)
    raise (ValueError if x[-1] > 10 else KeyError)(x)
""",
}
