"""Uses CPU time in children that nobody waits for, so that no process is charged with it."""

EXTRA = [
    """
import os
import signal
import time

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    for _ in range(4):
        if os.fork() == 0:
            end = time.process_time() + 0.05
            while time.process_time() < end:
                pass
            os._exit(0)
    time.sleep(0.06)
""",
]
LIMITS = {"cell": 2}
