"""Leaves folders nested deeper than Python can follow, where the grader must clean up."""

EXTRA = [
    """
import glob
import os
import sys

os.chdir(os.path.dirname(glob.glob("@TMP@/k-*/*")[0]))
for n in range(3000):
    os.mkdir("d")
    os.chdir("d")
os._exit(0)
""",
]
