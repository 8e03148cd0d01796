"""Sleeps for ever whenever the judge calls."""

CELLS = {"weighted-mean": "import time\n\n\ndef weighted_mean(x, w):\n    time.sleep(10**6)\n"}
SCORE = (8.0, 0.0)
LIMITS = {"call": 1}
