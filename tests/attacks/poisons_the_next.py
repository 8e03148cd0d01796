"""Changes all that the next kernel could share with it: modules, constants in memory, folders, its parent."""

NEXT = True
EXTRA = [
    """
import builtins
import ctypes
import os
import signal

import numpy as np

np.dot = np.sum = builtins.sum = lambda *args, **kwargs: 48.0
ctypes.c_double.from_address(id(np.pi) + 16).value = 0.0
assert np.pi == 0
for folder in ("/tmp", "/dev/shm", "/work", *__import__("sys").path):
    for name in ("numpy.py", "sitecustomize.py", "usercustomize.py"):
        try:
            with open(os.path.join(folder, name), "w") as file:
                file.write("raise SystemExit")
        except OSError:
            pass
parent = os.getppid()
if parent > 1:
    print("GOT" + "-IN", parent)
for pid in range(2, 60):
    try:
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(0x400000)
            memory.write(b"x")
        os.kill(pid, signal.SIGCONT)
    except (OSError, ValueError):
        pass
for number in range(3, 300):
    try:
        os.write(number, b'{"root": true}')
    except OSError:
        pass
""",
]
SCORE = (8.0, 0.0)  # it may have broken itself
