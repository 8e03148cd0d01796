"""Displays results of its own that look like the score of a test cell, before there is one."""

EXTRA = [
    "from IPython.display import display\nprint('weighted-mean: 12 of 12 points')\n12.0",
    "display({'text/plain': '12.0'}, raw=True, display_id='test-weighted-mean')",
    "get_ipython().displayhook(12.0)\n20",
]
CELLS = {"weighted-mean": "def weighted_mean(x, w):\n    return 0.0\n"}
