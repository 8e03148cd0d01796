"""Fills every folder that it can write to, with files, sparse files and links."""

EXTRA = [
    """
import os

for folder in ("/tmp", "/work", "/dev/shm", "/", "/given"):
    for n in range(4):
        try:
            with open(f"{folder}/big{n}", "wb") as file:
                for _ in range(64):
                    file.write(b"x" * (1 << 20))
        except OSError:
            pass
print(os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_bsize <= 32 << 20 or "GOT" + "-IN")
""",
]
