"""Has the judge send a question of megabytes, and neither reads it nor lets go of the line."""

EXTRA = [
    """
import sys
import time

runtime = sys.modules["_autograde_runtime"]
answer = runtime.answer


def deaf(request):
    if "RunningMean" not in request:
        return answer(request)
    reply = b'{"d": [["ok", {"r": "%s"}]]}' % (b"x" * (6 << 20))
    runtime.line.sendall(len(reply).to_bytes(8, "big") + reply)
    time.sleep(600)


runtime.answer = deaf
""",
]
SCORE = 0.0
LIMITS = {"call": 2}
