"""Has the judge send a question of megabytes, and neither reads it nor lets go of the line."""

EXTRA = [
    """
import time

executor = get_ipython().kernel.session.executor
answer = executor.call_server.answer


def deaf(request):
    if "RunningMean" not in request:
        return answer(request)
    executor.tell("A", '{"d": [["ok", {"r": "%s"}]]}' % ("x" * (6 << 20)))
    time.sleep(600)


executor.call_server.answer = deaf
""",
]
SCORE = 0.0
LIMITS = {"call": 2}
