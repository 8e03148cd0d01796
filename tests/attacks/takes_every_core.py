"""Leaves the core that it was given for all cores of the machine, with many processes."""

EXTRA = [
    """
import os

try:
    os.sched_setaffinity(0, range(os.cpu_count()))
    print("GOT" + "-IN")
except OSError:
    pass
""",
]
