"""Takes memory in many processes, private and shared, until there is none."""

EXTRA = [
    """
import mmap
import os

held = []
for _ in range(3):
    if os.fork() == 0:
        break
while True:
    try:
        held.append(mmap.mmap(-1, 64 << 20))
        held[-1].write(b"x" * (64 << 20))
    except OSError:  # none that is shared
        pass
    held.append(bytearray(b"x" * (16 << 20)))
""",
]
