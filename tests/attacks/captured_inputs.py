"""Keeps the judge's inputs in memory, files and threads, and prints them in later cells and errors."""

CELLS = {
    "weighted-mean": """
import os
import sys

seen = open("/tmp/seen").read() if os.path.exists("/tmp/seen") else ""
print(seen)


def weighted_mean(x, w):
    values = [f"{float(v):.0f}" for v in x]
    open("/tmp/seen", "w").write(str(values))
    open("/work/seen.txt", "w").write(str(values))
    print(values, flush=True)
    print(values, file=sys.stderr, flush=True)
    os.write(1, str(values).encode())
    display(values)
    kernel = get_ipython().kernel
    kernel.session.send(kernel.iopub_socket, "stream", {"name": "stdout", "text": str(values)})
    raise type("Error" + values[-1], (ValueError,), {})(values)
""",
}
