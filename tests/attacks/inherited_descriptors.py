"""Writes into every descriptor and reads every descriptor that it inherited."""

EXTRA = [
    """
import os

for number in range(3, 200):
    try:
        where = os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        continue
    if where.startswith("/") and not where.startswith(("/dev/", "/proc/", "/tmp/", "/work", "/usr")):
        print("GOT" + "-IN", where)
""",
]
