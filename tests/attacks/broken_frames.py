"""Answers on the judge's line with a frame of 2**63 bytes, and with one that trickles and never ends."""

EXTRA = [
    """
import time

executor = get_ipython().kernel.session.executor
answer = executor.call_server.answer


def broken(request):
    if "weighted_mean" not in request:
        return answer(request)
    if '"raw"' not in request:
        executor.line.sendall((2**63).to_bytes(8, "big") + b"x" * 1000)
        return answer(request)
    executor.line.sendall((1000).to_bytes(8, "big") + b"A" * 500)
    while True:
        time.sleep(0.3)
        executor.line.sendall(b" ")


executor.call_server.answer = broken
""",
    "executor.line.sendall((2**63).to_bytes(8, 'big'))",
]
LIMITS = {"call": 2}
