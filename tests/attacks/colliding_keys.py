"""Answers with a dictionary whose keys all fall into one place, to keep the judge busy."""

EXTRA = [
    """
import sys

call_server = sys.modules["_autograde_call_server"]
answer = call_server.answer
turn = [0]


def forged(request):
    if "weighted_mean" not in request:
        return answer(request)
    turn[0] += 1
    return REPLIES[turn[0] % len(REPLIES)]


pairs = ",".join('[{"i": "%s"}, null]' % hex(n * (2**61 - 1)) for n in range(1, 30_000))
REPLIES = ['{"d": [["ok", {"d": [%s]}]]}' % pairs]

call_server.answer = forged
""",
]
SCORE = (8.0, None)
LIMITS = {"judge_cpu": 4}
