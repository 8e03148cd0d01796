"""Answers every question with as much as a reply may hold, of zeros that were one number."""

EXTRA = [
    """
import sys

call_server = sys.modules["_autograde_call_server"]
answer, turn = call_server.answer, []


def large(request):
    if "weighted_mean" not in request or turn.append(0) or len(turn) > 1:
        return answer(request)
    raw = "A" * (56 << 20)
    return '{"d": [["ok", {"a": "array", "dtype": "uint8", "shape": [%d], "strides": [1], "raw": "%s"}]]}' % (
        42 << 20, raw
    )


call_server.answer = large
""",
]
SCORE = (8.0, 0.0)
