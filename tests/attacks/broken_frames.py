"""Answers on the judge's line with a frame of 2**63 bytes, and with one that trickles and never ends."""

EXTRA = [
    """
import time

player = get_ipython().kernel.session.player
answer = player.runtime.answer


def broken(request):
    if "weighted_mean" not in request:
        return answer(request)
    if '"raw"' not in request:
        player.line.sendall((2**63).to_bytes(8, "big") + b"x" * 1000)
        return answer(request)
    player.line.sendall((1000).to_bytes(8, "big") + b"A" * 500)
    while True:
        time.sleep(0.3)
        player.line.sendall(b" ")


player.runtime.answer = broken
""",
    "player.line.sendall((2**63).to_bytes(8, 'big'))",
]
LIMITS = {"call": 2}
