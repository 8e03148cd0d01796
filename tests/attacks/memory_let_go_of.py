"""Keeps shared memory that no process holds any more: it is filled, let go of by madvise, and stays."""

LIMITS = {"memory": 500 << 20}
EXTRA = [
    """
import mmap

held = []
for size in [100 << 20] * 8:
    try:
        memory = mmap.mmap(-1, size)
        for at in range(0, size, 4096):
            memory[at] = 1
        memory.madvise(mmap.MADV_DONTNEED)
        held.append(memory)
    except OSError:
        pass
if len(held) * 100 > 500:
    print("GOT" + "-IN", len(held))
""",
    """
import os

for line in open("/proc/self/mounts"):
    folder, kind = line.split()[1:3]
    if kind == "tmpfs" and folder not in ("/tmp", "/work", "/dev/shm"):
        try:
            with open(folder + "/kept", "wb") as file:
                file.write(bytes(1 << 20))
            print("GOT" + "-IN", folder)
        except OSError:
            pass
try:
    zeros = os.open("/dev/zero", os.O_RDWR)
    mmap.mmap(zeros, 1 << 20)
    print("GOT" + "-IN")
except OSError:
    pass
""",
]
