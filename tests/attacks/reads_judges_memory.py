"""Reads the judge's and every other process's memory through /proc, process_vm_readv and ptrace."""

EXTRA = [
    """
import ctypes
import glob
import os
import re

libc = ctypes.CDLL(None, use_errno=True)
wanted = re.compile(b"canary" + b"-of-the|mark\\\\." + b"exercise|481516" + b"23")
for folder in [*glob.glob("/proc/[0-9]*"), "/proc/@PID@"]:
    if folder == f"/proc/{os.getpid()}":
        continue
    try:
        maps, memory = open(f"{folder}/maps").read(), open(f"{folder}/mem", "rb", 0)
    except OSError as error:
        print(folder, error.strerror)
        continue
    for begin, end in re.findall(r"^(\\w+)-(\\w+) r", maps, re.MULTILINE):
        try:
            memory.seek(int(begin, 16))
            if wanted.search(memory.read(min(int(end, 16) - int(begin, 16), 16 << 20))):
                print("GOT" + "-IN", folder)
        except (OSError, OverflowError):
            pass
buffer = ctypes.create_string_buffer(64)
vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 64)
if libc.process_vm_readv(@PID@, vector, 1, vector, 1, 0) >= 0 or libc.ptrace(16, 1, 0, 0) == 0:
    print("GOT" + "-IN")
""",
]
