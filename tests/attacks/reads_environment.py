"""Prints every environment it can read: its own, those of /proc, and the command lines."""

EXTRA = [
    """
import glob
import os

print(dict(os.environ))
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    try:
        print(path, open(path).read())
    except OSError:
        pass
""",
]
