"""Makes system calls by other doors than the filter's own: 32-bit calls, x32 calls, numbers out of range."""

EXTRA = [
    """
import ctypes
import mmap
import os
import platform

libc = ctypes.CDLL(None, use_errno=True)


def run(code):
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(code)
    return ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def door_32(number, *arguments):
    ebx, ecx = (value.to_bytes(4, "little") for value in (*arguments, 0, 0)[:2])
    code = b"\\x53\\xb8" + number.to_bytes(4, "little") + b"\\xbb" + ebx + b"\\xb9" + ecx
    return run(code + b"\\x31\\xd2\\x31\\xf6\\x31\\xff\\xcd\\x80\\x5b\\x48\\x98\\xc3")


CLONE_NEWUSER = 0x10000000
tries = {
    "unshare, x32": lambda: libc.syscall(0x40000000 | 272, CLONE_NEWUSER),
    "ptrace, x32": lambda: libc.syscall(0x40000000 | 521, 0, 0, 0, 0),
}
if platform.machine() == "x86_64":
    tries["unshare, 32 bits"] = lambda: door_32(310, CLONE_NEWUSER)
    tries["ptrace, 32 bits"] = lambda: door_32(26, 0)
    tries["shmget, 32 bits"] = lambda: door_32(395, 0, 4096)
for name, call in tries.items():
    child = os.fork()
    if child == 0:
        os._exit(7 if call() >= 0 else 0)
    status = os.waitpid(child, 0)[1]
    print(name, status)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 7:
        print("GOT" + "-IN", name)
""",
]
