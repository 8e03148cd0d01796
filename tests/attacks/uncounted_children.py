"""Makes children that are not its own but its parent's, outside the sandbox, where nobody counts."""

EXTRA = [
    """
import ctypes
import os
import time

CLONE_PARENT, SIGCHLD = 0x8000, 17
child = ctypes.CDLL(None).syscall(56, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)
if child == 0:
    held = bytearray(400 << 20)
    time.sleep(3)
    os._exit(0)
if child > 0:
    print("GOT" + "-IN", child)
""",
]
