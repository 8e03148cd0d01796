"""Keeps memory where no process owns it: memory files and System V segments."""

EXTRA = [
    """
import ctypes
import os

libc = ctypes.CDLL(None)
kept = []
for n in range(8):
    try:
        kept.append(os.memfd_create(f"m{n}"))
        os.write(kept[-1], b"x" * (8 << 20))
        print("GOT" + "-IN")
    except OSError:
        pass
    if libc.shmget(n + 1, 8 << 20, 0o1600) != -1:
        print("GOT" + "-IN")
""",
]
