"""Ends its process while the grader reads its messages, each of which has fifty thousand parts."""

EXTRA = [
    """
import os
import time

kernel = get_ipython().kernel
content = {"name": "stdout", "text": "x"}
message = kernel.session.msg("stream", content, parent=kernel.get_parent("shell"))
parts = [b"stream", *kernel.session.serialize(message), *[b"x"] * 50_000]
for n in range(30):
    kernel.iopub_socket.send_multipart(parts)
time.sleep(0.3)
os._exit(0)
""",
]
EXTRA *= 2
