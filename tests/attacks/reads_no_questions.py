"""Has the judge send a question of megabytes, and neither reads it nor lets go of the line."""

EXTRA = [
    """
import time

player = get_ipython().kernel.session.player
answer = player.runtime.answer


def deaf(request):
    if "RunningMean" not in request:
        return answer(request)
    player.tell("A", '{"d": [["ok", {"r": "%s"}]]}' % ("x" * (6 << 20)))
    time.sleep(600)


player.runtime.answer = deaf
""",
]
SCORE = 0.0
LIMITS = {"call": 2}
