"""Answers the judge only after its time, in the name of the question before, and all at once at the end."""

EXTRA = [
    """
import time

kernel = get_ipython().kernel
send = kernel.session.send
kept, turn = [], [0]


def late(stream, kind, content=None, parent=None, **rest):
    if kind == "execute_reply" and parent and parent["content"].get("silent"):
        turn[0] += 1
        kept.append((content, parent, rest))
        for old in kept[-4:-1]:
            send(stream, kind, old[0], old[1], **old[2])
        if "weighted_mean" in str(parent["content"]):
            time.sleep(1.5)
    return send(stream, kind, content, parent, **rest)


kernel.session.send = late
""",
]
LIMITS = {"call": 1}
