"""Hands in a named pipe, a socket and a device, which block or do not end when read."""

import contextlib
import os
import socket
import stat


def files(folder):
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "socket"))
    with contextlib.suppress(PermissionError):
        os.mknod(folder / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
