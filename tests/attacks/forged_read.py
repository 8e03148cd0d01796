"""Answers the judge's question for a file with a text, far too much, a link and nothing of the kind."""

EXTRA = [
    """
import os
import sys

call_server = sys.modules["_autograde_call_server"]
answer = call_server.answer
turn = [0]


def forged(request):
    if "read" not in request:
        return answer(request)
    turn[0] += 1
    return REPLIES[turn[0] % len(REPLIES)]


REPLIES = [
    '{"d": [["ok", "canary"]]}',
    '{"d": [["ok", {"b": "%s"}]]}' % ("Y2Fu" * 1000),
    '{"d": [["ok", {"r": "x"}]]}',
    '{"d": [["ok", {"l": ["canary"]}]]}',
]
call_server.answer = forged
""",
]
