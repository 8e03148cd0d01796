"""Sends signals to its parent, to the first process, to the grader and to everybody."""

EXTRA = [
    """
import os
import signal

for pid in (os.getppid(), 1, @PID@, -1):
    for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGINT, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except OSError:
            pass
""",
]
SCORE = (8.0,)
