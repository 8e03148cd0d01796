"""Takes more memory than it may in processes whose names are no text, or look like what the grader reads."""

HELD = """
import ctypes
import os
import time

names = ({names})
reads, writes = os.pipe()
for name in names:
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(15, name, 0, 0, 0)
        held = bytearray(os.urandom(1 << 20)) * 600
        os.write(writes, b".")
        time.sleep(600)
for name in names:  # until each of them holds all of it
    os.read(reads, 1)
time.sleep(20)
print("GOT" + "-IN")
"""
NAMES = (r'b"\xff\xfe", b"\xfe\xff"', r'b"x\x0cRssAnon", b") Z 1 1"')
EXTRA = [HELD.format(names=names) for names in NAMES]
