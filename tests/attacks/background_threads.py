"""Leaves threads and timers that print and change its functions after the cell has ended."""

EXTRA = [
    """
import threading
import time


def later():
    while True:
        time.sleep(0.01)
        print("12.0")
        get_ipython().user_ns["weighted_mean"] = lambda x, w: 12.0


for _ in range(5):
    threading.Thread(target=later, daemon=True).start()
""",
]
