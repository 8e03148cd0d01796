"""Makes empty files and folders without end."""

EXTRA = [
    """
import itertools
import os

for n in itertools.count():
    for folder in ("/tmp", "/work", "/dev/shm"):
        os.mkdir(f"{folder}/{n}")
""",
]
LIMITS = {"cell": 3}
