"""Opens sockets of families that no lesson needs, terminals, watches on files, and newer system calls."""

EXTRA = [
    """
import ctypes
import os
import socket

for family in (socket.AF_NETLINK, socket.AF_VSOCK, socket.AF_PACKET, socket.AF_ALG, socket.AF_TIPC, 38, 44):
    try:
        socket.socket(family, socket.SOCK_DGRAM)
        print("GOT" + "-IN", family)
    except OSError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
for call in (*range(425, 434), *range(442, 447), *range(448, 470), 253, 294, 300):  # x86-64
    if os.uname().machine == "x86_64" and libc.syscall(call, 0, 0, 0, 0, 0, 0) >= 0:
        print("GOT" + "-IN", call)
""",
    """
import time

terminals = []
try:
    while len(terminals) < 400:
        terminals.append(os.openpty())
    time.sleep(2)
    print("GOT" + "-IN", len(terminals))
except OSError:
    pass
""",
]
