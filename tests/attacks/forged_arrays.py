"""Answers with arrays whose shapes, strides, sizes and types do not fit their bytes."""

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


import json


def node(kind="array", dtype="float64", shape=(1,), strides=(1,), raw="AAAAAAAAAAA="):
    value = {"a": kind, "dtype": dtype, "shape": shape, "strides": strides, "raw": raw}
    return json.dumps({"d": [["ok", value]]})


REPLIES = [
    node(shape=[2**40, 2**40]), node(shape=[0, 2**62, 2**62], raw=""), node(shape=[-1]),
    node(strides=[-(2**60)]),
    node(strides=[0], shape=[10**9]), node(dtype="bool", raw="AgICAgICAgI=", shape=[8]), node(dtype="M8[s]"),
    node(kind="scalar", shape=[1]), node(kind="tensor", shape=[1] * 100), node(dtype=">f8"), node(raw=None),
]

call_server.answer = forged
""",
]
