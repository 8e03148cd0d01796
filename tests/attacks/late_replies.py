"""Answers the judge only after its time, in the name of the question before, and all at once at the end."""

EXTRA = [
    """
import sys
import time

runtime = sys.modules["_autograde_runtime"]
answer, kept = runtime.answer, []


def late(request):
    reply = answer(request)
    kept.append(len(reply).to_bytes(8, "big") + reply.encode())
    if "weighted_mean" in request:
        runtime.line.sendall(kept[0])
        time.sleep(1.5)
        runtime.line.sendall(b"".join(kept))
    return reply


runtime.answer = late
""",
    """
import threading

line = runtime.line


def after_its_time():
    while not kept:
        time.sleep(0.01)
    time.sleep(1.2)
    for reply in kept:
        line.sendall(reply)


threading.Thread(target=after_its_time, daemon=True).start()
""",
]
SCORE = (8.0, 0.0)
LIMITS = {"call": 1}
