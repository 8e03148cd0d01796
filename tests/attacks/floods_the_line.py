"""Floods the grader with messages of unknown kinds, from threads, in cells and while it asks."""

EXTRA = [
    """
import threading

executor = get_ipython().kernel.session.executor
answer = executor.call_server.answer


def flood(kind, body):
    while True:
        executor.tell(kind, body)


def flooded(request):
    if "weighted_mean" in request:
        flood("E", "x" * (1 << 20))
    return answer(request)


executor.call_server.answer = flooded
threading.Timer(0.2, flood, ["Z", "x" * 100]).start()
""",
    "flood('Z', 'x' * (60 << 20))",
]
SCORE = (8.0, 0.0)
LIMITS = {"call": 2}
