"""Opens raw, packet, netlink, loopback and abstract sockets and looks for a listener."""

EXTRA = [
    """
import ctypes
import socket
import subprocess

libc = ctypes.CDLL(None, use_errno=True)

import glob
import os

for kind in ((socket.AF_INET, socket.SOCK_RAW), (socket.AF_PACKET, socket.SOCK_RAW)):
    try:
        socket.socket(*kind)
        print("GOT" + "-IN", kind)
    except OSError:
        pass
targets = [("127.0.0.1", port) for port in (22, 80, 631, 5432, 8888)] + [("192.0.2.1", 80)]
targets += ["\\0/tmp/.X11-unix/X0", "\\0dbus", "/run/docker.sock", "/run/dbus/system_bus_socket"]
for target in targets:
    made = socket.socket(socket.AF_UNIX if isinstance(target, str) else socket.AF_INET)
    made.settimeout(0.2)
    if made.connect_ex(target) == 0:
        print("GOT" + "-IN", target)
names = os.listdir("/sys/class/net") if os.path.exists("/sys/class/net") else []
print("GOT" + "-IN" if set(names) - {"lo"} else "alone")
""",
]
