"""Answers the judge only after its time, in the name of the question before, and all at once at the end."""

EXTRA = [
    """
import threading
import time

player = get_ipython().kernel.session.player
answer, kept = player.runtime.answer, []


def late(request):
    kept.append(answer(request))
    if "weighted_mean" in request:
        player.tell("A", kept[0])
        time.sleep(1.5)
        for reply in kept:
            player.tell("A", reply)
    return kept[-1]


def after_its_time():
    while not kept:
        time.sleep(0.01)
    time.sleep(1.2)
    for reply in kept:
        player.tell("A", reply)


player.runtime.answer = late
threading.Thread(target=after_its_time, daemon=True).start()
""",
]
SCORE = (8.0, 0.0)
LIMITS = {"call": 1}
