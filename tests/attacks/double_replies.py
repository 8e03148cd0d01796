"""Answers the judge twice whenever it asks for one function: the second reply waits for the next question."""

EXTRA = [
    """
player = get_ipython().kernel.session.player
answer = player.runtime.answer


def twice(request):
    if "weighted_mean" in request:
        player.tell("A", '{"d": [["ok", {"f": "0x1p+3"}]]}')
    return answer(request)


player.runtime.answer = twice
""",
]
SCORE = 0.0  # the second exercise reads what is left over
