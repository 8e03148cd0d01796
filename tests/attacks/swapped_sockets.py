"""Replaces the sockets of its kernel by links to another's, then breaks the connections it had."""

import socket

EXTRA = [
    """
import glob
import os
import socket
import stat
import time

for path in glob.glob("@TMP@/k-*/k-*"):
    os.rename(path, path + ".old")
    os.symlink("@COURSE@/.grading/other", path)
for number in range(3, 200):
    try:
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            socket.socket(fileno=os.dup(number)).shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
time.sleep(2.5)
os._exit(0)
""",
]
LISTENERS = []


def files(folder):
    path = folder.parents[2] / "other"
    path.unlink(missing_ok=True)
    LISTENERS.append(socket.socket(socket.AF_UNIX))
    LISTENERS[0].bind(str(path))
    LISTENERS[0].listen()
    LISTENERS[0].setblocking(False)


def check(outcome):
    with LISTENERS.pop() as listener:
        try:
            listener.accept()
            yield "the grader connected to another's socket"
        except BlockingIOError:
            pass
