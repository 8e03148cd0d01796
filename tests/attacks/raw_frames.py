"""Writes bytes of its own into its connections: frames of 2**62 bytes, half commands, an endless message."""

EXTRA = [
    """
import os
import stat

frames = [
    b"\\x02" + (2**62).to_bytes(8, "big") + b"x" * 1000,
    b"\\x03" + (2**63 + 1).to_bytes(8, "big"),
    b"\\x04\\xff" + b"y" * 255,
    b"\\x01\\x00" * 30000,
    os.urandom(30000),
]
for number in range(3, 200):
    try:
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            os.set_blocking(number, False)
            os.write(number, frames[number % len(frames)])
    except OSError:
        pass
""",
]
SCORE = (8.0, 0.0)
LIMITS = {"cell": 2}
