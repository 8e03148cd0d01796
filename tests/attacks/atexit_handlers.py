"""Leaves handlers for the end of its process, its loop and its threads, which print, write and never end."""

EXTRA = [
    """
import atexit
import signal
import sys
import threading
import time
import weakref


def last(*rest):
    for path in ("/tmp", "/work"):
        open(f"{path}/last", "w").write("x")
    print("12.0")
    while True:
        time.sleep(1)


atexit.register(last)
threading._register_atexit(last)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, last)
kernel = get_ipython().kernel
kernel.do_shutdown = last
kernel.shutdown_request = last
sys.modules["__main__"].end = weakref.finalize(kernel, last)
threading.Thread(target=last).start()
""",
]
SCORE = (8.0, 0.0)
