"""Answers with texts that are no messages: huge integers, constants, deep lists, many parts."""

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


REPLIES = [
    '{"d": [["ok", {"i": "0x%s"}]]}' % ("f" * 10**6), '{"d": [["ok", NaN]]}', "[" * 10**5, "",
    "null", 7,
    '{"d": [["ok", {"l": [%s]}]]}' % ",".join(["null"] * 200_000), '{"ok": 1}',
    '{"d": [["ok", {"r": "secret"}]]}',
    '{"d": [["error", {"d": [["kinds", {"l": ["ValueError"]}], ["line", {"i": "0x1"}]]}]]}', "x" * (1 << 20),
]

call_server.answer = forged
""",
]
