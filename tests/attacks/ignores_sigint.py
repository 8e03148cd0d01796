"""Loops for ever and ignores SIGINT and SIGTERM."""

EXTRA = [
    """
import signal

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
    signal.signal(number, signal.SIG_IGN)
while True:
    pass
""",
]
LIMITS = {"cell": 2}
