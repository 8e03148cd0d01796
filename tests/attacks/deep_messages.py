"""Publishes outputs, ends of cells and answers whose JSON is nested deeper than Python follows."""

EXTRA = [
    """
executor = get_ipython().kernel.session.executor
deep = "[" * 100_000 + "]" * 100_000
for _ in range(5):
    body = '{"msg_type": "display_data", "content": {"data": {"x/y": %s}, "metadata": {}}}' % deep
    executor.tell("M", body)
    executor.tell("M", deep)
executor.tell("E", deep)
""",
    "nested = 1",
    """
answer = executor.call_server.answer


def forged(request):
    return '{"ok": %s}' % deep if "weighted_mean" in request else answer(request)


executor.call_server.answer = forged
""",
]
