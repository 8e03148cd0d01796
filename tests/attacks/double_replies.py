"""Answers the judge twice whenever it asks for one function: the second reply waits for the next question."""

EXTRA = [
    """
import sys

runtime = sys.modules["_autograde_runtime"]
answer = runtime.answer
forged = b'{"d": [["ok", {"f": "0x1p+3"}]]}'


def twice(request):
    if "weighted_mean" in request:
        runtime.line.sendall(len(forged).to_bytes(8, "big") + forged)
    return answer(request)


runtime.answer = twice
""",
]
SCORE = 0.0  # the second exercise reads what is left over
