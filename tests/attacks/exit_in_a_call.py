"""Ends its process at once, in a cell and when the judge calls."""

EXTRA = ["import os\nos._exit(0)"]
CELLS = {"weighted-mean": "import os\n\n\ndef weighted_mean(x, w):\n    os._exit(0)\n"}
SCORE = (8.0, 0.0)
