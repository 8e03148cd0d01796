"""Fills the only folder that it shares with the grader, in folders below it."""

EXTRA = [
    """
import glob
import os
import time

folder = os.path.dirname(glob.glob("@TMP@/k-*/*")[0])
os.makedirs(f"{folder}/a/b")
for n in range(30):
    open(f"{folder}/a/b/{n}", "w").write("x" * (1 << 20))
    time.sleep(0.1)
""",
]
