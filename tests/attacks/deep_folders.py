"""Leaves folders nested deeper than Python can follow, in the folders that it may write to."""

EXTRA = [
    """
import os

for place in ("/tmp", "/work"):
    os.chdir(place)
    for n in range(3000):
        os.mkdir("d")
        os.chdir("d")
os._exit(0)
""",
]
