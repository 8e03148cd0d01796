"""Writes answers into the judge's line before there is a question: each question reads a stale one."""

EXTRA = [
    """
import threading

executor = get_ipython().kernel.session.executor


def early():
    for n in range(50):
        for value in ("null", '{"f": "0x1p+3"}', '{"r": "#0"}'):
            executor.tell("A", '{"d": [["ok", %s]]}' % value)


early()
threading.Timer(0.2, early).start()
""",
]
SCORE = (8.0, 0.0)
NEXT = True
