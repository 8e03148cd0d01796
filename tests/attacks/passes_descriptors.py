"""Sends open files through its connections to the grader, which might keep them or run out of numbers."""

EXTRA = [
    """
import os
import socket
import stat
import time

kept = []
for n in range(20):
    kept.append(os.open(f"/tmp/{n}", os.O_CREAT | os.O_RDWR))
    os.write(kept[-1], b"x" * 100_000)
    os.unlink(f"/tmp/{n}")
sent = 0
for number in range(3, 100):
    try:
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            line = socket.socket(fileno=os.dup(number))
            line.setblocking(False)
            for _ in range(30):
                socket.send_fds(line, [b"x"], kept)
                sent += 1
    except OSError:
        pass
print(sent)
time.sleep(0.5)
""",
]
SCORE = (8.0, 0.0)
