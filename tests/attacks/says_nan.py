"""Returns NaN and infinities, for which every comparison with a tolerance might be skipped."""

CELLS = {
    "weighted-mean": """
calls = []


def weighted_mean(x, w):
    calls.append(x)
    return [float("nan"), float("inf"), np.float64("nan"), np.array(np.nan)][len(calls) % 4]
""",
}
