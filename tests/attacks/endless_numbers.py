"""Answers with one number of sixty million digits, then with as many lists, each in the one before."""

EXTRA = [
    """
import sys

call_server = sys.modules["_autograde_call_server"]
answer = call_server.answer


def endless(request):
    if "weighted_mean" not in request:
        return answer(request)
    return '{"d": [["ok", %s]]}' % ("[" * (60 << 20) if '"raw"' in request else "9" * (60 << 20))


call_server.answer = endless
""",
]
SCORE = (8.0, 0.0)
