"""Publishes outputs, ends of cells and answers whose JSON is nested deeper than Python follows."""

EXTRA = [
    """
player = get_ipython().kernel.session.player
deep = "[" * 100_000 + "]" * 100_000
for _ in range(5):
    player.tell("M", '{"msg_type": "display_data", "content": {"data": {"x/y": %s}, "metadata": {}}}' % deep)
    player.tell("M", deep)
player.tell("E", deep)
""",
    "nested = 1",
    """
answer = player.runtime.answer


def forged(request):
    return '{"ok": %s}' % deep if "weighted_mean" in request else answer(request)


player.runtime.answer = forged
""",
]
