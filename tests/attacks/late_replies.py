"""Answers the judge only after its time, in the name of the question before, and all at once at the end."""

EXTRA = [
    """
import threading
import time

executor = get_ipython().kernel.session.executor
answer, kept = executor.call_server.answer, []


def late(request):
    kept.append(answer(request))
    if "weighted_mean" in request:
        executor.tell("A", kept[0])
        time.sleep(1.5)
        for reply in kept:
            executor.tell("A", reply)
    return kept[-1]


def after_its_time():
    while not kept:
        time.sleep(0.01)
    time.sleep(1.2)
    for reply in kept:
        executor.tell("A", reply)


executor.call_server.answer = late
threading.Thread(target=after_its_time, daemon=True).start()
""",
]
SCORE = (8.0, 0.0)
LIMITS = {"call": 1}
