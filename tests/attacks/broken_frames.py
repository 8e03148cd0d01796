"""Answers on the judge's line with a frame of 2**63 bytes, and with one that trickles and never ends."""

EXTRA = [
    """
import sys
import time

runtime = sys.modules["_autograde_runtime"]
answer = runtime.answer


def broken(request):
    if "weighted_mean" not in request:
        return answer(request)
    if '"raw"' not in request:
        runtime.line.sendall((2**63).to_bytes(8, "big") + b"x" * 1000)
        return answer(request)
    runtime.line.sendall((1000).to_bytes(8, "big") + b" " * 500)
    while True:
        time.sleep(0.3)
        runtime.line.sendall(b" ")


runtime.answer = broken
""",
]
LIMITS = {"call": 2}
