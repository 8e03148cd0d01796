"""Reads the judge's and every other process's memory through /proc and process_vm_readv."""

EXTRA = [
    """
import ctypes
import glob
import os
import re

libc = ctypes.CDLL(None, use_errno=True)
me = {os.getpid(), "self"}
for folder in [*glob.glob("/proc/[0-9]*"), "/proc/@PID@"]:
    pid = int(folder.split("/")[2])
    if pid in me:
        continue
    try:
        maps = open(f"{folder}/maps").read()
        memory = open(f"{folder}/mem", "rb")
        print("GOT" + "-IN" if maps else "", folder)
    except OSError as error:
        print(folder, error.strerror)
buffer = ctypes.create_string_buffer(64)
vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 64)
if libc.process_vm_readv(@PID@, vector, 1, vector, 1, 0) >= 0 or libc.ptrace(16, 1, 0, 0) == 0:
    print("GOT" + "-IN")
""",
]
