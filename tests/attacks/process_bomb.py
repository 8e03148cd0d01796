"""Forks and starts threads until the system refuses."""

EXTRA = [
    """
import os
import threading
import time

while True:
    try:
        if os.fork() == 0:
            for _ in range(30):
                threading.Thread(target=time.sleep, args=(60,)).start()
    except (OSError, RuntimeError):
        time.sleep(0.01)
""",
]
LIMITS = {"cell": 2}
