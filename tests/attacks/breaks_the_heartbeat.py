"""Breaks the connection of the grader's heartbeat alone, so that the next beat would wait for ever."""

EXTRA = [
    """
import os
import socket
import stat
import time

for number in range(3, 200):
    try:
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            line = socket.socket(fileno=os.dup(number))
            if str(line.getsockname()).endswith("-5"):  # the last of the five sockets
                line.send(b"\\x04\\xff" + b"y" * 255 + b"\\x07" * 1000)
    except OSError:
        pass
time.sleep(2.5)
os._exit(0)
""",
]
