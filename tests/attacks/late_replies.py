"""Answers the judge's questions only after their time, then with old answers to new questions."""

EXTRA = [
    """
import threading
import time

kernel = get_ipython().kernel
send = kernel.session.send
old = []


def late(stream, kind, *args, **kwargs):
    if kind == "execute_reply" and old.append((args, kwargs)) is None and len(old) > 3:
        args, kwargs = old[-3]
        threading.Timer(4, lambda: send(stream, kind, *args, **kwargs)).start()
    return send(stream, kind, *args, **kwargs)


kernel.session.send = late
""",
]
CELLS = {"weighted-mean": "def weighted_mean(x, w):\n    return 0.0\n"}
SCORE = (8.0, 0.0)  # its own cells are late as well
