"""Ends its process in the middle of an output and of an answer, after it has said how long they are."""

EXTRA = [
    """
import os

executor = get_ipython().kernel.session.executor
executor.line.sendall((50_000_000).to_bytes(8, "big") + b"M" * 5_000_000)
os._exit(0)
""",
    """
import os

executor = get_ipython().kernel.session.executor
answer = executor.call_server.answer


def half(request):
    if "weighted_mean" not in request:
        return answer(request)
    executor.line.sendall((100).to_bytes(8, "big") + b'A{"d": [["ok"')
    os._exit(0)


executor.call_server.answer = half
""",
]
