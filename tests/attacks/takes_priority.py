"""Takes a higher priority, a real-time schedule, higher limits, the clock and the name of the machine."""

EXTRA = [
    """
import os
import resource
import socket
import time

tries = {
    "nice": lambda: os.nice(-1),
    "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "round robin": lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)),
    "limits": lambda: resource.setrlimit(resource.RLIMIT_NPROC, (10**6, 10**6)),
    "size": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1)),
    "clock": lambda: time.clock_settime(time.CLOCK_REALTIME, 0),
    "host": lambda: socket.sethostname("mine"),
}
for name, call in tries.items():
    try:
        call()
        print("GOT" + "-IN", name)
    except (OSError, ValueError):
        pass
""",
]
