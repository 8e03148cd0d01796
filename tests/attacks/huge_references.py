"""Answers with references whose names are megabytes long, which the judge must send back at every use."""

EXTRA = [
    """
import sys

call_server = sys.modules["_autograde_call_server"]
answer = call_server.answer


def forged(request):
    if "RunningMean" in request or "xxxx" in request[:1000]:
        return '{"d": [["ok", {"r": "%s"}]]}' % ("x" * (6 << 20))
    return answer(request)


call_server.answer = forged
""",
]
SCORE = 0.0
