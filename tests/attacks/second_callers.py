"""Calls the judge's line a second time, listens in its place, and hangs up the call that was taken."""

EXTRA = [
    """
import glob
import os
import socket
import sys

for folder in glob.glob("@TMP@/k-*"):
    path = f"{folder}/line"
    if os.path.lexists(path):
        print("GOT" + "-IN")
    try:
        socket.socket(socket.AF_UNIX).connect(path)
    except OSError:
        pass
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
runtime = sys.modules["_autograde_runtime"]
runtime.line.shutdown(socket.SHUT_RDWR)
runtime.line.close()
runtime.call(path)
forged = b'{"d": [["ok", {"f": "0x1.8p+3"}]]}'
taken, _ = listener.accept()
taken.sendall((len(forged).to_bytes(8, "big") + forged) * 100)
""",
]
SCORE = 0.0
