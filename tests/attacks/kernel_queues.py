"""Keeps memory in the kernel's message queues and takes the system's share of asynchronous reads."""

EXTRA = [
    """
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
block, held = ctypes.create_string_buffer(b"x" * 8192, 8200), 0
for n in range(2000):
    queue = libc.msgget(0, 0o1600)
    while queue >= 0 and libc.msgsnd(queue, block, 8000, 0o4000) == 0:
        held += 8000
asked = 0
for n in range(200):
    context = ctypes.c_ulong(0)
    if libc.syscall(206, 1000, ctypes.byref(context)) == 0:
        asked += 1000
print(held, asked)
if held > 1 << 20 or asked > 10000:
    print("GOT" + "-IN")
""",
]
