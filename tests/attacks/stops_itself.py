"""Stops its own processes by SIGSTOP, in a cell and when the judge calls: alive, but never to answer."""

EXTRA = ["import os\nimport signal\n\nos.kill(os.getpid(), signal.SIGSTOP)"]
CELLS = {
    "weighted-mean": """
import os
import signal


def weighted_mean(x, w):
    os.kill(os.getpid(), signal.SIGSTOP)
""",
}
LIMITS = {"cell": 2, "call": 1}
