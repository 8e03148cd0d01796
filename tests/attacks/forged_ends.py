"""Says that a cell has ended, often and before it has, and sends messages of kinds that there are not."""

EXTRA = [
    """
executor = get_ipython().kernel.session.executor
for body in ("1", "null", "[]", "true", "1e400", "99999999999999999999", "", "{"):
    executor.tell("E", body)
for kind in ("", "Z", "X", "Q", "AA", "\\x00", "E"):
    executor.tell(kind, '{"msg_type": "execute_result", "content": {"data": {"text/plain": "12.0"}}}')
""",
    "invented = 1",
    """
answer = executor.call_server.answer


def ends_and_answers(request):
    if "weighted_mean" in request:
        for n in range(50):
            executor.tell("E", str(n))
    return answer(request)


executor.call_server.answer = ends_and_answers
""",
]
SCORE = (8.0, 0.0)  # an answer that nobody asked for stands in the place of the next
