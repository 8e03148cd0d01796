"""Sends messages whose contents are none: lists, numbers, no kind, another status with a wish to quit."""

EXTRA = [
    """
import json

executor = get_ipython().kernel.session.executor
odd = [
    [],
    7,
    {"msg_type": "stream"},
    {"content": {}},
    {"msg_type": ["stream"], "content": []},
    {"msg_type": "status", "content": {"execution_state": "idle"}},
    {"msg_type": "execute_reply", "content": {"status": "aborted", "payload": [{"source": "ask_exit"}]}},
    {"msg_type": "shutdown_reply", "content": {"restart": True}},
    {"msg_type": "error", "content": {"ename": 1, "evalue": [], "traceback": "x"}},
]
for message in odd:
    executor.tell("M", json.dumps(message))
""",
    """
answer = executor.call_server.answer


def forged(request):
    if "weighted_mean" not in request:
        return answer(request)
    return '"12"' if '"raw"' in request else "[]"


executor.call_server.answer = forged
""",
]
