"""Replaces the sockets of its kernel by links to others and by sockets of its own."""

EXTRA = [
    """
import glob
import os
import socket

for path in glob.glob("@TMP@/k-*/k-*"):
    os.rename(path, path + ".old")
    os.symlink("/run/docker.sock", path)
os._exit(0)
""",
]
